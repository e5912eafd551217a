# SPDX-License-Identifier: Apache-2.0
"""Runs all of ONNX's own backend cases on redline.backend; see cases.py."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import cases  # noqa: E402
import precision  # noqa: E402
import retyped  # noqa: E402

backend = pytest.importorskip("redline.backend", reason="the redline module is not built")
CASES = cases.collect(backend)
SKIPS = cases.skips()
KNOWN_FAILURES = set(cases.known_failures())


@pytest.mark.parametrize("name", CASES)
def test_case(name, record_property):
    if name in SKIPS:
        pytest.skip(SKIPS[name])
    if name not in KNOWN_FAILURES:
        before = precision.ops_lowered
        CASES[name].run()
        if precision.ops_lowered > before:
            record_property("lowered", True)
        return
    reason = failure(CASES[name].run)
    if reason is None:
        pytest.fail("passes now: take it off known_failures.txt")
    pytest.xfail(reason)


if precision.PRECISION != "fp32":

    @pytest.mark.parametrize("name", [n for n in CASES if CASES[n].group.startswith("node")])
    def test_retyped(name):
        if name in SKIPS:
            pytest.skip(SKIPS[name])
        if CASES[name].run_retyped is None:
            pytest.skip("not retyped: a random draw")
        try:
            CASES[name].run_retyped()
        except retyped.NotDerived as reason:
            pytest.skip(f"not retyped: {reason}")


def failure(run):
    """The first line of what went wrong, or None. Without the traceback, which is slow to print."""
    try:
        run()
    except Exception as error:
        return str(error).strip().split("\n")[0]
    return None


def test_the_set_is_complete():
    """The numbers of the onnx wheel that is pinned; none is lost by the way they are gathered."""
    groups = [case.group for case in CASES.values()]
    assert {group: groups.count(group) for group in groups} == {
        "node: tensor": 1796,
        "node: sequence, optional, string": 51,
        "node: ml and preview": 37,
        "simple": 23,
        "pytorch-operator": 35,
        "pytorch-converted": 82,
        "light": 9,
        "com.microsoft": 57,
    }


def test_the_lists_name_cases_that_exist_once():
    assert set(SKIPS) <= set(CASES)
    assert KNOWN_FAILURES <= set(CASES)
    assert not KNOWN_FAILURES & set(SKIPS)
    assert cases.known_failures() == sorted(KNOWN_FAILURES)


def test_only_formats_and_foreign_domains_are_skipped():
    for name in SKIPS.keys() - precision.SKIPS.keys():
        assert CASES[name].group == "node: ml and preview" or "ImageDecoder" in CASES[name].ops
