# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Stations whose certificates come from an EST server: devstamp's own, and one of another make that misbehaves."""

import json
import pathlib
import sqlite3
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from estlib import Ca, EstServer, station_file
from factory import DEVSTAMP, run, wait_for
from remotelib import Authority, Front


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("line-ca"))


class Line:
    """One virtual device, and an EST server of another make below two CAs."""

    def __init__(self, products, factory, authority):
        self.products, self.factory, self.authority = products, factory, authority
        self.root = Ca("Acme Root")
        self.middle = Ca("Acme Middle", self.root)
        self.sub = Ca("Acme Devices", self.middle)
        self.device_ca = self.root.write(factory.folder / "root.pem")
        self.server = EstServer(authority, self.sub, [self.root.cert, self.middle.cert, self.sub.cert])
        self.ids = authority.issue("line-1")
        self.recipe = products.recipe(factory.folder, "esp32c3", proof="report")
        factory.start(f"chip=esp32c3,image={factory.merged(self.recipe)}")
        self.station = self.file()

    def file(self, **changes):
        how = {"url": self.server.url, "ids": self.ids, "ca": self.authority.certificate, "device_ca": self.device_ca}
        return station_file(self.factory, **{**how, **changes})

    def rows(self):
        db = sqlite3.connect(f"file:{self.factory.folder / 'ledger.db'}?mode=ro", uri=True)
        return db.execute("select state, der from certificate").fetchall()

    def show(self):
        return json.loads(run(DEVSTAMP, "ledger", "show", "--ledger", self.factory.folder / "ledger.db", "--json",
                              self.factory.ledger()[0]["serial"]).stdout)

    def fails(self, station=None, code=1):
        """What the slot, or the run, said; the device is as it was."""
        flash = self.factory.flash(0)
        p, doc = self.factory.provision(self.recipe, station or self.station, ok=False)
        assert p.returncode == code, p.stdout + p.stderr
        error = doc["slots"][0]["error"] if doc["slots"] else doc["error"]
        assert self.factory.flash(0) == flash
        return error["text"], error["hint"]


@pytest.fixture
def line(products, factory, authority):
    made = Line(products, factory, authority)
    yield made
    made.server.stop()


BAD = {
    "other_key": (1, "it is for another key than the request's"),
    "other_subject": (1, "OU=More, asked was CN=SN-"),
    "a_ca": (1, "it is a CA's"),
    "self_signed": (1, "it is not by device_ca"),
    "impostor": (1, "it is not by device_ca"),
    "alternative_name": (1, "it has an alternative name that was not asked"),
    "ended": (1, "it ended on "),
    "short": (1, "the recipe demands one without end"),
    "two": (1, "it gave 2 certificates for one request"),
    "garbage": (7, "the answer is no certs-only message"),
    "no_base64": (7, "the answer is not base64"),
    "no_certificates": (7, "the answer is not application/pkcs7-mime"),
    "endless": (7, "an answer of more than 65536 bytes"),
    "elsewhere": (1, "it sends us elsewhere (302), which is not followed"),
    "password": (1, "it wants a name and a password"),
    "refused": (1, "it refuses (403): not on?[31m the list"),
    "broken": (7, "it cannot (500): disk full"),
    "later": (7, "not yet (202)"),
    "much_later": (7, "wants to be asked again in 7200 s"),
    "hang": (7, "no answer in time"),
    "cut": (7, "the answer was cut off"),
}
PATIENCE = {"later": {"wait": 1}, "hang": {"timeout": 3}}


def test_bad_answers_change_nothing(line):
    """Each in its own words, with slot and device named; then the good server goes on where they left off."""
    line.server.mode = "refused"
    line.factory.provision(line.recipe, line.station, ok=False)  # from here on the device has its key
    serial = line.factory.ledger()[0]["serial"]
    for mode, (code, words) in BAD.items():
        line.server.mode = mode
        text, hint = line.fails(line.file(**PATIENCE.get(mode, {})), code=code)
        assert words in text and text.startswith(f"slot 0: {serial}: certificate: sign: EST server https://127"), text
        if mode in ("hang", "cut"):
            assert "it may have signed all the same" in hint
        if mode in ("other_key", "other_subject", "a_ca", "short"):  # so that its CA can revoke it
            assert f"(serial number {line.server.issued[-1].serial_number:x})" in text.replace("number 0", "number ")
        assert line.rows() == [(1, None)], mode
    p = line.factory.ledger_is_whole()
    assert p.returncode == 6 and "whether the CA elsewhere signed it is not known here" in p.stdout
    line.server.mode = "once_later"
    line.factory.provision(line.recipe, line.file())
    newest = line.server.issued[-1]
    assert line.rows()[0][0] == 3 and x509.load_der_x509_certificate(line.rows()[0][1]) == newest
    keys = {c.public_key().public_numbers() for c in line.server.asked}
    assert len(keys) == 1  # the same request each time
    certificate = line.show()["certificate"]
    assert int(certificate["serial"], 16) == newest.serial_number and certificate["elsewhere"]
    assert certificate["fingerprint"] == newest.fingerprint(hashes.SHA256()).hex()
    assert certificate["not_after"] == "9999-12-31T23:59:59Z"
    events = [e["text"] for e in line.show()["events"] if e["kind"] == "ledger.certificate"]
    asked = len(BAD) + 2
    assert len([e for e in events if e.startswith("asked ") and e.endswith(f" of {line.server.url}")]) == asked
    assert any(f"asked {asked} times: as many may have been signed" in e for e in events)
    assert line.factory.ledger_is_whole().returncode == 0
    issued = len(line.server.issued)
    line.factory.provision(line.recipe, line.station)  # nothing is left to do
    assert len(line.server.issued) == issued


