# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp ca lint: one fault a certificate, made here byte by byte, and the clause that must be named; good ones of
ours and of another program, in which nothing is found."""

import datetime
import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from test_ca_init import DEVSTAMP, devstamp

POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else bytes([0x82, n >> 8, n & 255])
    return bytes([tag]) + size + body


def seq(*parts):
    return tlv(0x30, *parts)


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytes([40 * first + second])
    for n in rest:
        digits = [n & 127]
        while n := n >> 7:
            digits.insert(0, n & 127 | 128)
        out += bytes(digits)
    return tlv(6, out)


def attribute(kind, value, tag=0x0c):
    return seq(oid(kind), tlv(tag, value.encode() if isinstance(value, str) else value))


def name(*attributes):
    return seq(*(tlv(0x31, a) for a in attributes))


def ext(kind, value, critical=False):
    return seq(oid(kind), tlv(1, b"\xff") if critical else b"", tlv(4, value))


CN, SERIAL, COUNTRY, MAIL = "2.5.4.3", "2.5.4.5", "2.5.4.6", "1.2.840.113549.1.9.1"
ECDSA = seq(oid("1.2.840.10045.4.3.2"))
RSA = seq(oid("1.2.840.113549.1.1.11"), tlv(5))
SPKI = seq(seq(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")), tlv(3, b"\0", POINT))
FOREVER = tlv(0x18, b"99991231235959Z")
SERIAL_NUMBER = attribute(SERIAL, "SN1", 0x13)
BC, KU, SAN, EKU = "2.5.29.19", "2.5.29.15", "2.5.29.17", "2.5.29.37"
NO_CA, DIGITAL = ext(BC, seq(), True), ext(KU, tlv(3, b"\x07\x80"), True)
CA, CERTS = ext(BC, seq(tlv(1, b"\xff"), tlv(2, b"\0")), True), ext(KU, tlv(3, b"\x01\x06"), True)
CLIENT = ext(EKU, seq(oid("1.3.6.1.5.5.7.3.2")))
SKID, AKID = ext("2.5.29.14", tlv(4, b"1" * 20)), ext("2.5.29.35", seq(tlv(0x80, b"2" * 20)))
DEVICE = [NO_CA, DIGITAL, CLIENT, SKID, AKID]
SUB_CA = [CA, CERTS, SKID, AKID]


def rsa_spki(n, e=65537, parameters=tlv(5)):
    def number(v):
        return tlv(2, v.to_bytes(v.bit_length() // 8 + 1, "big"))
    return seq(seq(oid("1.2.840.113549.1.1.1"), parameters), tlv(3, b"\0", seq(number(n), number(e))))


def certificate(version=tlv(0xa0, tlv(2, b"\x02")), serial=tlv(2, b"\x11" * 16), algorithm=ECDSA, outer=None,
                issuer=name(attribute(CN, "Sub CA")), validity=(tlv(0x17, b"260101000000Z"), FOREVER),
                subject=name(attribute(CN, "SN1"), SERIAL_NUMBER), spki=SPKI, between=b"", extensions=DEVICE,
                signature=tlv(3, b"\0sig"), after=b""):
    wrapped = tlv(0xa3, seq(*extensions)) if extensions is not None else b""
    tbs = seq(version, serial, algorithm, issuer, seq(*validity), subject, spki, between, wrapped)
    return seq(tbs, outer or algorithm, signature) + after


def san(*names, critical=False):
    return ext(SAN, seq(*names), critical)


def with_san(*names, **kwargs):
    return certificate(extensions=DEVICE + [san(*names, **kwargs)])


def named(*attributes):
    return certificate(subject=name(*attributes, SERIAL_NUMBER))


def swap(new, extensions=DEVICE):
    """The extensions with the one of new's kind exchanged."""
    return certificate(extensions=[new if e[2:7] == new[2:7] else e for e in extensions])


HARDWARE = tlv(0xa0, oid("1.3.6.1.5.5.7.8.4"), tlv(0xa0, seq(oid("1.3.6.1.4.1.5.1"), tlv(4, b"\x01\x02"))))
BAD_HARDWARE = tlv(0xa0, oid("1.3.6.1.5.5.7.8.4"), tlv(0xa0, seq(tlv(4, b"\x01\x02"))))
FUTURE = tlv(0x17, b"300101000000Z")
CONSTRAINT = tlv(0xa0, seq(tlv(0x82, b"example.com")))
NC = "2.5.29.30"

