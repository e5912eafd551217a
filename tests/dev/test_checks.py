# SPDX-License-Identifier: Apache-2.0
"""The checks of form must catch what they are for."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def check(name, root):
    command = [sys.executable, "-B", ROOT / "scripts" / f"check_{name}.py", "--root", root]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout


def tree(root, files):
    (root / "src").mkdir()
    (root / "layers.txt").write_text("base:\nops: base\nir: ops\npython: include\ninclude:\n")
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_layers_allow_lower_and_own_folder(tmp_path):
    root = tree(tmp_path, {
        "src/ir/graph.cc": '#include "ir/graph.h"\n#include "base/status.h"\n#include <vector>\n',
    })
    assert check("layers", root) == (0, "layers: 0 problems\n")


def test_layers_refuse_upper_with_file_and_line(tmp_path):
    root = tree(tmp_path, {"src/base/a.h": '#pragma once\n#include "ir/graph.h"\n'})
    status, out = check("layers", root)
    assert status == 1
    assert "src/base/a.h:2: `base` may not include ir/graph.h; it may use: nothing" in out


def test_layers_keep_python_to_the_public_headers(tmp_path):
    root = tree(tmp_path, {"python/module.cc": '#include "redline/api.h"\n#include "ops/add.h"\n'})
    status, out = check("layers", root)
    assert status == 1
    assert "python/module.cc:2:" in out and "python/module.cc:1:" not in out


def test_layers_refuse_unrooted_relative_cuda_and_unlisted(tmp_path):
    root = tree(tmp_path, {
        "src/ops/a.cc": '#include "a.h"\n#include "../base/b.h"\n#include <cuda_runtime.h>\n',
        "src/other/b.cc": "",
    })
    status, out = check("layers", root)
    assert status == 1
    for expected in ("src/ops/a.cc:1:", "src/ops/a.cc:2:", "src/ops/a.cc:3: cuda_runtime.h",
                     "folder `other` has no line"):
        assert expected in out


def test_text_wants_licence_and_readme(tmp_path):
    root = tree(tmp_path, {
        "src/base/a.cc": "int a;\n",
        "src/ops/b.cc": "// SPDX-License-Identifier: Apache-2.0\n",
        "src/ops/README.md": "ops\n",
    })
    status, out = check("text", root)
    assert status == 1
    assert "src/base/a.cc:1: expected `SPDX" in out
    assert "src/base: has no README.md" in out
    assert "src/ops" not in out


def test_text_refuses_machine_paths_and_bare_todo(tmp_path):
    licence = "// SPDX-License-Identifier: Apache-2.0\n"
    home = "/" + "home/someone/data"
    root = tree(tmp_path, {
        "src/base/README.md": f"see {home}\n",
        "src/base/a.cc": licence + "// TODO: more\n// TODO(ana): measure with 8 threads\n",
    })
    status, out = check("text", root)
    assert status == 1
    assert "src/base/README.md:1: a path of one machine" in out
    assert "src/base/a.cc:2:" in out and "src/base/a.cc:3:" not in out


def test_text_wants_cases_for_every_op(tmp_path):
    licence = "// SPDX-License-Identifier: Apache-2.0\n"
    root = tree(tmp_path, {
        "src/ops/README.md": "ops\n",
        "src/ops/add.cc": licence + "\nvoid register_op_add(OpRegistry& registry) {}\n",
        "src/ops/mul.cc": licence + "\nvoid register_op_mul(OpRegistry& registry) {}\n",
        "tests/ops/mul.cases": "mul(f32[1], f32[1]) -> f32[1]\n",
    })
    status, out = check("text", root)
    assert status == 1
    assert "src/ops/add.cc: has no cases" in out and "mul" not in out


def test_dev_help_names_every_verb():
    out = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
    verbs = "demo test setup build bench fuzz format lint bundle redline python clean help"
    for verb in verbs.split():
        assert f"\n  {verb} " in out


def test_dev_refuses_an_unknown_verb():
    done = subprocess.run([ROOT / "dev", "tset"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr
