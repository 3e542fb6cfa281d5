# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The officer's quota stops the line at its number, says what is left, and goes on where a new one allows."""

import json

from factory import DEVSTAMP, run


def test_quota_stops_the_line_and_a_new_one_lets_it_go_on(products, factory):
    recipe = products.recipe(factory.folder, "esp32c3", proof="report", serial="SN-{counter:4}")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}" for _ in range(3)])
    quota = factory.folder / "quota.json"

    def allow(number, **more):
        quota.write_text(json.dumps({"quota": 1, "recipes": [dict(recipe="demo-esp32c3", certificates=number, **more)]}))

    allow(2)
    station = factory.station(quota=quota)
    _, doc = factory.provision(recipe, station, ok=False)
    failed = [s for s in doc["slots"] if s.get("error")]
    assert len(failed) == 1 and failed[0]["error"]["class"] == "policy"
    assert "the quota for recipe demo-esp32c3 is used up: 0 of 2 certificates left" in failed[0]["error"]["text"]
    assert "officer" in failed[0]["error"]["hint"]
    allow(3, first="SN-0101", last="SN-0102")
    _, doc = factory.provision(recipe, station, ok=False)
    failed = [s for s in doc["slots"] if s.get("error")]
    assert len(failed) == 1 and "is not within the quota's SN-0101 to SN-0102; 1 of 3" in failed[0]["error"]["text"]
    allow(3, first="SN-0001", last="SN-0003", until="2090-01-01T00:00:00Z")
    p = run(DEVSTAMP, "provision", "--recipe", recipe, "--station", station)
    assert ("quota for demo-esp32c3: 1 of 3 certificates left, serial numbers SN-0001 to SN-0003, until "
            "2090-01-01T00:00:00Z") in p.stdout
    assert factory.ledger_is_whole().returncode == 0
    allow("three")
    p, _ = factory.provision(recipe, station, ok=False)
    assert p.returncode == 3 and "certificates must be a number" in p.stderr
