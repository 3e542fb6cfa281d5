# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The endpoint's record: it outlives the broker, its changes reach connected devices, and it meets the ledger."""

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from endpoint_fixtures import DAY, DEVSTAMP, Endpoint, devstamp, listing_of, make, now


@pytest.fixture
def endpoint(tmp_path):
    e = Endpoint(tmp_path)
    yield e
    e.stop()


def set_state(endpoint, *what, check=True):
    return devstamp("registry", "set", "--registry", endpoint.registry, *what, check=check)


def test_record_outlives_restart_and_kill(endpoint):
    endpoint.start()
    d = endpoint.device("SN0001")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0
    first = endpoint.devices()["SN0001"]
    endpoint.process.send_signal(signal.SIGKILL)
    endpoint.process.wait(20)
    endpoint.process = None
    assert endpoint.devices()["SN0001"] == first
    endpoint.start()
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0
    assert len(listing_of(endpoint.registry)["devices"]) == 1
    assert endpoint.devices()["SN0001"]["registered_at"] == first["registered_at"]
    endpoint.stop()
    endpoint.start()
    twin = endpoint.device("SN0001")
    assert endpoint.publish(twin, "SN0001", "devstamp/SN0001/hello")[0] != 0


@pytest.mark.parametrize("state", ["inactive", "revoked"])
def test_device_switched_off_is_disconnected_and_refused(endpoint, state):
    endpoint.start()
    d, other = endpoint.device("SN0001"), endpoint.device("SN0002")
    ears = endpoint.subscribe(d, "SN0001", "devstamp/SN0001/#")
    others = endpoint.subscribe(other, "SN0002", "devstamp/SN0002/#")
    set_state(endpoint, "--device", "SN0001", "--state", state)
    ears.wait("not authorised", 20)  # it was cut off, came again and was refused
    code, _ = endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")
    assert code != 0
    assert f"the certificate is {state}" in endpoint.log()
    assert others.process.poll() is None
    others.close()
    back = set_state(endpoint, "--device", d.id, "--state", "active", check=False)
    if state == "inactive":
        assert back.returncode == 0
        assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0
    else:
        assert back.returncode == 8
        assert "stays revoked" in back.stderr


def test_certificate_revoked_before_its_first_connect_is_refused(endpoint):
    endpoint.start()
    d, spare = endpoint.device("SN0001"), endpoint.device("SN0001")
    assert set_state(endpoint, "--device", "SN0001", "--state", "revoked", check=False).returncode == 3
    set_state(endpoint, "--device", d.id, "--state", "revoked")
    assert [c["certificate_id"] for c in listing_of(endpoint.registry)["revoked_unseen"]] == [d.id]
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] != 0
    assert "the certificate is revoked" in endpoint.log()
    assert endpoint.devices() == {}
    assert endpoint.publish(spare, "SN0001", "devstamp/SN0001/hello")[0] == 0
    assert set_state(endpoint, "--device", d.id, "--state", "active", check=False).returncode == 8


def test_service_that_is_revoked_is_disconnected(endpoint):
    """Who reads everything is not recorded, and is thrown out all the same."""
    endpoint.start()
    good, stolen, listed = (make(endpoint.folder, n, n, endpoint.ops) for n in ("good", "stolen", "listed"))
    ears = {i: endpoint.subscribe(i, i.certificate.subject.rfc4514_string()[3:], "devstamp/#") for i in (good, stolen, listed)}
    set_state(endpoint, "--device", stolen.id, "--state", "revoked")
    ears[stolen].wait("not authorised", 20)
    assert ears[listed].process.poll() is None
    soon = now() + DAY
    crl = (x509.CertificateRevocationListBuilder().issuer_name(endpoint.ops.certificate.subject).last_update(now() - DAY)
           .next_update(soon).add_extension(x509.CRLNumber(1), False)
           .add_revoked_certificate(x509.RevokedCertificateBuilder().revocation_date(now() - DAY)
                                    .serial_number(listed.certificate.serial_number).build())
           .sign(endpoint.ops.key, hashes.SHA256()))  # fmt: skip
    (endpoint.folder / "ops.crl").write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    devstamp("registry", "import-crl", "--registry", endpoint.registry, "--crl", endpoint.folder / "ops.crl")
    ears[listed].wait("not authorised", 20)
    assert ears[good].process.poll() is None
    ears[good].close()


def test_ca_switched_off_is_refused_at_once(endpoint):
    """mosquitto goes on trusting a CA until it is started again; the plugin does not."""
    endpoint.start()
    d = endpoint.device("SN0001")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0
    set_state(endpoint, "--ca-id", endpoint.sub.id, "--state", "inactive")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] != 0
    assert endpoint.publish(endpoint.device("SN0002"), "SN0002", "devstamp/SN0002/hello")[0] != 0
    assert "the CA that issued the certificate is inactive" in endpoint.log()
    set_state(endpoint, "--ca-id", endpoint.sub.id, "--state", "active")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0


def test_ca_without_auto_registration_admits_the_known_only(endpoint):
    endpoint.start()
    known, new = endpoint.device("SN0001"), endpoint.device("SN0002")
    assert endpoint.publish(known, "SN0001", "devstamp/SN0001/hello")[0] == 0
    devstamp(
        "registry", "init", "--registry", endpoint.registry, "--ca", endpoint.sub.cert_file, "--no-auto-registration"
    )
    assert endpoint.publish(known, "SN0001", "devstamp/SN0001/hello")[0] == 0
    assert endpoint.publish(new, "SN0002", "devstamp/SN0002/hello")[0] != 0
    assert list(endpoint.devices()) == ["SN0001"]


