# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp ca: what it makes, as independent programs see it; what it refuses."""

import datetime
import ipaddress
import os
import pathlib
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BUILD = pathlib.Path(os.environ.get("DEVSTAMP_BUILD", pathlib.Path(__file__).parents[2] / "build" / "dev"))
DEVSTAMP = BUILD / "src" / "cli" / "devstamp"


def devstamp(*args, expect=0, **kwargs):
    done = subprocess.run([DEVSTAMP, *map(str, args)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(cert, kind):
    return cert.extensions.get_extension_for_class(kind)


def verify(*args):
    done = subprocess.run(["openssl", "verify", "-x509_strict", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def ca(tmp_path):
    devstamp("ca", "init", "--dir", tmp_path / "ca", "--name", "Acme")
    return tmp_path / "ca"


def test_init_makes_a_root_and_a_sub_ca_that_others_accept(ca):
    root, sub = load(ca / "root.pem"), load(ca / "subca.pem")
    verify("-CAfile", ca / "root.pem", ca / "subca.pem")
    assert root.subject == root.issuer == sub.issuer
    assert [a.value for a in sub.subject] == ["Acme Sub CA", "Acme"]
    assert sub.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "Acme Sub CA"
    for cert, path_length in ((root, None), (sub, 0)):
        constraints = extension(cert, x509.BasicConstraints)
        assert constraints.critical and constraints.value.ca and constraints.value.path_length == path_length
        usage = extension(cert, x509.KeyUsage)
        assert usage.critical and usage.value.key_cert_sign and usage.value.crl_sign
        assert not usage.value.digital_signature
        assert cert.serial_number.bit_length() <= 127 and cert.serial_number > 2**64
        assert cert.not_valid_after.year == 9999
    issuer_id = extension(sub, x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer_id == extension(root, x509.SubjectKeyIdentifier).value.digest
    assert extension(root, x509.SubjectKeyIdentifier).value == x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    assert isinstance(root.public_key().curve, ec.SECP384R1) and isinstance(sub.public_key().curve, ec.SECP256R1)
    chain = (ca / "chain.pem").read_bytes()
    assert chain == (ca / "subca.pem").read_bytes() + (ca / "root.pem").read_bytes()
    for name in ("root.key", "subca.key", "root.log"):
        assert stat.S_IMODE((ca / name).stat().st_mode) == 0o600
    key = serialization.load_pem_private_key((ca / "subca.key").read_bytes(), None)
    assert key.public_key().public_numbers() == sub.public_key().public_numbers()


def test_init_with_rsa_and_years(tmp_path):
    ca = tmp_path / "ca"
    devstamp("ca", "init", "--dir", ca, "--key-type", "rsa-3072", "--root-key-type", "rsa-4096", "--years", "20")
    root, sub = load(ca / "root.pem"), load(ca / "subca.pem")
    assert isinstance(sub.public_key(), rsa.RSAPublicKey) and sub.public_key().key_size == 3072
    assert root.public_key().key_size == 4096
    begun = sub.not_valid_before + datetime.timedelta(days=1)  # a day back for clocks that differ
    if (begun.month, begun.day) != (2, 29):
        assert sub.not_valid_after == begun.replace(year=begun.year + 20) == root.not_valid_after
    verify("-CAfile", ca / "root.pem", ca / "subca.pem")


def test_init_overwrites_nothing(ca):
    before = {p.name: p.read_bytes() for p in ca.iterdir()}
    done = devstamp("ca", "init", "--dir", ca, expect=8)
    assert "exists already" in done.stderr and "hint:" in done.stderr
    assert before == {p.name: p.read_bytes() for p in ca.iterdir()}


@pytest.mark.parametrize("left", ["root.pem", "subca.pem", "chain.pem", "root.log", "root.key", "subca.key"])
def test_init_stops_at_any_one_file_and_leaves_it_alone(tmp_path, left):
    ca = tmp_path / "ca"
    ca.mkdir()
    (ca / left).write_text("mine")
    devstamp("ca", "init", "--dir", ca, expect=8)
    assert [p.name for p in ca.iterdir()] == [left]
    assert (ca / left).read_text() == "mine"


def test_init_with_existing_keys(ca, tmp_path):
    again = tmp_path / "again"
    devstamp("ca", "init", "--dir", again, "--existing", "--root-key", f"file:{ca}/root.key",
             "--sub-key", f"file:{ca}/subca.key")
    assert load(again / "root.pem").public_key().public_numbers() == load(ca / "root.pem").public_key().public_numbers()
    verify("-CAfile", again / "root.pem", again / "subca.pem")
    assert not (again / "root.key").exists()


def test_init_without_room_leaves_nothing(tmp_path):
    ca = tmp_path / "ca"
    ca.mkdir()
    done = devstamp("ca", "init", "--dir", ca, "--sub-key", f"file:{tmp_path}/nowhere/sub.key", expect=6)
    assert "Sub CA" in done.stderr
    assert list(ca.iterdir()) == []


@pytest.mark.parametrize("args, code", [
    ((), 2),
    (("--dir",), 2),
    (("--dir", "ca", "--key-type", "dsa"), 2),
    (("--dir", "ca", "--years", "-1"), 2),
    (("--dir", "ca", "--pin", "1234"), 2),
    (("--dir", "ca", "extra"), 2),
    (("--dir", "ca", "--root-key", "nonsense"), 2),
    (("--dir", "ca", "--root-key", "file:a.key", "--sub-key", "file:a.key"), 2),
    (("--dir", "ca", "--sub-key", "pkcs11:token=a;object=b?pin-value=1234"), 8),
    (("--dir", "ca", "--root-key", "pkcs11:token=a;object=r", "--sub-key", "pkcs11:token=b;object=s"), 2),
    (("--dir", "ca", "--name", "x" * 80), 3),
    (("--dir", "missing/ca"), 6),
])
def test_init_says_what_is_wrong_and_makes_nothing(tmp_path, args, code):
    done = devstamp("ca", "init", *args, expect=code, cwd=tmp_path)
    assert done.stderr
    assert list(tmp_path.iterdir()) == []


def test_server_certificate(ca):
    done = devstamp("ca", "server", "--dir", ca, "--host", "mqtt.example", "--host", "127.0.0.1", "--host", "::1",
                    "-o", ca / "server.pem", "--key", ca / "server.key")
    assert "TLS server" in done.stdout
    cert = load(ca / "server.pem")
    verify("-purpose", "sslserver", "-verify_hostname", "mqtt.example", "-CAfile", ca / "root.pem", ca / "server.pem")
    names = extension(cert, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mqtt.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    assert list(extension(cert, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(cert, x509.BasicConstraints).value.ca
    assert stat.S_IMODE((ca / "server.key").stat().st_mode) == 0o600
    key = serialization.load_pem_private_key((ca / "server.key").read_bytes(), None)
    assert key.public_key().public_numbers() == cert.public_key().public_numbers()
    assert cert.public_bytes(serialization.Encoding.DER) in (ca / "root.log").read_bytes()
    before = (ca / "server.key").read_bytes()
    devstamp("ca", "server", "--dir", ca, "--host", "x", "-o", ca / "s.pem", "--key", ca / "server.key", expect=8)
    assert (ca / "server.key").read_bytes() == before and not (ca / "s.pem").exists()


def test_server_with_a_bad_name_leaves_nothing(ca):
    before = sorted(p.name for p in ca.iterdir())
    devstamp("ca", "server", "--dir", ca, "--host", "a b", "-o", ca / "s.pem", "--key", ca / "s.key", expect=3)
    assert sorted(p.name for p in ca.iterdir()) == before


def test_show_tells_in_plain_words(ca):
    done = devstamp("ca", "show", "--dir", ca)
    fingerprint = subprocess.run(["openssl", "x509", "-in", ca / "subca.pem", "-noout", "-fingerprint", "-sha256"],
                                 capture_output=True, text=True, check=True).stdout
    assert fingerprint.split("=")[1].strip().replace(":", "").lower() in done.stdout
    assert "no further CAs (path length 0)" in done.stdout and "the Sub CA chains to the root" in done.stdout
    assert "CN=Acme Sub CA,O=Acme" in devstamp("ca", "show", ca / "subca.pem").stdout
    devstamp("ca", "show", ca / "root.key", expect=3)
    devstamp("ca", "show", ca / "missing.pem", expect=3)
    devstamp("ca", "show", expect=2)


def test_show_notices_a_strangers_sub_ca(ca, tmp_path):
    devstamp("ca", "init", "--dir", tmp_path / "other")
    (ca / "subca.pem").write_bytes((tmp_path / "other" / "subca.pem").read_bytes())
    assert "does not hold" in devstamp("ca", "show", "--dir", ca, expect=3).stderr
