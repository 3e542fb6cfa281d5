# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A signer for stations elsewhere on loopback, and a station that speaks to it with none of devstamp's own code."""

import datetime
import ipaddress
import pathlib
import signal
import socket
import ssl
import struct
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from factory import DEVSTAMP, wait_for
from signerlib import Refused, decode, field

RECIPE = """\
recipe: 1
product: {product}
chip: generic
key: ecdsa-p256
certificate: {{subject: "CN={{serial}},O=Acme", days: 0}}
stamp:
  serial: "SN{{counter}}"
  endpoint: mqtts://localhost:1
  endpoint_ca: {ca}/root.pem
lock: {{mode: none}}
"""

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA in a folder that vouches for the signer and its stations."""

    def __init__(self, folder, name="Line CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.folder / "ca.pem"
        self.cert = self.build(self.name, self.key.public_key(), ca=True)
        self.certificate.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def build(self, subject, public, ca=False, begin=-1, end=30, usage=None, hosts=()):
        now = datetime.datetime.utcnow()
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
             .serial_number(x509.random_serial_number()).not_valid_before(now + begin * DAY)
             .not_valid_after(now + end * DAY).add_extension(x509.BasicConstraints(ca, None), True))
        if usage:
            b = b.add_extension(x509.ExtendedKeyUsage([usage]), False)
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
            b = b.add_extension(x509.SubjectAlternativeName(names), False)
        return b.sign(self.key, hashes.SHA256())

    def issue(self, name, file=None, server=False, **how):
        """NAME.pem and NAME.key (or file's) in the folder; the paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        cert = self.build(subject, key.public_key(), usage=usage, **how)
        paths = self.folder / f"{file or name}.pem", self.folder / f"{file or name}.key"
        paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        paths[1].chmod(0o600)
        return paths


def fingerprint(certificate):
    return x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256()).hex()


class Front:
    """devstamp signer listen. stations: {name: "further: members"} of the configuration."""

    def __init__(self, folder, authority, signer, recipes, stations, env=None, ca=True, **limits):
        self.folder, self.authority, self.recipes, self.env = pathlib.Path(folder), authority, recipes, env
        self.certificate, self.key = authority.issue("signer", server=True, hosts=("127.0.0.1", "localhost"))
        self.config, self.process, self.port, self.est_port = self.folder / "listen.yaml", None, 0, 0
        lines = ["station: 1", "name: signer", "signer:"] + [f'  {k}: "{v}"' for k, v in signer.items()]
        lines += ["listen:", "  address: 127.0.0.1:@PORT@", f"  certificate: {self.certificate}", f"  key: file:{self.key}"]
        lines += [f"  ca: {authority.certificate}"] if ca else []
        lines += [f"  {k}: {v}" for k, v in limits.items()] + ["  stations:"]
        lines += [f"    - {{name: {name}{', ' + more if more else ''}}}" for name, more in stations.items()]
        self.text = "\n".join(lines) + "\n"

    def spawn(self):
        """The process, which may fail: its output is a pipe."""
        self.config.write_text(self.text.replace("@PORT@", str(self.port)).replace("@EST@", str(self.est_port)))
        args = [DEVSTAMP, "signer", "listen", "-v", "--config", self.config]
        for r in self.recipes:
            args += ["--recipe", r]
        self.said = self.folder / "listen.log"
        with open(self.said, "a") as log:
            return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=log, text=True, env=self.env)

    def start(self):
        """Until it listens; the port stays the same over restarts. Its predecessor may still be ending."""
        def listening():
            self.process = self.spawn()
            line = self.process.stdout.readline()
            if not line:
                self.process.wait()
                self.process.stdout.close()
                again = self.said.read_text().splitlines()[-2:]
                assert any("held by another" in t for t in again), self.said.read_text()
            return line
        self.port = int(wait_for(listening, what="the signer").rsplit(" ", 1)[1])
        if "@EST@" in self.text:
            self.est_port = int(self.process.stdout.readline().rsplit(" ", 1)[1])
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=60) == 0, self.said.read_text()
            self.process.stdout.close()

    def station(self, folder, certificate, key, slots="[]", name="station", sub_ca=None, ca=None, **more):
        """A station file of a station that asks this signer."""
        path = pathlib.Path(folder) / f"{name}.yaml"
        lines = ["station: 1", f"name: {name}", f"ledger: {folder}/ledger.db", "signer:",
                 f"  address: 127.0.0.1:{self.port}", f"  ca: {ca or self.authority.certificate}",
                 f"  certificate: {certificate}", f"  key: \"{key if ':' in str(key) else f'file:{key}'}\""]
        lines += [f"  sub_ca: {sub_ca}"] if sub_ca else []
        lines += [f'  {k}: {v}' for k, v in more.items()] + [f"slots: {slots}"]
        path.write_text("\n".join(lines) + "\n")
        return path


class Peer:
    """One connection of a station; certificate None: shows none."""

    def __init__(self, front, certificate=None, key=None, ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca or front.authority.certificate)
        if certificate:
            context.load_cert_chain(certificate, key)
        self.raw = socket.create_connection(("127.0.0.1", front.port), 60)
        self.raw.settimeout(60)
        try:
            self.socket = context.wrap_socket(self.raw, server_hostname="127.0.0.1")
        except Exception:
            self.raw.close()
            raise
        self.waits = 0

    def receive(self, n):
        out = b""
        while len(out) < n:
            part = self.socket.recv(n - len(out))
            if not part:
                raise EOFError
            out += part
        return out

    def send(self, request):
        self.socket.sendall(struct.pack("<I", len(request)) + request)

    def reply(self):
        """The next message, of those that say "wait" too."""
        return decode(self.receive(struct.unpack("<I", self.receive(4))[0]))

    def answer(self):
        reply = self.reply()
        while 32 in reply:
            self.waits += 1
            reply = self.reply()
        if reply.get(1):
            raise Refused(reply[1], reply.get(2, b"").decode(), reply.get(7, 0))
        return reply

    def ask(self, request):
        self.send(request)
        return self.answer()

    def status(self, profile=None):
        return decode(self.ask(field(1, field(1, profile) if profile else b""))[4])

    def sign(self, device):
        return x509.load_der_x509_certificate(decode(self.ask(field(2, device.request()))[5])[1])

    def revoke(self, serial, reason=0):
        return decode(self.ask(field(30, field(1, serial) + (field(2, reason) if reason else b"")))[30])

    def entries(self, first=1):
        return decode(self.ask(field(31, field(1, first)))[31])

    def is_closed(self):
        """Waits until the other side closes; what it still says is read over."""
        try:
            while self.socket.recv(4096):
                pass
        except OSError as e:
            assert not isinstance(e, TimeoutError), "not closed"
        return True

    def close(self):
        self.socket.close()


def serial_of(certificate):
    """As the log has it: 16 bytes."""
    return certificate.serial_number.to_bytes(16, "big")


