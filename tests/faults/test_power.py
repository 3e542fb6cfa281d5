# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The power of a device is cut at flash words of the whole way, sampled with a seed: a rerun finishes with the identity the
device has. script/fuzz cuts at all of them."""

import json
import os
import random
import sqlite3

import pytest

SLOTS = 8


def ops(factory, device):
    return json.loads(factory.ctl(device, "status").stdout)[0]["flash_ops"]


def total_ops(products, factory, chip, recipe, image):
    """How many flash words and sectors one undisturbed way writes."""
    factory.start(f"chip={chip},image={image},fault=cut@999999999")
    factory.provision(recipe, factory.station())
    n = ops(factory, 0)
    factory.stop()
    assert n > 1000
    return n


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_power_cut_at_sampled_flash_words(products, factory, tmp_path_factory, chip):
    seed = int(os.environ.get("DEVSTAMP_SEED", "7"))
    rng = random.Random(f"{seed}-{chip}")
    recipe = products.recipe(factory.folder, chip, key="ecdsa-p256")
    image = factory.merged(recipe)
    total = total_ops(products, factory, chip, recipe, image)
    (factory.folder / "ledger.db").rename(factory.folder / "first.db")
    (factory.folder / "issuance.log").rename(factory.folder / "first.log")
    factory.state = factory.folder / "sim2"
    # The identity is written in the first few hundred words: half of the cuts go there.
    cuts = sorted([rng.randrange(1, 700) for _ in range(SLOTS // 2)] + [rng.randrange(700, total) for _ in range(SLOTS // 2)])
    note = f"seed {seed}, cuts {cuts} of {total}"
    factory.start(*[f"chip={chip},image={image},fault=cut@{c}+seed={c}" for c in cuts])
    station = factory.station()
    factory.provision(recipe, station, ok=False)
    for _ in range(2):
        p, doc = factory.provision(recipe, station, ok=False)
    assert p.returncode == 0, f"{note}\n{p.stdout}"
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    assert db.execute("select count(*), count(distinct device) from certificate").fetchone() == (SLOTS, SLOTS), note
    check = factory.ledger_is_whole()
    assert check.returncode == 0, f"{note}\n{check.stdout}"
