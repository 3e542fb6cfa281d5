# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A PostgreSQL server of the test's own: on loopback, with a password that a file holds, as the user postgres where the
tests run as root, whom it refuses."""

import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from factory import wait_for


def programs():
    """Where the server's programs are: Debian keeps each version in a folder of its own, and none in PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    return pathlib.Path(found[-1]).parent if found else pathlib.Path(shutil.which("initdb") or "initdb").parent


class Postgres:
    def __init__(self, fsync=False):
        self.options = [] if fsync else ["-F"]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-pg-", dir="/tmp"))
        self.who = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        self.password = os.urandom(12).hex()
        word = self.folder / "word"
        word.write_text(self.password + "\n")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.passfile = self.folder / "pgpass"
        self.passfile.write_text(f"127.0.0.1:{self.port}:*:line:{self.password}\n")
        self.passfile.chmod(0o600)
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self.who:
            for p in (self.folder, word, data):
                shutil.chown(p, "postgres", "postgres")
        subprocess.run([programs() / "initdb", "-D", data, "-A", "scram-sha-256", "-U", "line", "--pwfile", word, "--no-sync",
                        "--no-locale", "-E", "UTF8"], check=True, capture_output=True, cwd=self.folder, **self.who)
        self.env = dict(os.environ, PGPASSFILE=str(self.passfile))
        self.place = f"postgresql://line@127.0.0.1:{self.port}/postgres"
        self.log = open(self.folder / "log", "a")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([programs() / "postgres", "-D", "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "",
                                         *self.options], cwd=self.folder, stdout=self.log, stderr=self.log, **self.who)
        wait_for(lambda: self.query("SELECT 1", ok=False) == "1", what="PostgreSQL")

    def stop(self, how=signal.SIGQUIT):
        """SIGQUIT is what a crash is: nothing is tidied up."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def stand_still(self, go_on=False):
        """Stop every process of the server, or let them go on."""
        pids = [self.process.pid]
        for p in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(p.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    pids.append(int(p.parent.name))
            except (OSError, ValueError):
                pass
        for pid in pids:
            os.kill(pid, signal.SIGCONT if go_on else signal.SIGSTOP)

    def query(self, sql, ok=True, timeout=60):
        p = subprocess.run(["psql", "-w", "-Atqc", sql, self.place], env=self.env, capture_output=True, text=True, timeout=timeout)
        assert not ok or p.returncode == 0, p.stderr
        return p.stdout.strip()

    def close(self):
        if self.process:
            self.stand_still(go_on=True)
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder)
