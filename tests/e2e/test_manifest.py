# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp manifest over the real program; what it writes is judged with Python and openssl alone."""

import base64
import csv
import datetime
import hashlib
import json
import os
import sqlite3

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from factory import DEVSTAMP, run

COUNT = 520


def key_file(path):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    os.chmod(path, 0o600)
    run("openssl", "pkey", "-in", path, "-pubout", "-out", f"{path}.pub")
    return path


class Authority:
    def __init__(self, folder, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(self.name, self.key.public_key(), x509.random_serial_number(), True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, subject, key, serial, ca=False):
        now = datetime.datetime(2026, 1, 1)
        ski = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=9999))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), False)
            .sign(self.key, hashes.SHA256())
        )


class Forger:
    """Makes certificates that say they are by an authority."""

    def __init__(self, authority):
        self.authority = authority

    def sign(self, *args):
        der = bytearray(self.authority.sign(*args).public_bytes(serialization.Encoding.DER))
        der[-1] ^= 1
        return x509.load_der_x509_certificate(bytes(der))


class Ledger:
    """A ledger with rows that no station made; the devices share a key type, not keys."""

    def __init__(self, folder):
        self.path = folder / "ledger.db"
        self.count = 0
        self.key = key_file(folder / "signer.pem")
        (folder / "none.txt").write_text("X-1\n")
        run(DEVSTAMP, "manifest", "export", "--serials", folder / "none.txt", "--product", "none", "--key", self.key, "-o",
            folder / "none")
        run(DEVSTAMP, "manifest", "import", "--signed-by", f"{self.key}.pub", "--ledger", self.path, folder / "none")

    def add(self, authority, count, product="lamp", signed=1750000000):
        db = sqlite3.connect(self.path)
        for _ in range(count):
            self.count += 1
            serial = f"SN{self.count:05}"
            number = bytes([1]) + os.urandom(15)
            key = ec.generate_private_key(ec.SECP256R1()).public_key()
            der = authority.sign(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)]), key, int.from_bytes(number, "big")
            ).public_bytes(serialization.Encoding.DER)
            spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            device = db.execute(
                "INSERT INTO device(chip, mac, product, serial, first_seen, last_seen) VALUES(5, ?, ?, ?, 1, 1)",
                (self.count.to_bytes(6, "big"), product, serial),
            ).lastrowid
            db.execute(
                "INSERT INTO certificate(device, state, serial, key_digest, csr, subject, not_before, not_after, der, fingerprint,"
                " reserved_at, signed_at, installed_at) VALUES(?, 3, ?, ?, x'', ?, 1, 2, ?, ?, ?, ?, ?)",
                (device, number, hashlib.sha256(spki).digest(), f"CN={serial}", der, hashlib.sha256(der).digest(), signed, signed, signed),
            )
        db.commit()
        db.close()

    def revoke(self, serial):
        db = sqlite3.connect(self.path)
        db.execute(
            "UPDATE certificate SET revoked_at = 9000000000 WHERE device = (SELECT id FROM device WHERE serial = ?)", (serial,)
        )
        db.commit()
        db.close()


def manifest(verb, *args, ok=True):
    return run(DEVSTAMP, "manifest", verb, *args, ok=ok)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifest")
    authority = Authority(folder, "one")
    ledger = Ledger(folder)
    ledger.add(authority, COUNT)
    manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", folder / "all")
    return folder, ledger, authority


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    authority = Authority(folder, "one")
    ledger = Ledger(folder)
    ledger.add(authority, 23)
    manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", folder / "all")
    return folder, ledger, authority


