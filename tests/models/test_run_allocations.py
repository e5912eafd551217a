# SPDX-License-Identifier: Apache-2.0
"""Real models allocate nothing from the second run with the same sizes on."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))

import models  # noqa: E402


@pytest.fixture(scope="module")
def program():
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    # The module lies in build/<preset>/python/redline.
    build = pathlib.Path(redline.__file__).parents[2]
    path = build / "tests" / "models" / "count_run_allocations"
    if not path.exists():
        pytest.skip(f"{path} is not built")
    if "asan" in build.name:
        pytest.skip("the sanitizer has its own malloc")
    return path


@pytest.mark.parametrize("name", models.names())
def test_later_runs_allocate_nothing(name, program, tmp_path):
    model = models.get(name)
    path = tmp_path / "model.onnx"
    content = model.load()
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    command = [program, path]
    for case, make in model.cases.items():
        if len(command) > 2:
            command.append("/")
        for i, (key, array) in enumerate(make().items()):
            file = tmp_path / f"{case}-{i}.npy"
            np.save(file, array)
            command.append(f"{key}={file}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
