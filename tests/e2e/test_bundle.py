# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Release bundles: what they say is what is burned; a station takes nothing but what is signed and approved as it demands."""

import hashlib
import json
import re
import subprocess

import pytest
import yaml

import test_ca_token
from bundlelib import Bundle, Key, canonical, create, fields, fuses
from factory import DEVSTAMP, run
from signerlib import SUB_KEY

shim, token = test_ca_token.shim, test_ca_token.token  # fixtures

NOWHERE = ({"name": "1", "port": "tcp://127.0.0.1:9", "reset": "none"},)


@pytest.fixture
def release(tmp_path):
    return Key(tmp_path, "release")


def demand(*keys, approvers=(), approvals=0, **more):
    said = {"release_keys": [str(getattr(k, "id", k)) for k in keys], "approvers": [k.id for k in approvers],
            "approvals": approvals, **more}
    return json.dumps(said)


def refused(factory, station, bundle, *words, code=8):
    p, doc = factory.provision(bundle, station, ok=False)
    assert p.returncode == code, p.stderr
    for word in words:
        assert word in doc["error"]["text"] + doc["error"]["hint"], doc
    return doc["error"]["text"]


def begins(factory, station, bundle):
    """The line begins, and finds no device."""
    p, doc = factory.provision(bundle, station, ok=False)
    assert p.returncode == 1 and doc["failed"] == 1, p.stderr


# --- the line

