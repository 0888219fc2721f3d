"""Every CIFAR net of the DenseNet and stochastic-depth papers, and their relatives, by name.

    net = get_model("densenet_bc100_k12", classes=10)
    initialize(net, mx.cpu(), seed=0)
    compiler.hybridize(net)

`python -m models` prints the table.
"""

from __future__ import annotations

import fnmatch
import inspect
from typing import Any

from runtime import mx

import numpy as np
from mxnet.gluon import nn

from errors import InputError, nearest
from models import densenet, resnet
from weights import pretrained as weights

ALIASES = {
    "densenet": "densenet_bc100_k12",
    "resnet": "resnet110",
    "stochastic_depth": "resnet110_sd",
}
# Seeds of different draws must differ: gates come from (seed, step, this).
_GATES = 1603
# By its constructor, each family's nets and names.
_FAMILIES: dict[Any, tuple[type, dict[str, Any]]] = {
    densenet.densenet: (densenet.DenseNet, densenet.VARIANTS),
    resnet.resnet: (resnet.ResNet, resnet.VARIANTS),
}
# Squeeze-and-excitation's C10+ errors, from secondary copies of that paper.
SE_ERRORS = {"resnet110": 5.21, "resnet164": 4.39}
# By name: constructor, its options, published C10+ error in percent or None.
REGISTRY = {
    name: (constructor, options, error)
    for constructor, (_, variants) in _FAMILIES.items()
    for name, (options, error) in variants.items()
}
REGISTRY.update(
    (f"se_{name}", (constructor, {**options, "squeeze_excitation": True}, SE_ERRORS.get(name)))
    for name, (constructor, options, _) in list(REGISTRY.items())
)


def _gluoncv_names():
    from runtime import gluoncv

    return sorted(name for name in gluoncv.model_zoo.get_model_list() if name.startswith("cifar_"))


def list_models(pattern="*", pretrained=False):
    """Return the names of models: this project's, then GluonCV's for CIFAR.

    Parameters
    ----------
    pattern : str, default "*"
        What they look like, as in ``densenet*``.
    pretrained : bool, default False
        Only those that `get_model` has trained weights for.
    """
    names = fnmatch.filter([*REGISTRY, *_gluoncv_names()], pattern)
    if not pretrained:
        return names
    kept = {*weights.names(), *weights.gluoncv_names()}
    return [name for name in names if name in kept]


def _check_options(name, constructor, options):
    """Refuse options that neither a family's constructor has nor, with a default, its nets."""
    family, _ = _FAMILIES[constructor]
    own, nets = (inspect.signature(each).parameters.values() for each in (constructor, family))
    known = {option.name for option in own if option.kind != option.VAR_KEYWORD}
    known |= {option.name for option in nets if option.default is not option.empty}
    for option in sorted(options.keys() - known):
        refused = f"{name} is a {family.__name__}, without {option}"
        raise InputError(f"{refused}: its options are {', '.join(sorted(known))}")


def get_model(name, classes=10, pretrained=False, **options):
    """Build a net, without initial weights unless `pretrained`.

    Parameters
    ----------
    name : str
        A name that `list_models` returns, or `densenet`, `resnet` or `stochastic_depth`.
    classes : int, default 10
        Length of the logits.
    pretrained : bool, default False
        Load trained weights, on the CPU: those that this repository keeps for the name, or
        GluonCV's, downloaded once. If they tell another number of classes apart, the output layer
        is new, and a warning says so.
    **options
        Of `models.densenet.densenet` or `models.resnet.resnet`, over those of the name and of its
        trained weights: a net with stochastic depth has the p_L that it was trained with.

    Returns
    -------
    HybridBlock
        Takes normalised images (N, 3, 32, 32), returns logits (N, classes).

    Raises
    ------
    InputError
        If the name or an option is unknown, an option is out of its range, or there are no trained
        weights.
    """
    if not isinstance(pretrained, bool):
        raise InputError(
            f"pretrained is True or False, not {pretrained!r}: load weights of your own by "
            "net.load_parameters(path)"
        )
    name = ALIASES.get(name, name)
    if name in REGISTRY:
        constructor, defaults, _ = REGISTRY[name]
        if pretrained:
            row = weights.find(name)
            defaults = {**defaults, **row["facts"]["options"]}
        _check_options(name, constructor, options)
        net = constructor(**{**defaults, **options, "classes": classes})
    elif name in _gluoncv_names():
        if options:
            raise InputError(f"{name} is GluonCV's and takes no {', '.join(sorted(options))}")
        from runtime import gluoncv

        net = gluoncv.model_zoo.get_model(name, classes=classes)
        row = weights.find(name) if pretrained else {}
    else:
        hint = nearest(name, [*ALIASES, *list_models()])
        raise InputError(f"unknown model {name!r}:{hint} `python -m models` lists them all")
    if pretrained:
        weights.load(net, row, classes)
    return net


