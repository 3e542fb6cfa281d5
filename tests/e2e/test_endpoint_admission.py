# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Who may connect to the endpoint, and what each may do there."""

import json
import os
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from endpoint_fixtures import DAY, Endpoint, devstamp, make, now


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    e = Endpoint(tmp_path_factory.mktemp("endpoint"))
    e.start()
    yield e
    e.stop()


@pytest.fixture
def watcher(endpoint):
    s = endpoint.subscribe(endpoint.service, "backend", "devstamp/#", "$aws/events/#")
    yield s
    s.close()


def refused(endpoint, identity, client_id, why=None):
    """Refused at TLS or by the plugin; nothing is registered."""
    mark = len(endpoint.log())
    before = endpoint.devices()
    code, text = endpoint.publish(identity, client_id, f"devstamp/{client_id}/hello")
    assert code != 0, text
    said = endpoint.log()[mark:]
    if why:
        assert f"refused '{client_id}'" in said and why in said, said
    assert endpoint.devices() == before
    return said


def test_device_is_registered_once_and_heard(endpoint, watcher):
    d = endpoint.device("SN0001")
    code, text = endpoint.publish(d, "SN0001", "devstamp/SN0001/hello", "first")
    assert code == 0, text
    watcher.wait("devstamp/SN0001/hello first")
    first = endpoint.devices()["SN0001"]
    assert first["certificate_id"] == d.id
    assert first["ca_id"] == endpoint.sub.id
    assert first["state"] == "active"
    code, text = endpoint.publish(d, "SN0001", "devstamp/SN0001/hello", "second")
    assert code == 0, text
    watcher.wait("devstamp/SN0001/hello second")
    again = endpoint.devices()["SN0001"]
    assert again["registered_at"] == first["registered_at"]
    events = [m for m in watcher.messages() if m.startswith("$aws/events/") and d.id in m]
    assert len(events) == 1
    topic, payload = events[0].split(" ", 1)
    assert topic == f"$aws/events/certificates/registered/{endpoint.sub.id}"
    event = json.loads(payload)
    assert event["certificateId"] == d.id
    assert event["caCertificateId"] == endpoint.sub.id
    assert event["certificateStatus"] == "ACTIVE"
    assert event["name"] == "SN0001"


def test_device_uses_its_own_topics_only(endpoint, watcher):
    a, b = endpoint.device("SN0010"), endpoint.device("SN0011")
    own = endpoint.subscribe(a, "SN0010", "devstamp/SN0010/#")
    for topic in (
        "devstamp/SN0010/hello", "devstamp/SN0011/hello", "devstamp/SN0010", "devstamp/SN00100/hello", "elsewhere/SN0010",
        f"$aws/events/certificates/registered/{endpoint.sub.id}", "$SYS/broker/version", "devstamp",
    ):  # fmt: skip
        endpoint.publish(b, "SN0011", topic, f"from-b-{topic}")
    code, _ = endpoint.publish(endpoint.service, "tool", "devstamp/SN0010/command", "go")
    assert code != 0  # a service has its certificate's name as well
    watcher.wait("from-b-devstamp/SN0011/hello")
    assert [m for m in watcher.messages() if "from-b-" in m] == ["devstamp/SN0011/hello from-b-devstamp/SN0011/hello"]
    assert own.messages() == []
    own.close()


