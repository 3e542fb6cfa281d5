# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The seal's format (docs/seal.md), read and written without any of devstamp's own code: libsodium for Argon2id and
XChaCha20-Poly1305, Python's own library for the rest. Run as a program it makes the test vectors: sealed.py FOLDER."""

import ctypes
import ctypes.util
import hashlib
import json
import pathlib
import struct
import sys

KINDS = {1: "recipe", 2: "token", 3: "Sub CA", 4: "key", 5: "quota", 6: "station", 7: "computer"}
PASSPHRASE, KEY_FILE, CREDENTIAL, TPM = 1, 2, 3, 4
WRAP_AD = b"devstamp wrap 1"

sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
assert sodium.sodium_init() >= 0


def blake2b(data, person, salt=b""):
    return hashlib.blake2b(data, digest_size=32, salt=salt, person=person).digest()


def argon2id(passphrase, salt, passes, memory_kib):
    out = ctypes.create_string_buffer(32)
    assert sodium.crypto_pwhash_argon2id(out, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)), salt,
                                         ctypes.c_ulonglong(passes), ctypes.c_size_t(memory_kib * 1024), 2) == 0
    return out.raw


def encrypt(key, nonce, plain, ad):
    out = ctypes.create_string_buffer(len(plain) + 16)
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(out, None, plain, ctypes.c_ulonglong(len(plain)), ad,
                                                      ctypes.c_ulonglong(len(ad)), None, nonce, key)
    return out.raw


def decrypt(key, nonce, sealed, ad):
    out = ctypes.create_string_buffer(len(sealed) - 16)
    bad = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(out, None, None, sealed, ctypes.c_ulonglong(len(sealed)), ad,
                                                            ctypes.c_ulonglong(len(ad)), nonce, key)
    return None if bad else out.raw


def digest_of(what, *fields):
    """What a part is tied to: SHA-256 over a name and fields, each behind its length."""
    h = hashlib.sha256(what + b"\0")
    for f in fields:
        f = f.encode() if isinstance(f, str) else f
        h.update(struct.pack("<I", len(f)) + f)
    return h.digest()


def recipe_digest(recipe, product, subject, serial, uri, key_type, days):
    return digest_of(b"devstamp recipe 1", recipe, product, subject, serial, uri, struct.pack("<I", key_type),
                     struct.pack("<I", days))


class Seal:
    """A seal as it is in its file; attributes as docs/seal.md names them."""

    def __init__(self, data):
        self.data, self.at = data, 0
        assert self.take(6) == b"DSSEAL" and self.number("<H") == 1 and self.number("<I") == len(data)
        assert hashlib.sha256(data[:-32]).digest() == data[-32:]
        self.created, self.mode = self.number("<q"), self.number("B")
        parts, unlockers, zero = self.number("B"), self.number("B"), self.number("B")
        assert zero == 0
        self.parts = [(KINDS[self.number("B")], self.text(), self.take(32)) for _ in range(parts)]
        self.unlockers = [(self.number("B"), self.text(), self.take(self.number("<H"))) for _ in range(unlockers)]
        self.wraps = [self.take(72) for _ in range(1 if self.mode == 2 else unlockers)]
        self.nonce, size = self.take(24), self.number("<I")
        self.head = data[:self.at]
        self.ciphertext = self.take(size)
        assert self.at == len(data) - 32

    def take(self, n):
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self):
        return self.take(self.number("B")).decode("ascii")

    def share(self, i, secret):
        kind, _, body = self.unlockers[i]
        if kind == TPM:
            return secret
        if kind == PASSPHRASE:
            return argon2id(secret, body[:16], *struct.unpack("<II", body[16:]))
        return blake2b(secret, b"devstamp key 1", body)

    def open(self, secrets):
        """secrets: {index of the unlocker: passphrase, key or share}; the secrets by name, None where they do not open it."""
        shares = {i: self.share(i, s) for i, s in secrets.items()}
        if self.mode == 2:
            keys = [(blake2b(b"".join(shares[i] for i in range(len(self.unlockers))), b"devstamp all 1"), self.wraps[0])]
        else:
            keys = [(blake2b(s, b"devstamp any 1"), self.wraps[i]) for i, s in shares.items()]
        for key, wrap in keys:
            data_key = decrypt(key, wrap[:24], wrap[24:], WRAP_AD)
            plain = data_key and decrypt(data_key, self.nonce, self.ciphertext, self.head)
            if plain:
                return entries(plain)
        return None


