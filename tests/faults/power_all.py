# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Cut a device's power at flash words of the whole way, all of them or a seeded sample, once or twice; a rerun must finish with
the identity the device has. Prints what it found as it goes; keeps the folder of every batch with a device that does not
recover, and ends with failure."""

import argparse
import collections
import pathlib
import random
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from factory import Factory, Products  # noqa: E402
from test_power import PROTECTED, RUNS, identities, total_ops  # noqa: E402


def batch(products, folder, chip, recipe, image, plans):
    """How many runs each device needed; what is wrong, or None."""
    folder.mkdir()
    f = Factory(products, folder)
    runs = [None] * len(plans)
    try:
        f.start(*[f"chip={chip},image={image},fault={p}" for p in plans])
        station = f.station()
        shown = []
        for i in range(RUNS):
            p, doc = f.provision(recipe, station, "-v", ok=False)
            (folder / f"run{i}.log").write_text(p.stdout + p.stderr)
            shown.append([s["error"]["text"] if not s["ok"] else "" for s in doc["slots"]])
            for k, s in enumerate(doc["slots"]):
                runs[k] = i + 1 if s["ok"] and not runs[k] else runs[k]
            if p.returncode == 0:
                break
            f.ctl("all", "on")
        check = f.ledger_is_whole()
        for k, plan in enumerate(plans):
            if not runs[k]:
                return runs, f"slot {k} {plan}: {[s[k] for s in shown]}"
        if identities(f) != (len(plans), len(plans)):
            return runs, f"{identities(f)} certificates, devices"
        if check.returncode:
            return runs, check.stdout + check.stderr
        return runs, None
    finally:
        f.stop()


def plans_of(o, total):
    """Fault plans of the cuts that are asked for."""
    rng = random.Random(f"{o.seed}-{o.chip}")
    words = list(range(o.begin, min(o.end, total) + 1))
    cuts = sorted(rng.sample(words, min(o.sample, len(words)))) if o.sample else words
    verb = "off" if o.off else "cut"
    if not o.twice:
        return [f"{verb}@{c}+seed={o.seed}{c}" for c in cuts]
    # The second within what is left of the way; half of them soon, as what follows a cut is where recovery works.
    return [f"{verb}@{c}+again@{rng.randrange(1, 400 if i % 2 else max(total - c, 2))}+seed={o.seed}{c}"
            for i, c in enumerate(cuts)]


def options():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--chip", choices=["esp32", "esp32c3"], default="esp32c3")
    a.add_argument("--sample", type=int, help="this many, chosen by the seed; else every one")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--begin", type=int, default=1, help="first flash word")
    a.add_argument("--end", type=int, default=1 << 62, help="last flash word")
    a.add_argument("--twice", action="store_true", help="cut a second time")
    a.add_argument("--off", action="store_true", help="power stays off until the next run")
    a.add_argument("--key", default="ecdsa-p256")
    a.add_argument("--protect", action="store_true", help="RSA key and NVS keys by the chip's peripherals (esp32c3)")
    a.add_argument("--mode", choices=["release", "development"], default="release")
    a.add_argument("--close-download", choices=["true", "false"], default="false")
    a.add_argument("--at-once", type=int, default=64, help="devices in one batch; a station has at most 64 slots")
    return a.parse_args()


def main():
    o = options()
    root = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-power-"))
    (root / "products").mkdir()
    products = Products(root / "products")
    (root / "first").mkdir()
    first = Factory(products, root / "first")
    protection = PROTECTED if o.protect else {"key": o.key}
    recipe = products.recipe(root, o.chip, mode=o.mode, close_download=o.close_download, **protection)
    image = first.merged(recipe)
    total = total_ops(products, first, o.chip, recipe, image)
    plans = plans_of(o, total)
    what = f"{o.chip} {o.mode} {protection['key']} protect={o.protect} close_download={o.close_download} seed {o.seed}"
    print(f"{what}: {len(plans)} of {total} flash words and sectors{', twice' if o.twice else ''}{', off' if o.off else ''}", flush=True)
    needed, wrong = collections.Counter(), 0
    for i in range(0, len(plans), o.at_once):
        folder = root / f"batch{i}"
        runs, fault = batch(products, folder, o.chip, recipe, image, plans[i:i + o.at_once])
        needed.update(runs)
        if fault:
            wrong += 1
            print(f"WRONG {fault}\n  everything is in {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    print(f"{what}: {len(plans)} devices, runs needed {dict(sorted(needed.items(), key=str))}", flush=True)
    if wrong:
        sys.exit(f"{wrong} batches with a device that did not recover")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
