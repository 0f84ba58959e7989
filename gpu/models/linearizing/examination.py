"""`examine`: run a copy of a network with its own operations, in both modes, and watch its activations."""

import contextlib
import inspect
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gpu.models.copying import copy_of
from gpu.models.linearizing.calls import is_of_torch
from gpu.models.linearizing.followed import Followed, follow
from gpu.models.linearizing.inputs import random_inputs, redrawn, sought_inputs
from gpu.models.linearizing.recording import Key, Record, Recording, recorded
from gpu.models.own_parts import UsesOf

MODES = (True, False)
"""Whether a run is in training mode, in the order of reports."""

SEEDS = (1, 2, 3)
"""Random states of the runs of a network that draws random numbers; others are run with the first only."""


@dataclass
class Examination:
    """What runs of a network have shown.

    Attributes
    ----------
    inputs : dict
        The arguments of the forward in each mode in which it could be run.
    errors : dict
        The error in each mode in which it could not be run.
    records : dict
        The activations that were called.
    closed : set of str
        Paths of modules whose classes do not let others be derived from them.
    """

    inputs: dict[bool, tuple[Any, ...]] = field(default_factory=dict)
    errors: dict[bool, Exception] = field(default_factory=dict)
    records: dict[Key, Record] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)


def followable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules, by their paths, whose forward is not one of torch's own files and may be followed."""
    own = (part for part in model.named_modules() if not isinstance(part[1], torch.jit.ScriptModule))
    return {path: part for path, part in own if not is_of_torch(type(part))}


def examine(model: nn.Module, inputs: tuple[Any, ...] | None) -> Examination:
    """Run a copy of a network and return what its activations become.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    inputs : tuple, optional
        Arguments of its forward; by default shapes that fit its first layers are tried.

    Raises
    ------
    SharedPartsError
        If the copy works with parts of the network; it is a ValueError.
    """
    found, scratch = Examination(), copy_of(model)
    uses = UsesOf(model)
    tensors = (*model.named_parameters(), *model.named_buffers())
    if lazy := next((name for name, tensor in tensors if is_lazy(tensor)), None):
        error: Exception = ValueError(f"{lazy} is not initialised; run the network on a batch first")
        found.errors = dict.fromkeys(MODES, error)
        return found
    for path, part in followable(scratch).items():
        answers = part._linearize_answers if isinstance(part, Followed) else {}
        try:
            follow(part, answers, restores=True)
        except TypeError:
            found.closed.add(path)
    with torch.inference_mode(mode=False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strangers: dict[int, torch.Tensor] = {}
        for training in reversed(MODES):
            known = next(iter(found.inputs.values()), inputs)
            unfit = _binding_error(model, inputs)
            if unfit is not None:
                found.errors[training] = unfit
                continue
            candidates = sought_inputs(scratch) if known is None else _first(known, inputs is None, model)
            for candidate in candidates:
                try:
                    # the first run makes what is made once, and shows the constants that no function makes
                    strangers |= _run(scratch, candidate, training, 0, {}, {}, uses)[0]
                except Exception as error:  # a forward may raise any error
                    found.errors.setdefault(training, error)
                else:
                    found.inputs[training] = candidate
                    found.errors.pop(training, None)
                    break
        for training in [mode for mode in MODES if mode in found.inputs]:
            for seed in SEEDS:
                try:
                    read, drew = _run(scratch, found.inputs[training], training, seed, found.records, strangers, uses)
                except Exception as error:  # raised for some random numbers only
                    found.errors[training] = error
                    break
                strangers |= read
                if not drew:
                    break
    uses.check()
    for (path, site), record in found.records.items():
        if path in found.closed and site:
            record.obstacle = "its module's class does not let others be derived from it"
    return found


def _binding_error(model: nn.Module, inputs: tuple[Any, ...] | None) -> Exception | None:
    """Return why a forward cannot be called with some inputs, or with one argument; None if it can."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a forward that is not written in Python
        return None
    try:
        signature.bind(*((None,) if inputs is None else inputs))
    except TypeError as error:
        return error
    return None


def _first(known: tuple[Any, ...], sought: bool, model: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Yield arguments that are known to fit in one mode, and larger ones, if they were sought, for the other mode."""
    yield known
    if sought and isinstance(known[0], torch.Tensor) and known[0].ndim > 2:
        shape = known[0].shape
        for size in (64, 128, 299):
            if size > shape[-1]:
                yield (random_inputs(model, (shape[1], *(size,) * (len(shape) - 2))),)


def _run(
    scratch: nn.Module,
    inputs: tuple[Any, ...],
    training: bool,
    seed: int,
    records: dict[Key, Record],
    strangers: dict[int, torch.Tensor],
    uses: UsesOf,
) -> tuple[dict[int, torch.Tensor], bool]:
    """Run a network once, and add to the records.

    Returns the tensors that it read and no function had made, and whether it drew random numbers.
    """
    for set_seed in (torch.manual_seed, random.seed, np.random.seed):
        set_seed(seed)
    arguments = redrawn(inputs, torch.Generator().manual_seed(seed))
    scratch.train(training)  # a train of the user's own may return nothing
    recording = Recording(scratch, arguments, records, strangers)
    before = _random_states()
    with uses, recorded(recording):
        scratch(*arguments)
    return recording.strangers, not _same(before, _random_states())


def _random_states() -> tuple[Any, ...]:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - a forward may draw from it
    return random.getstate(), state["state"]["pos"], state["state"]["key"].tolist(), torch.get_rng_state()


def _same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    return before[:3] == after[:3] and torch.equal(before[3], after[3])


@contextlib.contextmanager
def run_eagerly() -> Iterator[None]:
    """Run modules that torch.compile wraps without compiling them."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
