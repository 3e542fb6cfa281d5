# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The main job: fresh devices come off the line with their own key, certified, stamped, locked, and provably so."""

import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from factory import DEVSTAMP, SIM, STAMP, run, wait_for


def certificate_of(factory, serial):
    p = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--pem", serial)
    pem = p.stdout[p.stdout.index("-----BEGIN CERTIFICATE-----"):]
    return x509.load_pem_x509_certificate(pem.encode())


def states(document, slot=0):
    return {s["name"]: s["state"] for s in document["slots"][slot]["steps"]}


def test_both_chips_are_provisioned_and_locked(products, factory):
    recipes = [products.recipe(factory.folder, c) for c in ("esp32", "esp32c3")]
    images = [factory.merged(r) for r in recipes]
    factory.start(*[f"chip={c},image={i}" for c, i in zip(("esp32", "esp32c3"), images)])
    _, doc = factory.provision(recipes, factory.station())
    assert (doc["passed"], doc["failed"]) == (2, 0)
    for slot in (0, 1):
        assert set(states(doc, slot).values()) <= {"done", "skipped"}
        serial = doc["slots"][slot]["serial"]
        cert = certificate_of(factory, serial)
        check_certificate(products, cert, serial, rsa_key=slot == 0)
        check_flash(factory, slot, serial, cert)
    assert factory.ledger_is_whole().returncode == 0
    check_proofs(factory)


def check_certificate(products, cert, serial, rsa_key):
    ca = x509.load_pem_x509_certificate((products.folder / "ca/subca.pem").read_bytes())
    assert cert.issuer == ca.subject
    # As the recipe says, in the order it says it.
    assert [a.value for a in cert.subject] == [serial, "Example"]
    key = cert.public_key()
    if rsa_key:
        assert isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    extensions = cert.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ski = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert ski == x509.SubjectKeyIdentifier.from_public_key(key)
    aki = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ca_ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert aki.key_identifier == ca_ski.digest
    assert cert.serial_number.bit_length() > 64
    assert cert.not_valid_after.year == 9999
    pem = products.folder / f"{serial}.pem"
    pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    run("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", products.folder / "ca/root.pem",
        "-untrusted", products.folder / "ca/subca.pem", pem)


def check_flash(factory, slot, serial, cert):
    """What an attacker reads from the flash chip holds none of the stamp; what the chip itself reads does."""
    factory.ctl(slot, "off")
    flash = factory.flash(slot)
    assert len(flash) == 4 << 20
    der = cert.public_bytes(serialization.Encoding.DER)
    for secret in (serial.encode(), der, der[64:96], b"mqtts://", b"BEGIN CERTIFICATE"):
        assert secret not in flash
    stamp = flash[STAMP[0]:STAMP[0] + STAMP[1]]
    assert stamp == b"\xff" * len(stamp)
    clear = factory.folder / "clear.bin"
    run(SIM, "decrypt", "--state", factory.state, "--device", slot, "-o", clear)
    # The app decrypts to what was built, byte for byte.
    doc = factory.products.image("esp32" if slot == 0 else "esp32c3", "app", "2.0.0", signed=True, **{"secure-pad": True})
    app = doc.read_bytes()
    assert clear.read_bytes()[0x20000:0x20000 + len(app)] == app
    assert flash[0x20000:0x20000 + len(app)] != app
    factory.ctl(slot, "on")


def check_proofs(factory):
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    proofs = [json.loads(r[0]) for r in db.execute("select json from proof")]
    assert len(proofs) == 2
    for p in proofs:
        findings = {k: v["ok"] for k, v in p.items() if isinstance(v, dict)}
        assert all(findings.values()), p
        assert {"secure_boot", "flash_encryption", "release_mode", "jtag_disabled", "plain_stamp_erased", "flash_read",
                "wrongly_signed_image_refused", "key_read", "trusts_only_our_key"} <= set(findings)


