# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp cloud aws: CAs and the endpoint, over the real program, the real signer process and a fake of the service."""

import json
import shutil

import awsfake
import pytest
from awslib import Cloud, Maker
from cryptography import x509
from factory import DEVSTAMP, run
from signerlib import MODULE, SUB_KEY, Token, make_shim


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def fake(tmp_path):
    with awsfake.Fake(tmp_path) as f:
        yield f
        assert f.problems == []


@pytest.fixture
def cloud(fake, tmp_path):
    return Cloud(fake, tmp_path)


def test_endpoint_is_printed_and_written_to_the_recipe(cloud, tmp_path):
    recipe = tmp_path / "lamp.yaml"
    text = ("# a lamp\r\nproduct: lamp\nother: {endpoint: mqtts://other:1}\nstamp:\n  # where to\n  serial: \"SN-{mac}\"\n"
            "  values:\n    - {namespace: cfg, key: endpoint, type: string, value: x}\n"
            "  endpoint: \"mqtts://localhost:1\"   # filled in\n  endpoint_ca: ca.pem\nlock: {mode: release}")
    recipe.write_bytes(text.encode())
    recipe.chmod(0o640)
    shown = cloud.run("endpoint", "--recipe", recipe).stdout.strip()
    assert shown == "mqtts://a1b2c3-ats.iot.eu-west-1.amazonaws.com:8883"
    assert recipe.read_bytes().decode() == text.replace('"mqtts://localhost:1"', shown)
    assert recipe.stat().st_mode & 0o777 == 0o640
    recipe.write_text("stamp: {endpoint: a, serial: b}\n")
    assert "by hand" in cloud.run("endpoint", "--recipe", recipe, code=3).stderr
    assert recipe.read_text() == "stamp: {endpoint: a, serial: b}\n"


def test_the_signer_shows_that_it_has_the_cas_key(cloud, fake, maker):
    done = cloud.run("register-ca", "--dir", maker.dir, "--auto-registration", "--template-name", "lamps")
    assert done.stdout == f"{maker.ca_id} registered\n"
    ca = fake.account.cas[maker.ca_id]
    assert (ca["status"], ca["autoRegistrationStatus"], ca["certificateMode"]) == ("ACTIVE", "ENABLE", "DEFAULT")
    assert ca["config"] == {"templateName": "lamps"}
    # what was signed is in a log of its own, and the issuance log of devices knows nothing of it
    log = maker.dir / "subca.verification.log"
    assert json.loads(run(DEVSTAMP, "log", "verify", "--log", log, "--json").stdout)["size"] == 1
    assert "was registered before" in cloud.run("register-ca", "--dir", maker.dir).stdout
    assert json.loads(run(DEVSTAMP, "log", "verify", "--log", log, "--json").stdout)["size"] == 1
    assert fake.account.cas[maker.ca_id]["autoRegistrationStatus"] == "ENABLE"


@pytest.mark.skipif(not MODULE or not shutil.which("softhsm2-util"), reason="SoftHSM2 is not installed")
def test_the_cas_key_may_be_in_a_token(cloud, fake, tmp_path):
    token = Token(tmp_path / "token", make_shim(tmp_path))
    token.init(tmp_path / "ca")
    cloud.env.update({k: token.env[k] for k in ("SOFTHSM2_CONF", "DS_SHIM_MODULE", "DS_SHIM_LOGINS", "DS_SHIM_GONE")})
    args = ["register-ca", "--certificate", tmp_path / "ca/subca.pem", "--sub-key", SUB_KEY, "--module", token.shim,
            "--pin-file", token.pin]
    before = token.count()
    token.write_pin("000000")
    assert "PIN" in cloud.run(*args, code=5).stderr and token.count() == before + 1
    cloud.run(*args, code=5)
    assert token.count() == before + 1  # a PIN that was wrong is not tried again
    token.write_pin("271828")
    cloud.run(*args)
    assert len(fake.account.cas) == 1 and "RegisterCACertificate" in fake.requests


def test_sni_only_needs_no_proof(cloud, fake, maker):
    cloud.run("register-ca", "--dir", maker.dir, "--sni-only", "--inactive")
    ca = fake.account.cas[maker.ca_id]
    assert (ca["status"], ca["autoRegistrationStatus"], ca["certificateMode"]) == ("INACTIVE", "DISABLE", "SNI_ONLY")
    assert fake.requests == ["DescribeCACertificate", "RegisterCACertificate"]


def test_the_ceremony_signs_nothing_but_registration_codes(cloud, fake, maker):
    cloud.run("register-ca", "--dir", maker.dir)
    fake.requests.clear()
    fake.account.cas.clear()
    before = (maker.dir / "subca.verification.log").read_bytes()
    for subject in ("CN=SN-1", "CN={code},CN={code}", "O=Example", f"CN={'g' * 64}"):
        failed = cloud.run("register-ca", "--dir", maker.dir, "--subject", subject, code=8)
        assert "64 hex digits" in failed.stderr, failed.stderr
    assert "RegisterCACertificate" not in fake.requests
    assert (maker.dir / "subca.verification.log").read_bytes() == before


