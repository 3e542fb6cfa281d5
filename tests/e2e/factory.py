# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A factory in a folder: images, authority, recipes, virtual devices and a station, over the real programs."""

import json
import os
import pathlib
import signal
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", "build/dev")).resolve()
DEVSTAMP = BUILD / "src/cli/devstamp"
SIM = BUILD / "sim/devstamp-sim"
PLUGIN = BUILD / "endpoint/devstamp_endpoint.so"

TABLE_OFFSET = 0x10000
PARTITIONS = """\
# name,   type, subtype,  offset,   size,     flags
otadata,  data, ota,      0x11000,  0x2000,
nvs_keys, data, nvs_keys, 0x13000,  0x1000,   encrypted
stamp,    data, nvs,      0x14000,  0x6000,
nvs,      data, nvs,      0x1a000,  0x6000,
ota_0,    app,  ota_0,    0x20000,  0x1e0000,
ota_1,    app,  ota_1,    0x200000, 0x1e0000,
"""
STAMP = (0x14000, 0x6000)

KEY_OF = {"esp32": "rsa-2048", "esp32c3": "ecdsa-p256"}


def run(*args, ok=True, **kw):
    """Run a program; fail with its output where it was to succeed."""
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=kw.pop("timeout", 240), **kw)
    if ok and p.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, args))}\nexit {p.returncode}\n{p.stdout}\n{p.stderr}")
    return p


def wait_for(condition, seconds=60, what="condition"):
    """Wait for something that surely comes; the limit only ends a test that has failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


class Products:
    """Images, signing key and authority; made once, used by every test."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.signing_key = self.folder / "signing.pem"
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", self.signing_key)
        (self.folder / "partitions.csv").write_text(PARTITIONS)
        run(SIM, "partitions", self.folder / "partitions.csv", "-o", self.folder / "partitions.bin")
        run(DEVSTAMP, "ca", "init", "--dir", self.folder / "ca")
        self.made = {}

    def image(self, chip, kind, version="2.0.0", signed=False, **flags):
        name = "-".join([chip, kind, version] + [f"{k}{v}" for k, v in sorted(flags.items())]) + ".bin"
        path = self.folder / name
        if not path.exists():
            args = ["--chip", chip, "--kind", kind, "--version", version, "--body", "6000"]
            for k, v in flags.items():
                args += [f"--{k}"] + ([] if v is True else [v])
            run(SIM, "image", *args, "-o", path)
        if not signed:
            return path
        out = path.with_suffix(".signed.bin")
        if not out.exists():
            run(DEVSTAMP, "image", "sign", "--key", self.signing_key, path, "-o", out)
        return out

    def recipe(self, folder, for_chip, name=None, **changes):
        """Write a recipe; changes replace what it says ({'key': 'rsa-2048'}, nested by dots with __)."""
        boot_args = {"development": True} if changes.get("mode") == "development" else {}
        fields = {
            "product": f"demo-{for_chip}",
            "chip": for_chip,
            "flash_size": "4MB",
            "table": self.folder / "partitions.bin",
            "bootloader": self.image(for_chip, "bootloader"),
            "secure": self.image(for_chip, "secure-bootloader", signed=True, **boot_args),
            "mfg": self.image(for_chip, "mfg", "1.2.0"),
            "app": self.image(for_chip, "app", "2.0.0", signed=True, **{"secure-pad": True}),
            "mfg_partition": "ota_1",
            "mfg_min": "1.2.0",
            "app_min": "2.0.0",
            "key": KEY_OF[for_chip],
            "protection": "",  # lines: key_protection, nvs_keys
            "subject": "CN={serial},O=Example",
            "days": "0",
            "value": "{namespace: cfg, key: model, type: string, value: \"L-100\"}",
            "serial": "SN-{mac}",
            "endpoint": "mqtts://localhost:1",
            "endpoint_ca": self.folder / "ca/root.pem",
            "close_download": "false",
            "mode": "release",
            "proof": "full",
            "extra": "",
        }
        fields.update(changes)
        text = """\
recipe: 1
product: {product}
chip: {chip}
flash_size: {flash_size}
partition_table: {{file: {table}, offset: 0x10000}}
images:
  bootloader: {{file: {bootloader}}}
  secure_bootloader: {{file: {secure}}}
  mfg: {{file: {mfg}, partition: {mfg_partition}, min_version: {mfg_min}}}
  app: {{file: {app}, partition: ota_0, min_version: {app_min}}}
key: {key}
{protection}certificate: {{subject: "{subject}", days: {days}}}
stamp:
  serial: "{serial}"
  endpoint: {endpoint}
  endpoint_ca: {endpoint_ca}
  close_download: {close_download}
  values:
    - {{namespace: cfg, key: region, type: u8, value: "3"}}
    - {value}
lock: {{mode: {mode}, proof: {proof}}}
{extra}""".format(**fields)
        path = pathlib.Path(folder) / f"{name or for_chip}.yaml"
        path.write_text(text)
        return path