def test_second_run_changes_nothing(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station = factory.station()
    _, first = factory.provision(recipe, station)
    before = certificate_of(factory, first["slots"][0]["serial"])
    _, second = factory.provision(recipe, station)
    assert second["slots"][0]["serial"] == first["slots"][0]["serial"]
    again = states(second)
    assert again.pop("connect") == "done" and again.pop("proof") == "done"
    assert set(again.values()) == {"skipped"}
    assert certificate_of(factory, first["slots"][0]["serial"]) == before
    assert len(factory.ledger()) == 1


def test_old_firmware_is_reflashed(products, factory):
    """A device with older mfg and app images gets the recipe's, and only then makes its key."""
    old = products.recipe(factory.folder, "esp32", "old", mfg=products.image("esp32", "mfg", "1.0.0"), mfg_min="1.0.0",
                          app=products.image("esp32", "app", "1.9.0", signed=True, **{"secure-pad": True}), app_min="1.0.0")
    recipe = products.recipe(factory.folder, "esp32")
    factory.start(f"chip=esp32,image={factory.merged(old)}")
    _, doc = factory.provision(recipe, factory.station())
    assert states(doc)["versions"] == "done"
    assert "1.0.0" in doc["slots"][0]["note"]


def test_blank_device_is_flashed_through_the_rom(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start("chip=esp32c3")
    _, doc = factory.provision(recipe, factory.station())
    assert doc["passed"] == 1


def test_plain_tcp_with_a_reset_command(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start("chip=esp32c3")
    script = factory.folder / "reset.sh"
    script.write_text(f"""#!/bin/sh
case $DEVSTAMP_RESET in download) v=download ;; *) v=reset ;; esac
exec {SIM} ctl --state {factory.state} --device 0 $v
""")
    script.chmod(0o755)
    slot = {"name": "A", "port": factory.address(0, "tcp"), "reset": "command", "command": script}
    _, doc = factory.provision(recipe, factory.station([slot]))
    assert doc["passed"] == 1


def test_pty_without_reset_takes_the_report_for_proof(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", proof="report")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    slot = {"name": "A", "port": factory.address(0, "pty"), "reset": "none"}
    _, doc = factory.provision(recipe, factory.station([slot]))
    assert doc["passed"] == 1


def test_download_mode_is_closed_where_the_recipe_wants_it(products, factory):
    recipes = [products.recipe(factory.folder, c, close_download="true") for c in ("esp32", "esp32c3")]
    factory.start(*[f"chip={c},image={factory.merged(r)}" for c, r in zip(("esp32", "esp32c3"), recipes)])
    factory.provision(recipes, factory.station())
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    for (text,) in db.execute("select json from proof"):
        assert json.loads(text)["download_mode"]["seen"] == "closed"
    # With the strap low the ROM refuses and never comes to the app; a station that finds it there resets it.
    for i, words in enumerate(("Download mode is disabled. Restart with GPIO0 high.", "Download boot modes disabled")):
        with socket.create_connection(("127.0.0.1", factory.devices[i]["tcp"]), timeout=60) as console:
            factory.ctl(i, "download")
            heard = b""
            while words.encode() not in heard:
                heard += console.recv(4096)
    factory.provision(recipes, factory.station())


def test_development_mode_keeps_its_promise_and_no_more(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", mode="development")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    _, doc = factory.provision(recipe, factory.station())
    assert doc["passed"] == 1


def test_many_slots_in_parallel(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(8)])
    _, doc = factory.provision(recipe, factory.station())
    assert doc["passed"] == 8
    assert len({s["serial"] for s in doc["slots"]}) == 8
    rows = factory.ledger()
    assert len(rows) == 8
    assert factory.ledger_is_whole().returncode == 0


@pytest.mark.skipif("DEVSTAMP_BUILD_TSAN" not in os.environ, reason="no build with the thread sanitizer")
def test_slots_in_parallel_under_the_thread_sanitizer(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(3)])
    program = pathlib.Path(os.environ["DEVSTAMP_BUILD_TSAN"]) / "src/cli/devstamp"
    p = run(program, "provision", "--recipe", recipe, "--station", factory.station(),
            env=dict(os.environ, TSAN_OPTIONS="halt_on_error=1"))
    assert "3 passed, 0 failed" in p.stdout and "ThreadSanitizer" not in p.stderr


def test_stamp_is_readable_before_the_lock(products, factory):
    """The control of what check_flash does not find: on a device that is not locked yet it is there."""
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)},power=off")
    end_of_stamp = 1500  # flash words: after the stamp was written, before the secure bootloader is whole
    factory.ctl(0, "fault", f"off@{end_of_stamp}")
    factory.ctl(0, "on")
    line = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station()],
                            stdout=subprocess.PIPE, text=True)
    steps = iter(line.stdout.readline, "")
    assert any(" stamp " in s and "done" in s for s in steps)
    wait_for(lambda: json.loads(factory.ctl(0, "status").stdout)[0]["power"] == "off", what="the power cut")
    line.kill()
    line.communicate()
    serial = factory.ledger()[0]["serial"]
    cert = certificate_of(factory, serial)
    flash = factory.flash(0)
    stamp = flash[STAMP[0]:STAMP[0] + STAMP[1]]
    assert serial.encode() in stamp and b"mqtts://" in stamp
    assert cert.public_bytes(serialization.Encoding.DER)[64:96] in stamp
    # And with its power back the same device is finished, with the same certificate.
    factory.ctl(0, "fault", "")
    factory.ctl(0, "on")
    _, doc = factory.provision(recipe, factory.station())
    assert certificate_of(factory, doc["slots"][0]["serial"]) == cert


