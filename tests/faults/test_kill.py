# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""kill -9 of the utility after every step and of the signer around its own: a rerun finishes, with one live certificate."""

import os
import pathlib
import random
import signal
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

from factory import DEVSTAMP, run
from remotelib import RECIPE, Authority, Front, Peer
from signerlib import Device

STEPS = ["connect", "versions", "key", "csr", "certificate", "stamp", "bootloader", "select", "firstboot", "proof"]
# The signer is asked in one step only: killed long before, just before, after it, and never used again.
SIGNER_STEPS = ["connect", "csr", "certificate", "select"]


def children(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def kill_after(recipe, station, step, whom):
    """Run the utility and kill it, or its signer, as soon as it has told that step is over."""
    p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    killed = False
    for line in p.stdout:
        if not killed and f" {step} " in line and ("done" in line or "holds already" in line):
            victims = [p.pid] if whom == "utility" else children(p.pid)
            assert victims, "no signer process"
            for v in victims:
                os.kill(v, signal.SIGKILL)
            killed = True
    p.wait(timeout=120)
    p.stdout.close()
    assert killed, f"step {step} was never over"
    return p.returncode


def certificates(factory):
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    return db.execute("select count(*) from certificate").fetchone()[0]


def logged(factory):
    """Certificates in the signer's issuance log, counted by their DER header of the ledger's bytes."""
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    log = (factory.folder / "issuance.log").read_bytes()
    ders = [r[0] for r in db.execute("select der from certificate where der is not null")]
    return [log.count(d) for d in ders]


@pytest.mark.parametrize("whom", ["utility", "signer"])
def test_killed_after_steps(products, factory, whom):
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    image = factory.merged(recipe)
    steps = STEPS if whom == "utility" else SIGNER_STEPS
    factory.start(*[f"chip=esp32c3,image={image}" for _ in steps])
    for i, step in enumerate(steps):
        slot = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"}]
        station = factory.station(slot, name=f"station{i}")
        kill_after(recipe, station, step, whom)
        _, doc = factory.provision(recipe, station)
        assert doc["passed"] == 1, step
    assert certificates(factory) == len(steps)
    assert logged(factory) == [1] * len(steps)
    check = factory.ledger_is_whole()
    assert check.returncode == 0, check.stdout


def test_killed_at_random_moments(products, factory):
    """Not only between steps: four devices, six runs killed at a seeded moment each; the seventh finishes."""
    seed = int(os.environ.get("DEVSTAMP_SEED", "1"))
    rng = random.Random(seed)
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(4)])
    station = factory.station()
    for _ in range(6):
        p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(0.05, 2.0))
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
    _, doc = factory.provision(recipe, station)
    assert doc["passed"] == 4, f"seed {seed}"
    assert certificates(factory) == 4 and logged(factory) == [1] * 4, f"seed {seed}"
    assert factory.ledger_is_whole().returncode == 0


def test_signer_elsewhere_killed_at_random_moments(products, tmp_path):
    """Three stations ask on and on while the listening process is killed and started again: each request is asked until it
    is answered, once more at the end, and the log has one certificate for each."""
    seed = int(os.environ.get("DEVSTAMP_SEED", "1"))
    rng, ca, recipe = random.Random(seed), products.folder / "ca", tmp_path / "acme.yaml"
    recipe.write_text(RECIPE.format(product="acme", ca=ca))
    signer = {"certificate": ca / "subca.pem", "key": f"file:{ca}/subca.key", "log": tmp_path / "issued.log"}
    authority = Authority(tmp_path / "line-ca")
    names = ["line-1", "line-2", "line-3"]
    ids = {name: authority.issue(name) for name in names}
    front = Front(tmp_path, authority, signer, [recipe], {name: "recipes: [acme]" for name in names}).start()
    answers, failed, over = {}, [], threading.Event()

    def ask_until_answered(name, device):
        while True:
            try:
                peer = Peer(front, *ids[name])
                answers.setdefault(device.name, set()).add(peer.sign(device))
                peer.close()
                return
            except (OSError, EOFError, ssl.SSLError):
                time.sleep(0.02)

    def station(name, number):
        try:
            while not over.is_set():
                device = Device(f"SN{number}", ca)
                device.uri = ""
                ask_until_answered(name, device)
                devices.append((name, device))
                number += 10
        except Exception as e:  # whatever it is, the test must fail
            failed.append(e)
    devices = []
    threads = [threading.Thread(target=station, args=(name, i)) for i, name in enumerate(names)]
    for t in threads:
        t.start()
    for _ in range(6):
        time.sleep(rng.uniform(0.0, 0.6))
        front.kill()
        front.start()
    over.set()
    for t in threads:
        t.join()
    assert not failed, f"seed {seed}"
    for name, device in devices:
        ask_until_answered(name, device)
    front.stop()
    assert devices and all(len(a) == 1 for a in answers.values()), f"seed {seed}"
    verified = run(DEVSTAMP, "log", "verify", "--log", tmp_path / "issued.log").stdout
    assert int(verified.split()[0]) == len(devices) == len(answers), f"seed {seed}"
