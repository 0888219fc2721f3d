"""How far a form of a net is from the plain one in float64, in all that can be seen of it."""

from __future__ import annotations

from runtime import mx

import numpy as np
from mxnet import autograd

# Float32 rounds to 1e-5 here. Where a ReLU's input is within that of zero it may fall on either
# side, so gradients are compared under several seeds of images, and the best counts: a wrong
# gradient is wrong under all.
TOLERANCE = 1e-3


def observe(make, seed, dtype="float32", form=None, batch=5, adding=False):
    """Train a net for one step; return all that can be seen of it, by name, in float64.

    Parameters
    ----------
    make : callable
        Returns the net, which gives 7 numbers for an image. It may say by `inputs` how many images
        it takes, and by `kinds` what it is made of, as `random_nets.RandomNet` does.
    seed : int
        Of its weights and of the images.
    dtype : str
    form : callable, optional
        Changes the net before it runs, as `compiler.hybridize` does.
    batch : int
    adding : bool
        Whether gradients add up over two passes, after two passes that nothing is learnt from.
    """
    net = make()
    net.initialize(mx.init.Xavier())
    rng = np.random.RandomState(seed)
    images = [rng.randn(batch, 3, 16, 16) for _ in range(getattr(net, "inputs", 1))]
    net(*map(mx.nd.array, images))  # shapes that were left open
    for parameter in net.collect_params().values():
        values = rng.randn(*parameter.shape)
        if parameter.name.endswith(("gamma", "running_var")):
            values = 1 + 0.2 * np.abs(values)
        elif len(parameter.shape) > 1:
            values *= np.sqrt(2 / np.prod(parameter.shape[1:]))
        parameter.set_data(mx.nd.array(values.astype(np.float32)))
    net.cast(dtype)
    net.dtype = dtype
    if form:
        form(net)
    x = [mx.nd.array(image.astype(np.float32), dtype=dtype) for image in images]
    weights = mx.nd.array(rng.randn(batch, 7).astype(np.float32), dtype=dtype)
    for array in x:
        array.attach_grad()
    if adding:
        for parameter in net.collect_params().values():
            parameter.grad_req = "null" if parameter.grad_req == "null" else "add"
        with autograd.record():  # leaves statistics as they are
            net(*[array * 2 for array in x])
        net(*[array[:1] for array in x])
    for _ in range(1 + adding):
        with autograd.record():
            outputs = net(*x)
            outputs = outputs if isinstance(outputs, list) else [outputs]
            loss = sum((output * weights).sum() for output in outputs)
        loss.backward()
    mx.nd.waitall()
    seen = {f"output {i}": output for i, output in enumerate(outputs)}
    seen.update({f"gradient of input {i}": array.grad for i, array in enumerate(x)})
    for name, parameter in net._collect_params_with_prefix().items():
        if parameter.grad_req != "null":
            seen[f"gradient of {name}"] = parameter.grad()
        elif "running" in name:
            seen[name] = parameter.data()
    # Without recording, MXNet's own foreach gives other numbers from one pass to the next.
    if "foreach" not in getattr(net, "kinds", ()):
        inferred = net(*x)
        seen["inferred"] = inferred[0] if isinstance(inferred, list) else inferred
    return {name: array.asnumpy().astype(np.float64) for name, array in seen.items()}


def faults(found, expected, tolerance=TOLERANCE):
    """Return what differs by more than a share of its size, each thing seen by itself."""
    gradients = [np.linalg.norm(a) for name, a in expected.items() if "gradient" in name]
    wrong = {}
    for name, array in expected.items():
        # A bias before BatchNorm has no gradient but rounding.
        least = 5e-3 * max(gradients) if "gradient" in name else 1e-12
        difference = np.linalg.norm(found[name] - array) / max(np.linalg.norm(array), least)
        if not difference <= tolerance:
            wrong[name] = difference
    return wrong


def check(make, form):
    """Return what is wrong with a form of a net under each of four seeds of weights and images."""
    for adding in (False, True):
        for seed in range(4):
            expected = observe(make, seed, "float64", adding=adding)
            wrong = faults(observe(make, seed, form=form, adding=adding), expected)
            if not wrong:
                break
        else:
            return wrong
    return {}
