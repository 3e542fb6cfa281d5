# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The consoles of a virtual device: plain TCP, RFC 2217 with its control lines, pseudo-terminal."""

import os
import socket
import time

import pytest
import serial
from simlib import Rom, wait_for

BLANK = b"\xff" * 64


@pytest.fixture
def rfc2217(request):
    """Open RFC 2217 ports as esptool does: rfc2217(port)."""
    ports = []

    def connect(port, options="", **settings):
        s = serial.serial_for_url(f"rfc2217://127.0.0.1:{port}{options}", do_not_open=True, timeout=0.05, **settings)
        s.dtr = s.rts = False
        s.open()
        ports.append(s)
        return s

    yield connect
    for s in ports:
        s.close()


def enter_download_classic(port):
    """The classic sequence, one line at a time."""
    port.dtr = False
    port.rts = True
    time.sleep(0.1)
    port.dtr = True
    port.rts = False
    time.sleep(0.05)
    port.dtr = False


def read_until(wire, text, timeout=5.0):
    seen = b""
    end = time.monotonic() + timeout
    while text not in seen:
        assert time.monotonic() < end, f"{text!r} not in {seen!r}"
        seen += wire.read(1)
    return seen


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
@pytest.mark.parametrize("options", ["", "?ign_set_control"])
def test_rfc2217_classic_sequence_enters_download_mode(simulation, rfc2217, chip, options):
    sim = simulation(f"chip={chip}")
    port = rfc2217(sim.port(0, "rfc2217"), options)
    enter_download_classic(port)
    read_until(port, b"waiting for download")
    rom = Rom(port)
    rom.sync()
    rom.attach()
    assert rom.read_flash(0x2000, 64) == BLANK  # every byte is a telnet IAC
    assert sim.status()["runs"] == 2


def test_rfc2217_hard_reset_boots_from_flash(simulation, rfc2217):
    sim = simulation("chip=esp32c3")
    port = rfc2217(sim.port(0, "rfc2217"))
    enter_download_classic(port)
    read_until(port, b"waiting for download")
    port.rts = True
    assert sim.status()["in_reset"] is True
    time.sleep(0.1)
    port.rts = False
    read_until(port, b"rst:0x1")
    assert b"waiting for download" not in read_until(port, b"\n")
    assert sim.status()["in_reset"] is False


def test_rfc2217_closing_lets_go_of_the_lines(simulation, rfc2217):
    sim = simulation("chip=esp32c3")
    port = rfc2217(sim.port(0, "rfc2217"))
    port.rts = True
    wait_for("reset", lambda: sim.status()["in_reset"])
    port.close()
    wait_for("run", lambda: not sim.status()["in_reset"])


def test_rfc2217_both_lines_asserted_do_nothing(simulation, rfc2217):
    sim = simulation("chip=esp32c3")
    port = rfc2217(sim.port(0, "rfc2217"))
    port.dtr = True
    port.rts = True
    time.sleep(0.4)
    assert sim.status()["runs"] == 1 and sim.status()["in_reset"] is False
    assert (port.dtr, port.rts) == (True, True)


def test_rfc2217_settings_are_accepted(simulation, rfc2217):
    sim = simulation("chip=esp32c3")
    port = rfc2217(sim.port(0, "rfc2217"), baudrate=921600, bytesize=7, parity="E", stopbits=2)
    port.baudrate = 2000000  # each waits for the server's confirmation
    port.bytesize = 8
    port.parity = "N"
    port.stopbits = 1
    assert port.cts and port.dsr


def test_rfc2217_client_that_is_not_telnet_sees_plain_bytes(simulation, tcp):
    sim = simulation("chip=esp32c3")
    wire = tcp(sim.port(0, "rfc2217"))
    sim.ctl(0, "download")
    assert b"\xff" not in read_until(wire, b"waiting for download")


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_tcp_download_by_control(simulation, tcp, chip):
    sim = simulation(f"chip={chip}")
    wire = tcp(sim.port(0, "tcp"))
    sim.ctl(0, "download")
    rom = Rom(wire)
    rom.sync()
    rom.attach()
    assert rom.read_flash(0, 64) == BLANK
    sim.ctl(0, "reset")
    read_until(wire, b"rst:0x1")
    assert rom.command(0x08, b"\x07\x07\x12\x20" + b"\x55" * 32, timeout=0.5) is None


