# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""What docs/threat-model.md says is there: every test it names exists. And attacks that no other file has."""

import json
import os
import pathlib
import re
import shutil
import sys

import pytest

import signerlib
import test_ca_token
from factory import wait_for

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ROOT / "docs/threat-model.md"
shim, token, ca = test_ca_token.shim, test_ca_token.token, test_ca_token.ca  # fixtures


def exists(path, name):
    """A pytest function, or a function of a cmocka file that it also runs."""
    text = (ROOT / path).read_text() if (ROOT / path).exists() else ""
    if path.endswith(".py"):
        return re.search(rf"^def {name}\(", text, re.M)
    return f"static void {name}(void **state)" in text and re.search(rf"^ +.*[({{]{name}[,)]", text, re.M)


def test_every_named_test_exists_and_every_attack_has_one():
    rows = [line for line in MODEL.read_text().splitlines() if line.startswith("| ")]
    attacks = [row for row in rows if row.count(" | ") == 2 and "::" in row]
    named = re.findall(r"`(tests/[\w/]+\.(?:py|c))::(\w+)`", MODEL.read_text())
    assert len(named) == MODEL.read_text().count("::")
    missing = [f"{path}::{name}" for path, name in named if not exists(path, name)]
    assert not missing
    assert not exists("tests/e2e/test_threat_model.py", "test_that_does_not_exist")
    for attack in ("another subject", "CA:TRUE", "alternative name", "MD5", "SHA-1", "P-192", "RSA-1024", "prime shared", "ROCA",
                   "replayed", "edited recipe", "another configuration", "another computer", "log rolled back",
                   "quota rolled back", "PIN in argv", "ptrace of the signer", "entry removed"):
        assert any(attack.lower() in row.split("|")[1].lower() for row in attacks), attack


ATTACKER = """\
import ctypes, json, os, subprocess, sys, time
folder, devstamp, *args = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
ATTACH, DETACH, WALL = 16, 17, 0x40000000


def attack(pid):
    out = {}
    out["ptrace"] = ctypes.get_errno() if libc.ptrace(ATTACH, pid, None, None) else 0
    if not out["ptrace"]:
        os.waitpid(pid, WALL)
        libc.ptrace(DETACH, pid, None, None)
    for name in ("mem", "environ", "maps"):
        try:
            os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            out[name] = 0
        except OSError as e:
            out[name] = e.errno
    return out


fd = int(args[args.index("--fd") + 1])
signer = subprocess.Popen([devstamp, *args], pass_fds=[fd])
other = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[fd])
while not os.path.exists(folder + "/now"):
    time.sleep(0.02)
found = {"signer": attack(signer.pid), "other": attack(other.pid)}
other.kill()
with open(folder + "/found.part", "w") as f:
    json.dump(found, f)
os.rename(folder + "/found.part", folder + "/found")
os.close(fd)
sys.exit(signer.wait())
"""


@test_ca_token.pytestmark
def test_hostile_station_cannot_look_into_its_signer(token, ca, monkeypatch):
    """The signer's own parent, of the same user, without root's capabilities; another child of it shows that
    it would get in."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("root, and no setpriv to give rights up")
    script, station = token.folder / "attacker.py", token.folder / "station"
    script.write_text(ATTACKER)
    words = drop + [sys.executable, script, token.folder, signerlib.DEVSTAMP]
    station.write_text(f"#!/bin/sh\nexec {' '.join(map(str, words))} \"$@\"\n")
    station.chmod(0o755)
    monkeypatch.setattr(signerlib, "DEVSTAMP", station)
    signer = signerlib.Signer(token, ca)
    signer.status()  # the PIN was used
    (token.folder / "now").touch()
    wait_for(lambda: (token.folder / "found").exists(), what="the attacker")
    found = json.loads((token.folder / "found").read_text())
    assert signer.stop() == 0
    if any(found["other"].values()):
        pytest.skip(f"this system refuses it for any process: {found['other']}")
    assert found["signer"]["ptrace"] == 1  # EPERM
    assert all(found["signer"].values()), found
