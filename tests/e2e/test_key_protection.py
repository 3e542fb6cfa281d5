# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Keys that only the chip can use: an ESP32-C3 whose RSA key is in the digital-signature peripheral and whose NVS keys are made
by the HMAC peripheral comes off the line, proves it, and registers at the endpoint with a key that no software can read."""

import hashlib
import hmac
import json
import re
import socket
import struct
import subprocess

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import load_der_private_key

from endpoint_fixtures import MOSQUITTO, sanitizer_environment
from factory import DEVSTAMP, PARTITIONS, PLUGIN, SIM, STAMP, run, wait_for

NVS = (0x1A000, 0x6000)
PROTECTION = "key_protection: ds\nnvs_keys: hmac\n"
SERIAL_AT = 8  # of an NVS entry: the key's name


def table_without_nvs_keys(products):
    """Its place stays empty, so that everything else is where the tests look for it."""
    if "no-nvs-keys" not in products.made:
        csv = products.folder / "no-nvs-keys.csv"
        csv.write_text("".join(line for line in PARTITIONS.splitlines(True) if "nvs_keys" not in line))
        run(SIM, "partitions", csv, "-o", csv.with_suffix(".bin"))
        products.made["no-nvs-keys"] = csv.with_suffix(".bin")
    return products.made["no-nvs-keys"]


def protected(products, factory, key="rsa-2048", **changes):
    return products.recipe(factory.folder, "esp32c3", key=key, protection=changes.pop("protection", PROTECTION), **changes)


def values(partition, keys=None):
    """The live blobs of an NVS partition by name (nvs_flash.rst); keys: of an encrypted one."""
    found = {}
    for page in range(0, len(partition), 4096):
        if partition[page:page + 4] == b"\xff" * 4:
            continue
        bitmap = int.from_bytes(partition[page + 32:page + 64], "little")
        entries = [bytes(partition[page + 64 + 32 * i:page + 96 + 32 * i]) for i in range(126)]
        if keys:
            entries = [e if e == b"\xff" * 32 else xts(keys, page + 64 + 32 * i, e) for i, e in enumerate(entries)]
        i = 0
        while i < 126:
            if bitmap >> 2 * i & 3 != 2:
                i += 1
                continue
            kind, span = entries[i][1], entries[i][2]
            name = entries[i][SERIAL_AT:24].rstrip(b"\0").decode()
            if kind == 0x42:
                size = struct.unpack_from("<H", entries[i], 24)[0]
                found[name] = found.get(name, b"") + b"".join(entries[i + 1:i + span])[:size]
            elif kind != 0x48:
                found.setdefault(name, entries[i][24:32])
            i += max(span, 1)
    return found


def xts(keys, offset, entry):
    tweak = offset.to_bytes(16, "little")
    return Cipher(algorithms.AES(keys), modes.XTS(tweak)).decryptor().update(entry)


def nvs_keys(secret):
    return b"".join(hmac.new(secret, bytes.fromhex(s) * 8, hashlib.sha256).digest() for s in ("5a5abeae", "a5a5dece"))


def private_numbers(der):
    n = load_der_private_key(der, None).private_numbers()
    numbers = {"p": n.p, "q": n.q, "d": n.d, "dp": n.dmp1, "dq": n.dmq1, "q inverse": n.iqmp}
    out = {}
    for name, value in numbers.items():
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        out[name], out[name + ", little-endian"] = data[:32], data[::-1][:32]
        out[name + ", its end"] = data[-32:]
    return out


def cut_after_the_stamp(factory, recipe, slots=None):
    """Run the line until the stamp is on the device, and take its power before the lock; what its flash shows then."""
    line = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station(slots)],
                            stdout=subprocess.PIPE, text=True)
    assert any(" stamp " in s and "done" in s for s in iter(line.stdout.readline, ""))
    wait_for(lambda: json.loads(factory.ctl(0, "status").stdout)[0]["power"] == "off", what="the power cut")
    line.kill()
    line.communicate()
    return values(factory.flash(0)[STAMP[0]:STAMP[0] + STAMP[1]])


class Broker:
    """The endpoint of a factory's authority."""

    def __init__(self, products, folder):
        ca = products.folder / "ca"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder, self.registry = folder, folder / "registry.db"
        run(DEVSTAMP, "ca", "server", "--dir", ca, "--host", "127.0.0.1", "-o", folder / "server.pem", "--key",
            folder / "server.key")
        run(DEVSTAMP, "registry", "init", "--registry", self.registry, "--ca", ca / "subca.pem", "--root", ca / "root.pem")
        run(DEVSTAMP, "registry", "config", "--registry", self.registry, "--dir", folder / "broker", "--port", self.port,
            "--cert", folder / "server.pem", "--key", folder / "server.key", "--plugin", PLUGIN)
        self.log = folder / "broker.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", folder / "broker/mosquitto.conf"], stdout=log, stderr=log,
                                            env=sanitizer_environment())
        wait_for(lambda: b"running" in self.log.read_bytes() or self.process.poll() is not None, what="mosquitto")
        assert self.process.poll() is None, self.log.read_text()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0


@pytest.fixture
def broker(products, tmp_path):
    b = Broker(products, tmp_path)
    yield b
    b.stop()


def is_registered(factory, broker, serial):
    run(DEVSTAMP, "registry", "sync", "--registry", broker.registry, "--ledger", factory.folder / "ledger.db")
    row = next(d for d in factory.ledger() if d["serial"] == serial)
    return row["certificate"]["registered_at"]


