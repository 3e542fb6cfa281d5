# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""AWS IoT's control plane in this process: HTTPS, Signature Version 4 verified by botocore's own implementation, every
request held against the public API model that botocore carries, state enough to be asked twice, and faults on demand."""

import datetime
import hashlib
import http.server
import ipaddress
import json
import re
import socket
import ssl
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MODEL = botocore.loaders.Loader().load_service_model("iot", "service-2")
ACCOUNT, REGION = "123456789012", "eu-west-1"
KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def der_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def id_of(pem):
    return hashlib.sha256(der_of(pem)).hexdigest()


class Error(Exception):
    def __init__(self, kind, message, **more):
        super().__init__(kind)
        self.kind, self.message, self.more = kind, message, more
        shape = MODEL["shapes"].get(kind, {})
        self.status = shape.get("error", {}).get("httpStatusCode", 400)


class Operations:
    """The URI templates of the model, as patterns."""

    def __init__(self):
        self.all = []
        for name, op in MODEL["operations"].items():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", op["http"]["requestUri"].split("?")[0])
            self.all.append((op["http"]["method"], re.compile(pattern + "$"), name))
        # a fixed path goes before one with a placeholder
        self.all.sort(key=lambda o: o[1].pattern.count("(?P"))

    def find(self, method, path):
        for verb, pattern, name in self.all:
            m = pattern.match(path)
            if verb == method and m:
                return name, {k: urllib.parse.unquote(v) for k, v in m.groupdict().items()}
        raise AssertionError(f"the model has no operation {method} {path}")


OPERATIONS = Operations()


def check_value(shape_name, value, where):
    shape = MODEL["shapes"][shape_name]
    kind = shape["type"]
    if kind == "structure":
        assert isinstance(value, dict), where
        members = {m.get("locationName", k): m for k, m in shape["members"].items()}
        for key, v in value.items():
            assert key in members, f"{where}: no member {key}"
            check_value(members[key]["shape"], v, f"{where}.{key}")
        for must in shape.get("required", []):
            assert shape["members"][must].get("locationName", must) in value, f"{where}: {must} is missing"
    elif kind == "list":
        for v in value:
            check_value(shape["member"]["shape"], v, where)
    elif kind == "map":
        for v in value.values():
            check_value(shape["value"]["shape"], v, where)
    elif kind == "string":
        assert isinstance(value, str), where
        assert "enum" not in shape or value in shape["enum"], f"{where}: {value}"
        assert "pattern" not in shape or re.fullmatch(shape["pattern"], value), f"{where}: {value[:80]}"
        assert shape.get("min", 0) <= len(value) <= shape.get("max", 1 << 30), f"{where}: {len(value)} characters"
    elif kind == "boolean":
        assert value in (True, False, "true", "false"), where
    elif kind == "integer":
        assert shape.get("min", 0) <= int(value) <= shape.get("max", 1 << 62), where


def read_request(method, target, headers, body):
    """Operation and parameters, by the model; AssertionError where the model has it otherwise."""
    path, _, query = target.partition("?")
    name, values = OPERATIONS.find(method, path)
    shape = MODEL["shapes"][MODEL["operations"][name]["input"]["shape"]]
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    out = {}
    payload = shape.get("payload")
    document = json.loads(body) if body else {}
    for member, m in shape.get("members", {}).items():
        place, key = m.get("location"), m.get("locationName", member)
        if place == "uri":
            out[member] = values[key]
        elif place == "querystring" and key in given:
            out[member] = given.pop(key)
        elif place == "header" and headers.get(key):
            out[member] = headers[key]
        elif place is None and member == payload:
            out[member], document = document, {}
        elif place is None and key in document:
            out[member] = document.pop(key)
    assert not given, f"{name}: the query has {given}"
    assert not document, f"{name}: the body has {list(document)}"
    for must in shape.get("required", []):
        assert must in out, f"{name}: {must} is missing"
    for member, value in out.items():
        check_value(shape["members"][member]["shape"], value, f"{name}.{member}")
    return name, out


def make_server_certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - datetime.timedelta(hours=1)).not_valid_after(now() + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256()))
    pem = folder / "fake.pem"
    pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return pem


class Account:
    """What the service keeps, and what each operation does to it."""

    def __init__(self):
        self.code = hashlib.sha256(b"registration").hexdigest()
        self.cas, self.certificates, self.things, self.policies, self.rules, self.tasks = {}, {}, {}, {}, {}, {}
        self.attached = set()  # (policy, arn)
        self.members = set()   # (thing, arn)
        self.page = 250        # at most so many entries a page
        self.elsewhere = set()  # ids that another account has

    def arn(self, kind, name):
        return f"arn:aws:iot:{REGION}:{ACCOUNT}:{kind}/{name}"

    def do(self, name, p):
        handler = getattr(self, name, None)
        assert handler, f"the fake does not know {name}"
        return handler(p) or {}

    def GetRegistrationCode(self, p):
        return {"registrationCode": self.code}

    def RegisterCACertificate(self, p):
        pem = p["caCertificate"]
        ca, ident = x509.load_pem_x509_certificate(pem.encode()), id_of(pem)
        sni = p.get("certificateMode") == "SNI_ONLY"
        if sni == ("verificationCertificate" in p):
            raise Error("InvalidRequestException", "verificationCertificate and SNI_ONLY exclude each other")
        if not sni:
            shown = x509.load_pem_x509_certificate(p["verificationCertificate"].encode())
            names = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            if [n.value for n in names] != [self.code]:
                raise Error("RegistrationCodeValidationException", "the CN is not the registration code")
            if not signed_by(shown, ca):
                raise Error("CertificateValidationException", "the CA did not sign the verification certificate")
            if not shown.not_valid_before <= datetime.datetime.utcnow() <= shown.not_valid_after:
                raise Error("CertificateValidationException", "the verification certificate is not valid now")
        if ident in self.cas:
            raise Error("ResourceAlreadyExistsException", "CA certificate already exists", resourceId=ident,
                        resourceArn=self.arn("cacert", ident))
        self.cas[ident] = {
            "certificateArn": self.arn("cacert", ident), "certificateId": ident, "certificatePem": pem,
            "status": "ACTIVE" if p.get("setAsActive") == "true" else "INACTIVE",
            "autoRegistrationStatus": "ENABLE" if p.get("allowAutoRegistration") == "true" else "DISABLE",
            "certificateMode": "SNI_ONLY" if sni else "DEFAULT", "creationDate": now().timestamp(),
            "config": p.get("registrationConfig")}
        return {"certificateArn": self.arn("cacert", ident), "certificateId": ident}

    def ca(self, p):
        if p["certificateId"] not in self.cas:
            raise Error("ResourceNotFoundException", "no such CA")
        return self.cas[p["certificateId"]]

    def DescribeCACertificate(self, p):
        ca = dict(self.ca(p))
        config = ca.pop("config")
        return {"certificateDescription": ca, **({"registrationConfig": config} if config else {})}

    def UpdateCACertificate(self, p):
        ca = self.ca(p)
        if p.get("removeAutoRegistration"):
            ca["config"] = None
        ca["config"] = p.get("registrationConfig", ca["config"])
        ca["status"] = p.get("newStatus", ca["status"])
        ca["autoRegistrationStatus"] = p.get("newAutoRegistrationStatus", ca["autoRegistrationStatus"])

    def listed(self, items, p, keys):
        start = int(p.get("marker", "m/0=").strip("m/="))
        size = min(self.page, int(p.get("pageSize", 25)))
        part = [{k: i[k] for k in keys} for i in items[start:start + size]]
        more = {"nextMarker": f"m/{start + size}="} if start + size < len(items) else {}
        return {"certificates": part, **more}

    def ListCACertificates(self, p):
        return self.listed(list(self.cas.values()), p, ("certificateArn", "certificateId", "status", "creationDate"))

    def ListCertificates(self, p):
        return self.listed(list(self.certificates.values()), p,
                           ("certificateArn", "certificateId", "status", "certificateMode", "creationDate"))

    def ListCertificatesByCA(self, p):
        mine = [c for c in self.certificates.values() if c["caCertificateId"] == p["caCertificateId"]]
        return self.listed(mine, p, ("certificateArn", "certificateId", "status", "certificateMode", "creationDate"))

    def DescribeEndpoint(self, p):
        return {"endpointAddress": f"a1b2c3-ats.iot.{REGION}.amazonaws.com"}

    def put_certificate(self, pem, status, ca_id, mode):
        ident = id_of(pem)
        if ident in self.certificates or ident in self.elsewhere:
            raise Error("ResourceAlreadyExistsException", "The certificate is already provisioned or registered",
                        resourceId=ident, resourceArn=self.arn("cert", ident))
        self.certificates[ident] = {
            "certificateArn": self.arn("cert", ident), "certificateId": ident, "certificatePem": pem, "status": status,
            "caCertificateId": ca_id, "certificateMode": mode, "creationDate": now().timestamp()}
        return {"certificateArn": self.arn("cert", ident), "certificateId": ident}

    def RegisterCertificate(self, p):
        cert = x509.load_pem_x509_certificate(p["certificatePem"].encode())
        ca_id = id_of(p["caCertificatePem"]) if "caCertificatePem" in p else ""
        if ca_id not in self.cas:
            raise Error("CertificateValidationException", "the CA is not registered")
        if self.cas[ca_id]["status"] != "ACTIVE":
            raise Error("CertificateStateException", "the CA is not active")
        if not signed_by(cert, x509.load_pem_x509_certificate(p["caCertificatePem"].encode())):
            raise Error("CertificateValidationException", "the CA did not sign this certificate")
        return self.put_certificate(p["certificatePem"], p.get("status", "INACTIVE"), ca_id, "DEFAULT")

    def RegisterCertificateWithoutCA(self, p):
        return self.put_certificate(p["certificatePem"], p.get("status", "INACTIVE"), "", "SNI_ONLY")

    def connect(self, pem, ca_id):
        """A first connect under auto-registration."""
        self.put_certificate(pem, "PENDING_ACTIVATION", ca_id, "DEFAULT")

    def certificate(self, p):
        if p["certificateId"] not in self.certificates:
            raise Error("ResourceNotFoundException", "no such certificate")
        return self.certificates[p["certificateId"]]

    def DescribeCertificate(self, p):
        return {"certificateDescription": self.certificate(p)}

    def UpdateCertificate(self, p):
        cert = self.certificate(p)
        if cert["status"] == "REVOKED" != p["newStatus"]:
            raise Error("CertificateStateException", "a revoked certificate stays revoked")
        cert["status"] = p["newStatus"]

    def DeleteCertificate(self, p):
        cert = self.certificate(p)
        if cert["status"] not in ("INACTIVE", "REVOKED"):
            raise Error("CertificateStateException", "the certificate is active")
        if any(arn == cert["certificateArn"] for _, arn in self.members):
            raise Error("DeleteConflictException", "it is attached to a thing")
        if p.get("forceDelete") == "true":
            self.attached = {a for a in self.attached if a[1] != cert["certificateArn"]}
        if any(arn == cert["certificateArn"] for _, arn in self.attached):
            raise Error("DeleteConflictException", "a policy is attached")
        del self.certificates[cert["certificateId"]]

    def CreatePolicy(self, p):
        name = p["policyName"]
        if name in self.policies:
            raise Error("ResourceAlreadyExistsException", "Policy already exists")
        document = json.loads(p["policyDocument"])
        if document.get("Version") != "2012-10-17" or not document.get("Statement"):
            raise Error("MalformedPolicyException", "no version or no statement")
        self.policies[name] = p["policyDocument"]
        return {"policyName": name, "policyArn": self.arn("policy", name), "policyDocument": p["policyDocument"],
                "policyVersionId": "1"}

    def GetPolicy(self, p):
        if p["policyName"] not in self.policies:
            raise Error("ResourceNotFoundException", "no such policy")
        return {"policyName": p["policyName"], "policyDocument": self.policies[p["policyName"]], "defaultVersionId": "1"}

    def known_target(self, arn):
        if not any(c["certificateArn"] == arn for c in self.certificates.values()):
            raise Error("ResourceNotFoundException", "no such certificate")

    def AttachPolicy(self, p):
        if p["policyName"] not in self.policies:
            raise Error("ResourceNotFoundException", "no such policy")
        self.known_target(p["target"])
        self.attached.add((p["policyName"], p["target"]))

    def CreateThing(self, p):
        name = p["thingName"]
        self.things.setdefault(name, {})
        return {"thingName": name, "thingArn": self.arn("thing", name), "thingId": hashlib.md5(name.encode()).hexdigest()}

    def AttachThingPrincipal(self, p):
        if p["thingName"] not in self.things:
            raise Error("ResourceNotFoundException", "no such thing")
        self.known_target(p["principal"])
        self.members.add((p["thingName"], p["principal"]))

    def ListPrincipalThings(self, p):
        return {"things": [t for t, arn in self.members if arn == p["principal"]]}

    def DetachThingPrincipal(self, p):
        self.members.discard((p["thingName"], p["principal"]))

    def CreateTopicRule(self, p):
        if p["ruleName"] in self.rules:
            raise Error("ResourceAlreadyExistsException", "Rule already exists")
        self.rules[p["ruleName"]] = p["topicRulePayload"]

    def ReplaceTopicRule(self, p):
        self.rules[p["ruleName"]] = p["topicRulePayload"]

    def GetTopicRule(self, p):
        if p["ruleName"] not in self.rules:  # the service hides what is not there
            raise Error("UnauthorizedException", "Access to topic rule was denied")
        return {"ruleArn": self.arn("rule", p["ruleName"]), "rule": {"ruleName": p["ruleName"],
                                                                     **self.rules[p["ruleName"]]}}

    def StartThingRegistrationTask(self, p):
        if any(t["status"] == "InProgress" for t in self.tasks.values()):
            raise Error("InvalidRequestException", "another task is in progress")
        task = f"6b6b6b6b-0000-4000-8000-{len(self.tasks):012d}"
        self.tasks[task] = {"taskId": task, "status": "InProgress", "successCount": 0, "failureCount": 0,
                            "percentageProgress": 0, **p}
        return {"taskId": task}

    def ListThingRegistrationTasks(self, p):
        return {"taskIds": [t["taskId"] for t in self.tasks.values() if p.get("status") in (None, t["status"])]}

    def DescribeThingRegistrationTask(self, p):
        if p["taskId"] not in self.tasks:
            raise Error("ResourceNotFoundException", "no such task")
        return self.tasks[p["taskId"]]


def signed_by(cert, ca):
    try:
        if cert.issuer != ca.subject:
            return False
        ca.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
        return True
    except Exception:  # any failure is one
        return False


class Fake:
    """with Fake(folder) as fake: fake.url, fake.certificate; fake.account; fake.problems must stay empty."""

    def __init__(self, folder, service="iot", token=None):
        self.account, self.service, self.token = Account(), service, token
        self.requests = []   # names of operations, in order, those too that failed
        self.problems = []   # what a real service would not have understood
        self.faults = []     # one for each request to come: None, "throttle", "500", "cut", "cut-after", "expired", ...
        self.before = None   # called with (operation, how often it was asked) before and after it is done
        self.after = None
        self.counts = {}
        self.keys = dict(KEYS)
        self.ahead = datetime.timedelta()  # of the client's clock
        self.certificate = make_server_certificate(folder)
        self.lock = threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                fake.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that was killed

            def get_request(self):
                sock, address = super().get_request()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def verify(self, h, body):
        """The signature, by botocore. Source of the errors' names: what the service answers."""
        given = h.headers.get("authorization", "")
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
                         r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})", given)
        if not m:
            raise Error("MissingAuthenticationTokenException", "no signature that can be read")
        key, day, region, service, names, signature = m.groups()
        if key not in self.keys:
            raise Error("UnrecognizedClientException", "The security token included in the request is invalid.")
        if service != self.service:
            raise Error("InvalidSignatureException",
                        f"Credential should be scoped to correct service: '{self.service}'. ")
        assert region == REGION and day == h.headers["x-amz-date"][:8], given
        names = names.split(";")
        assert names == sorted(names) and {"host", "x-amz-date"} <= set(names), names
        for must in ("x-amz-security-token", "x-amzn-principal", "content-type"):
            assert must in names or must not in h.headers, f"{must} is not signed"
        assert all(n in h.headers for n in names), f"signed, and not sent: {names}"
        if self.token != h.headers.get("x-amz-security-token"):
            raise Error("UnrecognizedClientException", "The security token included in the request is invalid.")
        signed = datetime.datetime.strptime(h.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        if abs(now().replace(tzinfo=None) + self.ahead - signed) > datetime.timedelta(minutes=5):
            raise Error("InvalidSignatureException", f"Signature expired: {h.headers['x-amz-date']}")
        request = botocore.awsrequest.AWSRequest(h.command, self.url + h.path, data=body,
                                                 headers={n: h.headers[n] for n in names})
        request.context["timestamp"] = h.headers["x-amz-date"]
        signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, self.keys[key]), service, region)
        canonical = signer.canonical_request(request)
        if signer.signature(signer.string_to_sign(request, canonical), request) != signature:
            raise Error("InvalidSignatureException", "The request signature we calculated does not match")

    def answer(self, h, body):
        self.verify(h, body)
        name, parameters = read_request(h.command, h.path, h.headers, body)
        with self.lock:
            self.requests.append(name)
            self.counts[name] = self.counts.get(name, 0) + 1
            fault = self.faults.pop(0) if self.faults else None
            if self.before:
                self.before(name, self.counts[name])
            if fault == "throttle":
                raise Error("ThrottlingException", "Rate exceeded")
            if fault == "500":
                raise Error("InternalFailureException", "")
            if fault == "expired":
                raise Error("ExpiredTokenException", "The security token included in the request is expired")
            if fault == "cut":
                raise ConnectionAbortedError
            if fault and fault not in ("cut-after",):
                raise Error(fault, "as the test wants it")
            out = self.account.do(name, parameters)
            operation = MODEL["operations"][name]
            known = MODEL["shapes"][operation["output"]["shape"]]["members"] if "output" in operation else {}
            assert set(out) <= set(known), f"{name}: the fake answers {set(out) - set(known)}"
            if self.after:
                self.after(name, self.counts[name])
            if fault == "cut-after":
                raise ConnectionAbortedError
            return out

    def handle(self, h):
        body = h.rfile.read(int(h.headers.get("content-length") or 0))
        kind = None
        try:
            out, status = self.answer(h, body), 200
        except Error as e:
            out, status, kind = {"message": e.message, **e.more}, e.status, e.kind
            if kind in ("UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException",
                        "ExpiredTokenException", "AccessDeniedException"):
                status = 403
        except ConnectionAbortedError:
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
            return
        except AssertionError as e:
            self.problems.append(str(e))
            out, status, kind = {"message": str(e)}, 400, "InvalidRequestException"
        data = json.dumps(out).encode()
        h.send_response(status)
        h.send_header("content-type", "application/json")
        h.send_header("content-length", str(len(data)))
        if kind:
            h.send_header("x-amzn-ErrorType", kind + ":http://internal.amazon.com/coral/com.amazonaws.iot/")
        h.end_headers()
        h.wfile.write(data)
