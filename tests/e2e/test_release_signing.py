# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Signing images and bundles by a key in a token (SoftHSM2), in a file, and in two halves for a machine apart."""

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

import test_ca_token
import yubikey
from bundlelib import Bundle, Key, create
from factory import DEVSTAMP, run
from signerlib import MODULE, PIN

pytestmark = test_ca_token.pytestmark
shim, token = test_ca_token.shim, test_ca_token.token  # fixtures


def uri(name):
    return f"pkcs11:token=line;object={name}"


def make(token, name, kind, *more):
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--keypairgen",
              "--key-type", kind, "--label", name, "--id", name.encode().hex(), *more)


def signed(token, name, source, out, *more, ok=True, verb=("image", "sign"), env=None):
    return run(DEVSTAMP, *verb, "--key", uri(name), "--module", token.shim, "--pin-file", token.pin, source, "-o", out, *more,
               ok=ok, env=dict(token.env, **(env or {})))


def block_holds(image):
    """As espsecure verifies it, by the format alone; what the first block says of its key."""
    block, content = image[-4096:-4096 + 1216], image[:-4096]
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    digest = digest.finalize()
    assert block[0] == 0xE7 and block[4:36] == digest

    def number(at, size):
        return int.from_bytes(block[at:at + size], "little")
    if block[1] == 2:
        key = rsa.RSAPublicNumbers(number(420, 4), number(36, 384)).public_key()
        key.verify(block[812:1196][::-1], digest, padding.PSS(padding.MGF1(hashes.SHA256()), 32),
                   utils.Prehashed(hashes.SHA256()))
    else:
        key = ec.EllipticCurvePublicNumbers(number(37, 32), number(69, 32), ec.SECP256R1()).public_key()
        key.verify(utils.encode_dss_signature(number(101, 32), number(133, 32)), digest,
                   ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    return key


@pytest.mark.parametrize("kind", ["rsa:3072", "EC:prime256v1"])
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
def test_image_signed_in_a_token(products, token, tmp_path, kind, always):
    make(token, "boot", kind, *(["--always-auth"] if always else []))
    image, out = products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True}), tmp_path / "out.bin"
    said = signed(token, "boot", image, out).stdout
    block_holds(out.read_bytes())
    assert run(DEVSTAMP, "image", "verify", out).stdout.split()[-1] == said.split()[-1]
    assert token.count() == 1


def test_another_signature_by_another_key(products, token, tmp_path):
    make(token, "boot", "rsa:3072")
    once, twice = products.image("esp32c3", "app", "2.0.0", signed=True, **{"secure-pad": True}), tmp_path / "twice.bin"
    signed(token, "boot", once, twice)
    for key in ([], ["--key", products.signing_key]):
        run(DEVSTAMP, "image", "verify", *key, twice)
    p = signed(token, "boot", twice, tmp_path / "x", ok=False)
    assert p.returncode == 8 and "signed the image already" in p.stderr
    p = signed(token, "boot", products.image("esp32", "app", "2.0.0", signed=True, **{"secure-pad": True}), tmp_path / "x",
               ok=False)
    assert p.returncode == 8 and "looks at no more than 1 signature" in p.stderr


def test_wrong_pin_is_tried_once(products, token, tmp_path):
    make(token, "boot", "EC:prime256v1")
    token.write_pin("314159")
    image = products.image("esp32c3", "app")
    for words in ("the PIN is wrong", "not tried again"):
        p = signed(token, "boot", image, tmp_path / "x", ok=False)
        assert p.returncode == 5 and words in p.stderr, p.stderr
    assert token.count() == 1 and not (tmp_path / "x").exists()
    token.write_pin(PIN)
    signed(token, "boot", image, tmp_path / "x")


def test_token_with_one_try_left_is_not_asked(products, token, tmp_path):
    make(token, "boot", "EC:prime256v1")
    p = signed(token, "boot", products.image("esp32c3", "app"), tmp_path / "x", ok=False,
               env={"DS_SHIM_FLAGS": str(test_ca_token.FINAL_TRY)})
    assert p.returncode == 5 and "nothing was tried" in p.stderr and token.count() == 0


@pytest.mark.parametrize("kind", ["rsa:3072", "EC:prime256v1"])
def test_token_that_signs_wrong_leaves_no_file(products, token, tmp_path, kind):
    make(token, "boot", kind)
    wrong = tmp_path / "wrong"
    wrong.touch()
    out = tmp_path / "x"
    p = signed(token, "boot", products.image("esp32c3", "app"), out, ok=False, env={"DS_SHIM_WRONG": str(wrong)})
    assert p.returncode == 5 and "does not hold" in p.stderr and not out.exists()
    bundle = create(products.recipe(tmp_path, "esp32c3"), 1)
    p = signed(token, "boot", bundle, out, verb=("bundle", "sign"), ok=False, env={"DS_SHIM_WRONG": str(wrong)})
    assert p.returncode == 5 and "does not hold" in p.stderr and not out.exists()


