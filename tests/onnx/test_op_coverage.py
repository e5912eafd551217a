# SPDX-License-Identifier: Apache-2.0
"""Every op of ONNX's default domain has an import rule, but those listed here."""

import pytest

pytest.importorskip("redline", reason="the redline module is not built")

import op_coverage  # noqa: E402

WITHOUT_RULE = {"ImageDecoder"}  # needs a decoder for each picture format


def test_every_op_has_a_rule_but_the_known_ones():
    names = op_coverage.ops_since(7)
    assert {"Conv", "Upsample", "Scatter", "Attention"} <= names
    assert op_coverage.unknown_ops(names) == WITHOUT_RULE


def test_an_op_that_is_not_there_is_found():
    assert op_coverage.unknown_ops({"Relu", "Rel"}) == {"Rel"}
