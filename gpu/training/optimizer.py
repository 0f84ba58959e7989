"""Adam as `gpu.Trainer` uses it, and its moments when a training is resumed."""

from typing import Any

import torch
from torch import nn

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's tensors of the shape of their parameter; torch loads others, and fails in the next step."""


def adam_of(model: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Return Adam for all parameters of a network, which are on one device.

    Examples
    --------
    >>> adam_of(nn.Linear(2, 1), 1e-3).defaults["fused"]
    True
    """
    device = next(model.parameters()).device
    return torch.optim.Adam(
        model.parameters(),
        lr=learning_rate,
        # one kernel for all parameters: on the CPU five times as fast as Adam's default
        fused=device.type in {"cpu", "cuda"},
        capturable=device.type == "cuda",
    )


def load_moments(optimizer: torch.optim.Adam, moments: dict[int, Any]) -> None:
    """Continue with the moments of a state, and with the settings that the optimiser has for its device.

    The moments are laid out in memory as their parameters are: torch's fused Adam reads all of them in the order of
    the memory, and a state has the layout of the device where it was written, which on CUDA is channels_last.

    Raises
    ------
    ValueError
        If torch does not take them.
    """
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    for parameter, found in optimizer.state.items():
        for name in MOMENTS:
            found[name] = torch.empty_like(parameter).copy_(found[name])
