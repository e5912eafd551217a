# SPDX-License-Identifier: Apache-2.0
"""The ONNX Backend API on Redline.

    import redline.backend
    outputs = redline.backend.run_model(model, [x])         # or prepare(model).run([x]), many times

It is what ONNX's own test runner drives: onnx.backend.test.BackendTest(redline.backend).
"""

import numpy as np
import onnx
import onnx.backend.base

import redline


class RedlineBackendRep(onnx.backend.base.BackendRep):
    """A model ready to run."""

    def __init__(self, model, device, **options):
        weights = {i.name for i in model.graph.initializer}
        weights |= {i.values.name for i in model.graph.sparse_initializer}
        self._inputs = [i.name for i in model.graph.input if i.name not in weights]
        self._outputs = [o.name for o in model.graph.output]
        # ONNX's models test ops that no GPU runs, on strings and sequences too.
        self._session = redline.load(model, device=device, fallback="allow", **options)

    def run(self, inputs, **kwargs):
        """Runs on a list in the order of the graph's inputs, or on a dictionary by name.

        Tensors are arrays (of objects for strings), sequences are lists, absent optionals are None.
        Returns a tuple in the order of the graph's outputs.
        """
        if not isinstance(inputs, dict):
            if len(inputs) > len(self._inputs):
                raise ValueError(f"{len(inputs)} inputs given, the model takes {len(self._inputs)}")
            inputs = dict(zip(self._inputs, inputs, strict=False))
        outputs = self._session.run({name: _plain(value) for name, value in inputs.items()})
        return tuple(outputs[name] for name in self._outputs)


class RedlineBackend(onnx.backend.base.Backend):
    @classmethod
    def supports_device(cls, device):
        wanted = onnx.backend.base.Device(device)
        if wanted.type == onnx.backend.base.DeviceType.CPU:
            return True
        here = [name.split(" ")[0] for name in redline.devices()]
        return f"cuda:{wanted.device_id}" in here

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """`precision`, of all keyword arguments, is that of redline.build()."""
        if not cls.supports_device(device):
            raise ValueError(f"device {device} is not here; there are: {redline.devices()}")
        options = {key: kwargs[key] for key in ("precision",) if key in kwargs}
        return RedlineBackendRep(model, device.lower(), **options)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """Runs one node of the newest opset, or of `opset_version`."""
        present = [name for name in node.input if name]
        types = [onnx.helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype) for x in inputs]
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [
                onnx.helper.make_tensor_value_info(name, dtype, np.shape(x))
                for name, dtype, x in zip(present, types, inputs, strict=True)
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(node.domain, opset)]
        )
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return cls.run_model(model, inputs, device, **kwargs)


def _plain(value):
    """Lists stay lists; NumPy's scalars become arrays."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return np.asarray(value) if isinstance(value, np.generic) else value


is_compatible = RedlineBackend.is_compatible
prepare = RedlineBackend.prepare
run_model = RedlineBackend.run_model
run_node = RedlineBackend.run_node
supports_device = RedlineBackend.supports_device
