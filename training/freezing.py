"""What a net keeps as it is while the rest of it learns."""

from __future__ import annotations

from typing import Any

import runtime  # noqa: F401  before MXNet, which it prepares this process for

from mxnet.gluon import nn

import models
from errors import InputError


def freeze(net: Any, what: str) -> None:
    """Keep part of a net as it is.

    Its parameters get no gradient, and so neither steps nor weight decay. Its BatchNorms normalise
    by their running statistics, in training too, and leave them as they are: what follows is then
    trained on what it will read when images are classified. That is what torchvision's
    ``FrozenBatchNorm2d`` and timm's `freeze` do. Dropout and stochastic depth stay on.

    Parameters
    ----------
    net : gluon.HybridBlock
        Initialised, and not yet run by a compiled graph.
    what : str
        ``features``: all but the classifier. Or a number of groups, as `models.group_ends` counts
        them: those and the stem before them.

    Raises
    ------
    InputError
        If the net has fewer groups.
    """
    pieces, ends = list(net.features), models.group_ends(net)
    if what != "features":
        if int(what) > len(ends):
            raise InputError(
                f"--freeze {what}: the net has {len(ends)} groups, and with more frozen nothing "
                "would be left to train; --freeze features leaves the classifier"
            )
        pieces = pieces[: ends[int(what) - 1]]
    for piece in pieces:
        for parameter in piece.collect_params().values():
            parameter.grad_req = "null"
            parameter.frozen = True  # read by `weights.parameters.is_moving`
        piece.apply(_use_running_statistics)


def _use_running_statistics(block: Any) -> None:
    if isinstance(block, nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
