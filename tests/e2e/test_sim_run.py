# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp-sim as a program: how it starts, what it leaves behind, what it refuses."""

import json
import os
import signal
import stat
import subprocess

import pytest
from simlib import PROGRAM, alive, children, run_sim, wait_for


def test_devices_are_distinct_and_described(simulation):
    sim = simulation("chip=esp32c3", "chip=esp32", "chip=esp32c3,mac=24:0a:c4:12:34:56,rev=0.3,flash=8MB")
    assert [d["chip"] for d in sim.devices] == ["esp32c3", "esp32", "esp32c3"]
    assert len({d["mac"] for d in sim.devices}) == 3
    assert sim.devices[2]["mac"] == "24:0a:c4:12:34:56"
    assert [d["revision"] for d in sim.devices] == [4, 300, 3]
    for i, device in enumerate(sim.devices):
        assert os.path.getsize(device["flash"]) == (8 << 20 if i == 2 else 4 << 20)
        assert os.path.realpath(device["pty_link"]) == device["pty"]
        assert stat.S_ISCHR(os.stat(device["pty"]).st_mode)
        line = next(x for x in sim.output().splitlines() if x.startswith(f"device {i}:"))
        assert f"tcp://127.0.0.1:{device['tcp']} rfc2217://127.0.0.1:{device['rfc2217']} " in line
        assert device["mac"] in line
    status = json.loads(sim.ctl(None, "status"))
    assert [s["power"] for s in status] == ["on"] * 3
    assert [s["runs"] for s in status] == [1] * 3
    assert [s["crashes"] for s in status] == [0] * 3


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly(simulation, sig):
    sim = simulation("chip=esp32c3", "chip=esp32")
    assert len(children(sim.process.pid)) == 2
    assert sim.stop(sig) == 0
    left = sorted(p.name for p in sim.state.iterdir())
    assert left == ["0", "1", "lock"]
    assert sorted(p.name for p in (sim.state / "0").iterdir()) == ["device", "efuse.bin", "flash.bin"]


def test_killed_supervisor_leaves_no_process(simulation):
    sim = simulation("chip=esp32c3", "chip=esp32")
    assert sim.stop(signal.SIGKILL) == -signal.SIGKILL
    again = simulation()  # and the state can be used again at once
    assert [d["chip"] for d in again.devices] == ["esp32c3", "esp32"]
    assert [d["mac"] for d in again.devices] == [d["mac"] for d in sim.devices]


def test_with_parent_ends_with_standard_input(simulation):
    sim = simulation("chip=esp32c3", options=["--with-parent"], stdin=subprocess.PIPE)
    runs = children(sim.process.pid)
    sim.process.stdin.close()
    assert sim.process.wait(10) == 0
    wait_for("no process left", lambda: not any(map(alive, runs)))


def test_ready_file_is_the_description(simulation, tmp_path):
    sim = simulation("chip=esp32", options=["--ready-file", str(tmp_path / "ready")])
    wait_for("ready file", (tmp_path / "ready").exists)
    assert json.loads((tmp_path / "ready").read_text()) == sim.devices


def test_base_port_gives_known_addresses(simulation):
    probe = simulation("chip=esp32", state="probe")
    base = probe.port(0, "tcp")
    probe.stop()
    sim = simulation("chip=esp32", options=["--base-port", str(base)])
    assert (sim.port(0, "tcp"), sim.port(0, "rfc2217")) == (base, base + 1)


def test_second_simulation_on_one_state_is_refused(simulation):
    sim = simulation("chip=esp32c3")
    done = run_sim("run", "--state", sim.state, check=False)
    assert done.returncode == 8
    assert "a simulation runs here already" in done.stderr
    assert sim.status()["power"] == "on"