def test_whom_a_station_believes(line, tmp_path):
    """Its own settings are told before a device is touched; the CAs of the server and of the devices are two things."""
    other = Authority(tmp_path / "other-ca", "Other CA")
    text, hint = line.fails(line.file(ca=other.certificate), code=8)
    assert "EST server https://127" in text and "its certificate is not good" in text and "signer.est.ca" in hint
    text, hint = line.fails(line.file(url=line.server.url.replace("127.0.0.1", "localhost")), code=8)
    assert "its certificate is not good" in text
    text, hint = line.fails(line.file(ids=other.issue("line-1")), code=8)
    assert "it refuses this station's certificate" in text
    text, _ = line.fails(line.file(device_ca=Ca("Acme Root").write(tmp_path / "other.pem")), code=8)
    assert "no CA that it shows is by device_ca" in text
    text, hint = line.fails(line.file(label="nobody"), code=3)
    assert "no such path (404): no such label" in text and "signer.est.label" in hint
    text, _ = line.fails(line.file(url="https://127.0.0.1:1"), code=7)
    assert "EST server https://127.0.0.1:1: cacerts:" in text
    key = pathlib.Path(line.ids[1])
    key.chmod(0o640)
    text, _ = line.fails(code=8)
    assert str(key) in text
    key.chmod(0o600)
    assert line.server.asked == []
    # One of the CAs below the root will do.
    line.factory.provision(line.recipe, line.file(device_ca=line.middle.write(tmp_path / "middle.pem")))
    assert line.factory.ledger_is_whole().returncode == 0


def test_other_verbs_know_that_there_is_no_signer(line):
    def refused(code, words, *args):
        p = run(DEVSTAMP, *args, ok=False)
        assert p.returncode == code and words in p.stderr, p.stderr
    shown = run(DEVSTAMP, "signer", "status", "--station", line.station).stdout
    assert "signs as  CN=Acme Devices" in shown and "serial numbers are its own" in shown
    refused(2, "EST has no word for revoking", "signer", "revoke", "--station", line.station, "--serial", "01" * 16)
    refused(2, "which shows no log", "log", "mirror", "--station", line.station, "-o", line.factory.folder / "mirror")
    refused(2, "there is no PIN to seal", "seal", "create", "--station", line.station, "--recipe", line.recipe,
            "--by", "tpm", "--pin-file", "/dev/null", "-o", line.factory.folder / "seal")
    refused(2, "certificates come from an EST server", "provision", "--recipe", line.recipe, "--station", line.station,
            "--pin-file", "/dev/null")
    station_made = line.products.recipe(line.factory.folder, "esp32c3", "made", proof="report",
                                        extra="origin: station\n")
    refused(3, "no part in keys that the device does not make", "provision", "--recipe", station_made, "--station",
            line.station)


def test_station_file(line):
    def refused(words, old, new):
        text = line.file().read_text()
        assert old in text
        line.station.write_text(text.replace(old, new))
        p = run(DEVSTAMP, "signer", "status", "--station", line.station, ok=False)
        assert p.returncode == 3 and words in p.stderr, p.stderr
    refused("is not https://host[:port]", "https://", "http://")
    refused("is not https://host[:port]", 'url: "https://', 'url: "https://user@')
    refused("is not https://host[:port]", f'"{line.server.url}"', f'"{line.server.url}/est"')
    refused("signer.est.label", "label: line", 'label: "../x"')
    refused("is not a file: key", "file:", "pkcs11:")
    refused("signer.est.timeout must be", "timeout: 20", "timeout: 301")
    refused("signer.est.timeout must be", "timeout: 20", "timeout: 3000000")
    refused("takes the place of the signer", "  est:", "  log: issued.log\n  est:")
    refused("device_ca", f"    device_ca: {line.device_ca}\n", "")
    refused("signer.certificate: is missing", line.file().read_text().split("signer:")[1].split("slots:")[0],
            "\n  log: issued.log\n")


