# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A signer that stations elsewhere ask over mutual TLS: who is let in, what each may, and that nobody takes more than a share."""

import select
import socket
import ssl
import struct
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from factory import DEVSTAMP, run
from remotelib import RECIPE, Authority, Front, Peer, fingerprint, serial_of
from signerlib import Device, Refused, field

POLICY = 7


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("line-ca"))


@pytest.fixture(scope="session")
def ids(authority):
    """Certificates of stations by name."""
    return {name: authority.issue(name) for name in ("line-1", "line-2", "officer", "nobody")}


class Place:
    """A folder with a log, recipes acme and other, and a signer on demand."""

    def __init__(self, products, authority, folder):
        self.ca, self.authority, self.folder = products.folder / "ca", authority, folder
        self.log, self.fronts, self.peers = folder / "issued.log", [], []
        self.recipes = []
        for product in ("acme", "other"):
            self.recipes.append(folder / f"{product}.yaml")
            self.recipes[-1].write_text(RECIPE.format(product=product, ca=self.ca))

    def front(self, stations, **more):
        signer = {"certificate": self.ca / "subca.pem", "key": f"file:{self.ca}/subca.key", "log": self.log}
        self.fronts.append(Front(self.folder, self.authority, signer, self.recipes, stations, **more).start())
        return self.fronts[-1]

    def peer(self, front, identity):
        self.peers.append(Peer(front, *identity))
        return self.peers[-1]

    def logged(self):
        p = run(DEVSTAMP, "log", "verify", "--log", self.log)
        return int(p.stdout.split()[0])

    def close(self):
        for p in self.peers:
            p.close()
        for f in self.fronts:
            f.stop()


@pytest.fixture
def place(products, authority, tmp_path):
    p = Place(products, authority, tmp_path)
    yield p
    p.close()


def device(place, name="SN1", recipe="acme"):
    d = Device(name, place.ca)
    d.uri = ""
    d.recipe = recipe
    return d


class OfRecipe:
    """A device's request for another recipe than its own."""

    def __init__(self, d, recipe):
        self.d, self.recipe = d, recipe

    def request(self):
        return self.d.request().replace(field(8, "acme"), field(8, self.recipe))


def refused(call, *args):
    with pytest.raises(Refused) as e:
        call(*args)
    return e.value


def test_known_station_is_given_certificates_and_the_log(place, ids):
    front = place.front({"line-1": "recipes: [acme], log: true"})
    peer = place.peer(front, ids["line-1"])
    assert peer.status()[1] == b"CN=devstamp Sub CA,O=devstamp"
    d = device(place)
    cert = peer.sign(d)
    assert cert.serial_number == int.from_bytes(d.serial, "big") & (1 << 127) - 1
    assert place.peer(front, ids["line-1"]).sign(d) == cert  # over another connection: the same again
    entries = peer.entries()
    assert entries[1] == 1 and entries[4] == 2 and entries[5] + entries[3] == place.log.read_bytes()
    assert place.logged() == 1


def is_refused(front, identity, ca=None):
    """In TLS 1.3 the client learns it with its first read."""
    try:
        peer = Peer(front, *identity, ca=ca)
        peer.send(field(1, b""))
        peer.reply()
    except (ssl.SSLError, EOFError, ConnectionError):
        return True
    return False


