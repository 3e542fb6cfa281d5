# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Power, faults and the flash chip seen from outside."""

import time

import pytest
from simlib import Rom, run_sim, wait_for

PATTERN = bytes((i * 7 + 3) & 0xFF for i in range(0x1000))


def rom_of(sim, wire, device=0):
    sim.ctl(device, "download")
    rom = Rom(wire)
    rom.sync()
    rom.attach()
    return rom


def flash(sim, device=0):
    with open(sim.devices[device]["flash"], "rb") as f:
        return f.read()


def test_written_flash_outlives_resets_power_and_simulation(simulation, tcp):
    sim = simulation("chip=esp32c3")
    assert rom_of(sim, tcp(sim.port())).write_flash(0x3000, PATTERN) == len(PATTERN)
    sim.ctl(0, "reset")
    sim.ctl(0, "off")
    sim.ctl(0, "on")
    sim.stop()
    sim = simulation()
    assert rom_of(sim, tcp(sim.port())).read_flash(0x3000, 0x1000) == PATTERN


def test_switched_off_is_silent_until_switched_on(simulation, tcp):
    sim = simulation("chip=esp32c3")
    wire = tcp(sim.port())
    sim.ctl(0, "off")
    assert sim.status()["power"] == "off"
    sim.ctl(0, "reset")
    sim.ctl(0, "download")
    runs = sim.status()["runs"]
    while wire.read(4096):
        pass
    wire.write(b"\xc0\x00\xc0")
    time.sleep(0.3)
    assert wire.read(1) == b""
    assert sim.status()["runs"] == runs
    sim.ctl(0, "on")
    wait_for("boot", lambda: wire.read(1))
    assert sim.status()["power"] == "on"


def test_power_cut_at_a_word_returns_by_itself(simulation, tcp):
    sim = simulation("chip=esp32c3")
    rom = rom_of(sim, tcp(sim.port()))
    # One sector erased, then 1024 words: cut in the middle of them.
    sim.ctl(0, "fault", "cut@501")
    runs = sim.status()["runs"]
    assert rom.write_flash(0x3000, PATTERN, timeout=1) < len(PATTERN)
    wait_for("power back", lambda: sim.status()["runs"] == runs + 1)
    assert sim.status()["power"] == "on" and sim.status()["crashes"] == 0
    at = 0x3000 + 499 * 4  # words 2..500 of the plan are whole
    data = flash(sim)
    assert data[0x3000:at] == PATTERN[: 499 * 4]
    assert data[at + 4 : 0x4000] == b"\xff" * (0x1000 - 500 * 4)
    # The plan has passed: the same write now succeeds, and the count goes on.
    assert rom_of(sim, rom.wire).write_flash(0x3000, PATTERN) == len(PATTERN)
    assert flash(sim)[0x3000:0x4000] == PATTERN
    assert sim.status()["flash_ops"] > 501


def test_power_cut_counts_over_resets(simulation, tcp):
    sim = simulation("chip=esp32,fault=cut@1200")
    wire = tcp(sim.port())
    assert rom_of(sim, wire).write_flash(0x3000, PATTERN, encrypted_word=False) == len(PATTERN)  # 1025 operations
    assert sim.status()["flash_ops"] == 1025
    rom = rom_of(sim, wire)
    assert rom.write_flash(0x5000, PATTERN, encrypted_word=False, timeout=1) == 0  # cut within the first packet
    wait_for("power back", lambda: sim.status()["runs"] == 4)


def test_power_cut_that_stays_off(simulation, tcp):
    sim = simulation("chip=esp32c3,fault=off@10")
    rom = rom_of(sim, tcp(sim.port()))
    assert rom.write_flash(0x3000, PATTERN, timeout=1) == 0
    wait_for("power gone", lambda: sim.status()["power"] == "off")
    sim.ctl(0, "on")
    assert rom_of(sim, rom.wire).write_flash(0x3000, PATTERN) == len(PATTERN)


