# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A virtual YubiKey for tests: devstamp-sim yubikey behind Debian's pcscd, used through Debian's ykcs11."""

import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from factory import SIM, run, wait_for

MODULE = next(iter(glob.glob("/usr/lib/*/libykcs11.so.2") + glob.glob("/usr/lib/libykcs11.so.2")), None)
PIN, PUK, MANAGEMENT_KEY = "123456", "12345678", "010203040506070801020304050607080102030405060708"
ID_OF = {"9a": "01", "9c": "02", "9d": "03", "9e": "04", **{f"{0x82 + i:02x}": f"{5 + i:02x}" for i in range(20)}}


def why_not():
    """Why no virtual YubiKey can run here; None where it can."""
    for path, package in (("/usr/sbin/pcscd", "pcscd"), (MODULE, "ykcs11"),
                          ("/usr/lib/pcsc/drivers/serial/libifdvpcd.so", "vsmartcard-vpcd")):
        if not path or not os.path.exists(path):
            return f"no virtual YubiKey: the package {package} is not installed"
    for tool, package in (("yubico-piv-tool", "yubico-piv-tool"), ("pkcs11-tool", "opensc")):
        if not shutil.which(tool):
            return f"no virtual YubiKey: the package {package} is not installed"
    flags = ["-nm"] if os.geteuid() == 0 else ["-rnm"]
    if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode:
        return "no virtual YubiKey: neither root nor user namespaces"
    return None


class YubiKey:
    """One that is plugged in. Its state is in a folder of a short name, because sockets' names are short."""

    def __init__(self, *options, state=None):
        self.made = state is None
        self.state = pathlib.Path(state or tempfile.mkdtemp(prefix="devstamp-yk"))
        self.process, self.out = None, time.monotonic()
        self.start(*options)

    def start(self, *options):
        ready = self.state / "ready.json"
        ready.unlink(missing_ok=True)
        self.log = open(self.state / "log", "a")
        self.process = subprocess.Popen([SIM, "yubikey", "--state", self.state, "--with-parent", "--ready-file", ready,
                                         *options], stdin=subprocess.PIPE, stdout=self.log, stderr=self.log)
        wait_for(lambda: ready.exists() or self.process.poll() is not None, what="virtual YubiKey")
        assert self.process.poll() is None, (self.state / "log").read_text()
        self.info = json.loads(ready.read_text())
        self.serial, self.label = self.info["serial"], self.info["label"]
        self.maker_root = self.state / "maker-root.pem"
        self.env = dict(os.environ, PCSCLITE_CSOCK_NAME=self.info["socket"])
        if "--out" not in options:  # the card has answered pcscd, which tells its clients a moment later
            wait_for(lambda: self.tool("-a", "version", ok=False).returncode == 0, what="pcscd and the virtual YubiKey")

    def stop(self):
        """End it; what it holds stays until remove()."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, (self.state / "log").read_text()
            self.process.stdin.close()
            self.log.close()
            self.process = None

    def remove(self):
        self.stop()
        if self.made:
            shutil.rmtree(self.state)

    # --- the hand

    def ctl(self, *verb, ok=True):
        return run(SIM, "yubikey-ctl", "--state", self.state, *verb, ok=ok)

    def status(self):
        return json.loads(self.ctl("status").stdout)

    def pull_out(self):
        self.ctl("out")
        self.out = time.monotonic()

    def push_in(self):
        # No hand is faster than pcscd, which looks every 0.4 s; whether it saw the key gone decides no test.
        time.sleep(max(0, self.out + 1 - time.monotonic()))
        self.ctl("in")
        wait_for(lambda: self.status()["seen"], what="the reader sees the key")

    def touch(self):
        wait_for(lambda: self.status()["touch"], what="the key waits for a touch")
        self.ctl("touch")

    # --- other people's tools

    def tool(self, *args, ok=True):
        return run("yubico-piv-tool", *args, ok=ok, env=self.env)

    def pkcs11(self, *args, ok=True):
        return run("pkcs11-tool", "--module", MODULE, *args, ok=ok, env=self.env)

    def generate(self, slot="9c", algorithm="ECCP256", *options):
        """Make a key in the slot, and put a certificate there, as a key without one is shown by some modules only."""
        self.tool("-a", "generate", "-s", slot, "-A", algorithm, *options)

    def uri(self, slot="9c"):
        label = self.label.replace(" ", "%20").replace("#", "%23")
        return f"pkcs11:token={label};id=%{ID_OF[slot]}"

    def pin_file(self, folder, pin=PIN):
        path = pathlib.Path(folder) / "pin"
        path.write_text(pin + "\n")
        path.chmod(0o600)
        return path
