# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Credentials of devstamp cloud aws: session tokens are signed, a container's and an instance's services are asked as they
want to be, keys that expire are renewed, and none shows up anywhere."""

import datetime
import http.server
import json
import threading

import awsfake
import pytest
from awslib import Cloud, Ledger, Maker

ID, SECRET = next(iter(awsfake.KEYS.items()))
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJHMEUCIQ" * 10 + "=="


class Metadata:
    """Plain HTTP on loopback: version 2 of the instance metadata service, and a container's credential service."""

    def __init__(self):
        self.asked, self.refuse_role = [], False
        self.keys = {"AccessKeyId": ID, "SecretAccessKey": SECRET, "Token": TOKEN,
                     "Expiration": (awsfake.now() + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                seconds = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
                self.reply(200 if self.path == "/latest/api/token" and seconds else 400, b"session-token")

            def do_GET(self):
                outer.asked.append(self.path)
                role = "/latest/meta-data/iam/security-credentials/"
                if self.path.startswith(role) and self.headers.get("x-aws-ec2-metadata-token") != "session-token":
                    self.reply(401, b"")
                elif self.path == role:
                    self.reply(404 if outer.refuse_role else 200, b"factory\n")
                elif self.path == role + "factory":
                    self.reply(200, json.dumps(outer.keys).encode())
                elif self.path == "/container" and self.headers.get("authorization") == "Basic c2VjcmV0":
                    self.reply(200, json.dumps(outer.keys).encode())
                else:
                    self.reply(404, b"")

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def metadata():
    m = Metadata()
    yield m
    m.stop()


@pytest.fixture
def fake(tmp_path):
    with awsfake.Fake(tmp_path, token=TOKEN) as f:
        yield f
        assert f.problems == []


@pytest.fixture
def cloud(fake, tmp_path):
    c = Cloud(fake, tmp_path)
    del c.env["AWS_ACCESS_KEY_ID"], c.env["AWS_SECRET_ACCESS_KEY"]
    return c


def test_a_session_token_is_sent_and_signed(cloud):
    cloud.env.update(AWS_ACCESS_KEY_ID=ID, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=TOKEN)
    cloud.run("endpoint")
    cloud.env["AWS_SESSION_TOKEN"] = TOKEN[:-4] + "AB=="
    failed = cloud.run("endpoint", code=8)
    assert "not known" in failed.stderr and TOKEN[:20] not in failed.stderr and SECRET not in failed.stderr


def test_a_profile_may_bring_keys_and_region(cloud, tmp_path):
    del cloud.env["AWS_REGION"]
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[factory]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\naws_session_token = {TOKEN}\n")
    (tmp_path / ".aws/config").write_text(f"[profile factory]\nregion = {awsfake.REGION}\n")
    cloud.run("endpoint", "--profile", "factory")


def test_a_container_is_asked_with_its_token(cloud, metadata, tmp_path):
    (tmp_path / "token").write_text("Basic c2VjcmV0\n")
    cloud.env.update(AWS_CONTAINER_CREDENTIALS_FULL_URI=metadata.url + "/container",
                     AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"))
    cloud.run("endpoint")
    cloud.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(tmp_path / "none")
    assert "cannot be read" in cloud.run("endpoint", code=3).stderr


def test_an_instance_is_asked_by_version_2(cloud, metadata):
    del cloud.env["AWS_EC2_METADATA_DISABLED"]
    cloud.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    cloud.run("endpoint")
    assert len(metadata.asked) == 2
    metadata.refuse_role = True
    assert "instance's metadata service" in cloud.run("endpoint", code=3).stderr
    del metadata.keys["SecretAccessKey"]
    metadata.refuse_role = False
    assert "no SecretAccessKey" in cloud.run("endpoint", code=3).stderr


def test_keys_that_expire_in_a_long_run_are_renewed(cloud, fake, metadata, tmp_path):
    (tmp_path / "m").mkdir()
    maker = Maker(tmp_path / "m")
    ledger = Ledger(tmp_path / "ledger.db", maker)
    for i in range(3):
        ledger.add(f"SN-{i}")
    cloud.env.update(AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url)
    del cloud.env["AWS_EC2_METADATA_DISABLED"]
    metadata.keys["Expiration"] = "2020-01-01T00:00:00Z"  # over when they come: asked for before each call
    fake.faults = [None, "expired"]
    cloud.run("register", "--ledger", ledger.path)
    assert len([p for p in metadata.asked if p.endswith("/factory")]) >= 4
    assert len(fake.account.certificates) == 3


def test_nothing_of_the_keys_is_shown(cloud, fake):
    cloud.env.update(AWS_ACCESS_KEY_ID=ID, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=TOKEN)
    fake.faults = ["UnauthorizedException"]
    for p in (cloud.run("endpoint", "--dry-run"), cloud.run("endpoint", code=8)):
        for secret in (SECRET, TOKEN, ID, "Authorization", "Signature="):
            assert secret not in p.stdout + p.stderr
