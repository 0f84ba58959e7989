"""`linearize`: a network without its nonlinearities, with the identity and average pooling in their place."""

from typing import Any

from torch import nn

from gpu.models.copying import copy_of
from gpu.models.linearizing.examination import Examination, examine, followable, run_eagerly
from gpu.models.linearizing.forwards import (
    compared,
    follow_forwards,
    leave_forwards,
    leave_swapped,
    note_what_was_not_run,
)
from gpu.models.linearizing.report import Linearized
from gpu.models.linearizing.swapping import swap_modules
from gpu.models.surroundings import surroundings_kept


def linearize(model: nn.Module, inputs: Any = None) -> tuple[nn.Module, list[str]]:
    r"""Return a copy of a network without its nonlinearities, and a list of the changes.

    Activations become the identity, and max pooling becomes average pooling of the same windows. Both modules and
    functions in a ``forward`` are replaced. The copy computes another function than the network: train it before use.
    Other operations that are not affine stay; `gpu.trace` names them.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    inputs : tensor, or tuple of arguments, optional
        Arguments of its forward, with at least two samples, for runs that show what its activations become: numbers
        like them are drawn at random. By default shapes that fit its first layers are tried.

    Returns
    -------
    model : nn.Module
        The copy, in the same mode (training or evaluation). Parameters, buffers and their names stay, and the hooks of
        replaced modules move to their replacements.
    changes : list of str
        One line for each change; it ends with the mode if the change is made in one mode only. Then one line, with
        the word "stays", for each activation that is left in place, with the reason.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If ``model`` cannot be copied, or its forward does not take ``inputs``.

    Notes
    -----
    A forward is run as its class has it, in a mode of torch that answers the call of an activation with its argument.
    Everything else in it stays as it is: branches, hooks, contexts, random numbers, counters. A copy of the network is
    run in both modes before, with its own operations. An activation stays if its result is a factor of other values
    that depend on the input, as in ``x * sigmoid(x)``: without it the product would be x squared. If such a factor is
    in a branch that these runs did not take, the linearised network raises a RuntimeError there. An activation of
    constants, such as ``sigmoid(self.weight)``, is affine and stays. What is returned has been compared with
    ``model``: with the activations put back, outputs and gradients are the same in both modes.
    Modules stay if the forward asks for their class, as in ``isinstance(layer, nn.ReLU)``. A linearised
    ``torch.fx.GraphModule`` drops activations that its graph is given later, too.

    Examples
    --------
    >>> model, changes = linearize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)))
    >>> print(*changes, sep="\n")
    1: ReLU -> Identity
    2: MaxPool2d -> AvgPool2d
    """
    done = linearized(model, inputs)
    return done.model, [*done.changes, *map(str, done.kept), *done.notes]


def linearized(model: nn.Module, inputs: Any = None) -> Linearized:
    """Return what `linearize` gives, in parts.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If ``model`` cannot be copied, or its forward does not take ``inputs``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    with surroundings_kept(model), run_eagerly():
        return _linearized(model, inputs)


def _linearized(model: nn.Module, inputs: Any) -> Linearized:
    """Return what `linearized` does.

    Raises
    ------
    ValueError
        If the forward of the model does not take the inputs.
    """
    arguments = inputs if inputs is None or isinstance(inputs, tuple) else (inputs,)
    found = examine(model, arguments) if _has_code(model) else Examination()
    if inputs is not None and found.errors:
        error = next(iter(found.errors.values()))
        raise ValueError(
            f"inputs: expected arguments that the forward of the model takes, got {type(error).__name__}: {error}"
        ) from error
    done = Linearized(copy_of(model))
    swapped = swap_modules(done, found)
    followed = follow_forwards(done, found)
    difference = compared(model, done, swapped, found) if followed else None
    if difference is not None:
        leave_forwards(done, followed, found, difference)
    if swapped:
        leave_swapped(model, done, swapped, found)
    note_what_was_not_run(done, found)
    return done


def _has_code(model: nn.Module) -> bool:
    """Return whether a network has code that is not torch's: a forward or a hook."""
    hooks = (value for part in model.modules() for name, value in vars(part).items() if "hooks" in name)
    return bool(followable(model)) or any(hooks)
