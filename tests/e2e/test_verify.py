# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp verify device: a genuine device gets credentials, over console and HTTP, and nothing else ever does."""

import hashlib
import hmac
import http.server
import json
import os
import pty
import select
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from agentlib import Agent, field, fields
from factory import DEVSTAMP, run

OWNER = 15
OPENED, PROOF, RECEIPT = 2, 3, 4
NO_SESSION, REFUSED, LOCKED = 2, 3, 4


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


class Owner:
    """One device, provisioned, and the person who has its label."""

    def __init__(self, products, factory, chip="esp32c3", **changes):
        self.factory = factory
        self.root = products.folder / "ca/root.pem"
        recipe = products.recipe(factory.folder, chip, **changes)
        factory.start(f"chip={chip},image={factory.merged(recipe)}")
        _, doc = factory.provision(recipe, factory.station())
        self.serial = doc["slots"][0]["serial"]
        text = run(DEVSTAMP, "label", "--ledger", factory.folder / "ledger.db", "--text", self.serial).stdout
        self.label = private(factory.folder / "label.json", text)
        self.pop = json.loads(text)["pop"]
        self.passphrase = private(factory.folder / "passphrase", "correct horse\n")

    def verify(self, *args, port=None, ok=True, label=True, root=None):
        label = ["--label", self.label] if label else []
        return run(DEVSTAMP, "verify", "device", "--root", root or self.root, *label, *args,
                   port or self.factory.address(0, "tcp"), ok=ok)

    def wifi(self):
        return "--ssid", "home", "--passphrase-file", self.passphrase


@pytest.fixture
def owner(products, factory):
    return Owner(products, factory)


@pytest.mark.parametrize("chip,key", [("esp32", "rsa-2048"), ("esp32c3", "ecdsa-p256"), ("esp32c3", "ecdsa-p384")])
def test_genuine_device_takes_credentials(products, factory, chip, key):
    owner = Owner(products, factory, chip, key=key, proof="report")
    for kind in "tcp", "rfc2217", "pty":
        p = owner.verify(*owner.wifi(), port=factory.address(0, kind))
        assert p.stdout.startswith(f"genuine: {owner.serial}, certified by "), p.stdout
        assert "Sub CA" in p.stdout and "has taken the credentials for 'home'" in p.stdout
    doc = json.loads(owner.verify("--json").stdout)
    assert doc["genuine"] and doc["serial"] == owner.serial and doc["credentials_taken"] is False
    pem = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--pem", owner.serial).stdout
    cert = x509.load_pem_x509_certificate(pem[pem.index("-----BEGIN"):].encode())
    assert doc["certificate"] == cert.fingerprint(hashes.SHA256()).hex()
    # What it took lies nowhere in the clear, neither in flash nor in what the devices printed.
    for place in factory.flash(0), (factory.folder / "sim.log").read_bytes():
        assert b"correct horse" not in place and owner.pop.encode() not in place


def test_secrets_by_descriptor_and_label_by_standard_input(owner):
    pop_r, pop_w = os.pipe()
    pass_r, pass_w = os.pipe()
    for fd, text in (pop_w, owner.pop), (pass_w, "correct horse"):
        os.write(fd, text.encode())
        os.close(fd)
    p = subprocess.run([DEVSTAMP, "verify", "device", "--root", owner.root, "--name", owner.serial, "--pop-fd",
                        str(pop_r), "--ssid", "home", "--passphrase-fd", str(pass_r), owner.factory.address(0, "tcp")],
                       pass_fds=(pop_r, pass_r), capture_output=True, text=True, timeout=60)
    assert p.returncode == 0 and "has taken" in p.stdout, p.stderr
    p = subprocess.run([DEVSTAMP, "verify", "device", "--root", owner.root, "--label", "-", "--ssid", "cafe", "--open",
                        owner.factory.address(0, "tcp")], input=owner.label.read_text(), capture_output=True, text=True,
                       timeout=60)
    assert p.returncode == 0 and "'cafe'" in p.stdout, p.stderr


