# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Stamps of a pool (origin: remote): made before their devices are known, moved, raced for, claimed once each, and their keys
nowhere but on their devices."""

import json
import signal
import sqlite3
import subprocess
import time

import pytest

import secretscan
from factory import DEVSTAMP, run, wait_for
from test_key_origin import Line, certificates, shown, signer_of, the_key_is_nowhere_else


class Pool:
    """Whoever makes stamps, with a log of its own, and the pool of a station."""

    def __init__(self, products, factory):
        self.products, self.factory, self.folder = products, factory, factory.folder
        self.key, self.made, self.ours = (self.folder / n for n in ("pool.key", "made", "pool"))
        run(DEVSTAMP, "pool", "key", self.key)
        assert self.key.stat().st_mode & 0o77 == 0
        ca = products.folder / "ca"
        self.maker = self.folder / "maker.yaml"
        self.maker.write_text(f"""\
station: 1
name: maker
ledger: maker.db
signer: {{certificate: {ca / 'subca.pem'}, key: "file:{ca / 'subca.key'}", log: {self.folder / 'maker.log'}}}
""")

    def recipe(self, chip, name=None, **changes):
        changes = {"protection": "origin: remote\n", "serial": "R-{counter:5}", "proof": "report"} | changes
        self.last = self.products.recipe(self.folder, chip, name, **changes)
        return self.last

    def command(self, recipe, first, count, pool=None, to=None):
        return [DEVSTAMP, "pool", "create", "--recipe", recipe, "--station", self.maker, "--to", to or f"{self.key}.pub", "--pool",
                pool or self.made, "--first", first, "--count", count]

    def create(self, recipe, first, count, ok=True, **kw):
        return run(*self.command(recipe, first, count, **kw), ok=ok)

    def importing(self, count=None, source=None, name="line-1", to=None, recipe=None, **changes):
        station = self.station([], name=name, pool=to or self.ours, **changes)
        return [DEVSTAMP, "pool", "import", "--from", source or self.made, "--station", station, "--recipe",
                recipe or self.last, *(["--count", count] if count else [])]

    def take(self, ok=True, **kw):
        return run(*self.importing(**kw), ok=ok)

    def status(self, pool=None):
        return json.loads(run(DEVSTAMP, "pool", "status", "--pool", pool or self.ours, "--json").stdout)

    def station(self, slots=None, name="station", **changes):
        return self.factory.station(slots, name=name, **{"pool": self.ours, "pool_key": f"file:{self.key}",
                                                             "pool_ca": self.products.folder / "ca/subca.pem"} | changes)

    def slot(self, device):
        return [{"name": str(device), "port": self.factory.address(device), "reset": "rfc2217"}]


@pytest.fixture
def pool(products, factory):
    return Pool(products, factory)


def names(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


@pytest.mark.parametrize("chip, key, protection", [("esp32", "ecdsa-p256", ""), ("esp32c3", "rsa-2048", "key_protection: ds\n")])
def test_stamp_of_a_pool_goes_the_whole_way(pool, factory, chip, key, protection):
    recipe = pool.recipe(chip, key=key, protection="origin: remote\n" + protection)
    assert "2 stamps made" in pool.create(recipe, 7, 2).stdout
    assert "0 stamps made, 2 numbers were there" in pool.create(recipe, 7, 2).stdout
    assert "2 stamps imported" in pool.take().stdout
    assert pool.status(pool.made) == {"free": 0, "claimed": 0, "used": 0, "spoiled": 0, "taken": 2, "lost": 0}
    assert all(f.stat().st_size == 0 for f in pool.made.iterdir())
    factory.start(f"chip={chip},image={factory.merged(recipe)}")
    _, doc = factory.provision(recipe, pool.station())
    assert doc["slots"][0]["serial"] == "R-00007"
    device = shown(factory, "R-00007")
    assert device["key_origin"] == "remote" and device["locked"] and device["certificate"]["state"] == "installed"
    assert device["proof"]["key_origin"] == {"ok": True, "seen": "imported"}
    assert pool.status() == {"free": 1, "claimed": 0, "used": 1, "spoiled": 0, "taken": 0, "lost": 0}
    assert certificates(factory) == (1, 1, 1)
    check = factory.ledger_is_whole()
    assert check.returncode == 0, check.stdout
    factory.provision(recipe, pool.station())
    assert pool.status()["free"] == 1
    for kind, path in (("maker.log", pool.folder / "maker.log"), ("log", pool.folder / "issuance.log")):
        count = path.read_bytes().count(b"R-0000")
        assert (count > 0) == (kind == "maker.log"), "the station's own signer signs nothing"


@pytest.mark.skipif(not secretscan.can_read_memory(), reason="may not read the memory of other processes")
def test_key_of_a_pool_is_on_its_device_alone(pool, factory):
    recipe = pool.recipe("esp32c3", key="rsa-2048")
    pool.create(recipe, 1, 1)
    pool.take()
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    the_key_is_nowhere_else(factory, recipe, pool.station())


def test_claim_stays_with_its_device(pool, factory):
    """Station and signer killed after steps, the device put on another station of the same pool: always its one stamp."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 16)
    pool.take()
    plans = [("versions", "signer"), ("key", "station"), ("csr", "signer"), ("certificate", "station")]
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)},fault=cut@{9 + 20 * i}" for i in range(len(plans))])
    for i, (step, whom) in enumerate(plans):
        station = pool.station(pool.slot(i), name=f"s{i}")
        line = Line(recipe, station, step)
        if whom == "signer":
            subprocess.run(["kill", "-9", str(signer_of(line.process.pid))], check=True)
        line.end()
    for _ in range(3):
        p, doc = factory.provision(recipe, pool.station(), ok=False)
        if p.returncode == 0:
            break
    assert p.returncode == 0, p.stdout
    status = pool.status()
    assert status["used"] == 4 and status["claimed"] == 0 and status["free"] + status["spoiled"] == 12, status
    assert certificates(factory) == (4, 4, 4)
    assert factory.ledger_is_whole().returncode == 0
    # Each key went out once: as many were given as stamps were used or spoiled.
    with sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True) as db:
        given = [r[0] for r in db.execute("select text from event where kind = 'ledger.key'")]
    assert len(set(given)) == len(given) == 4 + status["spoiled"]