def by(ledger):
    return "--signed-by", f"{ledger.key}.pub"


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def root(leaves):
    """RFC 9162, 2.1.1."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def entries(path):
    return [x for x in path.read_bytes().splitlines()[3:] if not x.startswith(b'{"block":')]


def test_others_can_verify_it(made, tmp_path):
    folder, ledger, _ = made
    lines = (folder / "all").read_bytes().splitlines()
    head, signature = json.loads(lines[0]), json.loads(lines[1])
    assert head["devstamp"] == "device manifest 1" and head["count"] == COUNT
    (tmp_path / "signed").write_bytes(b"devstamp statement\0" + lines[0])
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature["signature"]))
    run("openssl", "dgst", "-sha256", "-verify", f"{ledger.key}.pub", "-signature", tmp_path / "signature", tmp_path / "signed")
    listed = entries(folder / "all")
    assert len(listed) == COUNT
    assert root([leaf(x) for x in listed]).hex() == head["root"]
    devices = [json.loads(x) for x in listed]
    assert sorted(d["serial"] for d in devices) == [f"SN{i:05}" for i in range(1, COUNT + 1)]
    assert [d["fingerprint"] for d in devices] == sorted(d["fingerprint"] for d in devices)
    for d in devices[:5]:
        assert hashlib.sha256(base64.b64decode(d["certificate"])).hexdigest() == d["fingerprint"]


def test_verify_needs_the_right_key(made, tmp_path):
    folder, ledger, _ = made
    p = manifest("verify", *by(ledger), folder / "all")
    assert "whole, and signed as demanded" in p.stdout
    other = key_file(tmp_path / "other.pem")
    p = manifest("verify", "--signed-by", f"{other}.pub", folder / "all", ok=False)
    assert p.returncode == 8 and "a key that was not named" in p.stderr
    text = (folder / "all").read_text().replace(f'"count":{COUNT}', '"count":519', 1)
    (tmp_path / "edited").write_text(text)
    p = manifest("verify", *by(ledger), tmp_path / "edited", ok=False)
    assert p.returncode == 3 and "its signature does not hold" in p.stdout


def test_damage_is_told_and_repaired_from_the_ledger(made, tmp_path):
    folder, ledger, authority = made
    manifest("split", *by(ledger), "--parts", "3", "-o", tmp_path / "p", folder / "all")
    one, two, three = (tmp_path / f"p.part-{i}-of-3" for i in (1, 2, 3))
    lines = one.read_text().splitlines(keepends=True)
    victim = json.loads(lines[50])["serial"]
    lines[50] = lines[50].replace(victim, "SN99999")
    del lines[100:110]
    one.write_text("".join(lines))
    two.unlink()
    late = json.loads(entries(three)[7])["serial"]
    p = manifest("verify", *by(ledger), three, one, ok=False)
    assert p.returncode == 3
    assert f"{one}: entry 47: edited (it says it is SN99999)" in p.stdout
    assert f"{one}: entries 97 to 106: lost" in p.stdout
    assert "entries 257 to 512: lost" in p.stdout
    assert "267 of 520 entries are lost or edited" in p.stderr
    p = manifest("join", *by(ledger), "-o", tmp_path / "whole", three, one, ok=False)
    assert p.returncode == 3 and "--repair --ledger" in p.stderr and not (tmp_path / "whole").exists()
    # Since then devices were made, and one that is listed was revoked.
    ledger.add(authority, 5, signed=9000000000)
    ledger.revoke(late)
    ledger.revoke(victim)
    p = manifest("join", *by(ledger), "--repair", "--ledger", ledger.path, "-o", tmp_path / "whole", three, one)
    assert f"entry 47: {victim}, made again from the ledger" in p.stdout
    assert (tmp_path / "whole").read_bytes() == (folder / "all").read_bytes()
    # A device that the ledger lost cannot be made up.
    db = sqlite3.connect(ledger.path)
    copy = sqlite3.connect(tmp_path / "poor.db")
    db.backup(copy)
    copy.execute("DROP TRIGGER certificate_kept")
    copy.execute("DELETE FROM certificate WHERE device = (SELECT id FROM device WHERE serial = ?)", (victim,))
    copy.commit()
    copy.close()
    db.close()
    p = manifest("join", *by(ledger), "--repair", "--ledger", tmp_path / "poor.db", "-o", tmp_path / "w2", three, one, ok=False)
    assert p.returncode == 3 and "entries 47 to 47 cannot be made again" in p.stderr
    assert sorted(x.name for x in tmp_path.iterdir() if x.name.startswith("w")) == ["whole"]


def test_the_choice(made, tmp_path):
    folder, _, _ = made
    ledger = Ledger(tmp_path)
    a, b = Authority(tmp_path, "a"), Authority(tmp_path, "b")
    ledger.add(a, 3, signed=1750000000)
    ledger.add(b, 4, product="fan", signed=1750003600)
    ledger.revoke("SN00001")

    def listed(*choice):
        out = tmp_path / "list"
        manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", out, *choice)
        return sorted(json.loads(x)["serial"] for x in entries(out))

    fans = ["SN00004", "SN00005", "SN00006", "SN00007"]
    assert listed() == ["SN00002", "SN00003"] + fans
    assert listed("--product", "fan") == fans
    assert listed("--ca", b.file) == fans
    assert listed("--from", "2025-06-15T15:16:00Z") == fans
    assert listed("--until", "2025-06-15T15:16:00Z") == ["SN00002", "SN00003"]
    assert listed("--only", "SN00006", "--only", "SN00002") == ["SN00002", "SN00006"]
    p = manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", tmp_path / "x", "--only", "SN00001", ok=False)
    assert p.returncode == 3 and "'SN00001'" in p.stderr and not (tmp_path / "x").exists()
    p = manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", tmp_path / "x", "--product", "cup", ok=False)
    assert p.returncode == 3 and "no such device" in p.stderr
    for new in ([], ["--new"]):  # a wrong path is no empty ledger
        p = manifest("export", "--ledger", tmp_path / "typo", "--key", ledger.key, "--name", "cloud", *new, "-o", tmp_path / "x", ok=False)
        assert p.returncode == 6 and "No such file" in p.stderr and not (tmp_path / "typo").exists()
    # Each consumer hears of each device once.
    assert len(listed("--name", "aws", "--new", "--product", "fan")) == 4
    assert listed("--name", "aws", "--new") == ["SN00002", "SN00003"]
    p = manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", tmp_path / "x", "--name", "aws", "--new")
    assert "nothing new" in p.stdout and not (tmp_path / "x").exists()
    assert len(listed("--name", "azure", "--new")) == 6
    ledger.add(a, 1, signed=1700000000)  # whatever its clock said
    assert listed("--name", "aws", "--new") == ["SN00008"]
    ledger.add(Forger(b), 1)
    assert "SN00009" in listed() and listed("--ca", b.file) == fans


def test_formats_of_others(few, tmp_path):
    folder, ledger, authority = few
    want = {json.loads(x)["serial"]: json.loads(x) for x in entries(folder / "all")}

    def printed(form, *more):
        manifest("export", *by(ledger), "--format", form, *more, "-o", tmp_path / form, folder / "all")
        return (tmp_path / form).read_text()

    aws = [json.loads(x) for x in printed("aws", "--ca", authority.file).splitlines()]
    assert len(aws) == 23
    for x in aws:
        assert set(x) == {"ThingName", "SerialNumber", "Product", "CertificatePem", "CACertificatePem"}
        der = x509.load_pem_x509_certificate(x["CertificatePem"].encode()).public_bytes(serialization.Encoding.DER)
        assert base64.b64encode(der).decode() == want[x["ThingName"]]["certificate"]
        assert x["CACertificatePem"] == authority.file.read_text()
    azure = [json.loads(x) for x in printed("azure").splitlines()]
    assert all(x["mode"] == "create" and 1 <= len(x["enrollments"]) <= 10 for x in azure)
    enrolled = [x for one in azure for x in one["enrollments"]]
    assert {x["registrationId"] for x in enrolled} == set(want)
    assert enrolled[0]["attestation"]["type"] == "x509"
    pem = enrolled[0]["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"]
    assert x509.load_pem_x509_certificate(pem.encode())
    printed("csv")
    with open(tmp_path / "csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {r["serial"]: r["certificate"] for r in rows} == {s: d["certificate"] for s, d in want.items()}
    assert {x["serial"] for x in json.loads(printed("json"))} == set(want)
    manifest("export", "--ledger", ledger.path, "--format", "json", "--only", "SN00009", "-o", tmp_path / "one")
    assert [x["serial"] for x in json.loads((tmp_path / "one").read_text())] == ["SN00009"]


def test_announced_to_a_registry(few, tmp_path):
    folder, ledger, authority = few
    registry = tmp_path / "registry.db"
    stranger = Authority(tmp_path, "stranger")
    run(DEVSTAMP, "registry", "init", "--registry", registry, "--ca", stranger.file)
    p = manifest("import", *by(ledger), "--registry", registry, folder / "all", ok=False)
    assert p.returncode == 8 and "no CA that is registered here" in p.stderr
    run(DEVSTAMP, "registry", "init", "--registry", registry, "--ca", authority.file)
    p = manifest("import", *by(ledger), "--registry", registry, folder / "all")
    assert "23 devices, 23 of them new here" in p.stdout
    p = manifest("import", *by(ledger), "--registry", registry, folder / "all")
    assert "23 devices, 0 of them new here" in p.stdout
    broken = tmp_path / "broken"
    lines = (folder / "all").read_text().splitlines(keepends=True)
    broken.write_text("".join(lines[:9] + lines[10:]))
    p = manifest("import", *by(ledger), "--registry", registry, broken, ok=False)
    assert p.returncode == 3 and "entry 6: lost" in p.stdout and "nothing was imported" in p.stderr


def test_serial_numbers_from_a_list(made, tmp_path):
    _, ledger, _ = made
    (tmp_path / "serials.txt").write_text("".join(f"L-{i * 7919 % 1000:04}\n" for i in range(300)))
    manifest("export", "--serials", tmp_path / "serials.txt", "--product", "cup", "--key", ledger.key, "-o", tmp_path / "list")
    p = manifest("import", *by(ledger), "--ledger", tmp_path / "new.db", tmp_path / "list")
    assert "300 serial numbers for cup; 300 are left of 300" in p.stdout
    p = manifest("import", *by(ledger), "--ledger", tmp_path / "new.db", tmp_path / "list")
    assert "imported before" in p.stdout
    (tmp_path / "more.txt").write_text("M-1\nL-0000\n")
    manifest("export", "--serials", tmp_path / "more.txt", "--product", "cup", "--key", ledger.key, "-o", tmp_path / "again")
    p = manifest("import", *by(ledger), "--ledger", tmp_path / "new.db", tmp_path / "again", ok=False)
    assert p.returncode == 8 and "'L-0000'" in p.stderr
    (tmp_path / "bad.txt").write_text("M-1\nL 2\n")
    p = manifest("export", "--serials", tmp_path / "bad.txt", "--product", "cup", "--key", ledger.key, "-o", tmp_path / "b", ok=False)
    assert p.returncode == 3 and "line 2" in p.stderr
    edited = (tmp_path / "list").read_text().replace('"L-0000"', '"L-9999"')
    (tmp_path / "edited").write_text(edited)
    p = manifest("import", *by(ledger), "--ledger", tmp_path / "new.db", tmp_path / "edited", ok=False)
    assert p.returncode == 3 and "entry 1: edited (it says it is L-9999)" in p.stdout


def test_bad_command_lines(made, tmp_path):
    folder, ledger, _ = made
    for args in (
        ["verify", folder / "all"],
        ["verify", *by(ledger)],
        ["split", *by(ledger), "--parts", "1", "-o", tmp_path / "x", folder / "all"],
        ["join", *by(ledger), "--repair", "-o", tmp_path / "x", folder / "all"],
        ["import", *by(ledger), folder / "all"],
        ["export", "--ledger", ledger.path, "-o", tmp_path / "x"],
        ["export", "--ledger", ledger.path, "--key", ledger.key, "--new", "-o", tmp_path / "x"],
        ["export", "--ledger", ledger.path, "--format", "xml", "-o", tmp_path / "x"],
        ["export", "--ledger", ledger.path, "--key", ledger.key, "--from", "yesterday", "-o", tmp_path / "x"],
    ):
        assert manifest(*args, ok=False).returncode == 2, args
    p = manifest("split", *by(ledger), "--parts", "4", "-o", tmp_path / "x", folder / "all", ok=False)
    assert p.returncode == 3 and "1 to 3 parts" in p.stderr
    for what in (b"", b"\n\n\n", b"{}\n{}\n{}\n", os.urandom(5000)):
        (tmp_path / "junk").write_bytes(what)
        assert manifest("verify", *by(ledger), tmp_path / "junk", ok=False).returncode == 3
    # A statement is no bundle and no image, whoever asks for the signature.
    statement = (folder / "all").read_text().splitlines()[0]
    order = json.dumps({"devstamp": "signing order 1", "statement": statement, "what": "statement"}, separators=(",", ":"))
    (tmp_path / "order").write_text(order + "\n")
    for kind, more in (("bundle", ["--digest", "00" * 32]), ("image", [])):
        p = run(DEVSTAMP, kind, "sign-order", "--key", ledger.key, *more, "-o", tmp_path / "x", tmp_path / "order", ok=False)
        assert p.returncode == 3 and "is of a statement" in p.stderr
    p = run(DEVSTAMP, "bundle", "show", tmp_path / "order", ok=False)
    assert p.returncode == 3 and "it is of a statement" in p.stderr
    os.chmod(ledger.key, 0o644)
    p = manifest("export", "--ledger", ledger.path, "--key", ledger.key, "-o", tmp_path / "x", ok=False)
    os.chmod(ledger.key, 0o600)
    assert p.returncode == 8 and not list(tmp_path.glob("x*"))