def test_secret_is_asked_for_on_the_terminal(owner):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(DEVSTAMP, [str(DEVSTAMP), "verify", "device", "--root", str(owner.root), "--name", owner.serial,
                            owner.factory.address(0, "tcp")])
    seen, asked = b"", False
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([fd], [], [], 1)
        try:
            seen += os.read(fd, 4096) if ready else b""
        except OSError:
            break
        if b"on the label: " in seen and not asked:
            asked = True
            os.write(fd, owner.pop.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert b"genuine: " in seen and owner.pop.encode() not in seen


def test_wrong_secret_is_refused_until_none_is_taken(owner):
    wrong = private(owner.factory.folder / "wrong", "WRONG-WRONG-WRONG\n")
    args = "--name", owner.serial, "--pop-file", wrong, *owner.wifi()
    for _ in range(8):
        p = owner.verify(*args, label=False, ok=False)
        assert p.returncode == 3 and "does not know this proof of possession" in p.stderr, p.stderr
    p = owner.verify(*args, label=False, ok=False)
    assert p.returncode == 4 and "too many" in p.stderr
    assert owner.verify(ok=False).returncode == 4  # the right one neither
    owner.factory.ctl(0, "reset")
    assert owner.verify().returncode == 0


def test_another_product_or_label_is_not_genuine(products, owner):
    run(DEVSTAMP, "ca", "init", "--dir", owner.factory.folder / "other")
    p = owner.verify(*owner.wifi(), root=owner.factory.folder / "other/root.pem", ok=False)
    assert p.returncode == 8 and "not genuine" in p.stderr and "has taken" not in p.stdout
    pop = private(owner.factory.folder / "pop", owner.pop)
    p = owner.verify("--json", "--name", "SN-another", "--pop-file", pop, label=False, ok=False)
    doc = json.loads(p.stdout)
    assert p.returncode == 8 and doc["genuine"] is False and doc["error"]["class"] == "policy"
    assert owner.serial in doc["error"]["text"] and "SN-another" in doc["error"]["text"]


def test_device_that_is_not_sealed_is_refused(products, factory):
    """In the mfg firmware, and in the app of a device whose flash was rewritten behind its back."""
    root = products.folder / "ca/root.pem"
    recipe = products.recipe(factory.folder, "esp32c3")
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    label = private(factory.folder / "label", '{"ver":"v1","name":"SN-1","pop":"ABCDEFGH"}\n')
    p = run(DEVSTAMP, "verify", "device", "--root", root, "--label", label, factory.address(0, "tcp"), ok=False)
    assert p.returncode == 4 and "manufacturing firmware" in p.stderr, p.stderr
    _, doc = factory.provision(recipe, factory.station())
    factory.stop()
    with open(factory.state / "0/flash.bin", "r+b") as flash:
        flash.seek(0x1A000)
        flash.write(b"\xff" * 0x6000)
    factory.start()
    p = run(DEVSTAMP, "verify", "device", "--root", root, "--label", label, factory.address(0, "tcp"), ok=False)
    assert p.returncode == 8 and "not locked" in p.stderr, p.stderr


@pytest.mark.parametrize("args", [
    [], ["--name", "A", "--label", "x"], ["--label", "x", "--pop-fd", "3"], ["--label", "x", "--open"],
    ["--label", "x", "--passphrase-fd", "3"], ["--label", "x", "--ssid", "a", "--open", "--passphrase-fd", "3"],
])
def test_usage(tmp_path, args):
    p = run(DEVSTAMP, "verify", "device", "--root", "x", *args, "tcp://127.0.0.1:1", ok=False)
    assert p.returncode == 2 and p.stderr.startswith("usage:")


def test_bad_input_is_named(tmp_path):
    root = tmp_path / "root.pem"
    root.write_text("no certificate")
    label = private(tmp_path / "label", '{"ver":"v1","name":"SN-1","pop":"ABCDEFGH"}\n')
    base = [DEVSTAMP, "verify", "device", "--root", root]
    p = run(*base, "--label", label, "tcp://127.0.0.1:1", ok=False)
    assert p.returncode == 3 and "root certificate" in p.stderr
    label.chmod(0o644)
    assert run(*base, "--label", label, "tcp://127.0.0.1:1", ok=False).returncode == 8
    private(label, '{"ver":"v1","name":"SN-1"}\n')
    p = run(*base, "--label", label, "tcp://127.0.0.1:1", ok=False)
    assert p.returncode == 3 and "QR code" in p.stderr


# ---- HTTP, and devices that are made up


class Relay:
    """ESP-IDF's protocomm over HTTP, as far as a client sees it: POST to one name, a session cookie, a body as reply."""

    def __init__(self, answer):
        relay = self
        self.requests, self.without_cookie = 0, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                relay.requests += 1
                relay.without_cookie += self.headers.get("Cookie") != "session=77"
                reply = answer(body) if self.path == "/devstamp-owner" else None
                self.send_response(200 if reply is not None else 404)
                self.send_header("Set-Cookie", "session=77")
                self.send_header("Content-Length", str(len(reply or b"")))
                self.end_headers()
                self.wfile.write(reply or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/devstamp-owner"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def console(agent):
    def answer(message):
        status, body = agent.call(OWNER, field(1, message))
        assert status == 0, hex(status)
        return fields(body)[1]
    return answer


def test_http_carries_the_same_messages(owner):
    with Agent(owner.factory.devices[0]["tcp"]) as agent, Relay(console(agent)) as relay:
        p = owner.verify(*owner.wifi(), port=relay.url)
        assert p.stdout.startswith(f"genuine: {owner.serial}") and "has taken" in p.stdout
        assert relay.requests == 3 and relay.without_cookie == 1
        p = owner.verify(port=relay.url + "-not", ok=False)
        assert p.returncode == 7 and "404" in p.stderr
    p = owner.verify(port=relay.url, ok=False)
    assert p.returncode == 7 and "hint" in p.stderr


def test_relay_that_changes_anything_gets_nothing(owner):
    seen = []

    def spoil(which):
        def change(answer):
            def changed(message):
                reply = answer(message)
                seen.append(message)
                at = len(reply) // 2
                return reply[:at] + bytes([reply[at] ^ 1]) + reply[at + 1:] if which in fields(reply) else reply
            return changed
        return change

    with Agent(owner.factory.devices[0]["tcp"]) as agent:
        for which, code in (OPENED, 4), (PROOF, 8), (RECEIPT, 4):
            with Relay(spoil(which)(console(agent))) as relay:
                p = owner.verify(*owner.wifi(), port=relay.url, ok=False)
                assert p.returncode == code, (which, p.stderr)
                assert "has taken" not in p.stdout
    assert not any(b"correct horse" in m for m in seen)


class Counterfeit:
    """A device of somebody else: it knows what its label says, and shows what it is told to."""

    def __init__(self, pop, chain, key):
        self.pop, self.chain, self.key = pop.encode(), chain, key
        self.parcels = 0

    def keys(self, x):
        z = self.secret.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), x))
        self.transcript = b"devstamp owner 1\0" + x + self.point
        prk = hmac.digest(hashlib.sha256(self.transcript).digest(), z + self.pop, "sha256")
        return lambda name: hmac.digest(prk, name + b"\1", "sha256")

    def answer(self, message):
        (kind, body), = fields(message).items()
        if kind == 1:
            self.secret = ec.generate_private_key(ec.SECP256R1())
            self.point = self.secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return field(OPENED, field(1, self.point))
        if kind != 2:
            self.parcels += 1
            return field(1, 7)
        q = fields(body)
        key = self.keys(q[1])
        assert q[2] == self.point and key(b"owner tag") == q[3]
        identity = field(1, self.chain) + field(2, self.key.sign(self.transcript, ec.ECDSA(hashes.SHA256())))
        sealed = AESGCM(key(b"proof key")).encrypt(bytes(12), identity, None)
        return field(PROOF, field(1, sealed) + field(3, len(sealed)))


