# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A root that is off-line: request, signature and certificate carried by file; chains; revocation lists as openssl
judges them; and what each step refuses."""

import pathlib
import re
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from test_ca_init import devstamp, extension, load, verify


def openssl(*args, expect=0):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True)
    assert (done.returncode != 0) == bool(expect), done.stdout + done.stderr
    return done


class Sites:
    """Two machines: the root's and the factory's. Only what is named is carried."""

    def __init__(self, folder):
        self.folder, self.root, self.sub = folder, folder / "vault", folder / "factory"

    def make(self, *sign):
        devstamp("ca", "root", "--dir", self.root, "--name", "Acme", "--years", "30")
        devstamp("ca", "request", "--dir", self.sub, "--name", "CN=Acme Berlin Sub CA,O=Acme")
        self.sign(*sign)
        self.install()
        return self

    def sign(self, *args, output="berlin.pem", expect=0):
        return devstamp("ca", "sign", "--dir", self.root, "--request", self.sub / "subca.csr", "-o", self.folder / output,
                        *args, expect=expect)

    def install(self, *args, expect=0):
        return devstamp("ca", "install", "--dir", self.sub, "--certificate", self.folder / "berlin.pem",
                        "--root-certificate", self.root / "root.pem", *args, expect=expect)

    def crl(self, serials, *args, expect=0):
        fingerprint = load(self.sub / "subca.pem").fingerprint(hashes.SHA256()).hex()
        text = f"devstamp revoked 1\nca {fingerprint}\n"
        (self.folder / "list").write_text(text + "".join(f"{s:032x} 1790000000 {r}\n" for s, r in serials))
        return devstamp("ca", "crl", "--dir", self.sub, "--list", self.folder / "list", *args, expect=expect)

    def device(self, name):
        """A device's certificate, signed with the Sub CA's key by other means."""
        key = ec.generate_private_key(ec.SECP256R1())
        sub = load(self.sub / "subca.pem")
        signer = serialization.load_pem_private_key((self.sub / "subca.key").read_bytes(), None)
        cert = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                .issuer_name(sub.subject).public_key(key.public_key()).serial_number(x509.random_serial_number() >> 40)
                .not_valid_before(sub.not_valid_before).not_valid_after(sub.not_valid_after)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(sub.public_key()), False)
                .sign(signer, hashes.SHA256()))
        path = self.folder / f"{name}.pem"
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return path, cert


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Made once; tests work on copies."""
    return Sites(tmp_path_factory.mktemp("made")).make()


@pytest.fixture
def sites(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "sites")
    return Sites(tmp_path / "sites")


def protocols(folder, step):
    return [p.read_text() for p in sorted(folder.glob(f"ceremony-*-{step}*.txt"))]


def plain(text):
    return re.sub(r"\s+", "", text)


def test_a_sub_ca_below_an_offline_root(sites):
    root, sub = load(sites.root / "root.pem"), load(sites.sub / "subca.pem")
    verify("-CAfile", sites.sub / "root.pem", sites.sub / "subca.pem")
    assert (sites.sub / "root.pem").read_bytes() == (sites.root / "root.pem").read_bytes()
    assert (sites.sub / "chain.pem").read_bytes() == (sites.sub / "subca.pem").read_bytes() + (
        sites.sub / "root.pem").read_bytes()
    assert extension(sub, x509.BasicConstraints).value.path_length == 0
    assert sub.subject.rfc4514_string() == "O=Acme,CN=Acme Berlin Sub CA" and sub.issuer == root.subject
    assert sub.not_valid_after == root.not_valid_after
    assert not (sites.root / "subca.key").exists() and not (sites.sub / "root.key").exists()
    assert sub.public_bytes(serialization.Encoding.DER) in (sites.root / "root.log").read_bytes()
    assert "whole" in devstamp("log", "verify", "--log", sites.root / "root.log").stdout
    devstamp("ca", "lint", sites.sub / "chain.pem")