@pytest.mark.parametrize(
    "topic", ["devstamp/#", "#", "devstamp/+/hello", "devstamp/SN0011/#", "$aws/events/#", "+/SN0020/hello", "$SYS/#"]
)
def test_device_hears_nobody_else(endpoint, topic):
    d, other = endpoint.device("SN0020"), endpoint.device("SN0021")
    env_topic = ["-t", topic, "-t", "devstamp/SN0020/#"]
    done = subprocess.Popen(
        [
            "mosquitto_sub", "-h", "localhost", "-p", str(endpoint.port), "--cafile", str(endpoint.root.cert_file),
            "--cert", str(d.cert_file), "--key", str(d.key_file), "-i", "SN0020", "-v", "-W", "2", *env_topic,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(3):
            endpoint.publish(other, "SN0021", "devstamp/SN0021/hello", "secret-of-21")
    finally:
        out, _ = done.communicate(timeout=15)
        # One device a name: the next case makes new certificates for these.
        for serial in ("SN0020", "SN0021"):
            devstamp("registry", "set", "--registry", endpoint.registry, "--device", serial, "--state", "revoked")
    assert "secret-of-21" not in out
    assert "registered" not in out


def test_service_commands_a_device_and_forges_nothing(endpoint):
    d = endpoint.device("SN0030")
    ears = endpoint.subscribe(d, "SN0030", "devstamp/SN0030/#")
    service = make(endpoint.folder, "second", "commander", endpoint.ops)
    watcher = endpoint.subscribe(endpoint.service, "backend", "$aws/events/#", "devstamp/#")
    endpoint.publish(service, "commander", f"$aws/events/certificates/registered/{endpoint.sub.id}", "forged")
    endpoint.publish(service, "commander", "devstamp/SN0030/command", "blink")
    ears.wait("devstamp/SN0030/command blink")
    watcher.wait("devstamp/SN0030/command blink")
    assert "forged" not in watcher.text()
    assert "commander" not in endpoint.devices()  # services are not devices
    ears.close()
    watcher.close()


@pytest.mark.parametrize("broker_keeps", [False, True], ids=["as written", "retain left on"])
def test_nothing_is_retained(tmp_path, broker_keeps):
    """One device's topics cannot fill the broker for everybody: the configuration forbids it, and so does the plugin."""
    e = Endpoint(tmp_path)
    conf = e.conf_dir / "mosquitto.conf"
    assert "\nretain_available false\n" in conf.read_text()
    if broker_keeps:
        conf.write_text(conf.read_text().replace("retain_available false", "retain_available true"))
    e.start()
    try:
        d = e.device("SN0001")
        for version in ("5", "311"):
            e.publish(d, "SN0001", "devstamp/SN0001/state", f"kept-{version}", extra=("-r", "-V", version))
        e.publish(e.service, "backend", "devstamp/SN0001/command", "kept-by-service", extra=("-r",))
        assert e.publish(d, "SN0001", "devstamp/SN0001/state", "passed")[0] == 0
        s = e.subscribe(e.service, "backend", "devstamp/#")
        assert e.publish(d, "SN0001", "devstamp/SN0001/state", "after")[0] == 0
        s.wait("devstamp/SN0001/state after")
        assert [m for m in s.messages() if "devstamp/" in m] == ["devstamp/SN0001/state after"]
    finally:
        e.stop()


def test_client_id_must_be_the_certificates_name(endpoint):
    d = endpoint.device("SN0040")
    refused(endpoint, d, "SN0041", "client id")
    refused(endpoint, d, "sn0040", "client id")
    assert endpoint.publish(d, "SN0040", "devstamp/SN0040/hello")[0] == 0


def test_second_certificate_of_a_name_is_refused(endpoint):
    first, second = endpoint.device("SN0050"), endpoint.device("SN0050")
    assert endpoint.publish(first, "SN0050", "devstamp/SN0050/hello")[0] == 0
    refused(endpoint, second, "SN0050", "another certificate of the name")
    devstamp("registry", "set", "--registry", endpoint.registry, "--device", "SN0050", "--state", "revoked")
    assert endpoint.publish(second, "SN0050", "devstamp/SN0050/hello")[0] == 0
    refused(endpoint, first, "SN0050", "revoked")


def counterfeit(endpoint, kind):
    folder, sub = endpoint.folder, endpoint.sub
    if kind == "self-signed":
        return make(folder, kind, "SN0666")
    if kind == "stranger":
        return endpoint.device("SN0666", make(folder, "stranger-ca", "Stranger CA", ca=True))
    if kind == "same-name":
        return endpoint.device("SN0666", make(folder, "fake-sub", "Test Sub CA", ca=True))
    if kind == "same-name-and-chain":  # a real chain behind a certificate it did not sign
        fake = make(folder, "fake-sub2", "Test Sub CA", ca=True)
        return endpoint.device("SN0666", fake, chain=(sub.certificate,))
    if kind == "expired":
        return endpoint.device("SN0666", start=now() - 3 * DAY, end=now() - DAY)
    if kind == "not-yet":
        return endpoint.device("SN0666", start=now() + DAY, end=now() + 2 * DAY)
    if kind == "server":
        return endpoint.device("SN0666", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    if kind == "no-usage":
        return endpoint.device("SN0666", usage=None)
    if kind == "ca-leaf":
        return endpoint.device("SN0666", ca=True)
    if kind == "below-a-device":  # a device that signs another
        parent = endpoint.device("SN0667")
        return endpoint.device("SN0666", parent, chain=(parent.certificate, sub.certificate))
    if kind == "issued-by-root":
        return endpoint.device("SN0666", endpoint.root, chain=())
    if kind == "issued-by-server":
        return endpoint.device("SN0666", endpoint.server, chain=(endpoint.server.certificate,))
    if kind == "two-names":
        two = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in ("SN0666", "SN0001")])
        return endpoint.device("SN0666", subject_name=two)
    raise AssertionError(kind)


KINDS = [
    "self-signed", "stranger", "same-name", "same-name-and-chain", "expired", "not-yet", "server", "no-usage", "ca-leaf",
    "below-a-device", "issued-by-root", "issued-by-server", "two-names",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_counterfeit_is_refused(endpoint, kind):
    refused(endpoint, counterfeit(endpoint, kind), "SN0666")


@pytest.mark.parametrize("common", ["+", "#", "SN/1", "a b", "$SYS", "devstamp/#", "é"])
def test_name_that_is_no_topic_level_is_refused(endpoint, common):
    d = make(endpoint.folder, "odd", common, endpoint.sub, chain=(endpoint.sub.certificate,))
    code, text = endpoint.publish(d, common, "devstamp/x/hello")
    assert code != 0, text
    assert common not in endpoint.devices()


def test_stranger_in_the_tls_trust_is_still_refused(tmp_path):
    """A CA that TLS trusts, by name the registered one or not, admits nobody: the plugin looks for itself."""
    e = Endpoint(tmp_path)
    fake = make(tmp_path, "fake-sub", "Test Sub CA", ca=True)
    stranger = make(tmp_path, "stranger", "Stranger CA", ca=True)
    with open(e.conf_dir / "ca.pem", "ab") as f:
        f.write(fake.cert_file.read_bytes() + stranger.cert_file.read_bytes())
    e.start()
    try:
        # The name is right, the key identifier is not: OpenSSL finds the other CA, the plugin finds nobody.
        refused(e, e.device("SN0001", fake), "SN0001", "another CA issued")
        refused(e, e.device("SN0002", stranger), "SN0002", "no registered CA")
        refused(e, e.device("SN0003", e.root, chain=()), "SN0003", "no registered CA")
        assert e.publish(e.device("SN0004"), "SN0004", "devstamp/SN0004/hello")[0] == 0
    finally:
        e.stop()


def test_nobody_connects_without_certificate_or_tls(endpoint):
    base = ["mosquitto_pub", "-h", "localhost", "-p", str(endpoint.port), "-i", "SN0001", "-t", "t", "-m", "m"]
    assert subprocess.run(base, capture_output=True, timeout=20).returncode != 0
    tls = [*base, "--cafile", str(endpoint.root.cert_file)]
    assert subprocess.run(tls, capture_output=True, timeout=20).returncode != 0
    old = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{endpoint.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        capture_output=True, timeout=20, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert old.returncode != 0


def test_registry_is_private(endpoint):
    for tail in ("", "-wal"):
        path = str(endpoint.registry) + tail
        if os.path.exists(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
