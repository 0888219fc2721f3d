"""The nets against the same nets in PyTorch: logits and gradients of one training step."""

from __future__ import annotations

from runtime import gluoncv  # noqa: F401  before PyTorch, beside which it will not be imported

import numpy as np
import pytest
from small_nets import build, images

torch = pytest.importorskip("torch")
pytorch_nets = pytest.importorskip("benchmarks.pytorch_nets")

NETS = [
    ("densenet_bc40_k16", {"depth": 16}, lambda: pytorch_nets.DenseNet(16, 16, True, 0.5)),
    (
        "densenet_bc40_k16",
        {"depth": 22, "growth_rate": 12},
        lambda: pytorch_nets.DenseNet(22, 12, True, 0.5),
    ),
    ("densenet40_k12", {"depth": 16}, lambda: pytorch_nets.DenseNet(16, 12, False, 1.0)),
    ("resnet20", {}, lambda: pytorch_nets.ResNet(20)),
]


def agreement(name, options, twin, seed):
    """Return the relative distances of logits and of all gradients in one step on 4 images."""
    from mxnet import autograd, gluon

    net, other = build(name, **options), twin()
    with torch.no_grad():
        pytorch_nets.copy_weights(net, other)
    x, y = images(4, seed)
    with autograd.record():
        logits = net(x)
        loss = gluon.loss.SoftmaxCrossEntropyLoss()(logits, y).mean()
    loss.backward()
    other.train()
    expected = other(torch.from_numpy(x.asnumpy()))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(y.asnumpy()).long()).backward()
    parameters = [p for p in net._collect_params_with_prefix().values() if p.grad_req != "null"]
    ours = np.concatenate([p.grad().asnumpy().ravel() for p in parameters])
    theirs = np.concatenate([p.grad.numpy().ravel() for p in other.parameters()])
    pairs = ((logits.asnumpy(), expected.detach().numpy()), (ours, theirs))
    return [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs]


@pytest.mark.parametrize(("name", "options", "twin"), NETS)
def test_logits_and_gradients_agree_with_pytorch(name, options, twin):
    # Where a ReLU's input is within rounding error of zero the two may differ in one whole
    # gradient element, so some images give distances of a percent. A wrong net never agrees.
    distances = [agreement(name, options, twin, seed) for seed in range(5)]
    assert max(logits for logits, _ in distances) < 1e-4
    assert sorted(gradients for _, gradients in distances)[1] < 1e-4
