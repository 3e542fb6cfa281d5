# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The emulated board of agent/port/virt: QEMU with flash in a file, its console on a TCP port that outlives it."""

import pathlib
import select
import socket
import subprocess
import threading

TOP = pathlib.Path(__file__).parents[2]
FIRMWARE = TOP / "build/cross/virt/devstamp-mfg.elf"
SETTINGS_AT = "0x80300000"
FLASH_SIZE = 32 << 20
BEGIN = b"\xc0DS\x01"  # of a frame


class Board:
    """One board. Its port is a listening socket of the test's, handed to each QEMU: there is no moment without it."""

    def __init__(self, folder, number=1):
        assert FIRMWARE.exists(), f"{FIRMWARE} is missing: run script/cross"
        self.folder = pathlib.Path(folder) / f"board-{number}"
        self.folder.mkdir()
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.flash = self.folder / "flash.bin"
        with open(self.flash, "wb") as f:
            for _ in range(FLASH_SIZE >> 20):
                f.write(b"\xff" * (1 << 20))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.qemu = self.keeper = None
        self.starts = 0

    def start(self, cut=0, stats=False):
        """Power on. cut: power fails within the write of that many words from now."""
        assert self.qemu is None or self.qemu.poll() is not None
        if self.qemu:
            self.qemu.wait()
        lines = [f"mac {self.mac}"] + ([f"cut {cut}"] if cut else []) + (["stats 1"] if stats else [])
        (self.folder / "settings").write_text("\n".join(lines) + "\n")
        fd = self.listener.fileno()
        args = ["qemu-system-riscv32", "-M", "virt", "-accel", "tcg,tb-size=32", "-m", "4M", "-bios", FIRMWARE,
                "-display", "none", "-monitor", "none", "-nodefaults",
                "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device",
                "-drive", f"if=pflash,unit=1,format=raw,file={self.flash}",
                "-device", f"loader,file={self.folder / 'settings'},addr={SETTINGS_AT},force-raw=on",
                "-chardev", f"socket,id=console,fd={fd},server=on,wait=off", "-serial", "chardev:console"]
        with open(self.folder / "qemu.log", "a") as log:
            self.qemu = subprocess.Popen([str(a) for a in args], pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log)
        self.starts += 1

    def off(self):
        """Pull the plug."""
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()

    def start_with_cuts(self, cuts):
        """Power on; each time the board switched itself off within a write, power comes back, with the next of cuts."""
        self.start(cut=cuts[0])

        def keep_on():
            for cut in [*cuts[1:], 0]:
                if self.qemu.wait() != 0:
                    return  # the test is over
                self.start(cut=cut)

        self.keeper = threading.Thread(target=keep_on, daemon=True)
        self.keeper.start()

    def close(self):
        self.off()
        if self.keeper:
            self.keeper.join()
        self.listener.close()


class Fuse:
    """A wire to a board that switches its power off and on at a message: at request n of the wire's life, after it was
    passed on; or, for answers, before the answer to it is passed on. Messages are counted over all its connections."""

    def __init__(self, board, requests=(), answers=()):
        self.board = board
        self.requests, self.answers = set(requests), set(answers)
        self.seen = {"request": 0, "answer": 0}
        self.tail = {"request": b"", "answer": b""}  # a frame's first bytes may come one by one
        self.blown = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                station, _ = self.listener.accept()
            except OSError:
                return
            with station, socket.create_connection(("127.0.0.1", self.board.port), 5) as device:
                self.serve(station, device)

    def blow(self):
        self.board.off()
        self.blown += 1
        self.board.start()

    def serve(self, station, device):
        try:
            while True:
                ready, _, _ = select.select([station, device], [], [])
                if station in ready and not self.forward(station, device, "request", self.requests):
                    return
                if device in ready and not self.forward(device, station, "answer", self.answers):
                    return
        except OSError:
            return

    def forward(self, source, sink, kind, points):
        data = source.recv(8192)
        if not data:
            return False
        before = self.seen[kind]
        window = self.tail[kind] + data
        self.seen[kind] += window.count(BEGIN)
        self.tail[kind] = window[-(len(BEGIN) - 1):]
        hit = points & set(range(before + 1, self.seen[kind] + 1))
        if hit and kind == "answer":
            self.blow()
            return False
        sink.sendall(data)
        if hit:
            self.blow()
        return not hit

    def close(self):
        self.listener.close()
