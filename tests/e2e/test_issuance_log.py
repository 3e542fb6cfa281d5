# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The signer's issuance log and the ledger watch each other: a log that was cut off or begun anew stops the line."""

import sqlite3

import pytest

from factory import DEVSTAMP, run

ENTRY_HEAD, HASH, HEADER = 104, 32, 48


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


@pytest.mark.parametrize("how", ["last entry cut off", "deleted"])
def test_log_rollback_stops_the_line(products, factory, how):
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
    before, flash = dump(factory.folder / "ledger.db"), factory.flash(2)
    p, doc = factory.provision(recipe, rest, ok=False)
    assert p.returncode == 8 and doc["slots"] == [] and doc["error"]["class"] == "policy", p.stdout + p.stderr
    assert f"the issuance log has {0 if how == 'deleted' else 1} entries, and had 2" in p.stderr
    assert str(log) in p.stderr and "hint:" in p.stderr
    assert dump(factory.folder / "ledger.db") == before
    assert factory.flash(2) == flash
    log.write_bytes(whole)
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
