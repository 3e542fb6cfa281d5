# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""From the line to the revocation list: two Sub CAs one after the other on one ledger, each with its own issuance log;
a device is revoked in the ledger, and the CRL of the Sub CA that signed it says so."""

import shutil
import subprocess

from factory import DEVSTAMP, run


def certificate(factory, serial):
    text = run(DEVSTAMP, "ledger", "show", "--ledger", factory.folder / "ledger.db", "--pem", serial).stdout
    path = factory.folder / f"{serial}.pem"
    begin = text.index("-----BEGIN CERTIFICATE")
    path.write_text(text[begin:text.index("-----END CERTIFICATE-----") + 26])
    return path


def test_a_renewed_sub_ca_and_the_crls_of_both(products, factory):
    ca, new = factory.folder / "ca", factory.folder / "ca-2"
    shutil.copytree(products.folder / "ca", ca)
    run(DEVSTAMP, "ca", "request", "--dir", new, "--name", "CN=devstamp Sub CA 2,O=devstamp")
    run(DEVSTAMP, "ca", "sign", "--dir", ca, "--request", new / "subca.csr", "-o", factory.folder / "sub2.pem")
    run(DEVSTAMP, "ca", "install", "--dir", new, "--certificate", factory.folder / "sub2.pem", "--root-certificate",
        ca / "root.pem")
    recipe = products.recipe(factory.folder, "esp32c3", subject="CN={serial},O=Example,serialNumber={serial}")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(2)])
    slots = [{"name": str(i), "port": factory.address(i), "reset": "rfc2217"} for i in range(2)]
    factory.provision(recipe, factory.station(slots[:1], name="before"))
    after = factory.station(slots[1:], name="after", certificate=new / "subca.pem", key=f"file:{new}/subca.key")
    after.write_text(after.read_text().replace("issuance.log", "issuance-2.log"))
    factory.provision(recipe, after)
    assert factory.ledger_is_whole().returncode == 0
    ledger = factory.folder / "ledger.db"
    first, second = sorted(d["serial"] for d in factory.ledger())
    pems = {s: certificate(factory, s) for s in (first, second)}
    issuers = {s: run("openssl", "x509", "-in", p, "-noout", "-issuer").stdout for s, p in pems.items()}
    old = next(s for s, i in issuers.items() if "Sub CA 2" not in i)
    assert sum("Sub CA 2" in i for i in issuers.values()) == 1  # who signed is known
    run(DEVSTAMP, "ca", "lint", *pems.values())
    run(DEVSTAMP, "ledger", "revoke", "--ledger", ledger, "--reason", "keyCompromise: flash was read out", old)
    run(DEVSTAMP, "ca", "crl", "--dir", ca, "--root")
    assert "CRL 1: 1 revoked" in run(DEVSTAMP, "ca", "crl", "--dir", ca, "--ledger", ledger).stdout
    other = run(DEVSTAMP, "ca", "crl", "--dir", new, "--ledger", ledger).stdout
    assert "CRL 1: 0 revoked" in other and "1 revoked certificates of other Sub CAs" in other
    assert "Key Compromise" in run("openssl", "crl", "-in", ca / "subca.crl.pem", "-noout", "-text").stdout
    for serial, pem in pems.items():
        done = subprocess.run(["openssl", "verify", "-crl_check_all", "-CAfile", ca / "root.pem", "-untrusted",
                               ca / "subca.pem", "-untrusted", new / "subca.pem", "-CRLfile", ca / "root.crl.pem",
                               "-CRLfile", ca / "subca.crl.pem", "-CRLfile", new / "subca.crl.pem", pem],
                              capture_output=True, text=True)
        assert ("certificate revoked" in done.stderr) == (serial == old) and (done.returncode != 0) == (serial == old)
