# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The Sub CA in a YubiKey: a virtual one behind Debian's pcscd, used through Debian's ykcs11."""

import os
import random
import threading
import time

import pytest

import yubikey
from factory import DEVSTAMP, run, wait_for
from remotelib import RECIPE, Authority, Front, Peer
from signerlib import Device, Refused, Signer, decode, field
from yubikey import MANAGEMENT_KEY, MODULE, PIN, PUK, YubiKey

reason = yubikey.why_not()
pytestmark = pytest.mark.skipif(bool(reason), reason=str(reason))

WRONG = "999999"


@pytest.fixture
def key():
    y = YubiKey()
    yield y
    y.remove()


class Line:
    """What test_ca_token's signer wants of a token, for one slot of the YubiKey, with a Sub CA."""

    def __init__(self, key, folder, slot="9c", algorithm="ECCP256", options=()):
        self.key, self.slot, self.shim, self.env = key, slot, MODULE, key.env
        self.ca, self.pin, self.uri = folder / f"ca-{slot}", key.pin_file(folder), key.uri(slot)
        if algorithm:
            key.generate(slot, algorithm, *options)
        self.init()

    def init(self):
        run(DEVSTAMP, "ca", "init", "--dir", self.ca, "--sub-existing", "--sub-key", self.uri, "--module", MODULE,
            "--pin-file", self.pin, env=self.env)

    def signer(self):
        return Signer(self, self.ca, key=self.uri)


@pytest.fixture
def line(key, tmp_path):
    return Line(key, tmp_path)


def flags(key):
    return next(text for text in key.pkcs11("-T").stdout.splitlines() if "token flags" in text)


# --- the virtual key itself, through other people's tools


def test_key_is_made_attested_and_signs(key, tmp_path):
    key.pkcs11("--login", "--login-type", "so", "--so-pin", MANAGEMENT_KEY, "--keypairgen", "--key-type",
               "EC:prime256v1", "--id", "02")
    attestation, maker, public = tmp_path / "a.pem", tmp_path / "f9.pem", tmp_path / "p.pem"
    attestation.write_text(key.tool("-a", "attest", "-s", "9c").stdout)
    maker.write_text(key.tool("-a", "read-certificate", "-s", "f9").stdout)
    run("openssl", "verify", "-CAfile", key.maker_root, "-untrusted", maker, attestation)
    public.write_text(run("openssl", "x509", "-in", attestation, "-noout", "-pubkey").stdout)
    (tmp_path / "digest").write_bytes(bytes(range(32)))
    key.pkcs11("--login", "--pin", PIN, "--sign", "-m", "ECDSA", "--id", "02", "-i", tmp_path / "digest", "-o",
               tmp_path / "signature", "--signature-format", "openssl")
    run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-in", tmp_path / "digest", "-sigfile",
        tmp_path / "signature")


def test_wrong_pins_lock_as_on_a_real_one(key):
    assert "final" not in flags(key) and "low" not in flags(key)
    for word, flag in (("0xa0", "PIN count low"), ("0xa0", "final user PIN try"), ("0xa4", "user PIN locked")):
        assert word in key.pkcs11("--login", "--pin", WRONG, "-O", ok=False).stderr
        assert flag in flags(key)
    assert "0xa4" in key.pkcs11("--login", "--pin", PIN, "-O", ok=False).stderr
    key.stop()
    key.start()
    assert "user PIN locked" in flags(key)
    key.tool("-a", "unblock-pin", "-P", PUK, "-N", PIN)
    key.pkcs11("--login", "--pin", PIN, "-O")
    assert key.status()["pin_left"] == 3


def test_what_it_holds_survives_pulling_out(line):
    line.key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
    before = line.key.tool("-a", "attest", "-s", "9c").stdout
    line.key.pull_out()
    assert "No slots" in line.key.pkcs11("-T", ok=False).stderr
    line.key.push_in()
    assert line.key.status()["pin_left"] == 2
    after = line.key.tool("-a", "attest", "-s", "9c").stdout
    public = [run("openssl", "x509", "-noout", "-pubkey", input=text).stdout for text in (before, after)]
    assert public[0] == public[1]


# --- our signer


@pytest.mark.parametrize("slot, algorithm, options", [
    ("9a", "RSA2048", ()), ("9c", "ECCP256", ()), ("9c", "ECCP384", ()), ("82", "ECCP256", ("--pin-policy", "once")),
    ("9c", "RSA2048", ())])
def test_signs_more_than_once_whatever_the_policy(key, tmp_path, slot, algorithm, options):
    line = Line(key, tmp_path, slot, algorithm, options)
    signer = line.signer()
    for i in range(3):
        device = Device(f"SN{i}", line.ca)
        assert signer.sign(device)[0].subject == device.csr.subject
    assert signer.stop() == 0
    assert key.status()["wrong"] == 0


