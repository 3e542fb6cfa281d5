# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp cloud aws: policies, templates, just-in-time registration with its function, and bulk registration."""

import json
import sys
import types

import awsfake
import pytest
from awslib import Cloud, Maker

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:let-in"
ROLE = "arn:aws:iam::123456789012:role/bulk"


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


def test_devices_may_use_their_own_topics_alone(cloud, fake):
    shown = json.loads(cloud.run("policy", "show", "--account", "123456789012").stdout)
    name = "${iot:Certificate.Subject.CommonName}"
    base = "arn:aws:iot:eu-west-1:123456789012:"
    assert [s["Resource"] for s in shown["Statement"]] == [
        f"{base}client/{name}", f"{base}topic/devstamp/{name}/*", f"{base}topicfilter/devstamp/{name}/*"]
    assert {s["Effect"] for s in shown["Statement"]} == {"Allow"}
    put = ["policy", "put", "--name", "devices", "--account", "123456789012"]
    assert "made" in cloud.run(*put).stdout
    assert json.loads(fake.account.policies["devices"]) == shown
    assert "is there already" in cloud.run(*put).stdout
    fake.account.policies["devices"] = '{"Version": "2012-10-17", "Statement": [{}]}'
    assert "another document" in cloud.run(*put, code=8).stderr
    china = cloud.run("policy", "show", "--account", "123456789012", "--region", "cn-north-1").stdout
    assert "arn:aws-cn:iot:cn-north-1" in china


