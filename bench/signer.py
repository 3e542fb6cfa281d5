# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Certificates per second through the signer with everything on: checks, issuance log, fsync.

Sub CA keys in SoftHSM2, 16 slots asking, signer and askers on one processor: against the limit, which is one C_Sign and one
verification of a request's signature, measured bare on the same processor before and after, and against `openssl ca` with keys
in files (no token, no durable log). Then the same with a software key, on all processors: 64 callers, and with the log at 0
and at many entries. "cpu ratio" compares processor time instead of elapsed time: other work on the machine disturbs it less, and a
figure is worth something only where both agree.

usage: bench/signer.py [--certificates N] [--million] [--log-entries N]"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import log as bench_log

BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", "build/release")).resolve()
DEVSTAMP, PROGRAM = BUILD / "src/cli/devstamp", BUILD / "bench/bench_signer"
MODULES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
           "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"]
PIN = "271828"
KINDS = [("P-256 CA, P-256 devices", "ecdsa-p256", "p256", 1), ("RSA-2048 CA, P-256 devices", "rsa-2048", "p256", 0.4),
         ("RSA-2048 CA, RSA-2048 devices", "rsa-2048", "rsa2048", 0.03)]


def run(*args, **kw):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    assert p.returncode == 0, f"{args}: {p.stdout}{p.stderr}"
    return p.stdout


def measure(*args, one_core=False, **kw):
    pinned = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if one_core else []
    return json.loads(run(*pinned, PROGRAM, *args, **kw))


def verdict(what, figure, goal, holds):
    print(f"  {what}: {figure} (goal {goal}): {'holds' if holds else 'DOES NOT HOLD'}", flush=True)