def test_a_template_goes_with_its_role(cloud, fake, maker, tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"Resources": {}}))
    role = "arn:aws:iam::123456789012:role/jitp"
    cloud.run("register-ca", "--dir", maker.dir, "--template", template, "--role-arn", role)
    assert fake.account.cas[maker.ca_id]["config"] == {"templateBody": template.read_text(), "roleArn": role}
    cloud.run("register-ca", "--dir", maker.dir, "--template", template, code=2)
    cloud.run("ca", "jitp", "off", "--dir", maker.dir)
    assert fake.account.cas[maker.ca_id]["config"] is None
    cloud.run("ca", "jitp", "on", "--dir", maker.dir, "--template-name", "lamps")
    assert fake.account.cas[maker.ca_id]["config"] == {"templateName": "lamps"}
    for bad in (["on"], ["off", "--template-name", "x"], ["on", "--template", template],
                ["on", "--template-name", "x", "--role-arn", role]):
        cloud.run("ca", "jitp", *bad, "--dir", maker.dir, code=2)


def test_a_ca_is_shown_and_switched(cloud, fake, maker):
    assert "no CA is registered" in cloud.run("ca", "status").stdout
    cloud.run("register-ca", "--dir", maker.dir)
    for words, key, value in ((["deactivate"], "status", "INACTIVE"), (["activate"], "status", "ACTIVE"),
                              (["auto-registration", "on"], "autoRegistrationStatus", "ENABLE"),
                              (["auto-registration", "off"], "autoRegistrationStatus", "DISABLE")):
        cloud.run("ca", *words, "--dir", maker.dir)
        assert fake.account.cas[maker.ca_id][key] == value
    assert maker.ca_id in cloud.run("ca", "status").stdout
    shown = json.loads(cloud.run("ca", "status", "--ca-id", maker.ca_id, "--json").stdout)
    assert shown[0]["certificateId"] == maker.ca_id and shown[0]["status"] == "ACTIVE"
    gone = cloud.run("ca", "activate", "--ca-id", "0" * 64, code=3)
    assert "not found in this account and region" in gone.stderr


def test_lists_come_in_pages(cloud, fake, maker):
    for i in range(7):
        fake.account.cas[f"{i:064x}"] = {"certificateArn": "arn", "certificateId": f"{i:064x}", "status": "ACTIVE",
                                         "creationDate": 1.7e9}
    fake.account.page = 3
    assert len(cloud.run("ca", "status").stdout.splitlines()) == 7
    assert fake.counts["ListCACertificates"] == 3


def test_what_passes_is_tried_again(cloud, fake):
    fake.faults = ["throttle", "500", "cut", None]
    cloud.run("endpoint")
    assert fake.counts["DescribeEndpoint"] == 4


def test_a_registration_whose_answer_was_lost_is_no_failure(cloud, fake, maker):
    fake.faults = [None, None, "cut-after"]
    cloud.run("register-ca", "--dir", maker.dir)
    assert fake.requests == ["DescribeCACertificate", "GetRegistrationCode", "RegisterCACertificate", "RegisterCACertificate",
                             "DescribeCACertificate"]


def test_an_endpoint_that_still_wants_the_old_name_in_signatures(tmp_path):
    with awsfake.Fake(tmp_path, service="execute-api") as fake:
        Cloud(fake, tmp_path).run("endpoint")
        assert fake.problems == []


@pytest.mark.parametrize("kind,code,words", [
    ("UnauthorizedException", 8, "may not do this"),
    ("InvalidRequestException", 3, "not valid"),
    ("LimitExceededException", 8, "quota"),
    ("RegistrationCodeValidationException", 8, "registration code"),
])
def test_complaints_come_in_words(cloud, fake, maker, kind, code, words):
    fake.faults = [None, None, kind]
    failed = cloud.run("register-ca", "--dir", maker.dir, code=code)
    assert words in failed.stderr and "AWS IoT, RegisterCACertificate" in failed.stderr
    assert fake.account.cas == {}


def test_a_dry_run_shows_each_request_and_makes_none(cloud, fake, maker):
    del cloud.env["AWS_SECRET_ACCESS_KEY"], cloud.env["AWS_ACCESS_KEY_ID"]
    shown = cloud.run("register-ca", "--dir", maker.dir, "--dry-run").stdout
    assert "GET " + fake.url + "/registrationcode" in shown
    assert "POST " + fake.url + "/cacertificate?allowAutoRegistration=false&setAsActive=true" in shown
    body = json.loads(shown[shown.index("{"):])
    x509.load_pem_x509_certificate(body["caCertificate"].encode())
    assert fake.requests == []


def test_wrong_calls_are_told_so(cloud, maker, tmp_path):
    for args in (["register-ca"], ["register-ca", "--dir", "a", "--certificate", "b"], ["ca", "status", "more"],
                 ["ca", "auto-registration", "--dir", "a"], ["endpoint", "--ledger", "x"], ["endpoint", "--rate", "0"],
                 ["register"], ["check"], ["revoke", "--ca-id", "0", "--ledger", "x"], ["delete", "--ledger", "x"],
                 ["ca", "activate", "--ca-id", "12"], ["activate", "--ledger", "x", "--from", "2026-01-01", "SN"]):
        cloud.run(*args, code=2)
    cloud.run("register-ca", "--dir", tmp_path / "none", code=3)
    cloud.env["AWS_REGION"] = "eu west"
    cloud.run("endpoint", code=3)
    del cloud.env["AWS_REGION"]
    assert "--region" in cloud.run("endpoint", code=2).stderr
    p = cloud.command("endpoint", "--region", "eu-west-1")
    assert run(*[a.replace("https://", "http://") for a in p], ok=False).returncode == 2
