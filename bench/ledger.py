# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The ledger over both engines: whole devices written through it (row, certificate, six events of the chain) beside the same
rows by the engine's own bulk load into the same tables (COPY; INSERT … SELECT from another file), and look-ups by each key.
After a tenth of the devices and at the end, so that growth shows. PostgreSQL runs as in the tests, with fsync on.

usage: bench/ledger.py [devices]"""

import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/e2e"))
os.environ.setdefault("DEVSTAMP_BUILD", "build/release")
BENCH = pathlib.Path(os.environ["DEVSTAMP_BUILD"]).resolve() / "bench/bench_ledger"
TABLES = ("device", "certificate", "event")
SAMPLES = 5000

from pglib import Postgres  # noqa: E402


def bench(verb, place, a, b, env):
    p = subprocess.run([BENCH, verb, place, str(a), str(b)], env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def measure(name, place, devices, bulk, env):
    tenth = devices // 10
    done = 0
    for until in (tenth, devices):
        took = bench("load", place, done, until - done, env)["seconds"]
        print(f"{name:10} {done:>9} to {until:>9}: {(until - done) / took:8.0f} devices/s", flush=True)
        done = until
        for key, t in bench("find", place, until, SAMPLES, env).items():
            print(f"{name:10} look-up by {key:11} among {until:>9}: p50 {t['p50_us']:5} us, p99 {t['p99_us']:5} us", flush=True)
    own = bulk(devices)
    print(f"{name:10} its own bulk load of the same rows: {devices / own:8.0f} devices/s", flush=True)


def sqlite_bulk(folder, source):
    def load(_devices):
        subprocess.run([BENCH, "load", folder / "copy.db", "0", "0"], check=True, capture_output=True)
        db = sqlite3.connect(folder / "copy.db", isolation_level=None)
        db.execute("PRAGMA synchronous=FULL")
        db.execute("ATTACH ? AS source", (str(source),))
        start = time.perf_counter()
        db.execute("BEGIN")
        for t in TABLES:
            db.execute(f"INSERT INTO main.{t} SELECT * FROM source.{t}")
        db.execute("COMMIT")
        took = time.perf_counter() - start
        db.close()
        return took
    return load


def pg_bulk(pg):
    def load(_devices):
        for t in TABLES:
            pg.query(f"COPY {t} TO '{pg.folder}/{t}.copy' (FORMAT binary)", timeout=7200)
        pg.query("TRUNCATE device, certificate, event, proof")
        start = time.perf_counter()
        pg.query("BEGIN; " + "; ".join(f"COPY {t} FROM '{pg.folder}/{t}.copy' (FORMAT binary)" for t in TABLES) + "; COMMIT",
                 timeout=7200)
        return time.perf_counter() - start
    return load


def main():
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    folder = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-bench-"))
    pg = Postgres(fsync=True)
    try:
        measure("SQLite", folder / "ledger.db", devices, sqlite_bulk(folder, folder / "ledger.db"), None)
        measure("PostgreSQL", pg.place, devices, pg_bulk(pg), pg.env)
    finally:
        pg.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
