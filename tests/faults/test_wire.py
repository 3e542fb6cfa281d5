# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Wires that lose, double and flip bytes, or go silent: a run passes or says what is wrong with the device, and always ends; once
the wire is good a rerun passes, with the one identity of each device."""

import os

from test_power import identities

# On a wire that damages up to one byte in ten thousand a device still passes, though power fails amid encryption too.
NOISE = [f"{kind}={ppm}" for kind in ("drop", "double", "flip") for ppm in (50, 100)]
# Where nothing comes any more, a run gives up: on a device never seen, amid the bootloader, and at the proof.
SILENCE = ["hang@1", "hang@12000", "hang@25000"]


def test_bad_wire_ends_in_pass_or_a_device_error(products, factory):
    seed = int(os.environ.get("DEVSTAMP_SEED", "1"))
    recipes = {chip: products.recipe(factory.folder, chip, key="ecdsa-p256") for chip in ("esp32", "esp32c3")}
    images = {chip: factory.merged(recipe) for chip, recipe in recipes.items()}
    plans = [f"{plan}+seed={seed}+cut@9000" for plan in NOISE] + SILENCE
    chips = ["esp32", "esp32c3"] * len(plans)
    factory.start(*[f"chip={c},image={images[c]},fault={plan}" for c, plan in zip(chips, plans)])
    station = factory.station()
    _, doc = factory.provision(list(recipes.values()), station, ok=False, timeout=120)
    failed = {plan: s["error"] for plan, s in zip(plans, doc["slots"]) if not s["ok"]}
    assert sorted(failed) == sorted(SILENCE), f"seed {seed}: {failed}"
    for plan, error in failed.items():
        assert error["class"] == "device" and error["hint"], f"{plan}: {error}"
    factory.ctl("all", "fault", "")
    factory.provision(list(recipes.values()), station)
    assert identities(factory) == (len(plans), len(plans)), f"seed {seed}"
    check = factory.ledger_is_whole()
    assert check.returncode == 0, f"seed {seed}: {check.stdout}"
