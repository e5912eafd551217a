# SPDX-License-Identifier: Apache-2.0
"""The networks of ./dev gpu-bench as PyTorch modules with seeded random weights, and their inputs.

Random weights keep the signal's size only if they are scaled for it: torchvision's and transformers' own
initialisers do that; batch-norm statistics are made to fit by one pass in training mode. What initialisers leave at
zero or one (biases, the scales of norms) is varied: a build folds away a sum with zeros, which trained networks lack.
"""

import torch
import torchvision
from torch import nn


class ConvBlock(nn.Sequential):
    def __init__(self, channels, out, kernel=3, stride=1):
        super().__init__(nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class C2f(nn.Module):
    """The split, bottlenecks and concat of YOLOv8."""

    def __init__(self, channels, out, depth):
        super().__init__()
        self.half = out // 2
        self.first = ConvBlock(channels, out, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvBlock(self.half, self.half), ConvBlock(self.half, self.half)) for _ in range(depth))
        self.last = ConvBlock((2 + depth) * self.half, out, 1)

    def forward(self, x):
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Detector(nn.Module):
    """Shaped like YOLOv8n: backbone, pyramid, and heads of boxes and classes at three scales."""

    def __init__(self, classes=80, width=16):
        super().__init__()
        w = [width * 2**i for i in range(5)]
        self.stem = nn.Sequential(ConvBlock(3, w[0], 3, 2), ConvBlock(w[0], w[1], 3, 2), C2f(w[1], w[1], 1))
        self.c3 = nn.Sequential(ConvBlock(w[1], w[2], 3, 2), C2f(w[2], w[2], 2))
        self.c4 = nn.Sequential(ConvBlock(w[2], w[3], 3, 2), C2f(w[3], w[3], 2))
        self.c5 = nn.Sequential(ConvBlock(w[3], w[4], 3, 2), C2f(w[4], w[4], 1))
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.sppf = ConvBlock(4 * w[4], w[4], 1)
        self.up = nn.Upsample(scale_factor=2)
        self.p4 = C2f(w[4] + w[3], w[3], 1)
        self.p3 = C2f(w[3] + w[2], w[2], 1)
        self.down3 = ConvBlock(w[2], w[2], 3, 2)
        self.n4 = C2f(w[2] + w[3], w[3], 1)
        self.down4 = ConvBlock(w[3], w[3], 3, 2)
        self.n5 = C2f(w[3] + w[4], w[4], 1)
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Sequential(ConvBlock(c, w[2]), ConvBlock(w[2], w[2]), nn.Conv2d(w[2], out, 1)) for out in (64, classes))
            for c in (w[2], w[3], w[4]))

    def forward(self, x):
        c3 = self.c3(self.stem(x))
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        pools = [c5]
        for _ in range(3):
            pools.append(self.pool(pools[-1]))
        c5 = self.sppf(torch.cat(pools, 1))
        p4 = self.p4(torch.cat([self.up(c5), c4], 1))
        p3 = self.p3(torch.cat([self.up(p4), c3], 1))
        n4 = self.n4(torch.cat([self.down3(p3), p4], 1))
        n5 = self.n5(torch.cat([self.down4(n4), c5], 1))
        boxes, scores = [], []
        for heads, x in zip(self.heads, (p3, n4, n5)):
            box, score = heads[0](x), heads[1](x)
            distances = box.flatten(2).unflatten(1, (4, 16)).softmax(2)
            bins = torch.arange(16, device=x.device, dtype=x.dtype).view(1, 1, 16, 1)
            boxes.append((distances * bins).sum(2))
            scores.append(score.flatten(2).sigmoid())
        return torch.cat([torch.cat(boxes, 2), torch.cat(scores, 2)], 1)


class UNet(nn.Module):
    def __init__(self, width=32, levels=4, classes=2):
        super().__init__()

        def double(channels, out):
            return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
                                 nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())

        widths = [width * 2**i for i in range(levels + 1)]
        self.down = nn.ModuleList([double(3, widths[0])] + [double(a, b) for a, b in zip(widths, widths[1:])])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(list(zip(widths, widths[1:]))))
        self.merge = nn.ModuleList(double(2 * a, a) for a in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return self.last(x)


class Recurrent(nn.Module):
    def __init__(self, size=512, layers=2):
        super().__init__()
        self.lstm = nn.LSTM(size, size, layers, batch_first=True)
        self.last = nn.Linear(size, 256)

    def forward(self, x):
        return self.last(self.lstm(x)[0])


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        from transformers import BertConfig, BertModel
        self.bert = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False)

    def forward(self, ids):
        return self.bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def images(batch, size):
    return lambda: torch.rand(batch, 3, size, size) * 2 - 1


def make(name):
    """(module, inputs maker) of "resnet50_b1" and so on; the module is in eval mode, f32."""
    network, batch = name.rsplit("_b", 1)
    batch = int(batch)
    torch.manual_seed(7)
    vision = {"resnet50": "resnet50", "mobilenetv2": "mobilenet_v2", "efficientnet_b0": "efficientnet_b0", "vit_b16": "vit_b_16"}
    if network in vision:
        module, inputs = getattr(torchvision.models, vision[network])(weights=None), images(batch, 224)
    elif network == "bert_s128":
        module, inputs = Bert(), lambda: torch.randint(0, 30522, (batch, 128))
    elif network == "detector":
        module, inputs = Detector(), images(batch, 640)
    elif network == "unet":
        module, inputs = UNet(), images(batch, 256)
    elif network == "lstm":
        module, inputs = Recurrent(), lambda: torch.rand(batch, 64, 512) * 2 - 1
    else:
        raise SystemExit(f"gpu-bench: no network '{name}'")
    vary(module)
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    if norms:
        fit_norms(module, norms)
    if network == "vit_b16":  # its classifier begins at zero
        nn.init.normal_(module.heads.head.weight, std=0.05)
    return module.eval(), inputs


@torch.no_grad()
def vary(module):
    """Vectors of equal elements become vectors of unequal ones about as large."""
    for parameter in module.parameters():
        if parameter.dim() == 1 and parameter.min() == parameter.max():
            parameter.add_(0.02 * torch.randn_like(parameter))


@torch.no_grad()
def fit_norms(module, norms):
    """Statistics of random images, so that activations keep their size through the network."""
    for norm in norms:
        norm.momentum = None
    module.train()
    module.cuda()
    size = 64 if isinstance(module, (Detector, UNet)) else 128
    for _ in range(2):
        module((torch.rand(16, 3, size, size) * 2 - 1).cuda())
    module.cpu()


NAMES = [f"{network}_b{batch}" for batch in (1, 64)
         for network in ("resnet50", "mobilenetv2", "efficientnet_b0", "vit_b16", "bert_s128", "unet", "lstm", "detector")
         if not (batch == 64 and network in ("unet", "detector"))]