def device_chain(owner):
    """As a genuine device shows it to whoever has its label."""
    secret = ec.generate_private_key(ec.SECP256R1())
    x = secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    with Agent(owner.factory.devices[0]["tcp"]) as agent:
        say = console(agent)
        y = fields(fields(say(field(1, field(1, 1))))[OPENED])[1]
        z = secret.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), y))
        prk = hmac.digest(hashlib.sha256(b"devstamp owner 1\0" + x + y).digest(), z + owner.pop.encode(), "sha256")

        def key(name):
            return hmac.digest(prk, name + b"\1", "sha256")

        proof = fields(fields(say(field(2, field(1, x) + field(2, y) + field(3, key(b"owner tag")))))[PROOF])
        assert len(proof[1]) == proof[3]
        return fields(AESGCM(key(b"proof key")).decrypt(bytes(12), proof[1], None))[1]


def test_counterfeits_get_no_credentials(products, owner):
    """Written in another language from docs/owner.md alone: what it accepts is what the document says."""
    key = ec.generate_private_key(ec.SECP256R1())
    genuine_chain = device_chain(owner)
    subject = run("openssl", "x509", "-in", owner.root, "-noout", "-subject", "-nameopt", "RFC2253").stdout
    folder = owner.factory.folder / "false"
    run(DEVSTAMP, "ca", "init", "--dir", folder)  # an authority of the same names
    assert subject == run("openssl", "x509", "-in", folder / "root.pem", "-noout", "-subject", "-nameopt",
                          "RFC2253").stdout
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, owner.serial)])
    parent = x509.load_pem_x509_certificate((folder / "subca.pem").read_bytes())
    parent_key = load_pem_private_key((folder / "subca.key").read_bytes(), None)
    own = (x509.CertificateBuilder().subject_name(name).issuer_name(parent.subject).public_key(key.public_key())
           .serial_number(x509.random_serial_number()).not_valid_before(parent.not_valid_before)
           .not_valid_after(parent.not_valid_after).sign(parent_key, hashes.SHA256()))
    own_chain = own.public_bytes(Encoding.DER) + parent.public_bytes(Encoding.DER)
    for chain, words in (genuine_chain, "does not hold the key"), (own_chain, "none of this product's"):
        false = Counterfeit(owner.pop, chain, key)
        with Relay(false.answer) as relay:
            p = owner.verify(*owner.wifi(), port=relay.url, ok=False)
        assert p.returncode == 8 and words in p.stderr, p.stderr
        assert false.parcels == 0 and "has taken" not in p.stdout


def test_strangers_learn_nothing(owner):
    """Who does not know the label's secret sees a fresh point and refusals; the same tag twice is worth nothing."""
    with Agent(owner.factory.devices[0]["tcp"]) as agent:
        say = console(agent)
        points = [fields(fields(say(field(1, field(1, 1))))[OPENED])[1] for _ in range(4)]
        assert len(set(points)) == 4
        x = points[0]

        def guess(y):
            return fields(say(field(2, field(1, x) + field(2, y) + field(3, bytes(32)))))

        assert guess(points[2]) == {1: NO_SESSION} and guess(points[3]) == {1: REFUSED}
        assert fields(say(field(9, 1))) == {1: 1} and fields(say(field(3, b""))) == {1: 2}
        for _ in range(7):
            assert guess(fields(fields(say(field(1, field(1, 1))))[OPENED])[1]) == {1: REFUSED}
        assert guess(x) == {1: LOCKED} and fields(say(field(1, field(1, 1)))) == {1: LOCKED}
