# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Serial numbers from a signed list, given out on a line, and that line's ledger carried into the company's."""

import os

from factory import DEVSTAMP, run


def key_file(path):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    os.chmod(path, 0o600)
    run("openssl", "pkey", "-in", path, "-pubout", "-out", f"{path}.pub")
    return path


def ledger(verb, path, *args, ok=True, **kw):
    return run(DEVSTAMP, "ledger", verb, "--ledger", path, *args, ok=ok, **kw)


def test_listed_serials_and_the_way_to_the_company(products, factory, tmp_path):
    cloud, station_key = key_file(tmp_path / "cloud.pem"), key_file(tmp_path / "line-1.pem")
    here, company, batch = tmp_path / "ledger.db", tmp_path / "company.db", tmp_path / "batch"
    (tmp_path / "serials.txt").write_text("CLOUD-77\n")
    run(DEVSTAMP, "manifest", "export", "--serials", tmp_path / "serials.txt", "--product", "demo-esp32c3", "--key", cloud,
        "-o", tmp_path / "list")
    recipe = products.recipe(tmp_path, "esp32c3", serial="{list}")
    factory.start("chip=esp32c3", "chip=esp32c3")
    p, doc = factory.provision(recipe, factory.station(), ok=False)
    assert p.returncode == 1 and "no serial numbers were imported for product" in p.stdout, p.stdout + p.stderr
    run(DEVSTAMP, "manifest", "import", "--signed-by", f"{cloud}.pub", "--ledger", here, tmp_path / "list")
    p, doc = factory.provision(recipe, factory.station(), ok=False)
    assert p.returncode == 1 and "are used up: all 1 that were imported" in p.stdout, p.stdout + p.stderr
    assert sorted(d["serial"] or "" for d in factory.ledger()) == ["", "CLOUD-77"]

    by = ["--signed-by", f"{station_key}.pub"]
    p = ledger("push", here, "--key", station_key, "-o", "-")
    assert "nothing" not in p.stderr
    assert ledger("pull", company, *by, "-", input=p.stdout).stdout.splitlines()[1].startswith("new here: ")
    assert "no batch was written" in ledger("push", here, "--key", station_key, "-o", batch).stdout
    assert "CLOUD-77" in ledger("list", company).stdout
    assert ledger("pull", company, *by, "-", input=p.stdout).stdout.endswith(
        "new here: 0 events, 0 devices, 0 certificates; 0 certificates went forward\n")
    # The other device is still on its way in both.
    whole = ledger("check", company, ok=False)
    assert whole.returncode == 6 and "CLOUD-77" not in whole.stdout and "evidence chain:" in whole.stdout
    assert "broken" not in whole.stdout
    noted = ledger("check", here, ok=False).stdout.split("head ")[1].split()[0]
    assert noted in ledger("stations", company).stdout
    # Somebody edits the station's events in the company's ledger.
    run("/usr/bin/python3", "-c", "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); "
        "d.execute('UPDATE batch_event SET text = ? WHERE position = 2', ('other',)); d.commit()", company)
    p = ledger("stations", company, ok=False)
    assert p.returncode == 6 and "broken at event 2" in p.stdout


def test_batches_are_refused_with_clear_words(tmp_path):
    key, other = key_file(tmp_path / "line-1.pem"), key_file(tmp_path / "other.pem")
    here, company, batch = tmp_path / "here.db", tmp_path / "company.db", tmp_path / "batch"
    (tmp_path / "serials.txt").write_text("A-1\n")
    run(DEVSTAMP, "manifest", "export", "--serials", tmp_path / "serials.txt", "--product", "cup", "--key", key, "-o", tmp_path / "list")
    run(DEVSTAMP, "manifest", "import", "--signed-by", f"{key}.pub", "--ledger", here, tmp_path / "list")
    ledger("push", here, "--key", key, "-o", batch)
    p = ledger("pull", company, "--signed-by", f"{other}.pub", batch, ok=False)
    assert p.returncode == 8 and "a key that was not named" in p.stderr
    p = ledger("pull", company, "--signed-by", f"{key}.pub", tmp_path / "list", ok=False)
    assert p.returncode == 3 and "no ledger batch" in p.stderr
    (tmp_path / "edited").write_text(batch.read_text().replace("for cup", "for cap"))
    p = ledger("pull", company, "--signed-by", f"{key}.pub", tmp_path / "edited", ok=False)
    assert p.returncode == 3 and "entry 1: edited" in p.stdout and "nothing was taken over" in p.stderr
    p = ledger("push", here, "--key", key, "--from-event", "9", "-o", tmp_path / "x", ok=False)
    assert p.returncode == 3 and "has 1 events, and 9 were pushed" in p.stderr
    p = ledger("push", tmp_path / "typo.db", "--key", key, "-o", tmp_path / "x", ok=False)  # a wrong path is no empty ledger
    assert p.returncode == 6 and "No such file" in p.stderr and not (tmp_path / "typo.db").exists()
    for args in (["push"], ["push", "--ledger", here], ["pull", "--ledger", company, batch], ["stations"],
                 ["push", "--ledger", here, "--key", key, "--registry", here, "-o", batch]):
        assert run(DEVSTAMP, "ledger", *args, ok=False).returncode == 2, args
    assert ledger("pull", company, "--signed-by", f"{key}.pub", batch).returncode == 0
    assert "1 events" in ledger("stations", company).stdout
