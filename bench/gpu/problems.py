# SPDX-License-Identifier: Apache-2.0
"""The products and convolutions of an engine as problems that others can be given too: read from what `redline inspect`
says of its steps, as a graph of that step alone, and as a reference in NumPy for some rows of the result."""

import collections
import dataclasses
import math
import re

import numpy as np

PRODUCTS = {"matmul", "gemm", "conv", "conv_transpose"}
OTHERS_WITH_PRODUCTS = {"attention", "lstm", "gru", "rnn", "deform_conv", "einsum"}
ACTIVATIONS = {"relu", "tanh", "sigmoid", "swish", "gelu"}
NODE = re.compile(r"([\d, ]+) = (\w+)\(([-\d, ]*)\)(?: \{(.*)\})?$")
ATTRIBUTE = re.compile(r'(\w+)=(\[[^\]]*\]|tensor \w+\[[^\]]*\] hex"[0-9a-f]*"|[^,{}]+)')
TYPE = re.compile(r"(\w+)\[([\d,]*)\]$")
NUMPY = {"f16": np.float16, "f32": np.float32}


class LeftOut(Exception):
    """Why a step is no problem for others."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A product of x (..., k) and constant w (k, n), or a convolution of x (n, h, w, c) and constant w (out, c / group, h, w).

    The epilogue is what follows, in order: ("bias",), ("residual",), ("relu",), ("clip", least, most) and so on.
    """

    kind: str
    dtype: str
    out_dtype: str
    x: tuple
    w: tuple
    y: tuple
    strides: tuple = (1, 1)
    pads: tuple = (0, 0, 0, 0)
    dilations: tuple = (1, 1)
    group: int = 1
    epilogue: tuple = ()

    @property
    def flops(self):
        return 2 * math.prod(self.y) * self.depth

    @property
    def depth(self):
        return self.w[0] if self.kind == "product" else math.prod(self.w[1:])

    @property
    def bytes(self):
        """Each operand once."""
        residuals = sum(op == "residual" for op, *_ in self.epilogue) * math.prod(self.y)
        biases = sum(op == "bias" for op, *_ in self.epilogue) * self.y[-1]
        small = np.dtype(NUMPY[self.dtype]).itemsize * (math.prod(self.x) + math.prod(self.w) + residuals + biases)
        return small + np.dtype(NUMPY[self.out_dtype]).itemsize * math.prod(self.y)

    def __str__(self):
        if self.kind == "product":
            text = f"{math.prod(self.x[:-1])}x{self.w[1]}x{self.w[0]}"
        else:
            n, height, width, c = self.x
            text = f"{self.w[2]}x{self.w[3]} {c}>{self.w[0]}, {n}x{height}x{width}"
            for name, value, usual in (("/", max(self.strides), 1), (" group ", self.group, 1), (" dilated ", max(self.dilations), 1)):
                text += f"{name}{value}" if value != usual else ""
        return " + ".join([text, *[" ".join(map(str, op)) for op in self.epilogue]])


def attributes_of(text):
    found = {}
    for name, value in ATTRIBUTE.findall(text or ""):
        value = value.strip()
        if value.startswith("["):
            found[name] = tuple(int(n) for n in value[1:-1].split(",") if n.strip())
        else:
            found[name] = int(value) if re.fullmatch(r"-?\d+", value) else value
    return found


def type_of(operand):
    """(dtype, sizes) of "f16[1,2]"."""
    match = TYPE.match(operand["type"]) if operand else None
    if not match:
        raise LeftOut("sizes that change from run to run")
    return match[1], tuple(int(n) for n in match[2].split(",") if n)


@dataclasses.dataclass
class Node:
    outputs: list
    op: str
    inputs: list
    attributes: dict


def nodes_of(step):
    """The step's ops and what it returns, as numbers of values; the step's inputs are the first."""
    text = step["attributes"]
    count = len(step["inputs"])
    if step["op"] != "fused":
        outputs = list(range(count, count + len(step["outputs"])))
        return [Node(outputs, step["op"], list(range(count)), attributes_of(text))], outputs
    body = re.fullmatch(r"\{body=\{(\d+) in; (.*)\}\}", text)
    if not body:
        raise LeftOut(f"a body in other words: {text[:80]}")
    nodes, returned = [], []
    for line in body[2].split("; "):
        if line.startswith("return "):
            returned = [int(n) for n in line.removeprefix("return ").split(",")]
            continue
        match = NODE.match(line)
        if not match:
            raise LeftOut(f"an op in other words: {line[:80]}")
        numbers = [[int(n) for n in part.split(",") if n.strip()] for part in (match[1], match[3])]
        nodes.append(Node(numbers[0], match[2], numbers[1], attributes_of(match[4])))
    return nodes, returned


