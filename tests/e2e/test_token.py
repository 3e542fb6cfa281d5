# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp token init, generate and attest: a token made ready, its key, and what its maker says of that key."""

import hashlib
import os
import pty
import shutil
import signal
import subprocess
import termios
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import yubikey
from factory import DEVSTAMP, run
from test_ca_init import load, verify
from signerlib import MODULE as SOFTHSM
from signerlib import PIN, Device, Token, make_shim
from test_yubikey import Line
from yubikey import MANAGEMENT_KEY, MODULE, YubiKey

NEW_KEY, NEW_PUK, NEW_PIN, WRONG = "a1b2c3d4e5f60718" * 3, "97531864", "864209", "999999"

hsm_only = pytest.mark.skipif(not SOFTHSM or not shutil.which("softhsm2-util"), reason="SoftHSM2 is not installed")
reason = yubikey.why_not()
yubikey_only = pytest.mark.skipif(bool(reason), reason=str(reason))


def secret(folder, name, text):
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


class Softhsm:
    """An empty token store, and the officer's files."""

    def __init__(self, folder):
        (folder / "tokens").mkdir()
        conf = folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
        self.env = dict(os.environ, SOFTHSM2_CONF=str(conf))
        self.so_pin, self.pin = secret(folder, "so", "87654321"), secret(folder, "pin", NEW_PIN)

    def token(self, verb, *args, expect=0):
        done = run(DEVSTAMP, "token", verb, "--module", SOFTHSM, *args, ok=expect == 0, env=self.env)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def init(self, *args, label="line", expect=0):
        return self.token("init", "--label", label, "--so-pin-file", self.so_pin, "--pin-file", self.pin, *args,
                          expect=expect)

    def generate(self, uri, *args, expect=0):
        return self.token("generate", "--key", uri, "--pin-file", self.pin, *args, expect=expect)

    def objects(self):
        return run("pkcs11-tool", "--module", SOFTHSM, "--token-label", "line", "--login", "--pin", NEW_PIN, "-O",
                   env=self.env).stdout


@pytest.fixture
def softhsm(tmp_path):
    return Softhsm(tmp_path)


def serial_of(done):
    return done.stdout.split("serial number ")[1].split(",")[0]


@hsm_only
@pytest.mark.parametrize("kind", ["ecdsa-p384", "rsa-3072"])
def test_from_an_empty_token_to_a_sub_ca(softhsm, tmp_path, kind):
    softhsm.init()
    made = softhsm.generate("pkcs11:token=line;object=subca", "--key-type", kind)
    uri = made.stdout.strip()
    assert uri.startswith("pkcs11:") and "serial=" in uri and "id=%" in uri
    ca = tmp_path / "ca"
    run(DEVSTAMP, "ca", "init", "--dir", ca, "--sub-existing", "--sub-key", uri, "--module", SOFTHSM, "--pin-file",
        softhsm.pin, env=softhsm.env)
    key = load(ca / "subca.pem").public_key()
    id = "sha256:" + hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    assert made.stderr == f"public key {id}\n"  # as bundles name release keys and approvers
    assert id in softhsm.token("status").stdout
    assert key.key_size == (384 if isinstance(key, ec.EllipticCurvePublicKey) else 3072)
    verify("-CAfile", ca / "root.pem", ca / "subca.pem")
    shown = softhsm.objects()
    assert "never extractable" in shown and "sensitive" in shown


@hsm_only
def test_token_in_use_is_erased_only_where_it_is_named(softhsm):
    serial = serial_of(softhsm.init())
    softhsm.generate("pkcs11:token=line;object=subca")
    # SoftHSM always shows an empty one beside it: that one is taken, never the one in use.
    other = serial_of(softhsm.init(label="second"))
    assert other != serial
    before = softhsm.objects()
    assert "initialised already" in softhsm.init("--serial", serial, expect=8).stderr
    assert "initialised already" in softhsm.init("--serial", serial, "--erase", other, expect=8).stderr
    assert softhsm.objects() == before
    softhsm.so_pin.write_text("11111111\n")
    assert softhsm.init("--serial", serial, "--erase", serial, expect=5)
    assert softhsm.objects() == before
    softhsm.so_pin.write_text("87654321\n")
    softhsm.init("--serial", serial, "--erase", serial)
    assert "subca" not in softhsm.objects()


@hsm_only
def test_bad_secrets_are_refused_before_anything_is_done(softhsm):
    softhsm.pin.write_text("1\n")
    assert "takes a PIN of 4 to" in softhsm.init(expect=3).stderr
    softhsm.pin.chmod(0o644)
    assert "readable by others" in softhsm.init(expect=8).stderr
    assert os.listdir(softhsm.pin.parent / "tokens") == []
    softhsm.pin.chmod(0o600)
    softhsm.pin.write_text(NEW_PIN + "\n")
    read, write = os.pipe()
    os.write(write, NEW_PIN.encode() + b"\n")
    os.close(write)
    done = subprocess.run([DEVSTAMP, "token", "init", "--module", SOFTHSM, "--label", "line", "--so-pin-file",
                           softhsm.so_pin, "--pin-fd", str(read)], env=softhsm.env, pass_fds=[read],
                          capture_output=True, text=True)
    os.close(read)
    assert done.returncode == 0, done.stderr
    softhsm.objects()


@hsm_only
def test_prompt_that_is_broken_off_leaves_the_terminal_as_it_was(tmp_path):
    pid, fd = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background ignores it
        os.execv(DEVSTAMP, [DEVSTAMP, "token", "check-pin", "--module", "/none.so", "--key", "pkcs11:token=a;object=b"])

    def echoes():
        return bool(termios.tcgetattr(fd)[3] & termios.ECHO)

    text = b""
    while b"PIN of the token" not in text:
        text += os.read(fd, 100)
    assert not echoes()
    os.write(fd, b"12\x03")
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert echoes()
    os.close(fd)


def test_key_is_replaced_only_by_its_id(softhsm):
    softhsm.init()
    first = softhsm.generate("pkcs11:token=line;object=subca;id=%11").stdout.strip()
    assert "exists already" in softhsm.generate("pkcs11:token=line;object=subca", expect=8).stderr
    assert "exists already" in softhsm.generate("pkcs11:token=line;object=other;id=%11", expect=8).stderr
    assert "its id" in softhsm.generate("pkcs11:token=line;object=subca", "--replace", expect=2).stderr
    assert "no key of that id" in softhsm.generate("pkcs11:token=line;id=%12", "--replace", expect=8).stderr
    again = softhsm.generate("pkcs11:token=line;object=subca;id=%11", "--replace", "--key-type", "rsa-2048")
    assert again.stdout.strip() == first
    shown = softhsm.objects()
    assert shown.count("Private Key Object; RSA") == 1 and "EC" not in shown


@hsm_only
def test_policies_of_other_tokens(softhsm):
    softhsm.init()
    uri = "pkcs11:token=line;object=strict;id=%09"
    assert "no touch policy" in softhsm.generate(uri, "--touch-policy", "always", expect=2).stderr
    softhsm.generate(uri, "--pin-policy", "always")
    assert "always authenticate" in softhsm.objects()
    done = softhsm.token("attest", "--key", uri, "--maker-root", softhsm.pin, expect=5)
    assert "no public key" in done.stderr or "shows no attestation" in done.stderr


@hsm_only
def test_policies_reach_a_newer_ykcs11(tmp_path):
    shim = make_shim(tmp_path)
    token = Token(tmp_path / "token", shim)
    policies = tmp_path / "policies"
    env = dict(token.env, DS_SHIM_YUBICO=PIN, DS_SHIM_POLICIES=str(policies))
    for slot, options in (("%05", ("--pin-policy", "always", "--touch-policy", "cached")),
                          ("%02", ("--pin-policy", "once")), ("%06", ("--pin-policy", "once", "--touch-policy", "never"))):
        run(DEVSTAMP, "token", "generate", "--module", shim, "--key", f"pkcs11:token=line;id={slot}", "--so-pin-file",
            secret(tmp_path, "so", NEW_KEY), *options, env=env)
    # CKA_YUBICO_PIN_POLICY 3 is always, 2 once; CKA_YUBICO_TOUCH_POLICY 3 is cached. What the slot does anyway is not sent.
    assert policies.read_text().splitlines() == ["d9554202 1 3", "d9554201 1 3", "d9554202 1 2"]


# --- a YubiKey


class Officer:
    """A new virtual YubiKey and the secrets it is to have."""

    def __init__(self, folder):
        self.folder, self.key, self.ca = folder, YubiKey(), folder / "ca"
        self.so_pin = secret(folder, "so", NEW_KEY)
        self.puk, self.pin = secret(folder, "puk", NEW_PUK), secret(folder, "pin", NEW_PIN)

    def token(self, verb, *args, expect=0):
        done = run(DEVSTAMP, "token", verb, "--module", MODULE, *args, ok=expect == 0, env=self.key.env)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def init(self, *args, expect=0):
        return self.token("init", "--so-pin-file", self.so_pin, "--puk-file", self.puk, "--pin-file", self.pin, *args,
                          expect=expect)

    def generate(self, slot="9c", *args, expect=0):
        return self.token("generate", "--key", self.key.uri(slot), "--so-pin-file", self.so_pin, *args, expect=expect)

    def attest(self, slot="9c", *args, expect=0):
        return self.token("attest", "--key", self.key.uri(slot), "--maker-root", self.key.maker_root, *args,
                          expect=expect)

    def make_ca(self, slot, *args, expect=0):
        done = run(DEVSTAMP, "ca", "init", "--dir", self.ca, "--sub-existing", "--sub-key", self.key.uri(slot),
                   "--module", MODULE, "--pin-file", self.pin, *args, ok=expect == 0, env=self.key.env)
        assert done.returncode == expect, done.stdout + done.stderr
        return done


@pytest.fixture
def officer(tmp_path):
    o = Officer(tmp_path)
    yield o
    o.key.remove()


def audit(ca, root, expect=0, attestation=None, certificate=None):
    done = run(DEVSTAMP, "token", "attest", "--maker-root", root, "--attestation", attestation or ca / "attestation.pem",
               "--certificate", certificate or ca / "subca.pem", ok=expect == 0)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@yubikey_only
def test_from_a_new_yubikey_to_a_sub_ca_that_an_auditor_accepts(officer):
    key = officer.key
    assert officer.init().stdout.splitlines()[:3] == ["management key changed", "PUK changed", "PIN changed"]
    made = officer.generate("9c", "--key-type", "ecdsa-p384").stdout.splitlines()
    assert made[0] == "PIN policy always, touch policy never"
    assert made[1] == f"pkcs11:serial={key.serial};token=YubiKey%20PIV%20%23{key.serial};id=%02"
    shown = officer.make_ca("9c", "--maker-root", key.maker_root).stdout
    assert f"serial number  {key.serial}\n" in shown and "PIN policy     always" in shown
    state = key.status()
    assert state["wrong"] == 0 and state["pin_left"] == 3
    # The auditor: no token, other people's tools, then ours.
    ca = officer.ca
    run("openssl", "verify", "-CAfile", key.maker_root, "-untrusted", ca / "attestation-chain.pem",
        ca / "attestation.pem")
    numbers = [load(ca / name).public_key().public_numbers() for name in ("attestation.pem", "subca.pem")]
    assert numbers[0] == numbers[1]
    told = audit(ca, key.maker_root).stdout
    assert "slot 9c" in told and "firmware       5.4.3, USB-A" in told and "test only" in told
    # With the new secrets the others do not work any more.
    key.tool("-a", "verify-pin", "-P", NEW_PIN)
    assert key.tool("-a", "set-mgm-key", "-n", MANAGEMENT_KEY, ok=False).returncode


