# SPDX-License-Identifier: Apache-2.0
"""PyTorch through torch.compile, in its default mode."""

import torch

from . import torch_graph

VERSION = f"torch {torch.__version__}"


def prepare(network):
    module, x = torch_graph.on_gpu(network.module, network.inputs)
    return torch_graph.capture(torch.compile(module), x)
