# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""EST (RFC 7030) as the signer speaks it to others: curl and openssl are the client."""

import base64
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from factory import DEVSTAMP, run
from remotelib import RECIPE, Authority, Front, Peer
from signerlib import MODULE, SUB_KEY, Device, Token, make_shim


class Est:
    def __init__(self, products, folder, stations, recipes=("acme",), ca=None, signer_more=None, env=None, **limits):
        self.folder, self.ca = folder, ca or products.folder / "ca"
        self.authority = Authority(folder / "line-ca")
        self.ids = {name: self.authority.issue(name) for name in (*stations, "nobody")}
        files = []
        for product in recipes:
            files.append(folder / f"{product}.yaml")
            files[-1].write_text(RECIPE.format(product=product, ca=self.ca))
        signer = {"certificate": self.ca / "subca.pem", "key": f"file:{self.ca}/subca.key", "log": folder / "issued.log"}
        signer |= signer_more or {}
        self.front = Front(folder, self.authority, signer, files, stations, env=env, est="127.0.0.1:@EST@",
                           est_chain=self.ca / "root.pem", **limits).start()

    def curl(self, path, *args, who="line-1", ok=True):
        """The body, and the HTTP status."""
        identity = ["--cert", self.ids[who][0], "--key", self.ids[who][1]] if who else []
        out = self.folder / "body"
        out.unlink(missing_ok=True)
        p = run("curl", "-sS", "--cacert", self.authority.certificate, *identity, "-o", out, "-w",
                "%{http_code} %{content_type}", *args,
                f"https://127.0.0.1:{self.front.est_port}/.well-known/est/{path}", ok=ok)
        return (out.read_bytes() if out.exists() else b""), p.stdout.split(" ", 1)

    def request(self, name, subject, *args):
        """A key and a request, by openssl."""
        key, csr = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        if not key.exists():
            run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", subject, "-outform", "DER", "-out", csr, *args)
        body = self.folder / f"{name}.b64"
        body.write_bytes(base64.encodebytes(csr.read_bytes()))  # lines of 76, as RFC 7030 has them
        return body

    def enroll(self, name, subject="/CN=SN1/O=Acme", path="simpleenroll", who="line-1", kind="application/pkcs10"):
        body = self.request(name, subject)
        return self.curl(path, "-H", f"Content-Type: {kind}", "--data-binary", f"@{body}", who=who)

    def certificates(self, body):
        """PEM of all, by openssl."""
        p7 = self.folder / "answer.p7"
        p7.write_bytes(base64.b64decode(body, validate=False))
        return run("openssl", "pkcs7", "-inform", "DER", "-in", p7, "-print_certs").stdout

    def logged(self):
        return int(run(DEVSTAMP, "log", "verify", "--log", self.folder / "issued.log").stdout.split()[0])


@pytest.fixture
def est(products, tmp_path):
    made = Est(products, tmp_path, {"line-1": "recipes: [acme]", "both": "recipes: [acme, other]", "none": "log: true"},
               recipes=("acme", "other"))
    yield made
    made.front.stop()


def test_cacerts_are_the_chain(est):
    body, (status, kind) = est.curl("cacerts")
    assert status == "200" and kind == "application/pkcs7-mime"
    pem = est.certificates(body)
    assert pem.count("BEGIN CERTIFICATE") == 2
    assert "CN = devstamp Sub CA" in pem and "CN = devstamp Root CA" in pem


def test_enrolled_by_curl_and_openssl(est, tmp_path):
    body, (status, kind) = est.enroll("device")
    assert status == "200" and kind == "application/pkcs7-mime; smime-type=certs-only", body
    (tmp_path / "device.pem").write_text(est.certificates(body))
    run("openssl", "verify", "-purpose", "sslclient", "-CAfile", est.ca / "root.pem", "-untrusted", est.ca / "subca.pem",
        tmp_path / "device.pem")
    public = run("openssl", "x509", "-in", tmp_path / "device.pem", "-noout", "-pubkey").stdout
    assert public == run("openssl", "pkey", "-in", tmp_path / "device.key", "-pubout").stdout
    again, _ = est.enroll("device")  # an answer that was lost is asked for again
    assert est.certificates(again) == est.certificates(body)
    renewed, (status, _) = est.enroll("device", path="simplereenroll")
    assert status == "200" and est.certificates(renewed) == est.certificates(body)
    _, (status, _) = est.enroll("new-key", path="simplereenroll")
    assert status == "200" and est.logged() == 2
    _, (status, _) = est.enroll("labelled", "/CN=SN7/O=Acme", path="acme/simpleenroll", who="both")
    assert status == "200"
    # Over the other way it is the same signer.
    peer = Peer(est.front, *est.ids["line-1"])
    d = Device("SN9", est.ca)
    d.uri = ""
    peer.sign(d)
    peer.close()
    assert est.logged() == 4


