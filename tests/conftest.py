# SPDX-License-Identifier: Apache-2.0
"""Keeps the tests out of the user's tuning database: each run has a cache folder of its own."""

import os
import shutil
import subprocess
import tempfile

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder():
    before = os.environ.get("XDG_CACHE_HOME")
    # The compiler's cache stays where it is: tests that build would compile everything anew.
    if shutil.which("ccache"):
        asked = subprocess.run(["ccache", "--get-config", "cache_dir"], capture_output=True, text=True)
        os.environ.setdefault("CCACHE_DIR", asked.stdout.strip())
    with tempfile.TemporaryDirectory(prefix="redline-cache-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
