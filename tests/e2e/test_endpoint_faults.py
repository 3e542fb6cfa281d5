# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The endpoint under what goes wrong: its broker killed amid first connects, and floods of garbage certificates.

A sample; DEVSTAMP_ENDPOINT_FAULTS=full (script/fuzz) kills amid 1,000 first connects and sends 10,000 certificates."""

import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from endpoint_fixtures import BUILD, DAY, Endpoint, Identity, devstamp, listing_of, make, name, now

FULL = os.environ.get("DEVSTAMP_ENDPOINT_FAULTS") == "full"
CROWD = BUILD / "bench" / "bench_endpoint"


@pytest.fixture
def endpoint(tmp_path):
    e = Endpoint(tmp_path).start()
    yield e
    e.stop()


class Wire:
    """One MQTT 3.1.1 connection over TLS; code is the CONNACK's, or what it ended in. It has a keep-alive time: where the broker
    has a longest one, newer ones refuse who names none."""

    def __init__(self, endpoint, identity, client_id, source="127.0.0.1"):
        context = ssl.create_default_context(cafile=endpoint.root.cert_file)
        context.load_cert_chain(identity.cert_file, identity.key_file)
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id.encode()
        self.tls, self.code = None, "never connected"
        try:
            plain = socket.create_connection(("127.0.0.1", endpoint.port), 30, source_address=(source, 0))
            self.tls = context.wrap_socket(plain, server_hostname="localhost")
            self.tls.sendall(bytes([0x10, len(body)]) + body)
            answer = self.tls.recv(4)
            self.code = answer[3] if len(answer) == 4 else f"ended after {answer.hex()}"
        except OSError as e:
            self.code = repr(e)

    def is_open(self):
        self.tls.sendall(b"\xc0\x00")  # ping
        return self.tls.recv(2) == b"\xd0\x00"

    def close(self):
        if self.tls:
            self.tls.close()


def test_broker_killed_amid_first_connects(endpoint):
    """Every device tries until it is in: each is registered once, and those that were told so are still."""
    names = [f"SN{i:04}" for i in range(1000 if FULL else 90)]
    devices = {n: endpoint.device(n) for n in names}
    admitted = []
    deadline = time.monotonic() + 400

    def come(n):
        while time.monotonic() < deadline:
            wire = Wire(endpoint, devices[n], n)
            wire.close()
            if wire.code == 0:
                admitted.append(n)
                return n
            time.sleep(0.05)
        return None

    with ThreadPoolExecutor(6) as crowd:
        work = [crowd.submit(come, n) for n in names]
        for share in (3, 2):
            while len(admitted) < len(names) // share and time.monotonic() < deadline:
                time.sleep(0.01)
            told = set(admitted)
            endpoint.process.send_signal(signal.SIGKILL)
            endpoint.process.wait(20)
            assert told <= set(endpoint.devices())
            endpoint.start()
        assert sorted(w.result() for w in work) == names
    listed = listing_of(endpoint.registry)["devices"]
    assert sorted(d["name"] for d in listed) == names
    assert {d["certificate_id"] for d in listed} == {devices[n].id for n in names}


def signed(endpoint, label, *extensions, issuer=None, aki=None, usage=None, start=None, end=None):
    """A certificate of SN9999 with what make() does not do."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), issuer or endpoint.sub
    builder = (x509.CertificateBuilder().subject_name(name("SN9999")).issuer_name(endpoint.sub.certificate.subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(start or now() - DAY).not_valid_after(end or now() + DAY)
               .add_extension(usage or x509.KeyUsage(True, *[False] * 8), True)
               .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
               .add_extension(aki or x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))  # fmt: skip
    for e in extensions:
        builder = builder.add_extension(e, False)
    return Identity(endpoint.folder, label, builder.sign(issuer.key, hashes.SHA256()), key, (endpoint.sub.certificate,))


def garbage(endpoint):
    """By kind: an identity, and the chain it shows."""
    sub, folder = endpoint.sub, endpoint.folder
    aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(sub.key.public_key())
    twin = make(folder, "twin", "Test Sub CA", ca=True)
    made = {
        "a 64 KiB extension": signed(endpoint, "huge", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(65536))),
        "an extension beyond a device's size": signed(endpoint, "big", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(20000))),
        "key agreement only": signed(endpoint, "agree", usage=x509.KeyUsage(*[False] * 4, True, *[False] * 4)),
        "expired": signed(endpoint, "old", start=now() - 3 * DAY, end=now() - DAY),
        "a year late": signed(endpoint, "late", start=now() - 400 * DAY, end=now() - 365 * DAY),
        "not yet valid": signed(endpoint, "young", start=now() + 365 * DAY, end=now() + 400 * DAY),
        "foreign CA of the same name and key id": signed(endpoint, "twin-leaf", issuer=twin, aki=aki),
        "a server's": endpoint.device("SN9999", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "a CA": endpoint.device("SN9999", ca=True),
        "self-signed": make(folder, "self", "SN9999"),
    }  # fmt: skip
    return made


