# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Fixtures shared by end-to-end and fault tests: products made once, and a factory in a folder of its own for each test."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "e2e"))

from factory import Factory, Products  # noqa: E402


@pytest.fixture(scope="session")
def products(tmp_path_factory):
    return Products(tmp_path_factory.mktemp("products"))


@pytest.fixture
def factory(products, tmp_path):
    f = Factory(products, tmp_path)
    yield f
    f.stop()
