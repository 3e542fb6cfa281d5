# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Prints the vectors of tests/unit/test_esp_dsig.c and test_agent_core_keyds.c: the data of the digital-signature peripheral
for the test keys, computed here from its definition alone, and what it signs. Run: python3 tests/data/dsig/vectors.py"""

import hashlib
import hmac
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

DATA = pathlib.Path(__file__).parent
HMAC_KEY = bytes(range(32))
IV = bytes(range(0x20, 0x30))


def little(number, bits):
    return number.to_bytes(bits // 8, "little")


def data_of(key, chip_bits):
    numbers = key.private_numbers()
    n, bits = numbers.public_numbers.n, key.key_size
    y, m, rb = (little(v, chip_bits) for v in (numbers.d, n, pow(2, 2 * bits, n)))
    tail = struct.pack("<II", -pow(n, -1, 1 << 32) % (1 << 32), bits // 32 - 1)
    md = hashlib.sha256(y + m + rb + tail + IV).digest()
    aes = hmac.new(HMAC_KEY, b"\xff" * 32, hashlib.sha256).digest()
    cbc = Cipher(algorithms.AES(aes), modes.CBC(IV)).encryptor()
    c = cbc.update(y + m + rb + md + tail + b"\x08" * 8) + cbc.finalize()
    return struct.pack("<I", bits // 32 - 1) + IV + c


def main():
    for path in (DATA / "test-rsa2048.pem", DATA.parent / "sbv2/test-rsa3072.pem"):
        key = load_pem_private_key(path.read_bytes(), None)
        numbers = key.private_numbers()
        size = key.key_size // 8
        message = bytes(i & 0xFF for i in range(size))  # its first byte is 0: below the modulus
        signed = pow(int.from_bytes(message, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
        for chip_bits in (3072, 4096):
            data = data_of(key, chip_bits)
            print(path.name, chip_bits, len(data), hashlib.sha256(data).hexdigest())
        print(path.name, "signs", hashlib.sha256(signed).hexdigest())
    for seed in ("5a5abeae", "a5a5dece"):
        print("nvs", hmac.new(HMAC_KEY, bytes.fromhex(seed) * 8, hashlib.sha256).hexdigest())


if __name__ == "__main__":
    main()
