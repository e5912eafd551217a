# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider, where the installed package has it: the network exported in fp16, operands bound on the GPU, as a
CUDA graph of its own. Each run is a call from Python, which is longer than the GPU takes for the smallest networks."""

import time

import onnxruntime
import torch

from . import torch_graph

PROVIDER = "CUDAExecutionProvider"
ERRORS_ONLY = 3
ELEMENTS = {"tensor(float16)": "float16", "tensor(float)": "float32", "tensor(int64)": "int64"}

if PROVIDER not in onnxruntime.get_available_providers():
    raise ImportError(f"the installed onnxruntime has no {PROVIDER}")
VERSION = f"onnxruntime {onnxruntime.__version__}"


def session_of(path, stream):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    provider = {"enable_cuda_graph": "1", "cudnn_conv_algo_search": "EXHAUSTIVE", "user_compute_stream": str(stream.cuda_stream)}
    session = onnxruntime.InferenceSession(path, options, providers=[(PROVIDER, provider)])
    if PROVIDER not in session.get_providers():
        raise RuntimeError(f"{PROVIDER} is installed and cannot be loaded")
    return session


def prepare(network):
    x = network.inputs.cuda().contiguous()
    x = x.half() if x.is_floating_point() else x
    path, stream, start = network.export(half=True), torch.cuda.Stream(), time.perf_counter()
    session = session_of(str(path), stream)
    made = session.get_outputs()[0]
    y = torch.empty(made.shape, dtype=getattr(torch, ELEMENTS[made.type]), device="cuda")
    binding = session.io_binding()
    taken = session.get_inputs()[0]
    binding.bind_input(taken.name, "cuda", 0, ELEMENTS[taken.type], tuple(x.shape), x.data_ptr())
    binding.bind_output(made.name, "cuda", 0, ELEMENTS[made.type], tuple(y.shape), y.data_ptr())
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(kept=x):  # as long as there are runs
        session.run_with_iobinding(binding, options)

    torch.cuda.synchronize()
    for _ in range(torch_graph.WARM_UPS):
        run()
    torch.cuda.synchronize()
    return torch_graph.Prepared(run, lambda: y.float().cpu().numpy(), stream, time.perf_counter() - start)
