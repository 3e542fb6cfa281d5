# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Whole lines of virtual devices whose signer is elsewhere: provisioned, mirrored, with the signer killed in the middle, with
tokens pulled out at the signer and keys in a token at the station."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from factory import DEVSTAMP, run
from remotelib import RECIPE, Authority, Front, Peer
from signerlib import MODULE, PIN, SUB_KEY, Device, Refused, Token, field, make_shim

token_there = pytest.mark.skipif(not MODULE or not shutil.which("softhsm2-util"), reason="SoftHSM2 is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("line-ca"))


class Line:
    """Virtual devices here, the signer of their products there."""

    def __init__(self, products, factory, authority, devices=2):
        self.products, self.factory, self.ca = products, factory, products.folder / "ca"
        self.there = factory.folder / "there"
        self.there.mkdir()
        self.recipe = products.recipe(factory.folder, "esp32c3", proof="report")
        image = factory.merged(self.recipe)
        factory.start(*[f"chip=esp32c3,image={image}" for _ in range(devices)])
        self.log = self.there / "issued.log"
        signer = {"certificate": self.ca / "subca.pem", "key": f"file:{self.ca}/subca.key", "log": self.log}
        self.front = Front(self.there, authority, signer, [self.recipe],
                           {"line-1": "recipes: [demo-esp32c3], log: true"}).start()
        self.identity = authority.issue("line-1")

    def station(self, certificate=None, key=None, **more):
        slots = [{"name": str(i), "port": self.factory.address(i), "reset": "rfc2217"}
                 for i in range(len(self.factory.devices))]
        return self.front.station(self.factory.folder, certificate or self.identity[0], key or self.identity[1],
                                  slots=json.dumps(slots), **more)

    def logged(self):
        return int(run(DEVSTAMP, "log", "verify", "--log", self.log, "--ledger", self.factory.folder / "ledger.db")
                   .stdout.split()[0])


@pytest.fixture
def line(products, factory, authority):
    made = Line(products, factory, authority)
    yield made
    made.front.stop()


def test_line_whose_signer_is_elsewhere(line, factory, tmp_path):
    station = line.station(sub_ca=line.ca / "subca.pem")
    _, doc = factory.provision(line.recipe, station)
    assert doc["passed"] == 2
    assert factory.ledger_is_whole().returncode == 0 and line.logged() == 2
    mirror = tmp_path / "mirror.log"
    run(DEVSTAMP, "log", "mirror", "--station", station, "-o", mirror)
    assert mirror.read_bytes() == line.log.read_bytes()
    # A recipe that the signer does not know, or knows otherwise, stops the line before a device is touched.
    flash = factory.flash(0)
    for changes, words in (({"product": "other"}, 'may not ask for certificates of recipe "other"'),
                           ({"subject": "CN={serial},O=Evil"}, "the subject differs")):
        other = line.products.recipe(factory.folder, "esp32c3", name="changed", proof="report", **changes)
        p, doc = factory.provision(other, station, ok=False)
        assert p.returncode == 8 and words in p.stderr and doc["slots"] == []
    assert factory.flash(0) == flash
    p, _ = factory.provision(line.recipe, station, "--passphrase", ok=False)
    assert p.returncode == 2 and "the signer is elsewhere" in p.stderr


@pytest.mark.parametrize("step", ["connect", "csr"])
def test_signer_killed_while_the_line_runs(line, factory, step):
    """The line waits for it and goes on; each device has one certificate."""
    p = subprocess.Popen([DEVSTAMP, "provision", "--recipe", line.recipe, "--station", line.station()],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed, told = False, ""
    for text in p.stdout:
        if not killed and f" {step} " in text and ("done" in text or "holds already" in text):
            line.front.kill()
            killed = True
            while "the line waits" not in told and (more := p.stderr.readline()):
                told += more
            line.front.start()
    told += p.stderr.read()
    assert p.wait(timeout=240) == 0 and killed, told
    assert step != "connect" or "the line waits" in told
    p.stdout.close()
    p.stderr.close()
    assert line.logged() == 2 and factory.ledger_is_whole().returncode == 0


def test_log_that_was_put_back_stops_the_line(line, factory):
    """The signer elsewhere is no more believed than one here: the ledger knows the log's head."""
    factory.provision(line.recipe, line.station())
    line.front.stop()
    for path in line.there.glob("issued.log*"):
        path.unlink()
    line.front.start()
    p, _ = factory.provision(line.recipe, line.station(), ok=False)
    assert p.returncode == 8 and "the issuance log has 0 entries, and had 2" in p.stderr


@token_there
def test_key_of_the_station_in_a_token(line, factory, authority, tmp_path):
    token = Token(tmp_path / "token", MODULE)
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--keypairgen",
              "--key-type", "EC:prime256v1", "--id", "01", "--label", "station")
    token.run("pkcs11-tool", "--module", MODULE, "--token-label", "line", "--login", "--pin", PIN, "--read-object",
              "--type", "pubkey", "--label", "station", "--output-file", tmp_path / "station.der")
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import NameOID
    public = serialization.load_der_public_key((tmp_path / "station.der").read_bytes())
    cert = authority.build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "line-1")]), public)
    (tmp_path / "token.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    station = line.station(tmp_path / "token.pem", "pkcs11:token=line;object=station", module=MODULE, pin_file=token.pin)
    _, doc = factory.provision(line.recipe, station, env=token.env)
    assert doc["passed"] == 2 and line.logged() == 2


@token_there
def test_token_pulled_out_at_the_signer(products, authority, tmp_path):
    """Stations are told that it is worked on, nobody's request is lost, and a station has no more than its share of them."""
    token = Token(tmp_path / "token", make_shim(tmp_path))
    token.init(tmp_path / "ca")
    recipe = tmp_path / "acme.yaml"
    recipe.write_text(RECIPE.format(product="acme", ca=tmp_path / "ca"))
    signer = {"certificate": tmp_path / "ca/subca.pem", "key": SUB_KEY, "module": token.shim, "log": tmp_path / "issued.log",
              "pin_file": token.pin}
    ids = {name: authority.issue(name) for name in ("line-1", "line-2")}
    front = Front(tmp_path, authority, signer, [recipe],
                  {"line-1": "recipes: [acme], connections: 2", "line-2": "recipes: [acme]"}, env=token.env).start()
    devices = [Device(f"SN{i}", tmp_path / "ca") for i in range(3)]
    for d in devices:
        d.uri = ""
    one, two, other = Peer(front, *ids["line-1"]), Peer(front, *ids["line-1"]), Peer(front, *ids["line-2"])
    first = one.sign(devices[0])
    logins = token.count()
    token.gone.touch()
    one.send(field(2, devices[1].request()))
    two.send(field(2, devices[2].request()))
    assert 32 in one.reply() and 32 in two.reply()  # it is worked on
    third = Peer(front, *ids["line-1"])
    with pytest.raises(Refused) as e:
        third.status()
    assert e.value.args[0] == 6 and "2 requests of this station are under way" in e.value.args[1]
    other.send(field(2, devices[0].request()))  # waits as they do
    token.gone.unlink()
    assert one.answer()[5] and two.answer()[5] and other.answer()[5]
    assert one.sign(devices[0]) == first
    assert token.count() > logins
    for peer in (one, two, other, third):
        peer.close()
    front.stop()
    assert run(DEVSTAMP, "log", "verify", "--log", tmp_path / "issued.log").stdout.startswith("3 entries")


def test_two_lines_share_a_quota_and_each_sees_its_own(products, authority, tmp_path):
    ca = products.folder / "ca"
    (tmp_path / "quota.json").write_text(json.dumps({"quota": 1, "recipes": [{"recipe": "acme", "certificates": 2},
                                                                            {"recipe": "other", "certificates": 9}]}))
    recipes = []
    for product in ("acme", "other"):
        recipes.append(tmp_path / f"{product}.yaml")
        recipes[-1].write_text(RECIPE.format(product=product, ca=ca))
    signer = {"certificate": ca / "subca.pem", "key": f"file:{ca}/subca.key", "log": tmp_path / "issued.log",
              "quota": tmp_path / "quota.json"}
    front = Front(tmp_path, authority, signer, recipes, {"line-1": "recipes: [acme]", "line-2": "recipes: [acme, other]"})
    front.start()
    one, two = (Peer(front, *authority.issue(n)) for n in ("line-1", "line-2"))
    devices = [Device(f"SN{i}", ca) for i in range(3)]
    for d in devices:
        d.uri = ""
    one.sign(devices[0])
    two.sign(devices[1])
    with pytest.raises(Refused) as e:
        one.sign(devices[2])
    assert e.value.args[0] == 7 and "quota" in e.value.args[1]
    one.close()
    two.close()
    told = {}
    for name in ("line-1", "line-2"):
        station = front.station(tmp_path, *authority.issue(name), name=f"s-{name}")
        told[name] = run(DEVSTAMP, "signer", "status", "--station", station).stdout
    assert "acme: 0 of 2" in told["line-1"] and "other" not in told["line-1"] and "other: 9 of 9" in told["line-2"]
    front.stop()


def test_set_up_as_the_document_says(products, tmp_path):
    """docs/remote-signer.md's own script makes the certificates; the signer listens and a station is let in."""
    doc = (pathlib.Path(__file__).parents[2] / "docs/remote-signer.md").read_text()
    script = re.search(r"```sh\n(# line-ca.sh.*?)```", doc, re.S).group(1)
    (tmp_path / "line-ca.sh").write_text(script)
    run("sh", "line-ca.sh", "127.0.0.1", "line-1", "line-2", cwd=tmp_path)
    assert (tmp_path / "line-1.key").stat().st_mode & 0o777 == 0o600
    recipe, ca = tmp_path / "acme.yaml", products.folder / "ca"
    recipe.write_text(RECIPE.format(product="acme", ca=ca))
    signer = {"certificate": ca / "subca.pem", "key": f"file:{ca}/subca.key", "log": tmp_path / "issued.log"}
    authority = Authority(tmp_path / "unused")
    authority.certificate = tmp_path / "line-ca.pem"
    front = Front(tmp_path, authority, signer, [recipe], {"line-1": "recipes: [acme]"})
    front.text = front.text.replace(str(front.certificate), "signer.pem").replace(f"file:{front.key}", "file:signer.key")
    front.start()
    for name, code in (("line-1", 0), ("line-2", 8)):
        station = front.station(tmp_path, f"{name}.pem", f"{name}.key", name=f"s-{name}", sub_ca=ca / "subca.pem")
        assert run(DEVSTAMP, "signer", "status", "--station", station, ok=False).returncode == code
    front.stop()


@pytest.mark.parametrize("wrong, words", [
    ("name: line-1}", "two stations are named"),
    ("name: x, fingerprint: 12:34}", "not a SHA-256 fingerprint"),
    ("name: x, connections: 65}", "connections must be 1 to 64"),
    ("name: x, recipes: [nothing]}", 'no recipe is of product "nothing"'),
    ("name: x, revoke: all}", "revoke"),
])
def test_wrong_configuration_is_told(products, authority, tmp_path, wrong, words):
    ca, recipe = products.folder / "ca", tmp_path / "acme.yaml"
    recipe.write_text(RECIPE.format(product="acme", ca=ca))
    signer = {"certificate": ca / "subca.pem", "key": f"file:{ca}/subca.key", "log": tmp_path / "issued.log"}
    front = Front(tmp_path, authority, signer, [recipe], {"line-1": "recipes: [acme]"})
    front.text += f"    - {{{wrong}\n"
    process = front.spawn()
    assert process.stdout.read() == "" and process.wait(timeout=60) == 3
    process.stdout.close()
    assert words in front.said.read_text()


@token_there
def test_sealed_pin_of_a_signer_that_listens(products, authority, tmp_path):
    """The configuration is a station file to the seal; a recipe edited on the signer's computer keeps it shut."""
    token = Token(tmp_path / "token", make_shim(tmp_path))
    token.init(tmp_path / "ca")
    recipe, key, seal = tmp_path / "acme.yaml", tmp_path / "seal.key", tmp_path / "pin.seal"
    recipe.write_text(RECIPE.format(product="acme", ca=tmp_path / "ca"))
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    signer = {"certificate": tmp_path / "ca/subca.pem", "key": SUB_KEY, "module": token.shim, "log": tmp_path / "issued.log",
              "seal": seal, "seal_key": key}
    front = Front(tmp_path, authority, signer, [recipe], {"line-1": "recipes: [acme]"}, env=token.env)
    front.config.write_text(front.text.replace("@PORT@", "0"))
    run(DEVSTAMP, "seal", "create", "--station", front.config, "--recipe", recipe, "--by", f"key-file={key}", "--pin-file",
        token.pin, env=token.env)
    token.pin.unlink()
    identity = authority.issue("line-1")
    front.start()
    peer, device = Peer(front, *identity), Device("SN1", tmp_path / "ca")
    device.uri = ""
    peer.sign(device)
    peer.close()
    front.stop()
    recipe.write_text(recipe.read_text().replace("O=Acme", "O=Evil"))
    logins = token.count()
    process = front.spawn()
    assert process.stdout.read() == "" and process.wait(timeout=60) == 8, front.said.read_text()
    process.stdout.close()
    assert token.count() == logins
