# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The signer's issuance log: log, head and ledger watch each other; devstamp log finds what was changed; proofs are
checked by the recipes of docs/issuance-log.md, which know nothing of devstamp."""

import hashlib
import json
import pathlib
import re
import sqlite3

import pytest

from factory import DEVSTAMP, run

ENTRY_HEAD, HASH, HEADER = 136, 32, 80
DOC = pathlib.Path(__file__).parents[2] / "docs/issuance-log.md"


def entry_ends(log):
    """Where each entry ends, read by the layout the log's header file fixes."""
    ends, at = [], HEADER
    while at < len(log):
        assert log[at:at + 4] == b"ENTR"
        at += ENTRY_HEAD + int.from_bytes(log[at + 4:at + 8], "little") + HASH
        ends.append(at)
    return ends


def dump(path):
    return list(sqlite3.connect(f"file:{path}?mode=ro", uri=True).iterdump())


@pytest.mark.parametrize("head", ["head stays", "head goes too"])
@pytest.mark.parametrize("how", ["last entry cut off", "deleted"])
def test_log_rollback_stops_the_line(products, factory, how, head):
    """The head beside the log notices; where that was put back as well, the ledger does."""
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(3)])
    slots = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"} for i in range(3)]
    first, rest = factory.station(slots[:2], name="first"), factory.station(slots[2:], name="rest")
    factory.provision(recipe, first)
    log = factory.folder / "issuance.log"
    whole = log.read_bytes()
    ends = entry_ends(whole)
    assert len(ends) == 2
    if how == "deleted":
        log.unlink()
    else:
        log.write_bytes(whole[:ends[0]])
    head_file = factory.folder / "issuance.log.head"
    head_bytes = head_file.read_bytes()
    if head == "head goes too":
        head_file.unlink()
    before, flash = dump(factory.folder / "ledger.db"), factory.flash(2)
    p, doc = factory.provision(recipe, rest, ok=False)
    assert p.returncode == 8 and doc["slots"] == [] and doc["error"]["class"] == "policy", p.stdout + p.stderr
    assert f"the issuance log has {0 if how == 'deleted' else 1} entries, and had 2" in p.stderr
    assert str(log) in p.stderr and "hint:" in p.stderr
    assert dump(factory.folder / "ledger.db") == before
    assert factory.flash(2) == flash
    log.write_bytes(whole)
    head_file.write_bytes(head_bytes)
    _, doc = factory.provision(recipe, rest)
    assert doc["passed"] == 1
    assert len(entry_ends(log.read_bytes())) == 3
    assert factory.ledger_is_whole().returncode == 0


def test_ledger_check_tells_of_certificates_it_does_not_know(products, factory):
    """Somebody with the station's token signs for a key of his own: the signer's log has it, the ledger has not."""
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(2)])
    slots = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"} for i in range(2)]
    factory.provision(recipe, factory.station(slots[:1], name="first"))
    assert factory.ledger_is_whole().returncode == 0
    factory.provision(recipe, factory.station(slots[1:], name="aside", ledger=factory.folder / "aside.db"))
    factory.provision(recipe, factory.station(slots[:1], name="first"))
    check = factory.ledger_is_whole()
    assert check.returncode == 6
    assert "1 certificate was signed that this ledger does not know" in check.stdout
    assert run(DEVSTAMP, "ledger", "list", "--ledger", factory.folder / "ledger.db").returncode == 0


def recipe_of(name):
    """A code block of the documentation, by the line that begins it."""
    for block in re.findall(r"```(?:python|sh)\n(.*?)```", DOC.read_text(), re.S):
        if block.startswith(f"# {name}"):
            return block
    raise AssertionError(f"no recipe {name}")


def devstamp_log(*args, ok=True):
    return run(DEVSTAMP, "log", *args, ok=ok)


class Made:
    """A log of a few certificates by the signer itself, with a log key, in a folder of its own."""

    def __init__(self, products, factory):
        self.folder = factory.folder
        self.log = factory.folder / "issuance.log"
        self.log_key = factory.folder / "log.key"
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.log_key)
        self.log_key.chmod(0o600)
        run("openssl", "pkey", "-in", self.log_key, "-pubout", "-out", factory.folder / "log.pub")
        self.public = factory.folder / "log.pub"
        recipe = products.recipe(factory.folder, "esp32c3", proof="report")
        image = factory.merged(recipe)
        factory.start(*[f"chip=esp32c3,image={image}" for _ in range(5)])
        slots = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"} for i in range(5)]
        self.heads = []
        for name, part in (("first", slots[:2]), ("rest", slots[2:])):
            factory.provision(recipe, factory.station(part, name=name, log_key=f"file:{self.log_key}"))
            self.heads.append((factory.folder / "issuance.log.head").read_bytes())
        factory.stop()


@pytest.fixture
def made(products, factory):
    return Made(products, factory)


