# SPDX-License-Identifier: Apache-2.0
"""Real models by name, with inputs. Each other file of this folder adds some through MODELS."""

import importlib
import pkgutil

from .model import Feed, Model

__all__ = ["Feed", "Model", "get", "names"]


def _models():
    files = [f.name for f in pkgutil.iter_modules(__path__) if f.name != "model"]
    modules = [importlib.import_module(f"{__name__}.{file}") for file in sorted(files)]
    return {model.name: model for module in modules for model in module.MODELS}


def names():
    return list(_models())


def get(name):
    return _models()[name]