def test_a_ca_is_never_there_with_less_than_was_wished(endpoint):
    """Cut off in the middle, 'init' has not left a CA behind whose every certificate is admitted."""
    before = listing_of(endpoint.registry)["cas"]
    with sqlite3.connect(endpoint.registry) as db:
        db.execute("CREATE TRIGGER cut BEFORE UPDATE OF policy ON ca BEGIN SELECT RAISE(ABORT, 'cut'); END")
    other = make(endpoint.folder, "other", "Other CA", ca=True)
    wish = ["registry", "init", "--registry", endpoint.registry, "--ca", other.cert_file, "--policy", "logged",
            "--registration", "pending", "--rate", "7"]
    assert devstamp(*wish, check=False).returncode != 0
    assert listing_of(endpoint.registry)["cas"] == before
    with sqlite3.connect(endpoint.registry) as db:
        db.execute("DROP TRIGGER cut")
    devstamp(*wish)
    devstamp("registry", "init", "--registry", endpoint.registry, "--ca", other.cert_file)  # changes nothing of that
    ca = listing_of(endpoint.registry)["cas"][-1]
    assert (ca["policy"], ca["registration"], ca["rate"]) == ("logged", "pending", 7)


def test_broker_without_registry_does_not_start(endpoint):
    os.rename(endpoint.registry, str(endpoint.registry) + ".away")
    with pytest.raises(AssertionError):
        endpoint.start()
    endpoint.process = None
    assert "does not exist" in endpoint.log()


def connack(endpoint, identity, client_id):
    """One MQTT 3.1.1 CONNECT; the broker's return code, or what the connection ended in."""
    context = ssl.create_default_context(cafile=endpoint.root.cert_file)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id.encode()
    try:
        with socket.create_connection(("localhost", endpoint.port), 20) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as wire:
                wire.sendall(bytes([0x10, len(body)]) + body)
                answer = wire.recv(4)
                return answer[3] if len(answer) == 4 else f"ended after {answer.hex()}"
    except OSError as e:
        return repr(e)


def test_every_one_of_many_devices_is_registered(endpoint):
    """Eight at a time; together they have more events than the broker's own use of memory would hide."""
    endpoint.start()
    names = [f"SN{i:04}" for i in range(600)]
    devices = {n: endpoint.device(n) for n in names}
    with ThreadPoolExecutor(8) as crowd:
        answers = dict(zip(names, crowd.map(lambda n: connack(endpoint, devices[n], n), names)))
    assert {n: a for n, a in answers.items() if a != 0} == {}
    assert sorted(endpoint.devices()) == names
    assert "out of memory" not in endpoint.log()


def test_sync_names_what_the_ledger_does_not_know(endpoint, tmp_path):
    endpoint.start()
    d = endpoint.device("SN0001")
    assert endpoint.publish(d, "SN0001", "devstamp/SN0001/hello")[0] == 0
    for _ in range(2):  # again changes nothing
        done = json.loads(
            devstamp(
                "registry", "sync", "--registry", endpoint.registry, "--ledger", tmp_path / "ledger.db", "--json"
            ).stdout
        )
        assert (done["marked"], done["already"], done["unknown"]) == (0, 0, 1)
        assert "SN0001" in done["lines"][0] and d.id in done["lines"][0]


def test_init_takes_cas_only(endpoint, tmp_path):
    leaf = endpoint.device("SN0001")
    done = devstamp("registry", "init", "--registry", endpoint.registry, "--ca", leaf.cert_file, check=False)
    assert done.returncode == 3
    assert "not a CA's" in done.stderr
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    assert devstamp("registry", "init", "--registry", endpoint.registry, "--ca", text, check=False).returncode == 3
    weak = make(tmp_path, "ops-again", "Again", ca=True)
    devstamp("registry", "init", "--registry", endpoint.registry, "--ca", weak.cert_file)
    done = devstamp(
        "registry", "init", "--registry", endpoint.registry, "--ca", endpoint.sub.cert_file, "--services",
        endpoint.sub.cert_file, check=False,
    )  # fmt: skip
    assert done.returncode == 8


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["frob"], ["init"], ["init", "--registry", "x"], ["list"], ["list", "--registry"], ["sync", "--registry", "x"],
        ["set", "--registry", "x", "--device", "a"], ["set", "--registry", "x", "--device", "a", "--state", "odd"],
        ["set", "--registry", "x", "--ca-id", "a", "--state", "revoked"], ["list", "--registry", "x", "surplus"],
        ["config", "--registry", "x"],
    ],
)  # fmt: skip
def test_usage_errors_exit_2(arguments):
    done = subprocess.run([str(DEVSTAMP), "registry", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_config_refuses_bad_words(endpoint):
    for option, value in (("--port", "0"), ("--port", "70000"), ("--port", "x"), ("--address", "a b"), ("--user", "u\nv")):
        options = {
            "--registry": endpoint.registry, "--dir": endpoint.conf_dir, "--port": 1, "--cert": endpoint.server.cert_file,
            "--key": endpoint.server.key_file,
        }  # fmt: skip
        options[option] = value
        done = devstamp("registry", "config", *(x for pair in options.items() for x in pair), check=False)
        assert done.returncode == 2, option
