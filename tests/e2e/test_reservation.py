# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A certificate that was reserved and refused by the signer follows the corrected recipe; one that was signed does not."""

import sqlite3

from cryptography import x509

from factory import DEVSTAMP, run


def rows(factory):
    db = sqlite3.connect(f"file:{factory.folder / 'ledger.db'}?mode=ro", uri=True)
    return db.execute("select state, serial, subject, not_after - not_before, der from certificate").fetchall()


def test_reservation_follows_the_corrected_recipe(products, factory):
    ca = factory.folder / "ca"
    run(DEVSTAMP, "ca", "init", "--dir", ca, "--years", "1")
    wrong = products.recipe(factory.folder, "esp32c3", "wrong", days="3650", subject="CN={serial},O=Wrong")
    right = products.recipe(factory.folder, "esp32c3", "right", days="30")
    factory.start(f"chip=esp32c3,image={factory.merged(right)}")
    station = factory.station(key=f"file:{ca / 'subca.key'}", certificate=ca / "subca.pem")
    for _ in range(2):  # longer than the Sub CA lives
        p, doc = factory.provision(wrong, station, ok=False)
        assert p.returncode != 0 and "validity" in p.stdout, p.stdout
    before = rows(factory)
    assert [(r[0], r[2].split(",")[1], r[3], r[4]) for r in before] == [(1, "O=Wrong", 3650 * 86400 + 3600, None)]
    _, doc = factory.provision(right, station)
    after = rows(factory)
    assert [(r[0], r[1]) for r in after] == [(3, before[0][1])]  # installed, with the serial number reserved first
    cert = x509.load_der_x509_certificate(after[0][4])
    assert [a.value for a in cert.subject] == [doc["slots"][0]["serial"], "Example"]
    assert (cert.not_valid_after - cert.not_valid_before).days == 30
    assert factory.ledger_is_whole().returncode == 0
    p, _ = factory.provision(wrong, station, ok=False)
    assert p.returncode != 0 and "O=Example" in p.stdout
    assert rows(factory) == after
