# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Canaries: PIN, passphrase, key file and proof-of-possession secret of a whole run, looked for afterwards in every file,
and while it runs in command lines, environments and the memory of every process that is not to know them. The scan proves
itself on a run that is made to leak."""

import os
import resource
import secrets
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

import secretscan
import signerlib
import test_ca_token
import test_seal
from factory import DEVSTAMP, SIM, wait_for

pytestmark = test_seal.pytestmark + [pytest.mark.skipif(not secretscan.can_read_memory(),
                                                        reason="may not read the memory of other processes")]
shim = test_ca_token.shim  # a fixture
PAUSE = """\
#!/bin/sh
# The device's reset, and a moment for the test to look around: the station waits for it.
touch {folder}/at.$$
while [ ! -e {folder}/go.$$ ]; do
    [ ! -e {folder}/over ] || exit 1 # nobody looks any more
    sleep 0.02
done
case $DEVSTAMP_RESET in download) v=download ;; *) v=reset ;; esac
exec {sim} ctl --state {state} --device 0 $v
"""


class Canaries:
    """A sealed station whose PIN, passphrase and key file are found by nobody by accident."""

    def __init__(self, products, factory, shim, monkeypatch):
        self.factory, self.folder = factory, factory.folder
        self.secret = {"PIN": f"pin{secrets.token_hex(12)}".encode(), "passphrase": secrets.token_urlsafe(24).encode()}
        monkeypatch.setattr(test_ca_token, "PIN", self.secret["PIN"].decode())
        monkeypatch.setattr(test_seal, "PASSPHRASE", self.secret["passphrase"].decode())
        self.token = signerlib.Token(self.folder / "token", shim)
        self.line = test_seal.Station(products, factory, self.token)
        self.secret["key file"] = self.line.key.read_bytes()
        self.recipe = self.line.recipe = products.recipe(self.folder, "esp32c3", endpoint_ca=self.folder / "ca/root.pem")
        self.planted = {self.token.pin, self.line.words, self.line.key}
        self.pauses, self.home = self.folder / "pauses", self.folder / "home"
        self.pauses.mkdir()
        self.home.mkdir()
        self.env = dict(self.token.env, HOME=str(self.home), TMPDIR=str(self.home))

    def start_device(self):
        self.factory.start(f"chip=esp32c3,image={self.factory.merged(self.recipe)}")
        self.station(self.factory.address(0, "tcp"))

    def station(self, port):
        script = self.folder / "reset.sh"
        script.write_text(PAUSE.format(folder=self.pauses, sim=SIM, state=self.factory.state))
        script.chmod(0o755)
        self.line.station(slots=[{"name": "A", "port": port, "reset": "command", "command": script}], seal_key=self.line.key)

    def ask_ledger(self):
        """The device's proof-of-possession secret is made by the station; the ledger is to hold it."""
        with sqlite3.connect(f"file:{self.folder / 'ledger.db'}?mode=ro", uri=True) as db:
            row = db.execute("SELECT pop FROM device WHERE pop <> ''").fetchone()
        if row:
            self.secret["proof of possession"] = row[0].encode()


@pytest.fixture
def canaries(products, factory, shim, monkeypatch):
    c = Canaries(products, factory, shim, monkeypatch)
    yield c
    (c.pauses / "over").touch()


class Run:
    """devstamp provision that waits at each reset of its device."""

    def __init__(self, c, *args, env=None, **kw):
        self.c, self.seen = c, set()
        self.said = open(c.folder / f"said {time.monotonic_ns()}", "w+")
        self.process = subprocess.Popen(
            [DEVSTAMP, "provision", "--recipe", c.recipe, "--station", c.line.file, *map(str, args)],
            stdout=self.said, stderr=self.said, env=env or c.env, **kw)

    def pauses(self):
        """Yields at each reset: what the caller does then is done while all processes stand."""
        gone_on = set(self.c.pauses.glob("at.*"))

        def next_one():
            waiting = set(self.c.pauses.glob("at.*")) - gone_on
            return waiting or self.process.poll() is not None

        while (waiting := wait_for(next_one, 240, "the next reset")) is not True:
            for at in waiting:
                yield at
                gone_on.add(at)
                at.with_name(at.name.replace("at", "go")).touch()

    def look(self):
        """{(process, where, secret)}, in every command line and environment of this computer, in the memory of station,
        signer, reset command and devices. Station and signer must show a word that they are known to hold."""
        out, known = set(), self.c.secret
        for pid in secretscan.processes():
            for what in ("cmdline", "environ"):
                data = secretscan.of_process(pid, what)
                out |= {(self.role(pid), what, name) for name in secretscan.found_in(data, known)}
        trees = [self.process] + ([self.c.factory.sim] if self.c.factory.sim else [])
        for pid in [pid for top in trees for pid in secretscan.tree(top.pid)]:
            role, data = self.role(pid), secretscan.memory(pid)
            out |= {(role, "memory", name) for name in secretscan.found_in(data, known)}
            if role in ("station", "signer"):
                assert str(self.c.line.seal).encode() in data, f"the memory of the {role} was not read"
                self.seen.add(role)
        return out

    def role(self, pid):
        words = secretscan.of_process(pid, "cmdline").split(b"\0")
        if pid == self.process.pid:
            return "station"
        return "signer" if words[1:2] == [b"signer"] else words[0].decode(errors="replace").rpartition("/")[2] or "?"

    def watch(self):
        """Runs it to its good end: all that was found on the way."""
        found = set()
        for _ in self.pauses():
            self.c.ask_ledger()
            found |= self.look()
        self.said.seek(0)
        said = self.said.read()
        assert self.process.returncode == 0 and "1 passed, 0 failed" in said, said
        assert self.seen == {"station", "signer"}
        return found


