# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""devstamp cloud aws with devices: a ledger registered whatever is cut off, held against the cloud, and kept out of it."""

import json
import os
import signal

import awsfake
import pytest
from awslib import INSTALLED, REGISTERED, SIGNED, Cloud, Ledger, Maker
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def fake(tmp_path):
    with awsfake.Fake(tmp_path) as f:
        yield f
        assert f.problems == []


@pytest.fixture
def cloud(fake, tmp_path):
    return Cloud(fake, tmp_path)


@pytest.fixture
def ledger(tmp_path, maker):
    return Ledger(tmp_path / "ledger.db", maker)


def statuses(fake):
    return {i: c["status"] for i, c in fake.account.certificates.items()}


def test_what_devices_confirmed_is_registered_with_policy_and_thing(cloud, fake, ledger):
    ids = [ledger.add(f"SN-{i}") for i in range(3)]
    ledger.add("SN-waits", state=SIGNED)
    ledger.add("SN-was", state=REGISTERED)
    ledger.add("SN-revoked", revoked=1_700_000_001)
    fake.account.policies["devices"] = "{}"
    done = json.loads(cloud.run("register", "--ledger", ledger.path, "--policy", "devices", "--things", "--json").stdout)
    assert {k: v for k, v in done.items() if v} == {"registered": 3, "waiting": 1, "before": 1, "revoked": 1}
    assert statuses(fake) == dict.fromkeys(ids, "ACTIVE")
    arns = {c["certificateArn"] for c in fake.account.certificates.values()}
    assert fake.account.attached == {("devices", a) for a in arns}
    assert {t for t, _ in fake.account.members} == {f"SN-{i}" for i in range(3)}
    assert all(ledger.states()[f"SN-{i}"] == REGISTERED for i in range(3))
    fake.requests.clear()
    cloud.run("register", "--ledger", ledger.path)
    assert fake.requests == []  # nothing is left to do
    cloud.run("register", "--ledger", ledger.path, "--all")
    assert fake.counts["RegisterCertificateWithoutCA"] == 7


def test_with_a_ca_the_service_checks_the_signature(cloud, fake, ledger, maker):
    ledger.add("SN-1")
    ledger.add("SN-odd", key=ec.generate_private_key(ec.SECP256R1()))  # another key under our CA's name
    ledger.add("SN-2")
    cloud.run("register-ca", "--dir", maker.dir)
    done = cloud.run("register", "--ledger", ledger.path, "--with-ca", maker.dir / "subca.pem", code=1)
    assert "device SN-odd" in done.stdout and "not taken" in done.stdout and "1 refused" in done.stdout
    assert sorted(statuses(fake)) == sorted([ledger.id("SN-1"), ledger.id("SN-2")])
    assert ledger.states() == {"SN-1": REGISTERED, "SN-2": REGISTERED, "SN-odd": INSTALLED}


def test_what_refuses_them_all_ends_the_run(cloud, fake, ledger, maker):
    for i in range(25):
        ledger.add(f"SN-{i:02}")
    cloud.run("register-ca", "--dir", maker.dir, "--inactive")
    args = ["register", "--ledger", ledger.path, "--with-ca", maker.dir / "subca.pem", "--rate", "1000"]
    failed = cloud.run(*args, code=8)
    assert "20 in a row are refused" in failed.stderr and fake.counts["RegisterCertificate"] == 20
    failed = cloud.run(*args, "--jobs", "3", code=8)
    assert "20 in a row are refused" in failed.stderr and 40 <= fake.counts["RegisterCertificate"] <= 42
    cloud.run("ca", "activate", "--dir", maker.dir)
    fake.faults = [None] * 5 + ["throttle", "cut-after", "500", "cut"]
    done = json.loads(cloud.run(*args, "--jobs", "8", "--json").stdout)
    assert done["registered"] + done["already"] == 25 and done["already"] <= 1
    assert set(ledger.states().values()) == {REGISTERED}