def twins(pool, factory):
    """Two devices that show one address, each on a station of its own, with one ledger and one pool."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 3)
    pool.take()
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)},mac=24:0a:c4:00:00:01" for _ in range(2)])
    return recipe, [pool.station(pool.slot(i), name=f"s{i}") for i in range(2)]


def give_key_alone(pool, factory, station):
    """The device has its key, and the run ends before anything is certified: another recipe demands other words."""
    recipe = pool.recipe("esp32c3", "other", subject="CN={serial},O=Other")
    p, doc = factory.provision(recipe, station, ok=False)
    assert "the recipe demands" in doc["slots"][0]["error"]["text"], p.stdout


def test_address_of_a_certified_device_gets_no_key(pool, factory):
    recipe, (ours, theirs) = twins(pool, factory)
    Line(recipe, ours, "certificate").end()
    before = names(pool.ours)
    p, doc = factory.provision(recipe, theirs, ok=False)
    error = doc["slots"][0]["error"]
    assert p.returncode != 0 and "live certificate (installed) for another key" in error["text"], error
    assert "two devices show one address" in error["hint"]
    assert names(pool.ours) == before and "R-00001.of-0005-240ac4000001" in before
    # Also by a station whose ledger never saw it.
    other = pool.station(pool.slot(1), name="other", ledger=pool.folder / "other.db")
    p, doc = factory.provision(recipe, other, ok=False)
    assert "R-00001 is certified, and the device does not show its key" in doc["slots"][0]["error"]["text"], p.stdout
    p, doc = factory.provision(recipe, ours)
    assert doc["slots"][0]["serial"] == "R-00001" and certificates(factory) == (1, 1, 1)


def test_key_is_sent_to_an_address_once(pool, factory):
    """Cut off while the one has its key and nobody knows: the other gets another stamp, and the one no certificate."""
    recipe, (ours, theirs) = twins(pool, factory)
    give_key_alone(pool, factory, ours)
    assert names(pool.ours)[0] == "R-00001.sent-0005-240ac4000001"
    p, doc = factory.provision(recipe, theirs)
    assert doc["slots"][0]["serial"] == "R-00002"
    assert names(pool.ours)[0] == "R-00001.spoiled-0005-240ac4000001" and not (pool.ours / names(pool.ours)[0]).stat().st_size
    p, doc = factory.provision(recipe, ours, ok=False)
    error = doc["slots"][0]["error"]
    assert p.returncode != 0 and "for another key" in error["text"] and "two devices show one address" in error["hint"], error
    assert certificates(factory) == (1, 1, 1)
    assert pool.status() == {"free": 1, "claimed": 0, "used": 1, "spoiled": 1, "taken": 0, "lost": 0}


def test_key_that_another_station_sent_is_known(pool, factory):
    """Put on a station with a ledger of its own: the device shows its stamp's key, which is not sent again."""
    recipe, (ours, _) = twins(pool, factory)
    give_key_alone(pool, factory, ours)
    _, doc = factory.provision(recipe, pool.station(pool.slot(0), name="other", ledger=pool.folder / "other.db"))
    assert doc["slots"][0]["serial"] == "R-00001"
    assert pool.status() == {"free": 2, "claimed": 0, "used": 1, "spoiled": 0, "taken": 0, "lost": 0}