@pytest.mark.parametrize("key", ["rsa-2048", "rsa-3072"])
def test_key_in_the_chip_is_proved_and_registers(products, factory, broker, key):
    recipe = protected(products, factory, key, table=table_without_nvs_keys(products), endpoint=f"mqtts://127.0.0.1:{broker.port}")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)},fault=off@2500")  # amid the secure bootloader
    plain = cut_after_the_stamp(factory, recipe)
    secrets = private_numbers(plain["key"])
    secrets |= {name: plain[name] for name in ("dsig_secret", "nvs_secret")}
    # The control: here it all lies readable, on a device that is in the factory and not locked.
    before = factory.flash(0)
    assert all(plain[n] in before for n in ("dsig_secret", "nvs_secret")) and secrets["p"] in before

    factory.ctl(0, "fault", "")
    factory.ctl(0, "on")
    _, doc = factory.provision(recipe, factory.station())
    serial = doc["slots"][0]["serial"]
    wait_for(lambda: is_registered(factory, broker, serial), what="registration with the key in the chip")
    assert "New client connected from 127.0.0.1" in broker.log.read_text()

    shown = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", serial).stdout
    assert re.search(r"^private key +in the digital-signature peripheral$", shown, re.M)
    assert re.search(r"^NVS keys +by the HMAC peripheral$", shown, re.M)
    the_private_key_is_nowhere(factory, plain["nvs_secret"], secrets)


def the_private_key_is_nowhere(factory, nvs_secret, secrets):
    """Not in flash, not as the chip's cache shows it to the app, not in NVS with its keys, and not in readable eFuses."""
    factory.ctl(0, "off")
    clear = factory.folder / "clear.bin"
    run(SIM, "decrypt", "--state", factory.state, "--device", 0, "-o", clear)
    raw = factory.flash(0)
    nvs = values(raw[NVS[0]:NVS[0] + NVS[1]], nvs_keys(nvs_secret))
    assert {"chain", "dsig", "moved"} <= set(nvs) and not {"key", "dsig_secret", "nvs_secret"} & set(nvs)
    window = (factory.state / "0/efuse.bin").read_bytes()[:512][::-1]  # as software reads it; layout in sim/efuse.h
    everything = {"flash": raw, "decrypted flash": clear.read_bytes(), "eFuses": window, "eFuses, turned": window[::-1]}
    everything |= {f"NVS {name}": data for name, data in nvs.items()}
    for place, data in everything.items():
        for name, secret in secrets.items():
            assert secret not in data, f"{name} is in {place}"


@pytest.mark.parametrize("protection", ["key_protection: ds\n", "nvs_keys: hmac\n", PROTECTION])
def test_key_blocks_are_hidden_where_efuses_can_be_read(products, factory, protection):
    """In development mode the ROM shows eFuses: each key block that the recipe asks for is there, and shows zeros."""
    recipe = protected(products, factory, protection=protection, mode="development")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    factory.provision(recipe, factory.station())
    proof = json.loads(run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--json",
                           factory.ledger()[0]["serial"]).stdout)["proof"]
    assert proof["key_read"] == {"ok": True, "seen": "zeros: read-protected"}
    assert proof["key_protection"] == {"ok": True, "seen": "ds" if "ds" in protection else "nvs"}
    assert proof["nvs_keys"] == {"ok": True, "seen": "hmac" if "hmac" in protection else "flash"}


@pytest.mark.parametrize("demand, what", [("key_protection: ds\n", "key_protection: nvs"), ("nvs_keys: hmac\n", "nvs_keys: flash")])
def test_device_without_the_demanded_protection_does_not_pass(products, factory, demand, what):
    less = protected(products, factory, protection="", proof="report")
    factory.start(f"chip=esp32c3,image={factory.merged(less)}")
    factory.provision(less, factory.station())
    more = products.recipe(factory.folder, "esp32c3", "more", key="rsa-2048", protection=demand, proof="report")
    p, doc = factory.provision(more, factory.station(), ok=False)
    assert p.returncode != 0 and what in doc["slots"][0]["error"]["text"], doc["slots"][0]["error"]
    # More than is asked for does pass.
    factory.provision(less, factory.station())


@pytest.mark.parametrize("chip, key, protection, words", [
    ("esp32", "rsa-2048", "key_protection: ds\n", ["key_protection", "ESP32 has no digital-signature"]),
    ("esp32", "rsa-2048", "nvs_keys: hmac\n", ["nvs_keys", "ESP32 has no HMAC"]),
    ("esp32c3", "ecdsa-p256", "key_protection: ds\n", ["key_protection", "does not sign with ECDSA P-256"]),
    ("esp32c3", "rsa-2048", "key_protection: tpm\n", ["key_protection"]),
])
def test_recipe_that_the_chip_cannot_keep_is_refused(products, factory, chip, key, protection, words):
    recipe = products.recipe(factory.folder, chip, key=key, protection=protection)
    p = run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", factory.folder / "out.bin", ok=False)
    assert p.returncode == 3
    for word in words:
        assert word in p.stderr, p.stderr


def test_table_without_nvs_keys_needs_the_hmac_peripheral(products, factory):
    recipe = protected(products, factory, protection="", table=table_without_nvs_keys(products))
    p = run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", factory.folder / "out.bin", ok=False)
    assert p.returncode == 3 and "nvs_keys" in p.stderr