def test_killed_anywhere_it_is_run_again(cloud, fake, ledger):
    """The command is killed before and after the service did what was asked, at each call of a device's way."""
    for i in range(8):
        ledger.add(f"SN-{i}")
    fake.account.policies["devices"] = "{}"
    calls = ["RegisterCertificateWithoutCA", "AttachPolicy", "CreateThing", "AttachThingPrincipal"]
    args = ["register", "--ledger", ledger.path, "--policy", "devices", "--things"]
    for when, call in [(w, c) for w in ("before", "after") for c in calls]:
        child = None

        def kill(name, count, when=when, call=call):
            if name == call:
                os.kill(child.pid, signal.SIGKILL)
                child.wait(60)
                if when == "before":  # the request was never heard
                    raise ConnectionAbortedError

        with fake.lock:  # not asked before we know whom to kill
            child = cloud.start(*args)
            setattr(fake, when, kill)
        child.communicate(timeout=120)
        setattr(fake, when, None)
        assert child.returncode == -signal.SIGKILL
    done = json.loads(cloud.run(*args, "--json").stdout)
    assert done["failed"] == done["differing"] == 0 and done["registered"] + done["already"] + done["before"] == 8
    assert done["before"] <= 2  # what was done when it was killed, and noted
    assert set(ledger.states().values()) == {REGISTERED} and len(fake.account.certificates) == 8
    assert len(fake.account.attached) == len(fake.account.members) == len(fake.account.things) == 8


def test_the_network_goes_and_comes(cloud, fake, ledger):
    for i in range(4):
        ledger.add(f"SN-{i}")
    fake.faults = [None, "cut-after", "throttle", None, "cut", None]
    done = json.loads(cloud.run("register", "--ledger", ledger.path, "--json").stdout)
    assert (done["registered"], done["already"]) == (3, 1)  # the one whose answer was lost was there
    assert set(ledger.states().values()) == {REGISTERED} and len(fake.account.certificates) == 4


def test_a_factory_without_internet_loses_nothing_and_catches_up(cloud, fake, ledger):
    for i in range(30):
        ledger.add(f"SN-{i:02}")
    there, fake.url = fake.url, "https://127.0.0.1:1"
    away = cloud.run("register", "--ledger", ledger.path, "--tries", "2", code=7)
    assert "device SN-00" in away.stderr and set(ledger.states().values()) == {INSTALLED}
    fake.url = there
    fake.faults = [None] * 11 + ["throttle"] * 2  # the network goes again in the middle
    cloud.run("register", "--ledger", ledger.path, "--tries", "2", "--rate", "1000", code=7)
    assert sorted(ledger.states().values()).count(REGISTERED) == 11
    done = json.loads(cloud.run("register", "--ledger", ledger.path, "--rate", "1000", "--json").stdout)
    assert (done["registered"], done["already"], done["before"]) == (19, 0, 11)
    assert len(fake.account.certificates) == 30


def test_wrong_keys_end_the_run_before_the_second_device(cloud, fake, ledger):
    ledger.add("SN-1")
    ledger.add("SN-2")
    cloud.env["AWS_SECRET_ACCESS_KEY"] = "notTheKey"
    failed = cloud.run("register", "--ledger", ledger.path, code=8)
    assert "device SN-1" in failed.stderr and "signature" in failed.stderr and "notTheKey" not in failed.stderr
    assert fake.requests == [] and set(ledger.states().values()) == {INSTALLED}


def test_a_clock_that_is_wrong_by_a_year_is_named(cloud, fake, ledger):
    ledger.add("SN-1")
    for days in (365, -365):
        fake.ahead = awsfake.datetime.timedelta(days=days)
        assert "clock" in cloud.run("register", "--ledger", ledger.path, code=8).stderr
    assert ledger.states() == {"SN-1": INSTALLED} and fake.account.certificates == {}
    fake.ahead = awsfake.datetime.timedelta()
    cloud.run("register", "--ledger", ledger.path)


def test_what_is_there_is_not_changed_unasked(cloud, fake, ledger, maker):
    ids = {n: ledger.add(n) for n in ("SN-off", "SN-pending", "SN-elsewhere")}
    fake.account.put_certificate(ledger.pem("SN-off"), "INACTIVE", "", "SNI_ONLY")
    fake.account.connect(ledger.pem("SN-pending"), maker.ca_id)  # connected before us, and the ledger knows it
    fake.account.elsewhere.add(ids["SN-elsewhere"])
    failed = cloud.run("register", "--ledger", ledger.path, code=8)
    assert "device SN-off" in failed.stdout and "INACTIVE" in failed.stdout
    assert "SN-elsewhere" in failed.stderr and "another account" in failed.stderr
    assert statuses(fake) == {ids["SN-off"]: "INACTIVE", ids["SN-pending"]: "ACTIVE"}
    assert ledger.states() == {"SN-off": INSTALLED, "SN-pending": REGISTERED, "SN-elsewhere": INSTALLED}


