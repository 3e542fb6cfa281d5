# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The issuance log at a million entries: verifying it, finding one changed byte, a removed entry and a cut-off end, and
opening it as the signer does; each compared in the same run with the limit, which is to read the file once and SHA-256 it
(openssl dgst, warm). Best of three.

usage: bench/log.py [entries]"""

import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", "build/release")).resolve()
DEVSTAMP = BUILD / "src/cli/devstamp"
HEADER, HASH = 80, 32


def write_log(path, entries, ca):
    """A log by its documented layout, certificates of 600 to 900 random bytes; returns its root and where entries begin."""
    header = b"DSLOG2\r\n" + ca + (1700000000).to_bytes(8, "little")
    sha = hashlib.sha256
    peaks, starts, at = [], [], HEADER
    with open(path, "wb", buffering=1 << 22) as f:
        f.write(header + sha(header).digest())
        for i in range(entries):
            n = 600 + i * 7919 % 301
            body = os.urandom(n + 44)
            der = b"\x30\x82" + (n - 4).to_bytes(2, "big") + body[:n - 4]
            entry = (b"ENTR" + n.to_bytes(4, "little") + (i + 1).to_bytes(8, "little") + bytes(8) + b"\x01" + body[-47:]
                     + b"lamp".ljust(64, b"\0") + der)
            node = sha(b"\0" + entry).digest()
            f.write(entry + node)
            starts.append(at)
            at += len(entry) + HASH
            size = i
            while size & 1:
                node = sha(b"\1" + peaks.pop() + node).digest()
                size >>= 1
            peaks.append(node)
    root = peaks.pop() if peaks else sha().digest()
    while peaks:
        root = sha(b"\1" + peaks.pop() + root).digest()
    return root.hex(), starts + [at]


def fingerprint(certificate):
    der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], check=True, capture_output=True).stdout
    return hashlib.sha256(der).digest()


def timed(*args, rc=0):
    best = None
    for _ in range(3):
        start = time.perf_counter()
        p = subprocess.run([str(a) for a in args], capture_output=True, text=True)
        took = time.perf_counter() - start
        assert p.returncode == rc, p.stdout + p.stderr
        best = took if best is None else min(best, took)
    return best, p.stdout + p.stderr


def open_signer(folder, log):
    """Start the signer and ask for its status: until it answers it has opened, verified and indexed its log."""
    best = None
    for _ in range(3):
        ours, theirs = socket.socketpair()
        start = time.perf_counter()
        p = subprocess.Popen([DEVSTAMP, "signer", "--fd", str(theirs.fileno()), "--key", f"file:{folder}/ca/subca.key",
                              "--certificate", folder / "ca/subca.pem", "--log", log], pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(b"\x02\0\0\0\x0a\0")
        assert len(ours.recv(65536)) > 100
        took = time.perf_counter() - start
        memory = int(next(x for x in open(f"/proc/{p.pid}/status") if x.startswith("VmRSS")).split()[1]) // 1024
        ours.close()
        assert p.wait() == 0
        best = took if best is None else min(best, took)
    return best, memory


def row(what, seconds, limit):
    print(f"{what:58} {seconds:7.2f} s   {seconds / limit:5.2f} x the limit", flush=True)


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = pathlib.Path(tempfile.mkdtemp(prefix="devstamp-bench-"))
    try:
        run(folder, entries)
    finally:
        shutil.rmtree(folder)


def run(folder, entries):
    log = folder / "issuance.log"
    subprocess.run([DEVSTAMP, "ca", "init", "--dir", folder / "ca"], check=True, capture_output=True)
    root, starts = write_log(log, entries, fingerprint(folder / "ca/subca.pem"))
    limit, _ = timed("openssl", "dgst", "-sha256", log)
    print(f"{entries} entries, {log.stat().st_size / 1e6:.0f} MB; limit: openssl dgst -sha256 of the file, {limit:.2f} s")
    head = ("--size", entries, "--root", root)
    took, out = timed(DEVSTAMP, "log", "verify", "--log", log, *head)
    assert root in out
    row("verify, whole", took, limit)
    for what, cut in (("one byte changed in the last entry", None), ("last entry cut off", starts[-2])):
        at = starts[-2] + 300
        with open(log, "r+b") as f:
            if cut:
                f.seek(cut)
                tail = f.read()
                f.truncate(cut)
            else:
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 1]))
        took, out = timed(DEVSTAMP, "log", "verify", "--log", log, *head, rc=6)
        row(f"verify, {what}: found", took, limit)
        with open(log, "r+b") as f:
            f.seek(cut or at)
            f.write(tail if cut else byte)
    middle = len(starts) // 2
    removed = folder / "removed.log"
    with open(log, "rb") as src, open(removed, "wb") as dst:
        dst.write(src.read(starts[middle]))
        src.seek(starts[middle + 1])
        shutil.copyfileobj(src, dst, 1 << 22)
    took, out = timed(DEVSTAMP, "log", "verify", "--log", removed, *head, rc=6)
    row("verify, an entry removed in the middle: found", took, limit)
    took, memory = open_signer(folder, log)
    row(f"the signer opens it ({memory} MB in memory)", took, limit)
    took, _ = timed(DEVSTAMP, "log", "prove", "inclusion", "--log", log, "--entry", entries // 3)
    row("prove inclusion", took, limit)


if __name__ == "__main__":
    main()
