# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Fixtures of the end-to-end tests: virtual devices that are gone when the test is."""

import pathlib
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import simlib  # noqa: E402


@pytest.fixture
def simulation(tmp_path):
    """Start simulations: simulation("chip=esp32c3", ..., state="name"); all are stopped at the end."""
    started = []

    def start(*devices, state="sim", **options):
        sim = simlib.Simulation(tmp_path / state, *devices, **options)
        started.append(sim)
        return sim

    yield start
    for sim in started:
        if sim.process.poll() is None:
            assert sim.stop() == 0, simlib.pathlib.Path(sim.log.name).read_text(errors="replace")


class TcpWire:
    """A plain TCP console as a wire."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0.05)
        self.buffer = b""

    def read(self, n=1):
        """At most n bytes; b"" when none came in time; EOFError when the other side is gone."""
        if not self.buffer:
            try:
                self.buffer = self.socket.recv(4096)
            except TimeoutError:
                return b""
            if not self.buffer:
                raise EOFError
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def write(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.close()


@pytest.fixture
def tcp():
    """Open plain TCP consoles: tcp(port)."""
    wires = []

    def connect(port):
        wires.append(TcpWire(port))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()
