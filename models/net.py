"""What the nets of both families are, beside their layers."""

from __future__ import annotations

from runtime import mx

from mxnet.gluon import nn

from models.tracing import bfloat16_if, portable


def portable_symbol(net, data=None):
    """Trace a net for inference with operators that CPU, GPU and ONNX all have.

    Parameters
    ----------
    net : HybridBlock
    data : Symbol, optional
        Normalised images (N, 3, 32, 32); a variable named `data` by default.

    Returns
    -------
    Symbol
        The logits, (N, classes).
    """
    with portable():
        return net(mx.sym.var("data") if data is None else data)


class Net(nn.HybridBlock):
    """What the nets of both families are: run in one precision, exported at any time.

    Parameters
    ----------
    bfloat16 : bool
        Whether layers on a CPU compute in bfloat16.
    """

    def __init__(self, bfloat16, **kwargs):
        super().__init__(**kwargs)
        self.bfloat16 = bfloat16

    def forward(self, x):
        """Return the logits of x."""
        with bfloat16_if(self.bfloat16):
            return self._forward(x)

    def _forward(self, x):
        """Return the logits of x: through the net's graph, unless a family knows better."""
        return super().forward(x)

    def export(self, path, epoch=0, remove_amp_cast=True):
        """Write the files of Gluon's `export`, whether the net is hybridized and has run or not.

        The symbol is `portable_symbol`'s.
        """
        symbol = portable_symbol(self)
        symbol.save(f"{path}-symbol.json", remove_amp_cast=remove_amp_cast)
        trained = set(symbol.list_arguments())
        mx.nd.waitall()  # or running statistics could be from before the last step
        arrays = {
            f"{'arg' if name in trained else 'aux'}:{name}": parameter.data(parameter.list_ctx()[0])
            for name, parameter in self.collect_params().items()
        }
        mx.nd.save(f"{path}-{epoch:04d}.params", arrays)
