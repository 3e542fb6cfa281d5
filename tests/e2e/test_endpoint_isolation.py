# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""After a breach: signers' real logs decide who stays. The isolation drill, the policy "logged", and CRLs."""

import datetime
import json
import socket
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from endpoint_fixtures import DEVSTAMP, DAY, Endpoint, Identity, devstamp, make, now
from signerlib import Device, Signer


class Line(Signer):
    """A station's CA and its real signer, which signs for devices without a station."""

    def __init__(self, folder, *arguments):
        self.folder, self.ca, self.arguments = folder, folder / "ca", arguments
        folder.mkdir()
        devstamp("ca", "init", "--dir", self.ca, "--name", folder.name)
        self.log = folder / "issued.log"
        self.start()
        self.certificate = x509.load_pem_x509_certificate((self.ca / "subca.pem").read_bytes())
        self.key = serialization.load_pem_private_key((self.ca / "subca.key").read_bytes(), None)
        self.id = self.certificate.fingerprint(hashes.SHA256()).hex()

    def start(self):
        self.told = False
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        self.process = subprocess.Popen(
            [DEVSTAMP, "signer", "--fd", str(theirs.fileno()), "--key", f"file:{self.ca}/subca.key", "--certificate",
             self.ca / "subca.pem", "--log", self.log, *self.arguments], pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()

    def make(self, name):
        """A device that this line's signer certified."""
        d = Device(name, self.ca)
        return Identity(self.folder, name, self.sign(d)[0], d.key, (self.certificate,))

    def forge(self, name, **options):
        """What a thief of the CA key makes elsewhere."""
        return make(self.folder, f"forged-{name}", name, self, chain=(self.certificate,), **options)


def serve(tmp_path, lines):
    e = Endpoint(tmp_path)
    for line in lines:
        devstamp("registry", "init", "--registry", e.registry, "--ca", line.ca / "subca.pem", "--root", line.ca / "root.pem")
    e.configure()
    return e.start()


@pytest.fixture
def lines(tmp_path, request):
    made = [Line(tmp_path / f"line-{i + 1}") for i in range(getattr(request, "param", 1))]
    yield made
    for line in made:
        assert line.stop() == 0


@pytest.fixture
def endpoint(tmp_path, lines):
    e = serve(tmp_path, lines)
    yield e
    e.stop()


@pytest.fixture
def plain(tmp_path):
    e = serve(tmp_path, [])
    yield e
    e.stop()


def registry(endpoint, verb, *args, check=True):
    return devstamp("registry", verb, "--registry", endpoint.registry, *args, check=check)


def connects(endpoint, identity, name):
    return endpoint.publish(identity, name, f"devstamp/{name}/hello")[0] == 0


def next_second():
    """The log counts in seconds: what is signed after this returned is of a later one."""
    at = int(time.time()) + 1
    while time.time() < at:
        time.sleep(0.01)
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("lines", [2], indirect=True)
def test_isolation_drill(endpoint, lines):
    """The CA of line-1 is declared breached from a time on: what it logged before goes on, what it logged later and what
    is in no log is out, and nobody of line-2 notices."""
    breached, other = lines
    good, drawer, far = breached.make("SN1"), breached.make("SN2"), other.make("SN101")
    stolen = breached.forge("SN3", start=now() - 30 * DAY)  # not before is the thief's word
    at = next_second()
    late, late_drawer = breached.make("SN4"), breached.make("SN5")
    live = {n: endpoint.subscribe(d, n, f"devstamp/{n}/#")
            for n, d in (("SN1", good), ("SN101", far), ("SN3", stolen), ("SN4", late))}  # fmt: skip
    for line in lines:
        assert json.loads(registry(endpoint, "import-log", "--log", line.log, "--json").stdout)["ca_id"] == line.id

    registry(endpoint, "set", "--ca-id", breached.id, "--issued-from", at, "--state", "inactive")
    for name in ("SN3", "SN4"):
        live[name].wait("not authorised", 20)  # cut off, came again, and was refused
    assert connects(endpoint, drawer, "SN2")
    assert connects(endpoint, other.make("SN102"), "SN102")
    assert not connects(endpoint, late_drawer, "SN5")
    assert not connects(endpoint, breached.forge("SN6", start=now() - 30 * DAY), "SN6")
    for name in ("SN1", "SN101"):  # never noticed: one connection, still open
        assert live[name].process.poll() is None
        assert live[name].text().count("received CONNACK") == 1, live[name].text()

    report = json.loads(registry(endpoint, "report", "--json").stdout)
    assert {(d["name"], d["registered"]) for d in report["devices"]} == {
        ("SN3", True), ("SN4", True), ("SN5", False)}  # fmt: skip
    assert (report["admitted"], report["out"], report["unseen"]) == (4, 2, 1)
    assert report["isolations"] == [{"ca_id": breached.id, "issued_from": at, "issued_until": None, "state": "inactive",
                                     "set_at": report["isolations"][0]["set_at"]}]  # fmt: skip
    by_name = {d["name"]: d for d in report["devices"]}
    assert by_name["SN3"]["issued_at"] is None and by_name["SN4"]["issued_at"] >= at
    assert by_name["SN5"]["certificate_id"] == late_drawer.id
    text = registry(endpoint, "report", "--ca-id", breached.id).stdout
    assert all(n in text for n in by_name) and "SN101" not in text
    assert registry(endpoint, "report", "--ca-id", other.id).stdout.startswith("2 registered devices are admitted, 0 are not")

    registry(endpoint, "set", "--ca-id", breached.id, "--issued-from", at, "--state", "active")  # a false alarm
    assert connects(endpoint, late_drawer, "SN5")
    registry(endpoint, "set", "--ca-id", breached.id, "--issued-from", at, "--state", "revoked")
    assert not connects(endpoint, late_drawer, "SN5")
    again = registry(endpoint, "set", "--ca-id", breached.id, "--issued-from", at, "--state", "active", check=False)
    assert again.returncode == 8 and "stays revoked" in again.stderr


def test_stolen_ca_key_alone_admits_nobody(endpoint, lines):
    line = lines[0]
    registry(endpoint, "set", "--ca-id", line.id, "--policy", "logged")
    logged, thief = line.make("SN1"), line.forge("SN2")
    assert not connects(endpoint, logged, "SN1")  # the endpoint does not know the log yet
    assert "not in its CA's issuance log" in endpoint.log()
    done = registry(endpoint, "import-log", "--log", line.log)
    assert "1 entries" in done.stdout and "1 of them new" in done.stdout
    assert connects(endpoint, logged, "SN1")
    assert not connects(endpoint, thief, "SN2")
    assert list(endpoint.devices()) == ["SN1"]
    line.make("SN3")
    whole = line.log.read_bytes()
    line.log.with_suffix(".bad").write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    bad = registry(endpoint, "import-log", "--log", line.log.with_suffix(".bad"), check=False)
    assert bad.returncode == 6, bad.stderr
    missing = registry(endpoint, "import-log", "--log", line.folder / "none.log", check=False)
    assert missing.returncode == 3


def public(key, path):
    path.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip
    return path


def test_log_key_that_is_known_must_have_signed_the_head(tmp_path):
    """Nothing that the key did not sign for is taken, whoever else can write the log."""
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    secret = tmp_path / "log.key"
    secret.touch(0o600)
    secret.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    line = Line(tmp_path / "line", "--log-key", f"file:{secret}")
    e = Endpoint(tmp_path)
    devstamp("registry", "init", "--registry", e.registry, "--ca", line.ca / "subca.pem", "--log-key",
             public(other, tmp_path / "other.pub"))  # fmt: skip
    line.make("SN1")
    assert line.stop() == 0
    done = registry(e, "import-log", "--log", line.log, check=False)
    assert done.returncode == 8 and "signed by another key" in done.stderr
    registry(e, "set", "--ca-id", line.id, "--log-key", public(key, tmp_path / "log.pub"))
    assert "1 of them new" in registry(e, "import-log", "--log", line.log).stdout
    kept = (line.folder / "issued.log.head").read_bytes()
    line.start()
    line.make("SN2")
    assert line.stop() == 0
    (tmp_path / "kept").write_bytes(kept)
    done = registry(e, "import-log", "--log", line.log, "--head", tmp_path / "kept")
    assert "0 of them new" in done.stdout and "1 more wait" in done.stdout
    assert "1 of them new" in registry(e, "import-log", "--log", line.log).stdout
    for bad in (line.log, tmp_path / "none"):
        assert registry(e, "set", "--ca-id", line.id, "--log-key", bad, check=False).returncode == 3


def test_crl_cuts_off_who_is_connected_and_who_never_was(plain, tmp_path):
    endpoint = plain
    live, unseen, good = endpoint.device("SN1"), endpoint.device("SN2"), endpoint.device("SN3")
    ears, fine = endpoint.subscribe(live, "SN1", "devstamp/SN1/#"), endpoint.subscribe(good, "SN3", "devstamp/SN3/#")

    def crl(number, *revoked, key=None):
        builder = (x509.CertificateRevocationListBuilder().issuer_name(endpoint.sub.certificate.subject)
                   .last_update(now() - DAY).next_update(now() + DAY).add_extension(x509.CRLNumber(number), False))  # fmt: skip
        for d in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(d.certificate.serial_number)
                .revocation_date(now()).build())  # fmt: skip
        path = tmp_path / f"{number}.crl"
        signed = builder.sign(key or endpoint.sub.key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM if number % 2 else serialization.Encoding.DER))
        return registry(endpoint, "import-crl", "--crl", path, "--json", check=False)

    assert crl(4, good, key=endpoint.ops.key).returncode == 8
    done = json.loads(crl(7, live, unseen).stdout)
    assert (done["listed"], done["new"], done["devices"], done["ca_id"]) == (2, 2, 1, endpoint.sub.id)
    ears.wait("not authorised", 20)
    assert not connects(endpoint, unseen, "SN2")
    assert fine.process.poll() is None
    assert crl(6, good).returncode == 8
    (tmp_path / "text").write_text("no list\n")
    assert registry(endpoint, "import-crl", "--crl", tmp_path / "text", check=False).returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--issued-from", "2026-01-31T14:00:00Z", "--state", "inactive"],
        ["--ca-id", "0" * 64, "--issued-from", "2026-01-31T14:00:00Z"],
        ["--ca-id", "0" * 64, "--issued-until", "2026-01-31T14:00:00Z", "--state", "inactive"],
        ["--ca-id", "0" * 64, "--issued-from", "2026-01-31 14:00", "--state", "inactive"],
        ["--ca-id", "0" * 64, "--issued-from", "2026-02-31T14:00:00Z", "--state", "inactive"],
        ["--ca-id", "0" * 64, "--policy", "odd"], ["--ca-id", "0" * 64, "--registration", "odd"],
        ["--ca-id", "0" * 64, "--rate", "-1"], ["--ca-id", "0" * 63, "--policy", "jitr"], ["--topics", "devstamp/#"],
        ["--device", "a", "--state", "active", "--policy", "jitr"], ["--topics", "devstamp/{name}/#", "--rate", "1"],
    ],
)  # fmt: skip
def test_bad_words_exit_2(tmp_path, arguments):
    path = tmp_path / "registry.db"
    ca = make(tmp_path, "ca", "Some CA", ca=True)
    devstamp("registry", "init", "--registry", path, "--ca", ca.cert_file)
    assert devstamp("registry", "set", "--registry", path, *arguments, check=False).returncode == 2
