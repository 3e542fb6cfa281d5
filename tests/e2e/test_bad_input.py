# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Bad input gets a clear error and changes nothing."""

import os
import select
import socket
import subprocess
import threading

import pytest

from factory import DEVSTAMP, SIM, run, wait_for


def station_with_port(factory, port):
    return factory.station([{"name": "A", "port": port, "reset": "none"}])


def fails(factory, recipe, station, code, *words):
    p, doc = factory.provision(recipe, station, ok=False)
    text = p.stderr + p.stdout
    assert p.returncode == code, text
    for w in words:
        assert w in text, f"{w!r} not in {text}"
    return p, doc


@pytest.mark.parametrize(
    "changes, code, words",
    [
        ({"extra": "colour: red\n"}, 3, ["colour", "Unexpected key", ".yaml:"]),
        ({"key": "rsa-1024"}, 3, ["key", "rsa-1024"]),
        ({"chip": "esp99"}, 3, ["chip", "esp99"]),
        ({"flash_size": "3MB"}, 3, ["flash_size"]),
        ({"mfg": "/nonexistent/mfg.bin"}, 3, ["mfg", "/nonexistent/mfg.bin"]),
        ({"mfg_partition": "ota_7"}, 3, ["no partition 'ota_7'"]),
        ({"mfg_min": "9.0.0"}, 3, ["below the recipe's own minimum 9.0.0"]),
        ({"subject": "CN=same-for-all"}, 3, ["{serial}"]),
        ({"subject": "O={serial},CN=all-the-same"}, 3, ["CN={serial}"]),
        ({"subject": "{serial}"}, 3, ["certificate.subject"]),
        ({"serial": "SN/{mac}"}, 3, ["stamp.serial"]),
        ({"serial": "THE-ONE"}, 3, ["stamp.serial"]),
        ({"serial": "{counter:99}"}, 3, ["stamp.serial"]),
        ({"endpoint": "mqtts://"}, 3, ["mqtts://host:port"]),
        ({"endpoint": "mqtts://host:70000"}, 3, ["mqtts://host:port"]),
        ({"endpoint_ca": "partitions.csv"}, 3, ["endpoint_ca"]),
        ({"days": "4000000"}, 3, ["certificate.days"]),
        ({"close_download": "false\n  pop_length: 11"}, 3, ["pop_length", "12 to 63"]),
        ({"product": "\"a\\eb\""}, 3, ["product"]),
        ({"value": "{namespace: cfg, key: x, type: u8, value: \"300\"}"}, 3, ["cfg/x", "range"]),
        ({"value": "{namespace: cfg, key: region, type: u8, value: \"1\"}"}, 3, ["cfg/region", "twice"]),
        ({"value": "{namespace: \"c f\", key: x, type: u8, value: \"1\"}"}, 3, ["c f/x", "printable"]),
        ({"value": "{namespace: stamp, key: x, type: u8, value: \"1\"}"}, 3, ["devstamp's own"]),
        ({"subject": "CN={serial}{colour}"}, 3, ["unknown placeholder"]),
        ({"endpoint": "http://x"}, 3, ["mqtts://"]),
    ],
)
def test_bad_recipe_is_named(products, factory, changes, code, words):
    if "endpoint_ca" in changes:
        changes = {"endpoint_ca": products.folder / changes["endpoint_ca"]}
    recipe = products.recipe(factory.folder, "esp32c3", **changes)
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), code, *words)
    assert not (factory.folder / "ledger.db").exists()


def test_unexpected_key_is_named_with_its_own_line(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    text = recipe.read_text().replace("lock: {", "lok: {")
    recipe.write_text(text)
    line = [i for i, t in enumerate(text.splitlines(), 1) if t.startswith("lok:")][0]
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, f"{recipe}:{line}:", "lok")


def test_table_whose_nvs_cannot_take_the_stamp(products, factory):
    table = factory.folder / "small.csv"
    table.write_text(products.folder.joinpath("partitions.csv").read_text().replace("0x1a000,  0x6000", "0x1a000,  0x5000"))
    run(SIM, "partitions", table, "-o", table.with_suffix(".bin"))
    recipe = products.recipe(factory.folder, "esp32c3", table=table.with_suffix(".bin"))
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, "nvs is smaller than stamp", "larger")


def test_image_for_another_chip(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", app=products.image("esp32", "app", "2.0.0", signed=True,
                                                                            **{"secure-pad": True}))
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, "app image", "ESP32", "ESP32-C3")


