# SPDX-License-Identifier: Apache-2.0
"""Einsum against numpy's, with sizes known and symbolic; products of two become matrix products."""

import numpy as np
import pytest
from onnx import TensorProto, helper

redline = pytest.importorskip("redline", reason="the redline module is not built")


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
        ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
        ("bhwc,wkc->bhwk", [(2, 3, 4, 5), (4, 6, 5)]),
        ("bqhd,bkhd->bhqk", [(2, 3, 4, 5), (2, 6, 4, 5)]),
        ("bhqk,bkhd->bqhd", [(2, 4, 3, 6), (2, 6, 4, 5)]),
        ("abcd,cdef->fbae", [(2, 3, 4, 5), (4, 5, 6, 7)]),
        ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]),
        ("i,j->ij", [(2,), (3,)]),
        ("i,i", [(3,), (3,)]),
        (",ij->ji", [(), (2, 3)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("ij,jk->i", [(2, 3), (3, 4)]),
        ("ii,ij->j", [(3, 3), (3, 2)]),
        ("ij,jk->ki", [(0, 3), (3, 4)]),
        ("ij,jk->ik", [(2, 0), (0, 4)]),
        ("abc,cd,def->afb", [(2, 3, 4), (4, 5), (5, 2, 3)]),
    ],
)
def test_einsum(equation, shapes, symbolic):
    rng = np.random.default_rng(0)
    inputs = {f"x{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}
    infos = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [f"size{n}" if symbolic else n for n in x.shape]
        )
        for name, x in inputs.items()
    ]
    node = helper.make_node("Einsum", list(inputs), ["y"], equation=equation)
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info("y")])
    session = redline.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    y = session.run(inputs)["y"]
    expected = np.einsum(equation, *inputs.values())
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
