"""The accuracy of a network before and after it was collapsed, on the user's held-out inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.predictions import ScoresError, accuracies, check_labels, predicted_classes
from gpu.models.surroundings import surroundings_kept
from gpu.tracing.outputs import give_one_tensor
from linalg_cnn.types import Shape

COMPARED = 64
"""Number of labelled inputs on which the map is also compared with the float64 network, score by score."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Inputs with their labels, and the network before it was linearised, as far as the user gave them.

    Attributes
    ----------
    inputs : tensor (N, *in_shape) or None
    labels : int64 tensor (N,) or None
    original : nn.Module or None
        A copy of the network before `gpu.linearize`, in evaluation mode.
    """

    inputs: torch.Tensor | None
    labels: torch.Tensor | None
    original: nn.Module | None

    @classmethod
    def of(
        cls, inputs: torch.Tensor | None, labels: Any, original: nn.Module | None, output: str | int | None
    ) -> "HeldOut":
        """Return checked inputs and labels, with a copy of the original network.

        Raises
        ------
        TypeError
            If there are labels without a tensor of inputs, or ``original`` is not an ``nn.Module``.
        ValueError
            If labels and inputs do not fit together, ``original`` cannot be copied, or there are no inputs for it.
        """
        right = check_labels(labels, inputs)
        if original is None:
            return cls(inputs, right, None)
        if inputs is None:
            raise ValueError("original: expected inputs as well, on which its predictions are compared, got none")
        check_module("original", original)
        copied = copy_of(original)
        give_one_tensor(copied, output)
        return cls(inputs, right, copied.eval())

    def check(self, out_shape: Shape) -> None:
        """Refuse labels that are not classes of a network.

        Raises
        ------
        ValueError
            If the network has not one score for each of several classes, or a label is none of them.
        """
        if self.labels is None:
            return
        classes = max(2, int(self.labels.max()) + 1)
        if len(out_shape) != 1 or out_shape[0] < classes:
            raise ValueError(
                f"labels: expected a network with one score for each of {classes} classes or more, got out_shape "
                f"{out_shape}"
            )

    @property
    def compared(self) -> torch.Tensor | None:
        """The inputs on which scores are compared: all without labels, the first of them with labels."""
        return self.inputs if self.inputs is None or self.labels is None else self.inputs[:COMPARED]

    def accuracy(
        self, network: nn.Module, replacement: nn.Module, prepare: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any] | None:
        """Return what `gpu.models.predictions.accuracies` does, or None without inputs or scores of classes.

        Parameters
        ----------
        network : nn.Module
            Copy of the network that was collapsed.
        replacement : nn.Module
            The map, which takes the inputs as they are.
        prepare : callable
            Preprocessing of the network's inputs, in float64.

        Raises
        ------
        ValueError
            If there are labels, or a network before `gpu.linearize`, and a network gives no scores of classes.
        """
        if self.inputs is None or len(self.inputs) == 0:
            return None
        networks: Mapping[str, nn.Module] = {"before": network}
        if self.original is not None:
            networks = {"before": self.original, "linearized": network}
        classes = {}
        for stage, each in networks.items():
            try:
                with surroundings_kept(each):
                    run = copy_of(each)  # the comparison that follows must find the network as it was
                    classes[stage] = predicted_classes(
                        run, self.inputs, lambda batch: prepare(batch.double()), self.labels
                    )
            except ScoresError as error:
                if each is network and self.labels is None:
                    return None
                name = "module" if each is network else "original"
                raise ValueError(f"{name}: expected a network that gives scores (N, classes), got {error}") from error
        return accuracies(classes | {"collapsed": predicted_classes(replacement, self.inputs)}, self.labels)
