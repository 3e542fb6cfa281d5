# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The second platform: bare metal on an emulated RISC-V board, provisioned over TCP by the same utility; power lost
within writes and at messages; a recipe without a lock says so everywhere."""

import json
import random
import sqlite3

import pytest

from boardlib import Board, Fuse
from factory import DEVSTAMP, Factory, run

RECIPE = """\
recipe: 1
product: gauge
chip: generic
key: {key}
certificate: {{subject: "CN={{serial}},O=Example Gauges"}}
stamp:
  serial: "GAUGE-{{mac}}"
  endpoint: mqtts://localhost:1
  endpoint_ca: {ca}
  values:
    - {{namespace: cfg, key: region, type: u8, value: "3"}}
    - {{namespace: cfg, key: model, type: string, value: "G-7"}}
lock: {{mode: none}}
"""
NOT_HERE = {"versions", "bootloader", "select", "firstboot"}


@pytest.fixture
def boards(tmp_path):
    """Boards that are off when the test is over: boards(number)."""
    made = []

    def make(number=1):
        made.append(Board(tmp_path, number))
        return made[-1]

    yield make
    for b in made:
        b.close()


@pytest.fixture
def line(products, tmp_path):
    return Line(products, tmp_path)


class Line(Factory):
    def generic(self, key="ecdsa-p256", **replace):
        text = RECIPE.format(key=key, ca=self.products.folder / "ca/root.pem")
        for old, new in replace.values():
            assert old in text
            text = text.replace(old, new)
        path = self.folder / "gauge.yaml"
        path.write_text(text)
        return path

    def slots(self, *ports, reset="none"):
        return self.station([{"name": str(i), "port": f"tcp://127.0.0.1:{p}", "reset": reset}
                             for i, p in enumerate(ports, 1)])

    def show(self, serial, *options):
        return run(DEVSTAMP, "ledger", "show", "--ledger", self.folder / "ledger.db", *options, serial).stdout

    def has_one_live_certificate(self, board):
        """The record's certificate for the board verifies with OpenSSL, is the only live one, and is on the board."""
        serial = "GAUGE-" + board.mac.replace(":", "").upper()
        db = sqlite3.connect(f"file:{self.folder / 'ledger.db'}?mode=ro", uri=True)
        rows = db.execute("select c.der, c.state from certificate c join device d on d.id = c.device where d.serial = ? "
                          "and c.revoked_at is null", (serial,)).fetchall()
        assert len(rows) == 1 and rows[0][1] == 3
        ca = self.products.folder / "ca"
        leaf = self.folder / "leaf.pem"
        leaf.write_text(self.show(serial, "--pem").split("-----BEGIN", 1)[1].join(["-----BEGIN", ""]))
        run("openssl", "verify", "-CAfile", ca / "root.pem", "-untrusted", ca / "subca.pem", leaf)
        subject = run("openssl", "x509", "-in", leaf, "-noout", "-subject", "-nameopt", "RFC2253").stdout
        assert f"CN={serial}" in subject
        flash = board.flash.read_bytes()
        assert rows[0][0] in flash and serial.encode() in flash
        check = self.ledger_is_whole()
        assert check.returncode == 0 and "platform without a lock" in check.stdout, check.stdout
        return serial

    def until_passed(self, recipe, station, most):
        """Run again after each failure, as a person on the line does."""
        for runs in range(1, most + 1):
            p, doc = self.provision(recipe, station, ok=False)
            if p.returncode == 0:
                return runs
            assert doc["slots"][0]["error"]["class"] == "device", doc["slots"][0]["error"]
        raise AssertionError(f"not in {most} runs: {doc['slots'][0]['error']}")


def states(doc):
    return {s["name"]: s["state"] for s in doc["slots"][0]["steps"]}


