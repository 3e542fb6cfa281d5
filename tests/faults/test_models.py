# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""The model notices mistakes: each change below, which a programmer might make, breaks the property named."""

import pathlib
import subprocess

import pytest

MODEL = pathlib.Path(__file__).parents[2] / "models/way.pml"

MISTAKES = {
    "the signer forgets its log": (
        ":: log_serial == serial && log_key == k -> skip // signed before: the same bytes again", ":: false -> skip",
        "one_identity", []),
    "a certificate leaves before it is logged": (
        "d_step { log_serial = serial; log_key = k; log_entries++ };", "skip;", "certificate_known", []),
    "a reset makes a second key": (":: key == 0 ->\n                CUT(lost);", ":: true ->\n                CUT(lost);",
                                   "one_identity", []),
    "the station skips the stamp": ("    ASK(STAMP, 0);", "    skip;", "rerun_finishes", ["-f"]),
    "the plain stamp is erased before the copy is whole": (
        "if :: moved < 2 -> moved = 1; CUT(power_on); moved = 2 :: else -> skip fi;",
        "if :: moved < 2 -> moved = 1; plain_stamp = false; CUT(power_on); moved = 2 :: else -> skip fi;",
        "stamp_never_lost", []),
    "a device cut off amid encryption is not flashed again": (
        ":: sb_burned && !count_burned -> to_device ! FLASH_SIGNED, 0",
        ":: sb_burned && !count_burned -> to_device ! HELLO, 0", "rerun_finishes", ["-f"]),
    "the count is burned before encryption": ("        ciphertext = 1;\n        CUT(power_on);\n        ciphertext = 2;\n",
                                              "        ciphertext = 1;\n", "burned_only_whole", []),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_noticed(tmp_path, name):
    old, new, prop, flags = MISTAKES[name]
    text = MODEL.read_text()
    assert text.count(old) == 1, "the model has moved on: update the mistake"
    (tmp_path / "way.pml").write_text(text.replace(old, new))
    subprocess.run(["spin", "-a", "way.pml"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["cc", "-O1", "-w", "-DNFAIR=4", "-DNOREDUCE", "-DVECTORSZ=4096", "-o", "pan", "pan.c"], cwd=tmp_path,
                   check=True)
    p = subprocess.run(["./pan", "-a", "-m2000000", *flags, "-N", prop], cwd=tmp_path, capture_output=True, text=True,
                       timeout=120)
    assert "errors: 1" in p.stdout, p.stdout
