# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Cut a device's power at flash words of the whole way, all of them or a seeded sample; a rerun must finish with the identity
the device has. Prints what it found as it goes; stops at the first device that does not recover."""

import argparse
import pathlib
import random
import shutil
import sqlite3
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from factory import Factory, Products  # noqa: E402
from test_power import total_ops  # noqa: E402

AT_ONCE = 16


def batch(products, folder, chip, recipe, image, cuts):
    folder.mkdir()
    f = Factory(products, folder)
    try:
        f.start(*[f"chip={chip},image={image},fault=cut@{c}+seed={c}" for c in cuts])
        station = f.station()
        for _ in range(3):
            p, doc = f.provision(recipe, station, ok=False)
            if p.returncode == 0:
                break
        db = sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)
        certificates = db.execute("select count(*), count(distinct device) from certificate").fetchone()
        whole = f.ledger_is_whole().returncode == 0
        failed = [(c, s["error"]["text"]) for c, s in zip(cuts, doc["slots"]) if not s["ok"]]
        if failed or certificates != (len(cuts), len(cuts)) or not whole:
            sys.exit(f"{chip}: cuts {cuts}: {failed or certificates}, ledger whole: {whole}; everything is in {folder}")
    finally:
        f.stop()


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--chip", choices=["esp32", "esp32c3"], default="esp32c3")
    a.add_argument("--sample", type=int, help="this many, chosen by the seed; else every one")
    a.add_argument("--seed", type=int, default=1)
    o = a.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-power-"))
    (root / "products").mkdir()
    products = Products(root / "products")
    (root / "first").mkdir()
    first = Factory(products, root / "first")
    recipe = products.recipe(root, o.chip, key="ecdsa-p256")
    image = first.merged(recipe)
    total = total_ops(products, first, o.chip, recipe, image)
    cuts = list(range(1, total + 1))
    if o.sample:
        cuts = sorted(random.Random(f"{o.seed}-{o.chip}").sample(cuts, o.sample))
    print(f"{o.chip}: {len(cuts)} of {total} flash words and sectors, seed {o.seed}", flush=True)
    for i in range(0, len(cuts), AT_ONCE):
        folder = root / f"batch{i}"
        batch(products, folder, o.chip, recipe, image, cuts[i:i + AT_ONCE])
        shutil.rmtree(folder)
        if i % (AT_ONCE * 8) == 0:
            print(f"{o.chip}: {min(i + AT_ONCE, len(cuts))} of {len(cuts)} recovered", flush=True)
    shutil.rmtree(root)
    print(f"{o.chip}: {len(cuts)} cuts, every device recovered with its one identity")


if __name__ == "__main__":
    main()