def test_a_dry_run_changes_neither_side(cloud, fake, ledger):
    ledger.add("SN-1")
    shown = cloud.run("register", "--ledger", ledger.path, "--policy", "p", "--things", "--dry-run").stdout
    for line in ("POST " + fake.url + "/certificate/register-no-ca", "PUT " + fake.url + "/target-policies/p",
                 "POST " + fake.url + "/things/SN-1", "PUT " + fake.url + "/things/SN-1/principals",
                 "x-amzn-principal: <certificateArn>", "-----BEGIN CERTIFICATE-----"):
        assert line in shown, line
    assert fake.requests == [] and ledger.states() == {"SN-1": INSTALLED}


def test_a_name_no_thing_can_have_is_told_and_the_next_goes_on(cloud, fake, ledger):
    ledger.add("SN 1")
    ledger.add("SN-2")
    done = cloud.run("register", "--ledger", ledger.path, "--things", code=1)
    assert "letters, digits" in done.stdout
    assert ledger.states() == {"SN 1": INSTALLED, "SN-2": REGISTERED}


def test_check_names_every_difference_both_ways(cloud, fake, ledger, maker):
    def there(name, status="ACTIVE"):
        fake.account.put_certificate(ledger.pem(name), status, maker.ca_id, "DEFAULT")

    for name, state in (("good", REGISTERED), ("lost", REGISTERED), ("off", REGISTERED), ("drawer", INSTALLED),
                        ("self", INSTALLED), ("unconfirmed", SIGNED), ("made", SIGNED)):
        ledger.add(name, state)
    for name in ("revoked-there", "revoked-not"):
        ledger.add(name, revoked=1_700_000_001)
    for name in ("good", "self", "unconfirmed", "revoked-not"):
        there(name)
    there("off", "INACTIVE")
    there("revoked-there", "REVOKED")
    foreign = maker.certify("foreign")
    pem = foreign.public_bytes(awsfake.serialization.Encoding.PEM).decode()
    fake.account.put_certificate(pem, "ACTIVE", "", "SNI_ONLY")
    fake.account.page = 2
    found = json.loads(cloud.run("check", "--ledger", ledger.path, "--json", code=1).stdout)
    told = {(d["device"], d["what"]) for d in found["list"]}
    assert told == {
        ("lost", "registered by the ledger's word, and not in the cloud"),
        ("off", "is INACTIVE in the cloud, and good by the ledger's word"),
        ("drawer", "installed, and never seen in the cloud"),
        ("self", "registered in the cloud, and the ledger does not say so"),
        ("unconfirmed", "registered in the cloud, and no device confirmed that it has it"),
        ("revoked-not", "revoked in the ledger, and ACTIVE in the cloud"),
        ("", "ACTIVE in the cloud, and unknown to the ledger"),
    }
    assert (found["issued"], found["installed"], found["registered"], found["revoked"]) == (7, 5, 3, 2)
    assert (found["in_cloud"], found["never_seen"], found["differences"]) == (7, 1, 7)
    assert ledger.states()["self"] == INSTALLED
    # just in time: who never connected is fine, and what the cloud registered is noted
    found = json.loads(cloud.run("check", "--ledger", ledger.path, "--dir", maker.dir, "--jitr", "--update", "--json",
                                 code=1).stdout)
    assert {d["device"] for d in found["list"]} == {"lost", "off", "revoked-not"} and found["updated"] == 2
    assert ledger.states()["self"] == ledger.states()["unconfirmed"] == REGISTERED
    # and repaired
    cloud.run("revoke", "--ledger", ledger.path, "--revoked", "--yes")
    cloud.run("activate", "--ledger", ledger.path, "off")
    cloud.run("register", "--ledger", ledger.path, "--all")
    del fake.account.certificates[awsfake.id_of(pem)]
    assert "0 differences" in cloud.run("check", "--ledger", ledger.path).stdout


