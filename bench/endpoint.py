# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The self-hosted endpoint with a million registered devices, beside the same mosquitto with require_certificate and no
plugin, in the same run: mutual-TLS connects per second (rounds of both in turn, broker time per connect), what a first
connect's registration adds, the plugin's memory, and how long a change of state takes to reach who is connected."""

import argparse
import os
import pathlib
import shutil
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
os.environ.setdefault("DEVSTAMP_BUILD", str(ROOT / "build/release"))
import endpoint_fixtures as fixtures  # noqa: E402

CROWD = fixtures.BUILD / "bench/bench_endpoint"
TICK = os.sysconf("SC_CLK_TCK")


def fill(registry, ca_id, count):
    """Registered devices straight into the tables, with certificates of 450 random bytes."""
    db = sqlite3.connect(registry)
    db.execute("PRAGMA synchronous=OFF")
    ca = db.execute("SELECT number FROM ca WHERE id = ?", (bytes.fromhex(ca_id),)).fetchone()[0]
    first = db.execute("SELECT ifnull(max(number), 0) + 1 FROM device").fetchone()[0]
    for at in range(first, first + count, 50000):
        part = range(at, min(at + 50000, first + count))
        db.executemany("INSERT INTO device(number, id, name, ca, serial, state, registered_at, last_seen) "
                       "VALUES(?, ?, ?, ?, ?, 1, 1700000000, 1700000000)",
                       ((i, os.urandom(32), f"OLD{i:07}", ca, os.urandom(16)) for i in part))  # fmt: skip
        db.executemany("INSERT INTO certificate VALUES(?, ?)", ((i, os.urandom(450)) for i in part))
        db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


class Peer:
    """The same broker without the plugin."""

    def __init__(self, endpoint):
        self.port = fixtures.free_port()
        text = (endpoint.conf_dir / "mosquitto.conf").read_text()
        text = "\n".join(x for x in text.splitlines() if not x.startswith("plugin"))
        text = text.replace(f"listener {endpoint.port} ", f"listener {self.port} ").replace("allow_anonymous false", "allow_anonymous true")
        conf = endpoint.folder / "peer.conf"
        conf.write_text(text + "\n")
        self.log = open(endpoint.folder / "peer.log", "wb")
        self.process = subprocess.Popen([fixtures.MOSQUITTO, "-c", str(conf)], stdout=self.log, stderr=self.log)
        time.sleep(1)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid):
    """Anonymous memory of the process, in MiB."""
    line = next(x for x in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def make(endpoint, label, first, count):
    out = endpoint.folder / f"{label}.crowd"
    subprocess.run([CROWD, "make", endpoint.sub.cert_file, endpoint.sub.key_file, out, "SN", str(first), str(count)], check=True)
    return out


def run(endpoint, broker, port, crowd, processes):
    before = cpu(broker.pid)
    done = subprocess.run([CROWD, "run", "127.0.0.1", str(port), endpoint.sub.cert_file, crowd, str(processes)],
                          check=True, capture_output=True, text=True)  # fmt: skip
    seconds, ok, refused, failed, p50, p99, most = (float(x) for x in done.stdout.split())
    assert refused == failed == 0, done.stdout
    return {"rate": ok / seconds, "cpu_ms": (cpu(broker.pid) - before) / ok * 1000, "p50": p50 / 1000, "p99": p99 / 1000,
            "max": most / 1000}  # fmt: skip


def cut_off_after(endpoint, *change):
    """Seconds from a change until a connection that it concerns is closed."""
    name = f"LIVE{time.monotonic_ns()}"
    d = endpoint.device(name)
    context = ssl.create_default_context(cafile=endpoint.root.cert_file)
    context.load_cert_chain(d.cert_file, d.key_file)
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2, "big") + name.encode()
    with socket.create_connection(("localhost", endpoint.port), 60) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as wire:
            wire.sendall(bytes([0x10, len(body)]) + body)
            assert wire.recv(4)[3] == 0
            fixtures.devstamp("registry", "set", "--registry", endpoint.registry,
                              *(name if x is None else x for x in change))  # fmt: skip
            begin = time.monotonic()
            while True:
                try:
                    if not wire.recv(100):
                        return time.monotonic() - begin
                except OSError:
                    return time.monotonic() - begin


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def measure(folder, devices, clients, rounds):
    load = os.getloadavg()[0]
    e = fixtures.Endpoint(folder)
    start = time.monotonic()
    fill(e.registry, e.sub.id, devices)
    size = sum(os.path.getsize(p) for p in folder.glob("registry.db*")) / 1e6
    print(f"{devices} registered devices, {size:.0f} MB, filled in {time.monotonic() - start:.0f} s; load {load:.1f}", flush=True)
    e.start()
    peer = Peer(e)
    try:
        crowd = make(e, "crowd", 1, clients)
        run(e, e.process, e.port, crowd, 4)  # registers them
        run(e, peer.process, peer.port, crowd, 4)
        rows = {"plugin": [], "peer": []}
        for i in range(rounds):
            order = [("plugin", e.process, e.port), ("peer", peer.process, peer.port)]
            for label, broker, port in order if i % 2 else order[::-1]:
                rows[label].append(run(e, broker, port, crowd, 4))
        for label, r in rows.items():
            print(f"{label:8} {median(r, 'rate'):7.0f} connects/s   {median(r, 'cpu_ms'):6.3f} ms of the broker each   "
                  f"p50 {median(r, 'p50'):6.2f} ms  p99 {median(r, 'p99'):6.2f} ms", flush=True)  # fmt: skip
        print(f"connects/s with the plugin, of those without: {median(rows['plugin'], 'rate') / median(rows['peer'], 'rate'):.3f}; "
              f"by broker time {median(rows['peer'], 'cpu_ms') / median(rows['plugin'], 'cpu_ms'):.3f}", flush=True)  # fmt: skip
        first, again = [], []
        for i in range(3):
            fresh = make(e, f"fresh{i}", 2000000 + i * clients, clients // 2)
            first.append(run(e, e.process, e.port, fresh, 1))
            again.append(run(e, e.process, e.port, fresh, 1))
        print(f"first connect {median(first, 'p50'):.2f} ms, p99 {median(first, 'p99'):.2f} ms; again {median(again, 'p50'):.2f} ms, "
              f"p99 {median(again, 'p99'):.2f} ms: registration adds {median(first, 'p50') - median(again, 'p50'):.2f} ms, "
              f"p99 {median(first, 'p99') - median(again, 'p99'):.2f} ms", flush=True)  # fmt: skip
        print(f"memory of the broker: {memory(e.process.pid):.1f} MiB with the plugin, {memory(peer.process.pid):.1f} MiB without", flush=True)
        print(f"a device revoked: cut off after {cut_off_after(e, '--device', None, '--state', 'revoked'):.2f} s")
        print(f"its CA switched off, {devices} devices: after {cut_off_after(e, '--ca-id', e.sub.id, '--state', 'inactive'):.2f} s")
        fixtures.devstamp("registry", "set", "--registry", e.registry, "--ca-id", e.sub.id, "--state", "active")
        print(f"policy logged, {devices} devices: after {cut_off_after(e, '--ca-id', e.sub.id, '--policy', 'logged'):.2f} s")
        print(f"memory of the broker afterwards: {memory(e.process.pid):.1f} MiB; load {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        peer.stop()
        e.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, fallback in (("devices", 1_000_000), ("clients", 4000), ("rounds", 5)):
        parser.add_argument(name, type=int, nargs="?", default=fallback)
    o = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-bench-"))
    try:
        measure(folder, o.devices, o.clients, o.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
