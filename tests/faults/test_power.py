# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The power of a device is cut at flash words of the whole way, sampled with a seed: a rerun finishes with the identity the
device has. script/fuzz cuts at all of them."""

import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import zlib

import pytest

from factory import DEVSTAMP, SIM, run, wait_for

SLOTS = 8
RUNS = 3  # a cut is mended by the run it comes in or by the next two


def ops(factory, device):
    return json.loads(factory.ctl(device, "status").stdout)[0]["flash_ops"]


def total_ops(products, factory, chip, recipe, image, kind=""):
    """How many flash words and sectors one undisturbed way writes; found out once, on a line that is put away."""
    if ("ops", chip, kind) not in products.made:
        factory.start(f"chip={chip},image={image},fault=cut@999999999")
        factory.provision(recipe, factory.station())
        products.made["ops", chip, kind] = ops(factory, 0)
        factory.stop()
        for name in ("ledger.db", "issuance.log", "issuance.log.head", "sim"):
            (factory.folder / name).rename(factory.folder / f"first-{name}")
        assert products.made["ops", chip, kind] > 1000
    return products.made["ops", chip, kind]


def identities(factory):
    """Certificates in the ledger, and devices that have one."""
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    return db.execute("select count(*), count(distinct device) from certificate").fetchone()


def recovers(factory, recipe, note, count):
    """Run until every device passed; each has one identity then, and the ledger is whole."""
    station = factory.station()
    for _ in range(RUNS):
        p, _ = factory.provision(recipe, station, ok=False)
        if p.returncode == 0:
            break
    assert p.returncode == 0, f"{note}\n{p.stdout}"
    assert identities(factory) == (count, count), note
    check = factory.ledger_is_whole()
    assert check.returncode == 0, f"{note}\n{check.stdout}"


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_power_cut_at_sampled_flash_words(products, factory, tmp_path_factory, chip):
    seed = int(os.environ.get("DEVSTAMP_SEED", "7"))
    rng = random.Random(f"{seed}-{chip}")
    recipe = products.recipe(factory.folder, chip, key="ecdsa-p256")
    image = factory.merged(recipe)
    total = total_ops(products, factory, chip, recipe, image)
    # The identity is written in the first few hundred words: half of the cuts go there. Every other device is cut twice.
    cuts = sorted([rng.randrange(1, 700) for _ in range(SLOTS // 2)] + [rng.randrange(700, total) for _ in range(SLOTS // 2)])
    plans = [f"cut@{c}+seed={c}" + (f"+again@{rng.randrange(1, total)}" if i % 2 else "") for i, c in enumerate(cuts)]
    factory.start(*[f"chip={chip},image={image},fault={p}" for p in plans])
    recovers(factory, recipe, f"seed {seed}, plans {plans} of {total}", SLOTS)


PROTECTED = {"key": "rsa-2048", "protection": "key_protection: ds\nnvs_keys: hmac\n"}


def assert_key_blocks(factory, device):
    """Bootloader, anchor and the stamp's wishes each took one key block of a virtual ESP32-C3, and no block was wasted."""
    efuses = (factory.state / str(device) / "efuse.bin").read_bytes()[:512][::-1]  # words from the last to the first
    low, high = (int.from_bytes(efuses[at:at + 4][::-1], "big") for at in (0x2C + 8, 0x2C + 12))
    purposes = [low >> 24 & 15, low >> 28] + [high >> 4 * i & 15 for i in range(4)]
    assert purposes == [9, 4, 0, 8, 7, 0], purposes


def test_power_cut_while_keys_are_given_to_the_chip(products, factory):
    """The flash words and eFuse blocks at the end of stamping, where secrets are made, burned, hidden and proved, and the move of
    what is left of them: whatever is cut, the rerun needs no further key block."""
    seed = int(os.environ.get("DEVSTAMP_SEED", "7"))
    rng = random.Random(f"{seed}-protected")
    recipe = products.recipe(factory.folder, "esp32c3", **PROTECTED)
    image = factory.merged(recipe)
    total = total_ops(products, factory, "esp32c3", recipe, image, "protected")
    # About where the secrets and what they encrypt are written, where the blocks are burned, and the first boot's move.
    cuts = sorted(rng.sample(range(950, 1335), 3) + rng.sample(range(1335, 1385), 3) +
                  [rng.randrange(total - 2200, total) for _ in range(2)])
    plans = [f"cut@{c}+seed={c}" + (f"+again@{rng.randrange(1, 120)}" if i % 2 else "") for i, c in enumerate(cuts)]
    factory.start(*[f"chip=esp32c3,image={image},fault={p}" for p in plans])
    recovers(factory, recipe, f"seed {seed}, plans {plans} of {total}", len(plans))
    for i in range(len(plans)):
        assert_key_blocks(factory, i)


def test_power_that_stays_off_until_the_next_run(products, factory):
    """Switched off amid stamping, amid each part of encryption in place, and amid the move of the stamp: the next run, which
    knows nothing of this one, goes on. A release ESP32-C3 can only be written to by then."""
    recipe = products.recipe(factory.folder, "esp32c3", close_download="true")
    image = factory.merged(recipe)
    total = total_ops(products, factory, "esp32c3", recipe, image)
    cuts = [300, total // 5, total // 3, total // 2, total - 1500, total - 60]
    factory.start(*[f"chip=esp32c3,image={image},fault=off@{c}+seed={c}" for c in cuts])
    utility = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station()],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: all(d["power"] == "off" for d in json.loads(factory.ctl("all", "status").stdout)), what="power off")
    os.killpg(utility.pid, signal.SIGKILL)  # it would look for the devices for a minute
    utility.wait()
    factory.ctl("all", "on")
    recovers(factory, recipe, f"off at {cuts} of {total}", len(cuts))


def selected(factory, device):
    """The OTA slot that a device's otadata names (ESP-IDF: the valid entry with the highest sequence number)."""
    plain = factory.folder / f"plain{device}.bin"
    run(SIM, "decrypt", "--state", factory.state, "--device", device, "-o", plain)
    with open(plain, "rb") as f:
        f.seek(0x11000)
        otadata = f.read(0x2000)
    entries = [struct.unpack_from("<I20xII", otadata, at) for at in (0, 0x1000)]
    valid = [seq for seq, _, crc in entries if seq != 0xFFFFFFFF and crc == zlib.crc32(struct.pack("<I", seq), 0xFFFFFFFF)]
    return (max(valid) - 1) % 2


def test_power_cut_while_the_bootloader_is_replaced(products, factory):
    """With enough of the secure bootloader in place the power returns to a first boot that nobody asked for, and that falls
    back to the app as the mfg firmware is not signed: the same run goes on, and otadata names the app all the same."""
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    image = factory.merged(recipe)
    cuts = range(2700, 4400, 100)
    factory.start(*[f"chip=esp32c3,image={image},fault=cut@{c}" for c in cuts])
    factory.provision(recipe, factory.station())
    factory.ctl("all", "off")
    assert {c: selected(factory, i) for i, c in enumerate(cuts)} == {c: 0 for c in cuts}