@yubikey_only
def test_yubikey_in_use_is_left_alone(officer):
    officer.key.generate("9a")
    done = officer.init(expect=8)
    assert "holds keys already" in done.stderr and f"--in-use {officer.key.serial}" in done.stderr
    assert "nothing was changed" in officer.init("--in-use", "4711", expect=8).stderr
    assert "not erased here" in officer.init("--erase", str(officer.key.serial), expect=2).stderr
    state = officer.key.status()
    assert state["pin_left"] == state["puk_left"] == 3
    officer.key.tool("-a", "verify-pin", "-P", yubikey.PIN)
    officer.init("--in-use", str(officer.key.serial))
    officer.key.tool("-a", "verify-pin", "-P", NEW_PIN)
    officer.attest("9a")


@yubikey_only
def test_init_that_was_cut_off_goes_on_and_tries_nothing_twice(officer):
    key = officer.key
    key.tool("-a", "change-puk", "-P", yubikey.PUK, "-N", NEW_PUK)
    done = officer.init(expect=5)
    assert done.stdout == "management key changed\n" and "--keep puk" in done.stderr
    assert key.status()["puk_left"] == 2 and key.status()["pin_left"] == 3
    done = officer.init(expect=5)
    assert "management key: it is not the well-known one" in done.stderr and "--keep so-pin" in done.stderr
    assert key.status()["puk_left"] == 2
    assert officer.init("--keep", "so-pin", "--keep", "puk").stdout.startswith("PIN changed\n")
    assert key.status()["puk_left"] == 2 and key.status()["wrong"] == 0


@yubikey_only
@pytest.mark.parametrize("name, text, words", [
    ("pin", "12345", "6 to 8 characters"), ("pin", "123456", "everybody knows"), ("puk", "12345678", "everybody knows"),
    ("puk", "123456789", "6 to 8 characters"), ("so", "1234", "48 hexadecimal digits"),
    ("so", MANAGEMENT_KEY, "everybody knows")])
def test_bad_secret_changes_nothing(yk, tmp_path, name, text, words):
    files = {n: secret(tmp_path, n, t) for n, t in (("so", NEW_KEY), ("puk", NEW_PUK), ("pin", NEW_PIN))}
    files[name].write_text(text + "\n")
    done = run(DEVSTAMP, "token", "init", "--module", MODULE, "--so-pin-file", files["so"], "--puk-file", files["puk"],
               "--pin-file", files["pin"], ok=False, env=yk.env)
    assert done.returncode == 3 and words in done.stderr and done.stdout == ""


@pytest.fixture(scope="module")
def yk():
    y = YubiKey()
    yield y
    y.remove()


@yubikey_only
def test_with_few_tries_left_init_tries_nothing(officer):
    officer.key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
    assert "two tries of its PIN are left; nothing was tried" in officer.init(expect=5).stderr
    assert officer.key.status()["pin_left"] == 2 and officer.key.status()["puk_left"] == 3


@yubikey_only
def test_yubikeys_slot_is_overwritten_only_where_that_is_said(officer):
    officer.so_pin.write_text(MANAGEMENT_KEY + "\n")
    assert "named by id" in officer.token("generate", "--key", "pkcs11:object=x", "--so-pin-file", officer.so_pin,
                                          expect=2).stderr
    officer.generate("95")
    officer.attest("95", "-o", officer.folder)
    first = load(officer.folder / "attestation.pem").public_key()
    assert "exists already" in officer.generate("95", expect=8).stderr
    assert "exists already" in officer.attest("95", "-o", officer.folder, expect=8).stderr
    assert "slot 95" in officer.attest("95").stdout
    officer.key.tool("-a", "delete-certificate", "-s", "95")
    assert "exists already" in officer.generate("95", expect=8).stderr
    again = officer.folder / "again"
    again.mkdir()
    officer.generate("95", "--replace", "--key-type", "rsa-2048")
    officer.attest("95", "-o", again)
    second = load(again / "attestation.pem").public_key()
    assert isinstance(first, ec.EllipticCurvePublicKey) and isinstance(second, rsa.RSAPublicKey)
    done = officer.token("generate", "--key", officer.key.uri("9c").replace("%02", "%19"), "--so-pin-file",
                         officer.so_pin, "--replace", expect=8)
    assert "no key is made in that place" in done.stderr
    assert "2048 bits at most" in officer.generate("9a", "--key-type", "rsa-3072", expect=5).stderr
    officer.so_pin.write_text(NEW_KEY + "\n")
    assert "the PIN is wrong" in officer.generate("9a", expect=5).stderr
    # What is no management key could be taken for a PIN: it is not sent.
    officer.so_pin.write_text(WRONG + "\n")
    assert "nothing was sent" in officer.generate("9a", expect=3).stderr
    assert officer.key.status()["verifies"] == 0 and "slot 95" in officer.attest("95").stdout


