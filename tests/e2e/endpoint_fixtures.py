# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""An endpoint for tests: certificate authorities made with python3-cryptography (so that our own code does not judge
itself), a registry and a mosquitto with the plugin on loopback, and clients that are mosquitto_pub and mosquitto_sub.

DEVSTAMP_BUILD names the build directory. A plugin built with sanitizers is loaded with their runtime."""

import datetime
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", ROOT / "build" / "dev")).resolve()
DEVSTAMP = BUILD / "src" / "cli" / "devstamp"
PLUGIN = BUILD / "endpoint" / "devstamp_endpoint.so"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
DAY = datetime.timedelta(days=1)


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Identity:
    """A certificate, its key, and the chain that goes with it, as files."""

    def __init__(self, folder, label, certificate, key, chain=()):
        self.certificate, self.key = certificate, key
        self.cert_file, self.key_file = folder / f"{label}.pem", folder / f"{label}.key"
        pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (certificate, *chain))
        self.cert_file.write_bytes(pem)
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def id(self):
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def make(
    folder,
    label,
    subject,
    issuer=None,
    *,
    ca=False,
    path_length=None,
    usage=ExtendedKeyUsageOID.CLIENT_AUTH,
    start=None,
    end=None,
    key=None,
    san=None,
    chain=(),
    subject_name=None,
):
    """Make a certificate; issuer None signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name or name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now() - DAY)
        .not_valid_after(end or now() + 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not ca and usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if issuer:
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(aki, critical=False)
    if san:
        builder = builder.add_extension(san, critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Identity(folder, label, certificate, key, chain)


def listing_of(registry):
    return json.loads(devstamp("registry", "list", "--registry", registry, "--json").stdout)


def devstamp(*args, check=True):
    done = subprocess.run(
        [str(DEVSTAMP), *map(str, args)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sanitizer_environment():
    env = dict(os.environ)
    linked = subprocess.run(["ldd", str(PLUGIN)], capture_output=True, text=True, timeout=30).stdout
    runtimes = re.findall(r"=> (\S*lib(?:clang_rt\.)?(?:asan|tsan|ubsan)\S*)", linked)
    if runtimes:
        env["LD_PRELOAD"] = " ".join(runtimes)
        env["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=1"  # the broker leaks on its own
    return env


class Endpoint:
    """Root, Sub CA and services CA; a registry; a broker that can be stopped and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.root = make(folder, "root", "Test Root", ca=True)
        self.sub = make(folder, "sub", "Test Sub CA", self.root, ca=True, path_length=0)
        self.ops = make(folder, "ops", "Test Services CA", ca=True)
        san = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        self.server = make(
            folder, "server", "localhost", self.root, usage=ExtendedKeyUsageOID.SERVER_AUTH, san=san
        )
        self.service = make(folder, "service", "backend", self.ops)
        self.registry = folder / "registry.db"
        devstamp(
            "registry", "init", "--registry", self.registry, "--ca", self.sub.cert_file, "--root",
            self.root.cert_file, "--services", self.ops.cert_file,
        )  # fmt: skip
        self.port = free_port()
        self.log_file = folder / "broker.log"
        self.conf_dir = folder / "broker"
        self.process = None
        self.subscribers = []
        self.configure()

    def configure(self):
        devstamp(
            "registry", "config", "--registry", self.registry, "--dir", self.conf_dir, "--port", self.port,
            "--cert", self.server.cert_file, "--key", self.server.key_file, "--plugin", PLUGIN,
        )  # fmt: skip

    def start(self):
        # Each start has its own log: what is waited for must be of this broker.
        log = open(self.log_file, "ab")
        begin = log.tell()
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self.conf_dir / "mosquitto.conf")],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=sanitizer_environment(),
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 20
        while b"running" not in self.log_file.read_bytes()[begin:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait(20)
                raise AssertionError(f"the broker does not start: {self.log()}")
            time.sleep(0.02)
        return self

    def stop(self):
        for s in self.subscribers:
            s.close()
        if self.process:
            self.process.terminate()
            code = self.process.wait(20)
            self.process = None
            assert code == 0, self.log()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def device(self, common, issuer=None, **options):
        issuer = issuer or self.sub
        chain = options.pop("chain", (issuer.certificate,))
        return make(self.folder, f"device-{common}-{time.monotonic_ns()}", common, issuer, chain=chain, **options)

    def publish(self, identity, client_id, topic, message="hello", qos=1, timeout=20, extra=()):
        """Connect, publish once, disconnect. Returns (exit code, text)."""
        done = subprocess.run(
            [
                "mosquitto_pub", "-h", "localhost", "-p", str(self.port), "--cafile", str(self.root.cert_file),
                "--cert", str(identity.cert_file), "--key", str(identity.key_file), "-i", client_id, "-t", topic,
                "-m", message, "-q", str(qos), "-V", "5", *extra,
            ],
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def subscribe(self, identity, client_id, *topics):
        self.subscribers.append(Subscriber(self, identity, client_id, topics))
        return self.subscribers[-1]

    def devices(self):
        """Registered devices by name (the newest where several)."""
        return {d["name"]: d for d in listing_of(self.registry)["devices"]}


class Subscriber:
    """mosquitto_sub that has subscribed when the constructor returns."""

    def __init__(self, endpoint, identity, client_id, topics):
        command = [
            "stdbuf", "-oL", "mosquitto_sub", "-h", "localhost", "-p", str(endpoint.port), "--cafile", str(endpoint.root.cert_file),
            "--cert", str(identity.cert_file), "--key", str(identity.key_file), "-i", client_id, "-v", "-d", "-q", "1",
        ]  # fmt: skip
        for topic in topics:
            command += ["-t", topic]
        self.file = endpoint.folder / f"sub-{client_id}-{time.monotonic_ns()}.log"
        with open(self.file, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            self.wait("Subscribed (mid")
        except AssertionError:
            self.close()
            raise

    def text(self):
        return self.file.read_text(errors="replace")

    def messages(self):
        """Topic and payload lines, without the client's own talk."""
        own = re.compile(r"^(Client |Subscribed |Connection |Error|Warning|$)")
        return [line for line in self.text().splitlines() if not own.match(line)]

    def wait(self, wanted, timeout=15):
        deadline = time.monotonic() + timeout
        while wanted not in self.text():
            assert self.process.poll() is None or wanted in self.text(), self.text()
            assert time.monotonic() < deadline, f"no '{wanted}' in: {self.text()}"
            time.sleep(0.02)

    def ended(self, timeout=15):
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(15)