def test_proofs_are_checked_by_others(made, tmp_path):
    """Inclusion and consistency proofs and the head's signature, with the documentation's own recipes."""
    check = tmp_path / "check.py"
    check.write_text(recipe_of("check-proof.py"))
    for i in range(1, 6):
        for size in range(i, 6):
            devstamp_log("prove", "inclusion", "--log", made.log, "--entry", i, "--size", size, "-o", tmp_path / "proof.json")
            p = run("python3", check, tmp_path / "proof.json")
            assert f"entry {i} of {size} is in the log" in p.stdout
    for start in range(6):
        for size in range(max(start, 1), 6):
            devstamp_log("prove", "consistency", "--log", made.log, "--from", start, "--size", size, "-o",
                         tmp_path / "proof.json")
            p = run("python3", check, tmp_path / "proof.json")
            assert f"the log of {start} is the beginning of the log of {size}" in p.stdout
    good = devstamp_log("prove", "inclusion", "--log", made.log, "--entry", 3).stdout
    proof = json.loads(good)
    for member in ("root", "entry", "path"):
        bad = dict(proof)
        value = bad[member][0] if member == "path" else bad[member]
        value = ("1" if value[0] != "1" else "2") + value[1:]
        bad[member] = [value] + bad["path"][1:] if member == "path" else value
        (tmp_path / "proof.json").write_text(json.dumps(bad))
        assert run("python3", check, tmp_path / "proof.json", ok=False).returncode == 1, member
    entry = bytes.fromhex(proof["entry"])
    (tmp_path / "device.der").write_bytes(entry[ENTRY_HEAD:])
    again = devstamp_log("prove", "inclusion", "--log", made.log, "--certificate", tmp_path / "device.der").stdout
    assert again == good
    assert devstamp_log("prove", "inclusion", "--log", made.log, "--serial", entry[24:40].hex()).stdout == good
    assert devstamp_log("prove", "inclusion", "--log", made.log, "--entry", 6, ok=False).returncode == 3
    assert devstamp_log("prove", "consistency", "--log", made.log, "--from", 6, ok=False).returncode == 3


def test_head_is_checked_with_openssl(made, tmp_path):
    script = tmp_path / "check-head.sh"
    script.write_text(recipe_of("check-head.sh"))
    for n, head in zip((2, 5), made.heads):
        (tmp_path / "head").write_bytes(head)
        p = run("sh", script, tmp_path / "head", made.public)
        assert "Verified OK" in p.stdout and f"size {n}" in p.stdout
        (tmp_path / "head").write_bytes(head.replace(b"size ", b"size 1"))
        assert run("sh", script, tmp_path / "head", made.public, ok=False).returncode != 0
    shown = json.loads(devstamp_log("head", "--log", made.log, "--log-key", made.public, "--json").stdout)
    assert shown["size"] == 5 and shown["head"]["size"] == 5 and shown["head"]["signature"]
    other = tmp_path / "other.pem"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "other.key")
    run("openssl", "pkey", "-in", tmp_path / "other.key", "-pubout", "-out", other)
    p = devstamp_log("verify", "--log", made.log, "--log-key", other, ok=False)
    assert p.returncode == 6 and "is not signed by" in p.stderr


def test_verify_finds_what_was_changed(made, tmp_path):
    early, late = tmp_path / "early.head", tmp_path / "late.head"
    early.write_bytes(made.heads[0])
    late.write_bytes(made.heads[1])
    whole = made.log.read_bytes()
    ends = entry_ends(whole)
    assert len(ends) == 5
    shown = json.loads(devstamp_log("head", "--log", made.log, "--json").stdout)
    p = devstamp_log("verify", "--log", made.log, "--head", early, "--ledger", made.folder / "ledger.db", "--log-key",
                     made.public)
    assert "5 entries" in p.stdout and "ledger.db: 5 entries" in p.stdout
    copy = tmp_path / "copy.log"

    def verify(data, *args):
        copy.write_bytes(data)
        return devstamp_log("verify", "--log", copy, *args, ok=False)

    for at in list(range(HEADER, len(whole), 97)) + [len(whole) - 1]:
        p = verify(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        number = 1 + sum(end <= at for end in ends)
        assert p.returncode == 6 and f"entry {number}: " in p.stderr, p.stderr
    assert verify(whole[:ends[0]] + whole[ends[1]:]).returncode == 6  # one removed
    known = ("--size", shown["size"], "--root", shown["root"])
    for data in (whole[:ends[3]], whole[:ends[3] + 20], whole[:HEADER]):
        assert verify(data).returncode == 0  # nothing shows it by itself
        for by in (known, ("--head", late), ("--ledger", made.folder / "ledger.db")):
            p = verify(data, *by)
            assert p.returncode == 6 and "its end was cut off" in p.stderr, p.stderr
    forged = bytearray(whole)  # an intruder who knows the format edits an entry and makes its hash fit
    forged[ends[0] + 17] ^= 1
    forged[ends[1] - HASH:ends[1]] = hashlib.sha256(b"\0" + forged[ends[0]:ends[1] - HASH]).digest()
    assert verify(forged).returncode == 0
    for by in (known, ("--head", early), ("--head", late)):
        p = verify(forged, *by)
        assert p.returncode == 6 and "entries are not those of" in p.stderr


def test_log_is_verified_while_a_signer_writes(made):
    """No lock is taken, and a record that is half written is told as such."""
    with open(made.log, "ab") as f:
        f.write(b"ENTR" + (500).to_bytes(4, "little") + (6).to_bytes(8, "little") + b"x" * 20)
    p = devstamp_log("verify", "--log", made.log)
    assert "5 entries" in p.stdout and "36 bytes behind the last entry" in p.stdout


def test_log_key_is_no_ca_key_and_old_logs_are_named(products, factory):
    ca = products.folder / "ca"
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    p, _ = factory.provision(recipe, factory.station(log_key=f"file:{ca / 'subca.key'}"), ok=False)
    assert p.returncode == 8 and "log key: it is the Sub CA's key" in p.stderr
    (factory.folder / "issuance.log").unlink()
    (factory.folder / "issuance.log").write_bytes(b"DSLOG1\r\n" + bytes(40))
    p, _ = factory.provision(recipe, factory.station(), ok=False)
    assert p.returncode == 6 and "first format" in p.stderr and "devstamp log convert" in p.stderr
