# SPDX-License-Identifier: Apache-2.0
"""ONNX's node cases with a 16-bit float in the place of f32, where ONNX's schemas let it.

Inputs, initializers, constants and the attributes that name a type are retyped; what a schema takes
in f32 only, as the scales of Resize, stays. The types of results are those that ONNX infers then.
"""

import dataclasses

import numpy as np
import onnx
import precision
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

F32 = TensorProto.FLOAT
# Each with its name in schemas.
HALVES = {
    "fp16": (TensorProto.FLOAT16, "tensor(float16)"),
    "bf16": (TensorProto.BFLOAT16, "tensor(bfloat16)"),
}
HALF_DTYPES = [helper.tensor_dtype_to_np_dtype(half) for half, _ in HALVES.values()]
# Attributes that name the type of a result; others name one to compute in.
RESULT_TYPES = {"to", "dtype", "output_dtype", "output_datatype"}


class NotDerived(Exception):
    """Why a case has no form in 16 bits."""


@dataclasses.dataclass(frozen=True)
class Retype:
    half: int  # what values are rounded to
    name: str  # of it in schemas
    stored: int  # what they are then: half, or f32 for what the same values make in f32
    opsets: dict
    kept: set  # names of values that stay f32


def check(backend, case):
    """Runs the case in 16 bits; NotDerived where it has no such form."""
    model = derive(case.model)
    for inputs, expected in case.data_sets:
        feed = [in_type(x, i.type) for x, i in zip(inputs, model.graph.input, strict=False)]
        actual = backend.run_model(model, feed)
        for got, output in zip(actual, model.graph.output, strict=True):
            assert_type(got, output.type)
        try:
            compare(expected, actual, case)
        except AssertionError:
            # Rounded inputs may make something else: another order, another integer.
            compare(results_in_f32(case.model, inputs, model), actual, case)


def derive(model):
    """The model in the type of PRECISION for f32."""
    if not mentions(model, F32):
        raise NotDerived("no f32 in it")
    half, name = HALVES[precision.PRECISION]
    result = retyped(model, half, name, half)
    if not mentions(result, half):
        raise NotDerived("the schema: all that is f32 can be f32 only")
    result.graph.ClearField("value_info")
    for output in result.graph.output:
        output.ClearField("type")
    try:
        result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise NotDerived(f"the schema: {str(error).strip().splitlines()[-1]}") from None
    if not all(output.type.WhichOneof("value") for output in result.graph.output):
        raise NotDerived("the type of a result is not inferred")
    return result


def mentions(model, dtype):
    return any(f"{field}_type: {dtype}\n" in str(model) for field in ("elem", "data"))


def retyped(model, half, name, stored):
    result = onnx.ModelProto()
    result.CopyFrom(model)
    opsets = {"ai.onnx" if not o.domain else o.domain: o.version for o in model.opset_import}
    retype = Retype(half, name, stored, opsets, set())
    keep(onnx.shape_inference.infer_shapes(model).graph, retype, set())
    retype_graph(result.graph, retype)
    for function in result.functions:
        for node in function.node:
            retype_node(node, retype)
    return result


def keep(graph, retype, f32):
    """Finds the operands that a schema takes in f32, but not in 16 bits; `f32` names outer values."""
    typed = [*graph.input, *graph.value_info, *graph.output]
    f32 = f32 | {value.name for value in typed if mentions(value.type, F32)}
    f32 |= {tensor.name for tensor in graph.initializer if tensor.data_type == F32}
    made = {name for node in graph.node if node.op_type != "Constant" for name in node.output}
    for node in graph.node:
        operands = schema_of(node, retype).inputs
        for i, name in enumerate(node.input):
            types = operands[min(i, len(operands) - 1)].types
            if name not in f32 or not types or any(retype.name in t for t in types):
                continue
            if name in made:
                raise NotDerived(f"the schema: {node.op_type} takes no {retype.name}")
            retype.kept.add(name)
        for attribute in node.attribute:
            for subgraph in [attribute.g, *attribute.graphs]:
                keep(subgraph, retype, f32)


def schema_of(node, retype):
    domain = node.domain or "ai.onnx"
    try:
        return onnx.defs.get_schema(node.op_type, retype.opsets.get(domain, 1), node.domain)
    except onnx.defs.SchemaError:
        raise NotDerived(f"no schema of {node.op_type}") from None


def retype_graph(graph, retype):
    for value in [*graph.input, *graph.value_info, *graph.output]:
        if value.name not in retype.kept:
            retype_type(value.type, retype)
    for tensor in graph.initializer:
        if tensor.name not in retype.kept:
            retype_tensor(tensor, retype)
    if any(t.values.data_type == F32 for t in graph.sparse_initializer):
        raise NotDerived("sparse values")
    for node in graph.node:
        retype_node(node, retype)


