# SPDX-License-Identifier: Apache-2.0
"""Redline: an inference engine. See load() and Session."""

import os

from ._redline import Session as _Session

__version__ = "0.1.0"


class Session:
    """A model ready to run; made by load(). For one thread at a time."""

    def __init__(self, session):
        self._session = session

    @property
    def input_names(self):
        return self._session.input_names

    @property
    def output_names(self):
        return self._session.output_names

    def run(self, inputs):
        """{name: array} to {name: array}; sequences are lists, absent optionals None."""
        names = self.input_names
        unknown = sorted(set(inputs) - set(names))
        if unknown:
            raise ValueError(f"no input is called {unknown[0]!r}; the model's inputs are {names}")
        missing = [name for name in names if name not in inputs]
        if missing:
            raise ValueError(f"the input {missing[0]!r} is missing")
        outputs = self._session.run([inputs[name] for name in names])
        return dict(zip(self.output_names, outputs, strict=True))


def load(model, device="cpu"):
    """A Session from ONNX: a path, bytes, or an onnx.ModelProto."""
    if device not in ("cpu", "auto"):
        raise ValueError(f"device {device!r} is not supported, expected 'cpu' or 'auto'")
    if isinstance(model, (str, os.PathLike)):
        with open(model, "rb") as file:
            return Session(_Session(file.read(), os.fspath(model)))
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return Session(_Session(content))