def test_stamp_is_erased_before_the_proof_is_stored(pool, factory):
    """Killed as soon as the proof is in the ledger, and nobody comes back: no sealed key stays."""
    recipe, (ours, _) = twins(pool, factory)
    line = Line(recipe, ours, "firstboot")
    line.process.send_signal(signal.SIGCONT)
    with sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True) as db:
        wait_for(lambda: db.execute("select count(*) from proof").fetchone()[0], what="the proof in the ledger")
    line.end()
    assert pool.status()["used"] == 1


def test_two_stations_race_for_one_pool(pool, factory):
    """Two processes with a ledger each, five devices, four stamps: each is used once, and one device is told why not."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 4)
    pool.take()
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}" for _ in range(5)])
    lines = []
    for name, devices in (("a", (0, 1)), ("b", (2, 3, 4))):
        slots = [s for d in devices for s in pool.slot(d)]
        station = pool.station(slots, name=name, ledger=pool.folder / f"{name}.db")
        station.write_text(station.read_text().replace("issuance.log", f"{name}.log"))
        lines.append(subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station, "--json"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    docs = [json.loads(p.communicate(timeout=200)[0]) for p in lines]
    slots = [s for d in docs for s in d["slots"]]
    assert sorted(s["serial"] for s in slots if not s.get("error")) == [f"R-0000{i}" for i in range(1, 5)], slots
    failed = [s["error"] for s in slots if s.get("error")]
    assert len(failed) == 1 and "no stamp of demo-esp32c3 with this type of key is free" in failed[0]["text"], failed
    assert "pool import" in failed[0]["hint"]
    assert pool.status() == {"free": 0, "claimed": 0, "used": 4, "spoiled": 0, "taken": 0, "lost": 0}
    keys = []
    for name in ("a", "b"):
        with sqlite3.connect(f"file:{pool.folder / name}.db?mode=ro", uri=True) as db:
            keys += [r[0] for r in db.execute("select key_digest from certificate")]
    assert len(set(keys)) == len(keys) == 4


def test_imports_race_and_are_cut_off(pool):
    """Six processes of three stations move stamps at once, two of them killed: every stamp is in one pool, once."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 24)
    stations = {name: pool.folder / f"pool-{name}" for name in "abc"}

    def start(name, count):
        command = pool.importing(count=count, name=name, to=stations[name])
        return subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)

    running = [start(name, 4) for name in "abcabc"]
    for p in running[:2]:
        p.kill()
    assert {p.wait(60) for p in running[2:]} == {0}
    for p in running[:2]:
        p.wait(60)
    for name, to in stations.items():
        pool.take(source=pool.made, name=name, to=to)
    serials = [n for to in stations.values() for n in names(to)]
    assert sorted(serials) == [f"R-{i:05}.stamp" for i in range(1, 25)]
    assert pool.status(pool.made) == {"free": 0, "claimed": 0, "used": 0, "spoiled": 0, "taken": 24, "lost": 0}


