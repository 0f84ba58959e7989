"""Whether `gpu.linearize` replaces what is refused: a refusal recommends it only where it does."""

import re
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from gpu.models.linearization import linearized
from gpu.models.linearizing.inputs import random_inputs
from gpu.models.linearizing.report import Linearized
from gpu.models.nonlinearities import IDENTITY, PIECEWISE
from gpu.models.sloped import without_slopes
from gpu.tracing.not_affine import LINEARIZE, Obstacle
from linalg_cnn.types import Shape


def with_advice(
    module: nn.Module, in_shape: Shape, obstacles: Sequence[Obstacle], *, piecewise: bool = False
) -> list[Obstacle]:
    """Return obstacles that recommend `gpu.linearize` only where it replaces the operation.

    Where operations may be piecewise linear, another activation is recommended: the identity, which `gpu.linearize`
    puts in the place of all activations, would make a network affine that need not be.

    Parameters
    ----------
    module : nn.Module
        The refused module; a copy of it is linearised.
    in_shape : tuple of int
        Shape of one sample of its input.
    obstacles : sequence of Obstacle
        What is not affine in it.
    piecewise : bool
        Whether operations may be piecewise linear.
    """
    if not any(obstacle.remedy.endswith(LINEARIZE) for obstacle in obstacles):
        return list(obstacles)
    try:
        bare = without_slopes(module)  # whose activations the obstacles name by their own classes
        done = linearized(bare, random_inputs(bare, in_shape))
    except ValueError:  # it can be exported, but not be run
        done = Linearized(module)
    advised = [_with_advice(part, done) if part.remedy.endswith(LINEARIZE) else part for part in obstacles]
    if not piecewise:
        return advised
    return [replace(part, remedy=PIECEWISE) if part.remedy.startswith(IDENTITY) else part for part in advised]


def _with_advice(obstacle: Obstacle, done: Linearized) -> Obstacle:
    """Return one obstacle with the reason why `gpu.linearize` leaves the operation, if it does."""
    path, _, kind = obstacle.place.partition(": ")
    found = re.search(r" \((.+), line (\d+)\)$", kind)
    place = ("" if path == "the module" else path, f"line {found[2]} of {found[1]}" if found else "")
    kept = [part for part in done.kept if (part.path, part.line_of_forward) == place]
    if kept and place in done.replaced:
        return replace(obstacle, remedy=f"{obstacle.remedy}, but {kept[0]}")
    if kept:
        return replace(obstacle, remedy=kept[0].reason)
    if place in done.replaced:
        return obstacle
    return replace(obstacle, remedy=obstacle.remedy.removesuffix(LINEARIZE))
