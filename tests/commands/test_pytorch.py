"""The nets against the same nets in PyTorch: logits and gradients of one training step."""

from __future__ import annotations

from runtime import gluoncv  # noqa: F401  before PyTorch, beside which it will not be imported

import numpy as np
import pytest
from small_nets import backward, build, images

torch = pytest.importorskip("torch")
pytorch_nets = pytest.importorskip("benchmarks.pytorch_nets")

NETS = [
    ("densenet_bc40_k16", {"depth": 16}, pytorch_nets.DenseNet, (16, 16, True, 0.5)),
    ("densenet_bc100_k12", {"depth": 22}, pytorch_nets.DenseNet, (22, 12, True, 0.5)),
    ("densenet40_k12", {"depth": 16}, pytorch_nets.DenseNet, (16, 12, False, 1.0)),
    ("resnet20", {}, pytorch_nets.ResNet, (20,)),
]


def agreement(name, options, twin, seed):
    """Return the relative distances of logits and of all gradients in one step on 4 images."""
    net = build(name, **options)
    with torch.no_grad():
        pytorch_nets.copy_weights(net, twin)
    found, gradients = backward(net, seed=seed)
    x, y = (torch.from_numpy(array.asnumpy()) for array in images(4, seed))
    expected = twin.train()(x)
    torch.nn.functional.cross_entropy(expected, y.long()).backward()
    ours = np.concatenate([gradient.ravel() for gradient in gradients.values()])
    theirs = np.concatenate([p.grad.numpy().ravel() for p in twin.parameters()])
    pairs = ((found, expected.detach().numpy()), (ours, theirs))
    return [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs]


@pytest.mark.parametrize(("name", "options", "twin", "arguments"), NETS)
def test_logits_and_gradients_agree_with_pytorch(name, options, twin, arguments):
    # Where a ReLU's input is within rounding error of zero the two may differ in one whole
    # gradient element, so some images give distances of a percent. A wrong net never agrees.
    distances = [agreement(name, options, twin(*arguments), seed) for seed in range(8)]
    assert max(logits for logits, _ in distances) < 1e-4
    assert sorted(gradients for _, gradients in distances)[1] < 1e-4