def test_imported_key_that_asks_each_time_outside_of_9c_is_explained(key, tmp_path):
    """ykcs11 has a table of its own and says of slot 9c alone that its key asks at every use; an attestation, which would
    tell, is only made of keys that were made in the token."""
    pem = tmp_path / "import.pem"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", pem)
    key.tool("-a", "import-key", "-s", "9a", "-i", pem, "--pin-policy", "always")
    line = Line(key, tmp_path, "9a", None)
    signer = line.signer()
    signer.sign(Device("SN1", line.ca))
    with pytest.raises(Refused) as refused:
        signer.sign(Device("SN2", line.ca))
    assert refused.value.args[2] == 0x101 and "slot 9c alone" in refused.value.hint
    signer.stop()
    assert key.status()["wrong"] == 0


def test_key_that_is_to_be_touched(key, tmp_path):
    line = Line(key, tmp_path, "9a", "ECCP256", ("--touch-policy", "always"))
    signer = line.signer()
    signer.status()
    request = Device("SN1", line.ca)
    hand = threading.Thread(target=key.touch)
    hand.start()
    assert signer.sign(request)[1] is False
    hand.join()
    assert "waiting for a touch" in (key.state / "log").read_text()
    assert signer.stop() == 0


@pytest.mark.parametrize("fault, words", [("wrong@1", "does not verify"), ("gone@1", "was pulled out")])
def test_key_that_misbehaves_signs_nothing(line, fault, words):
    signer = line.signer()
    signer.status()
    line.key.ctl("fault", fault)
    with pytest.raises(Refused) as refused:
        signer.sign(Device("SN1", line.ca))
    assert refused.value.args[0] == 4 and words in refused.value.args[1]
    signer.stop()


def test_slow_key_is_no_broken_one(line):
    line.key.ctl("fault", "slow=30")
    signer = line.signer()
    assert signer.sign(Device("SN1", line.ca))[1] is False
    assert signer.stop() == 0


def test_pulled_out_is_said_in_a_word(line):
    signer = line.signer()
    signer.sign(Device("SN1", line.ca))
    line.key.pull_out()
    with pytest.raises(Refused) as refused:
        signer.sign(Device("SN2", line.ca))
    assert refused.value.args[1:] == (f'token "{line.key.label}" was pulled out', 0x32)
    assert refused.value.hint == "plug the token in, then run again"
    signer.stop()


# --- a PIN the software cannot lock


def test_with_two_tries_left_nothing_is_tried_unless_asked_for(line):
    check = ("token", "check-pin", "--module", MODULE, "--key", line.uri, "--pin-file", line.pin)
    line.key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
    asked = line.key.status()["verifies"]
    signer = line.signer()
    with pytest.raises(Refused) as refused:
        signer.status()
    assert "two tries of its PIN are left; nothing was tried" in refused.value.args[1]
    assert "devstamp token check-pin" in refused.value.hint
    signer.stop()
    assert line.key.status()["verifies"] == asked
    run(DEVSTAMP, *check, env=line.env)
    assert line.key.status()["pin_left"] == 3
    for _ in range(2):
        line.key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
    asked = line.key.status()["verifies"]
    done = run(DEVSTAMP, *check, ok=False, env=line.env)
    assert done.returncode == 5 and "one try of its PIN is left; nothing was tried" in done.stderr
    assert line.key.status()["verifies"] == asked


def test_wrong_pin_is_tried_once_for_each_operator_action(line):
    line.pin.write_text(WRONG + "\n")
    for round_ in range(4):
        signer = line.signer()
        with pytest.raises(Refused) as refused:
            signer.status()
        assert ("log in: the PIN is wrong" if round_ == 0 else "two tries") in refused.value.args[1]
        signer.stop()
    assert line.key.status()["pin_left"] == 2


def test_no_try_is_spent_that_was_not_asked_for(line):
    """Rounds on one key whose only tries are those of this test: unplugged, reset, wrong PINs in between. The suite runs
    40; all 1,000 with DEVSTAMP_ROUNDS=1000."""
    key = line.key
    chance = random.Random(20)
    wrong_asked = 0
    signer = line.signer()
    signer.status()

    def plug_in():
        key.ctl("in")
        wait_for(lambda: key.status()["seen"], what="the reader sees the key")

    def again():
        nonlocal signer
        signer.stop()
        signer = line.signer()

    for round_ in range(int(os.environ.get("DEVSTAMP_ROUNDS", "40"))):
        what = chance.random()
        if what < 0.06:
            key.ctl("out")  # and in again at once: a bad contact
            plug_in()
        elif what < 0.09:
            before = key.status()["wrong"]
            key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
            spent = key.status()["wrong"] - before  # none where it did not reach the key
            assert spent <= 1
            wrong_asked += spent
        elif what < 0.30:
            key.tool("-a", "status", ok=False)
        elif what < 0.34:
            key.ctl("fault", "gone@1")
        try:
            signer.sign(Device(f"SN{round_}", line.ca))
        except (Refused, EOFError, OSError):
            state = key.status()
            assert state["wrong"] == wrong_asked, round_
            if not state["in"]:
                plug_in()
                key.ctl("fault", "")
            if state["pin_left"] < 3:
                key.tool("-a", "verify-pin", "-P", PIN)
            again()
    signer.stop()
    state = key.status()
    assert state["wrong"] == wrong_asked and wrong_asked > 0


