#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program that links libredline_runtime.so alone (examples/embed/run_engine.cc) runs a saved engine.

What it prints must be what ONNX's reference makes of zeros. The library is to be smaller than 10 MB and to link nothing
but the C and C++ libraries. Of others the process may load the driver, and on the CPU oneDNN: no NVRTC, no cudart, no
importer. The loader's own log says what was loaded.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import part
from onnx import TensorProto, helper, numpy_helper

LIMIT_MB = 10
SYSTEM = r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so\.\d+|ld-linux-x86-64\.so\.2|lib(a|ub|t)san\.so\.\d+|libredline_runtime\.so\.[\d.]+"
DRIVER = r"libcuda\.so\.\d+|libcudadebugger\.so\.\d+|libnvidia-[\w-]+\.so\.[\d.]+"
ON_CPU = r"libredline_onednn\.so|libdnnl\.so\.[\d.]+|libgomp\.so\.\d+|libOpenCL\.so\.\d+"  # the last by Debian's libdnnl


def make_model(path):
    """A convolution and a product with biases, so that zeros come to something; what ONNX's reference makes of them."""
    from onnx.reference import ReferenceEvaluator

    random = np.random.default_rng(3)
    weights = {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 10), "c": (10,)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["h"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("MatMul", ["f", "v"], ["m"]), helper.make_node("Add", ["m", "c"], ["y"])]
    constants = [numpy_helper.from_array(random.uniform(-1, 1, shape).astype(np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "biased", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return ReferenceEvaluator(model).run(None, {"x": np.zeros((1, 3, 8, 8), np.float32)})[0]


def find_program(arguments, folder):
    """The program and its library: bundled beside redline, or compiled against a build's."""
    beside = pathlib.Path(arguments.redline).resolve().parent
    if (beside / "run_engine").exists():
        return beside / "run_engine", next(beside.glob("libredline_runtime.so.*"))
    libraries, program = beside.parent / "lib", folder / "run_engine"
    subprocess.run(["c++", "-std=c++20", f"-I{part.ROOT / 'include'}", part.ROOT / "examples" / "embed" / "run_engine.cc", "-o", program,
                    f"-L{libraries}", "-lredline_runtime", f"-Wl,-rpath,{libraries}"], check=True)
    return program, (libraries / "libredline_runtime.so").resolve()


def size_mb(library, folder):
    stripped = folder / "stripped.so"
    shutil.copy(library, stripped)
    if shutil.which("strip"):
        subprocess.run(["strip", stripped], check=True)
    return stripped.stat().st_size / 1e6


def loaded(log):
    """The names of the libraries that the loader started."""
    return sorted({pathlib.Path(path).name for path in re.findall(r"calling init: (\S+)", log)})


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["engine", "library MB", "loaded beside the C++ library", "difference"])
    program, library = find_program(arguments, folder)
    megabytes = size_mb(library, folder)
    want = make_model(folder / "m.onnx")
    engine = folder / "m.engine"
    redline.build(folder / "m.onnx", engine, device=arguments.device, tuning_database=False)
    done = subprocess.run([program, engine], capture_output=True, text=True, env=dict(os.environ, LD_DEBUG="libs"))
    failures = [] if megabytes < LIMIT_MB else [f"the library has {megabytes:.1f} MB, the bar is {LIMIT_MB}"]
    others = [name for name in loaded(done.stderr) if not re.fullmatch(SYSTEM, name)]
    allowed = DRIVER if arguments.device == "cuda" else f"{DRIVER}|{ON_CPU}"
    failures += [f"{name} was loaded" for name in others if not re.fullmatch(allowed, name)]
    if not loaded(done.stderr):
        failures.append("the loader did not say what it loaded")
    if arguments.device == "cuda" and not any(name.startswith("libcuda.so") for name in others):
        failures.append("the driver was not loaded")
    difference = float("inf")
    if done.returncode:
        failures.append(f"ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    else:
        numbers = done.stdout.split(":", 1)[1].split()
        difference = part.relative(np.array(numbers, np.float32).reshape(want.shape), want)
        if difference > part.TOLERANCE["fp32"]:
            failures.append(f"differs by {difference:.1e}")
    outcome.add([f"convolution and product, {arguments.device}", f"{megabytes:.1f}", ", ".join(others), f"{difference:.1e}"], failures)
    outcome.also = f"{megabytes:.1f} MB, loads {', '.join(others) or 'nothing'}"[:90]
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("runtime", "The library that only runs engines", part.parser(__doc__).parse_args(), measure))