def test_what_the_recipe_does_not_name_is_not_enrolled(est):
    def refused(code, words, *args, **how):
        body, (status, _) = est.enroll(*args, **how)
        assert status == str(code) and words in body.decode(), (status, body)
    refused(403, 'subject "CN=SN1,O=Evil" is not what recipe acme names', "a", "/CN=SN1/O=Evil")
    refused(403, "is not what recipe acme names", "b", "/CN=XX1,O=Acme")
    run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", est.folder / "rsa.key")
    refused(403, "key (RSA-2048) is not of the type that recipe acme names", "rsa")
    refused(403, "serial number XX1 is not of recipe acme", "b2", "/CN=XX1/O=Acme")
    refused(403, "may not ask", "c", path="other/simpleenroll")
    refused(400, "which recipe", "d", who="both")
    refused(400, "which recipe", "e", who="none")
    refused(400, "not application/pkcs10", "f", kind="text/plain")
    refused(404, "not found", "g", path="serverkeygen")
    refused(404, "not found", "h", path="x/y/simpleenroll")
    assert est.curl("simpleenroll")[1][0] == "405"
    body = est.request("ca", "/CN=SN1/O=Acme", "-addext", "basicConstraints=critical,CA:TRUE")
    for data, code in ((f"@{body}", "400"), ("????", "400"), ("", "400"), ("AAAA" * 100, "400"), ("A" * 20000, "413")):
        _, (status, _) = est.curl("simpleenroll", "-H", "Content-Type: application/pkcs10", "--data-binary", data)
        assert status == code, data[:20]
    assert est.logged() == 0


def test_station_keeps_to_its_serial_numbers(products, tmp_path):
    est = Est(products, tmp_path, {"line-1": "recipes: [acme], first: SN10, last: SN19"})
    assert est.enroll("in", "/CN=SN10/O=Acme")[1][0] == "200"
    body, (status, _) = est.enroll("out", "/CN=SN9/O=Acme")
    assert status == "403" and b"SN10 to SN19" in body
    assert est.logged() == 1
    est.front.stop()


def test_strangers_and_rubbish(products, tmp_path):
    est = Est(products, tmp_path, {"line-1": "recipes: [acme]"}, message=2)
    for who in (None, "nobody"):
        p = subprocess.run(["curl", "-sS", "--cacert", est.authority.certificate]
                           + (["--cert", est.ids[who][0], "--key", est.ids[who][1]] if who else [])
                           + [f"https://127.0.0.1:{est.front.est_port}/.well-known/est/cacerts"], capture_output=True)
        assert p.returncode != 0 and p.stdout == b""
    est.front.port, plain = est.front.est_port, est.front.port
    for data in (b"\0" * 1000, b"GET " + b"a" * 70000, b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\n"
                 b"Content-Type: application/pkcs10\r\nContent-Length: 99999999\r\n\r\n" + b"A" * 70000):
        peer = Peer(est.front, *est.ids["line-1"])
        try:
            peer.socket.sendall(data)
        except OSError:
            pass
        assert peer.is_closed()
        peer.close()
    est.front.port = plain
    assert est.enroll("device")[1][0] == "200"
    est.front.stop()


def test_many_at_once_and_each_within_its_share(products, tmp_path):
    est = Est(products, tmp_path, {"line-1": "recipes: [acme], connections: 4", "line-2": "recipes: [acme]"})
    got = {}

    def work(n):
        body = est.request(f"d{n}", f"/CN=SN{n}/O=Acme")
        p = run("curl", "-sS", "--retry", "200", "--retry-all-errors", "--retry-delay", "1", "--cacert",
                est.authority.certificate, "--cert", est.ids[f"line-{1 + n % 2}"][0], "--key",
                est.ids[f"line-{1 + n % 2}"][1], "-H", "Content-Type: application/pkcs10", "--data-binary", f"@{body}",
                f"https://127.0.0.1:{est.front.est_port}/.well-known/est/simpleenroll")
        got[n] = p.stdout
    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 12 and est.logged() == 12
    assert len(set(got.values())) == 12
    est.front.stop()


@pytest.mark.skipif(not MODULE or not shutil.which("softhsm2-util"), reason="SoftHSM2 is not installed")
def test_slow_token_outlasts_the_time_for_a_message(products, tmp_path):
    token = Token(tmp_path / "token", make_shim(tmp_path))
    token.init(tmp_path / "ca")
    est = Est(products, tmp_path, {"line-1": "recipes: [acme]"}, ca=tmp_path / "ca", env=dict(token.env, DS_SHIM_SLOW="3000"),
              signer_more={"key": SUB_KEY, "module": token.shim, "pin_file": token.pin}, message=1)
    body, (status, _) = est.enroll("device")
    assert status == "200" and "BEGIN CERTIFICATE" in est.certificates(body)
    est.front.stop()


def connect(est):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(est.authority.certificate)
    context.load_cert_chain(*est.ids["line-1"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", est.front.est_port), 60), server_hostname="127.0.0.1")


def head_of(length):
    return (f"POST /.well-known/est/acme/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()
