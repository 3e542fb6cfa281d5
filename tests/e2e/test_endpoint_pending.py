# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Devices that wait for their activation, and topics by the owner's template."""

import json
import time

import pytest
from endpoint_fixtures import Endpoint, devstamp


@pytest.fixture
def endpoint(tmp_path):
    e = Endpoint(tmp_path).start()
    yield e
    e.stop()


def test_first_connect_is_refused_and_told_until_it_is_activated(endpoint):
    """As AWS IoT does it: the owner's service hears of the certificate, decides, and activates it."""
    devstamp("registry", "set", "--registry", endpoint.registry, "--ca-id", endpoint.sub.id, "--registration", "pending")
    watcher = endpoint.subscribe(endpoint.service, "backend", "$aws/events/#")
    d = endpoint.device("SN0001")
    before = time.time()
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] != 0
    assert "the certificate is pending" in endpoint.log()
    watcher.wait(d.id)
    topic, payload = [m for m in watcher.messages() if d.id in m][0].split(" ", 1)
    event = json.loads(payload)
    assert topic == f"$aws/events/certificates/registered/{endpoint.sub.id}"
    assert sorted(event) == ["awsAccountId", "caCertificateId", "certificateId", "certificateRegistrationTimestamp",
                             "certificateStatus", "name", "timestamp"]  # fmt: skip
    assert (event["certificateId"], event["caCertificateId"]) == (d.id, endpoint.sub.id)
    assert event["certificateStatus"] == "PENDING_ACTIVATION"
    assert int(before) * 1000 <= event["timestamp"] <= (time.time() + 1) * 1000
    assert event["certificateRegistrationTimestamp"] == str(event["timestamp"])
    assert endpoint.devices()["SN0001"]["state"] == "pending"
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] != 0
    devstamp("registry", "set", "--registry", endpoint.registry, "--device", event["certificateId"], "--state", "active")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0


def test_topics_are_the_owners_template(endpoint):
    a, b = endpoint.device("SN0001"), endpoint.device("SN0002")
    devstamp("registry", "set", "--registry", endpoint.registry, "--topics",
             "fleet/{name}/#,$aws/things/{name}/shadow/#")  # fmt: skip
    deadline = time.monotonic() + 15
    while True:  # the broker takes the new list within a second
        w = endpoint.subscribe(endpoint.service, "backend", "fleet/#", "$aws/things/#", "devstamp/#")
        endpoint.publish(a, "SN0001", "fleet/SN0001/hello", "probe")
        time.sleep(0.1)
        if "fleet/SN0001/hello probe" in w.text():
            break
        w.close()
        assert time.monotonic() < deadline
    for d, n in ((a, "SN0001"), (b, "SN0002")):
        endpoint.publish(d, n, "$aws/things/SN0001/shadow/update", f"shadow-{n}")
        endpoint.publish(d, n, "fleet/SN0001/state", f"fleet-{n}")
        endpoint.publish(d, n, "devstamp/SN0001/state", f"old-{n}")
        endpoint.publish(d, n, "$aws/events/things/SN0001", f"forged-{n}")
    endpoint.publish(a, "SN0001", "fleet/SN0001/end", "end")
    w.wait("end")
    said = [m for m in w.messages() if "probe" not in m]
    assert said == ["$aws/things/SN0001/shadow/update shadow-SN0001", "fleet/SN0001/state fleet-SN0001",
                    "fleet/SN0001/end end"]  # fmt: skip
    done = devstamp("registry", "set", "--registry", endpoint.registry, "--topics", "fleet/{name}/#,fleet/x/{name}/#", check=False)
    assert done.returncode == 2 and "another's topics" in done.stderr


def test_init_again_changes_nothing_that_was_not_asked_for(endpoint):
    def of_sub():
        listed = json.loads(devstamp("registry", "list", "--registry", endpoint.registry, "--json").stdout)["cas"]
        return next((c["registration"], c["policy"], c["rate"]) for c in listed if c["id"] == endpoint.sub.id)

    again = ("registry", "init", "--registry", endpoint.registry, "--ca", endpoint.sub.cert_file)
    assert of_sub() == ("auto", "jitr", 0)
    devstamp(*again, "--registration", "pending", "--policy", "manifest", "--rate", "7")
    assert of_sub() == ("pending", "manifest", 7)
    devstamp(*again)
    assert of_sub() == ("pending", "manifest", 7)


def test_services_of_a_ca_that_is_switched_off_are_silenced(endpoint):
    d = endpoint.device("SN0001")
    watcher = endpoint.subscribe(endpoint.service, "backend", "devstamp/#")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/state", "before")[0] == 0
    watcher.wait("before")
    devstamp("registry", "set", "--registry", endpoint.registry, "--ca-id", endpoint.ops.id, "--state", "inactive")
    mark, deadline, sent = None, time.monotonic() + 20, 0
    while mark is None and time.monotonic() < deadline:  # within a second
        sent += 1
        assert endpoint.publish(d, "SN0001", "devstamp/SN0001/state", f"after-{sent}-")[0] == 0
        time.sleep(0.3)
        mark = sent if f"after-{sent}-" not in watcher.text() else None
    assert mark
    assert endpoint.publish(endpoint.service, "backend", "devstamp/SN0001/command", "go")[0] != 0
