# SPDX-License-Identifier: Apache-2.0
"""Keeps the tests out of the user's tuning database: each run has a cache folder of its own."""

import os
import tempfile

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder():
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory(prefix="redline-cache-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
