"""Which activations a network of the experiment `front` keeps: chosen on images for validation alone."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpu.experiments.front_networks import merged_macs
from gpu.experiments.front_trials import FrontTrial, images_of, load_weights
from gpu.experiments.workspace import Workspace
from gpu.models.activations import activation_slopes, set_activation_slope
from gpu.runtime.devices import resolve_device
from gpu.training.evaluation import predict_scores
from gpu.training.labelled import LabelledImages
from gpu.training.recalibration import recalibrate, spread_evenly
from linalg_cnn.files import read_json, write_json

LOOKED_AT = 500
"""Number of training images for the running statistics, and largest number of images for validation."""


def choice_of(pretrained: FrontTrial, workspace: Workspace, *, progress: bool = True) -> dict[str, Any]:
    """Return the order in which the activations of a pretrained network go, and the loss after each; keep it in a file.

    Returns
    -------
    dict
        ``order``, names of the activations, the first to go first; ``losses``, the validation losses before the first
        goes and after each, without any training in between; ``multiply_adds`` of the merged networks.
    """
    path = workspace.folder_of(pretrained) / "choice.json"
    if path.exists():
        return read_json(path, "a choice of activations", {"order": list, "losses": list, "multiply_adds": list})
    model = pretrained.whole_network()
    load_weights(model, pretrained, workspace)
    training, validation, _ = images_of(pretrained, workspace)
    some = validation.images[:LOOKED_AT], validation.labels[:LOOKED_AT]
    chosen = order_of_removal(
        model.to(resolve_device(workspace.device)),
        training.images[spread_evenly(len(training), LOOKED_AT)],
        LabelledImages(*some),
        partial(merged_macs, pretrained.network, in_shape=pretrained.in_shape),
        progress=progress,
    )
    write_json(path, chosen)
    return chosen


def order_of_removal(
    model: nn.Module,
    images: torch.Tensor,
    validation: LabelledImages,
    macs_of: Callable[[Collection[str]], int],
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Take the activations of a network to the identity one by one, each time the one that is missed least.

    Missed least is the one whose removal raises the cross entropy on images for validation least for each MAC that it
    saves; where none saves any, the one that raises it least. The running statistics are those of the network without
    the activation, estimated from ``images``. The network is left without activations.

    Parameters
    ----------
    model : nn.Module
        Trained network.
    images : uint8 tensor (N, *in_shape)
        Training images, for the running statistics.
    validation : LabelledImages
        Images for the cross entropy.
    macs_of : callable
        Returns the MACs of the merged network, given the names of the activations that are left.
    progress : bool
        Whether to draw a progress bar on standard error.

    Returns
    -------
    dict
        As in `choice_of`.
    """

    def loss_with(left: Collection[str]) -> float:
        set_activation_slope(model, {name: float(name not in left) for name in every})
        recalibrate(model, images, layer_by_layer=True)
        scores = predict_scores(model, validation.images)
        return float(cross_entropy(scores, validation.labels).nan_to_num(torch.inf))

    every = list(activation_slopes(model))
    left, order = list(every), list[str]()
    losses, macs = [loss_with(left)], [macs_of(left)]
    with tqdm(total=len(left) * (len(left) + 1) // 2, desc="choosing", disable=not progress) as bar:
        while left:
            found = {}
            for name in left:
                others = [other for other in left if other != name]
                found[name] = loss_with(others), macs_of(others)
                bar.update(1)
            saving = [name for name in left if found[name][1] < macs[-1]]
            least = min(saving or left, key=partial(_missed, found, losses[-1], macs[-1]))
            order.append(least)
            left.remove(least)
            losses.append(found[least][0])
            macs.append(found[least][1])
    set_activation_slope(model, 1)
    return {"order": order, "losses": losses, "multiply_adds": macs}


def _missed(found: dict[str, tuple[float, int]], loss: float, macs: int, name: str) -> float:
    """Return by how much an activation is missed: the rise of the loss, for each MAC where its removal saves any."""
    rise, saved = found[name][0] - loss, macs - found[name][1]
    # a fall of the loss is worth as much as it is, not less because more is saved
    return rise / saved if saved > 0 and rise > 0 else rise
