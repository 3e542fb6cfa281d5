# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Keys that the signer makes (origin: station): the whole way on both chips, crashes of station, signer and device around it,
and the key nowhere but on its device."""

import json
import os
import signal
import sqlite3
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

import secretscan
from boardlib import Board
from factory import DEVSTAMP, STAMP, run, wait_for
from test_key_protection import values

STATION = "origin: station\n"


def station_made(products, factory, chip, name=None, **changes):
    return products.recipe(factory.folder, chip, name, protection=STATION + changes.pop("protection", ""), **changes)


def shown(factory, serial):
    return json.loads(run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--json", serial).stdout)


def certificates(factory):
    """(all, live, devices) in the ledger."""
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    return db.execute("select count(*), count(*) filter (where revoked_at is null), count(distinct device) from certificate"
                      ).fetchone()




def is_whole(factory, count):
    """Every device has one certificate, and none was signed for nothing."""
    assert certificates(factory) == (count, count, count)
    check = factory.ledger_is_whole()
    assert check.returncode == 0, check.stdout
    with sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True) as db:
        newest = [r[0].split() for r in db.execute("select text from event where kind = 'ledger.signer' order by id")][-1]
    assert int(newest[1]) == count


@pytest.mark.parametrize("chip, key, protection", [
    ("esp32", "ecdsa-p256", ""), ("esp32c3", "rsa-2048", "key_protection: ds\nnvs_keys: hmac\n"),
])
def test_station_made_key_goes_the_whole_way(products, factory, chip, key, protection):
    recipe = station_made(products, factory, chip, key=key, protection=protection)
    factory.start(f"chip={chip},image={factory.merged(recipe)}")
    _, doc = factory.provision(recipe, factory.station())
    device = shown(factory, doc["slots"][0]["serial"])
    assert device["key_origin"] == "station" and device["locked"]
    assert device["proof"]["key_origin"] == {"ok": True, "seen": "imported"}
    given = [e["text"].split()[1] for e in device["events"] if e["kind"] == "ledger.key"]
    assert given == [device["certificate"]["public_key_sha256"]]
    is_whole(factory, 1)
    _, again = factory.provision(recipe, factory.station())
    assert again["slots"][0]["steps"][2]["state"] in ("skipped", "already", "holds already"), again["slots"][0]["steps"][2]
    is_whole(factory, 1)


def signer_of(pid):
    return next(p for p in secretscan.tree(pid) if secretscan.of_process(p, "cmdline").split(b"\0")[1:2] == [b"signer"])


def numbers(der):
    """The secret numbers of a key, as bytes of both orders."""
    key = load_der_private_key(der, None)
    n = key.private_numbers()
    secret = [n.private_value] if isinstance(key, ec.EllipticCurvePrivateKey) else [n.p, n.q, n.d, n.dmp1, n.dmq1, n.iqmp]
    out = {}
    for i, value in enumerate(secret):
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        for name, part in (("begin", data[:32]), ("end", data[-32:])):
            out[f"number {i} {name}"] = part
            out[f"number {i} {name}, little-endian"] = part[::-1]
    return out


class Line:
    """devstamp provision, stood still as soon as it has told of a step."""

    def __init__(self, recipe, station, step):
        self.process = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert any(f" {step} " in s and ("done" in s or "holds already" in s) for s in iter(self.process.stdout.readline, ""))
        self.process.send_signal(signal.SIGSTOP)

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.mark.skipif(not secretscan.can_read_memory(), reason="may not read the memory of other processes")
@pytest.mark.parametrize("key", ["rsa-2048", "ecdsa-p256"])
def test_station_made_key_is_on_its_device_alone(products, factory, key):
    recipe = station_made(products, factory, "esp32c3", key=key, proof="report")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    the_key_is_nowhere_else(factory, recipe, factory.station())
    is_whole(factory, 1)


def the_key_is_nowhere_else(factory, recipe, station):
    """Not in memory, command line or environment as soon as the device has it, and in no file after the whole run."""
    line = Line(recipe, station, "key")
    plain = wait_for(lambda: values(factory.flash(0)[STAMP[0]:STAMP[0] + STAMP[1]]), what="the stamp in flash")
    secret = numbers(plain["key"])
    assert secretscan.found_in(plain["key"], secret)
    pids = [line.process.pid, signer_of(line.process.pid)]
    for pid in pids:
        memory = secretscan.memory(pid)
        assert b"issuance.log" in memory, "its memory was not read"
        found = secretscan.found_in(memory, secret)
        assert not found, ("station" if pid == pids[0] else "signer", sorted(found))
    for pid in secretscan.processes():
        for what in ("cmdline", "environ"):
            assert not secretscan.found_in(secretscan.of_process(pid, what), secret), (pid, what)
    line.end()
    factory.provision(recipe, station, "--report", factory.folder / "report.json", "--verbose")
    factory.stop()
    (factory.state / "0/flash.bin").unlink()
    assert not secretscan.files_with([factory.folder, factory.products.folder], secret)


def test_station_and_signer_killed_between_steps(products, factory):
    """After steps around the key, each of a device of its own: one live certificate a device, and no more signed."""
    recipe = station_made(products, factory, "esp32c3", proof="report")
    plans = [("versions", "signer"), ("key", "station"), ("key", "signer"), ("csr", "station"), ("certificate", "signer")]
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}" for _ in plans])
    for i, (step, whom) in enumerate(plans):
        slot = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"}]
        station = factory.station(slot, name=f"station{i}")
        line = Line(recipe, station, step)
        if whom == "station":
            line.end()
        else:
            os.kill(signer_of(line.process.pid), signal.SIGKILL)
            line.process.send_signal(signal.SIGCONT)
            line.process.communicate(timeout=120)
    _, doc = factory.provision(recipe, factory.station())
    assert doc["passed"] == len(plans)
    for slot in doc["slots"]:
        assert shown(factory, slot["serial"])["key_origin"] == "station", plans[int(slot["slot"])]
    is_whole(factory, len(plans))


def test_power_lost_while_the_key_comes(products, factory):
    """Within the mark, the key and the chain, at flash words that follow each other closely."""
    recipe = station_made(products, factory, "esp32c3", key="ecdsa-p256", proof="report")
    cuts = [3, 9, 15, 30, 50, 90]
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)},fault=cut@{n}" for n in cuts])
    for _ in range(3):
        p, doc = factory.provision(recipe, factory.station(), ok=False)
        if p.returncode == 0:
            break
    assert doc["passed"] == len(cuts), p.stdout
    is_whole(factory, len(cuts))


def test_origin_is_changed_only_before_the_certificate(products, factory):
    """A key from elsewhere does not pass for the device's own, nor the other way round."""
    made_there = products.recipe(factory.folder, "esp32c3", proof="report")
    made_here = station_made(products, factory, "esp32c3", "here", proof="report")
    factory.start(*[f"chip=esp32c3,image={factory.merged(made_there)}" for _ in range(2)])
    for i, (first, second, origin) in enumerate([(made_there, made_here, "station"), (made_here, made_there, "device")]):
        slot = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"}]
        station = factory.station(slot, name=f"station{i}")
        Line(first, station, "key").end()
        _, doc = factory.provision(second, station)
        device = shown(factory, doc["slots"][0]["serial"])
        assert device["key_origin"] == origin
        assert device["proof"]["key_origin"]["seen"] == ("imported" if origin == "station" else "device")
        p, doc = factory.provision(first, station, ok=False)
        assert p.returncode != 0 and "another origin" in doc["slots"][0]["error"]["text"], doc["slots"][0]["error"]
    is_whole(factory, 2)


def test_firmware_that_takes_no_key_is_named(products, tmp_path, factory):
    """The emulated board's firmware was built without key import."""
    board = Board(tmp_path, 1)
    board.start()
    try:
        recipe = factory.folder / "gauge.yaml"
        recipe.write_text(f"""\
recipe: 1
product: gauge
chip: generic
key: ecdsa-p256
origin: station
certificate: {{subject: "CN={{serial}}"}}
stamp: {{serial: "G-{{mac}}", endpoint: "mqtts://localhost:1", endpoint_ca: {products.folder / 'ca/root.pem'}}}
lock: {{mode: none}}
""")
        station = factory.station([{"name": "1", "port": f"tcp://127.0.0.1:{board.port}", "reset": "none"}])
        p, doc = factory.provision(recipe, station, ok=False)
    finally:
        board.close()
    error = doc["slots"][0]["error"]
    assert p.returncode != 0 and "takes no key from elsewhere" in error["text"] and "key import" in error["hint"], error
    assert certificates(factory)[0] == 0


def test_origin_that_is_none_is_refused(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", protection="origin: elsewhere\n")
    p = run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", factory.folder / "out.bin", ok=False)
    assert p.returncode == 3 and "origin" in p.stderr, p.stderr
