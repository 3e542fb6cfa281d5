# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The sealed PIN, over the real programs: a line that runs by it, and everything that must keep it shut. What is
counted is logins at the token: nothing that goes wrong before the seal is open may cost one."""

import hashlib
import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import pytest
import yaml

import test_ca_token
from factory import DEVSTAMP, run, wait_for
from sealed import Seal, digest_of, recipe_digest, vectors
from signerlib import PIN, SUB_KEY, decode, field

NO_IDENTITY = not os.path.exists("/etc/machine-id") or len(open("/etc/machine-id").read()) < 32
pytestmark = [test_ca_token.pytestmark, pytest.mark.skipif(NO_IDENTITY, reason="this computer has no /etc/machine-id")]
shim, token = test_ca_token.shim, test_ca_token.token  # fixtures

PASSPHRASE = "correct horse battery"
CHEAP = ("--kdf-passes", "1", "--kdf-memory", "1")


class Station:
    """A station whose PIN is to be sealed; its slot leads nowhere unless a test starts a device."""

    def __init__(self, products, factory, token):
        self.factory, self.token, self.folder = factory, token, factory.folder
        token.init(self.folder / "ca")
        self.recipe = products.recipe(self.folder, "esp32c3", endpoint_ca=self.folder / "ca/root.pem", proof="report")
        self.seal, self.words, self.key = self.folder / "pin.seal", self.folder / "words", self.folder / "key"
        self.quota = self.folder / "quota.json"
        self.quota.write_text(json.dumps({"quota": 1, "recipes": [{"recipe": "demo-esp32c3", "certificates": 9}]}))
        self.write(self.words, PASSPHRASE)
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)
        self.station()

    def write(self, path, text):
        path.write_text(text + "\n")
        path.chmod(0o600)

    def station(self, slots=({"name": "1", "port": "tcp://127.0.0.1:9", "reset": "none"},), name="station", **changes):
        known = dict(key=SUB_KEY, certificate=self.folder / "ca/subca.pem", module=self.token.shim, quota=self.quota,
                     seal=self.seal)
        self.file = self.factory.station(slots=slots, name=name, **dict(known, **changes))
        return self.file

    def create(self, *by, ok=True, pin=None, env=None):
        """devstamp seal create; the seal is made anew."""
        self.seal.unlink(missing_ok=True)
        args = [a for b in by if not b.startswith("--") for a in ("--by", b)] + [b for b in by if b.startswith("--")]
        return run(DEVSTAMP, "seal", "create", "--station", self.file, "--recipe", self.recipe, *args, *CHEAP, "--pin-file",
                   pin or self.token.pin, "--passphrase-file", self.words, ok=ok, env=dict(self.token.env, **(env or {})))

    def check(self, *args, ok=True, env=None):
        return run(DEVSTAMP, "seal", "check", "--station", self.file, "--recipe", self.recipe, *args, ok=ok,
                   env=dict(self.token.env, **(env or {})))

    def begins(self, *args, **kw):
        """The signer is ready, by one login; then there is no device."""
        before = self.token.count()
        done = run(DEVSTAMP, "provision", "--recipe", self.recipe, "--station", self.file, *args, ok=False, env=self.token.env,
                   **kw)
        assert done.returncode == 1, done.stderr
        assert self.token.count() == before + 1

    def refused(self, words, *args, code=8, recipe=None, env=None):
        """provision does not begin, says why, and nobody logged in."""
        before = self.token.count()
        done = run(DEVSTAMP, "provision", "--recipe", recipe or self.recipe, "--station", self.file,
                   *(args or ("--passphrase-file", self.words)), ok=False, env=dict(self.token.env, **(env or {})))
        assert done.returncode == code and words in done.stderr, f"{done.returncode}: {done.stderr}\nnot: {words}"
        assert "hint: " in done.stderr
        assert self.token.count() == before
        return done


@pytest.fixture
def line(products, factory, token):
    return Station(products, factory, token)


def start_device(line, **changes):
    line.factory.start(f"chip=esp32c3,image={line.factory.merged(line.recipe)}")
    return line.station(slots=None, **changes)


def test_line_runs_by_a_sealed_pin_and_another_program_reads_the_seal(line):
    start_device(line, name="line-1")
    line.create("passphrase=first shift", f"key-file={line.key}")
    logins = line.token.count()
    line.token.pin.unlink()
    serial = Seal(line.seal.read_bytes()).parts[1][1]
    done, doc = line.factory.provision(line.recipe, line.file, "--passphrase-file", line.words, env=line.token.env)
    assert doc["passed"] == 1 and line.token.count() == logins + 1
    line.factory.stop()
    with open(line.words) as words:
        line.begins("--passphrase-fd", words.fileno(), pass_fds=[words.fileno()])
    # By the key file nobody need be asked.
    line.station(name="line-1", seal_key=line.key)
    line.begins()
    assert line.token.count() == logins + 3
    assert "is right" not in done.stderr and PIN not in done.stdout + done.stderr
    holders = [p for p in line.folder.rglob("*") if p.is_file() and PIN.encode() in p.read_bytes()]
    assert not holders, holders
    # What it is tied to, computed here.
    seal, der = Seal(line.seal.read_bytes()), subprocess.run(
        ["openssl", "x509", "-in", line.folder / "ca/subca.pem", "-outform", "DER"], capture_output=True, check=True).stdout
    parts = {kind: (text, digest) for kind, text, digest in seal.parts}
    assert parts["Sub CA"][1] == hashlib.sha256(der).digest()
    assert parts["quota"][1] == hashlib.sha256(line.quota.read_bytes()).digest()
    assert parts["token"] == (serial, digest_of(b"devstamp token 1", serial)) and len(serial) == 16
    assert parts["station"] == ("line-1", digest_of(b"devstamp station 1", "line-1"))
    assert parts["key"] == (SUB_KEY, digest_of(b"devstamp key 1", SUB_KEY, str(line.token.shim), ""))
    machine = open("/etc/machine-id").read().strip()
    assert parts["computer"][1] == digest_of(b"devstamp computer 1", machine)
    assert machine.encode() not in line.seal.read_bytes()
    assert parts["recipe"][1] == digest_of_recipe(line)
    assert seal.open({0: PASSPHRASE.encode()}) == seal.open({1: line.key.read_bytes()}) == {"pin": PIN.encode()}
    assert seal.open({0: b"correct horse batterz"}) is None


def files_of_recipe(line):
    """The recipe that the factory wrote, and the digest of all its files, as docs/seal.md has it."""
    def padded(name):
        data = (line.recipe.parent / name).read_bytes()
        return data + b"\xff" * (-len(data) % 4)

    r = yaml.safe_load(line.recipe.read_text())
    files = [line.recipe.read_bytes(), (line.recipe.parent / r["stamp"]["endpoint_ca"]).read_bytes(),
             padded(r["images"]["bootloader"]["file"]), padded(r["images"]["secure_bootloader"]["file"]),
             (line.recipe.parent / r["partition_table"]["file"]).read_bytes(), padded(r["images"]["mfg"]["file"]),
             padded(r["images"]["app"]["file"])]
    return r, hashlib.sha256(b"".join(hashlib.sha256(f).digest() for f in files)).digest()


def digest_of_recipe(line):
    r, whole = files_of_recipe(line)
    return recipe_digest(whole, r["product"], r["certificate"]["subject"], r["stamp"]["serial"], "", 3,
                         r["certificate"]["days"])


def test_published_vectors_are_what_the_other_program_makes():
    folder = os.path.join(os.path.dirname(__file__), "../data/seal")
    for name, data in vectors().items():
        with open(os.path.join(folder, name), "rb") as f:
            assert f.read() == data, name


def test_anything_changed_keeps_the_seal_shut_and_costs_no_try(line, products):
    line.create("passphrase")
    assert "the seal opens here" in line.check("--passphrase-file", line.words).stdout
    text = line.recipe.read_text()
    line.recipe.write_text(text + "# another line\n")
    line.refused("recipe demo-esp32c3 is not as it was sealed")
    line.recipe.write_text(text)
    app = [entry for entry in text.split() if "app" in entry and entry.endswith(".bin,")][0].strip(",")
    newer = products.image("esp32c3", "app", version="2.0.1", signed=True)
    line.recipe.write_text(text.replace(app, str(newer)))
    line.refused("recipe demo-esp32c3 is not as it was sealed")
    line.recipe.write_text(text)
    other = products.recipe(line.folder, "esp32c3", name="other", product="other", endpoint_ca=line.folder / "ca/root.pem")
    line.refused("recipe other is none of those it was sealed for", recipe=other)
    allowed = line.quota.read_text()
    line.quota.write_text(allowed.replace("9", "999"))
    line.refused("the quota is not as it was sealed")
    line.quota.write_text(allowed)
    line.station(name="line-2")
    line.refused("it is for station station, and this is line-2")
    line.station(key=SUB_KEY + "%20")
    line.refused("the key, its module or the log key is not the one it was sealed for")
    line.station(log_key="file:log.key")
    line.refused("the key, its module or the log key is not the one it was sealed for")
    line.station(module="/usr/lib/softhsm/libsofthsm2.so")
    line.refused("the key, its module or the log key is not the one it was sealed for")
    line.station()
    line.file.write_text(line.file.read_text().replace("signer:\n", "signer:\n  token_serial: 0123\n"))
    line.refused("it is for the token with serial number")
    assert "token" in line.check("--passphrase-file", line.words, ok=False).stderr
    line.station()
    line.token.init(line.folder / "again", "--sub-existing")
    for log in line.folder.glob("issuance.log*"):
        log.unlink()
    line.station(certificate=line.folder / "again/subca.pem")
    done = line.refused("it is for another Sub CA certificate")
    assert "put back what the officer sealed" in done.stderr
    shown = line.check(ok=False)
    assert shown.returncode == 8 and "DIFFERENT FROM THE SEAL" in shown.stdout
    line.station()
    assert run(DEVSTAMP, "seal", "check", "--station", line.file, "--recipe", line.recipe, "--passphrase-file", line.words,
               env=line.token.env).returncode == 0


def test_hostile_station_cannot_tell_the_signer_of_other_recipes(line):
    """The signer's first message, made here: profiles that are not the sealed ones get no PIN."""
    line.create(f"key-file={line.key}")
    r, whole = files_of_recipe(line)
    honest = {1: r["product"], 2: r["certificate"]["subject"], 3: 3, 4: r["certificate"]["days"], 5: r["stamp"]["serial"],
              7: whole}

    def first_answer(*profiles):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = subprocess.Popen([DEVSTAMP, "signer", "--fd", str(theirs.fileno()), "--key", SUB_KEY, "--module",
                                      line.token.shim, "--certificate", line.folder / "ca/subca.pem", "--log",
                                      line.folder / "issuance.log", "--quota", line.quota, "--seal", line.seal, "--seal-key",
                                      line.key, "--station", "station"], env=line.token.env, pass_fds=[theirs.fileno()])
            theirs.close()
            ours.settimeout(60)
            status = field(1, b"".join(field(1, b"".join(field(k, v) for k, v in p.items())) for p in profiles))
            ours.sendall(struct.pack("<I", len(status)) + status)
            size = struct.unpack("<I", ours.recv(4, socket.MSG_WAITALL))[0]
            answer = decode(ours.recv(size, socket.MSG_WAITALL))
        child.wait(30)
        return answer

    before = line.token.count()
    for lie in ({2: "CN={serial},O=Somebody Else"}, {3: 1}, {4: 7}, {5: "{counter}"}, {6: "urn:x"}, {7: bytes(32)}, {1: "x"}):
        answer = first_answer(honest | lie)
        assert answer.get(1) == 7 and b"sealed" in answer[2], (lie, answer)
    assert first_answer(honest, honest | {2: "CN={serial},O=Two"})[1] == 7
    assert first_answer()[1] == 7
    assert line.token.count() == before
    assert 4 in first_answer(honest)
    assert line.token.count() == before + 1