def test_pools_of_one_station_name_are_told_apart(pool):
    """An import cut off before it emptied its source is gone on with by that pool alone, and only where that pool has it."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 2)
    stamps = {name: (pool.made / name).read_bytes() for name in names(pool.made)}
    first, second = pool.folder / "first", pool.folder / "second"
    pool.take(to=first)
    taken = [pool.made / name for name in names(pool.made)]
    for path, data in zip(taken, stamps.values()):
        path.write_bytes(data)
    assert "0 stamps imported" in pool.take(to=second).stdout and names(second) == []
    assert [p.read_bytes() for p in taken] == list(stamps.values())
    (first / "R-00002.stamp").write_bytes(stamps["R-00001.stamp"])  # not what is to be moved
    p = pool.take(to=first, ok=False)
    assert "1 stamps imported" in p.stdout and "has something else of this serial number" in p.stderr, p.stderr
    assert [p.stat().st_size for p in taken] == [0, len(stamps["R-00002.stamp"])]


def test_import_destroys_no_stamp(pool):
    """The target knows the number already: the stamp stays where it is."""
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 2)
    pool.ours.mkdir()
    (pool.ours / "R-00001.asked").touch()
    p = pool.take(ok=False)
    assert p.returncode != 0 and "1 stamps imported" in p.stdout and "R-00001.asked" in p.stderr, p.stderr
    assert (pool.made / "R-00001.stamp").stat().st_size and names(pool.ours) == ["R-00001.asked", "R-00002.stamp"]


def test_opposite_imports_do_not_wait_for_each_other(pool):
    recipe = pool.recipe("esp32c3")
    pool.create(recipe, 1, 24)
    back = pool.folder / "back"
    back.mkdir()
    commands = [pool.importing(name="there", to=back), pool.importing(name="here", source=back, to=pool.made)]
    for _ in range(2):
        running = [subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                   for command in commands * 2]
        try:
            for p in running:
                p.wait(60)
        finally:
            for p in running:
                p.kill()
                p.wait()


def test_stamp_by_another_ca_is_refused(pool, factory):
    """Whoever knows the pool's public key can make stamps; the station gives its devices those of its Sub CA alone."""
    recipe = pool.recipe("esp32c3")
    rogue = pool.folder / "rogue"
    run(DEVSTAMP, "ca", "init", "--dir", rogue)
    maker = pool.maker.read_text()
    pool.maker.write_text(f"""\
station: 1
name: rogue
signer: {{certificate: {rogue / 'subca.pem'}, key: "file:{rogue / 'subca.key'}", log: {pool.folder / 'rogue.log'}}}
""")
    pool.create(recipe, 1, 1)
    pool.maker.write_text(maker)
    pool.create(recipe, 2, 1)
    p = pool.take(ok=False)
    assert "R-00001 is not by" in p.stderr and "pool_ca" in p.stderr and "1 stamps imported" in p.stdout, p.stderr
    assert names(pool.made)[0] == "R-00001.stamp" and names(pool.ours) == ["R-00002.stamp"]
    # Put into the pool by hand it is passed by, and refused where it was claimed already.
    (pool.made / "R-00001.stamp").rename(pool.ours / "R-00001.stamp")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)},mac=24:0a:c4:00:00:01")
    give_key_alone(pool, factory, pool.station())
    assert names(pool.ours) == ["R-00001.stamp", "R-00002.sent-0005-240ac4000001"]
    (pool.ours / "R-00002.sent-0005-240ac4000001").unlink()
    (pool.ours / "R-00001.stamp").rename(pool.ours / "R-00001.sent-0005-240ac4000001")
    p, doc = factory.provision(recipe, pool.station(), ok=False)
    assert "R-00001 is not by" in doc["slots"][0]["error"]["text"] and certificates(factory)[0] == 0, p.stdout


def test_stamp_with_other_words_is_not_imported(pool):
    recipe = pool.recipe("esp32c3", "made", subject="CN={serial},O=Somebody")
    pool.create(recipe, 1, 1)
    p = pool.take(recipe=pool.recipe("esp32c3"), ok=False)
    assert "O=Somebody" in p.stderr and "the recipe demands" in p.stderr and names(pool.made) == ["R-00001.stamp"], p.stderr