@pytest.mark.skipif(bool(yubikey.why_not()), reason=str(yubikey.why_not()))
def test_yubikey_signs_releases_and_two_tries_are_kept(products, tmp_path):
    key = yubikey.YubiKey()
    try:
        key.generate("9c", "ECCP256")
        bundle, image, out = create(products.recipe(tmp_path, "esp32c3"), 1), products.image("esp32c3", "app"), tmp_path / "out"
        options = ["--key", key.uri("9c"), "--module", yubikey.MODULE, "--pin-file", key.pin_file(tmp_path)]
        run(DEVSTAMP, "bundle", "sign", *options, bundle, env=key.env)
        run(DEVSTAMP, "image", "sign", *options, image, "-o", out, env=key.env)
        block_holds(out.read_bytes())
        key.pkcs11("--login", "--pin", "999999", "-O", ok=False)
        asked = key.status()["verifies"]
        p = run(DEVSTAMP, "image", "sign", *options, image, "-o", tmp_path / "x", ok=False, env=key.env)
        assert p.returncode == 5 and "two tries of its PIN are left; nothing was tried" in p.stderr
        assert key.status()["verifies"] == asked
    finally:
        key.remove()


def test_nothing_is_asked_of_a_token_for_what_is_no_image(products, token, tmp_path):
    make(token, "boot", "EC:prime256v1")
    for data, words in ((b"", "image"), (b"rubbish" * 1000, "image")):
        (tmp_path / "in").write_bytes(data)
        p = signed(token, "boot", tmp_path / "in", tmp_path / "x", ok=False)
        assert p.returncode == 3 and words in p.stderr
    p = run(DEVSTAMP, "image", "sign", "--key", f"{uri('boot')}?pin-value={PIN}", "--module", token.shim,
            products.image("esp32c3", "app"), "-o", tmp_path / "x", ok=False, env=token.env)
    assert p.returncode in (2, 8) and token.count() == 0


def test_token_that_wants_a_pin_gets_none_where_none_is_to_be_asked_for(products, token, tmp_path):
    make(token, "boot", "EC:prime256v1")
    p = run(DEVSTAMP, "image", "sign", "--key", uri("boot"), "--module", token.shim, "--no-pin", "--network",
            products.image("esp32c3", "app"), "-o", tmp_path / "x", ok=False, env=token.env)
    assert p.returncode == 5 and "needs a PIN" in p.stderr and token.count() == 0
    signed(token, "boot", products.image("esp32c3", "app"), tmp_path / "x", "--network")


def test_rsa_2048_signs_no_image(products, token, tmp_path):
    make(token, "small", "rsa:2048")
    p = signed(token, "small", products.image("esp32c3", "app"), tmp_path / "x", ok=False)
    assert p.returncode == 3 and "neither RSA-3072 nor ECDSA P-256" in p.stderr


def test_key_that_others_read_is_refused(products, tmp_path):
    key = Key(tmp_path, "open")
    key.path.chmod(0o644)
    p = run(DEVSTAMP, "image", "sign", "--key", key.path, products.image("esp32c3", "app"), "-o", tmp_path / "x", ok=False)
    assert p.returncode == 8 and "chmod 600" in p.stderr


# --- two halves

def test_image_in_two_halves(products, token, tmp_path):
    make(token, "boot", "rsa:3072")
    image = products.image("esp32c3", "app", "2.0.0", **{"secure-pad": True, "secure-version": "1"})
    order, answer, out = tmp_path / "order", tmp_path / "answer", tmp_path / "out.bin"
    run(DEVSTAMP, "image", "order", image, "-o", order)
    said = json.loads(order.read_text())
    assert said["chip"] == "esp32c3" and said["version"] == "2.0.0" and said["secure_version"] == 1
    assert order.stat().st_size < 500
    told = signed(token, "boot", order, answer, "--image", image, verb=("image", "sign-order")).stdout
    assert said["digest"] in told and "devstamp-app 2.0.0 (secure version 1)" in told
    run(DEVSTAMP, "image", "attach", image, answer, "-o", out)
    block_holds(out.read_bytes())

    other = products.image("esp32c3", "app", "2.0.1", **{"secure-pad": True})
    p = run(DEVSTAMP, "image", "attach", other, answer, "-o", out, ok=False)
    assert p.returncode == 3 and "of another image" in p.stderr
    p = signed(token, "boot", order, answer, "--image", other, verb=("image", "sign-order"), ok=False)
    assert p.returncode == 3 and "the order is of another image" in p.stderr
    data = json.loads(answer.read_text())
    block = bytearray.fromhex(data["block"])
    block[900] ^= 1
    for changed in (dict(data, block=block.hex()), dict(data, more=1), dict(data, digest="00" * 32), dict(data, what="release")):
        (tmp_path / "bad").write_text(json.dumps(changed, sort_keys=True, separators=(",", ":")) + "\n")
        assert run(DEVSTAMP, "image", "attach", image, tmp_path / "bad", "-o", out, ok=False).returncode == 3
    for changed in (dict(said, version="2.0.0\u001b[2J"), dict(said, chip="esp32x"), dict(said, length=4095)):
        (tmp_path / "bad").write_text(json.dumps(changed, sort_keys=True, separators=(",", ":")) + "\n")
        before = token.count()
        p = signed(token, "boot", tmp_path / "bad", answer, verb=("image", "sign-order"), ok=False)
        assert p.returncode == 3 and token.count() == before