def test_wire_that_hangs_answers_again_without_the_plan(simulation, tcp):
    sim = simulation("chip=esp32c3")
    rom = rom_of(sim, tcp(sim.port()))
    sim.ctl(0, "fault", "hang@40")
    assert rom.command(0x0A, (0x40001000).to_bytes(4, "little"), timeout=0.5) is not None
    assert rom.command(0x0A, (0x40001000).to_bytes(4, "little"), timeout=0.5) is None
    sim.ctl(0, "fault", "")
    rom.sync()


def test_lossy_wire_is_the_same_for_the_same_seed(simulation, tcp):
    counts = []
    for state in ("a", "b"):
        sim = simulation("chip=esp32c3", state=state)
        rom = rom_of(sim, tcp(sim.port()))
        sim.ctl(0, "fault", "drop=10000,flip=10000,double=10000,seed=9")
        ask = (0x40001000).to_bytes(4, "little")
        counts.append([rom.command(0x0A, ask, timeout=0.2) is not None for _ in range(30)])
        sim.stop()
    assert counts[0] == counts[1]
    assert any(counts[0]) and not all(counts[0])


def test_flash_load_and_dump_from_outside(simulation, tcp, tmp_path):
    sim = simulation("chip=esp32c3")
    (tmp_path / "in").write_bytes(PATTERN[:100])
    where = ("flash", "--state", sim.state, "--device", 0)
    done = run_sim(*where, "load", "0x3ffc", tmp_path / "in", check=False)
    assert done.returncode == 8 and "powered" in done.stderr and "off" in done.stderr
    sim.ctl(0, "off")
    run_sim(*where, "load", "0x3fff", tmp_path / "in")
    run_sim(*where, "load", "0x3ffc", tmp_path / "in")
    run_sim(*where, "dump", "0x3ff0", 128, tmp_path / "out")
    expected = b"\xff" * 12 + PATTERN[:100] + PATTERN[97:100] + b"\xff" * 13
    assert (tmp_path / "out").read_bytes() == expected
    sim.ctl(0, "on")
    assert rom_of(sim, tcp(sim.port())).read_flash(0x3FF0, 128) == expected
    run_sim("decrypt", "--state", sim.state, "--device", 0, "-o", tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == flash(sim)  # encryption is off: the same


@pytest.mark.parametrize(
    "args",
    [
        ("load", "0x400000", "in"),
        ("load", "0x3fffff", "in"),
        ("dump", "0x3fffff", "2", "out"),
        ("load", "-1", "in"),
        ("load", "0", "missing"),
        ("load", "0"),
        ("melt",),
    ],
)
def test_flash_bad_arguments_change_nothing(simulation, tmp_path, args):
    sim = simulation("chip=esp32c3")
    sim.stop()
    (tmp_path / "in").write_bytes(b"\0\0")
    args = [tmp_path / a if a in ("in", "out", "missing") else a for a in args]
    done = run_sim("flash", "--state", sim.state, "--device", 0, *args, check=False)
    assert done.returncode in (2, 3) and done.stderr.startswith("devstamp-sim: ")
    assert flash(sim) == b"\xff" * (4 << 20)


def test_partitions_are_the_reference_bytes(tmp_path):
    """The table ESP-IDF's tool makes of this text, by its documented layout and MD5 row."""
    import hashlib
    import struct

    csv = "nvs, data, nvs, 0x11000, 0x6000\nota_0, app, ota_0, 0x20000, 0x100000\n"
    (tmp_path / "p.csv").write_text(csv)
    run_sim("partitions", tmp_path / "p.csv", "-o", tmp_path / "p.bin", "--offset", "0x10000")

    def row(kind, sub, offset, size, label):
        return struct.pack("<HBBII16sI", 0x50AA, kind, sub, offset, size, label, 0)

    rows = row(1, 2, 0x11000, 0x6000, b"nvs") + row(0, 0x10, 0x20000, 0x100000, b"ota_0")
    rows += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows).digest()
    assert (tmp_path / "p.bin").read_bytes() == rows.ljust(0xC00, b"\xff")
    (tmp_path / "p.csv").write_text(csv.replace("0x11000", "0x10000"))
    assert run_sim("partitions", tmp_path / "p.csv", "-o", tmp_path / "q.bin", check=False).returncode == 3
    assert not (tmp_path / "q.bin").exists()
