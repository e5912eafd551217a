# SPDX-License-Identifier: Apache-2.0
"""Which ops of ONNX's default domain `redline check` knows."""

import json
import pathlib
import subprocess
import tempfile

import onnx
from onnx import helper

import redline

PROGRAM = pathlib.Path(redline.__file__).parents[2] / "bin" / "redline"


def ops_since(oldest):
    """Names that a model of opset `oldest` or newer can use."""
    newest = onnx.defs.onnx_opset_version()
    names = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain != "":
            continue
        for opset in range(max(oldest, schema.since_version), newest + 1):
            at = onnx.defs.get_schema(schema.name, opset, "")
            if not at.deprecated:
                names.add(schema.name)
                break
    return names


def unknown_ops(names):
    """Of these, the ones that `redline check` knows no rule for."""
    nodes = [helper.make_node(name, [], [f"out_{name}"]) for name in sorted(names)]
    graph = helper.make_graph(nodes, "g", [], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())])
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        done = subprocess.run([PROGRAM, "check", file.name, "--json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["nodes"] == len(names)
    assert {op["op"] for op in report["ops"]} == set(names)
    return {p["op"] for p in report["problems"] if p["reason"] == "no such op is known"}