def test_bundle_in_two_halves_and_two_approvals(products, token, tmp_path):
    make(token, "release", "EC:secp384r1")
    make(token, "second", "rsa:2048")
    approver = Key(tmp_path, "approver")
    recipe = products.recipe(tmp_path, "esp32c3")
    bundle, order, answer = create(recipe, 4), tmp_path / "order", tmp_path / "answer"
    run(DEVSTAMP, "bundle", "order", bundle, "-o", order)
    assert "BURNED FOR EVER" in run(DEVSTAMP, "bundle", "show", order).stdout
    digest = Bundle(bundle.read_bytes()).digest()
    told = signed(token, "release", order, answer, "--digest", digest, verb=("bundle", "sign-order")).stdout
    assert "BURNED FOR EVER" in told and "Signed as a release" in told
    run(DEVSTAMP, "bundle", "attach", bundle, answer)
    p = run(DEVSTAMP, "image", "attach", products.image("esp32c3", "app"), answer, "-o", tmp_path / "x", ok=False)
    assert p.returncode == 3 and "for a bundle: release" in p.stderr
    assert run(DEVSTAMP, "bundle", "attach", create(recipe, 5), answer, ok=False).returncode == 3
    run(DEVSTAMP, "bundle", "order", "--approve", bundle, "-o", order)
    run(DEVSTAMP, "bundle", "sign-order", "--key", approver.path, "--digest", digest, order, "-o", answer)
    run(DEVSTAMP, "bundle", "attach", bundle, answer)
    signed(token, "second", bundle, bundle, verb=("bundle", "approve"))
    b = Bundle(bundle.read_bytes())
    assert [role for role, _, _ in b.signatures] == [1, 2, 2]
    for role, spki, signature in b.signatures:
        key = load_der_public_key(spki)
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, b.message(role), padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, b.message(role), ec.ECDSA(hashes.SHA384() if key.key_size == 384 else hashes.SHA256()))
    # And with openssl alone, as docs/bundle.md says.
    (tmp_path / "message").write_bytes(b"devstamp bundle approval\0" + run(DEVSTAMP, "bundle", "show", "--manifest",
                                                                          bundle).stdout.encode())
    (tmp_path / "signature").write_bytes(b.signatures[1][2])
    run("openssl", "dgst", "-sha256", "-verify", approver.public, "-signature", tmp_path / "signature", tmp_path / "message")


def test_signer_signs_nothing_it_does_not_understand(token, tmp_path, products):
    """The signer process asked directly: an order that is not in its one spelling, bare bytes, a manifest that is none."""
    make(token, "release", "EC:prime256v1")
    bundle = create(products.recipe(tmp_path, "esp32c3"), 1)
    order = tmp_path / "order"
    run(DEVSTAMP, "bundle", "order", bundle, "-o", order)
    good = json.loads(order.read_text())
    manifest = json.loads(good["manifest"])
    for text in ("", "{}", "00" * 32, order.read_text()[:-1], " " + order.read_text(),
                 json.dumps(dict(good, manifest="x"), sort_keys=True, separators=(",", ":")) + "\n",
                 json.dumps(dict(good, manifest=json.dumps(manifest)), sort_keys=True, separators=(",", ":")) + "\n",
                 json.dumps(dict(good, what="something"), sort_keys=True, separators=(",", ":")) + "\n",
                 json.dumps(dict(good, what="image"), sort_keys=True, separators=(",", ":")) + "\n"):
        (tmp_path / "bad").write_text(text)
        p = signed(token, "release", tmp_path / "bad", tmp_path / "x", "--digest", Bundle(bundle.read_bytes()).digest(),
                   verb=("bundle", "sign-order"), ok=False)
        assert p.returncode == 3 and token.count() == 0, p.stderr
