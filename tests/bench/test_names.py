# SPDX-License-Identifier: Apache-2.0
"""The programs of bench/ take from each other only what is there: most of them cannot be imported without torch and a GPU."""

import ast
import pathlib

import pytest

FILES = sorted((pathlib.Path(__file__).resolve().parents[2] / "bench").rglob("*.py"))


def parsed(path):
    return ast.parse(path.read_text())


def top_names(tree):
    """What the file defines or imports outside of functions and classes."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        else:
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    return names


def missing_names(tree, defined):
    """What the file takes from modules of `defined`, {module: its names}, that is not there. "from a import b" counts too."""
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    taken = {(node.value.id, node.attr) for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported}
    taken |= {(node.module, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return sorted(f"{module}.{name}" for module, name in taken if module in defined and name not in defined[module])


DEFINED = {path.stem: top_names(parsed(path)) for path in FILES if path.stem != "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_takes_what_is_there(path):
    assert missing_names(parsed(path), DEFINED) == []


def test_tells_what_is_missing():
    tree = ast.parse("import a\nfrom b import c, d\n\ndef f(x):\n    return a.e(x), a.g.h, x.y\n")
    assert missing_names(tree, {"a": {"e"}, "b": {"c"}}) == ["a.g", "b.d"]