def scalar_of(node):
    match = re.fullmatch(r'tensor (\w+)\[\] hex"([0-9a-f]*)"', str(node.attributes.get("value", "")))
    if not match or match[1] not in NUMPY:
        raise LeftOut("a limit that is no number")
    return float(np.frombuffer(bytes.fromhex(match[2]), NUMPY[match[1]])[0])


def epilogue_op(node, value, step, constants, sizes):
    """What `node` does to the result so far, which has `sizes`."""
    others = [i for i in node.inputs if i != value]
    if node.op == "add" and len(others) == 1 and others[0] < len(step["inputs"]):
        dtype, dims = type_of(step["inputs"][others[0]])
        if dtype != "f16":
            raise LeftOut(f"adds {dtype}")
        if math.prod(dims) == dims[-1] == sizes[-1]:
            return ("bias",)
        if dims == sizes:
            return ("residual",)
        raise LeftOut(f"adds {list(dims)} to {list(sizes)}")
    if node.op == "clip" and len(others) == 2 and all(i in constants for i in others):
        return ("clip", *(scalar_of(constants[i]) for i in others))
    if node.op in ACTIVATIONS and not others:
        approximate = node.attributes.get("approximate", "none")
        if node.op == "gelu" and "tanh" in str(approximate):
            return ("gelu_tanh",)
        if node.op == "swish" and float(node.attributes.get("alpha", 1)) != 1:
            raise LeftOut("swish with a factor")
        return (node.op,)
    raise LeftOut(f"{node.op} behind it")


def anchor_of(node, step):
    """The problem without epilogue but a convolution's own bias."""
    if len(node.inputs) < 2 or any(not 0 <= i < len(step["inputs"]) for i in node.inputs):
        raise LeftOut("ops in front of it")
    (dtype, x), (w_dtype, w) = (type_of(step["inputs"][i]) for i in node.inputs[:2])
    if (dtype, w_dtype) != ("f16", "f16"):
        raise LeftOut(f"{dtype} times {w_dtype}")
    if not step["inputs"][node.inputs[1]]["constant"]:
        raise LeftOut("both operands change from run to run")
    out_dtype, y = type_of(step["outputs"][0])
    if out_dtype not in NUMPY:
        raise LeftOut(f"results of {out_dtype}")
    if node.op == "matmul" and len(w) == 2 and len(x) > 1:
        return Problem("product", dtype, out_dtype, x, w, y)
    if node.op != "conv":
        raise LeftOut(f"{node.op} of {len(x)} and {len(w)} axes")
    if len(x) != 4 or not node.attributes.get("channels_last"):
        raise LeftOut("a convolution that is not of images in NHWC")
    take = node.attributes.get
    return Problem("convolution", dtype, out_dtype, x, w, y, take("strides", (1, 1)), take("pads", (0, 0, 0, 0)),
                   take("dilations", (1, 1)), take("group", 1), (("bias",),) if len(node.inputs) > 2 else ())


def read(step):
    """The step's problem; None for one without a product. LeftOut: it has one, but not one of these."""
    if step["op"] in OTHERS_WITH_PRODUCTS:
        raise LeftOut("no single product")
    if step["op"] not in PRODUCTS and step["op"] != "fused":
        return None
    if step["op"] == "fused" and not re.search(rf"= ({'|'.join(PRODUCTS | OTHERS_WITH_PRODUCTS)})\(", step["attributes"]):
        return None
    nodes, returned = nodes_of(step)
    constants = {node.outputs[0]: node for node in nodes if node.op == "constant"}
    nodes = [node for node in nodes if node.op != "constant"]
    if nodes[0].op not in PRODUCTS:
        raise LeftOut(f"{nodes[0].op} in front of it")
    if len(step["outputs"]) != 1 or len(returned) != 1:
        raise LeftOut("several results")
    problem = anchor_of(nodes[0], step)
    epilogue, value = list(problem.epilogue), nodes[0].outputs[0]
    for node in nodes[1:]:
        if node.inputs.count(value) != 1:
            raise LeftOut(f"{node.op} beside it")
        if node.op != "cast" or node is not nodes[-1]:
            epilogue.append(epilogue_op(node, value, step, constants, problem.y))
        value = node.outputs[0]
    if value != returned[0]:
        raise LeftOut("a result from the middle")
    # Sums in any order are the same.
    for i in range(len(epilogue) - 1):
        if [op for op, *_ in epilogue[i:i + 2]] == ["residual", "bias"]:
            epilogue[i:i + 2] = reversed(epilogue[i:i + 2])
    names = [op for op, *_ in epilogue]
    if names.count("bias") > 1 or names.count("residual") > 1:
        raise LeftOut("several operands added")
    return dataclasses.replace(problem, epilogue=tuple(epilogue))


