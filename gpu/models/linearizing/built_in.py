"""The activations inside torch's own layers, which stay: those of transformer layers and of recurrent layers."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from gpu.models.linearizing.calls import is_of_torch
from gpu.models.linearizing.mentions import mentioned_in
from gpu.models.linearizing.report import Kept, Linearized
from gpu.models.nonlinearities import BY_FUNCTION

TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
GATED = (nn.LSTM, nn.LSTMCell, nn.GRU, nn.GRUCell)
SIMPLE = (nn.RNN, nn.RNNCell)


def keep_built_in(done: Linearized, model: nn.Module) -> None:
    """Say of each activation inside a layer of torch that it stays, in place, unless a run has said so with its line.

    Parameters
    ----------
    done : Linearized
        What was done to a copy of the network.
    model : nn.Module
        The network.
    """
    for path, part in model.named_modules():
        for kept in activations_in(path, part):
            same = [other for other in done.kept if (other.path, other.name.rstrip("_")) == (path, kept.name)]
            if not any(other.line for other in same):
                done.kept = [other for other in done.kept if other not in same] + [kept]


def activations_in(path: str, part: Any) -> Iterator[Kept]:
    """Yield the activations that a module calls if it is such a layer, which may be in a class of the user's."""
    kind = type(part).__name__
    if isinstance(part, TRANSFORMERS) and is_of_torch(type(part)) and not isinstance(part.activation, nn.Module):
        function = part.activation
        while isinstance(function, partial):
            function = function.func
        for name in mentioned_in(function):
            module = BY_FUNCTION[name].module
            remedy = f"; give it activation=nn.{module.__name__}() instead" if module is not None else ""
            yield Kept(path, name, "", f"{kind} is a module of torch, whose forward is not rewritten{remedy}")
    elif isinstance(part, (*GATED, *SIMPLE)):
        reason = f"{kind} is a recurrent layer of torch, whose kernels have their own activations"
        for name in (part.nonlinearity,) if isinstance(part, SIMPLE) else ("sigmoid", "tanh"):
            yield Kept(path, name, "", reason)
