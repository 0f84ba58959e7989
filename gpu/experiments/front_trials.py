"""The trials of the experiment `front`: a network is trained once, with some of its activations left."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import safetensors.torch
import torch
from torch import nn

from gpu.experiments.front_networks import merged_architecture, network_of
from gpu.experiments.trial import Trial
from gpu.experiments.trial_run import keep_result, train_to_the_end
from gpu.experiments.workspace import Workspace
from gpu.models.activations import activation_slopes, remove_activations, set_activation_slope
from gpu.runtime.devices import resolve_device
from gpu.schedules import Linear, SlopeSchedule
from gpu.settings import IN_SHAPES
from gpu.training.distillation import Teacher
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.labelled import LabelledImages
from gpu.training.recalibration import spread_evenly
from gpu.training.trainer import Trainer
from linalg_cnn.types import Shape

PRETRAINED, WHOLE, HOMOTOPY, ABRUPT, DIRECT = "pretrained", "whole network", "homotopy", "abrupt removal", "direct"
ARMS = (HOMOTOPY, ABRUPT, DIRECT)
"""Ways to a network with few activations. The first two start from a pretrained network, the last does not."""
VALIDATED = 8
"""One in so many training images is kept apart, to validate on and to choose what to keep."""


@dataclass(frozen=True)
class FrontTrial(Trial):
    """One network to be trained once with some activations left, described completely before it runs.

    Attributes
    ----------
    arm : str
        `PRETRAINED`, `WHOLE` or one of `ARMS`.
    kept : tuple of str, optional
        Names of the activations that are left at the end; all if not given.
    taught : bool
        Whether the network learns the scores of the whole network of the same seed, too.
    pretrained, whole : FrontTrial, optional
        Trials of the network that this one starts from, and of the one that it learns from.
    """

    arm: str = PRETRAINED
    kept: tuple[str, ...] | None = None
    taught: bool = False
    pretrained: "FrontTrial | None" = None
    whole: "FrontTrial | None" = None

    @property
    def key(self) -> str:
        """Name of the trial's folder, which no other trial has."""
        left = "all" if self.kept is None else f"{len(self.kept)}"
        name = f"{self.network} {self.arm} {left}{' taught' * self.taught} seed {self.seed}".lower().replace(" ", "-")
        return f"{name}-{hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]}"

    @property
    def in_shape(self) -> Shape:
        """Shape of an image, (channels, height, width)."""
        return IN_SHAPES[self.dataset]

    def whole_network(self) -> nn.Sequential:
        """Return the untrained network with all of its activations."""
        return network_of(self.network, self.seed, self.in_shape)

    def network_to_train(self, workspace: Workspace) -> tuple[nn.Sequential, list[str]]:
        """Return the network as it is before the first epoch, and the names of the activations that are to go."""
        if self.arm == DIRECT:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                return merged_architecture(self.whole_network(), self.kept or (), self.in_shape), []
        model = self.whole_network()
        if self.pretrained is not None:
            load_weights(model, self.pretrained, workspace)
        kept = activation_slopes(model) if self.kept is None else self.kept
        return model, [name for name in activation_slopes(model) if name not in kept]


def images_of(trial: Trial, workspace: Workspace) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Return the (training, validation, test) images of a trial; one in `VALIDATED` training images validates.

    Raises
    ------
    ValueError
        If there are fewer images than the trial asks for, or the data are not genuine.
    """
    training, test = workspace.images_of(trial)
    apart = torch.zeros(len(training), dtype=torch.bool)
    apart[spread_evenly(len(training), max(len(training) // VALIDATED, 1))] = True
    some, validation = (LabelledImages(training.images[chosen], training.labels[chosen]) for chosen in (~apart, apart))
    return some, validation, test


def load_weights(model: nn.Module, trial: FrontTrial, workspace: Workspace) -> None:
    """Load the weights that a trial has left into a network.

    Raises
    ------
    ValueError
        If its training diverged, or left no weights.
    """
    result = replace(workspace, keep_weights=True).result_of(trial)
    if result is None or result["stopped"] is not None:
        found = "one that is not finished" if result is None else f"one that stopped: {result['stopped']}"
        raise ValueError(f"trial: expected {trial.key} to be trained, got {found}")
    model.load_state_dict(safetensors.torch.load_file(workspace.folder_of(trial) / "weights.safetensors"))


def ramp(names: list[str], epochs: int) -> Callable[[int], dict[str, float]]:
    """Return slopes that rise from the first epoch on and are 1 in the second half of the epochs.

    Examples
    --------
    >>> [ramp(["2"], 4)(epoch)["2"] for epoch in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    """
    rise = Linear(0.0, steps=max(epochs // 2, 1), end=1.0)
    return lambda epoch: dict.fromkeys(names, rise(epoch + 1))


def run_front_trial(
    trial: FrontTrial, workspace: Workspace, report: Callable[[int], None] = lambda images: None
) -> dict[str, Any]:
    """Train the network of a trial, or resume its training; write the result into its folder and return it.

    The images for the test are used once, after the last epoch, on the network without the activations that went.

    Raises
    ------
    ValueError
        If a setting is out of range, the data are not genuine, or what the trial starts from diverged.
    OSError
        If a file cannot be read or written.
    """
    found = workspace.result_of(trial)
    if found is not None:
        return found
    folder = workspace.folder_of(trial)
    folder.mkdir(parents=True, exist_ok=True)
    training, validation, test = images_of(trial, workspace)
    device = resolve_device(workspace.device)
    model, going = trial.network_to_train(workspace)
    model.to(device)
    teacher = None
    if trial.taught and trial.whole is not None:
        teaching = trial.whole_network()
        load_weights(teaching, trial.whole, workspace)
        teacher = Teacher(teaching.to(device))
    if trial.arm == ABRUPT:
        set_activation_slope(model, dict.fromkeys(going, 1))
    trainer = Trainer(
        model,
        training,
        validation,
        epochs=trial.epochs,
        batch_size=trial.batch_size,
        learning_rate=trial.learning_rate,
        seed=trial.seed,
        slope_schedule=SlopeSchedule(model, ramp(going, trial.epochs)) if trial.arm == HOMOTOPY else None,
        teacher=teacher,
        precision=trial.precision,
    )
    result = train_to_the_end(trainer, trial, folder, report)
    report(trial.epochs * len(validation))  # they count as images of the trial, too
    for epoch in result["epochs"]:
        epoch.pop("slope", None)
    if result["stopped"] is None:
        bare = remove_activations(model, inputs=torch.rand(2, *trial.in_shape, device=device)) if going else model
        result["test_accuracy"] = accuracy_of(predict_scores(bare, test.images), test.labels)
    keep_result(result, model, folder, workspace)
    return result