def test_a_document_of_ones_own(cloud, fake, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text('{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}')
    cloud.run("policy", "put", "--name", "own", "--document", document)
    assert json.loads(fake.account.policies["own"]) == json.loads(document.read_text())
    document.write_text("{")
    cloud.run("policy", "put", "--name", "own", "--document", document, code=3)
    document.write_text("{}")
    assert "malformed" in cloud.run("policy", "put", "--name", "empty", "--document", document, code=3).stderr


def resources(template):
    return {r["Type"]: r["Properties"] for r in template["Resources"].values()}


def test_templates_make_thing_certificate_and_policy(cloud):
    jitp = json.loads(cloud.run("template", "jitp", "--policy", "devices").stdout)
    bulk = json.loads(cloud.run("template", "bulk", "--policy", "devices").stdout)
    with_ca = json.loads(cloud.run("template", "bulk-ca", "--policy", "devices").stdout)
    for template in (jitp, bulk, with_ca):
        r = resources(template)
        assert r["AWS::IoT::Policy"] == {"PolicyName": "devices"}
        assert r["AWS::IoT::Certificate"]["Status"] == "ACTIVE"
        referred = {v["Ref"] for p in r.values() for v in p.values() if isinstance(v, dict) and "Ref" in v}
        assert referred <= set(template["Parameters"])
    assert set(jitp["Parameters"]) == {"AWS::IoT::Certificate::CommonName", "AWS::IoT::Certificate::Id"}
    assert set(bulk["Parameters"]) == {"ThingName", "SerialNumber", "Product", "CertificatePem"}
    assert set(with_ca["Parameters"]) - set(bulk["Parameters"]) == {"CACertificatePem"}
    assert resources(with_ca)["AWS::IoT::Certificate"]["CACertificatePem"] == {"Ref": "CACertificatePem"}


def load_function(source, account):
    """The function as Lambda would load it, its boto3 being the fake's account."""

    class Client:
        def describe_certificate(self, certificateId):
            return account.DescribeCertificate({"certificateId": certificateId})

        def attach_policy(self, policyName, target):
            account.AttachPolicy({"policyName": policyName, "target": target})

        def update_certificate(self, certificateId, newStatus):
            account.UpdateCertificate({"certificateId": certificateId, "newStatus": newStatus})

    boto3 = types.ModuleType("boto3")
    boto3.client = lambda name: Client()
    sys.modules["boto3"] = boto3
    try:
        scope = {}
        exec(compile(source, "function.py", "exec"), scope)
        return scope["handler"]
    finally:
        del sys.modules["boto3"]


def test_the_function_lets_in_devices_of_this_ca_and_no_others(cloud, fake, maker, tmp_path):
    source = tmp_path / "function.py"
    cloud.run("jitr-rule", "--dir", maker.dir, "--policy", "devices", "-o", source)
    assert source.read_text() == cloud.run("jitr-rule", "--dir", maker.dir, "--policy", "devices").stdout
    handler = load_function(source.read_text(), fake.account)
    fake.account.policies["devices"] = "{}"
    pem = maker.certify("SN-1").public_bytes(awsfake.serialization.Encoding.PEM).decode()
    ident = awsfake.id_of(pem)
    fake.account.connect(pem, maker.ca_id)
    event = {"certificateId": ident, "caCertificateId": maker.ca_id, "certificateStatus": "PENDING_ACTIVATION"}
    assert handler(event, None) == "ACTIVE" and fake.account.certificates[ident]["status"] == "ACTIVE"
    assert [p for p, _ in fake.account.attached] == ["devices"]
    fake.account.certificates[ident]["status"] = "REVOKED"
    assert handler(event, None) == "REVOKED"  # an event told twice lets nobody in again
    with pytest.raises(ValueError):
        handler({**event, "caCertificateId": "0" * 64}, None)
    fake.account.certificates[ident].update(status="PENDING_ACTIVATION", caCertificateId="1" * 64)
    handler(event, None)  # the event's word alone is not taken
    assert fake.account.certificates[ident]["status"] == "PENDING_ACTIVATION"


def test_the_rule_listens_to_this_ca(cloud, fake, maker):
    make = ["jitr-rule", "--dir", maker.dir, "--name", "first_connects", "--lambda-arn"]
    assert "made" in cloud.run(*make, ARN).stdout
    rule = fake.account.rules["first_connects"]
    assert rule["sql"] == f"SELECT * FROM '$aws/events/certificates/registered/{maker.ca_id}'"
    assert rule["actions"] == [{"lambda": {"functionArn": ARN}}]
    assert "is there already" in cloud.run(*make, ARN).stdout
    assert "does something else" in cloud.run(*make, ARN + "2", code=8).stderr
    for bad in (["--name", "a-b", "--lambda-arn", ARN], ["--name", "a"], ["--policy", 'x"\nimport os']):
        cloud.run("jitr-rule", "--dir", maker.dir, *bad, code=2)


def test_bulk_is_started_once(cloud, fake, tmp_path):
    template = tmp_path / "template.json"
    template.write_text(cloud.run("template", "bulk", "--policy", "devices").stdout)
    start = ["bulk", "start", "--template", template, "--bucket", "factory", "--key", "week-48.json", "--role-arn", ROLE]
    assert "no task" in cloud.run("bulk", "status").stdout
    fake.faults = ["throttle", "cut-after"]
    lost = cloud.run(*start, code=7)
    assert "bulk status" in lost.stderr and len(fake.account.tasks) == 1
    task, = fake.account.tasks
    assert cloud.run("bulk", "status").stdout == f"{task} in progress\n"
    assert "another task" in cloud.run(*start, code=3).stderr
    fake.account.tasks[task].update(status="Completed", successCount=9, failureCount=1, percentageProgress=100)
    assert cloud.run("bulk", "status", "--task", task).stdout == "Completed: 9 registered, 1 refused, 100 %\n"
    second = cloud.run(*start).stdout.strip()
    told = json.loads(cloud.run("bulk", "status", "--task", second, "--json").stdout)
    assert told["inputFileKey"] == "week-48.json" and told["templateBody"] == template.read_text()


def test_wrong_calls_are_told_so(cloud):
    for args in (["policy", "show"], ["policy", "put", "--account", "123456789012"], ["policy", "show", "--account", "1"],
                 ["template", "jitp"], ["template", "x", "--policy", "p"], ["bulk", "start"], ["bulk"],
                 ["bulk", "status", "--bucket", "b"], ["jitr-rule", "--policy", "p", "--name", "n"]):
        cloud.run(*args, code=2)