def test_station_file_names_the_ca_of_its_pool(pool, factory):
    station = pool.station([], name="plain")
    station.write_text("".join(s for s in station.read_text().splitlines(True) if "pool_ca" not in s))
    p = run(DEVSTAMP, "pool", "import", "--from", pool.folder, "--station", station, "--recipe", pool.recipe("esp32c3"), ok=False)
    assert p.returncode == 3 and "pool and pool_ca go together" in p.stderr, p.stderr


def test_making_needs_a_signer_here_and_what_the_station_demands(pool):
    recipe = pool.recipe("esp32c3")
    maker = pool.maker.read_text()
    pool.maker.write_text("station: 1\nname: x\nsigner: {address: '127.0.0.1:1', ca: x.pem, certificate: x.pem, key: 'file:x.key'}\n")
    p = pool.create(recipe, 1, 1, ok=False)
    assert p.returncode == 3 and "the signer is elsewhere" in p.stderr and "own computer" in p.stderr, p.stderr
    release = pool.folder / "release"
    run(DEVSTAMP, "pool", "key", release)
    pool.maker.write_text(maker + f"bundles: {{release_keys: [{release}.pub]}}\n")
    p = pool.create(recipe, 1, 1, ok=False)
    assert p.returncode != 0 and "is a bare recipe" in p.stderr and not pool.made.exists(), p.stderr


def test_making_that_is_cut_off_loses_numbers_and_never_makes_two(pool):
    recipe = pool.recipe("esp32c3")
    for _ in range(4):
        p = subprocess.Popen(list(map(str, pool.command(recipe, 1, 400))), stdout=subprocess.DEVNULL)
        before = len(names(pool.made)) if pool.made.exists() else 0
        while p.poll() is None and (len(names(pool.made)) if pool.made.exists() else 0) < before + 5:
            time.sleep(0.01)
        p.kill()
        p.wait()
    pool.create(recipe, 1, 40)
    status = pool.status(pool.made)
    assert status["free"] + status["lost"] >= 40 and status["lost"] <= 4, status
    log = (pool.folder / "maker.log").read_bytes()
    for name in names(pool.made):
        serial = name.split(".")[0].encode()
        assert log.count(b"\x0c" + bytes([len(serial)]) + serial) + log.count(b"\x13" + bytes([len(serial)]) + serial) <= 1


def test_what_is_no_stamp_of_this_pool_is_refused(pool, factory):
    recipe = pool.recipe("esp32c3")
    run(DEVSTAMP, "pool", "key", pool.folder / "other.key")
    pool.create(recipe, 1, 1, to=f"{pool.folder / 'other.key'}.pub")
    pool.take()
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    p, doc = factory.provision(recipe, pool.station(), ok=False)
    assert "sealed to another key" in doc["slots"][0]["error"]["text"], p.stdout
    # One that cannot be read is passed by, and told.
    (pool.ours / names(pool.ours)[0]).unlink()
    pool.create(recipe, 2, 1)
    pool.take()
    (pool.ours / "R-00000.stamp").write_bytes(b"devstamp pool stamp 2\nrubbish")
    (pool.ours / "R-00001.stamp").write_bytes(b"devstamp pool stamp 1\n")
    p, doc = factory.provision(recipe, pool.station())
    assert doc["slots"][0]["serial"] == "R-00002" and "R-00000.stamp" in p.stderr, p.stderr


def test_station_without_pool_is_told(pool, factory):
    recipe = pool.recipe("esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    p, doc = factory.provision(recipe, factory.station(), ok=False)
    assert "names no pool" in doc["slots"][0]["error"]["text"] and "signer.pool" in doc["slots"][0]["error"]["hint"]


@pytest.mark.parametrize("changes, word", [
    ({"serial": "R-{mac}"}, "{mac}"), ({"subject": "CN={serial},OU={mac}"}, "{mac}"), ({"subject": "CN=all"}, "{serial}"),
    ({"serial": "R-1"}, "{counter}"),
])
def test_recipe_that_no_pool_can_be_made_for_is_refused(pool, changes, word):
    recipe = pool.recipe("esp32c3", **changes)
    p = run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", pool.folder / "out.bin", ok=False)
    assert p.returncode == 3 and "origin: remote" in p.stderr and word in p.stderr, p.stderr