class Bench:
    def __init__(self, folder):
        self.folder, self.logs = folder, 0
        self.module = next(m for m in MODULES if os.path.exists(m))
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
        self.env = dict(os.environ, SOFTHSM2_CONF=str(folder / "softhsm2.conf"))
        self.pin = folder / "pin"
        self.pin.write_text(PIN + "\n")
        self.pin.chmod(0o600)
        run("softhsm2-util", "--init-token", "--free", "--label", "bench", "--so-pin", "87654321", "--pin", PIN, env=self.env)
        for kind in ("ecdsa-p256", "rsa-2048"):
            run(DEVSTAMP, "ca", "init", "--dir", folder / kind, "--sub-key", f"pkcs11:token=bench;object={kind}", "--module",
                self.module, "--pin-file", self.pin, "--key-type", kind, env=self.env)
        run(DEVSTAMP, "ca", "init", "--dir", folder / "file")

    def new_log(self):
        self.logs += 1
        return self.folder / f"{self.logs}.log"

    def limit(self, kind, device, seconds):
        return measure("limit", self.module, "bench", kind, self.pin, device, seconds, one_core=True, env=self.env)

    def token(self, kind, device, count):
        return measure("run", f"pkcs11:token=bench;object={kind}", self.module, self.pin, self.folder / kind / "subca.pem",
                       self.new_log(), device, 16, count, one_core=True, env=self.env)

    def software(self, callers, count, log=None):
        ca = self.folder / "file"
        return measure("run", f"file:{ca}/subca.key", "-", "-", ca / "subca.pem", log or self.new_log(), "p256", callers, count)

    def openssl_ca(self, once, at_once):
        """Certificates per second of openssl ca: started once for each, and given all at once."""
        ca, work = self.folder / "file", self.folder / "openssl"
        work.mkdir()
        (work / "csr").mkdir()
        measure("requests", "p256", max(once, at_once), work / "csr")
        (work / "ca.conf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index.txt\nnew_certs_dir={work}\nserial={work}/serial\n"
            f"certificate={ca}/subca.pem\nprivate_key={ca}/subca.key\ndefault_md=sha256\npolicy=p\ndefault_days=365\n"
            "unique_subject=no\nx509_extensions=x\n[p]\ncommonName=supplied\norganizationName=optional\n"
            "[x]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        rates = []
        for count, alone in ((once, True), (at_once, False)):
            (work / "index.txt").write_text("")
            (work / "serial").write_text("01\n")
            requests = [work / f"csr/{i}.csr" for i in range(count)]
            base = ["taskset", "-c", str(min(os.sched_getaffinity(0))), "openssl", "ca", "-batch", "-notext", "-config",
                    work / "ca.conf"]
            start = time.perf_counter()
            if alone:
                for r in requests:
                    run(*base, "-in", r, "-out", work / "out.pem")
            else:
                run(*base, "-out", work / "out.pem", "-infiles", *requests)
            rates.append(count / (time.perf_counter() - start))
        return rates


def against_the_limit(bench, certificates):
    print(f"{'one processor, SoftHSM2, 16 slots':34} {'limit/s':>9} {'ours/s':>9} {'ratio':>7} {'limit us':>9} {'ours us':>9} "
          f"{'cpu ratio':>9}")
    rates = {}
    for name, kind, device, share in KINDS:
        before = bench.limit(kind, device, 1)
        ours = bench.token(kind, device, max(int(certificates * share), 48))
        after = bench.limit(kind, device, 1)
        assert ours["failures"] == 0
        limit, limit_cpu = (before["rate"] + after["rate"]) / 2, (before["cpu_us"] + after["cpu_us"]) / 2
        cpu = ours["signer_cpu_us"] + ours["asking_cpu_us"]
        ratio, cpu_ratio = ours["rate"] / limit, limit_cpu / cpu
        print(f"{name:34} {limit:9.0f} {ours['rate']:9.0f} {ratio:7.2f} {limit_cpu:9.1f} {cpu:9.1f} {cpu_ratio:9.2f}")
        rates[name] = (ours["rate"], min(ratio, cpu_ratio))
    for name, (_, ratio) in rates.items():
        verdict(name, f"{ratio:.2f} x the limit, the lower of elapsed and processor time", 0.8, ratio >= 0.8)
    return rates[KINDS[0][0]][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificates", type=int, default=4000, help="of each measurement")
    parser.add_argument("--log-entries", type=int, default=100_000, help="of the log that is compared with an empty one")
    parser.add_argument("--million", action="store_true", help="1,000,000 requests of 64 callers, a log of 1,000,000 entries")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-bench-"))
    try:
        bench = Bench(folder)
        ours = against_the_limit(bench, args.certificates)
        once, at_once = bench.openssl_ca(20, 500)
        print(f"openssl ca, key in a file: {once:.0f}/s started for each, {at_once:.0f}/s given all at once")
        verdict("P-256, against one openssl ca for each", f"{ours / once:.0f} x", 50, ours >= 50 * once)
        verdict("P-256, against openssl ca given all", f"{ours / at_once:.1f} x", 2, ours >= 2 * at_once)
        count = 1_000_000 if args.million else 2 * args.certificates
        many = bench.software(64, count)
        print(f"software key, 64 callers: {count} requests, {many['rate']:.0f}/s")
        verdict("64 callers", f"{many['failures']} failures, {many['logged']} in the log", "0, all",
                many["failures"] == 0 and many["logged"] == count)
        entries = 1_000_000 if args.million else args.log_entries
        small = bench.software(16, args.certificates)
        log = bench.new_log()
        bench_log.write_log(log, entries, bench_log.fingerprint(folder / "file/subca.pem"))
        large = bench.software(16, args.certificates, log)
        print(f"software key, 16 callers: log empty {small['rate']:.0f}/s, {small['signer_cpu_us']:.0f} us; "
              f"at {entries} entries {large['rate']:.0f}/s")
        ratio = large["rate"] / small["rate"]
        verdict("growth of the log", f"{ratio:.2f} x the rate of an empty one", "no change beyond noise, 0.85", ratio >= 0.85)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main()
