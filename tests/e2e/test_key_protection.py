# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Keys that only the chip can use: an ESP32-C3 whose RSA key is in the digital-signature peripheral and whose NVS keys are made
by the HMAC peripheral comes off the line, proves it, and registers at the endpoint with a key that no software can read."""

import hashlib
import hmac
import json
import re
import shutil
import socket
import struct
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import load_der_private_key

from factory import BUILD, DEVSTAMP, PARTITIONS, PLUGIN, SIM, STAMP, run, wait_for

NVS = (0x1A000, 0x6000)
PROTECTION = "key_protection: ds\nnvs_keys: hmac\n"
SERIAL_AT = 8  # of an NVS entry: the key's name
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


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


def stamp_words(products, recipe, tmp, factory_class):
    """Flash words and eFuse blocks until the stamp is complete."""
    del products, recipe, tmp, factory_class


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
            self.process = subprocess.Popen([MOSQUITTO, "-c", folder / "broker/mosquitto.conf"], stdout=log, stderr=log)
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


def test_measure(products, factory):
    recipe = protected(products, factory)
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)},fault=cut@99999999")
    line = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station()],
                            stdout=subprocess.PIPE, text=True)
    for s in iter(line.stdout.readline, ""):
        print(s.strip(), json.loads(factory.ctl(0, "status").stdout)[0]["flash_ops"])
    print(line.wait())
    print(run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", factory.ledger()[0]["serial"]).stdout)