@yubikey_only
def test_policies_this_ykcs11_cannot_ask_for_are_refused_not_forgotten(officer):
    officer.so_pin.write_text(MANAGEMENT_KEY + "\n")
    done = officer.generate("9a", "--touch-policy", "cached", expect=5)
    assert "takes no PIN or touch policies; nothing was made" in done.stderr
    assert "no public key" in officer.attest("9a", expect=5).stderr
    assert "PIN policy once, touch policy never" in officer.generate("9a", "--pin-policy", "once").stdout


@yubikey_only
def test_attestation_that_does_not_hold_makes_no_ca(officer):
    key, ca = officer.key, officer.ca
    officer.pin.write_text(yubikey.PIN + "\n")
    officer.so_pin.write_text(MANAGEMENT_KEY + "\n")
    officer.generate("9a")
    officer.generate("82")
    other = YubiKey()
    other_root = officer.folder / "other-root.pem"
    shutil.copy(other.maker_root, other_root)
    other.remove()
    done = officer.make_ca("9a", "--maker-root", other_root, expect=8)
    assert "does not lead to the maker's root" in done.stderr and not ca.exists()
    officer.attest("82", "-o", officer.folder)
    done = officer.make_ca("9a", "--maker-root", key.maker_root, "--attestation", officer.folder / "attestation.pem",
                           expect=8)
    assert "of another key" in done.stderr and not ca.exists()
    # A key that came from outside has none.
    pem = officer.folder / "import.pem"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", pem)
    key.tool("-a", "import-key", "-s", "83", "-i", pem)
    assert "shows no attestation" in officer.make_ca("83", "--maker-root", key.maker_root, expect=5).stderr
    assert not ca.exists()
    officer.make_ca("82", "--maker-root", key.maker_root, "--attestation", officer.folder / "attestation.pem")
    audit(ca, key.maker_root)
    assert "does not lead" in audit(ca, other_root, expect=8).stderr
    assert "of another key" in audit(ca, key.maker_root, certificate=ca / "root.pem", expect=8).stderr
    assert "no attestation" in audit(ca, key.maker_root, attestation=ca / "subca.pem", expect=3).stderr


# --- all slots, all policies, touch


@yubikey_only
@pytest.mark.parametrize("slot, policy", [("9a", "always"), ("9c", "once"), ("95", "always"), ("8c", "once")])
def test_every_slot_and_policy_signs_again_and_again(officer, tmp_path, slot, policy):
    officer.pin.write_text(yubikey.PIN + "\n")
    line = Line(officer.key, tmp_path, slot, "ECCP256", ("--pin-policy", policy))
    signer = line.signer()
    for i in range(4):
        assert isinstance(signer.sign(Device(f"SN{i}", line.ca))[0], x509.Certificate)
    assert signer.stop() == 0
    assert officer.key.status()["wrong"] == 0


@yubikey_only
def test_who_stands_at_the_line_is_told_to_touch(products, factory, officer):
    key = officer.key
    officer.pin.write_text(yubikey.PIN + "\n")
    key.generate("82", "ECCP256", "--touch-policy", "always", "--pin-policy", "always")
    officer.make_ca("82")
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=officer.ca / "root.pem")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station = factory.station(key=key.uri("82"), certificate=officer.ca / "subca.pem", module=MODULE,
                              pin_file=officer.pin)
    helper = threading.Thread(target=key.touch)
    helper.start()
    done = run(DEVSTAMP, "provision", "--station", station, "--recipe", recipe, env=key.env)
    helper.join()
    told = done.stdout.splitlines()
    assert any("certificate" in line and "touch the token" in line for line in told), done.stdout
    assert "PASS" in done.stdout and key.status()["wrong"] == 0
