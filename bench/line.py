# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Seconds per device of the whole way, for 1, 4 and 16 slots, with the devices' timing model off and on.

"slot" is how long one device occupies its slot (median), "line" the elapsed time divided by the devices. "ours" is the
processor time of utility and signer per device, and its share of the slot's time: the rest is the device and its wire.
All figures of a row come from one run."""

import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/e2e"))

from factory import Factory, Products  # noqa: E402


def cpu_of_children():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def measure(products, root, chip, slots, timing):
    folder = root / f"{chip}-{slots}-{timing}"
    folder.mkdir()
    f = Factory(products, folder)
    recipe = products.recipe(folder, chip, key="ecdsa-p256")
    image = f.merged(recipe)
    try:
        f.start(*[f"chip={chip},image={image},timing={timing},seed={i + 1}" for i in range(slots)])
        station = f.station()
        before, start = cpu_of_children(), time.monotonic()
        _, doc = f.provision(recipe, station, timeout=1200)
        elapsed, cpu = time.monotonic() - start, cpu_of_children() - before
    finally:
        f.stop()
    slot = statistics.median(s["ms"] for s in doc["slots"]) / 1000
    steps = {s["name"]: statistics.median(t["steps"][i]["ms"] for t in doc["slots"]) for i, s in
             enumerate(doc["slots"][0]["steps"])}
    slowest = sorted(steps.items(), key=lambda kv: -kv[1])[:3]
    ours = cpu / slots
    print(f"{chip:8} {slots:5} {timing:6} {slot:8.2f} {elapsed / slots:8.2f} {ours:8.3f} {100 * ours / slot:6.1f} %   "
          + ", ".join(f"{k} {v / 1000:.1f}" for k, v in slowest), flush=True)


def main():
    root = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-bench-"))
    (root / "products").mkdir()
    products = Products(root / "products")
    print(f"{'chip':8} {'slots':>5} {'timing':6} {'slot s':>8} {'line s':>8} {'ours s':>8} {'share':>8}   slowest steps, s")
    for timing in ("off", "on"):
        for slots in (1, 4, 16):
            measure(products, root, "esp32c3", slots, timing)


if __name__ == "__main__":
    os.environ.setdefault("DEVSTAMP_BUILD", "build/release")
    main()
