# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""An EST server (RFC 7030) with none of devstamp's own code, on loopback, which misbehaves in one way at a time."""

import base64
import datetime
import http.server
import socket
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NO_EXPIRY = datetime.datetime(9999, 12, 31, 23, 59, 59)


def usage(*bits):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{n: n in bits for n in names})


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Ca:
    """A CA of devices; above: who certifies it, None: a root."""

    def __init__(self, common, above=None):
        self.key, self.name, self.above = ec.generate_private_key(ec.SECP256R1()), name(common), above
        self.cert = (above or self).sign(self.key.public_key(), self.name, ca=True)

    def sign(self, public, subject, ca=False, end=NO_EXPIRY, san=None, serial=None, key=None, issuer=None):
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or self.name).public_key(public)
             .serial_number(serial or x509.random_serial_number())
             .not_valid_before(datetime.datetime.utcnow() - datetime.timedelta(days=1)).not_valid_after(end)
             .add_extension(x509.BasicConstraints(ca, None), True)
             .add_extension(usage("key_cert_sign", "crl_sign") if ca else usage("digital_signature"), True)
             .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
             .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((key or self.key).public_key()), False))
        if not ca:
            b = b.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        if san:
            b = b.add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), False)
        return b.sign(key or self.key, hashes.SHA256())

    def write(self, path):
        path.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))
        return path


class EstServer:
    """mode: what it does wrong with the requests to come. issued: what it signed, newest last."""

    def __init__(self, authority, ca, shows):
        self.ca, self.shows, self.mode, self.issued, self.asked = ca, shows, "good", [], []
        self.over = threading.Event()
        certificate, key = authority.issue("est", server=True, hosts=("127.0.0.1",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def setup(self):
                raw = self.request.dup()
                self.request = context.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
                try:
                    self.request.do_handshake()
                except ssl.SSLError:  # the other side is to read the alert before it meets a closed connection
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(4096):
                        pass
                    raise
                finally:
                    raw.close()
                super().setup()

            def log_message(self, *args):
                pass

            def answer(self, status, body=b"", kind="application/pkcs7-mime; smime-type=certs-only", **headers):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def do_GET(self):
                if self.path != "/.well-known/est/line/cacerts":
                    return self.answer(404, b"no such label", "text/plain")
                return self.answer(200, certs_only(outer.shows))

            def do_POST(self):
                assert self.headers["Content-Type"] == "application/pkcs10"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/.well-known/est/line/simpleenroll":
                    return self.answer(404, b"no such label", "text/plain")
                csr = x509.load_der_x509_csr(base64.b64decode(body))
                assert csr.is_signature_valid
                outer.asked.append(csr)
                return outer.enroll(self, csr)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, block_on_close = True, False

            def handle_error(self, request, client_address):
                pass  # strangers and those who hang up

        self.http = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def enroll(self, handler, csr):
        how = getattr(self, "do_" + self.mode)
        return how(handler, csr)

    def issue(self, csr, **how):
        public, subject = how.pop("public", csr.public_key()), how.pop("subject", csr.subject)
        self.issued.append(self.ca.sign(public, subject, **how))
        return self.issued[-1]

    def do_good(self, handler, csr):
        handler.answer(200, certs_only([self.issue(csr)]))

    def do_other_key(self, handler, csr):
        handler.answer(200, certs_only([self.issue(csr, public=ec.generate_private_key(ec.SECP256R1()).public_key())]))

    def do_other_subject(self, handler, csr):
        more = x509.Name([*csr.subject, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "More")])
        handler.answer(200, certs_only([self.issue(csr, subject=more)]))

    def do_a_ca(self, handler, csr):
        handler.answer(200, certs_only([self.issue(csr, ca=True)]))

    def do_self_signed(self, handler, csr):
        key = ec.generate_private_key(ec.SECP256R1())
        handler.answer(200, certs_only([self.issue(csr, key=key, issuer=csr.subject)]))

    def do_impostor(self, handler, csr):
        """By another CA of the same name."""
        handler.answer(200, certs_only([self.issue(csr, key=ec.generate_private_key(ec.SECP256R1()))]))

    def do_alternative_name(self, handler, csr):
        handler.answer(200, certs_only([self.issue(csr, san="other.example")]))

    def do_ended(self, handler, csr):
        end = datetime.datetime.utcnow() - datetime.timedelta(minutes=1)
        handler.answer(200, certs_only([self.issue(csr, end=end)]))

    def do_short(self, handler, csr):
        end = datetime.datetime.utcnow() + datetime.timedelta(days=30)
        handler.answer(200, certs_only([self.issue(csr, end=end)]))

    def do_two(self, handler, csr):
        handler.answer(200, certs_only([self.issue(csr), self.issue(csr)]))

    def do_garbage(self, handler, csr):
        good = base64.b64decode(certs_only([self.issue(csr)]))
        handler.answer(200, base64.b64encode(good[:40] + b"\xff" * 40 + good[80:]))

    def do_no_base64(self, handler, csr):
        handler.answer(200, b"\x30\x82" * 300)

    def do_no_certificates(self, handler, csr):
        handler.answer(200, b"<html>", kind="text/html")

    def do_endless(self, handler, csr):
        handler.answer(200, b"QUFB" * 50000)

    def do_elsewhere(self, handler, csr):
        handler.answer(302, Location="https://other.example/")

    def do_password(self, handler, csr):
        handler.answer(401, WWW_Authenticate='Basic realm="est"')

    def do_refused(self, handler, csr):
        handler.answer(403, b"not on\x1b[31m the list\nsecond line", kind="text/plain")

    def do_broken(self, handler, csr):
        handler.answer(500, b"disk full", kind="text/plain")

    def do_later(self, handler, csr):
        handler.answer(202, Retry_After="1")

    def do_much_later(self, handler, csr):
        handler.answer(202, Retry_After="7200")

    def do_once_later(self, handler, csr):
        self.mode = "good"
        handler.answer(202, Retry_After="1")

    def do_cut(self, handler, csr):
        self.issue(csr)
        handler.close_connection = True

    def do_issue_and_hang(self, handler, csr):
        self.issue(csr)
        self.do_hang(handler, csr)

    def do_hang(self, handler, csr):
        self.over.wait()
        handler.close_connection = True


def certs_only(certificates):
    return base64.encodebytes(pkcs7.serialize_certificates(certificates, serialization.Encoding.DER))


def station_file(factory, url, ids, ca, device_ca, name="station", label="line", wait=20, timeout=20):
    """A station whose certificates come from the EST server there."""
    slots = ", ".join(f'{{name: "{i}", port: "{factory.address(i)}", reset: rfc2217}}' for i in range(len(factory.devices)))
    path = factory.folder / f"{name}.yaml"
    path.write_text(f"""\
station: 1
name: {name}
ledger: {factory.folder}/ledger.db
signer:
  token_wait: {wait}
  est:
    url: "{url}"
    label: {label}
    ca: {ca}
    device_ca: {device_ca}
    certificate: {ids[0]}
    key: "file:{ids[1]}"
    timeout: {timeout}
slots: [{slots}]
""")
    return path
