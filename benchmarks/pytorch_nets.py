"""The same nets in PyTorch, written from the papers: independent evidence, and a rival to time.

ReLUs and additions work in place, as torchvision's do: it saves time and a fifth of the memory.

Modules are created in the order in which this project's nets own their parameters, so that weights
are copied by position.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import nn


class DenseLayer(nn.Module):
    """BN, ReLU, [1×1 conv, BN, ReLU,] 3×3 conv, concat."""

    def __init__(self, channels, growth_rate, bottleneck):
        super().__init__()
        layers, width = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)], channels
        if bottleneck:
            width = 4 * growth_rate
            layers.append(nn.Conv2d(channels, width, 1, bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(width, growth_rate, 3, padding=1, bias=False))
        self.new = nn.Sequential(*layers)

    def forward(self, x):
        return torch.cat([x, self.new(x)], 1)


class DenseNet(nn.Module):
    """DenseNet for 32×32 images; arguments as `models.densenet.densenet`."""

    def __init__(self, depth, growth_rate, bottleneck, compression, classes=10):
        super().__init__()
        plain = not bottleneck and compression == 1
        channels = 16 if plain else 2 * growth_rate
        features = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for block in range(3):
            if block:
                kept = int(channels * compression)
                features += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                features += [nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(2)]
                channels = kept
            for _ in range((depth - 4) // (6 if bottleneck else 3)):
                features.append(DenseLayer(channels, growth_rate, bottleneck))
                channels += growth_rate
        features += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*features)
        self.output = nn.Linear(channels, classes)

    def forward(self, x):
        return self.output(self.features(x).mean((2, 3)))


class BasicBlock(nn.Module):
    """conv, BN, ReLU, conv, BN; add the shortcut, ReLU."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride

    def forward(self, x):
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.norm2(self.conv2(branch))
        if self.stride > 1:
            x = functional.avg_pool2d(x, 2)
            x = torch.cat([x, torch.zeros_like(x)], 1)
        return functional.relu(branch.add_(x), inplace=True)


class ResNet(nn.Module):
    """Post-activation ResNet of depth 6n + 2 for 32×32 images, parameter-free shortcuts."""

    def __init__(self, depth, classes=10):
        super().__init__()
        features = [
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        ]
        width = 16
        for channels in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                features.append(BasicBlock(width, channels, channels // width))
                width = channels
        self.features = nn.Sequential(*features)
        self.output = nn.Linear(width, classes)

    def forward(self, x):
        return self.output(self.features(x).mean((2, 3)))


def prepare(family, options, layout, batch, inference, amp):
    """Return a step of training or inference of a net at PyTorch's best.

    `family` is ``resnet`` or ``densenet``; `layout` may hold ``channels_last`` or ``compiled``.
    """
    torch.manual_seed(0)
    form = torch.channels_last if "channels_last" in layout else torch.contiguous_format
    net = {"resnet": ResNet, "densenet": DenseNet}[family](**options).to(memory_format=form)
    images = torch.randn(batch, 3, 32, 32).to(memory_format=form)
    half = torch.autocast("cpu", torch.bfloat16, enabled=amp)

    def infer():
        with torch.inference_mode(), half:
            net(images)

    if inference:
        net.eval()
        with torch.inference_mode(), half:
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, images)))
        return infer
    optimizer = torch.optim.SGD(
        net.parameters(), 0.001, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    if "compiled" in layout:
        net = torch.compile(net)
    criterion, labels = nn.CrossEntropyLoss(), torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with half:
            loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()

    step()
    net.eval()
    infer()
    net.train()
    return step


def copy_weights(gluon_net, torch_net):
    """Copy parameters and running statistics from a Gluon net into its PyTorch twin, by position.

    Raises a ValueError if the two do not hold arrays of the same shapes in the same order.
    """
    source = [p.data().asnumpy() for p in gluon_net._collect_params_with_prefix().values()]
    target = [v for k, v in torch_net.state_dict().items() if "num_batches" not in k]
    if [a.shape for a in source] != [tuple(t.shape) for t in target]:
        raise ValueError("the two nets differ in their parameters' shapes or order")
    for array, tensor in zip(source, target):
        tensor.copy_(torch.from_numpy(array))
