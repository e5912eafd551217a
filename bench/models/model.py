# SPDX-License-Identifier: Apache-2.0
"""What the tests and benchmarks know of a real model."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

Feed = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with inputs to run it on; everything is made again, equal, on each call.

    `cases` are labelled inputs of real sizes, all for one engine; `timed` names those that the
    benchmarks time. `decide` reduces the outputs to what a user acts on (a class, a text, a number
    of boxes), which must not depend on the runtime.
    """

    name: str
    load: Callable[[], bytes]
    cases: Mapping[str, Callable[[], Feed]]
    timed: tuple[str, ...]
    decide: Callable[[Feed], object]


def packaged_file(module, *parts):
    """A data file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise FileNotFoundError(f"the Python package {module} is not installed")
    path = pathlib.Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise FileNotFoundError(f"the installed package {module} has no file {'/'.join(parts)}")
    return path


def top_class(outputs):
    """The best class of each row of a classifier's only output."""
    (scores,) = outputs.values()
    return scores.reshape(scores.shape[0], -1).argmax(axis=1).tolist()