def write_crowd(path, identity, count):
    """The same identity again and again, as bench_endpoint reads it."""
    parts = [identity.key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL,
                                        serialization.NoEncryption())]  # fmt: skip
    parts += [identity.certificate.public_bytes(serialization.Encoding.DER)] * count
    path.write_bytes(b"".join(len(p).to_bytes(4, "little") + p for p in parts))
    return path


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(x for x in text.splitlines() if x.startswith("VmRSS")).split()[1]) // 1024


def test_floods_of_garbage_admit_nobody_and_harm_nobody(endpoint):
    known, live = endpoint.device("SN0001"), endpoint.device("SN0002")
    first = Wire(endpoint, known, "SN0001")
    assert first.code == 0
    first.close()
    open_one = Wire(endpoint, live, "SN0002")
    assert open_one.code == 0
    kinds = garbage(endpoint)
    before, each = resident(endpoint.process.pid), 10000 // len(kinds) if FULL else 12
    for kind, identity in kinds.items():
        crowd = write_crowd(endpoint.folder / "crowd", identity, each)
        done = subprocess.run([CROWD, "run", "127.0.0.1", str(endpoint.port), endpoint.sub.cert_file, crowd, "3"],
                              capture_output=True, text=True, timeout=600, check=True)  # fmt: skip
        _, admitted, refused, failed, *_ = done.stdout.split()
        assert (int(admitted), int(refused) + int(failed)) == (0, each), kind
        again = Wire(endpoint, known, "SN0001")
        assert again.code == 0, kind
        again.close()
        assert open_one.is_open(), kind
    fresh = Wire(endpoint, endpoint.device("SN0003"), "SN0003", source="127.0.0.2")
    assert fresh.code == 0  # a new device from elsewhere
    fresh.close()
    open_one.close()
    assert sorted(endpoint.devices()) == ["SN0001", "SN0002", "SN0003"]
    if FULL:
        assert resident(endpoint.process.pid) - before < 32


def test_chain_that_is_too_long_is_refused(endpoint):
    """Eighty CAs between the device and a registered one, each below the other."""
    issuer, chain = endpoint.sub, [endpoint.sub.certificate]
    for i in range(80):
        issuer = make(endpoint.folder, "below", f"Below {i}", issuer, ca=True)
        chain.insert(0, issuer.certificate)
    d = endpoint.device("SN9999", issuer, chain=tuple(chain))
    for _ in range(3):
        wire = Wire(endpoint, d, "SN9999")
        wire.close()
        assert wire.code != 0
    good = Wire(endpoint, endpoint.device("SN0001"), "SN0001")
    assert good.code == 0
    good.close()
    assert list(endpoint.devices()) == ["SN0001"]


def test_flood_from_a_stolen_key_is_counted_in_few_lines(endpoint):
    """The CA's key is stolen, its policy is "logged": unknown certificates cost the log a bounded number of lines."""
    known = endpoint.device("SN0001")
    devstamp("registry", "set", "--registry", endpoint.registry, "--ca-id", endpoint.sub.id, "--policy", "logged")
    crowd = endpoint.folder / "crowd"
    count = 2000 if FULL else 150
    subprocess.run([CROWD, "make", endpoint.sub.cert_file, endpoint.sub.key_file, crowd, "SN", "1", str(count)], check=True)
    done = subprocess.run([CROWD, "run", "127.0.0.1", str(endpoint.port), endpoint.sub.cert_file, crowd, "3"],
                          capture_output=True, text=True, timeout=600, check=True)  # fmt: skip
    assert done.stdout.split()[1:4] == ["0", str(count), "0"]
    lines = [x for x in endpoint.log().splitlines() if "devstamp: refused '" in x]
    assert 50 <= len(lines) < count
    deadline = time.monotonic() + 30
    while "not named here" not in endpoint.log() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "devstamp: refused" in endpoint.log() and "not named here" in endpoint.log()
    assert endpoint.devices() == {}
    devstamp("registry", "set", "--registry", endpoint.registry, "--ca-id", endpoint.sub.id, "--policy", "jitr")
    wire = Wire(endpoint, known, "SN0001", source="127.0.0.3")
    wire.close()
    assert wire.code == 0