def test_token_list_and_status(line):
    listed = run(DEVSTAMP, "token", "list", "--module", MODULE, env=line.env).stdout
    assert f'token "{line.key.label}"' in listed and f"serial number  {line.key.serial}\n" in listed
    assert "PIN            not near its limit" in listed and "key  " not in listed
    shown = run(DEVSTAMP, "token", "status", "--module", MODULE, env=line.env).stdout
    assert "id=%02" in shown and "ECDSA P-256" in shown
    uri = next(word for word in shown.split() if word.startswith("pkcs11:") and "id=%02" in word)
    run(DEVSTAMP, "token", "check-pin", "--module", MODULE, "--key", uri, "--pin-file", line.pin, env=line.env)
    asked = line.key.status()["verifies"]
    for words in ("TWO TRIES LEFT", "ONE TRY LEFT", "LOCKED"):
        line.key.pkcs11("--login", "--pin", WRONG, "-O", ok=False)
        assert words in run(DEVSTAMP, "token", "list", "--module", MODULE, env=line.env).stdout
    assert line.key.status()["verifies"] == asked + 3
    line.key.pull_out()
    gone = run(DEVSTAMP, "token", "list", "--module", MODULE, env=line.env, ok=False)
    assert gone.returncode == 5 and "no token is there" in gone.stderr


def test_pin_goes_to_the_token_of_that_serial_number_alone(products, factory, line):
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=line.ca / "root.pem")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    station = factory.station(key="pkcs11:id=%02", certificate=line.ca / "subca.pem", module=MODULE, pin_file=line.pin)
    text = station.read_text()
    asked = line.key.status()["verifies"]
    station.write_text(text.replace("signer:\n", 'signer:\n  token_serial: "4711"\n'))
    done, _ = factory.provision(recipe, station, ok=False, env=line.env)
    assert done.returncode == 5 and "not 4711; its PIN was not sent" in done.stderr
    assert line.key.status()["verifies"] == asked
    station.write_text(text.replace("signer:\n", f'signer:\n  token_serial: "{line.key.serial}"\n'))
    factory.provision(recipe, station, env=line.env)


def test_line_waits_for_the_key_and_goes_on(products, factory, line):
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=line.ca / "root.pem")
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}"] * 3)
    station = factory.station(key=line.uri, certificate=line.ca / "subca.pem", module=MODULE, pin_file=line.pin)
    line.key.ctl("fault", "gone@2")

    def hand():
        wait_for(lambda: not line.key.status()["in"], what="the key is pulled out", seconds=120)
        line.key.out = time.monotonic()
        line.key.push_in()

    helper = threading.Thread(target=hand)
    helper.start()
    done, doc = factory.provision(recipe, station, env=line.env)
    helper.join()
    assert doc["passed"] == 3
    assert "was pulled out: the line waits" in done.stderr and "the token is back; the line goes on" in done.stderr
    assert len({row["serial"] for row in factory.ledger()}) == 3
    assert line.key.status()["wrong"] == 0


def test_line_does_not_wait_for_ever(products, factory, line):
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=line.ca / "root.pem")
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}"] * 2)
    station = factory.station(key=line.uri, certificate=line.ca / "subca.pem", module=MODULE, pin_file=line.pin)
    station.write_text(station.read_text().replace("signer:\n", "signer:\n  token_wait: 1\n"))
    line.key.ctl("fault", "gone@1")
    done, doc = factory.provision(recipe, station, ok=False, env=line.env)
    assert done.returncode == 5 and doc["failed"] == 2
    line.key.out = time.monotonic()
    line.key.push_in()
    _, doc = factory.provision(recipe, station, env=line.env)
    assert doc["passed"] == 2


def test_touch_at_a_signer_elsewhere_is_asked_for_at_the_station(key, tmp_path):
    line = Line(key, tmp_path, "9a", "ECCP256", ("--touch-policy", "always"))
    recipe, authority = tmp_path / "acme.yaml", Authority(tmp_path / "line-ca")
    recipe.write_text(RECIPE.format(product="acme", ca=line.ca))
    signer = {"certificate": line.ca / "subca.pem", "key": line.uri, "module": MODULE, "log": tmp_path / "issued.log",
              "pin_file": line.pin}
    front = Front(tmp_path, authority, signer, [recipe], {"line-1": "recipes: [acme]"}, env=line.env).start()
    peer = Peer(front, *authority.issue("line-1"))
    device = Device("SN1", line.ca)
    device.uri = ""
    try:
        assert peer.status()[7] == 1
        peer.send(field(2, device.request()))
        reply = peer.reply()
        while not decode(reply[32]).get(1):  # what only says that it is worked on
            reply = peer.reply()
        key.touch()
        assert 5 in peer.answer()
    finally:
        peer.close()
        front.stop()
