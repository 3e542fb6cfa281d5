# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""A token that hangs in the middle of a signature, with a whole line waiting for it."""

import time

from test_ca_token import SUB_KEY, pytestmark, shim, token  # noqa: F401

SLOTS = 3


def test_all_slots_fail_within_one_timeout_and_go_on_afterwards(products, factory, token):  # noqa: F811
    ca, hang = factory.folder / "ca", factory.folder / "hang"
    token.init(ca)
    recipe = products.recipe(factory.folder, "esp32c3", endpoint_ca=ca / "root.pem")
    image = factory.merged(recipe)
    factory.start(*[f"chip=esp32c3,image={image}"] * SLOTS)
    station = factory.station(key=SUB_KEY, certificate=ca / "subca.pem", module=token.shim, pin_file=token.pin)
    env = dict(token.env, DS_SHIM_HANG=str(hang))
    hang.touch()
    begin = time.monotonic()
    done, doc = factory.provision(recipe, station, ok=False, env=env)
    took = time.monotonic() - begin
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stdout.count("the token gave no answer within 20 s") >= SLOTS
    assert doc["failed"] == SLOTS
    hang.unlink()
    begin = time.monotonic()
    _, doc = factory.provision(recipe, station, env=env)
    assert doc["passed"] == SLOTS
    # What a good run takes the devices was part of the bad one: the rest of that is less than two timeouts.
    assert took < time.monotonic() - begin + 40