def test_devices_are_kept_out_by_name_time_and_ca(cloud, fake, ledger, maker):
    noon = 1_700_000_000 // 86400 * 86400 + 43200
    for name, at in (("early", noon - 1), ("first", noon), ("last", noon + 7199), ("late", noon + 7200)):
        ledger.add(name, REGISTERED, signed_at=at)
        fake.account.put_certificate(ledger.pem(name), "ACTIVE", maker.ca_id, "DEFAULT")

    def those(status):
        return {n for n in ledger.certs if statuses(fake).get(ledger.id(n)) == status}

    cloud.run("deactivate", "--ledger", ledger.path, "early")
    assert those("INACTIVE") == {"early"}
    hours = ["--from", "2023-11-14T12:00:00Z", "--to", "2023-11-14T14:00Z"]
    refused = cloud.run("revoke", "--ledger", ledger.path, *hours, code=8)
    assert "2 certificates" in refused.stderr and those("REVOKED") == set()
    shown = cloud.run("revoke", "--ledger", ledger.path, *hours, "--dry-run").stdout
    assert shown.count("?newStatus=REVOKED") == 2 and those("REVOKED") == set()
    cloud.run("revoke", "--ledger", ledger.path, *hours, "--yes")
    assert those("REVOKED") == {"first", "last"}
    cloud.run("deactivate", "--dir", maker.dir, "--yes")
    assert those("INACTIVE") == {"early", "late"} and those("REVOKED") == {"first", "last"}
    gone = cloud.run("deactivate", "--ledger", ledger.path, "late")
    assert "INACTIVE" in gone.stdout
    cloud.run("revoke", "--ledger", ledger.path, "nobody", code=3)


def test_one_that_is_refused_keeps_no_other_in(cloud, fake, ledger, maker):
    """The service takes no certificate out of REVOKED. Those behind such a one in a list are kept out all the same."""
    for name in ("a", "revoked", "z"):
        ledger.add(name, REGISTERED)
        fake.account.put_certificate(ledger.pem(name), "REVOKED" if name == "revoked" else "ACTIVE", maker.ca_id, "DEFAULT")
    done = cloud.run("deactivate", "--ledger", ledger.path, "--from", "2023-01-01", "--yes", code=1)
    assert ledger.id("revoked") in done.stderr
    assert [statuses(fake)[ledger.id(n)] for n in ("a", "revoked", "z")] == ["INACTIVE", "REVOKED", "INACTIVE"]
    cloud.run("activate", "--dir", maker.dir, "--yes")
    assert [statuses(fake)[ledger.id(n)] for n in ("a", "revoked", "z")] == ["ACTIVE", "REVOKED", "ACTIVE"]
    left = cloud.run("deactivate", "--dir", maker.dir, "--yes")
    assert "1 are so already" in left.stdout and statuses(fake)[ledger.id("z")] == "INACTIVE"


def test_activating_lets_in_nobody_the_ledger_revoked_or_never_knew(cloud, fake, ledger, maker):
    for name, revoked in (("good", None), ("thief", 1_700_000_001)):
        ledger.add(name, REGISTERED, revoked=revoked)
        fake.account.put_certificate(ledger.pem(name), "INACTIVE", maker.ca_id, "DEFAULT")
    stranger = maker.certify("stranger")
    pem = stranger.public_bytes(awsfake.serialization.Encoding.PEM).decode()
    fake.account.connect(pem, maker.ca_id)
    cloud.run("activate", "--ledger", ledger.path, "--from", "2023-01-01")
    refused = cloud.run("activate", "--ledger", ledger.path, "thief", code=8)
    assert "revoked" in refused.stderr
    cloud.run("activate", "--ledger", ledger.path, "--revoked", code=2)
    assert statuses(fake)[ledger.id("thief")] == "INACTIVE" and statuses(fake)[ledger.id("good")] == "ACTIVE"
    cloud.run("activate", "--dir", maker.dir)
    assert statuses(fake)[awsfake.id_of(pem)] == "PENDING_ACTIVATION"


def test_what_the_service_says_reaches_no_terminal_as_it_is(cloud, fake, ledger):
    ledger.add("SN-1")

    def refuse(p):
        raise awsfake.Error("CertificateValidationException", "\x1b]0;owned\x07")

    fake.account.RegisterCertificateWithoutCA = refuse
    told = cloud.run("register", "--ledger", ledger.path, code=1).stdout
    fake.account.put_certificate(ledger.pem("SN-1"), "X\x1b[2J", "", "SNI_ONLY")
    told += cloud.run("check", "--ledger", ledger.path, code=1).stdout
    assert "owned" in told and "[2J" in told and "\x1b" not in told and "\x07" not in told


def test_deleting_takes_it_from_everything_first(cloud, fake, ledger):
    ledger.add("SN-1")
    fake.account.policies["devices"] = "{}"
    cloud.run("register", "--ledger", ledger.path, "--policy", "devices", "--things")
    fake.faults = [None, None, None, None, "cut-after"]  # it was deleted, and we do not hear of it
    cloud.run("delete", "--ledger", ledger.path, "SN-1")
    assert fake.account.certificates == {} and fake.account.members == set() and fake.account.attached == set()
    assert "SN-1" in fake.account.things
    assert "deleted" in cloud.run("delete", "--ledger", ledger.path, "SN-1").stdout
