# SPDX-License-Identifier: Apache-2.0
"""examples/custom_parser: both parsers give what numpy gives; errors name the file and line."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import redline

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "custom_parser"
sys.path.insert(0, str(EXAMPLE))

import parser as custom_parser  # noqa: E402


def expected(image):
    n = image.shape[0]
    padded = np.pad(image[:, 0], ((0, 0), (1, 1), (1, 1)))
    box = sum(padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3))
    features = np.stack([image[:, 0] + 0.5, box - 0.5], 1)
    logits = np.maximum(features, 0).reshape(n, 2, 16).mean(2) @ np.array([[1, 0, -1], [0, 1, 1]])
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 3])
def test_python_parser(batch):
    session = custom_parser.parse(EXAMPLE / "net.txt").create_session()
    image = np.random.default_rng(0).normal(size=(batch, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(session.run({"image": image})["scores"], expected(image), rtol=1e-5)


def test_cpp_parser():
    # The module lies in build/<preset>/python/redline, the program in build/<preset>/bin.
    program = pathlib.Path(redline.__file__).parents[2] / "bin" / "custom_parser"
    output = subprocess.run([program, EXAMPLE / "net.txt"], capture_output=True, text=True, check=True)
    ramp = np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4) / 10
    numbers = np.array(output.stdout.splitlines()[1].split(), np.float64).reshape(2, 3)
    np.testing.assert_allclose(numbers, expected(ramp), atol=2e-6)


def test_error_names_file_and_line(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text((EXAMPLE / "net.txt").read_text().replace("matmul pooled", "matmul image"))
    with pytest.raises(redline.Error, match=r"bad\.txt:14: .*logits.*matmul.*sizes differ"):
        custom_parser.parse(bad)
    bad.write_text("input x 2\ny = no_such_op x\n")
    with pytest.raises(redline.Error, match=r"bad\.txt:2: no op is called 'no_such_op'"):
        custom_parser.parse(bad)
