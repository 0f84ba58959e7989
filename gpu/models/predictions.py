"""The predictions of networks on held-out inputs: what rewriting a network costs in accuracy."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

BATCH = 64
"""Number of inputs that a network is run on at a time."""
VERBS = {"linearized": "linearising", "collapsed": "collapsing"}
"""Words for what was done to a network, by the name of the stage."""


class ScoresError(ValueError):
    """Raised for a network that does not give a score for each of several classes."""


def check_labels(labels: Any, inputs: Any) -> torch.Tensor | None:
    """Return the classes of inputs as an int64 tensor (N,), or None if none are given.

    Raises
    ------
    TypeError
        If there are labels, and the inputs are not one tensor.
    ValueError
        If there is another number of labels than of inputs, or they are not integers from 0 on.
    """
    if labels is None:
        return None
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs: expected a tensor that the labels belong to, got {type(inputs).__name__}")
    found = torch.as_tensor(labels).detach().cpu()
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool or found.shape != inputs.shape[:1]:
        raise ValueError(
            f"labels: expected one integer for each of {len(inputs)} inputs, got {found.dtype} {tuple(found.shape)}"
        )
    if len(found) == 0 or found.min() < 0:
        raise ValueError(f"labels: expected classes from 0 on, got {'none' if len(found) == 0 else int(found.min())}")
    return found.long()


def predicted_classes(
    network: nn.Module,
    inputs: torch.Tensor,
    prepare: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the class that a network gives to each input: the index of its highest score, int64 (N,), on the CPU.

    Parameters
    ----------
    network : nn.Module
        A copy of the user's network, in evaluation mode. Running it may change it.
    inputs : tensor (N, *in_shape)
    prepare : callable
        Applied to each batch first.
    labels : int64 tensor (N,), optional
        The right classes, each of which is to have a score.

    Raises
    ------
    ScoresError
        If it cannot be run on the inputs, gives anything but scores (N, classes), or none for one of the labels.
    """
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    classes = []
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            try:
                scores = network(prepare(batch.to(like.device)).to(like.dtype))
            except Exception as error:  # a forward may raise anything
                message = str(error).strip().partition("\n")[0]
                raise ScoresError(f"a forward that raises {type(error).__name__}: {message}") from error
            if isinstance(scores, torch.Tensor) and scores.ndim == len(batch) == 1:
                scores = scores[None]  # a forward that squeezes
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != len(batch):
                raise ScoresError(f"outputs {getattr(scores, 'shape', type(scores).__name__)}")
            if scores.shape[1] < 2:
                raise ScoresError("a single score")
            if labels is not None and scores.shape[1] <= int(labels.max()):
                raise ScoresError(f"{scores.shape[1]} scores, none of them for the label {int(labels.max())}")
            classes.append(scores.argmax(1).cpu())
    return torch.cat(classes)


def accuracies(classes: Mapping[str, torch.Tensor], labels: torch.Tensor | None) -> dict[str, Any]:
    """Return the accuracy of a network before and after it was rewritten, and the share of predictions that changed.

    Parameters
    ----------
    classes : mapping of str to int64 tensor (N,)
        Predictions of each stage: ``before``, and ``linearized`` or ``collapsed`` or both.
    labels : int64 tensor (N,) or None
        The right classes.

    Returns
    -------
    dict
        ``inputs``: their number; ``before``, ``linearized`` and ``collapsed``: the share of right predictions, None
        without labels or without that stage; ``changed``: the share of predictions that differ from those before, by
        stage.

    Examples
    --------
    >>> right = torch.tensor([0, 1, 1, 0])
    >>> accuracies({"before": right, "linearized": torch.tensor([0, 1, 0, 0])}, right)
    {'inputs': 4, 'before': 1.0, 'linearized': 0.75, 'collapsed': None, 'changed': {'linearized': 0.25}}
    """
    before = classes["before"]

    def share(equal: torch.Tensor) -> float:
        return float(equal.double().mean())

    return {
        "inputs": len(before),
        **{
            stage: share(classes[stage] == labels) if labels is not None and stage in classes else None
            for stage in ("before", *VERBS)
        },
        "changed": {stage: share(found != before) for stage, found in classes.items() if stage != "before"},
    }


def in_words(accuracy: Mapping[str, Any]) -> str:
    """Return the accuracies as a sentence.

    Examples
    --------
    >>> right = torch.tensor([0, 1, 1, 0])
    >>> in_words(accuracies({"before": right, "linearized": torch.tensor([0, 1, 0, 0])}, right))
    '100.0 % before, 75.0 % linearised, of 4 held-out inputs; linearising changed 25.0 % of the predictions'
    """
    named = {"before": "before", "linearized": "linearised", "collapsed": "collapsed"}
    right = [f"{100 * accuracy[stage]:.1f} % {word}" for stage, word in named.items() if accuracy[stage] is not None]
    changed = [
        f"{VERBS[stage]} changed {_percent(share)} of the predictions" for stage, share in accuracy["changed"].items()
    ]
    beginning = [f"{', '.join(right)}, of {accuracy['inputs']:,} held-out inputs"] if right else []
    ending = "" if right else f" on {accuracy['inputs']:,} inputs"
    return "; ".join([*beginning, ", ".join(changed) + ending])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share else "none"