def test_reservation_stays_with_its_ca(line):
    """What one CA may have signed is not asked of another."""
    line.server.mode = "cut"
    line.factory.provision(line.recipe, line.station, ok=False)
    ours = line.factory.station(name="ours")
    text, hint = line.fails(ours)
    assert "asked of a CA elsewhere, which may have signed it" in text and "ledger revoke" in hint
    line.server.mode = "good"
    line.factory.provision(line.recipe, line.station)
    assert len(line.server.issued) == 2 and line.factory.ledger_is_whole().returncode == 0
    assert x509.load_der_x509_certificate(line.rows()[0][1]) == line.server.issued[1]


def test_station_killed_while_it_asks(line):
    """The request is in the record before it goes out; what the server signed meanwhile is not known here, and said so."""
    line.server.mode = "issue_and_hang"
    p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", line.recipe, "--station", line.station], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    wait_for(lambda: line.server.issued, what="a request")
    p.kill()
    p.wait()
    assert line.rows() == [(1, None)]
    assert sum(e["text"].startswith("asked ") for e in line.show()["events"]) == 1
    line.server.mode = "good"
    done, _ = line.factory.provision(line.recipe, line.station)
    assert "its certificate was asked for before (1 time) and may have been signed then" in done.stderr
    lost, taken = line.server.issued
    assert x509.load_der_x509_certificate(line.rows()[0][1]) == taken != lost
    assert any("asked 2 times: as many may have been signed" in e["text"] for e in line.show()["events"])
    assert line.factory.ledger_is_whole().returncode == 0


def test_device_shows_all_between_it_and_the_root(line):
    line.factory.provision(line.recipe, line.station)
    label = line.factory.folder / "label"
    label.touch(mode=0o600)
    label.write_text(run(DEVSTAMP, "label", "--ledger", line.factory.folder / "ledger.db", "--text",
                         line.factory.ledger()[0]["serial"]).stdout)
    for root, code in ((line.root, 0), (Ca("Acme Root"), 8)):
        file = root.write(line.factory.folder / "owners-root.pem")
        p = run(DEVSTAMP, "verify", "device", "--root", file, "--label", label, line.factory.address(0, "tcp"), ok=False)
        assert p.returncode == code, p.stderr


def test_devstamp_on_both_sides(products, factory, authority, tmp_path):
    ca = tmp_path / "ca"
    run(DEVSTAMP, "ca", "init", "--dir", ca)
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}"] * 2)
    there = tmp_path / "there"
    there.mkdir()
    signer = {"certificate": ca / "subca.pem", "key": f"file:{ca}/subca.key", "log": there / "issued.log"}
    front = Front(there, authority, signer, [recipe], {"line-1": "recipes: [demo-esp32c3]"}, est="127.0.0.1:@EST@",
                  est_chain=ca / "root.pem").start()
    try:
        station = station_file(factory, f"https://127.0.0.1:{front.est_port}", authority.issue("line-1"),
                               authority.certificate, ca / "root.pem", label="demo-esp32c3")
        wrong = products.recipe(factory.folder, "esp32c3", "wrong", proof="report", subject="CN={serial},O=Evil")
        p, doc = factory.provision(wrong, station, ok=False)
        assert p.returncode == 1 and "it refuses (403): " in doc["slots"][0]["error"]["text"]
        factory.provision(recipe, station)  # what was reserved follows the recipe
        assert factory.ledger_is_whole().returncode == 0
        assert run(DEVSTAMP, "log", "verify", "--log", there / "issued.log").stdout.split()[0] == "2"
    finally:
        front.stop()
    # Revoked by its serial number, which is the certificate's and not the reservation's.
    ledger = factory.folder / "ledger.db"
    serial = factory.ledger()[0]["serial"]
    said = run(DEVSTAMP, "ledger", "revoke", "--ledger", ledger, "--reason", "keyCompromise", serial).stdout
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    der = db.execute("select c.der from certificate c join device d on d.id = c.device where d.serial = ?", (serial,)).fetchone()
    number = f"{x509.load_der_x509_certificate(der[0]).serial_number:032x}"
    assert f"certificate {number} is to be revoked by its CA too" in said
    run(DEVSTAMP, "ca", "crl", "--dir", ca, "--ledger", ledger)
    assert number.upper() in run("openssl", "crl", "-in", ca / "subca.crl.pem", "-noout", "-text").stdout
