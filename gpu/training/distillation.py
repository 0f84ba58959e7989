"""Distillation: a network learns the scores of a trained network beside the labels."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from gpu.models.checks import check_module
from gpu.models.homotopy import check_share
from gpu.training.data import check_positive


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network whose scores another network learns beside the labels.

    The loss becomes (1 - weight) cross entropy + weight temperature^2 KL(teacher || network). In the divergence the
    scores of both networks are divided by the temperature.

    Attributes
    ----------
    model : nn.Module
        Trained network. It is used in evaluation mode and not changed otherwise.
    weight : float
        Weight of the teacher's scores in the loss, in [0, 1].
    temperature : float
        Positive divisor of the scores.

    Notes
    -----
    Source: Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If the weight is not in [0, 1], or the temperature is not positive.

    Examples
    --------
    >>> import gpu
    >>> scores, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> gpu.Teacher(nn.Identity(), weight=1.0).loss(scores, scores, labels)  # nothing left to learn from the teacher
    tensor(0.)
    """

    model: nn.Module
    weight: float = 0.9
    temperature: float = 4.0

    def __post_init__(self) -> None:
        check_module("model", self.model)
        object.__setattr__(self, "weight", check_share("weight", self.weight))
        object.__setattr__(self, "temperature", check_positive("temperature", self.temperature))

    def loss(self, scores: torch.Tensor, taught: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of scores (N, classes), given the teacher's scores ``taught`` and the labels (N,)."""
        soft = (scores / self.temperature).log_softmax(1)
        goal = (taught / self.temperature).log_softmax(1)
        distance = kl_div(soft, goal, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.weight) * cross_entropy(scores, labels) + self.weight * distance
