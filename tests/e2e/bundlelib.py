# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Release bundles read and made without any of devstamp's own code, by docs/bundle.md alone; keys of releases; eFuses."""

import hashlib
import json
import pathlib
import re
import struct
import sys
import tempfile

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from factory import DEVSTAMP, run

ROLES = {1: b"release", 2: b"approval"}


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def key_id(spki):
    return "sha256:" + hashlib.sha256(spki).hexdigest()


class Key:
    """A key of a release or an approver, in a file."""

    def __init__(self, folder, name, kind="ec"):
        self.path = pathlib.Path(folder) / f"{name}.pem"
        self.private = (ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else
                        ec.generate_private_key(ec.SECP384R1()) if kind == "p384" else
                        rsa.generate_private_key(65537, 2048))
        self.path.touch(mode=0o600)
        self.path.write_bytes(self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                         serialization.NoEncryption()))
        self.public = self.path.with_suffix(".pub")
        self.public.write_bytes(self.private.public_key().public_bytes(serialization.Encoding.PEM,
                                                                       serialization.PublicFormat.SubjectPublicKeyInfo))
        self.spki = self.private.public_key().public_bytes(serialization.Encoding.DER,
                                                           serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = key_id(self.spki)

    def sign(self, message):
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        big = self.private.curve.key_size == 384
        return self.private.sign(message, ec.ECDSA(hashes.SHA384() if big else hashes.SHA256()))


class Bundle:
    """A bundle's parts; raises ValueError where the bytes are none."""

    def __init__(self, data):
        magic, form, size = struct.unpack_from("<8sII", data)
        if magic != b"DSBUNDLE" or form != 1:
            raise ValueError("no bundle")
        self.text, at = data[16:16 + size], 16 + size
        self.manifest = json.loads(self.text)
        assert canonical(self.manifest) == self.text
        self.parts, self.signatures = {}, []
        for f in self.manifest["files"]:
            self.parts[f["part"]] = data[at:at + f["size"]]
            assert hashlib.sha256(self.parts[f["part"]]).hexdigest() == f["sha256"]
            at += f["size"]
        count, at = struct.unpack_from("<I", data, at)[0], at + 4
        for _ in range(count):
            role, key, signature = struct.unpack_from("<IHH", data, at)
            at += 8
            self.signatures.append((role, data[at:at + key], data[at + key:at + key + signature]))
            at += key + signature
        assert at == len(data)

    def write(self):
        out = struct.pack("<8sII", b"DSBUNDLE", 1, len(self.text)) + self.text + b"".join(self.parts.values())
        out += struct.pack("<I", len(self.signatures))
        for role, key, signature in self.signatures:
            out += struct.pack("<IHH", role, len(key), len(signature)) + key + signature
        return out

    def sign(self, role, key):
        self.signatures.append((role, key.spki, key.sign(self.message(role))))

    def digest(self):
        return hashlib.sha256(self.text).hexdigest()

    def message(self, role):
        return b"devstamp bundle " + ROLES[role] + b"\0" + self.text


def create(recipe, release=1, *keys):
    """devstamp bundle create and sign; the bundle's path."""
    path = recipe.with_suffix(f".{release}.bundle")
    run(DEVSTAMP, "bundle", "create", "--recipe", recipe, "--release", release, "-o", path)
    for key in keys:
        run(DEVSTAMP, "bundle", "sign", "--key", key.path, path)
    return path


def fields(chip):
    """{name: (block, first bit, bits)}: the table that the program has."""
    text = (pathlib.Path(__file__).parents[2] / f"src/esp/efuse_{chip}.c").read_text()
    found = re.findall(r'\{"(\w+)", (\d+), (\d+), (\d+), -?\d+, -?\d+\}', text.split("_fields[]")[1])
    return {name: tuple(map(int, where)) for name, *where in found}


def fuses(path, chip):
    """The blocks of a virtual device as numbers, as they are burned; layout in sim/efuse.h."""
    data = path.read_bytes()[288 if chip == "esp32" else 512:]
    assert data.startswith(b"DSFUSE1\0")
    rows = data[12 + 44:]
    return [int.from_bytes(rows[44 * i:44 * i + 32], "little") for i in range(11)]


def vectors():
    """{file name: bytes}: a bundle for tests/unit/test_signer_bundle.c, with a release and an approval by keys thrown away."""
    b = Bundle.__new__(Bundle)
    b.parts, b.signatures = {"recipe": b"recipe: 1\n", "app": b"\xe9" * 64}, []
    b.manifest = {
        "bundle": 1, "product": "lamp", "chip": "esp32c3", "lock": "release", "created": "2027-01-15T08:00:00Z", "release": 7,
        "files": [{"part": n, "sha256": hashlib.sha256(d).hexdigest(), "size": len(d)} for n, d in b.parts.items()],
        "mfg": {"version": "1.2.0", "min_version": "1.2.0"},
        "app": {"version": "2.0.0", "min_version": "1.9.0", "secure_version": 3}, "trusted": ["a5" * 32],
        "burns": [{"field": "SECURE_BOOT_EN", "value": "0x1", "when": "first-boot"}]}
    b.text = canonical(b.manifest)
    with tempfile.TemporaryDirectory() as folder:
        b.sign(1, Key(folder, "release"))
        b.sign(2, Key(folder, "approver", "rsa"))
    order = canonical({"devstamp": "signing order 1", "what": "release", "manifest": b.text.decode()}) + b"\n"
    return {"lamp.bundle": b.write(), "lamp.order": order}


if __name__ == "__main__":
    for file, content in vectors().items():
        (pathlib.Path(sys.argv[1]) / file).write_bytes(content)