def initialize(net, ctx=None, seed=0):
    """Give a net its initial weights, the same for the same seed on any device.

    Parameters that have values already, as those of a pretrained net, keep them. As in the papers'
    code, convolutions start from N(0, √(2 / (kernel² · output channels))), BatchNorm from scale 1
    and shift 0, the last layer from ±1/√inputs and bias 0.

    Parameters
    ----------
    net : HybridBlock
    ctx : Context or list of Context, optional
        Where all parameters live from now on; the CPU by default.
    seed : int
        Seeds MXNet's generators.
    """
    ctx = ctx or mx.cpu()
    mx.random.seed(seed)
    # What a layer does not say itself (GluonCV's nets say nothing) starts as our convolutions do.
    default = mx.init.Xavier("gaussian", "out", 2)
    for parameter in net.collect_params().values():
        if parameter._data is None:
            parameter.initialize(None, ctx, default, force_reinit=True)
        else:
            parameter.reset_ctx(ctx)
    first = ctx[0] if isinstance(ctx, (list, tuple)) else ctx
    # Shapes that GluonCV's nets leave open. Waited for, because oneDNN turns weights into its own
    # layout while it reads them, and whoever else reads them then may read half of each.
    net(mx.nd.zeros((1, 3, 32, 32), ctx=first)).wait_to_read()


def group_ends(net):
    """Return where the groups of a net end, each of which works on images of one size.

    A group is a dense block with its transition, or the residual blocks between two halvings of
    the image. In GluonCV's nets it is a `HybridSequential`. Its end is the number of pieces that
    `net.features` has up to there, stem included.
    """
    ends = getattr(net, "group_ends", None)
    pieces = enumerate(net.features, 1)
    return ends or [end for end, piece in pieces if isinstance(piece, nn.HybridSequential)]


def draw_gates(net, seed, step):
    """Draw which residual blocks live in one training step, on every device and worker alike.

    Stochastic depth, section 3: one Bernoulli draw a block a mini-batch. A function of the seed
    and the step alone, so that a step can be repeated. Nets without stochastic depth are left be.

    Returns
    -------
    numpy.ndarray or None
        Bool, one a block; what `net.gates` now holds.
    """
    if not getattr(net, "drops", False):
        return None
    draws = np.random.default_rng([seed, step, _GATES]).random(len(net.survival_probs))
    net.gates = draws < net.survival_probs
    return net.gates


def count_parameters(net):
    """Count what training can change; from shapes alone, so the net needs no weights."""
    graph = net(mx.sym.var("data"))
    shapes = dict(zip(graph.list_arguments(), graph.infer_shape(data=(1, 3, 32, 32))[0]))
    trained = (name for name, p in net.collect_params().items() if p._differentiable)
    return int(sum(np.prod(shapes[name]) for name in trained))


def count_multiply_accumulates(net):
    """Count the multiply-accumulates of convolutions and linear layers for one 3×32×32 image."""
    nodes = net(mx.sym.var("data")).get_internals()
    total = 0
    shapes = dict(zip(nodes.list_outputs(), nodes.infer_shape(data=(1, 3, 32, 32))[1]))
    for name, output in shapes.items():
        weight = shapes.get(name.replace("_fwd_output", "_weight"))
        if name.endswith("_fwd_output") and weight is not None:
            total += int(np.prod(output)) * int(np.prod(weight[1:]))
    return total