def test_cloned_flash_is_refused(products, factory):
    """A device that shows another one's public key (cloned flash, broken random numbers) gets no certificate."""
    recipe = products.recipe(factory.folder, "esp32c3")
    image = factory.merged(recipe)
    factory.start(f"chip=esp32c3,image={image},power=off", f"chip=esp32c3,image={image},power=off")
    factory.ctl(0, "fault", "off@1500")  # after its stamp is written, before the lock
    factory.ctl(0, "on")
    station = factory.station([{"name": "A", "port": factory.address(0), "reset": "rfc2217"}], name="first")
    line = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station], stdout=subprocess.DEVNULL)
    wait_for(lambda: json.loads(factory.ctl(0, "status").stdout)[0]["power"] == "off", what="the power cut")
    line.kill()
    line.wait()
    stamp = factory.folder / "stamp.bin"
    run(SIM, "flash", "--state", factory.state, "--device", 0, "dump", hex(STAMP[0]), hex(STAMP[1]), stamp)
    run(SIM, "flash", "--state", factory.state, "--device", 1, "load", hex(STAMP[0]), stamp)
    factory.ctl(1, "on")
    _, doc = factory.provision(recipe, factory.station([{"name": "B", "port": factory.address(1), "reset": "rfc2217"}]),
                               ok=False)
    error = doc["slots"][0]["error"]
    assert error["class"] == "policy" and "another device showed this public key before" in error["text"]
    assert error["hint"]
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    assert db.execute("select count(*) from certificate").fetchone() == (1,)


def test_stopped_by_the_operator_and_run_again(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    # With a chip's timing the way takes so long that the signal finds it unfinished.
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)},timing=on")
    p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station()], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    said = []
    for line in p.stdout:
        said.append(line)
        if " key " in line:
            p.send_signal(signal.SIGINT)
            break
    rest, complaint = p.communicate(timeout=60)
    text = "".join(said) + rest
    assert p.returncode == 1, text + complaint
    assert "stopping after the steps under way" in complaint
    assert "stopped before this step, as asked" in text and "run again: it goes on from here" in text
    assert "0 passed, 1 failed" in text and " proof " not in text
    factory.stop()
    factory.start()
    factory.provision(recipe, factory.station())
    assert factory.ledger_is_whole().returncode == 0


def test_plain_lines_in_a_pipe(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    p = run(DEVSTAMP, "provision", "--recipe", recipe, "--station", factory.station(), "--qr")
    assert "\033" not in p.stdout
    for step in ("connect", "key", "certificate", "firstboot", "proof"):
        assert step in p.stdout
    assert p.stdout.count("PASS") == 1 and "1 passed, 0 failed" in p.stdout
    assert "█" in p.stdout


def test_rerun_that_is_cut_off_takes_nothing_back(products, factory):
    """Of a device that passed: its stage in the record, and the report of the run before."""
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station, report = factory.station(), factory.folder / "report.json"
    factory.provision(recipe, station, "--report", report)
    before = report.read_text()
    p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station", station, "--report", report],
                         stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        if "firstboot" in line:  # passed by; the proof is begun
            p.kill()
    p.communicate(timeout=60)
    assert [d["stage"] for d in factory.ledger()] == ["proof"]
    if p.returncode == -signal.SIGKILL:  # else it was done before the signal came
        assert report.read_text() == before


def test_station_that_cannot_begin_says_so_in_json(products, factory):
    p = run(DEVSTAMP, "provision", "--recipe", factory.folder / "none.yaml", "--station", "none.yaml", "--json", ok=False)
    assert p.returncode == 3
    document = json.loads(p.stdout)
    assert document["slots"] == [] and document["error"]["class"] == "input" and "none.yaml" in document["error"]["text"]