def test_truncated_image(products, factory):
    whole = products.image("esp32c3", "mfg", "1.2.0").read_bytes()
    short = factory.folder / "short.bin"
    short.write_bytes(whole[:len(whole) - 100])
    recipe = products.recipe(factory.folder, "esp32c3", mfg=short)
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, "mfg image", "missing")


def test_unsigned_app_and_mixed_keys(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", app=products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True}))
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, "app image", "devstamp image sign")
    other = factory.folder / "other.pem"
    run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", other)
    mixed = factory.folder / "mixed.bin"
    run(DEVSTAMP, "image", "sign", "--key", other, products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True}), "-o", mixed)
    recipe = products.recipe(factory.folder, "esp32c3", app=mixed)
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 8, "different keys")


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_signature_the_chip_cannot_verify(products, factory, chip):
    key = factory.folder / "p256.pem"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    images = {"secure": products.image(chip, "secure-bootloader"),
              "app": products.image(chip, "app", "2.0.0", **{"secure-pad": True})}
    for name, image in images.items():
        signed = factory.folder / f"{name}.bin"
        run(DEVSTAMP, "image", "sign", "--key", key, image, "-o", signed)
        images[name] = signed
    recipe = products.recipe(factory.folder, chip, **images)
    fails(factory, recipe, station_with_port(factory, "tcp://127.0.0.1:1"), 3, "secure bootloader", "ECDSA", "RSA-3072")


def test_secure_bootloader_in_the_place_of_the_plain_one(products, factory):
    """A supplier would flash it, and every chip of the batch would lock itself with no identity."""
    for wrong in (True, False):
        secure = products.image("esp32c3", "secure-bootloader", signed=wrong)
        recipe = products.recipe(factory.folder, "esp32c3", bootloader=secure)
        p = run(DEVSTAMP, "image", "merge", "--recipe", recipe, "-o", factory.folder / "out.bin", ok=False)
        assert p.returncode == 8 and "plain bootloader" in p.stderr and "hint" in p.stderr
        assert not (factory.folder / "out.bin").exists()