ERRORS = {
    "indefinite-length": (b"\x30\x80" + certificate()[4:] + b"\0\0", "X.690, 10"),
    "long-length": (certificate(serial=b"\x02\x81\x10" + b"\x11" * 16), "X.690, 10"),
    "bytes-follow": (certificate(after=b"x"), "X.690, 10"),
    "element-follows": (certificate(after=tlv(5)), "RFC 5280, 4.1"),
    "two-parts": (seq(seq(), seq()), "RFC 5280, 4.1"),
    "version-1": (certificate(version=b""), "RFC 5280, 4.1.2.1"),
    "version-2": (certificate(version=tlv(0xa0, tlv(2, b"\x01"))), "RFC 5280, 4.1.2.1"),
    "serial-21": (certificate(serial=tlv(2, b"\x11" * 21)), "RFC 5280, 4.1.2.2"),
    "serial-negative": (certificate(serial=tlv(2, b"\x81" * 16)), "RFC 5280, 4.1.2.2"),
    "serial-zero": (certificate(serial=tlv(2, b"\0")), "RFC 5280, 4.1.2.2"),
    "serial-padded": (certificate(serial=tlv(2, b"\0" + b"\x11" * 15)), "X.690, 8.3"),
    "algorithms-differ": (certificate(outer=seq(oid("1.2.840.10045.4.3.3"))), "RFC 5280, 4.1.1.2"),
    "sha1": (certificate(algorithm=seq(oid("1.2.840.113549.1.1.5"), tlv(5))), "AWS IoT, signing algorithms"),
    "md5": (certificate(algorithm=seq(oid("1.2.840.113549.1.1.4"), tlv(5))), "AWS IoT, signing algorithms"),
    "ed25519": (certificate(algorithm=seq(oid("1.3.101.112"))), "AWS IoT, signing algorithms"),
    "rsa-without-null": (certificate(algorithm=seq(oid("1.2.840.113549.1.1.11"))), "RFC 4055, 5"),
    "ecdsa-with-null": (certificate(algorithm=seq(oid("1.2.840.10045.4.3.2"), tlv(5))), "RFC 5758, 3.2"),
    "signature-bits": (certificate(signature=tlv(3, b"\x01sig")), "RFC 5280, 4.1.1.3"),
    "issuer-empty": (certificate(issuer=seq()), "RFC 5280, 4.1.2.4"),
    "generalized-2030": (certificate(validity=(FUTURE, tlv(0x18, b"20300101000000Z"))), "RFC 5280, 4.1.2.5"),
    "utc-without-seconds": (certificate(validity=(tlv(0x17, b"2601010000Z"), FOREVER)), "RFC 5280, 4.1.2.5.1"),
    "fraction": (certificate(validity=(FUTURE, tlv(0x18, b"20600101000000.5Z"))), "RFC 5280, 4.1.2.5.2"),
    "offset": (certificate(validity=(tlv(0x17, b"260101000000+0100"), FOREVER)), "RFC 5280, 4.1.2.5.1"),
    "february-30": (certificate(validity=(tlv(0x17, b"260230000000Z"), FOREVER)), "RFC 5280, 4.1.2.5"),
    "backwards": (certificate(validity=(FUTURE, tlv(0x17, b"290101000000Z"))), "RFC 5280, 4.1.2.5"),
    "key-p192": (certificate(spki=seq(seq(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.1")), tlv(3, b"\0", POINT))),
                 "AWS IoT, key types"),
    "key-explicit": (certificate(spki=seq(seq(oid("1.2.840.10045.2.1"), seq(tlv(2, b"\1"))), tlv(3, b"\0", POINT))),
                     "RFC 5480, 2.1.1"),
    "key-compressed": (certificate(spki=seq(seq(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")),
                                            tlv(3, b"\0\x02", POINT[1:33]))), "RFC 5480, 2.2"),
    "key-rsa-1024": (certificate(spki=rsa_spki((1 << 1023) + 1)), "AWS IoT, key types"),
    "key-rsa-even": (certificate(spki=rsa_spki(1 << 2047)), "RFC 8017, 3.1"),
    "key-rsa-e3": (certificate(spki=rsa_spki((1 << 2047) + 1, 3)), "FIPS 186-5, 5.4"),
    "key-rsa-parameters": (certificate(spki=rsa_spki((1 << 2047) + 1, parameters=b"")), "RFC 3279, 2.3.1"),
    "unique-id": (certificate(between=tlv(0x81, b"\0x")), "RFC 5280, 4.1.2.8"),
    "extensions-empty": (certificate(extensions=[]), "RFC 5280, 4.1.2.9"),
    "extension-twice": (certificate(extensions=DEVICE + [SKID]), "RFC 5280, 4.2"),
    "extension-unknown": (certificate(extensions=DEVICE + [ext("1.2.3", tlv(5), True)]), "RFC 5280, 4.2"),
    "critical-false": (certificate(extensions=DEVICE + [seq(oid("1.2.3"), tlv(1, b"\0"), tlv(4, tlv(5)))]),
                       "X.690, 11.5"),
    "critical-1": (certificate(extensions=DEVICE + [seq(oid("1.2.3"), tlv(1, b"\1"), tlv(4, tlv(5)))]), "X.690, 10"),
    "oid-cut": (certificate(extensions=DEVICE + [seq(tlv(6, b"\x2a\x83"), tlv(4, tlv(5)))]), "X.690, 10"),
    "oid-padded": (certificate(extensions=DEVICE + [seq(tlv(6, b"\x2a\x80\x01"), tlv(4, tlv(5)))]), "X.690, 10"),
    "akid-critical": (swap(ext("2.5.29.35", seq(tlv(0x80, b"2")), True)), "RFC 5280, 4.2.1.1"),
    "akid-missing": (certificate(extensions=DEVICE[:4]), "RFC 5280, 4.2.1.1"),
    "skid-critical": (swap(ext("2.5.29.14", tlv(4, b"1"), True)), "RFC 5280, 4.2.1.2"),
    "skid-missing-in-ca": (certificate(extensions=[CA, CERTS, AKID]), "RFC 5280, 4.2.1.2"),
    "ku-empty": (swap(ext(KU, tlv(3, b"\0"), True)), "RFC 5280, 4.2.1.3"),
    "ku-long": (swap(ext(KU, tlv(3, b"\0\x80"), True)), "X.690, 11.2"),
    "ku-missing-in-ca": (certificate(extensions=[CA, SKID, AKID]), "RFC 5280, 4.2.1.3"),
    "ku-ca-signs-nothing": (swap(ext(KU, tlv(3, b"\x01\x02"), True), SUB_CA), "RFC 5280, 4.2.1.3"),
    "ku-device-signs": (swap(ext(KU, tlv(3, b"\x02\x84"), True)), "RFC 5280, 4.2.1.9"),
    "ku-no-signature": (swap(ext(KU, tlv(3, b"\x03\x08"), True)), "IEEE 802.1AR, keyUsage"),
    "bc-not-critical": (swap(ext(BC, seq(tlv(1, b"\xff"), tlv(2, b"\0"))), SUB_CA), "RFC 5280, 4.2.1.9"),
    "bc-false": (swap(ext(BC, seq(tlv(1, b"\0")), True)), "X.690, 11.5"),
    "bc-path-of-device": (swap(ext(BC, seq(tlv(2, b"\0")), True)), "RFC 5280, 4.2.1.9"),
    "bc-path-negative": (swap(ext(BC, seq(tlv(1, b"\xff"), tlv(2, b"\xff")), True), SUB_CA), "RFC 5280, 4.2.1.9"),
    "eku-empty": (swap(ext(EKU, seq())), "RFC 5280, 4.2.1.12"),
    "nc-not-critical": (certificate(extensions=SUB_CA + [ext(NC, seq(CONSTRAINT))]), "RFC 5280, 4.2.1.10"),
    "nc-in-device": (certificate(extensions=DEVICE + [ext(NC, seq(CONSTRAINT), True)]), "RFC 5280, 4.2.1.10"),
    "nc-empty": (certificate(extensions=SUB_CA + [ext(NC, seq(), True)]), "RFC 5280, 4.2.1.10"),
    "subject-empty-ca": (certificate(subject=seq(), extensions=SUB_CA), "RFC 5280, 4.1.2.6"),
    "subject-empty": (certificate(subject=seq()), "RFC 5280, 4.1.2.6"),
    "san-not-critical": (certificate(subject=seq(), extensions=DEVICE + [san(tlv(0x82, b"a.b"))]), "RFC 5280, 4.2.1.6"),
    "san-empty": (with_san(), "RFC 5280, 4.2.1.6"),
    "san-uri-relative": (with_san(tlv(0x86, b"//host/x")), "RFC 5280, 4.2.1.6"),
    "san-uri-space": (with_san(tlv(0x86, b"urn:dev: x")), "RFC 5280, 4.2.1.6"),
    "san-uri-percent": (with_san(tlv(0x86, b"urn:dev:%4")), "RFC 5280, 4.2.1.6"),
    "san-uri-without-host": (with_san(tlv(0x86, b"https:///x")), "RFC 5280, 4.2.1.6"),
    "san-dns-space": (with_san(tlv(0x82, b" ")), "RFC 1034, 3.5"),
    "san-dns-dots": (with_san(tlv(0x82, b"a..b")), "RFC 1034, 3.5"),
    "san-dns-hyphen": (with_san(tlv(0x82, b"-a.b")), "RFC 1034, 3.5"),
    "san-dns-zero": (with_san(tlv(0x82, b"good.example\0.bad.example")), "RFC 5280, 4.2.1.6"),
    "san-ip-5": (with_san(tlv(0x87, b"12345")), "RFC 5280, 4.2.1.6"),
    "san-hardware": (with_san(BAD_HARDWARE), "RFC 4108, 5"),
    "cn-65": (named(attribute(CN, "x" * 65)), "RFC 5280, A.1"),
    "cn-empty": (named(attribute(CN, "")), "RFC 5280, A.1"),
    "cn-teletex": (named(attribute(CN, "x", 0x14)), "RFC 5280, 4.1.2.4"),
    "cn-bmp": (named(attribute(CN, b"\0x", 0x1e)), "RFC 5280, 4.1.2.4"),
    "cn-bad-utf8": (named(attribute(CN, b"\xc0\x80")), "X.680, 41"),
    "cn-not-printable": (named(attribute(CN, "a@b", 0x13)), "X.680, 41"),
    "cn-newline": (named(attribute(CN, "a\nb")), "X.520, 6"),
    "country-3": (named(attribute(COUNTRY, "CHE", 0x13)), "RFC 5280, A.1"),
    "country-utf8": (named(attribute(COUNTRY, "CH")), "RFC 5280, A.1"),
    "serial-utf8": (certificate(subject=name(attribute(SERIAL, "SN1"))), "RFC 5280, A.1"),
    "mail-utf8": (named(attribute(MAIL, "a@b.c")), "RFC 5280, A.1"),
    "rdn-order": (certificate(subject=seq(tlv(0x31, attribute(SERIAL, "SN", 0x13), attribute(CN, "SN")))),
                  "X.690, 11.6"),
    "rdn-empty": (certificate(subject=seq(tlv(0x31))), "X.501, 9.3"),
}

WARNINGS = {
    "serial-short": (certificate(serial=tlv(2, b"\x05")), "CA/B BR, 7.1"),
    "ends": (certificate(validity=(tlv(0x17, b"260101000000Z"), FUTURE)), "IEEE 802.1AR, notAfter"),
    "no-hardware-serial": (certificate(subject=name(attribute(CN, "SN1"))), "IEEE 802.1AR, subject"),
    "ca-without-path": (swap(ext(BC, seq(tlv(1, b"\xff")), True), SUB_CA), "RFC 5280, 4.2.1.9"),
    "ca-without-crl": (swap(ext(KU, tlv(3, b"\x02\x04"), True), SUB_CA), "RFC 5280, 4.2.1.3"),
    "ku-not-critical": (swap(ext(KU, tlv(3, b"\x07\x80"))), "RFC 5280, 4.2.1.3"),
    "san-critical": (with_san(tlv(0x82, b"a.b"), critical=True), "RFC 5280, 4.2.1.6"),
    "san-twice": (with_san(tlv(0x82, b"a.b"), tlv(0x82, b"a.b")), "RFC 5280, 4.2.1.6"),
    "wildcard": (with_san(tlv(0x82, b"*.b")), "RFC 5280, 4.2.1.6"),
    "cn-twice": (named(attribute(CN, "a"), attribute(CN, "b")), "RFC 5280, 4.1.2.6"),
    "no-client": (swap(ext(EKU, seq(oid("1.3.6.1.5.5.7.3.4")))), "RFC 5280, 4.2.1.12"),
    "any-use": (swap(ext(EKU, seq(oid("2.5.29.37.0")))), "RFC 5280, 4.2.1.12"),
}

CLEAN = {
    "device": certificate(),
    "device-rsa": certificate(algorithm=RSA, spki=rsa_spki((1 << 2047) + 1)),
    "sub-ca": certificate(extensions=SUB_CA),
    "constrained-ca": certificate(extensions=SUB_CA + [ext(NC, seq(CONSTRAINT), True)]),
    "hardware-name": certificate(subject=name(attribute(CN, "x")), extensions=DEVICE + [san(HARDWARE)]),
    "names": with_san(tlv(0x86, b"urn:dev:mac:0123456789ab"), tlv(0x82, b"a-1.example"), tlv(0x87, b"1234")),
    "unicode": named(attribute(CN, "Gerät 7")),
}


def lint(tmp_path, certificates, expect):
    paths = []
    for key, der in certificates.items():
        paths.append(tmp_path / f"{key}.der")
        paths[-1].write_bytes(der)
    found = json.loads(devstamp("ca", "lint", "--json", *paths, expect=expect).stdout)
    assert [f["file"] for f in found] == [str(p) for p in paths]
    return dict(zip(certificates, found))


def findings(report, level):
    return {f["clause"] for f in report["findings"] if f["level"] == level}


def test_each_fault_is_found_and_its_clause_named(tmp_path):
    found = lint(tmp_path, {k: der for k, (der, _) in ERRORS.items()}, 3)
    missed = {k: found[k]["findings"] for k, (_, clause) in ERRORS.items() if clause not in findings(found[k], "error")}
    assert not missed
    crowd = {k: findings(r, "error") for k, r in found.items() if len(findings(r, "error")) > 3}
    assert not crowd  # one fault is not many


def test_what_is_unwise_is_a_warning_and_no_error(tmp_path):
    found = lint(tmp_path, {k: der for k, (der, _) in WARNINGS.items()}, 0)
    missed = {k: found[k]["findings"] for k, (_, clause) in WARNINGS.items()
              if clause not in findings(found[k], "warning")}
    assert not missed


def test_good_ones_have_no_finding(tmp_path):
    found = lint(tmp_path, CLEAN, 0)
    assert {k: r["findings"] for k, r in found.items() if r["findings"]} == {}


def test_every_cut_and_every_changed_byte_is_survived(tmp_path):
    der = with_san(HARDWARE, tlv(0x86, b"urn:dev:x"))
    cuts = {f"cut{n}": der[:n] or b"0" for n in range(0, len(der), 7)}
    assert all(r["errors"] for r in lint(tmp_path, {k: b"\x30" + d[1:] for k, d in cuts.items()}, 3).values())
    flips = {f"flip{n}": der[:n] + bytes([der[n] ^ 0x55]) + der[n + 1:] for n in range(1, len(der), 3)}
    lint(tmp_path, flips, 3)


def test_our_own_and_anothers_are_free_of_errors(tmp_path):
    ca = tmp_path / "ca"
    devstamp("ca", "init", "--dir", ca)
    devstamp("ca", "server", "--dir", ca, "--host", "mqtt.example", "-o", ca / "server.pem", "--key", ca / "server.key")
    key = ec.generate_private_key(ec.SECP256R1())
    sub = x509.load_pem_x509_certificate((ca / "subca.pem").read_bytes())
    device = (x509.CertificateBuilder()
              .subject_name(x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, "SN1")])).issuer_name(sub.subject)
              .public_key(key.public_key()).serial_number(x509.random_serial_number())
              .not_valid_before(datetime.datetime(2026, 1, 1)).not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59))
              .add_extension(x509.BasicConstraints(False, None), True)
              .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
              .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
              .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
              .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(sub.public_key()), False)
              .sign(key, hashes.SHA256()))
    (tmp_path / "device.pem").write_bytes(device.public_bytes(serialization.Encoding.PEM))
    files = [ca / "chain.pem", ca / "server.pem", tmp_path / "device.pem"]
    found = json.loads(devstamp("ca", "lint", "--json", *files).stdout)
    assert [len(r["findings"]) for r in found] == [0, 0, 0, 0]
    assert "certificate 2: 0 errors" in devstamp("ca", "lint", *files).stdout


def test_the_signer_hands_out_nothing_with_an_error(tmp_path):
    ca = tmp_path / "ca"
    devstamp("ca", "init", "--dir", ca)
    before = (ca / "root.log").read_bytes()
    done = devstamp("ca", "server", "--dir", ca, "--host", "under_score.example", "-o", ca / "s.pem", "--key",
                    ca / "s.key", expect=8)
    assert "no DNS name (RFC 1034, 3.5)" in done.stderr
    assert not (ca / "s.pem").exists() and not (ca / "s.key").exists() and (ca / "root.log").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nMII\n"])
def test_what_is_no_certificate_is_told(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    done = subprocess.run([DEVSTAMP, "ca", "lint", tmp_path / "x"], capture_output=True, text=True)
    assert done.returncode == 3 and done.stderr