@pytest.mark.parametrize("kind", ["tcp", "rfc2217"])
def test_second_client_is_told_and_the_first_goes_on(simulation, tcp, kind):
    sim = simulation("chip=esp32c3")
    first = tcp(sim.port(0, kind))
    sim.ctl(0, "download")
    Rom(first).sync()
    second = tcp(sim.port(0, kind))
    read_until(second, b"port already in use\r\n")
    with pytest.raises(EOFError):
        while True:
            second.read(1)
    Rom(first).sync()


def test_client_that_comes_back_at_once_is_taken(simulation, tcp):
    sim = simulation("chip=esp32c3")
    sim.ctl(0, "download")
    for _ in range(30):
        wire = tcp(sim.port(0, "tcp"))
        wire.write(b"\xc0" * 100)
        wire.close()
    Rom(tcp(sim.port(0, "tcp"))).sync()


def test_client_that_never_reads_does_not_stop_the_device(simulation, tcp):
    sim = simulation("chip=esp32c3")
    deaf = tcp(sim.port(0, "rfc2217"))
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire = tcp(sim.port(0, "tcp"))
    sim.ctl(0, "download")
    rom = Rom(wire)
    rom.sync()
    rom.attach()
    for _ in range(3):
        assert rom.read_flash(0, 0x1000) == b"\xff" * 0x1000


def test_hostile_telnet_ends_nothing(simulation, tcp):
    sim = simulation("chip=esp32c3")
    wire = tcp(sim.port(0, "rfc2217"))
    wire.write(bytes(range(240, 256)) * 200 + b"\xff\xfa\x2c" + b"\x01" * 100000 + b"\xff\xf0")
    wire.close()
    wire = tcp(sim.port(0, "rfc2217"))
    sim.ctl(0, "download")
    read_until(wire, b"waiting for download")
    assert sim.status()["crashes"] == 0


def test_pty_is_a_serial_port(simulation):
    sim = simulation("chip=esp32c3")
    for _ in range(2):  # can be closed and opened again
        with serial.Serial(sim.devices[0]["pty_link"], 115200, timeout=0.05) as port:
            time.sleep(0.1)
            sim.ctl(0, "download")
            rom = Rom(port)
            rom.sync()
            rom.attach()
            assert rom.read_flash(0, 64) == BLANK


def test_pty_without_reader_costs_nothing(simulation):
    sim = simulation("chip=esp32c3")
    ticks = os.sysconf("SC_CLK_TCK")
    before = cpu_ticks(sim.process.pid)
    time.sleep(1.0)
    assert (cpu_ticks(sim.process.pid) - before) / ticks < 0.3


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_baud_mismatch_is_noise_while_timing_is_on(simulation, rfc2217):
    sim = simulation("chip=esp32c3,timing=on")
    port = rfc2217(sim.port(0, "rfc2217"))
    enter_download_classic(port)
    rom = Rom(port)
    rom.sync()
    rom.send(0x0F, (460800).to_bytes(4, "little") + (0).to_bytes(4, "little"))  # CHANGE_BAUDRATE
    time.sleep(0.2)
    port.reset_input_buffer()
    assert rom.command(0x0A, (0x40001000).to_bytes(4, "little"), timeout=0.5) is None
    port.baudrate = 460800
    time.sleep(0.1)
    port.reset_input_buffer()
    assert rom.read_reg(0x40001000) in (0x6921506F, 0x1B31506F, 0x4881606F, 0x4361606F)


def test_timing_model_makes_bytes_slow(simulation, tcp):
    sim = simulation("chip=esp32c3,timing=on", "chip=esp32c3")
    seconds = []
    for i in range(2):
        sim.ctl(i, "download")
        rom = Rom(tcp(sim.port(i, "tcp")))
        rom.sync()
        rom.attach()
        start = time.monotonic()
        assert rom.read_flash(0, 0x800) == b"\xff" * 0x800
        seconds.append(time.monotonic() - start)
    # 32 round trips of about 100 bytes at 115200 baud
    assert seconds[0] > 0.2
    assert seconds[1] < seconds[0]
