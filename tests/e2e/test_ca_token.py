# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The Sub CA in a token (SoftHSM2), and the signer process spoken to without any of devstamp's own code."""

import base64
import os
import pathlib
import shutil
import signal
import struct
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import ExtendedKeyUsageOID

from signerlib import MODULE, PIN, SUB_KEY, Device, Refused, Signer, Token, decode, field, make_shim
from test_ca_init import devstamp, extension, load, verify

pytestmark = pytest.mark.skipif(not MODULE or not shutil.which("softhsm2-util"), reason="SoftHSM2 is not installed")

FINAL_TRY, LOCKED, COUNT_LOW = 0x20000, 0x40000, 0x10000


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return make_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def token(tmp_path, shim):
    return Token(tmp_path / "token", shim)


@pytest.fixture(params=["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def any_ca(request, token, tmp_path):
    token.init(tmp_path / "ca", "--key-type", request.param)
    return tmp_path / "ca"


@pytest.fixture
def ca(token, tmp_path):
    token.init(tmp_path / "ca")
    return tmp_path / "ca"


def test_device_certificate_by_a_token(token, any_ca, tmp_path):
    assert not (any_ca / "subca.key").exists()
    signer = Signer(token, any_ca)
    assert signer.status()[1] == b"CN=devstamp Sub CA,O=devstamp"
    device = Device("SN1", any_ca)
    cert, from_log = signer.sign(device)
    assert not from_log
    again, from_log = signer.sign(device)
    assert from_log and again == cert
    assert signer.stop() == 0
    (tmp_path / "device.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    verify("-purpose", "sslclient", "-CAfile", any_ca / "root.pem", "-untrusted", any_ca / "subca.pem",
           tmp_path / "device.pem")
    assert cert.serial_number == int.from_bytes(device.serial, "big") & (1 << 127) - 1
    assert [a.rfc4514_string() for a in cert.subject.rdns] == ["CN=SN1", "O=Acme"]
    assert cert.public_key().public_numbers() == device.key.public_key().public_numbers()
    assert cert.not_valid_after.year == 9999
    usage = extension(cert, x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert list(extension(cert, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = extension(cert, x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    names = extension(cert, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:dev:SN1"]
    sub = load(any_ca / "subca.pem")
    assert (extension(cert, x509.AuthorityKeyIdentifier).value.key_identifier
            == extension(sub, x509.SubjectKeyIdentifier).value.digest)
    if isinstance(sub.public_key(), ec.EllipticCurvePublicKey):
        sub.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
    else:
        sub.public_key().verify(cert.signature, cert.tbs_certificate_bytes, padding.PKCS1v15(),
                                cert.signature_hash_algorithm)


def test_root_and_sub_ca_in_one_token(token, tmp_path):
    token.init(tmp_path / "ca", "--root-key", "pkcs11:token=line;object=root")
    verify("-CAfile", tmp_path / "ca" / "root.pem", tmp_path / "ca" / "subca.pem")
    made = sorted(p.name for p in (tmp_path / "ca").iterdir())
    assert made[0].startswith("ceremony-") and made[1:] == ["chain.pem", "root.log", "root.pem", "subca.pem"]


def test_failed_ceremony_takes_its_token_keys_away_again(token, tmp_path):
    ca = tmp_path / "ca"
    token.init(ca, "--name", "x" * 80, "--root-key", "pkcs11:token=line;object=root", expect=3)
    assert not ca.exists()
    token.init(ca, "--root-key", "pkcs11:token=line;object=root")


def test_second_ceremony_does_not_reuse_a_key_by_accident(token, ca, tmp_path):
    done = token.init(tmp_path / "second", expect=8)
    assert "exists already" in done.stderr
    assert not (tmp_path / "second").exists()
    token.init(tmp_path / "second", "--existing", "--root-key", f"file:{ca}/root.key")


def test_pin_by_descriptor_and_never_in_the_command_line(token, tmp_path):
    read, write = os.pipe()
    os.write(write, PIN.encode() + b"\n")
    os.close(write)
    devstamp("ca", "init", "--dir", tmp_path / "ca", "--sub-key", SUB_KEY, "--module", token.shim, "--pin-fd", read,
             env=token.env, pass_fds=[read])
    os.close(read)
    signer = Signer(token, tmp_path / "ca")
    signer.status()
    shown = pathlib.Path(f"/proc/{signer.process.pid}/cmdline").read_bytes()
    assert b"signer" in shown and PIN.encode() not in shown
    signer.stop()


def test_what_is_missing_is_named_with_what_to_do(token, ca):
    token.logins.unlink()
    token.pin.unlink()
    with pytest.raises(Refused) as refused:
        Signer(token, ca).status()
    assert refused.value.hint == f"write the token's PIN, one line, into {token.pin}; chmod 600"
    token.write_pin("")
    with pytest.raises(Refused) as refused:
        Signer(token, ca).status()
    assert "the secret is empty" in refused.value.args[1] and "write the token's PIN" in refused.value.hint
    assert token.count() == 0
    token.write_pin(PIN)
    with pytest.raises(Refused) as refused:
        Signer(token, ca, key="pkcs11:token=line;object=nothing").status()
    assert 'no private key of that name; the token holds "subca"' in refused.value.args[1]
    assert "object=" in refused.value.hint


def test_pin_file_that_others_can_read_is_refused_before_any_login(token, tmp_path):
    token.pin.chmod(0o644)
    done = token.init(tmp_path / "ca", expect=8)
    assert "readable by others" in done.stderr and "chmod 600" in done.stderr
    assert token.count() == 0


def test_wrong_pin_is_tried_exactly_once(token, ca):
    token.logins.unlink()
    token.write_pin("000000")
    signer = Signer(token, ca)
    with pytest.raises(Refused) as refused:
        signer.status()
    assert refused.value.args == (4, 'token "line": log in: the PIN is wrong (0xa0)', 0xA0)
    assert signer.stop() != 0
    assert token.count() == 1


def test_wrong_pin_at_the_ceremony_is_tried_exactly_once_and_makes_nothing(token, tmp_path):
    token.write_pin("000000")
    done = token.init(tmp_path / "ca", expect=5)
    assert "the PIN is wrong" in done.stderr and "tried once" in done.stderr
    assert token.count() == 1
    assert not (tmp_path / "ca").exists()


def refusal(token, ca, env=None):
    """The reason why the signer cannot sign."""
    signer = Signer(token, ca, env=env)
    with pytest.raises(Refused) as refused:
        signer.status()
    signer.stop()
    return refused.value.args[1]


def test_wrong_pin_of_an_unchanged_file_is_tried_once_in_three_starts(token, ca):
    token.logins.unlink()
    token.write_pin("000000")
    assert "the PIN is wrong" in refusal(token, ca)
    for _ in range(2):
        assert 'this PIN file was refused by token "line" on 20' in refusal(token, ca)
    assert token.count() == 1
    note = ca / "issued.log.pin-refused"
    assert note.stat().st_mode & 0o777 == 0o600 and "000000" not in note.read_text()


def test_corrected_pin_file_is_tried_once_and_success_forgets(token, ca):
    token.write_pin("000000")
    refusal(token, ca)
    token.logins.unlink()
    token.write_pin("111111")
    assert "the PIN is wrong" in refusal(token, ca)
    assert "was refused" in refusal(token, ca)
    assert token.count() == 1
    token.write_pin(PIN)
    signer = Signer(token, ca)
    signer.status()
    signer.stop()
    assert not (ca / "issued.log.pin-refused").exists()


def test_going_back_to_a_refused_pin_file_is_no_new_try(token, ca):
    other, first = token.folder / "other", token.pin
    token.write_pin("000000")
    refusal(token, ca)
    token.pin = other
    token.write_pin("111111")
    assert "the PIN is wrong" in refusal(token, ca)
    token.logins.unlink()
    assert "was refused" in refusal(token, ca)
    token.pin = first
    assert "was refused" in refusal(token, ca)
    assert token.count() == 0


def test_wrong_pin_at_the_ceremony_is_tried_once_in_three_runs(token, tmp_path):
    token.write_pin("000000")
    token.init(tmp_path / "ca", expect=5)
    for _ in range(2):
        done = token.init(str(tmp_path / "ca") + "/", expect=5)
        assert "was refused by token" in done.stderr and "correct the PIN file" in done.stderr
    assert token.count() == 1 and (tmp_path / "ca.pin-refused").exists()
    token.write_pin(PIN)
    token.init(tmp_path / "ca")
    assert not (tmp_path / "ca.pin-refused").exists()


def test_end_in_the_middle_of_a_login_is_not_tried_again_until_the_file_is_touched(token, ca):
    env = dict(token.env, DS_SHIM_LOGIN_DIES="1")
    signer = Signer(token, ca, env=env)
    with pytest.raises((EOFError, ConnectionResetError)):
        signer.status()
    signer.stop()
    token.logins.unlink()
    assert "no answer" in refusal(token, ca) and token.count() == 0
    os.utime(token.pin)
    signer = Signer(token, ca)
    signer.status()
    signer.stop()


def test_without_a_note_there_is_no_try(token, ca):
    token.logins.unlink()
    note = ca / "issued.log.pin-refused"
    note.mkdir()
    assert "nothing was tried" in refusal(token, ca)
    note.rmdir()
    note.write_text("rubbish\n")
    assert "nothing was tried" in refusal(token, ca)
    assert token.count() == 0


def test_refusal_at_the_use_of_a_key_is_remembered(token, ca, tmp_path):
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--keypairgen",
              "--key-type", "EC:prime256v1", "--id", "09", "--label", "strict", "--always-auth")
    strict = tmp_path / "strict"
    key = "pkcs11:token=line;id=%09"
    devstamp("ca", "init", "--dir", strict, "--existing", "--root-key", f"file:{ca}/root.key", "--sub-key", key,
             "--module", token.shim, "--pin-file", token.pin, env=token.env)
    signer = Signer(token, strict, key=key, env=dict(token.env, DS_SHIM_CONTEXT_REFUSED="1"))
    with pytest.raises(Refused) as refused:
        signer.sign(Device("SN1", strict))
    assert refused.value.args[2] == 0xA0
    signer.stop()
    signer = Signer(token, strict, key=key)
    with pytest.raises(Refused) as refused:
        signer.status()
    assert "was refused" in refused.value.args[1]
    signer.stop()


@pytest.mark.parametrize("flags, words", [(FINAL_TRY, "one try of its PIN is left"), (LOCKED, "its PIN is locked"),
                                          (FINAL_TRY | COUNT_LOW, "one try")])
def test_with_one_try_left_or_none_nothing_is_tried(token, tmp_path, flags, words):
    done = token.init(tmp_path / "ca", expect=5, env=dict(token.env, DS_SHIM_FLAGS=str(flags)))
    assert words in done.stderr and "nothing was tried" in done.stderr
    assert token.count() == 0


def test_count_low_is_said_and_does_not_stop(token, tmp_path):
    done = token.init(tmp_path / "ca", env=dict(token.env, DS_SHIM_FLAGS=str(COUNT_LOW)))
    assert "a wrong PIN was entered before" in done.stderr


def test_key_that_asks_at_every_use(token, ca, tmp_path):
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--keypairgen",
              "--key-type", "EC:prime256v1", "--id", "09", "--label", "strict", "--always-auth")
    strict = tmp_path / "strict"
    key = "pkcs11:token=line;id=%09"
    devstamp("ca", "init", "--dir", strict, "--existing", "--root-key", f"file:{ca}/root.key", "--sub-key", key,
             "--module", token.shim, "--pin-file", token.pin, env=token.env)
    signer = Signer(token, strict, key=key)
    for i in range(3):
        signer.sign(Device(f"SN{i}", strict))
    assert signer.stop() == 0
    assert token.count("context") == 3


def test_log_key_in_the_same_token_signs_the_heads(token, ca, tmp_path):
    """Heads by a key in the token, checked with openssl and the key that pkcs11-tool shows."""
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--keypairgen",
              "--key-type", "EC:prime256v1", "--id", "77", "--label", "log")
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--read-object",
              "--type", "pubkey", "--label", "log", "--output-file", tmp_path / "log.der")
    public = tmp_path / "log.pem"
    token.run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", tmp_path / "log.der", "-out", public)
    token.logins.unlink()
    signer = Signer(token, ca, log_key="pkcs11:token=line;object=log")
    for i in range(3):
        signer.sign(Device(f"SN{i}", ca))
    assert signer.stop() == 0
    assert token.count() == 2  # the second key's, in the same process: it is told that it is logged in already
    head = ca / "issued.log.head"
    text = head.read_text()
    assert "\nsize 3\n" in text
    lines, signature = text[:text.index("signature ")], text.split("signature ")[1]
    (tmp_path / "lines").write_text(lines)
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    done = token.run("openssl", "dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature",
                     tmp_path / "lines")
    assert "Verified OK" in done.stdout
    devstamp("log", "verify", "--log", ca / "issued.log", "--head", head, "--log-key", public)
    with pytest.raises(Refused) as refused:
        Signer(token, ca, log_key=SUB_KEY).status()
    assert "it is the Sub CA's key" in refused.value.args[1]


def test_many_requests_at_once_are_answered_each_with_its_own(token, ca):
    """Sent without waiting; twice the same among them; a status in between. Replies carry the requests' numbers."""
    signer = Signer(token, ca)
    signer.status()
    devices = [Device(f"SN{i}", ca) for i in range(20)]
    sent = b""
    for number, device in enumerate(devices + devices[:5], start=1):
        request = field(2, device.request()) + field(6, number)
        sent += struct.pack("<I", len(request)) + request
    request = field(1, b"") + field(6, 99)
    signer.socket.sendall(sent + struct.pack("<I", len(request)) + request)
    certificates = {}
    for _ in range(26):
        reply = decode(signer.receive(struct.unpack("<I", signer.receive(4))[0]))
        assert not reply.get(1), reply
        certificates[reply[9]] = decode(reply[5 if reply[9] != 99 else 4])
    assert certificates.pop(99)[4] == 20  # a status waits for what was asked before it
    for number, reply in certificates.items():
        cert = x509.load_der_x509_certificate(reply[1])
        assert cert.serial_number == int.from_bytes(devices[(number - 1) % 20].serial, "big") & (1 << 127) - 1
    for number in range(1, 6):
        first, again = certificates[number], certificates[number + 20]
        assert first[1] == again[1] and bool(first.get(2)) + bool(again.get(2)) == 1
    assert signer.stop() == 0 and token.count() == 2  # ceremony and signer: one login each, whatever the sessions


def ask_at_once(signer, devices):
    """All requests without waiting for one answer; certificates and failures by number, until the signer ends or has answered."""
    sent = b""
    for number, device in enumerate(devices, start=1):
        request = field(2, device.request()) + field(6, number)
        sent += struct.pack("<I", len(request)) + request
    signer.socket.sendall(sent)
    replies = {}
    try:
        while len(replies) < len(devices):
            reply = decode(signer.receive(struct.unpack("<I", signer.receive(4))[0]))
            replies[reply[9]] = reply
    except EOFError:
        pass
    return replies


@pytest.mark.parametrize("what", [{"DS_SHIM_SESSIONS": "2"}, {"DS_SHIM_SLOW": "20"}])
def test_token_with_few_sessions_or_a_slow_one_serves_all(token, ca, what):
    """Two sessions: the one that is logged in, and one that signs for all."""
    signer = Signer(token, ca, env=dict(token.env, **what))
    signer.status()
    replies = ask_at_once(signer, [Device(f"SN{i}", ca) for i in range(16)])
    assert len(replies) == 16 and not any(r.get(1) for r in replies.values())
    assert signer.status()[4] == 16 and signer.stop() == 0


def test_wrong_signatures_are_not_logged_and_not_given_out(token, ca):
    wrong = token.folder / "wrong"
    signer = Signer(token, ca, env=dict(token.env, DS_SHIM_WRONG=str(wrong)))
    signer.status()
    wrong.touch()
    replies = ask_at_once(signer, [Device(f"SN{i}", ca) for i in range(8)])
    assert replies and all(r[1] == 4 and b"does not verify" in r[2] and 5 not in r for r in replies.values())
    signer.process.wait(20)
    wrong.unlink()
    signer = Signer(token, ca)
    assert signer.status().get(4, 0) == 0
    signer.stop()


def test_token_pulled_out_with_many_asking_is_told_and_loses_nothing(token, ca):
    """What was signed is answered and logged, the rest gets the token's words or the end; asked again all get theirs."""
    devices = [Device(f"SN{i}", ca) for i in range(24)]
    signer = Signer(token, ca, env=dict(token.env, DS_SHIM_USES="10"))
    signer.status()
    first, _ = signer.sign(devices[0])
    replies = ask_at_once(signer, devices)
    assert any(r.get(1) for r in replies.values())
    assert all(r[1] == 4 and r[7] == 0x32 for r in replies.values() if r.get(1))
    signer.process.wait(20)
    got = {n: decode(r[5])[1] for n, r in replies.items() if not r.get(1)}
    signer = Signer(token, ca)
    assert signer.status()[4] == 10 and len(got) <= 10
    for number, device in enumerate(devices, start=1):
        cert, from_log = signer.sign(device)
        assert number not in got or (from_log and cert == x509.load_der_x509_certificate(got[number]))
    assert signer.status()[4] == 24 and signer.sign(devices[0])[0] == first
    signer.stop()


def test_token_that_is_pulled_out_ends_the_signer_and_loses_nothing(token, ca):
    signer, device = Signer(token, ca), Device("SN1", ca)
    first, _ = signer.sign(device)
    token.gone.touch()
    with pytest.raises(Refused) as refused:
        signer.sign(Device("SN2", ca))
    assert refused.value.args[0] == 4 and refused.value.args[2] == 0x32
    assert refused.value.hint == "plug the token in, then run again"
    signer.process.wait(20)
    token.gone.unlink()
    signer = Signer(token, ca)
    assert signer.status().get(4) == 1
    assert signer.sign(device) == (first, True)
    signer.stop()


def test_killed_in_the_middle_the_log_gives_what_was_handed_out(token, ca):
    handed_out = {}
    devices = [Device(f"SN{i}", ca) for i in range(30)]
    for round_ in range(3):
        signer = Signer(token, ca)
        for i, device in enumerate(devices[: 10 * round_ + 10]):
            if i == 10 * round_ + 5:
                # the request is on its way: the signer dies before, while or after it signs
                request = field(2, device.request())
                signer.socket.sendall(struct.pack("<I", len(request)) + request)
                signer.process.send_signal(signal.SIGKILL)
                signer.process.wait(20)
                signer = Signer(token, ca)
            cert, _ = signer.sign(device)
            assert handed_out.setdefault(i, cert) == cert
        assert signer.status()[4] == 10 * round_ + 10
        signer.stop()
    assert len({c.serial_number for c in handed_out.values()}) == 30


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to give up")
def test_the_signer_of_root_gives_up_its_capabilities(token, ca):
    signer = Signer(token, ca)
    signer.status()
    for task in pathlib.Path(f"/proc/{signer.process.pid}/task").iterdir():
        held = dict(line.split(":\t") for line in (task / "status").read_text().splitlines() if line.startswith("Cap"))
        for which in ("CapPrm", "CapEff", "CapInh"):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK stay
            assert int(held[which], 16) & ~(1 << 1 | 1 << 2 | 1 << 14) == 0, which
    assert signer.stop() == 0


def test_a_second_signer_on_one_log_is_refused(token, ca):
    first = Signer(token, ca)
    first.status()
    token.logins.unlink()
    second = Signer(token, ca)
    with pytest.raises(Refused) as refused:
        second.status()
    assert refused.value.args[0] == 5 and "held by another signer" in refused.value.args[1]
    second.stop()
    assert token.count() == 0
    first.stop()


@pytest.mark.parametrize("request_", [b"\xff\xff\xff\xff", field(9, b"x"), b"", field(2, b""), field(3, b""), b"\x12\x7f"])
def test_rubbish_is_answered_or_ends_the_signer_but_signs_nothing(token, ca, request_):
    signer = Signer(token, ca)
    with pytest.raises((Refused, EOFError)):
        signer.ask(request_)
    signer.stop()
    signer = Signer(token, ca)
    assert signer.status().get(4, 0) == 0
    signer.stop()


def test_oversized_frame_ends_the_signer(token, ca):
    signer = Signer(token, ca)
    signer.socket.sendall(struct.pack("<I", 1 << 30))
    with pytest.raises((EOFError, ConnectionResetError)):
        signer.receive(4)
    assert signer.stop() != 0


def test_token_that_hangs_fails_all_slots_within_one_timeout(products, factory, token):
    slots = 3
    ca, hang = factory.folder / "ca", factory.folder / "hang"
    token.init(ca)
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=ca / "root.pem")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}"] * slots)
    station = factory.station(key=SUB_KEY, certificate=ca / "subca.pem", module=token.shim, pin_file=token.pin)
    env = dict(token.env, DS_SHIM_HANG=str(hang))
    hang.touch()
    begin = time.monotonic()
    done, doc = factory.provision(recipe, station, ok=False, env=env)
    took = time.monotonic() - begin
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stdout.count("the token gave no answer within 20 s") >= slots
    assert doc["failed"] == slots
    hang.unlink()
    begin = time.monotonic()
    _, doc = factory.provision(recipe, station, env=env)
    assert doc["passed"] == slots
    # What a good run takes the devices was part of the bad one: the rest of that is less than two timeouts.
    assert took < time.monotonic() - begin + 40


def test_signer_behind_a_driver_that_hangs_ends_once_its_station_is_gone(token, ca, tmp_path):
    hang = tmp_path / "hang"
    hang.touch()
    signer = Signer(token, ca, env=dict(token.env, DS_SHIM_HANG=str(hang)))
    signer.status()
    request = field(2, Device("SN1", ca).request())
    signer.socket.sendall(struct.pack("<I", len(request)) + request)
    time.sleep(1)  # it is with the driver
    assert signer.stop() in (0, -signal.SIGALRM)
    hang.unlink()
    signer = Signer(token, ca)
    assert signer.status().get(4, 0) == 0
    signer.stop()


@pytest.mark.parametrize("first", ["removed", "error"])
def test_line_goes_on_behind_a_token_that_comes_back_slowly(products, factory, token, first):
    """A driver waits for ever where no session can be opened, and says "error" for a while after the token is back."""
    ca = factory.folder / "ca"
    token.init(ca)
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=ca / "root.pem")
    factory.start(*[f"chip=esp32c3,image={factory.merged(recipe)}"] * 3)
    station = factory.station(key=SUB_KEY, certificate=ca / "subca.pem", module=token.shim, pin_file=token.pin)
    token.gone.touch()

    def hand():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and token.gone.stat().st_size < 5:
            time.sleep(0.1)
        token.gone.unlink()

    helper = threading.Thread(target=hand)
    helper.start()
    done, doc = factory.provision(recipe, station, env=dict(token.env, DS_SHIM_COMING=first))
    helper.join()
    assert doc["passed"] == 3
    assert "the line waits" in done.stderr and "the token is back; the line goes on" in done.stderr