def entries(plain):
    out, at = {}, 0
    while plain[at]:
        name = plain[at + 1:at + 1 + plain[at]].decode()
        at += 1 + plain[at]
        size = struct.unpack_from("<H", plain, at)[0]
        out[name], at = plain[at + 2:at + 2 + size], at + 2 + size
    assert not any(plain[at:]) and len(plain) % 256 == 0
    return out


def make(created, all_of_them, parts, unlockers, pin, pattern):
    """Bytes of a seal whose randomness is counted up from pattern: (the bytes, what was computed on the way)."""
    def random(n):
        random.count += 1
        return hashlib.shake_256(f"{pattern} {random.count}".encode()).digest(n)
    random.count = 0

    head = struct.pack("<qBBBB", created, 2 if all_of_them else 1, len(parts), len(unlockers), 0)
    for kind, text, digest in parts:
        head += struct.pack("BB", kind, len(text)) + text.encode() + digest
    shares = []
    for kind, label, secret, *costs in unlockers:
        salt = random(16)
        body = salt + (struct.pack("<II", *costs) if kind == PASSPHRASE else b"")
        shares.append(argon2id(secret, salt, *costs) if kind == PASSPHRASE else blake2b(secret, b"devstamp key 1", salt))
        head += struct.pack("BB", kind, len(label)) + label.encode() + struct.pack("<H", len(body)) + body
    data_key = random(32)
    keys = [blake2b(b"".join(shares), b"devstamp all 1")] if all_of_them else [blake2b(s, b"devstamp any 1") for s in shares]
    for key in keys:
        nonce = random(24)
        head += nonce + encrypt(key, nonce, data_key, WRAP_AD)
    plain = b"\3pin" + struct.pack("<H", len(pin)) + pin
    plain += bytes(256 - len(plain) % 256)
    nonce = random(24)
    head += nonce + struct.pack("<I", len(plain) + 16)
    head = b"DSSEAL" + struct.pack("<HI", 1, 12 + len(head) + len(plain) + 16 + 32) + head
    body = head + encrypt(data_key, nonce, plain, head)
    steps = {"shares": [s.hex() for s in shares], "wrapping_keys": [k.hex() for k in keys], "data_key": data_key.hex(),
             "plain": plain.hex()}
    return body + hashlib.sha256(body).digest(), steps


PIN, FIRST, SECOND, KEY = b"271828", b"correct horse battery", b"staple staple staple", b"\x11" * 40


def vectors():
    """{file name: bytes}: seals for the configuration that the unit tests have, and how they are made."""
    lamp = recipe_digest(b"\xa0" * 32, "lamp", "CN={serial}", "SN{counter:4}", "", 3, 1)
    plug = recipe_digest(b"\xa1" * 32, "plug", "CN={mac}", "{mac}", "urn:x", 1, 0)
    uri, module, token = "pkcs11:token=line;object=subca", "/usr/lib/m.so", "0123456789abcdef"
    parts = [(1, "lamp", lamp), (1, "plug", plug), (2, token, digest_of(b"devstamp token 1", token)),
             (3, "CN=Sub CA", b"\xca" * 32), (4, uri, digest_of(b"devstamp key 1", uri, module, "")),
             (5, "quota file", b"\x90" * 32), (6, "line-1", digest_of(b"devstamp station 1", "line-1")),
             (7, "line-pc", b"\x3c" * 32)]
    out, steps = {}, {"pin": PIN.decode(), "passphrases": [FIRST.decode(), SECOND.decode()], "key": KEY.hex()}
    out["any.seal"], steps["any.seal"] = make(1800000000, False, parts, [(PASSPHRASE, "", FIRST, 2, 1024),
                                              (CREDENTIAL, "pin.key", KEY)], PIN, "any")
    out["all.seal"], steps["all.seal"] = make(1800000000, True, parts, [(PASSPHRASE, "first shift", FIRST, 1, 1024),
                                              (PASSPHRASE, "second shift", SECOND, 1, 2048), (KEY_FILE, "key", KEY)],
                                              PIN, "all")
    out["vectors.json"] = (json.dumps(steps, indent=1) + "\n").encode()
    return out


if __name__ == "__main__":
    for name, data in vectors().items():
        (pathlib.Path(sys.argv[1]) / name).write_bytes(data)
