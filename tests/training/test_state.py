"""A run's state takes on no other net's; that it comes back to the bit, test_resume.py says."""

from __future__ import annotations

import numpy as np
import pytest
from test_steps import ONE, net_without_batch_norm

from errors import InputError
from records.config import make_config
from training.distributed import Workers
from training.state import State
from training.trainer import make_trainer


@pytest.mark.parametrize(
    ("name", "shape"), [("momentum/9.weight", (1,)), ("momentum/0.weight", (2, 2)), ("x/0.bias", 4)]
)
def test_the_state_of_another_net_is_refused(name, shape):
    net = net_without_batch_norm(ONE)
    state = State(net, make_trainer(net, make_config(), ONE, Workers("device")))
    with pytest.raises(InputError, match="does not fit"):
        state.set_arrays({name: np.zeros(shape, "f")}, "a file")