def retype_type(type_proto, retype):
    kind = type_proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(type_proto, kind)
        tensor.elem_type = retype.stored if tensor.elem_type == F32 else tensor.elem_type
    elif kind in ("sequence_type", "optional_type"):
        retype_type(getattr(type_proto, kind).elem_type, retype)
    elif kind == "map_type":
        retype_type(type_proto.map_type.value_type, retype)


def retype_tensor(tensor, retype):
    if tensor.data_type == F32:
        array = rounded(numpy_helper.to_array(tensor), retype.half)
        array = array.astype(helper.tensor_dtype_to_np_dtype(retype.stored))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def retype_node(node, retype):
    if node.op_type == "Constant" and node.output[0] in retype.kept:
        return
    for attribute in node.attribute:
        if attribute.name in RESULT_TYPES and attribute.i == F32:
            attribute.i = retype.stored
        if attribute.name in ("value_float", "value_floats"):
            values = np.float32(helper.get_attribute_value(attribute))
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
        retype_tensor(attribute.t, retype)
        retype_type(attribute.tp, retype)
        for subgraph in [attribute.g, *attribute.graphs]:
            retype_graph(subgraph, retype)
    named = {attribute.name for attribute in node.attribute}
    for name, attribute in schema_of(node, retype).attributes.items():
        if name in RESULT_TYPES - named and attribute.default_value.i == F32:
            node.attribute.append(helper.make_attribute(name, retype.stored))
    if node.op_type == "ConstantOfShape" and not named:
        zero = np.zeros(1, helper.tensor_dtype_to_np_dtype(retype.stored))
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(zero)))


def rounded(array, half):
    array = np.asarray(array)
    with np.errstate(over="ignore"):
        result = array.astype(helper.tensor_dtype_to_np_dtype(half))
    if np.any(np.isfinite(array) & ~np.isfinite(result.astype(np.float32))):
        raise NotDerived("a value that is too large")
    return result


def in_type(value, type_proto):
    """An input of the case in the type that the model takes."""
    kind = type_proto.WhichOneof("value")
    if kind == "optional_type":
        return in_type(value, type_proto.optional_type.elem_type)
    if isinstance(value, list):
        return [in_type(item, type_proto.sequence_type.elem_type) for item in value]
    if isinstance(value, TensorProto):
        value = numpy_helper.to_array(value)
    if value is None or np.asarray(value).dtype != np.float32:
        return value
    return rounded(value, type_proto.tensor_type.elem_type)


def results_in_f32(model, inputs, derived):
    """What ONNX's reference makes of the same rounded values in f32."""
    half, name = HALVES[precision.PRECISION]
    wide = retyped(model, half, name, F32)
    names = [i.name for i in model.graph.input]
    types = [i.type for i in derived.graph.input]
    feed = {n: widened(in_type(x, t)) for n, x, t in zip(names, inputs, types, strict=False)}
    return ReferenceEvaluator(wide).run(None, feed)


def widened(value):
    if isinstance(value, list):
        return [widened(item) for item in value]
    if value is None or np.asarray(value).dtype not in HALF_DTYPES:
        return value
    return np.asarray(value).astype(np.float32)


def assert_type(got, type_proto):
    kind = type_proto.WhichOneof("value")
    if kind == "optional_type":
        assert_type(got, type_proto.optional_type.elem_type)
    elif isinstance(got, list):
        for item in got:
            assert_type(item, type_proto.sequence_type.elem_type)
    elif got is not None:
        want = helper.tensor_dtype_to_np_dtype(type_proto.tensor_type.elem_type)
        assert got.dtype == want, f"expected {want}, got {got.dtype}"


def compare(expected, actual, case):
    assert len(expected) == len(actual)
    for want, got in zip(expected, actual, strict=True):
        if want is None or got is None:
            assert want is got
        elif isinstance(want, list):
            compare(want, got, case)
        else:
            compare_arrays(want, got, case)


def compare_arrays(want, got, case):
    want = numpy_helper.to_array(want) if isinstance(want, TensorProto) else np.asarray(want)
    assert want.shape == got.shape
    if want.dtype.kind in "OUSb":
        np.testing.assert_array_equal(want, got)
        return
    if want.dtype == np.float32 and got.dtype in HALF_DTYPES:
        rounded(want, HALVES[precision.PRECISION][0])
    least = precision.RETYPED_TOLERANCE
    relative, absolute = precision.tolerances(widened(want), case.rtol, case.atol, least)
    np.testing.assert_allclose(widened(got), widened(want), relative, absolute)
