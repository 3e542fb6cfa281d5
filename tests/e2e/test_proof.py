# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The proof of a locked device: who can forge it, what it demands, and that others can verify it later."""

import json
import sqlite3
import struct
import zlib

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from agentlib import Agent, Forger, field, fields
from factory import DEVSTAMP, SIM, run

TAG = b"devstamp report 1\0"
RELEASE_MODE, DOWNLOAD = 4, 5  # fields of Evidence
OTADATA, OTA_1 = 0x11000, 0x200000


def proofs(factory):
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    return [(bool(whole), json.loads(text)) for whole, text in db.execute("select whole, json from proof order by id")]


def locked(factory):
    return [bool(d["locked"]) for d in factory.ledger()]


def certificate(factory, serial):
    p = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--pem", serial)
    return x509.load_pem_x509_certificate(p.stdout[p.stdout.index("-----BEGIN CERTIFICATE-----"):].encode())


def verify(cert, nonce, evidence, signature):
    key, message = cert.public_key(), TAG + nonce + evidence
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    else:
        digest = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
        key.verify(signature, message, ec.ECDSA(digest))


@pytest.mark.parametrize("chip,key", [("esp32", "rsa-2048"), ("esp32c3", "ecdsa-p256"), ("esp32c3", "ecdsa-p384")])
def test_stored_proof_can_be_verified_by_others(products, factory, chip, key):
    recipe = products.recipe(factory.folder, chip, key=key, proof="report")
    factory.start(f"chip={chip},image={factory.merged(recipe)}")
    _, doc = factory.provision(recipe, factory.station())
    serial = doc["slots"][0]["serial"]
    cert = certificate(factory, serial)
    ((whole, proof),) = proofs(factory)
    assert whole and proof["report_signed"]["ok"]
    nonce, evidence, signature = (bytes.fromhex(proof[k]) for k in ("nonce", "evidence", "signature"))
    assert len(nonce) == 32
    verify(cert, nonce, evidence, signature)
    with pytest.raises(InvalidSignature):
        verify(cert, nonce, evidence + field(RELEASE_MODE, 1), signature)
    said = fields(evidence)
    assert said[10].decode() == serial and said[RELEASE_MODE] == 1
    # The device signs whatever nonce it is asked with, and nothing but a whole one.
    with Agent(factory.devices[0]["tcp"]) as agent:
        verify(cert, b"n" * 32, *agent.report(b"n" * 32))
        status, _ = agent.call(Agent.REPORT, field(1, b"n" * 31))
        assert status >> 16 & 0xFF == 1


def claim_release(body):
    r = fields(body)
    return field(1, r[1] + field(RELEASE_MODE, 1)) + field(2, r[2])


def unsigned(body):
    return field(1, fields(body)[1] + field(RELEASE_MODE, 1))


@pytest.mark.parametrize("forge", [claim_release, unsigned])
def test_forged_report_is_not_believed(products, factory, forge):
    """A device whose bootloader was built for development, and a wire that says otherwise."""
    weak = products.image("esp32c3", "secure-bootloader", signed=True, development=True)
    recipe = products.recipe(factory.folder, "esp32c3", secure=weak, proof="report")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    wire = Forger(factory.devices[0]["tcp"], forge)
    slot = {"name": "A", "port": f"tcp://127.0.0.1:{wire.port}", "reset": "none"}
    p, doc = factory.provision(recipe, factory.station([slot]), ok=False)
    wire.close()
    assert wire.forged
    assert p.returncode != 0 and "report_signed" in doc["slots"][0]["error"]["text"]
    assert locked(factory) == [False]
    ((whole, proof),) = proofs(factory)
    assert not whole and set(k for k, v in proof.items() if isinstance(v, dict)) == {"report_signed"}


def test_old_report_is_not_believed(products, factory):
    """A report that was true once, shown again."""
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station = factory.station()
    factory.provision(recipe, station)
    with Agent(factory.devices[0]["tcp"]) as agent:
        evidence, signature = agent.report(b"old!" * 8)
    wire = Forger(factory.devices[0]["tcp"], lambda body: field(1, evidence) + field(2, signature))
    slot = {"name": "A", "port": f"tcp://127.0.0.1:{wire.port}", "reset": "none"}
    p, doc = factory.provision(recipe, factory.station([slot]), ok=False)
    wire.close()
    assert p.returncode != 0 and "report_signed" in doc["slots"][0]["error"]["text"]
    # An honest wire changes nothing, and the device is what it was.
    wire = Forger(factory.devices[0]["tcp"], lambda body: body)
    slot["port"] = f"tcp://127.0.0.1:{wire.port}"
    factory.provision(recipe, factory.station([slot]))
    wire.close()
    assert [whole for whole, _ in proofs(factory)] == [True, False, True]


def test_download_mode_is_exactly_what_the_recipe_says(products, factory):
    closing = products.recipe(factory.folder, "esp32c3", "closing", close_download="true")
    leaving = products.recipe(factory.folder, "esp32c3", "leaving", close_download="false")
    factory.start(f"chip=esp32c3,image={factory.merged(closing)}")
    station = factory.station()
    factory.provision(closing, station)
    p, doc = factory.provision(leaving, station, ok=False)
    assert p.returncode != 0 and "download_mode: closed" in doc["slots"][0]["error"]["text"]
    factory.provision(closing, station)


def test_device_that_took_an_update_is_proved_too(products, factory):
    """It runs from ota_1, where it ended its trial; the wrongly signed image is offered to, and refused in, the other."""
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station = factory.station()
    factory.provision(recipe, station)
    update = products.image("esp32c3", "app", "2.1.0", signed=True, **{"secure-pad": True, "secure-version": "3"})
    seq = struct.pack("<I", 2)
    otadata = factory.folder / "otadata.bin"
    otadata.write_bytes((seq + b"\xff" * 20 + bytes(4) + struct.pack("<I", zlib.crc32(seq, 0xFFFFFFFF))).ljust(0x2000, b"\xff"))
    factory.ctl(0, "off")
    for address, path in ((OTA_1, update), (OTADATA, otadata)):
        run(SIM, "flash", "--state", factory.state, "--device", 0, "tamper", hex(address), path)
    factory.ctl(0, "on")
    with Agent(factory.devices[0]["tcp"]) as agent:
        assert agent.boot_partition() == "ota_1"
        evidence, _ = agent.report(bytes(32))
        assert fields(evidence)[14] == 3  # secure_version: older images are refused from now on
    factory.provision(recipe, station)
    _, proof = proofs(factory)[-1]
    assert proof["wrongly_signed_image_refused"]["ok"] and "bad signature" in proof["wrongly_signed_image_refused"]["seen"]
    with Agent(factory.devices[0]["tcp"]) as agent:
        assert agent.boot_partition() == "ota_1"
