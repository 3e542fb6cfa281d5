# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Virtual devices that boot: images of devstamp-sim's own making, signed by this test, locked, and attacked."""

import hashlib
import struct
import time
import zlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from simlib import Rom, run_sim, wait_for

TABLE = "otadata, data, ota, 0x11000, 0x2000\nota_0, app, ota_0, 0x20000, 0x40000\nota_1, app, ota_1, 0x60000, 0x40000\n"
BOOTLOADER_AT = {"esp32": 0x1000, "esp32c3": 0}
CHIPS = ["esp32", "esp32c3"]


def sign(image, key):
    """A Secure Boot V2 RSA-3072 signature sector behind an image, by ESP-IDF's secure-boot-v2.rst."""
    image = image.ljust(-(-len(image) // 4096) * 4096, b"\xff")
    digest = hashlib.sha256(image).digest()
    n = key.private_numbers().public_numbers.n
    e = key.private_numbers().public_numbers.e
    signature = key.sign(digest, padding.PSS(padding.MGF1(hashes.SHA256()), 32), utils.Prehashed(hashes.SHA256()))
    block = struct.pack("<BBH32s", 0xE7, 2, 0, digest)
    block += n.to_bytes(384, "little") + struct.pack("<I", e)
    block += (2**6144 % n).to_bytes(384, "little") + struct.pack("<I", -pow(n, -1, 2**32) % 2**32)
    block += signature[::-1]
    block += struct.pack("<I16x", zlib.crc32(block))
    assert len(block) == 1216
    return image + block.ljust(4096, b"\xff")


@pytest.fixture(scope="module")
def signing_keys():
    return [rsa.generate_private_key(65537, 3072) for _ in range(2)]


@pytest.fixture
def firmware(tmp_path):
    """firmware(chip, kind, ...) makes an image and returns its bytes."""

    def make(chip, kind, *options):
        run_sim("image", "--chip", chip, "--kind", kind, "-o", tmp_path / "image.bin", *options)
        return (tmp_path / "image.bin").read_bytes()

    return make


@pytest.fixture
def merged(tmp_path):
    """merged(chip, bootloader, app, ...) writes a whole flash image with app in ota_0."""

    def make(chip, bootloader, app, app_1=b""):
        (tmp_path / "table.csv").write_text(TABLE)
        run_sim("partitions", tmp_path / "table.csv", "-o", tmp_path / "table.bin")
        flash = bytearray(b"\xff" * 0xA0000)
        parts = [(BOOTLOADER_AT[chip], bootloader), (0x10000, (tmp_path / "table.bin").read_bytes())]
        for at, data in [*parts, (0x20000, app), (0x60000, app_1)]:
            flash[at : at + len(data)] = data
        (tmp_path / "merged.bin").write_bytes(flash)
        return tmp_path / "merged.bin"

    return make


class Log:
    """What a device's console said, as it comes."""

    def __init__(self, wire):
        self.wire = wire
        self.text = b""

    def wait(self, text, timeout=20.0):
        """Read until text; returns what was read up to it and forgets that."""
        end = time.monotonic() + timeout
        text = text.encode()
        while text not in self.text:
            assert time.monotonic() < end, f"{text!r} not in {self.text[-2000:]!r}"
            self.text += self.wire.read(4096)
        before, self.text = self.text.split(text, 1)
        return (before + text).decode(errors="replace")


def boot(sim, log, device=0):
    sim.ctl(device, "off")
    while log.wire.read(4096):
        pass
    log.text = b""
    sim.ctl(device, "on")


@pytest.mark.parametrize("chip", CHIPS)
def test_plain_image_boots_and_survives_a_software_reset(simulation, tcp, firmware, merged, chip):
    image = merged(chip, firmware(chip, "bootloader"), firmware(chip, "mfg", "--version", "1.2.3"))
    sim = simulation(f"chip={chip},image={image},power=off")
    log = Log(tcp(sim.port()))
    sim.ctl(0, "on")
    log.wait("(POWERON")
    log.wait("Loaded app from partition at offset 0x20000")
    time.sleep(0.3)
    assert sim.status()["crashes"] == 0
    assert sim.status()["runs"] == 1


@pytest.mark.parametrize("chip", CHIPS)
def test_damaged_app_gives_way_to_the_other(simulation, tcp, firmware, merged, chip):
    app = bytearray(firmware(chip, "app"))
    app[len(app) // 2] ^= 1
    image = merged(chip, firmware(chip, "bootloader"), bytes(app), firmware(chip, "mfg"))
    sim = simulation(f"chip={chip},image={image},power=off")
    log = Log(tcp(sim.port()))
    sim.ctl(0, "on")
    log.wait("OTA app partition slot 0 is not bootable")
    log.wait("Loaded app from partition at offset 0x60000")


def test_image_for_another_chip_does_not_boot(simulation, tcp, firmware, merged):
    image = merged("esp32c3", firmware("esp32c3", "bootloader"), firmware("esp32", "app"))
    sim = simulation(f"chip=esp32c3,image={image},power=off")
    log = Log(tcp(sim.port()))
    sim.ctl(0, "on")
    log.wait("mismatch chip ID, expected 5, found 0")
    log.wait("No bootable app partitions")


def test_blank_flash_says_so_again_and_again(simulation, tcp):
    sim = simulation("chip=esp32c3")
    log = Log(tcp(sim.port()))
    for _ in range(3):
        log.wait("invalid header: 0xffffffff")
    assert sim.status()["crashes"] == 0


def secure_device(simulation, firmware, merged, chip, key, *boot_options, fault=""):
    bootloader = sign(firmware(chip, "secure-bootloader", *boot_options), key)
    app = sign(firmware(chip, "app", "--secure-pad", "--version", "2.0.0"), key)
    image = merged(chip, bootloader, app, firmware(chip, "mfg"))
    return simulation(f"chip={chip},image={image},power=off{fault}"), bootloader, app


def locked(sim, log):
    """Wait for the first boot to end and the locked device to run its app."""
    log.wait("Loaded app from partition")  # before encryption
    log.wait("rst:")
    log.wait("Loaded app from partition")


@pytest.mark.parametrize("chip", CHIPS)
def test_secure_first_boot_locks_and_attacks_fail(simulation, tcp, firmware, merged, signing_keys, tmp_path, chip):
    ours, theirs = signing_keys
    sim, bootloader, app = secure_device(simulation, firmware, merged, chip, ours)
    log = Log(tcp(sim.port()))
    sim.ctl(0, "on")
    locked(sim, log)

    # The flash shows neither; the chip's own view shows both.
    where = ("--state", sim.state, "--device", 0)
    with open(sim.devices[0]["flash"], "rb") as f:
        raw = f.read()
    at = BOOTLOADER_AT[chip]
    assert raw[at : at + 32] != bootloader[:32] and raw[0x20000:0x20020] != app[:32]
    assert app[0x20:0x60] not in raw and bootloader[0x20:0x60] not in raw
    run_sim("decrypt", *where, "-o", tmp_path / "plain.bin")
    plain = (tmp_path / "plain.bin").read_bytes()
    assert plain[at : at + len(bootloader)] == bootloader
    assert plain[0x20000 : 0x20000 + len(app)] == app

    def attack(data, verb="tamper"):
        (tmp_path / "attack.bin").write_bytes(data)
        sim.ctl(0, "off")
        run_sim("flash", *where, verb, at, tmp_path / "attack.bin")
        boot(sim, log)

    attack(bootloader, "load")  # plain text into an encrypted flash
    log.wait("invalid header")
    unsigned = bootloader[:-4096] + b"\xff" * 4096
    attack(unsigned)
    log.wait("secure boot verification failed")
    attack(sign(bootloader[:-4096], theirs))
    log.wait("secure boot verification failed")
    changed = bytearray(bootloader)
    changed[-4096 - 200] ^= 1
    attack(bytes(changed))
    log.wait("secure boot verification failed")
    attack(bootloader)  # what was there before
    log.wait("Loaded app from partition")
    assert sim.status()["crashes"] == 0


def test_power_cuts_during_first_boot_leave_no_running_stranger(simulation, tcp, firmware, merged, signing_keys):
    """Cut anywhere, the device either goes on by itself, or waits in the ROM to be flashed again."""
    chip = "esp32c3"
    sim, bootloader, app = secure_device(
        simulation, firmware, merged, chip, signing_keys[0], "--development", fault=",fault=cut@2000"
    )
    log = Log(tcp(sim.port()))
    sim.ctl(0, "on")
    wait_for("power cut and back", lambda: sim.status()["runs"] > 1)
    log.wait("rst:0x1 (POWERON)")
    log.wait("invalid header")  # its bootloader is ciphertext while the crypt count is still even
    # Download mode is still open: flash again, plain, and it carries on with the keys it has.
    sim.ctl(0, "download")
    log.wait("waiting for download")
    rom = Rom(log.wire)
    rom.sync()
    rom.attach()
    flash = (sim.state.parent / "merged.bin").read_bytes()
    for address, length in [(0, len(bootloader)), (0x10000, 0x1000), (0x20000, len(app))]:
        data = flash[address : address + length]
        assert rom.write_flash(address, data, timeout=10) == length
    sim.ctl(0, "reset")
    locked(sim, log)
    assert sim.status()["crashes"] == 0
