# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Two stations with one ledger in PostgreSQL, which goes away and comes back while they work."""

import json
import signal
import subprocess
import time

import pytest

from factory import DEVSTAMP, run, wait_for
from pglib import Postgres


@pytest.fixture
def database():
    pg = Postgres()
    yield pg
    pg.close()


def station(factory, database, name, slots, **changes):
    """A station with a signer, and so a Sub CA and a log, of its own."""
    ca = factory.folder / f"ca-{name}"
    if not ca.exists():
        run(DEVSTAMP, "ca", "init", "--dir", ca)
    path = factory.station([{"name": str(i), "port": factory.address(i), "reset": "rfc2217"} for i in slots], name=name,
                           ledger=database.place, certificate=ca / "subca.pem", key=f"file:{ca / 'subca.key'}", **changes)
    path.write_text(path.read_text().replace("issuance.log", f"{name}.log"))
    return path


def begin(database, recipe, where):
    return subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", where, "--json"], env=database.env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    return json.loads(out)


def ledger(database, verb, *args, ok=True):
    return run(DEVSTAMP, "ledger", verb, "--ledger", database.place, *args, ok=ok, env=database.env)


def count(database, sql):
    return int(database.query(f"SELECT count(*) FROM {sql}", ok=False) or 0)


def test_two_stations_share_a_database_that_goes_away(products, factory, database):
    recipe = products.recipe(factory.folder, "esp32c3", serial="SN-{counter:6}")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}"] * 5)
    ledger(database, "init")
    runs = [begin(database, recipe, station(factory, database, "north", [0, 1])),
            begin(database, recipe, station(factory, database, "south", [2, 3]))]
    wait_for(lambda: count(database, "certificate") >= 1, what="a certificate")
    database.stand_still()
    time.sleep(0.5)
    database.stand_still(go_on=True)
    wait_for(lambda: count(database, "certificate WHERE state >= 2") >= 2, what="two signed certificates")
    database.stop()  # a crash
    time.sleep(0.5)
    database.start()
    for p in runs:
        assert end(p)["passed"] == 2
    rows = json.loads(ledger(database, "list", "--json").stdout)
    assert len({r["serial"] for r in rows}) == len({r["certificate"]["serial"] for r in rows}) == 4
    assert count(database, "certificate") == 4
    heads = json.loads(ledger(database, "head", "--json").stdout)
    assert {"north", "south"} <= {h["station"] for h in heads if h["events"] > 0}
    killed_and_run_again(factory, database, recipe)
    noted = [a for h in heads for a in ("--head", h["head"])]
    assert "5 devices, 0 problems" in ledger(database, "check", *noted).stdout
    assert ledger(database, "check", "--head", "11" * 32, ok=False).returncode == 6
    shown = ledger(database, "show", "--json", rows[0]["serial"]).stdout
    assert json.loads(shown)["proof"]
    assert database.password not in shown


def killed_and_run_again(factory, database, recipe):
    where = station(factory, database, "north", [4])
    p = begin(database, recipe, where)
    wait_for(lambda: count(database, "certificate") >= 5, what="the fifth certificate")
    p.send_signal(signal.SIGKILL)
    p.communicate()
    reserved = database.query("SELECT encode(serial, 'hex') FROM certificate ORDER BY id DESC LIMIT 1")
    assert end(begin(database, recipe, where))["passed"] == 1
    assert count(database, "certificate") == 5
    assert database.query("SELECT encode(serial, 'hex') FROM certificate ORDER BY id DESC LIMIT 1") == reserved


def test_database_that_cannot_be_had_is_told_in_words(products, factory, database):
    p = ledger(database, "list", ok=False)
    assert p.returncode == 6 and "holds no ledger" in p.stderr
    place = database.place.replace("line@", f"line:{database.password}@")
    p = run(DEVSTAMP, "ledger", "list", "--ledger", place, ok=False)
    assert p.returncode == 2 and "PGPASSFILE" in p.stderr and database.password not in p.stderr
    database.passfile.write_text("")
    p = ledger(database, "init", ok=False)
    assert p.returncode == 6 and "password" in p.stderr
    database.stop()
    p = ledger(database, "init", ok=False)
    assert p.returncode == 6 and "check that the database runs" in p.stderr
