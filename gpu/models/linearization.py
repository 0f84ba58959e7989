"""`linearize`: a network without its nonlinearities, with the identity and average pooling in their place."""

from typing import Any

import torch
from torch import nn

from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.linearizing.built_in import keep_built_in
from gpu.models.linearizing.examination import Examination, examine, followable, run_eagerly
from gpu.models.linearizing.forwards import (
    compared,
    follow_forwards,
    leave_forwards,
    leave_swapped,
    note_what_was_not_run,
)
from gpu.models.linearizing.report import Changes, Linearized
from gpu.models.linearizing.swapping import swap_modules
from gpu.models.predictions import ScoresError, accuracies, check_labels, predicted_classes
from gpu.models.surroundings import surroundings_kept

EXAMINED = 8
"""Number of held-out inputs like which random ones are drawn, to see what the activations become."""


def linearize(model: nn.Module, inputs: Any = None, labels: Any = None) -> tuple[nn.Module, Changes]:
    r"""Return a copy of a network without its nonlinearities, and a list of the changes.

    Activations become the identity, and max pooling becomes average pooling of the same windows. Both modules and
    functions in a ``forward`` are replaced. The copy computes another function than the network, so train it before
    use: a CNN with 94.8 % of held-out digits right had 65.2 % after it, and 90.7 % after it was trained on (means of
    three seeds, docs/collapse.md). Held-out ``inputs`` and ``labels`` show what it costs. Other operations that are not
    affine stay; `gpu.trace` names them.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    inputs : tensor, or tuple of arguments, optional
        Arguments of its forward, with at least two samples, for runs that show what its activations become: numbers
        like them are drawn at random. By default shapes that fit its first layers are tried. On a tensor, the
        predictions of copies of the network before and after are compared, in evaluation mode.
    labels : int tensor (N,), optional
        Right classes of the inputs, which are then held-out images and one tensor.

    Returns
    -------
    model : nn.Module
        The copy, in the same mode (training or evaluation). Parameters, buffers and their names stay, and the hooks of
        replaced modules move to their replacements.
    changes : list of str
        One line for each change; it ends with the mode if the change is made in one mode only. Then one line, with
        the word "stays", for each activation that is left in place, with the reason. ``changes.accuracy`` is a dict:
        the accuracy ``before`` and ``linearized`` where there are labels, and the share of predictions that
        ``changed``; None without inputs, or where the network gives no scores (N, classes).

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``, or there are labels and ``inputs`` is not one tensor.
    ValueError
        If ``model`` cannot be copied, or its forward does not take ``inputs``; if there is not one label for each
        input, or there are labels and the network gives no scores (N, classes), or none for one of the labels.

    Notes
    -----
    A forward is run as its class has it, in a mode of torch that answers the call of an activation with its argument.
    Everything else in it stays as it is: branches, hooks, contexts, random numbers, counters. A copy of the network is
    run in both modes before, with its own operations. An activation stays if its result is a factor of other values
    that depend on the input, as in ``x * sigmoid(x)``: without it the product would be x squared. If such a factor is
    in a branch that these runs did not take, the linearised network raises a RuntimeError there. An activation of
    constants, such as ``sigmoid(self.weight)``, is affine and stays. What is returned has been compared with
    ``model``: with the activations put back, outputs and gradients are the same in both modes.
    Activations inside torch's transformer layers stay unless they are modules, as with ``activation=nn.ReLU()``, and so
    do those of its recurrent layers. Modules stay if the forward asks for their class, as in ``isinstance(layer,
    nn.ReLU)``. A linearised ``torch.fx.GraphModule`` drops activations that its graph is given later, too.

    What the copies change in the process is undone, and with it what other threads change there meanwhile, such as the
    random states: other threads should not use the network until this returns.

    Examples
    --------
    >>> model, changes = linearize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)))
    >>> print(*changes, sep="\n")
    1: ReLU -> Identity
    2: MaxPool2d -> AvgPool2d
    >>> held_out, labels = torch.tensor([[1.0, 0.0], [-2.0, -1.0]]), torch.tensor([0, 0])
    >>> linearize(nn.Sequential(nn.ReLU()), held_out, labels)[1].accuracy
    {'inputs': 2, 'before': 1.0, 'linearized': 0.5, 'collapsed': None, 'changed': {'linearized': 0.5}}
    """
    right = check_labels(labels, inputs)
    done = linearized(model, inputs if right is None else inputs[:EXAMINED])
    lines = [*done.changes, *map(str, done.kept), *done.notes]
    return done.model, Changes(lines, _accuracy(model, done.model, inputs, right))


def _accuracy(model: nn.Module, linear: nn.Module, inputs: Any, labels: torch.Tensor | None) -> dict[str, Any] | None:
    """Return what linearising costs; None without a tensor of inputs, or without scores of classes and labels.

    Raises
    ------
    ValueError
        If there are labels, and one of the networks gives no scores of classes.
    """
    if not isinstance(inputs, torch.Tensor) or not inputs.ndim or not len(inputs):
        return None
    classes = {}
    with surroundings_kept(model), run_eagerly():
        for stage, network in (("before", model), ("linearized", linear)):
            try:
                classes[stage] = predicted_classes(copy_of(network).eval(), inputs, labels=labels)
            except ScoresError as error:
                if labels is None:
                    return None
                raise ValueError(
                    f"labels: expected a network that gives scores (N, classes) of the inputs, got {error}"
                ) from error
    return accuracies(classes, labels)


def linearized(model: nn.Module, inputs: Any = None) -> Linearized:
    """Return what `linearize` gives, in parts.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If ``model`` cannot be copied, or its forward does not take ``inputs``.
    """
    check_module("model", model)
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
    found = examine(model, arguments) if inputs is not None or _has_code(model) else Examination()
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
    keep_built_in(done, model)
    return done


def _has_code(model: nn.Module) -> bool:
    """Return whether a network has code that is not torch's: a forward or a hook."""
    hooks = (value for part in model.modules() for name, value in vars(part).items() if "hooks" in name)
    return bool(followable(model)) or any(hooks)