# Who is to know what: the signer the PIN and what opens its seal, the device its own secret, the station that secret too,
# which it makes and writes to device and ledger.
KNOWN = {("signer", "memory", name) for name in ("PIN", "passphrase", "key file")}
KNOWN |= {(who, "memory", "proof of possession") for who in ("station", "devstamp-sim")}


def test_secrets_are_nowhere_in_a_whole_run(canaries):
    canaries.line.create("passphrase", f"key-file={canaries.line.key}", "--all")
    canaries.start_device()
    run = Run(canaries, "--passphrase-file", canaries.line.words, "--report", canaries.folder / "report.json", "--verbose")
    found = run.watch()
    assert "proof of possession" in canaries.secret
    # Once more, the passphrase by a descriptor; by now the device's secret is known from the beginning.
    with open(canaries.line.words) as words:
        found |= Run(canaries, "--passphrase-fd", words.fileno(), pass_fds=[words.fileno()]).watch()
    assert found <= KNOWN, found - KNOWN
    canaries.factory.stop()
    # Labels are printed from the ledger: the one file that keeps a secret, closed to others.
    ledger = set(canaries.folder.glob("ledger.db*"))
    files = secretscan.files_with([canaries.folder, canaries.factory.products.folder], canaries.secret, canaries.planted)
    assert {name for path, name in files if path in ledger} == {"proof of possession"}
    assert not {f for f in files if f[0] not in ledger}
    assert all(p.stat().st_mode & 0o77 == 0 for p in ledger)


def test_scan_finds_what_leaks_and_a_killed_station_dumps_no_core(canaries, tmp_path):
    """A station whose operator gives the PIN in the environment and the passphrase in the command line, and who keeps
    notes; it is ended by a signal that dumps core. Its device is silent."""
    pin, words = canaries.secret["PIN"].decode(), canaries.secret["passphrase"].decode()
    canaries.line.create(f"key-file={canaries.line.key}")
    where = tmp_path / "cores"
    where.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        canaries.station(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        run = Run(canaries, "--report", canaries.folder / words, cwd=where, preexec_fn=lift_core_limit,
                  env=dict(canaries.env, LEAK=pin, ASAN_OPTIONS="disable_coredump=0"))
        next(run.pauses())
        found = run.look()
        signer = next(p for p in secretscan.tree(run.process.pid) if run.role(p) == "signer")
        limits = secretscan.of_process(signer, "limits") + secretscan.of_process(run.process.pid, "limits")
        run.process.send_signal(signal.SIGABRT)
        assert ended_without_core(run.process)
    for leak in ("cmdline", "passphrase"), ("memory", "passphrase"), ("environ", "PIN"), ("memory", "PIN"):
        assert ("station", *leak) in found
    assert ("signer", "environ", "PIN") in found and run.seen == {"station", "signer"}
    assert [line.split()[4:6] for line in limits.splitlines() if b"core file" in line] == [[b"0", b"0"]] * 2
    for number, form in enumerate(secretscan.forms(canaries.secret["key file"])):
        (tmp_path / f"note {number}").write_bytes(b"the key is " + form + b".")
    files = secretscan.files_with([tmp_path], canaries.secret, canaries.planted)
    assert {p.name for p, name in files if name == "key file"} == {f"note {n}" for n in range(5)}
    assert not list(where.iterdir())


def lift_core_limit():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def ended_without_core(process):
    """Wait for the end by a signal, and see that nothing was dumped."""
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return not os.WCOREDUMP(status)


def test_killed_signer_dumps_no_core_and_any_other_program_does(canaries, tmp_path, monkeypatch):
    where = tmp_path / "cores"
    where.mkdir()
    other = subprocess.Popen(["sleep", "60"], cwd=where, preexec_fn=lift_core_limit)
    other.send_signal(signal.SIGABRT)
    if ended_without_core(other):
        pytest.skip("this system dumps no cores of any program")
    left = list(where.iterdir())
    monkeypatch.chdir(where)
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    lift_core_limit()
    signer = signerlib.Signer(canaries.token, canaries.folder / "ca", env=dict(canaries.env, ASAN_OPTIONS="disable_coredump=0"))
    resource.setrlimit(resource.RLIMIT_CORE, limits)
    signer.status()
    signer.process.send_signal(signal.SIGABRT)
    assert ended_without_core(signer.process) and list(where.iterdir()) == left
    signer.socket.close()