def test_seal_copied_to_another_computer_does_not_open(line):
    line.create("passphrase")
    other = line.folder / "machine-id"
    other.write_text("0123456789abcdef0123456789abcdef\n")
    flags = "-m" if os.geteuid() == 0 else "-rm"
    if subprocess.run(["unshare", flags, "true"], capture_output=True).returncode:
        pytest.skip("neither root nor user namespaces")
    inside = ["unshare", flags, "sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"', other]
    before = line.token.count()
    done = run(*inside, DEVSTAMP, "provision", "--recipe", line.recipe, "--station", line.file, "--passphrase-file", line.words,
               ok=False, env=line.token.env)
    assert done.returncode == 8 and "it is for another computer (" + socket.gethostname() in done.stderr
    assert line.token.count() == before
    # The officer may seal for that computer here.
    told = run(*inside, DEVSTAMP, "seal", "computer").stdout.strip()
    line.create("passphrase", f"--computer={told}")
    line.refused("it is for another computer (told by --computer)")
    check = run(*inside, DEVSTAMP, "seal", "check", "--station", line.file, "--recipe", line.recipe, "--passphrase-file",
                line.words, env=line.token.env)
    assert "the seal opens here" in check.stdout


def test_wrong_secret_damage_and_versions_cost_no_try(line):
    line.create("passphrase")
    whole = line.seal.read_bytes()
    line.write(line.words, "not the passphrase")
    done = line.refused("the passphrase is wrong", code=3)
    assert "no try of its PIN was spent" in done.stderr
    line.write(line.words, PASSPHRASE)
    for at, words in ((6, "its format"), (0, "it is not a seal"), (200, "it is damaged")):
        line.seal.write_bytes(whole[:at] + bytes([whole[at] ^ 6]) + whole[at + 1:])
        line.refused(words, code=3)
    line.seal.write_bytes(whole[:-1])
    line.refused("its length is not what it says", code=3)
    line.seal.unlink()
    line.refused("No such file", code=3)
    line.seal.write_bytes(whole)
    line.refused("the station's PIN is sealed, and another one is given", "--pin-file", line.token.pin, code=2)
    line.refused("no terminal to ask on", "--json", code=3)
    line.file.write_text(line.file.read_text().replace("signer:\n", f"signer:\n  pin_file: {line.token.pin}\n"))
    line.refused("seal and pin_file are both given", code=3)


def test_sealed_pin_that_is_wrong_is_tried_once_in_three_runs(line):
    wrong = line.folder / "wrong"
    line.write(wrong, "000000")
    line.create(f"key-file={line.key}", pin=wrong)
    line.station(seal_key=line.key)
    before = line.token.count()
    for words in ("the PIN is wrong", "the PIN of this seal was refused", "the PIN of this seal was refused"):
        done = run(DEVSTAMP, "provision", "--recipe", line.recipe, "--station", line.file, ok=False, env=line.token.env)
        assert done.returncode == 5 and words in done.stderr
    assert "let the officer seal the right PIN" in done.stderr
    assert line.token.count() == before + 1


def typed(env, args, *answers):
    """Run a program on a terminal of its own and answer what it asks; its exit code and what it said."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(args[0], [str(a) for a in args], dict(env))
    out = b""
    for answer in answers:
        while not out.endswith(b": "):
            out += os.read(fd, 1000)
        os.write(fd, answer.encode() + b"\n")
        out += b"|"
    try:
        while more := os.read(fd, 1000):
            out += more
    except OSError:
        pass
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out.decode()


def test_create_asks_twice_and_show_tells_no_secret(line):
    def create(*answers):
        return typed(line.token.env, [DEVSTAMP, "seal", "create", "--station", line.file, "--recipe", line.recipe, "--by",
                                      "passphrase=officer", "--by", f"key-file={line.key}", "--all", *CHEAP], *answers)

    code, said = create(PIN, PIN, PASSPHRASE, "correct horse batter")
    assert code == 3 and "the two are not the same" in said and not line.seal.exists()
    code, said = create(PIN, PIN, PASSPHRASE, PASSPHRASE)
    assert code == 0 and PIN not in said and PASSPHRASE not in said, said
    assert line.seal.stat().st_mode & 0o777 == 0o600
    said = run(DEVSTAMP, "seal", "show", line.seal).stdout
    for words in ("all of these together", 'passphrase "officer", Argon2id, 1 passes over 1 MiB', 'key file "key"', "recipe",
                  "demo-esp32c3", "Sub CA", "quota"):
        assert words in said
    assert PIN not in said
    line.station(seal_key=line.key)
    assert line.check("--passphrase-file", line.words).returncode == 0
    provision = [DEVSTAMP, "provision", "--recipe", line.recipe, "--station", line.file]
    before = line.token.count()
    code, said = typed(line.token.env, provision, "wrong wrong")
    assert code == 3 and "Passphrase of the seal (officer): " in said and line.token.count() == before
    code, said = typed(line.token.env, provision, PASSPHRASE)
    assert code == 1 and PASSPHRASE not in said and line.token.count() == before + 1
    line.station()
    line.refused("key file: none was named")
    again = run(DEVSTAMP, "seal", "create", "--station", line.file, "--recipe", line.recipe, "--by", "passphrase", ok=False,
                env=line.token.env)
    assert again.returncode == 8 and "exists already" in again.stderr


def test_systemd_credential_opens_it_unattended(line, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "devstamp").write_bytes(line.key.read_bytes())
    line.create("credential=devstamp", env={"CREDENTIALS_DIRECTORY": str(folder)})
    assert "the seal opens here" in line.check(env={"CREDENTIALS_DIRECTORY": str(folder)}).stdout
    line.refused("systemd credential: this is no service with credentials", "--json")
    (folder / "devstamp").write_bytes(os.urandom(32))
    line.refused("it is not the one that opens it", "--json", code=3, env={"CREDENTIALS_DIRECTORY": str(folder)})


class Tpm:
    """A software TPM on loopback, with a state of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="devstamp-tpm")
        for _ in range(20):  # two ports in a row that nobody has
            with socket.socket() as probe, socket.socket() as following:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
                try:
                    following.bind(("127.0.0.1", self.port + 1))
                except (OSError, OverflowError):
                    continue
            if self.start():
                break
        else:
            raise AssertionError("swtpm does not start")
        self.address = f"swtpm:host=127.0.0.1,port={self.port}"

    def start(self):
        address = "type=tcp,port={},bindaddr=127.0.0.1"
        self.process = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--server",
                                         address.format(self.port) + ",disconnect", "--ctrl", address.format(self.port + 1),
                                         "--flags", "not-need-init,startup-clear"], stderr=subprocess.DEVNULL)
        return wait_for(lambda: self.process.poll() is not None or self.listens(), what="swtpm") and self.process.poll() is None

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port + 1)) == 0

    def extend(self, pcr):
        """TPM2_PCR_Extend, SHA-256 bank, as firmware does with what it starts."""
        auth = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)
        body = struct.pack(">I", pcr) + auth + struct.pack(">IH", 1, 0x000B) + b"\x5a" * 32
        command = struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(command)
            assert struct.unpack(">HII", s.recv(1000)[:10])[2] == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)


