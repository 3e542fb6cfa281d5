# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""What the tests of devstamp cloud share: a CA, a ledger with devices that are not worth a line each, and the command."""

import datetime
import hashlib
import os
import secrets
import sqlite3
import subprocess

import awsfake
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from factory import DEVSTAMP, run

RESERVED, SIGNED, INSTALLED, REGISTERED = 1, 2, 3, 4


class Maker:
    """A CA folder as 'devstamp ca init' makes it, and device certificates by it."""

    def __init__(self, folder):
        self.dir = folder / "ca"
        run(DEVSTAMP, "ca", "init", "--dir", self.dir)
        self.ca = x509.load_pem_x509_certificate((self.dir / "subca.pem").read_bytes())
        self.key = serialization.load_pem_private_key((self.dir / "subca.key").read_bytes(), None)
        self.ca_id = hashlib.sha256(self.ca.public_bytes(serialization.Encoding.DER)).hexdigest()

    def certify(self, name, key=None):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder()
                .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                .issuer_name(self.ca.subject).public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
                .serial_number(int.from_bytes(b"\x01" + secrets.token_bytes(15), "big"))
                .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=9))
                .sign(key or self.key, hashes.SHA256()))


class Ledger:
    """Rows as a line would leave them. The evidence chain is not: this record is for clouds to be held against."""

    def __init__(self, path, maker):
        self.path, self.maker, self.certs = path, maker, {}
        run(DEVSTAMP, "ledger", "revoke", "--ledger", path, "--reason", "makes the file", "nobody", ok=False)

    def add(self, serial, state=INSTALLED, revoked=None, signed_at=None, key=None):
        cert = self.maker.certify(serial, key)
        der = cert.public_bytes(serialization.Encoding.DER)
        at = signed_at or 1_700_000_000
        spki = cert.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        with sqlite3.connect(self.path) as db:
            device = db.execute(
                "INSERT INTO device(chip, mac, product, serial, first_seen, last_seen) VALUES(5, ?, 'lamp', ?, ?, ?)",
                (secrets.token_bytes(6), serial, at, at)).lastrowid
            db.execute(
                "INSERT INTO certificate(device, state, serial, key_digest, csr, subject, not_before, not_after, der,"
                " fingerprint, reserved_at, signed_at, installed_at, registered_at, revoked_at)"
                " VALUES(?, ?, ?, ?, x'00', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (device, state, cert.serial_number.to_bytes(16, "big"), hashlib.sha256(spki).digest(), f"CN={serial}",
                 at, at + 10**9, der, hashlib.sha256(der).digest(), at, at, at if state >= INSTALLED else None,
                 at if state >= REGISTERED else None, revoked))
        db.close()
        self.certs[serial] = cert
        return self.id(serial)

    def id(self, serial):
        return hashlib.sha256(self.certs[serial].public_bytes(serialization.Encoding.DER)).hexdigest()

    def pem(self, serial):
        return self.certs[serial].public_bytes(serialization.Encoding.PEM).decode()

    def states(self):
        db = sqlite3.connect(self.path)
        rows = dict(db.execute("SELECT d.serial, c.state FROM device d JOIN certificate c ON c.device = d.id"))
        db.close()
        return rows


class Cloud:
    """The command against a fake, with an environment that holds nothing of this machine's."""

    def __init__(self, fake, home):
        self.fake = fake
        key, secret = next(iter(awsfake.KEYS.items()))
        self.env = {"HOME": str(home), "PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": key,
                    "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": awsfake.REGION,
                    "AWS_EC2_METADATA_DISABLED": "true"}
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def command(self, *args):
        return [str(a) for a in (DEVSTAMP, "cloud", "aws", *args, "--endpoint-url", self.fake.url, "--ca-file",
                                 self.fake.certificate)]

    def run(self, *args, code=0):
        p = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=240, env=self.env)
        assert p.returncode == code, f"{args}\nexit {p.returncode}\n{p.stdout}\n{p.stderr}"
        return p

    def start(self, *args):
        return subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.env)