def test_strangers_are_refused(place, authority, ids, tmp_path):
    front = place.front({"line-1": "recipes: [acme]"})
    other = Authority(tmp_path / "other", "Line CA")
    assert is_refused(front, (None, None))
    assert is_refused(front, other.issue("line-1"))                                        # the same names, another key
    assert is_refused(front, authority.issue("line-1", file="old", begin=-30, end=-1))     # expired
    assert is_refused(front, authority.issue("line-1", file="early", begin=1, end=30))     # not yet valid
    assert is_refused(front, authority.issue("line-1", file="server", server=True))        # not made for a client
    assert is_refused(front, ids["nobody"])                                                # vouched for, and not on the list
    assert not is_refused(front, ids["line-1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority.certificate)
    context.load_cert_chain(*ids["line-1"])
    with socket.create_connection(("127.0.0.1", front.port), 60) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_pinned_station_is_known_by_its_certificate_alone(place, authority, ids, tmp_path):
    alone = Authority(tmp_path / "alone", "whoever").issue("anything")
    front = place.front({"line-1": f"fingerprint: {fingerprint(alone[0])}, recipes: [acme]"}, ca=False)
    place.peer(front, alone).sign(device(place))
    assert is_refused(front, ids["line-1"])


def test_station_is_told_in_words(place, authority, ids, tmp_path):
    """What the station's own program says of a refusal, with exit codes."""
    front = place.front({"line-1": "recipes: [acme]"})
    other = Authority(tmp_path / "other", "Line CA")
    good = front.station(tmp_path, *ids["line-1"], sub_ca=place.ca / "subca.pem")
    p = run(DEVSTAMP, "signer", "status", "--station", good)
    assert "CN=devstamp Sub CA" in p.stdout and "0 entries" in p.stdout

    def status(expect, *identity, **how):
        p = run(DEVSTAMP, "signer", "status", "--station", front.station(tmp_path, *identity, name="x", **how), ok=False)
        assert p.returncode == expect, p.stderr
        return p.stderr
    assert "refuses our certificate" in status(8, *ids["nobody"])
    assert "certificate is not good" in status(8, *ids["line-1"], ca=other.certificate)
    assert "is not the certificate in" in status(8, *ids["line-1"], sub_ca=place.ca / "root.pem")
    assert "is not the certificate of the key" in status(3, ids["line-1"][0], ids["line-2"][1])
    front.stop()
    assert "connect" in status(7, *ids["line-1"])


def test_station_gets_what_its_recipes_allow_and_no_more(place, ids):
    front = place.front({"line-1": "recipes: [acme]", "line-2": "recipes: [other]", "officer": "revoke: any"})
    one, two, officer = (place.peer(front, ids[n]) for n in ("line-1", "line-2", "officer"))
    d = device(place)
    for peer in (two, officer):
        e = refused(peer.sign, d)
        assert e.args[0] == POLICY and 'may not ask for certificates of recipe "acme"' in e.args[1]
    assert 'recipe "nothing"' in refused(one.sign, OfRecipe(d, "nothing")).args[1]
    assert "may not read" in refused(one.entries).args[1]
    assert "may not revoke" in refused(one.revoke, b"\1" * 16).args[1]
    profile = field(1, "acme") + field(2, "CN={serial},O=Acme") + field(3, 3) + field(5, "SN{counter}")
    one.status(profile)
    assert "the subject differs" in refused(one.status, profile.replace(b"Acme", b"Evil")).args[1]
    assert "may not ask" in refused(two.status, profile).args[1]
    assert "does not do" in refused(one.ask, field(3, field(1, "file:/tmp/root.key"))).args[1]  # a ceremony
    one.sign(d)
    assert place.logged() == 1


def test_profiles_of_a_station_change_nothing(place, ids):
    """A station that is a liar from its first message on: the signer judges by its own recipes."""
    front = place.front({"line-1": "recipes: [acme]"})
    peer = place.peer(front, ids["line-1"])
    refused(peer.status, field(1, "acme") + field(2, "CN=anything") + field(3, 3) + field(5, "SN{counter}"))
    d = device(place)
    d.subject = "CN=anything"
    assert refused(peer.sign, d).args[0] == POLICY
    assert refused(peer.sign, device(place, name="XX1")).args[0] == POLICY  # no serial number of the format
    assert place.logged() == 0


def test_rubbish_harms_nobody(place, ids):
    front = place.front({"line-1": "recipes: [acme]"})
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 64, b"\x16\x03\x01\xff\xff" + b"\0" * 70000):
        with socket.create_connection(("127.0.0.1", front.port), 60) as s:
            s.settimeout(60)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
    peer = place.peer(front, ids["line-1"])
    peer.socket.sendall(struct.pack("<I", 32769))
    assert "32769 bytes" in refused(peer.answer).args[1] and peer.is_closed()
    for rubbish in (b"\xff" * 40, field(2, field(1, b"\0" * 100)), field(2, b"\xff"), b"", field(77, b"x")):
        peer = place.peer(front, ids["line-1"])
        assert refused(peer.ask, rubbish)
    place.peer(front, ids["line-1"]).sign(device(place))
    assert place.logged() == 1


def test_half_a_handshake_held_open_keeps_nobody_out(place, ids):
    """Far more of them than there are places for strangers: the oldest give way."""
    front = place.front({"line-1": "recipes: [acme]"}, strangers=4, handshake=600)
    held = [socket.create_connection(("127.0.0.1", front.port), 60) for _ in range(20)]
    for s in held:
        s.settimeout(60)
        try:
            s.send(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a ClientHello
        except ConnectionError:
            pass
    place.peer(front, ids["line-1"]).sign(device(place))
    for s in held[:12]:  # sent away
        try:
            assert s.recv(1) == b""
        except ConnectionError:
            pass
    for s in held:
        s.close()


def test_one_source_keeps_no_other_out(place, authority, ids):
    """Half a handshake from one address outlasts any number of connections from another."""
    front = place.front({"line-1": "recipes: [acme]"}, strangers=4, handshake=600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    context.load_cert_chain(*ids["line-1"])
    slow = socket.create_connection(("127.0.0.1", front.port), 60, source_address=("127.0.0.2", 0))
    flood = [socket.create_connection(("127.0.0.1", front.port), 60) for _ in range(100)]
    held = list(flood)
    while len(held) > 4:  # the others were sent away, or not let in: the front has seen them all
        ended, _, _ = select.select(held, [], [], 60)
        assert ended, len(held)
        held = [s for s in held if s not in ended]
    with context.wrap_socket(slow, server_hostname="127.0.0.1") as s:
        s.sendall(struct.pack("<I", 2) + field(1, b""))
        assert len(s.recv(4)) == 4
    for s in flood:
        s.close()


def test_refused_requests_fill_no_disk(place, ids):
    front = place.front({"line-1": "recipes: [acme]", "nobody": ""})
    peer = place.peer(front, ids["nobody"])
    for _ in range(60):
        refused(peer.entries)
    refused(place.peer(front, ids["line-1"]).entries)  # another station's are told
    said = [t for t in front.said.read_text().splitlines() if "may not read" in t]
    assert len([t for t in said if "nobody" in t]) in (20, 40)  # 40: a minute passed meanwhile
    assert len([t for t in said if "line-1" in t]) == 1


def test_station_keeps_to_its_serial_numbers(place, ids, tmp_path):
    front = place.front({"line-1": "recipes: [acme], first: SN1, last: SN99", "line-2": "recipes: [acme], first: SN100, last: SN200"})
    one, two = place.peer(front, ids["line-1"]), place.peer(front, ids["line-2"])
    one.sign(device(place, "SN99"))
    e = refused(two.sign, device(place, "SN99"))
    assert e.args[0] == POLICY and 'SN100 to SN200, not "SN99"' in e.args[1]
    assert refused(one.sign, device(place, "SN100")).args[0] == POLICY
    assert refused(two.sign, device(place, "SN201")).args[0] == POLICY
    two.sign(device(place, "SN100"))
    assert place.logged() == 2
    for more in ("first: SN1", "last: SN1", "first: SN10, last: SN9"):
        front.stop()
        bad = Front(place.folder, place.authority, {"certificate": place.ca / "subca.pem", "key": f"file:{place.ca}/subca.key",
                                                    "log": place.log}, place.recipes, {"line-1": f"recipes: [acme], {more}"})
        p = bad.spawn()
        p.communicate()
        assert p.returncode == 3 and "in their order, both or none" in bad.said.read_text()
        bad.said.unlink()


def test_proofs_take_a_right(place, ids):
    front = place.front({"line-1": "recipes: [acme]", "officer": "log: true", "nobody": ""})
    place.peer(front, ids["line-1"]).sign(device(place))
    proof = field(5, field(1, 1))
    place.peer(front, ids["line-1"]).ask(proof)
    place.peer(front, ids["officer"]).ask(proof)
    assert "may not ask for the log's proofs" in refused(place.peer(front, ids["nobody"]).ask, proof).args[1]


@pytest.mark.parametrize("limit", ["handshake", "message", "idle"])
def test_slow_ones_are_cut_off(place, ids, limit):
    front = place.front({"line-1": "recipes: [acme]"}, **{limit: 1})
    if limit == "handshake":
        with socket.create_connection(("127.0.0.1", front.port), 60) as s:
            s.settimeout(60)
            s.send(b"\x16\x03\x01")
            assert s.recv(100) == b""
        return
    peer = place.peer(front, ids["line-1"])
    if limit == "message":
        peer.socket.sendall(b"\x10\0\0\0half")
    assert peer.is_closed()


def test_request_cut_off_is_asked_again_and_gives_the_same(place, ids):
    front = place.front({"line-1": "recipes: [acme]"})
    devices = [device(place, f"SN{i}") for i in range(8)]
    for d in devices:
        peer = Peer(front, *ids["line-1"])
        peer.send(field(2, d.request()))
        peer.raw.close()
        peer.close()
    first = [place.peer(front, ids["line-1"]).sign(d) for d in devices]
    front.kill()
    front.start()
    peer = place.peer(front, ids["line-1"])
    assert [peer.sign(d) for d in devices] == first
    assert place.logged() == len(devices)


def test_two_stations_at_once(place, ids):
    front = place.front({"line-1": "recipes: [acme]", "line-2": "recipes: [acme, other]"})
    made, failed = {}, []

    def work(name, first):
        try:
            peer = Peer(front, *ids[name])
            for i in range(first, first + 10):
                d = device(place, f"SN{i}")
                made[i] = (d, peer.sign(d))
            peer.close()
        except Exception as e:  # whatever it is, the test must fail
            failed.append(e)
    threads = [threading.Thread(target=work, args=(name, 100 * i)) for i, name in enumerate(["line-1", "line-2"] * 3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    for i, (d, cert) in made.items():
        assert serial_of(cert) == (int.from_bytes(d.serial, "big") & (1 << 127) - 1).to_bytes(16, "big")
    assert place.logged() == len(made) == 60


def test_station_with_too_many_connections_loses_its_own_oldest(place, ids):
    front = place.front({"line-1": "recipes: [acme], connections: 2", "line-2": "recipes: [acme]"})
    other = place.peer(front, ids["line-2"])
    other.status()
    mine = []
    for _ in range(5):
        mine.append(place.peer(front, ids["line-1"]))
        assert mine[-1].status()[30] == 2
    assert all(p.is_closed() for p in mine[:3])
    mine[4].sign(device(place))
    other.status()


def test_revocation_is_recorded_for_good(place, ids, tmp_path):
    """By a station of its own recipe's certificates, by an officer of any; on the next CRL; never handed out again."""
    front = place.front({"line-1": "recipes: [acme], revoke: own", "line-2": "recipes: [other], revoke: own",
                         "officer": "revoke: any"})
    one, two, officer = (place.peer(front, ids[n]) for n in ("line-1", "line-2", "officer"))
    devices = [device(place, f"SN{i}") for i in range(3)]
    certs = [one.sign(d) for d in devices]
    assert 'is of recipe "acme"' in refused(two.revoke, serial_of(certs[0])).args[1]
    assert "is in the issuance log" in refused(one.revoke, b"\1" * 16).args[1]
    assert refused(one.revoke, serial_of(certs[0]), 6).args[0] == 2  # certificateHold is not for good
    first = one.revoke(serial_of(certs[0]), 1)
    again = officer.revoke(serial_of(certs[0]), 4)
    assert (again[1], again[2], again.get(3)) == (first[1], 1, 1) and not first.get(3)
    e = refused(one.sign, devices[0])
    assert e.args[0] == POLICY and "revoked on" in e.args[1] and "by line-1" in e.args[1]
    (tmp_path / "device.pem").write_bytes(certs[1].public_bytes(Encoding.PEM))
    station = front.station(tmp_path, *ids["officer"])
    p = run(DEVSTAMP, "signer", "revoke", "--station", station, "--certificate", tmp_path / "device.pem", "--reason",
            "superseded")
    assert "revoked" in p.stdout and "(superseded)" in p.stdout
    front.kill()  # what was answered is on disk
    front.start()
    peer = place.peer(front, ids["line-1"])
    assert "superseded" in refused(peer.sign, devices[1]).args[1]
    peer.sign(devices[2])
    front.stop()
    run(DEVSTAMP, "log", "verify", "--log", f"{place.log}.revoked")
    local = front.config  # the signer's own computer, while no signer runs
    hex_serial = serial_of(certs[2]).hex()
    p = run(DEVSTAMP, "signer", "revoke", "--station", local, "--serial", hex_serial)
    assert "(unspecified)" in p.stdout
    assert "revoked before" in run(DEVSTAMP, "signer", "revoke", "--station", local, "--serial", hex_serial).stdout
    crl_dir = tmp_path / "crl"
    crl_dir.mkdir()
    for name in ("subca.pem", "subca.key"):
        (crl_dir / name).write_bytes((place.ca / name).read_bytes())
    (crl_dir / "subca.key").chmod(0o600)
    p = run(DEVSTAMP, "ca", "crl", "--dir", crl_dir, "--revoked", f"{place.log}.revoked")
    assert "3 revoked" in p.stdout
    text = run("openssl", "crl", "-in", crl_dir / "subca.crl.pem", "-noout", "-text").stdout.lower().replace(":", "")
    for cert in certs:
        assert serial_of(cert).hex().lstrip("0") in text
    assert "key compromise" in text and "superseded" in text


def test_mirror_is_the_log_and_notices_what_is_not(place, ids, tmp_path):
    front = place.front({"line-1": "recipes: [acme]", "officer": "log: true"})
    peer = place.peer(front, ids["line-1"])
    station, mirror = front.station(tmp_path, *ids["officer"]), tmp_path / "mirror.log"
    update = [DEVSTAMP, "log", "mirror", "--station", station, "-o", mirror]
    assert run(*update).stdout.startswith("0 entries")
    for i in range(120):  # more than fits into one message
        peer.sign(device(place, f"SN{i}"))
    assert run(*update).stdout.startswith("120 entries, 120 of them new")
    assert mirror.read_bytes() == place.log.read_bytes()
    peer.sign(device(place, "SN500"))
    with open(mirror, "ab") as f:
        f.write(b"ENTR")  # an update that was cut off
    assert run(*update).stdout.startswith("121 entries, 1 of them new")
    assert mirror.read_bytes() == place.log.read_bytes()
    assert "goes on from" in run(DEVSTAMP, "log", "verify", "--log", mirror).stdout  # by the head that came with it
    kept = mirror.read_bytes()
    denied = run(DEVSTAMP, "log", "mirror", "--station", front.station(tmp_path, *ids["line-1"], name="y"), "-o",
                 tmp_path / "no.log", ok=False)
    assert denied.returncode == 8 and "may not read" in denied.stderr
    front.stop()
    for path in (place.log, place.folder / "issued.log.head"):
        path.unlink()
    front.start()
    for i in range(130):
        if i == 0:
            peer = place.peer(front, ids["line-1"])
        peer.sign(device(place, f"SN{i}"))
    p = run(*update, ok=False)
    assert p.returncode == 6 and "does not go on from the 121" in p.stderr
    assert mirror.read_bytes() == kept