def test_whole_way_on_a_generic_platform(line, boards):
    board = boards()
    board.start()
    recipe, station = line.generic(), line.slots(board.port)
    _, doc = line.provision(recipe, station)
    slot = doc["slots"][0]
    assert {n for n, s in states(doc).items() if s == "not-applicable"} == NOT_HERE
    assert {n for n, s in states(doc).items() if s == "done"} == set(states(doc)) - NOT_HERE
    assert slot["chip"] == "generic" and slot["mac"] == board.mac and slot["can_lock"] is False
    serial = line.has_one_live_certificate(board)

    # What holds is not done again; the proof is taken anew.
    before = board.flash.read_bytes()
    _, doc = line.provision(recipe, station)
    assert states(doc)["key"] == states(doc)["csr"] == "skipped"
    assert board.flash.read_bytes() == before
    line.has_one_live_certificate(board)

    # The record is honest about the lock.
    row = line.ledger()[0]
    assert row["locked"] is False and row["can_lock"] is False and row["stage"] == "proof"
    proof = json.loads(line.show(serial, "--json"))["proof"]
    assert proof["locked"] is False and "no lock" in proof["lock"]["seen"]
    assert all(proof[f]["ok"] for f in ("stamped", "key", "serial", "certificate")) and "signature" not in proof
    assert "no: the platform has no lock" in line.show(serial)
    assert "no lock" in run(DEVSTAMP, "ledger", "list", "--ledger", line.folder / "ledger.db").stdout
    text = run(DEVSTAMP, "provision", "--recipe", recipe, "--station", station).stdout
    assert "no lock: the platform has none" in text and "not for this platform" in text


def test_power_lost_within_writes_is_resumed(line, boards):
    board = boards()
    # In a header, in the first record, and seeded ones up to the length of a chain.
    cuts = [1, 2, 4, 5, 7] + [random.Random(20).randrange(8, 320) for _ in range(7)]
    board.start_with_cuts(cuts)
    line.until_passed(line.generic(), line.slots(board.port), len(cuts) + 1)
    assert board.starts >= 10
    line.has_one_live_certificate(board)


@pytest.mark.parametrize("kind, key", [("requests", "ecdsa-p256"), ("answers", "ecdsa-p384")])
def test_power_lost_at_every_message_is_resumed(line, boards, kind, key):
    board = boards()
    board.start()
    # The wire counts on over all runs: with ever more messages between two cuts, each message of the way is hit.
    points, at = [], 0
    for gap in (1, 2, 3, 3, 4, 5, 6, 7, 8, 9):
        at += gap
        points.append(at)
    fuse = Fuse(board, **{kind: points})
    recipe, station = line.generic(key), line.slots(fuse.port)
    line.until_passed(recipe, station, 12)
    assert fuse.blown >= 8
    line.has_one_live_certificate(board)
    fuse.close()


def test_self_test_that_failed_is_told(line, boards):
    board = boards()
    board.mac = "nobody"
    board.start()
    p, doc = line.provision(line.generic(), line.slots(board.port), ok=False)
    assert p.returncode == 1 and "self-test failed: flash" in doc["slots"][0]["error"]["text"]


def test_silent_device_is_not_asked_for_a_rom(line, boards):
    board = boards()  # without power
    p, doc = line.provision(line.generic(), line.slots(board.port), ok=False)
    error = doc["slots"][0]["error"]
    assert p.returncode == 1 and "no firmware answers" in error["text"] and "ROM" not in error["text"]
    assert "check power and cable" in error["hint"]


@pytest.mark.parametrize("old, new, words", [
    ("chip: generic", "chip: generic\nflash_size: 4MB", ["flash_size", "leave it out"]),
    ("chip: generic", "chip: generic\npartition_table: {file: x, offset: 1}", ["partition_table", "leave it out"]),
    ("mode: none", "mode: release", ["lock.mode", "generic platform has no lock"]),
    ("mode: none", "mode: development", ["lock.mode", "generic platform has no lock"]),
    ("mode: none", "mode: none, proof: full", ["lock.proof"]),
    ("lock: {mode: none}", "", ["lock"]),
    ("  endpoint: ", "  close_download: true\n  endpoint: ", ["stamp.close_download"]),
    ("chip: generic", "chip: esp32c3", ["flash_size", "missing"]),
    ("serial: \"GAUGE-{mac}\"", "serial: \"GAUGE\"", ["stamp.serial"]),
])
def test_generic_recipe_that_does_not_fit_is_refused(line, old, new, words):
    recipe = line.generic(change=(old, new))
    p, _ = line.provision(recipe, line.slots(1), ok=False)
    assert p.returncode in (3, 8), p.stderr
    for w in words:
        assert w in p.stderr


def test_lock_none_is_refused_for_a_chip_that_can_lock(products, line):
    recipe = products.recipe(line.folder, "esp32c3", mode="none", proof="report")
    p, _ = line.provision(recipe, line.slots(1), ok=False)
    assert p.returncode != 0 and "can lock itself, and must" in p.stderr


def test_generic_recipe_has_no_image_to_merge(line):
    p = run(DEVSTAMP, "image", "merge", "--recipe", line.generic(), "-o", line.folder / "x", ok=False)
    assert p.returncode == 3 and "has no images" in p.stderr