class Factory:
    """One test's line: its devices, station, ledger."""

    def __init__(self, products, folder):
        self.products = products
        self.folder = pathlib.Path(folder)
        self.state = self.folder / "sim"
        self.sim = None
        self.devices = []

    # --- devices

    def merged(self, recipe):
        out = self.folder / (recipe.stem + "-merged.bin")
        run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", out)
        return out

    def start(self, *specs, options=()):
        """Start devstamp-sim; specs as its --device takes them. Without specs, the devices of the folder go on."""
        args = [str(SIM), "run", "--state", str(self.state), "--with-parent", *options]
        for s in specs:
            args += ["--device", s]
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        self.log = open(self.folder / "sim.log", "a")
        self.sim = subprocess.Popen(args + ["--ready-file", str(ready)], stdin=subprocess.PIPE, stdout=self.log,
                                    stderr=self.log)
        wait_for(lambda: ready.exists() or self.sim.poll() is not None, what="devstamp-sim")
        assert self.sim.poll() is None, (self.folder / "sim.log").read_text()
        self.devices = json.loads(ready.read_text())
        return self.devices

    def stop(self):
        if self.sim:
            self.sim.send_signal(signal.SIGTERM)
            assert self.sim.wait(timeout=30) == 0, (self.folder / "sim.log").read_text()
            self.sim.stdin.close()
            self.log.close()
            self.sim = None

    def ctl(self, device, *verb, ok=True):
        return run(SIM, "ctl", "--state", self.state, "--device", device, *verb, ok=ok)

    def flash(self, device):
        return (self.state / str(device) / "flash.bin").read_bytes()

    # --- station

    def station(self, slots=None, name="station", key=None, **changes):
        ca = self.products.folder / "ca"
        lines = [
            "station: 1",
            f"name: {name}",
            f"ledger: {changes.get('ledger', self.folder / 'ledger.db')}",
            "signer:",
            f"  certificate: {changes.get('certificate', ca / 'subca.pem')}",
            f"  key: \"{key or 'file:' + str(ca / 'subca.key')}\"",
            f"  log: {self.folder / 'issuance.log'}",
        ]
        lines += [f"  {k}: {changes[k]}" for k in ("module", "pin_file", "log_key", "quota", "seal", "seal_key", "seal_tpm", "pool",
                                                  "pool_key", "pool_ca")
                  if k in changes]
        if "bundles" in changes:  # the release keys and what else is said
            lines += ["bundles: " + changes["bundles"]]
        lines += ["slots:"] if slots != [] else []
        if slots is None:
            slots = [{"name": str(i), "port": self.address(i), "reset": "rfc2217"} for i in range(len(self.devices))]
        for s in slots:
            lines.append("  - {" + ", ".join(f"{k}: \"{v}\"" for k, v in s.items()) + "}")
        path = self.folder / f"{name}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def address(self, device, kind="rfc2217"):
        d = self.devices[device]
        return d["pty"] if kind == "pty" else f"{kind}://127.0.0.1:{d[kind]}"

    def provision(self, recipes, station, *args, ok=True, **kw):
        """Run devstamp provision --json; returns the process and its document."""
        recipe_args = []
        for r in recipes if isinstance(recipes, (list, tuple)) else [recipes]:
            recipe_args += ["--bundle" if pathlib.Path(r).suffix == ".bundle" else "--recipe", r]
        p = run(DEVSTAMP, "provision", *recipe_args, "--station", station, "--json", *args, ok=False, **kw)
        if ok:
            assert p.returncode == 0, f"exit {p.returncode}\n{p.stdout}\n{p.stderr}"
        return p, (json.loads(p.stdout) if p.stdout.strip() else None)

    def ledger(self):
        p = run(DEVSTAMP, "ledger", "list", "--ledger", self.folder / "ledger.db", "--json")
        return json.loads(p.stdout)

    def ledger_is_whole(self):
        return run(DEVSTAMP, "ledger", "check", "--ledger", self.folder / "ledger.db", ok=False)
