"""A small net of each kind, and what a training step does to it."""

from __future__ import annotations

from typing import Any

from runtime import mx

import numpy as np
from mxnet import autograd, gluon

import compiler
from models import draw_gates, get_model, initialize

# One of each kind of block, as small as its kind can be.
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("densenet40_k12", {"depth": 10}),
    ("densenet40_k12", {"depth": 10, "compression": 0.5, "dropout": 0.2}),
    ("densenet_bc40_k16", {"depth": 16}),
    ("densenet_bc40_k16", {"depth": 16, "growth_rate": 5, "dropout": 0.2}),
    ("densenet_bc40_k16", {"depth": 16, "growth_rate": 8}),
    ("densenet_bc40_k16", {"depth": 16, "growth_rate": 12}),
    ("densenet_bc40_k16", {"depth": 16, "growth_rate": 36}),
    ("se_densenet_bc40_k16", {"depth": 16}),
    ("resnet20", {"depth": 8}),
    ("resnet11_pooled", {}),
    ("resnet20_sd", {"depth": 14}),
    ("resnet11_pooled_sd", {"depth": 17}),
    ("se_resnet20", {"depth": 8}),
    ("se_resnet11_pooled", {}),
    ("resnet164", {"depth": 11}),
    ("resnet164_sd", {"depth": 20}),
    ("se_resnet164_sd", {"depth": 20}),
    ("cifar_resnet20_v1", {}),
]


def images(n, seed=0):
    """Make n random images and labels."""
    pixels = np.random.RandomState(seed).randn(n, 3, 32, 32)
    return mx.nd.array(pixels), mx.nd.array(np.arange(n) % 10)


def build(name, hybrid=True, ctx=None, **options):
    """Return a net with the weights of seed 1."""
    net = get_model(name, **options)
    initialize(net, ctx or mx.cpu(), seed=1)
    if hybrid:
        compiler.hybridize(net)
    return net


def backward(net, n=4, step=0, gates=None, seed=0):
    """Do forward and backward on n images; return the logits and the gradients by name."""
    x, y = images(n, seed)
    mx.random.seed(step)
    if gates is None:
        draw_gates(net, seed=0, step=step)
    else:
        net.gates = np.array(gates, bool)
    with autograd.record():
        logits = net(x)
        loss = gluon.loss.SoftmaxCrossEntropyLoss()(logits, y).mean()
    loss.backward()
    mx.nd.waitall()
    parameters = net._collect_params_with_prefix().items()
    learnt = ((name, p) for name, p in parameters if p.grad_req != "null")
    return logits.asnumpy(), {name: p.grad().asnumpy() for name, p in learnt}
