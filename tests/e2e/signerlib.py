# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A SoftHSM2 token of a test's own, and the signer process spoken to without any of devstamp's own code."""

import os
import pathlib
import socket
import struct
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from test_ca_init import DEVSTAMP, devstamp, load

MODULES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
           "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"]
MODULE = next((m for m in MODULES if os.path.exists(m)), None)

PIN = "271828"
SUB_KEY = "pkcs11:token=line;object=subca"


class Token:
    """A token of the test's own behind a module that counts logins."""

    def __init__(self, folder, shim):
        self.folder, self.shim = folder, shim
        (folder / "tokens").mkdir(parents=True)
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
        self.logins, self.gone, self.pin = folder / "logins", folder / "gone", folder / "pin"
        self.env = dict(os.environ, SOFTHSM2_CONF=str(folder / "softhsm2.conf"), DS_SHIM_MODULE=MODULE,
                        DS_SHIM_LOGINS=str(self.logins), DS_SHIM_GONE=str(self.gone))
        self.run("softhsm2-util", "--init-token", "--free", "--label", "line", "--so-pin", "87654321", "--pin", PIN)
        self.write_pin(PIN)

    def run(self, *args):
        return subprocess.run(args, env=self.env, capture_output=True, text=True, check=True)

    def write_pin(self, text):
        self.pin.write_text(text + "\n")
        self.pin.chmod(0o600)

    def count(self, kind="user"):
        return self.logins.read_text().splitlines().count(kind) if self.logins.exists() else 0

    def init(self, folder, *args, expect=0, env=None):
        return devstamp("ca", "init", "--dir", folder, "--sub-key", SUB_KEY, "--module", self.shim, "--pin-file",
                        self.pin, *args, expect=expect, env=env or self.env)


def make_shim(folder):
    out = folder / "shim.so"
    flags = subprocess.run(["pkg-config", "--cflags", "p11-kit-1"], capture_output=True, text=True, check=True).stdout
    source = pathlib.Path(__file__).with_name("test_ca_shim.c")
    subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", *flags.split(), source, "-o", out, "-ldl"], check=True)
    return out


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A protobuf field: bytes, text or a number that is not negative."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def decode(data):
    out = {}
    while data:
        def number():
            nonlocal data
            n = shift = 0
            while True:
                byte, data = data[0], data[1:]
                n |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return n
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, data = data[:value], data[value:]
        out[tag >> 3] = value
    return out


class Refused(Exception):
    hint = ""


PROFILE = (field(1, "acme") + field(2, "CN={serial},O=Acme") + field(3, 3) + field(5, "SN{counter}")
           + field(6, "urn:dev:{serial}"))


class Signer:
    """devstamp signer over a socket pair."""

    def __init__(self, token, ca, key=SUB_KEY, env=None, log_key=None):
        self.told = False  # the recipe's profile
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        args = [DEVSTAMP, "signer", "--fd", str(theirs.fileno()), "--key", key, "--module", token.shim, "--certificate",
                ca / "subca.pem", "--log", ca / "issued.log", "--pin-file", token.pin]
        args += ["--log-key", log_key] if log_key else []
        self.process = subprocess.Popen(args, env=env or token.env, pass_fds=[theirs.fileno()])
        theirs.close()

    def ask(self, request):
        self.socket.sendall(struct.pack("<I", len(request)) + request)
        head = self.receive(4)
        reply = decode(self.receive(struct.unpack("<I", head)[0]))
        if reply.get(1):
            refused = Refused(reply[1], reply.get(2, b"").decode(), reply.get(7, 0))
            refused.hint = reply.get(3, b"").decode()
            raise refused
        return reply

    def receive(self, n):
        out = b""
        while len(out) < n:
            part = self.socket.recv(n - len(out))
            if not part:
                raise EOFError
            out += part
        return out

    def status(self):
        request = field(1, b"" if self.told else field(1, PROFILE))
        self.told = True
        return decode(self.ask(request)[4])

    def sign(self, device):
        if not self.told:
            self.status()
        reply = decode(self.ask(field(2, device.request()))[5])
        return x509.load_der_x509_certificate(reply[1]), bool(reply.get(2))

    def stop(self):
        self.socket.close()
        return self.process.wait(20)


class Device:
    def __init__(self, name, ca):
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name),
                             x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")])
        self.csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        self.name = name
        self.serial, self.subject, self.uri = os.urandom(16), f"CN={name},O=Acme", f"urn:dev:{name}"
        self.not_before = int(load(ca / "subca.pem").not_valid_before.timestamp()) + 100

    def request(self):
        return (field(1, self.csr.public_bytes(serialization.Encoding.DER)) + field(2, self.serial)
                + field(3, self.not_before) + field(4, 253402300799) + field(5, self.subject) + field(6, 3)
                + field(7, self.uri) + field(8, "acme") + field(9, self.name) + field(10, "0123456789ab"))