def test_another_device_on_kept_state_is_refused(simulation):
    sim = simulation("chip=esp32c3")
    sim.stop()
    done = run_sim("run", "--state", sim.state, "--device", "chip=esp32", check=False)
    assert done.returncode == 3
    assert "holds another device" in done.stderr and "--device" in done.stderr


@pytest.mark.parametrize(
    "spec, complaint",
    [
        ("chip=esp8266", "bad value 'chip=esp8266'"),
        ("mac=24:0a:c4:00:00:01", "which chip"),
        ("chip=esp32,mac=25:0a:c4:00:00:01", "bad value 'mac="),
        ("chip=esp32,mac=24:0a:c4:00:00", "bad value 'mac="),
        ("chip=esp32,flash=3MB", "bad value 'flash=3MB'"),
        ("chip=esp32,flash=32MB", "bad value 'flash=32MB'"),
        ("chip=esp32,rev=x", "bad value 'rev=x'"),
        ("chip=esp32,fault=melt@3", "bad value 'fault=melt@3'"),
        ("chip=esp32,colour=red", "no such key 'colour'"),
        ("chip", "not key=value"),
    ],
)
def test_bad_description_is_refused(tmp_path, spec, complaint):
    done = run_sim("run", "--state", tmp_path / "s", "--device", spec, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "hint: " in done.stderr


def test_image_that_does_not_fit_leaves_no_half_made_device(simulation, tmp_path):
    image = tmp_path / "merged.bin"
    image.write_bytes(b"\xa5" * ((4 << 20) + 1))
    done = run_sim("run", "--state", tmp_path / "sim", "--device", f"chip=esp32,image={image}", check=False)
    assert done.returncode == 3 and "merged.bin" in done.stderr
    image.write_bytes(bytes(range(256)))
    sim = simulation(f"chip=esp32,image={image}")
    flash = open(sim.devices[0]["flash"], "rb").read()
    assert flash[:256] == bytes(range(256)) and flash[256:] == b"\xff" * ((4 << 20) - 256)


def test_every_verb_has_help():
    listing = run_sim("--help").stdout
    for verb in ("run", "ctl", "image", "partitions", "flash", "decrypt"):
        assert f"\n  {verb} " in listing
        text = run_sim(verb, "--help").stdout
        assert text.startswith(f"usage: devstamp-sim {verb}")
    assert run_sim("fly", check=False).returncode == 2
    assert run_sim(check=False).returncode == 2
    assert run_sim("run", "--fly", check=False).returncode == 2


def test_control_refuses_what_it_does_not_know(simulation):
    sim = simulation("chip=esp32c3")
    assert run_sim("ctl", "--state", sim.state, "--device", 1, "reset", check=False).returncode == 2
    assert run_sim("ctl", "--state", sim.state, "explode", check=False).returncode == 2
    assert run_sim("ctl", "--state", sim.state, "fault", "cut@0", check=False).returncode == 2
    assert run_sim("ctl", "--state", sim.state, "fault", check=False).returncode == 2
    sim.stop()
    done = run_sim("ctl", "--state", sim.state, "reset", check=False)
    assert done.returncode == 4 and "no simulation runs" in done.stderr


def test_state_folder_with_a_long_path(simulation):
    sim = simulation("chip=esp32c3", state="d" * 150)
    assert sim.status()["power"] == "on"


def test_line_of_64_devices(simulation):
    sim = simulation(*(["chip=esp32c3,flash=1MB", "chip=esp32,flash=1MB"] * 32))
    assert len(sim.devices) == 64 and len({d["mac"] for d in sim.devices}) == 64
    assert len(children(sim.process.pid)) == 64
    sim.ctl(None, "download")
    assert all(s["runs"] == 2 for s in json.loads(sim.ctl(None, "status")))


def test_65_devices_are_refused(tmp_path):
    devices = ["--device", "chip=esp32"] * 65
    done = subprocess.run(
        [PROGRAM, "run", "--state", tmp_path / "s", *devices], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2 and "more than 64" in done.stderr