@pytest.fixture
def tpms():
    made = []

    def make():
        made.append(Tpm())
        return made[-1]

    yield make
    for t in made:
        t.stop()


@pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is not installed")
def test_tpm_opens_it_unattended_and_no_other_tpm_does(line, tpms):
    mine, other = tpms(), tpms()
    line.station(seal_tpm=mine.address)
    line.create("tpm")
    line.begins()
    line.station(seal_tpm=other.address)
    done = line.refused("TPM: it is not the one the seal was made with: another computer's", "--json")
    assert "make a new seal on this computer" in done.stderr
    line.station(seal_tpm="swtpm:host=127.0.0.1,port=1")
    line.refused("TPM: reach it", "--json", code=5)
    line.station(seal_tpm="'/tmp/evil.so:'")
    line.refused("is no address of a TPM", "--json", code=3)


@pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is not installed")
def test_tpm_with_pcrs_and_a_passphrase(line, tpms):
    tpm = tpms()
    line.station(seal_tpm=tpm.address)
    line.create("tpm", "passphrase", "--all", "--tpm-pcrs=0,7")
    assert "only with PCRs 0,7" in run(DEVSTAMP, "seal", "show", line.seal).stdout
    assert line.check("--passphrase-file", line.words).returncode == 0
    line.write(line.words, "not the passphrase")
    line.refused("the passphrase is wrong, or the key", code=3)
    line.write(line.words, PASSPHRASE)
    tpm.extend(8)
    assert line.check("--passphrase-file", line.words).returncode == 0
    tpm.extend(7)
    begin = time.monotonic()
    line.refused("TPM: its PCRs are not as they were when the seal was made")
    assert time.monotonic() - begin < 60
    line.create("tpm", "passphrase", "--tpm-pcrs=7")
    assert line.check("--passphrase-file", line.words).returncode == 0
    tpm.extend(7)  # either of the two: the passphrase is left
    assert line.check("--passphrase-file", line.words).returncode == 0
    line.refused("TPM: its PCRs are not as they were when the seal was made: firmware or what was booted has changed; "
                 "passphrase: it was not given", "--json")
