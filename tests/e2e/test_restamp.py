# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Who can write to a locked device's flash chip cannot make it another device: docs/decisions/0003-stamp-anchor.md."""

import json
import subprocess

import pytest

from agentlib import Agent
from factory import DEVSTAMP, SIM, STAMP, run, wait_for

NVS = (0x1A000, 0x6000)
NVS_KEYS = (0x13000, 0x1000)
SEALED = 4


def slot(factory, device):
    return [{"name": str(device), "port": factory.address(device), "reset": "rfc2217"}]


def power(factory, device):
    return json.loads(factory.ctl(device, "status").stdout)[0]["power"]


def donor_stamp(products, factory, device, recipe):
    """The whole plain stamp of a device that was never locked, as read from its flash chip."""
    factory.ctl(device, "fault", "off@1500")  # flash words: after the stamp, amid the secure bootloader
    factory.ctl(device, "on")
    line = subprocess.Popen([DEVSTAMP, "provision", "--recipe", recipe, "--station",
                             factory.station(slot(factory, device), name="donor")], stdout=subprocess.DEVNULL)
    wait_for(lambda: power(factory, device) == "off", what="the power cut")
    line.kill()
    line.wait()
    stamp = factory.flash(device)[STAMP[0]:STAMP[0] + STAMP[1]]
    serial = next(d["serial"] for d in factory.ledger() if d["serial"].encode() in stamp)
    assert b"mqtts://" in stamp and b"done" in stamp
    return stamp, serial


def load(factory, device, place, data):
    path = factory.folder / "load.bin"
    path.write_bytes(data)
    run(SIM, "flash", "--state", factory.state, "--device", device, "load", hex(place[0]), path)


def blank(factory, device, place):
    load(factory, device, place, b"\xff" * place[1])


def hello(factory, device):
    with Agent(factory.devices[device]["tcp"]) as agent:
        return agent.hello(timeout=20)


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_locked_device_never_takes_a_strangers_stamp(products, factory, chip):
    recipe = products.recipe(factory.folder, chip, key="ecdsa-p256")
    image = factory.merged(recipe)
    factory.start(f"chip={chip},image={image}", f"chip={chip},image={image},power=off")
    _, doc = factory.provision(recipe, factory.station(slot(factory, 0)))
    own = doc["slots"][0]["serial"]
    stamp, stranger = donor_stamp(products, factory, 1, recipe)
    assert hello(factory, 0) == {"firmware": 1, "stage": SEALED, "serial": own}

    locked = factory.flash(0)
    for keys_too in (False, True):
        factory.ctl(0, "off")
        blank(factory, 0, NVS)
        if keys_too:
            blank(factory, 0, NVS_KEYS)
        load(factory, 0, STAMP, stamp)
        factory.ctl(0, "on")
        says = hello(factory, 0)
        assert says["firmware"] == 1 and says["stage"] != SEALED, says
        # Nothing was moved, and the plain stamp was not touched.
        factory.ctl(0, "off")
        flash = factory.flash(0)
        assert flash[STAMP[0]:STAMP[0] + STAMP[1]] == stamp
        assert flash[NVS[0]:NVS[0] + NVS[1]] == b"\xff" * NVS[1]
        factory.ctl(0, "on")

    # The line says what is wrong and does not pass it.
    p, doc = factory.provision(recipe, factory.station(slot(factory, 0)), ok=False)
    assert p.returncode != 0 and "another device showed this public key" in doc["slots"][0]["error"]["text"]
    # And where the stamp is simply gone.
    factory.ctl(0, "off")
    blank(factory, 0, STAMP)
    factory.ctl(0, "on")
    p, doc = factory.provision(recipe, factory.station(slot(factory, 0)), ok=False)
    assert p.returncode != 0 and not doc["slots"][0]["ok"]
    assert "shows none" in doc["slots"][0]["error"]["text"]
    assert stranger != own

    # With its own flash back it is itself again.
    factory.ctl(0, "off")
    load(factory, 0, NVS, locked[NVS[0]:NVS[0] + NVS[1]])
    load(factory, 0, NVS_KEYS, locked[NVS_KEYS[0]:NVS_KEYS[0] + NVS_KEYS[1]])
    load(factory, 0, STAMP, locked[STAMP[0]:STAMP[0] + STAMP[1]])
    factory.ctl(0, "on")
    assert hello(factory, 0) == {"firmware": 1, "stage": SEALED, "serial": own}