def test_the_ceremony_protocols_hold_fingerprints_and_no_secrets(sites):
    sub = load(sites.sub / "subca.pem")
    spki = sub.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    key = digest.finalize().hex()
    for folder, step in ((sites.root, "root"), (sites.root, "sign"), (sites.sub, "request"), (sites.sub, "install")):
        (text,) = protocols(folder, step)
        assert "officer" in text and "witness" in text and "machine" in text and "time" in text
        assert len(text.splitlines()) < 60 and max(map(len, text.splitlines())) < 200  # a page
        assert "PRIVATE" not in text
        if step != "root":
            assert key in plain(text)
        if step in ("sign", "install"):
            assert sub.fingerprint(hashes.SHA256()).hex() in plain(text) and f"{sub.serial_number:032x}" in text


def test_signing_again_gives_the_same_and_overwrites_nothing(sites):
    first = (sites.folder / "berlin.pem").read_bytes()
    assert "exists already" in sites.sign(expect=8).stderr
    assert "handed out again" in sites.sign(output="again.pem").stdout
    assert (sites.folder / "again.pem").read_bytes() == first
    assert "exists already" in sites.install(expect=8).stderr
    devstamp("ca", "root", "--dir", sites.root, expect=8)
    devstamp("ca", "request", "--dir", sites.sub, expect=8)


def test_install_that_was_cut_off_is_done_again(tmp_path):
    sites = Sites(tmp_path).make()
    (sites.sub / "subca.pem").unlink()  # what is written last
    sites.install()
    assert load(sites.sub / "subca.pem").public_bytes(serialization.Encoding.DER) == load(
        tmp_path / "berlin.pem").public_bytes(serialization.Encoding.DER)
    (sites.sub / "subca.pem").unlink()
    (sites.sub / "chain.pem").write_text("of something else")
    assert "chain.pem exists already" in sites.install(expect=8).stderr
    assert not (sites.sub / "subca.pem").exists()


def test_install_takes_only_its_own(sites, tmp_path):
    other = Sites(tmp_path / "other")
    other.folder.mkdir()
    devstamp("ca", "root", "--dir", other.root)
    devstamp("ca", "request", "--dir", other.sub, "--name", "CN=Acme Berlin Sub CA,O=Acme")
    other.sign()
    shutil.copy(sites.folder / "berlin.pem", other.folder / "foreign.pem")
    take = ["ca", "install", "--dir", other.sub, "--root-certificate", other.root / "root.pem", "--certificate"]
    assert "another key" in devstamp(*take, other.folder / "foreign.pem", expect=8).stderr
    done = devstamp("ca", "install", "--dir", other.sub, "--root-certificate", sites.root / "root.pem", "--certificate",
                    other.folder / "berlin.pem", expect=3)
    assert "chain does not hold" in done.stderr
    wrong = load(sites.root / "root.pem").fingerprint(hashes.SHA256()).hex()
    right = load(other.root / "root.pem").fingerprint(hashes.SHA256()).hex()
    done = devstamp(*take, other.folder / "berlin.pem", "--root-fingerprint", wrong, expect=8)
    assert "another fingerprint" in done.stderr
    devstamp(*take, other.folder / "berlin.pem", "--root-fingerprint", "12 34", expect=2)
    assert not (other.sub / "subca.pem").exists()
    grouped = " ".join(right[i:i + 4] for i in range(0, 64, 4))
    devstamp(*take, other.folder / "berlin.pem", "--root-fingerprint", grouped)


def test_sign_compares_the_key_and_refuses_what_is_no_sub_ca(sites, tmp_path):
    done = sites.sign("--key-fingerprint", "ab" * 32, output="x.pem", expect=8)
    assert "the request's key has another fingerprint" in done.stderr
    key = sites.root / "root.key"
    for subject, words in (("/CN=New", "root's own key"), ("/", "no subject")):
        other = key if subject != "/" else sites.sub / "subca.key"
        openssl("req", "-new", "-key", other, "-subj", subject, "-out", tmp_path / "x.csr")
        done = devstamp("ca", "sign", "--dir", sites.root, "--request", tmp_path / "x.csr", "-o", tmp_path / "x.pem",
                        expect=8)
        assert words in done.stderr
    assert not (tmp_path / "x.pem").exists()
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k",
            "-subj", "/CN=Sub", "-out", tmp_path / "y.csr", "-sha1")
    devstamp("ca", "sign", "--dir", sites.root, "--request", tmp_path / "y.csr", "-o", tmp_path / "y.pem", expect=3)
    openssl("req", "-new", "-key", tmp_path / "k", "-subj", "/CN=Sub", "-out", tmp_path / "z.csr")
    done = devstamp("ca", "sign", "--dir", sites.root, "--request", tmp_path / "z.csr", "-o", tmp_path / "z.pem",
                    "--years", "40", expect=8)
    assert "not within the root's" in done.stderr