def count(inspected):
    """({problem: how often}, {"op: why": how often it is left out}) of an engine, as `redline inspect --json` has it."""
    problems, left_out = collections.Counter(), collections.Counter()
    for step in inspected["steps"]:
        try:
            problem = read(step)
            if problem:
                problems[problem] += 1
        except LeftOut as reason:
            op = step["op"] if step["op"] != "fused" else "region"
            left_out[f"{op}: {reason}"] += 1
    return problems, left_out


def operands_of(problem, seed=0):
    """Random x, w, bias and residual, as many as there are, for results of about 1."""
    random = np.random.default_rng(seed)
    block = random.standard_normal((1 << 20) + 7, np.float32)

    def values(shape, scale, start):
        return (np.resize(np.roll(block, start), shape) * np.float32(scale)).astype(NUMPY[problem.dtype])

    found = {"x": values(problem.x, 1, 0), "w": values(problem.w, problem.depth**-0.5, 1001)}
    for op, *_ in problem.epilogue:
        if op in ("bias", "residual"):
            found[op] = values(problem.y[-1:] if op == "bias" else problem.y, 0.5, 2003)
    return found


def graph_of(problem, operands):
    """A GraphBuilder that holds the problem's step and nothing else."""
    import redline

    builder = redline.GraphBuilder()
    inputs = [builder.input("x", operands["x"].dtype, problem.x), builder.constant(operands["w"])]
    epilogue = list(problem.epilogue)
    if problem.kind == "product":
        value = builder.op("matmul", inputs)
    else:
        if epilogue and epilogue[0] == ("bias",):
            inputs.append(builder.constant(operands["bias"]))
            epilogue.pop(0)
        value = builder.op("conv", inputs, strides=list(problem.strides), pads=list(problem.pads), dilations=list(problem.dilations),
                           group=problem.group, channels_last=1)
    for op, *limits in epilogue:
        if op == "bias":
            value = builder.op("add", [value, builder.constant(operands[op])])
        elif op == "residual":
            value = builder.op("add", [value, builder.input(op, operands[op].dtype, problem.y)])
        elif op == "clip":
            value = builder.op("clip", [value, *(builder.constant(np.array(limit, operands["x"].dtype)) for limit in limits)])
        elif op == "gelu_tanh":
            value = builder.op("gelu", [value], approximate="tanh")
        else:
            value = builder.op(op, [value])
    if problem.out_dtype != problem.dtype:
        value = builder.op("cast", [value])  # to f32
    builder.output(value, "y")
    return builder



def rows_of(problem, most=256):
    """Some rows of the result, as numbers in its flat order; the first and the last are among them."""
    rows = math.prod(problem.y[:-1])
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def patches(problem, x, rows):
    """The window under each row, (rows, c, h, w), zero where it lies outside."""
    _, out_h, out_w, _ = problem.y
    _, height, width, _ = problem.x
    n, oy, ox = rows // (out_h * out_w), rows // out_w % out_h, rows % out_w
    ky, kx = np.arange(problem.w[2]), np.arange(problem.w[3])
    iy = oy[:, None] * problem.strides[0] - problem.pads[0] + ky * problem.dilations[0]
    ix = ox[:, None] * problem.strides[1] - problem.pads[1] + kx * problem.dilations[1]
    inside = ((iy >= 0) & (iy < height))[:, :, None] & ((ix >= 0) & (ix < width))[:, None, :]
    found = x[n[:, None, None], iy.clip(0, height - 1)[:, :, None], ix.clip(0, width - 1)[:, None, :]]
    return (found * inside[..., None]).transpose(0, 3, 1, 2)


def activate(op, limits, v):
    if op == "relu":
        return np.maximum(v, 0)
    if op == "clip":
        return np.clip(v, *limits)
    if op == "tanh":
        return np.tanh(v)
    if op == "gelu_tanh":
        return v / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    if op == "gelu":
        return v / 2 * (1 + np.vectorize(math.erf)(v / math.sqrt(2)))
    sigmoid = 1 / (1 + np.exp(-v))
    return {"sigmoid": sigmoid, "swish": v * sigmoid}[op]


def reference(problem, operands, rows, ops=None):
    """Those rows of the result in double precision, with all of the epilogue or its first `ops` ops."""
    w = operands["w"].astype(np.float64)
    if problem.kind == "product":
        value = operands["x"].reshape(-1, problem.x[-1])[rows].astype(np.float64) @ w
    else:
        windows = patches(problem, operands["x"], rows).astype(np.float64).reshape(len(rows), problem.group, -1)
        value = np.concatenate([windows[:, g] @ part.reshape(len(part), -1).T
                                for g, part in enumerate(np.split(w, problem.group))], axis=1)
    for op, *limits in problem.epilogue[:ops]:
        if op == "bias":
            value = value + operands[op].astype(np.float64)
        elif op == "residual":
            value = value + operands[op].reshape(-1, problem.y[-1])[rows].astype(np.float64)
        else:
            value = activate(op, limits, value)
    return value
