# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Running devstamp-sim from tests, and speaking to a virtual device's ROM without any of devstamp's own code."""

import json
import os
import pathlib
import signal
import struct
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", pathlib.Path(__file__).parents[2] / "build" / "dev"))
PROGRAM = BUILD / "sim" / "devstamp-sim"


def wait_for(what, condition, timeout=10.0):
    """The first true value of condition()."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout} s: {what}")


def run_sim(*args, check=True, **options):
    """A verb of devstamp-sim that ends by itself."""
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=60, **options)
    if check:
        assert done.returncode == 0, f"{args}: {done.stderr}"
    return done


def children(pid):
    """Process ids whose parent is pid."""
    try:
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Simulation:
    """A devstamp-sim run process."""

    def __init__(self, state, *devices, options=(), stdin=subprocess.DEVNULL):
        self.state = pathlib.Path(state)
        self.log = open(f"{state}.log", "ab")
        (self.state / "devices.json").unlink(missing_ok=True)  # left by one that was killed
        args = [PROGRAM, "run", "--state", self.state]
        for device in devices:
            args += ["--device", device]
        self.process = subprocess.Popen(
            [*map(str, args), *options], stdin=stdin, stdout=self.log, stderr=subprocess.STDOUT
        )
        wait_for("devices.json", lambda: (self.state / "devices.json").exists() or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.output()
        self.devices = json.loads((self.state / "devices.json").read_text())

    def output(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def port(self, device=0, kind="tcp"):
        return self.devices[device][kind]

    def ctl(self, device, *args):
        where = [] if device is None else ["--device", device]
        return run_sim("ctl", "--state", self.state, *where, *args).stdout

    def status(self, device=0):
        return json.loads(self.ctl(device, "status"))[0]

    def stop(self, sig=signal.SIGTERM):
        """End it and see that nothing is left of it."""
        runs = children(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(10)
        self.log.close()
        wait_for("no process left", lambda: not any(alive(pid) for pid in runs))
        return code


class Rom:
    """ROM serial loader over any object with read(n) (with a timeout) and write(bytes)."""

    def __init__(self, wire):
        self.wire = wire

    def frame(self, timeout=3.0):
        """The next SLIP payload; None within timeout. Text between frames is skipped."""
        end = time.monotonic() + timeout
        payload = None
        escaped = False
        while time.monotonic() < end:
            byte = self.wire.read(1)
            if not byte:
                continue
            if byte == b"\xc0":
                if payload:
                    return bytes(payload)
                payload = bytearray()
            elif payload is None:
                continue
            elif escaped:
                payload += {b"\xdc": b"\xc0", b"\xdd": b"\xdb"}[byte]
                escaped = False
            elif byte == b"\xdb":
                escaped = True
            else:
                payload += byte
        return None

    def send(self, op, data=b"", checksum=0):
        packet = struct.pack("<BBHI", 0, op, len(data), checksum) + data
        self.wire.write(b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0")

    def command(self, op, data=b"", checksum=0, timeout=3.0):
        """(value, data with status) of the answer; None where there is none."""
        self.send(op, data, checksum)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            answer = self.frame(end - time.monotonic())
            if answer and len(answer) >= 8 and answer[0] == 1 and answer[1] == op:
                return struct.unpack_from("<I", answer, 4)[0], answer[8:]
        return None

    def sync(self, tries=20):
        for _ in range(tries):
            if self.command(0x08, b"\x07\x07\x12\x20" + b"\x55" * 32, timeout=0.3):
                while self.frame(0.2):
                    pass
                return
        raise AssertionError("the ROM does not answer SYNC")

    def read_reg(self, address):
        value, status = self.command(0x0A, struct.pack("<I", address))
        assert status[0] == 0, status.hex()
        return value

    def read_flash(self, address, length):
        """READ_FLASH_SLOW, 64 bytes at a time."""
        out = b""
        while len(out) < length:
            n = min(64, length - len(out))
            _, data = self.command(0x0E, struct.pack("<II", address + len(out), n))
            assert data[n] == 0 if len(data) > n else False, data.hex()
            out += data[:n]
        return out

    def attach(self, size=4 << 20):
        self.command(0x0D, struct.pack("<II", 0, 0))
        self.command(0x0B, struct.pack("<6I", 0, size, 0x10000, 0x1000, 0x100, 0xFFFF))

    def write_flash(self, address, data, encrypted_word=True, timeout=3.0):
        """Plain write; returns how many bytes were acknowledged."""
        block = 0x400
        packets = (len(data) + block - 1) // block
        begin = struct.pack("<4I", len(data), packets, block, address)
        if not self.command(0x02, begin + (b"\0" * 4 if encrypted_word else b""), timeout=30):
            return 0
        for i in range(packets):
            part = data[i * block : (i + 1) * block].ljust(block, b"\xff")
            check = 0xEF
            for byte in part:
                check ^= byte
            answer = self.command(0x03, struct.pack("<4I", block, i, 0, 0) + part, check, timeout)
            if not answer or answer[1][0] != 0:
                return i * block
        return len(data)