CASES = {
    "esp32": ("esp32", {"close_download": "true"}),
    "esp32c3": ("esp32c3", {"close_download": "true"}),
    "esp32c3-development": ("esp32c3", {"mode": "development"}),
    "esp32c3-keys": ("esp32c3", {"key": "rsa-2048", "protection": "key_protection: ds\nnvs_keys: hmac\n"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_bundle_says_is_what_is_burned(products, factory, release, case):
    chip, changes = CASES[case]
    app = products.image(chip, "app", "2.0.0", signed=True, **{"secure-pad": True, "secure-version": "2"})
    recipe = products.recipe(factory.folder, chip, app=app, **changes)
    factory.start(f"chip={chip},image={factory.merged(recipe)}")
    before = fuses(factory.state / "0/efuse.bin", chip)
    bundle = create(recipe, 3, release)
    factory.provision(bundle, factory.station(bundles=demand(release)))
    assert factory.ledger_is_whole().returncode == 0
    after = fuses(factory.state / "0/efuse.bin", chip)

    table, planned, serial = fields(chip), [0] * 11, factory.ledger()[0]["serial"]
    blocks = [f for f in table if f.startswith("BLOCK_KEY") or f in ("BLOCK1", "BLOCK2")]
    made = Bundle(bundle.read_bytes())
    certificate = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", serial, "--pem").stdout
    anchor = hashlib.sha256(subprocess.run(["openssl", "x509", "-outform", "DER"], input=certificate.encode(),
                                           capture_output=True, check=True).stdout).digest()
    for burn in made.manifest["burns"]:
        block, first, _ = table.get(burn["field"], (3, 192, 64))  # an ESP32's anchor is in two words of BLOCK3
        value = burn["value"]
        if value == "secret":
            assert after[block] != 0 and before[block] == 0
            planned[block] |= after[block]
        elif value == "certificate":
            bits = int.from_bytes(anchor, "little")
            if chip == "esp32":  # 7 bytes and the number of zeros in them (docs/decisions/0003)
                bits = int.from_bytes(anchor[:7], "little")
                bits = (bits | (56 - bin(bits).count("1")) << 56) << 192
            planned[block] |= bits
        else:
            number = int.from_bytes(bytes.fromhex(value), "little") if len(value) == 64 else int(value, 16)
            planned[block] |= number << first
    for block, bits in enumerate(planned):
        assert after[block] & ~before[block] == bits & ~before[block], f"block {block}"
    assert len([b for b in made.manifest["burns"] if b["field"] in blocks]) >= 2
    events = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", serial).stdout
    assert f"release 3 {hashlib.sha256(made.text).hexdigest()}" in events


def test_bundle_of_two_signing_keys_and_a_rerun(products, factory, release):
    """Two keys are burned, and the proof demands exactly both; an app that is signed with the second alone is refused, since
    the mfg firmware looks for the first."""
    second = factory.folder / "second.pem"
    run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", second)
    boot, app, both = (factory.folder / f"{n}.bin" for n in ("boot", "app", "both"))
    run(DEVSTAMP, "image", "sign", "--key", second, products.image("esp32c3", "secure-bootloader", signed=True), "-o", boot)
    run(DEVSTAMP, "image", "sign", "--key", second, products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True}), "-o",
        app)
    run(DEVSTAMP, "image", "sign", "--key", second, products.image("esp32c3", "app", "2.0.0", signed=True,
                                                                  **{"secure-pad": True}), "-o", both)
    p = run(DEVSTAMP, "bundle", "create", "--recipe", products.recipe(factory.folder, "esp32c3", secure=boot, app=app),
            "--release", "1", "-o", factory.folder / "x.bundle", ok=False)
    assert p.returncode == 8 and "different keys" in p.stderr
    recipe = products.recipe(factory.folder, "esp32c3", secure=boot, app=both)
    factory.start(f"chip=esp32c3,image={factory.merged(recipe)}")
    bundle = create(recipe, 1, release)
    assert len(Bundle(bundle.read_bytes()).manifest["trusted"]) == 2
    station = factory.station(bundles=demand(release))
    factory.provision(bundle, station)
    factory.provision(bundle, station)
    assert factory.ledger_is_whole().returncode == 0


# --- what a station refuses

@pytest.fixture
def c3(products, factory):
    return products.recipe(factory.folder, "esp32c3", proof="report")


def test_station_takes_nothing_but_signed_bundles(factory, c3, release, tmp_path):
    other = Key(tmp_path, "other")
    station = factory.station(slots=NOWHERE, bundles=demand(release.public))
    refused(factory, station, c3, "is a bare recipe", "--bundle FILE")
    bundle = create(c3, 1)
    refused(factory, station, bundle, "not signed with a known release key")
    run(DEVSTAMP, "bundle", "sign", "--key", other.path, bundle)
    refused(factory, station, bundle, "not signed with a known release key")
    run(DEVSTAMP, "bundle", "approve", "--key", release.path, bundle)  # a release key's approval is no release
    refused(factory, station, bundle, "not signed with a known release key")
    run(DEVSTAMP, "bundle", "sign", "--key", release.path, bundle)
    begins(factory, station, bundle)
    refused(factory, factory.station(slots=NOWHERE, name="open"), bundle, "no release keys are known here")


def test_approvals_are_of_different_people(factory, c3, release, tmp_path):
    first, second, stranger = (Key(tmp_path, n, k) for n, k in (("first", "p384"), ("second", "rsa"), ("stranger", "ec")))
    station = factory.station(slots=NOWHERE, bundles=demand(release, approvers=(first, second, release), approvals=2))
    bundle = create(c3, 1, release)
    refused(factory, station, bundle, "has 0 approvals by known approvers, and needs 2")
    for key in (release, stranger, first):  # the one who released it does not count, nor does a stranger
        run(DEVSTAMP, "bundle", "approve", "--key", key.path, bundle)
    refused(factory, station, bundle, "has 1 approval by known approvers, and needs 2")
    again = run(DEVSTAMP, "bundle", "approve", "--key", first.path, bundle, ok=False)
    assert again.returncode == 8 and "twice" in again.stderr
    run(DEVSTAMP, "bundle", "approve", "--key", second.path, bundle)
    begins(factory, station, bundle)
    verify = ["bundle", "verify", "--release-key", release.public, "--approver-key", first.id, "--approvals"]
    assert run(DEVSTAMP, *verify, "1", bundle).stdout.splitlines()[1].startswith("bundle ")
    assert run(DEVSTAMP, *verify, "2", bundle, ok=False).returncode == 8
    assert run(DEVSTAMP, "bundle", "verify", "--station", station, bundle).returncode == 0
    bad = factory.station(slots=NOWHERE, name="bad", bundles=demand(release, approvers=(first,), approvals=2))
    refused(factory, bad, bundle, "2 approvals are demanded of 1 approvers", code=3)


def test_older_release_does_not_come_back(factory, c3, release):
    old, new = create(c3, 1, release), create(c3, 2, release)
    station = factory.station(slots=NOWHERE, bundles=demand(release))
    begins(factory, station, old)
    begins(factory, station, new)
    begins(factory, station, new)
    assert "older than 2" in refused(factory, station, old, "allow_older")
    c3.write_text(c3.read_text() + "# another\n")
    assert "another bundle was used here as release 2" in refused(factory, station, create(c3, 2, release))
    allows = factory.station(slots=NOWHERE, name="allows", bundles=demand(release, allow_older=True))
    begins(factory, allows, old)
    refused(factory, station, old, "older than 2")  # the newest counts, not the last


def test_changed_bundle_is_refused(factory, c3, release, tmp_path):
    station = factory.station(slots=NOWHERE, bundles=demand(release))
    good = create(c3, 1, release).read_bytes()
    path = tmp_path / "changed.bundle"

    def says(data, *words, code=3):
        path.write_bytes(data)
        refused(factory, station, path, *words, code=code)
        assert run(DEVSTAMP, "bundle", "show", path, ok=False).returncode == code

    at = good.index(b"SECURE_BOOT_EN")
    says(good[:at] + b"D" + good[at + 1:], "signature does not hold")
    b = Bundle(good)
    image = len(good) - len(b.signatures[0][1]) - len(b.signatures[0][2]) - 12 - len(b.parts["endpoint_ca"]) - 100
    says(good[:image] + bytes([good[image] ^ 1]) + good[image + 1:], "app: not what the manifest says")
    says(good[:-1], "ends too early")
    says(good + b"\0", "something follows the bundle")
    # Signed by the right key, and still not what the recipe does: less to burn, another image, another part.
    lies = [("burns", b.manifest["burns"][1:]), ("lock", "development"), ("trusted", ["00" * 32]), ("product", "other")]
    for name, value in lies:
        b = Bundle(good)
        b.manifest[name], b.signatures = value, []
        b.text = canonical(b.manifest)
        b.sign(1, release)
        says(b.write(), "does not say what the recipe and its images do")
    b = Bundle(good)
    app = bytearray(b.parts["app"])
    app[5000] ^= 1
    b.parts["app"], b.signatures = bytes(app), []
    next(f for f in b.manifest["files"] if f["part"] == "app")["sha256"] = hashlib.sha256(app).hexdigest()
    b.text = canonical(b.manifest)
    b.sign(1, release)
    says(b.write(), "app image")


def test_secure_boot_key_signs_no_bundle(products, factory, c3):
    """It signs bare digests of images, and a manifest's could be passed off as one."""
    bundle = create(c3, 1)
    p = run(DEVSTAMP, "bundle", "sign", "--key", products.signing_key, bundle, ok=False)
    assert p.returncode == 8 and "trust for secure boot" in p.stderr
    assert Bundle(bundle.read_bytes()).signatures == []


def test_bundle_is_the_same_each_time_and_stands_alone(products, factory, c3, tmp_path):
    first = create(c3, 5).read_bytes()
    again = tmp_path / "again.bundle"
    created = Bundle(first).manifest["created"]
    run(DEVSTAMP, "bundle", "create", "--recipe", c3, "--release", "5", "-o", again, "--time",
        run("date", "-ud", created, "+%s").stdout.strip())
    assert again.read_bytes() == first
    parts = Bundle(first).parts
    recipe = yaml.safe_load(c3.read_text())
    assert parts["recipe"] == c3.read_bytes()
    assert parts["app"] == open(recipe["images"]["app"]["file"], "rb").read()
    c3.write_text("nothing\n")
    assert "BURNED FOR EVER" in run(DEVSTAMP, "bundle", "show", again).stdout


def test_platform_without_a_lock_says_that_nothing_is_burned(products, factory, release):
    recipe = factory.folder / "gauge.yaml"
    recipe.write_text(f"""\
recipe: 1
product: gauge
chip: generic
key: ecdsa-p256
certificate: {{subject: "CN={{serial}},O=Example"}}
stamp: {{serial: "GAUGE-{{mac}}", endpoint: "mqtts://localhost:1", endpoint_ca: {products.folder / "ca/root.pem"}}}
lock: {{mode: none}}
""")
    bundle = create(recipe, 1, release)
    out = run(DEVSTAMP, "bundle", "show", bundle).stdout
    assert "NOTHING IS BURNED" in out and "BURNED FOR EVER" not in out
    begins(factory, factory.station(slots=NOWHERE, bundles=demand(release)), bundle)


def test_show_says_for_ever_what_ends_for_ever(products, factory, release):
    recipe = products.recipe(factory.folder, "esp32", close_download="true")
    out = run(DEVSTAMP, "bundle", "show", create(recipe, 7, release)).stdout
    assert out.startswith("demo-esp32 for ESP32, release 7, made 20")
    digest = run(DEVSTAMP, "image", "verify", "--key", products.signing_key,
                 products.image("esp32", "secure-bootloader", signed=True)).stdout.split()[-1]
    for words in ("BURNED FOR EVER", f"for ever, firmware signed with this key and no other, by its digest:\n  {digest}",
                  "UART_DOWNLOAD_DIS           no download mode: the device cannot be flashed by wire any more",
                  f"release   ECDSA P-256  {release.id}"):
        assert words in out
    out = run(DEVSTAMP, "bundle", "show", create(products.recipe(factory.folder, "esp32c3"), 1)).stdout
    assert re.search(r"KEY_PURPOSE_0 +that block holds the digest of a signing key \(secure boot digest 0\)\n", out)
    assert re.search(r"KEY_PURPOSE_1 +that block holds the flash key \(XTS-AES-128\)\n", out)


# --- what an approver sees, and signs

def becomes(bundle):
    """{name: words} of the part of show that says what devices become."""
    out = run(DEVSTAMP, "bundle", "show", bundle).stdout
    part = out.split("\nWhat devices become:\n")[1].split("\n\n")[0]
    return {line[2:19].strip(): line[19:] for line in part.splitlines()}


def test_show_says_what_devices_become(products, factory):
    told = becomes(create(products.recipe(factory.folder, "esp32c3", days="90", key="rsa-2048", close_download="true",
                                          endpoint="mqtts://iot.example:8883", protection="key_protection: ds\nnvs_keys: hmac\n")))
    for name, words in {"endpoint": "mqtts://iot.example:8883", "endpoint known by": "endpoint_ca",
                        "serial number": "SN-{mac}", "subject": "CN={serial},O=Example",
                        "key": "RSA-2048, made by the device", "key kept": "digital-signature peripheral",
                        "certificate": "holds for 90 days", "value": 'cfg/region = "3"', "lock": "release",
                        "download mode": "closed for good", "proof": "full"}.items():
        if name == "value":
            assert 'cfg/region = "3"' in run(DEVSTAMP, "bundle", "show", factory.folder / "esp32c3.1.bundle").stdout
        else:
            assert words in told[name], told
    told = becomes(create(products.recipe(factory.folder, "esp32c3", mode="development", proof="report",
                                          protection="origin: station\n"), 2))
    for name, words in {"key": "made by the station's signer", "key kept": "in encrypted NVS", "certificate": "no end",
                        "lock": "DEVELOPMENT", "download mode": "stays open", "proof": "report"}.items():
        assert words in told[name], told
    told = becomes(create(products.recipe(factory.folder, "esp32c3", serial="SN-{counter:6}", subject="CN={serial}",
                                          protection="origin: remote\n"), 3))
    assert "made ahead" in told["key"]


def test_show_of_a_recipe_cannot_deceive(products, factory):
    """What its texts hold is shown as it is; a line cannot be forged, nor hidden from who reads the recipe."""
    evil = products.recipe(factory.folder, "esp32c3",
                           value=r'{namespace: cfg, key: model, type: string, value: "a\n  endpoint  b\e[2J\u202e\\"}')
    out = run(DEVSTAMP, "bundle", "show", create(evil)).stdout
    assert r'cfg/model = "a\x0a  endpoint  b\x1b[2J\xe2\x80\xae\\"' in out and "\x1b" not in out
    good = products.recipe(factory.folder, "esp32c3", extra="# für später\r\n# done\n")
    bundle = create(good, 2)
    shown = subprocess.run([DEVSTAMP, "bundle", "show", "--recipe", bundle], capture_output=True, check=True).stdout
    assert shown == good.read_bytes()
    for number, hidden in enumerate(("\r", "\u2028", "\u202e", "\u200b", "\x85"), 3):
        bad = products.recipe(factory.folder, "esp32c3")
        bad.write_bytes(bad.read_bytes() + f"# so {hidden}# that\n".encode())
        p = run(DEVSTAMP, "bundle", "create", "--recipe", bad, "--release", number, "-o", factory.folder / "x", ok=False)
        assert p.returncode == 3 and "hides" in p.stderr
        b = Bundle(bundle.read_bytes())  # one that was made without devstamp
        b.parts["recipe"] = bad.read_bytes()
        part = next(f for f in b.manifest["files"] if f["part"] == "recipe")
        part["sha256"], part["size"] = hashlib.sha256(b.parts["recipe"]).hexdigest(), len(b.parts["recipe"])
        b.text = canonical(b.manifest)
        (factory.folder / "hidden.bundle").write_bytes(b.write())
        p = run(DEVSTAMP, "bundle", "show", "--recipe", factory.folder / "hidden.bundle", ok=False)
        assert p.returncode == 3 and "hides" in p.stderr and p.stdout == ""


@pytest.mark.parametrize("verb", ["sign", "approve"])
def test_signature_goes_to_what_was_looked_at(factory, c3, release, verb):
    bundle = create(c3, 7)
    digest = Bundle(bundle.read_bytes()).digest()
    c3.write_text(c3.read_text().replace("mqtts://localhost:1", "mqtts://elsewhere:1"))
    bundle.write_bytes(create(c3, 8).read_bytes())  # swapped between show and approve
    other = Bundle(bundle.read_bytes()).digest()
    p = run(DEVSTAMP, "bundle", verb, "--key", release.path, "--digest", digest, bundle, ok=False)
    assert p.returncode == 8 and other in p.stderr
    assert Bundle(bundle.read_bytes()).signatures == []
    for wrong in ("", digest[:-1], digest + "0", "x" * 64):
        assert run(DEVSTAMP, "bundle", verb, "--key", release.path, "--digest", wrong, bundle, ok=False).returncode == 2
    out = run(DEVSTAMP, "bundle", verb, "--key", release.path, "--digest", other, bundle).stdout
    assert out.startswith("demo-esp32c3 for ESP32-C3, release 8, made 20") and f"\nbundle {other}\n" in out
    assert len(Bundle(bundle.read_bytes()).signatures) == 1


def test_nothing_is_signed_that_show_refuses(factory, c3, release):
    b = Bundle(create(c3, 1).read_bytes())
    b.manifest["burns"] = b.manifest["burns"][1:]
    b.text = canonical(b.manifest)
    path = factory.folder / "lie.bundle"
    path.write_bytes(b.write())
    for args in (["sign", "--key", release.path, path], ["approve", "--key", release.path, path],
                 ["order", path, "-o", factory.folder / "order"]):
        p = run(DEVSTAMP, "bundle", *args, ok=False)
        assert p.returncode == 3 and "does not say what the recipe and its images do" in p.stderr
    assert path.read_bytes() == b.write() and not (factory.folder / "order").exists()


def test_order_is_signed_by_the_digest_of_its_bundle(factory, c3, release):
    """It holds no recipe: who signs it says which bundle was looked at."""
    bundle, order, answer = create(c3, 1), factory.folder / "order", factory.folder / "answer"
    digest = Bundle(bundle.read_bytes()).digest()
    run(DEVSTAMP, "bundle", "order", "--approve", bundle, "-o", order)
    out = run(DEVSTAMP, "bundle", "show", order).stdout
    assert "not in an order" in out and "What devices become:" not in out
    assert run(DEVSTAMP, "bundle", "show", "--recipe", order, ok=False).returncode == 3
    sign = ["bundle", "sign-order", "--key", release.path, order, "-o", answer]
    assert run(DEVSTAMP, *sign, ok=False).returncode == 2
    p = run(DEVSTAMP, *sign, "--digest", "00" * 32, ok=False)
    assert p.returncode == 8 and digest in p.stderr and not answer.exists()
    run(DEVSTAMP, *sign, "--digest", digest)
    assert f"\nbundle {digest}\n" in run(DEVSTAMP, "bundle", "attach", bundle, answer).stdout


@test_ca_token.pytestmark
def test_seal_is_tied_to_the_bundle(factory, c3, release, token):
    token.init(factory.folder / "ca")
    words = factory.folder / "words"
    words.touch(mode=0o600)
    words.write_text("correct horse battery\n")
    one, two = create(c3, 1, release), create(c3, 2, release)
    known = dict(slots=NOWHERE, key=SUB_KEY, certificate=factory.folder / "ca/subca.pem", module=token.shim,
                 seal=factory.folder / "pin.seal")
    station = factory.station(bundles=demand(release), **known)

    def seal(verb, *args, ok=True):
        return run(DEVSTAMP, "seal", verb, "--station", station, "--passphrase-file", words, *args, ok=ok, env=token.env)

    seal("create", "--bundle", one, "--by", "passphrase", "--kdf-passes", "1", "--kdf-memory", "1", "--pin-file", token.pin, "-o",
         factory.folder / "pin.seal")
    seal("check", "--bundle", one)
    p = seal("check", "--bundle", two, ok=False)
    assert p.returncode == 8 and "is not as it was sealed" in p.stderr
    station = factory.station(name="station", **known)  # somebody took bundles: out
    p = seal("check", "--recipe", c3, ok=False)
    assert p.returncode == 8 and "is not as it was sealed" in p.stderr
    assert token.count() == 1  # of ca init