def test_name_constraints_bind(tmp_path):
    sites = Sites(tmp_path)
    sites.make("--permit", "dn:O=Acme", "--exclude", "dns:evil.example", "--permit", "uri:.acme.example")
    constraints = extension(load(sites.sub / "subca.pem"), x509.NameConstraints)
    assert constraints.critical
    assert [n.value.rfc4514_string() if isinstance(n, x509.DirectoryName) else n.value
            for n in constraints.value.permitted_subtrees] == ["O=Acme", ".acme.example"]
    assert [n.value for n in constraints.value.excluded_subtrees] == ["evil.example"]
    devstamp("ca", "lint", sites.sub / "subca.pem")
    path, _ = sites.device("Nobody")
    done = openssl("verify", "-CAfile", sites.root / "root.pem", "-untrusted", sites.sub / "subca.pem", path, expect=1)
    assert "permitted subtree violation" in done.stderr
    text = protocols(sites.root, "sign")[0]
    assert "dn:O=Acme" in text and "dns:evil.example" in text
    devstamp("ca", "request", "--dir", tmp_path / "n")
    for bad in ("dns:.x", "dns:a b", "dn:O", "ip:1.2.3.4"):
        devstamp("ca", "sign", "--dir", sites.root, "--request", tmp_path / "n/subca.csr", "-o", tmp_path / "n.pem",
                 "--permit", bad, expect=2 if bad[:2] == "ip" else 3)
    assert not (tmp_path / "n.pem").exists()


def test_chains_are_ordered_checked_and_exported(sites, tmp_path):
    path, _ = sites.device("SN1")
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes((sites.root / "root.pem").read_bytes() + path.read_bytes() + (sites.sub / "subca.pem").read_bytes())
    wanted = [load(path), load(sites.sub / "subca.pem"), load(sites.root / "root.pem")]
    devstamp("ca", "chain", "-o", tmp_path / "a.pem", mixed)
    assert (tmp_path / "a.pem").read_bytes() == b"".join(c.public_bytes(serialization.Encoding.PEM) for c in wanted)
    devstamp("ca", "chain", "-o", tmp_path / "b.der", "--format", "der", "--no-root", mixed)
    assert (tmp_path / "b.der").read_bytes() == b"".join(c.public_bytes(serialization.Encoding.DER) for c in wanted[:2])
    devstamp("ca", "chain", "-o", tmp_path / "c.p7b", "--format", "p7b", mixed)
    assert pkcs7.load_der_pkcs7_certificates((tmp_path / "c.p7b").read_bytes()) == wanted
    devstamp("ca", "chain", "-o", tmp_path / "d.p7b", "--format", "p7b-pem", "--dir", sites.sub)
    assert pkcs7.load_pem_pkcs7_certificates((tmp_path / "d.p7b").read_bytes()) == wanted[1:]
    openssl("pkcs7", "-in", tmp_path / "d.p7b", "-print_certs")
    devstamp("ca", "chain", "-o", tmp_path / "a.pem", mixed, expect=8)
    done = devstamp("ca", "chain", "-o", tmp_path / "e.pem", path, sites.root / "root.pem", expect=3)
    assert "not one chain" in done.stderr
    devstamp("ca", "chain", "-o", tmp_path / "e.pem", path, sites.sub / "subca.pem", expect=3)
    devstamp("ca", "chain", "-o", tmp_path / "e.pem", "--format", "zip", mixed, expect=2)
    assert not (tmp_path / "e.pem").exists()


def check(sites, path, expect=0):
    return openssl("verify", "-crl_check_all", "-x509_strict", "-CAfile", sites.root / "root.pem", "-untrusted",
                   sites.sub / "subca.pem", "-CRLfile", sites.root / "root.crl.pem", "-CRLfile",
                   sites.sub / "subca.crl.pem", path, expect=expect)