def test_no_device(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    with socket.socket() as s:  # a port nobody listens on
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    _, doc = fails(factory, recipe, station_with_port(factory, f"tcp://127.0.0.1:{port}"), 1)
    error = doc["slots"][0]["error"]
    assert error["class"] == "device" and "slot A" in error["text"] and error["hint"]


def test_wrong_chip_for_the_recipe(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    other = products.recipe(factory.folder, "esp32")
    factory.start(f"chip=esp32,image={factory.merged(other)}")
    before = factory.flash(0)
    _, doc = fails(factory, recipe, factory.station(), 1)
    assert "ESP32" in doc["slots"][0]["error"]["text"] and doc["slots"][0]["error"]["hint"]
    assert factory.flash(0) == before


def test_same_device_in_two_slots(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    slots = [{"name": "A", "port": factory.address(0), "reset": "rfc2217"},
             {"name": "B", "port": factory.address(0, "pty"), "reset": "rfc2217"}]
    p, doc = factory.provision(recipe, factory.station(slots), ok=False)
    errors = [s["error"]["text"] for s in doc["slots"] if not s["ok"]]
    assert p.returncode == 1 and len(errors) >= 1
    assert any("also on slot" in t for t in errors), errors


def test_slot_without_reset_and_full_proof(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    before = factory.flash(0)
    slot = {"name": "A", "port": factory.address(0, "tcp"), "reset": "none"}
    _, doc = fails(factory, recipe, factory.station([slot]), 1)
    assert "cannot reset" in doc["slots"][0]["error"]["text"]
    assert factory.flash(0) == before


class Exchange(threading.Thread):
    """A wire that can be plugged from one device to another without the station's end noticing."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.other = socket.create_connection(("127.0.0.1", port))
        self.over = False
        self.seen = b""
        self.swap_at = None
        self.start()

    def run(self):
        self.server.settimeout(0.1)
        while not self.over:
            try:
                station, _ = self.server.accept()
            except TimeoutError:
                continue
            with station:
                self.serve(station)

    def serve(self, station):
        while not self.over:
            ready, _, _ = select.select([station, self.other], [], [], 0.02)
            try:
                for s in ready:
                    data = s.recv(4096)
                    if not data:
                        return
                    (self.other if s is station else station).sendall(data)
                    if s is not station:
                        self.seen += data
            except OSError:
                return
            if self.swap_at and self.swap_at[0] in self.seen:
                self.other.close()
                self.other = socket.create_connection(("127.0.0.1", self.swap_at[1]))
                self.swap_at = None


def test_device_swapped_midway(products, factory):
    """Another device comes onto the slot after the stamp: it must not be locked with the first one's identity."""
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(2)])
    wire = Exchange(factory.devices[0]["tcp"])
    wire.swap_at = (b"stamp complete", factory.devices[1]["tcp"])
    slot = {"name": "A", "port": f"tcp://127.0.0.1:{wire.port}", "reset": "none"}
    try:
        p, doc = factory.provision(recipe, factory.station([slot]), ok=False)
    finally:
        wire.over = True
        wire.join(timeout=10)
    assert wire.swap_at is None, "it was never swapped"
    # The second device is refused, or provisioned as itself; the first is not called finished.
    rows = {row["mac"]: row for row in factory.ledger()}
    assert not rows[factory.devices[0]["mac"]]["locked"]
    for mac, row in rows.items():
        assert row["serial"] in (None, "", "SN-" + mac.replace(":", "").upper())
    slot = doc["slots"][0]
    assert slot["mac"] == factory.devices[1]["mac"] or not slot["ok"]


class Babbler(threading.Thread):
    """A peer that sends what it is given, again and again, until closed."""

    def __init__(self, chunk, limit=None):
        super().__init__(daemon=True)
        self.chunk, self.limit = chunk, limit
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.over = threading.Event()
        self.start()

    def run(self):
        connection, _ = self.server.accept()
        sent = 0
        try:
            while not self.over.is_set() and (self.limit is None or sent < self.limit):
                connection.sendall(self.chunk)
                sent += len(self.chunk)
                self.over.wait(0.001)
        except OSError:
            pass
        connection.close()

    def close(self):
        self.over.set()
        self.server.close()
        self.join(timeout=10)


GARBAGE = [b"\x00\xffgarbage\r\n", b"\xc0", b"\xc0DS\x01" + b"A" * 4000, b"\xc0\x01\x08\xff\xff" + b"x" * 999]


def test_devices_that_talk_garbage(products, factory):
    """Noise, endless frames, a frame that claims more than it may: an error within the deadline, at no one else's cost."""
    recipe = products.recipe(factory.folder, "esp32c3")
    peers = [Babbler(g) for g in GARBAGE]
    slots = [{"name": f"G{i}", "port": f"tcp://127.0.0.1:{p.port}", "reset": "none"} for i, p in enumerate(peers)]
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    slots.append({"name": "good", "port": factory.address(0), "reset": "rfc2217"})
    try:
        _, doc = fails(factory, recipe, factory.station(slots), 1)
    finally:
        for p in peers:
            p.close()
    for slot in doc["slots"][:-1]:
        assert slot["error"]["class"] == "device" and slot["error"]["hint"], slot
    assert doc["slots"][-1]["ok"]


def test_port_that_vanishes_midway(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    peer = Babbler(b"I (12) boot: hello\r\n", limit=200)
    try:
        _, doc = fails(factory, recipe, station_with_port(factory, f"tcp://127.0.0.1:{peer.port}"), 1)
    finally:
        peer.close()
    assert doc["slots"][0]["error"]["class"] == "device"


def test_two_utilities_on_one_station(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    silent = socket.create_server(("127.0.0.1", 0))
    station = station_with_port(factory, f"tcp://127.0.0.1:{silent.getsockname()[1]}")
    first = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    try:
        silent.accept()  # the first one is at work
        fails(factory, recipe, station, 6, "in use", str(first.pid))
    finally:
        first.kill()
        first.communicate()
        silent.close()


def test_missing_arguments_show_usage():
    p = run(DEVSTAMP, "provision", ok=False)
    assert p.returncode == 2 and "usage:" in p.stderr
    p = run(DEVSTAMP, "frobnicate", ok=False)
    assert p.returncode == 2 and "no verb 'frobnicate'" in p.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_disk_under_the_ledger(products, factory):
    """The step fails with the store named; after room was made the same run goes on, with one certificate."""
    recipe = products.recipe(factory.folder, "esp32c3")
    small = factory.folder / "small"
    small.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", small, ok=False).returncode != 0:
        pytest.skip("no mount allowed here")
    try:
        factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
        station = factory.station(ledger=small / "ledger.db")
        filler = small / "filler"
        with open(filler, "wb", buffering=0) as f:
            try:
                while f.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        p, doc = factory.provision(recipe, station, ok=False)
        assert p.returncode in (1, 6)
        assert "full" in (p.stderr + p.stdout) or "space" in (p.stderr + p.stdout)
        filler.unlink()
        _, doc = factory.provision(recipe, station)
        assert doc["passed"] == 1
        check = run(DEVSTAMP, "ledger", "check", "--ledger", small / "ledger.db")
        assert check.returncode == 0
    finally:
        factory.stop()
        wait_for(lambda: run("umount", small, ok=False).returncode == 0, what="umount")