def test_a_sub_ca_in_a_token_is_requested_installed_and_signs_crls(tmp_path, token):
    root, sub = tmp_path / "vault", tmp_path / "factory"
    access = ["--sub-key", SUB_KEY, "--module", token.shim, "--pin-file", token.pin]
    devstamp("ca", "root", "--dir", root)
    devstamp("ca", "request", "--dir", sub, *access, env=token.env)
    devstamp("ca", "sign", "--dir", root, "--request", sub / "subca.csr", "-o", tmp_path / "sub.pem")
    devstamp("ca", "install", "--dir", sub, "--certificate", tmp_path / "sub.pem", "--root-certificate", root / "root.pem")
    fingerprint = load(sub / "subca.pem").fingerprint(hashes.SHA256()).hex()
    (tmp_path / "list").write_text(f"devstamp revoked 1\nca {fingerprint}\n05 1790000000 superseded\n")
    logins = token.count()
    devstamp("ca", "crl", "--dir", sub, "--list", tmp_path / "list", *access, env=token.env)
    crl = x509.load_der_x509_crl((sub / "subca.crl").read_bytes())
    assert crl.is_signature_valid(load(sub / "subca.pem").public_key()) and token.count() == logins + 1
    assert not any(PIN in p.read_text() for p in sub.glob("ceremony-*.txt"))
    token.write_pin("999999")
    devstamp("ca", "crl", "--dir", sub, "--list", tmp_path / "list", *access, env=token.env, expect=5)
    devstamp("ca", "crl", "--dir", sub, "--list", tmp_path / "list", *access, env=token.env, expect=5)
    assert token.count() == logins + 2 and (sub / "subca.pin-refused").exists()  # a refused PIN is sent once
    token.write_pin(PIN)
    devstamp("ca", "crl", "--dir", sub, "--list", tmp_path / "list", *access, env=token.env)
    assert x509.load_der_x509_crl((sub / "subca.crl").read_bytes()).extensions.get_extension_for_class(
        x509.CRLNumber).value.crl_number == 2