def number(path):
    crl = x509.load_der_x509_crl(path.read_bytes())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_crls_are_believed_and_never_go_back(sites):
    good, _ = sites.device("good")
    bad, cert = sites.device("bad")
    devstamp("ca", "crl", "--dir", sites.root, "--root", "--days", "90")
    sites.crl([])
    check(sites, good)
    check(sites, bad)
    sites.crl([(cert.serial_number, "keyCompromise")])
    check(sites, good)
    assert "certificate revoked" in check(sites, bad, 1).stderr
    crl = x509.load_der_x509_crl((sites.sub / "subca.crl").read_bytes())
    assert crl == x509.load_pem_x509_crl((sites.sub / "subca.crl.pem").read_bytes())
    assert crl.is_signature_valid(load(sites.sub / "subca.pem").public_key())
    assert (crl.next_update - crl.last_update).days == 30 and number(sites.sub / "subca.crl") == 2
    entry = crl.get_revoked_certificate_by_serial_number(cert.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise
    # what was revoked does not come back, and what was refused leaves everything as it was
    before = {p.name: p.read_bytes() for p in sites.sub.iterdir()}
    assert "revoked 1 certificates, this one would 0" in sites.crl([], expect=8).stderr
    assert "would not be in this one" in sites.crl([(4711, "unspecified")], expect=8).stderr
    assert before == {p.name: p.read_bytes() for p in sites.sub.iterdir()}
    sites.crl([(cert.serial_number, "keyCompromise"), (4711, "unspecified"), (4711, "superseded")])
    assert number(sites.sub / "subca.crl") == 3
    crl = x509.load_der_x509_crl((sites.sub / "subca.crl").read_bytes())
    assert len(crl) == 2 and not list(crl.get_revoked_certificate_by_serial_number(4711).extensions)
    # each is an entry of the CRL log, which verifies like any
    digest = hashes.Hash(hashes.SHA256())
    digest.update((sites.sub / "subca.crl").read_bytes())
    assert digest.finalize() in (sites.sub / "subca.crl.log").read_bytes()
    assert "3" in devstamp("log", "verify", "--log", sites.sub / "subca.crl.log").stdout


def test_a_crl_put_back_and_a_log_put_back_are_noticed(sites):
    sites.crl([(5, "superseded")])
    old = {n: (sites.sub / n).read_bytes() for n in ("subca.crl", "subca.crl.log", "subca.crl.log.head")}
    sites.crl([(5, "superseded"), (6, "superseded")])
    new = (sites.sub / "subca.crl").read_bytes()
    # a crash between log and hand-out leaves the CRL before: numbers go on, and the count tells what is missing
    (sites.sub / "subca.crl").write_bytes(old["subca.crl"])
    assert "revoked 2 certificates, this one would 1" in sites.crl([(5, "superseded")], expect=8).stderr
    sites.crl([(5, "superseded"), (6, "superseded")])
    assert number(sites.sub / "subca.crl") == 3
    (sites.sub / "subca.crl.log").write_bytes(old["subca.crl.log"])
    assert "cut off" in sites.crl([(5, "superseded"), (6, "superseded")], expect=8).stderr
    (sites.sub / "subca.crl.log.head").write_bytes(old["subca.crl.log.head"])
    assert "not in the CRL log" in sites.crl([(5, "superseded"), (6, "superseded")], expect=8).stderr
    (sites.sub / "subca.crl").unlink()
    assert "is not there" in sites.crl([(5, "superseded")], expect=6).stderr
    assert new not in (sites.sub / "subca.crl.log").read_bytes()
    sites.crl([(5, "superseded")], "--previous-lost")


def test_a_sub_ca_is_revoked_by_the_root(sites, tmp_path):
    path, _ = sites.device("SN1")
    devstamp("ca", "revoke", "--dir", sites.root, "--certificate", sites.folder / "berlin.pem", "--reason",
             "cACompromise")
    again = devstamp("ca", "revoke", "--dir", sites.root, "--certificate", sites.folder / "berlin.pem", "--reason",
                     "superseded")
    assert "before" in again.stdout
    done = devstamp("ca", "revoke", "--dir", sites.root, "--certificate", path, "--reason", "superseded", expect=8)
    assert "not signed by the root" in done.stderr
    devstamp("ca", "revoke", "--dir", sites.root, "--certificate", path, "--reason", "certificateHold", expect=2)
    devstamp("ca", "crl", "--dir", sites.root, "--root")
    sites.crl([])
    assert "certificate revoked" in check(sites, path, 1).stderr
    (entry,) = x509.load_der_x509_crl((sites.root / "root.crl").read_bytes())
    assert entry.serial_number == load(sites.folder / "berlin.pem").serial_number
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.ca_compromise
    assert protocols(sites.root, "crl") and protocols(sites.root, "revoke")


@pytest.mark.parametrize("text, words", [
    ("", "no heading"),
    ("devstamp revoked 2\nca X\n", "line 1"),
    ("devstamp revoked 1\nca " + "0" * 64 + "\n", "another CA"),
    ("devstamp revoked 1\nca FP\nzz 1 superseded\n", "line 3"),
    ("devstamp revoked 1\nca FP\n00 1 superseded\n", "line 3"),
    ("devstamp revoked 1\nca FP\n05 1 certificateHold\n", "line 3"),
    ("devstamp revoked 1\nca FP\n05 -1 superseded\n", "line 3"),
    ("devstamp revoked 1\nca FP\n05 1 superseded", "cut off"),
    ("devstamp revoked 1\nca FP\n" + "05" * 21 + " 1 superseded\n", "line 3"),
])
def test_a_list_that_is_none_is_named_by_its_line(sites, text, words):
    fingerprint = load(sites.sub / "subca.pem").fingerprint(hashes.SHA256()).hex()
    (sites.folder / "list").write_text(text.replace("FP", fingerprint))
    done = devstamp("ca", "crl", "--dir", sites.sub, "--list", sites.folder / "list", expect=3)
    assert words in done.stderr
    assert not (sites.sub / "subca.crl").exists()


def test_the_key_of_another_ca_signs_no_crl(sites):
    done = sites.crl([], "--sub-key", f"file:{sites.root}/root.key", expect=3)
    assert "another key" in done.stderr and not (sites.sub / "subca.crl").exists()


def test_a_new_sub_ca_overlaps_the_old_one(sites):
    """Renewal: another key, another folder; both are valid, and each CRL revokes its own."""
    later = Sites(sites.folder)
    later.sub = sites.folder / "factory-2"
    devstamp("ca", "request", "--dir", later.sub, "--name", "CN=Acme Berlin Sub CA,O=Acme")
    later.sign(output="berlin-2.pem")
    devstamp("ca", "install", "--dir", later.sub, "--certificate", sites.folder / "berlin-2.pem", "--root-certificate",
             sites.root / "root.pem")
    old, cert = sites.device("old")
    new, _ = later.device("new")
    devstamp("ca", "crl", "--dir", sites.root, "--root")
    sites.crl([(cert.serial_number, "superseded")])
    later.crl([])
    check(later, new)
    assert "certificate revoked" in check(sites, old, 1).stderr
    everything = pathlib.Path(sites.folder / "both.pem")
    everything.write_bytes((sites.sub / "subca.pem").read_bytes() + (later.sub / "subca.pem").read_bytes())
    for path in (old, new):
        verify("-CAfile", sites.root / "root.pem", "-untrusted", everything, path)


@pytest.mark.parametrize("args", [
    ("root",), ("root", "--dir"), ("root", "--dir", "x", "--reason", "y"), ("request", "--dir", "x", "--years", "3"),
    ("sign", "--dir", "x"), ("install", "--dir", "x"), ("crl", "--dir", "x"),
    ("crl", "--dir", "x", "--root", "--list", "y"), ("crl", "--dir", "x", "--root", "--days", "0"),
    ("chain", "-o", "x"), ("revoke", "--dir", "x", "--certificate", "y"), ("request", "--dir", "x", "--pin", "1234"),
])
def test_a_wrong_command_line_makes_nothing(tmp_path, args):
    devstamp("ca", *args, expect=2, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    for verb in ("root", "request", "sign", "install", "crl", "chain", "revoke", "lint"):
        if args == ("root",):
            assert "usage: devstamp ca " + verb in devstamp("ca", verb, "--help").stdout
