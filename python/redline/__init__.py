# SPDX-License-Identifier: Apache-2.0
"""Redline: trained models, as fast as the hardware allows.

    import redline
    session = redline.load("model.onnx")
    y = session.run({"x": x})["y"]
"""

import json as _json
import os as _os
from collections.abc import Callable as _Callable, Iterable as _Iterable, Mapping as _Mapping
from typing import Any as _Any, Literal as _Literal

from ._redline import Engine, Error, GraphBuilder, Session, __version__
from . import _redline

__all__ = ["Engine", "Error", "GraphBuilder", "Session", "build", "build_report", "devices", "inspect", "load",
           "profile", "__version__"]


def build(
    model: _Any,
    output: str | _os.PathLike[str] | None = None,
    device: str = "auto",
    *,
    threads: int = 0,
    progress: _Callable[[str, float], bool | None] | None = None,
    log: _Callable[[str, str], None] | None = None,
    verbose: bool = False,
    disable_passes: _Iterable[str] = (),
    verify_passes: bool = False,
    dump_ir: str = "",
    opt_level: int = 3,
    sizes: _Mapping[str, int] | None = None,
    shapes: _Mapping[str, tuple[int, int, int]] | None = None,
    build_time: float | None = None,
    tuning_database: str | _os.PathLike[str] | _Literal[False] | None = None,
    precision: _Literal["fp32", "tf32", "fp16", "bf16"] = "fp32",
    check_range: bool = False,
    fallback: _Literal["refuse", "allow"] = "refuse",
    target: str = "",
    timestamps: bool = False,
    side_streams: bool | None = None,
) -> Engine:
    """Builds an engine from a path, bytes, an onnx.ModelProto or a GraphBuilder, which is used up; bytes and paths of
    engines load.

    output: where to save the engine. progress(phase, fraction) may return False to cancel.
    log(severity, message) gets messages; verbose: also why tactics refuse and what was chosen.
    sizes: {symbol: size} to optimise for. shapes: {symbol: (least, likely, most)} to be good at over a range.
    build_time: seconds after which the build looks no further for faster kernels.
    tuning_database: file that keeps what was measured, False for none, by default tuning.jsonl in ~/.cache/redline.
    precision: what f32 is computed in wherever that is safe ("tf32": products on GPUs round f32 operands to it).
    check_range: with "fp16", look for values that overflow, however long that takes.
    device: "cpu", "cuda", "cuda:N", or "auto", which takes a GPU when there is one. fallback: whether
    steps that the GPU cannot run may run on the host ("auto" allows it). target: with device "cuda", an
    architecture ("sm_90a") to build for without such a GPU; the engine can be saved, not run here.
    timestamps: on a GPU, kernels that note when their blocks pass their parts, for profile().
    side_streams: on a GPU, whether steps that do not depend on each other run side by side; by default where that
    was measured to be faster, or is predicted to be where there is no such GPU.
    Raises redline.Error with the reason; its `code`, `node` and `position` say what and where."""
    options = {
        "device": device,
        "threads": threads,
        "progress": progress,
        "log": log,
        "verbose": verbose,
        "disable_passes": list(disable_passes),
        "verify_passes": verify_passes,
        "dump_ir": dump_ir,
        "opt_level": opt_level,
        "sizes": list((sizes or {}).items()),
        "shapes": [(symbol, list(three)) for symbol, three in (shapes or {}).items()],
        "build_time": build_time,
        "tuning_database": "" if tuning_database is False else tuning_database and _os.fspath(tuning_database),
        "precision": precision,
        "check_range": check_range,
        "fallback": fallback,
        "target": target,
        "timestamps": timestamps,
        "side_streams": side_streams,
    }
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    if isinstance(model, GraphBuilder):
        engine = _redline.build_graph(model, options)
    elif isinstance(model, (bytes, bytearray, memoryview)):
        engine = _redline.build_bytes(bytes(model), options)
    else:
        engine = _redline.build_path(_os.fspath(model), options)
    if output is not None:
        engine.save(_os.fspath(output))
    return engine


def load(model: _Any, device: str = "auto", **options: _Any) -> Session:
    """A session for a model (built on the spot) or an engine: a path, bytes or an onnx.ModelProto.

    Takes the options of build()."""
    return build(model, device=device, **options).create_session()


def devices() -> list[str]:
    """What engines can run on here: "cpu", and each usable GPU as "cuda:0 (NVIDIA H100, sm_90a)"."""
    return _redline.devices()


def inspect(engine: Engine) -> dict[str, _Any]:
    """What an engine holds, as nested dicts and lists: steps, tactics, values, weights."""
    return _json.loads(engine.inspect_json())


def build_report(engine: Engine) -> dict[str, _Any]:
    """How a built engine came about: the kernels tried, what is computed in which type and why.

    Empty for an engine that was loaded."""
    return _json.loads(engine.build_report_json())


def profile(session: Session, inputs: dict[str, _Any], runs: int = 20) -> dict[str, _Any]:
    """Where the time of a session's runs goes: each step's time alone, bytes, operations and part of its roofline, the
    parts of whole runs and, with build(timestamps=True) on a GPU, the chain of kernels. As `redline profile --json`."""
    return _json.loads(session.profile_json(inputs, runs))
