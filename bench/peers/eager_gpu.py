# SPDX-License-Identifier: Apache-2.0
"""PyTorch, op by op."""

import torch

from . import torch_graph

VERSION = f"torch {torch.__version__}"


def prepare(network):
    return torch_graph.capture(*torch_graph.on_gpu(network.module, network.inputs))
