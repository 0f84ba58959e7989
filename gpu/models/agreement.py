"""Whether a rewritten module computes what the original does: outputs, buffers and gradients on the same input."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Number
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from gpu.models.copying import copy_of
from gpu.models.own_parts import SharedPartsError, UsesOf
from gpu.models.surroundings import surroundings_kept
from linalg_cnn.types import Shape


def disagreement(
    original: nn.Module,
    rewritten: nn.Module,
    inputs: Any,
    *,
    gradients: bool = False,
    double: bool = False,
    training: bool | None = None,
    apart_from: Collection[str] = (),
    rtol: float | None = None,
) -> str | None:
    """Return where two modules compute different values on the same input, None if they agree.

    Copies of both are run, from the same random states and with the same globals. The modules, the inputs, and what
    the copies reach beside themselves stay as they were (`surroundings_kept`).

    Parameters
    ----------
    original, rewritten : nn.Module
        The modules.
    inputs : tensor, or tuple of arguments
        The input, or the positional arguments of the forward; tensors in lists and dicts are arguments' tensors, too.
    gradients : bool
        Compare the gradients of the parameters that both have by name, and those of the floating-point inputs, for
        random cotangents of the outputs. False by default.
    double : bool
        Compare in float64: convert the copies and the floating-point inputs. By default the dtypes stay.
    training : bool, optional
        Mode in which both are run: training or evaluation mode. By default each part is run in its present mode.
    apart_from : collection of str
        Names of buffers that the rewriting changed on purpose, which are not compared.
    rtol : float, optional
        Difference allowed, as a fraction of a tensor's largest absolute value; 0 means the same bits, up to the sign
        of zero. By default it is the square root of the machine epsilon of the tensor's dtype: half of its digits.

    Returns
    -------
    str or None
        A sentence that names the first output, buffer or gradient that differs, and by how much. Buffers, such as
        running statistics, are compared by name as the run left them. NaN equals NaN, and an infinity equals itself.

    Raises
    ------
    SharedPartsError
        If a copy works with parts of its module; it is a ValueError.
    Exception
        The error of the original, if it cannot be run on the inputs. An error of the rewritten module alone is a
        disagreement.

    Examples
    --------
    >>> first, x = nn.Linear(3, 2), torch.ones(4, 3)
    >>> disagreement(first, nn.Sequential(first), x)
    >>> disagreement(nn.Identity(), nn.ReLU(), torch.tensor([-1.0, 2.0]))
    'the output differs by 0.5 of its largest absolute value, which is 2'
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    expected = _run(original, arguments, gradients, double, training)
    try:
        got = _run(rewritten, arguments, gradients, double, training)
    except Exception as error:  # a forward may raise any error
        return f"the rewritten module raises {type(error).__name__}: {error}"
    for name in expected.outputs.keys() ^ got.outputs.keys():
        return f"{name} is in one of the two only"
    for name in apart_from:
        expected.buffers.pop(_buffer(name), None)
    # a gradient that is zero in exact arithmetic, as that of a bias before batch normalisation, is the others' rounding
    floor = 1e-3 * max(map(_largest, expected.gradients.values()), default=0.0)
    return (
        _first_difference(expected.outputs, got.outputs, rtol)
        or _first_difference(expected.buffers, got.buffers, rtol)
        or _first_difference(expected.gradients, got.gradients, rtol, floor)
    )


def check_agreement(
    original: nn.Module,
    rewritten: nn.Module,
    inputs: Any = None,
    *,
    double: bool = False,
    apart_from: Collection[str] = (),
    rtol: float | None = None,
    modes: Sequence[bool] = (False, True),
) -> None:
    """Refuse a rewritten network that computes something else than the original, in evaluation or in training mode.

    Parameters
    ----------
    original, rewritten : nn.Module
        The networks.
    inputs : tensor, or tuple of arguments, optional
        The input to compare on; by default two random images of the first of `image_shapes` with which the original
        can be run.
    double, apart_from, rtol
        As in `disagreement`.
    modes : sequence of bool
        Modes in which they are compared: False for evaluation mode, True for training mode.

    Raises
    ------
    ValueError
        If the networks disagree, the original cannot be run, or the input has no numbers to compare on.
    SharedPartsError
        If a copy of the original works with parts of the original; it is a ValueError.
    """
    if inputs is not None:
        _check_comparable(inputs)
    errors: list[Exception] = []
    ran = False
    for candidate in images_for(original) if inputs is None else [inputs]:
        for training in modes:
            try:
                sentence = disagreement(
                    original,
                    rewritten,
                    candidate,
                    double=double,
                    training=training,
                    apart_from=apart_from,
                    rtol=rtol,
                )
            except SharedPartsError:
                raise
            except Exception as error:  # a forward may raise any error
                errors.append(error)
                break
            if sentence is not None:
                raise ValueError(
                    "model: expected a network that computes the same after rewriting, got one that does not: in "
                    f"{'training' if training else 'evaluation'} mode {sentence}; a part of it computes otherwise than "
                    "its class says, or has weights that are not finite"
                )
            ran = True
        else:
            return
    if not ran:  # one that runs in evaluation mode only has nothing to be kept in training mode
        got = f"{type(errors[0]).__name__}: {errors[0]}" if errors else "no layer that says which images it takes"
        raise ValueError(
            "model: expected a network that can be run, to compare the result with it, got "
            f"{got}; inputs=... names the arguments of its forward"
        ) from (errors[0] if errors else None)


def _check_comparable(inputs: Any) -> None:
    """Refuse an input on which all networks agree.

    Raises
    ------
    ValueError
        If all of its tensors are empty, or each one of floats has an entry that is NaN or infinite.
    """
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    floats = [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]
    if tensors and not any(tensor.numel() for tensor in tensors):
        raise ValueError("inputs: expected numbers to compare the networks on, got an empty batch")
    # one of several may be infinite on purpose, as a mask is
    if floats and not any(tensor.numel() and bool(torch.isfinite(tensor).all()) for tensor in floats):
        raise ValueError("inputs: expected finite numbers to compare the networks on, got NaN or infinite ones")


def image_shapes(model: nn.Module) -> Iterator[Shape]:
    """Yield shapes of images that a network may take, from its first part that says so: ``in_shape`` or channels."""
    for part in model.modules():
        in_shape: Any = getattr(part, "in_shape", None)
        if isinstance(in_shape, tuple):
            yield in_shape
            return
        if isinstance(part, nn.Conv2d):
            # 64 is cheap; the others are those of networks that were built for one size
            yield from ((part.in_channels, side, side) for side in (64, 32, 28, 224, 96, 128, 299))
            return


def images_for(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield two random images of each shape that the network may take, in its dtype and on its device."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(()))
    for shape in image_shapes(model):
        yield torch.randn((2, *shape), generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


Values = dict[str, Any]
"""Tensors and numbers by the words that name them in a sentence."""


class Found(NamedTuple):
    """What a run gave."""

    outputs: Values
    buffers: Values
    gradients: Values


def _run(module: nn.Module, arguments: tuple[Any, ...], gradients: bool, double: bool, training: bool | None) -> Found:
    """Run a copy of a module; return its outputs, the buffers afterwards, and the gradients if they are asked for."""
    with surroundings_kept(module), torch.inference_mode(mode=False), torch.set_grad_enabled(gradients):
        runner = copy_of(module)
        if double:
            runner.double()
        if training is not None:
            runner.train(training)
        runner.zero_grad(set_to_none=True)  # the module may hold gradients of its own
        leaves: list[torch.Tensor] = []

        def prepared(tensor: torch.Tensor) -> torch.Tensor:
            """Return a tensor of the forward's own, which it may write into."""
            fresh = tensor.detach().clone()
            if double and fresh.is_floating_point():
                fresh = fresh.double()
            if gradients and (fresh.is_floating_point() or fresh.is_complex()):
                leaves.append(fresh.requires_grad_())
                fresh = fresh.clone()
            return fresh

        uses = UsesOf(module)
        given = tree_map_only(torch.Tensor, prepared, arguments)
        try:
            with uses:
                result = runner(*given)
        finally:  # if parts are shared, an error follows from that
            uses.check()
        outputs = dict(_leaves("the output", result))
        # clones, because an output may be a buffer, and a hook of the backward pass may write into either
        found = Found(
            {name: _still(value) for name, value in outputs.items()},
            {_buffer(name): _still(value) for name, value in runner.named_buffers()},
            {},
        )
        if gradients:
            _backward([value for value in outputs.values() if isinstance(value, torch.Tensor) and value.requires_grad])
            found.gradients.update({f"the gradient of {name}": p.grad for name, p in runner.named_parameters()})
            found.gradients.update({f"the gradient of input {i}": leaf.grad for i, leaf in enumerate(leaves)})
        return found


def _buffer(name: str) -> str:
    return f"the buffer {name} after the run"


def _still(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _backward(outputs: list[torch.Tensor]) -> None:
    """Add the gradients for cotangents that are the same for outputs of the same shapes.

    `torch.autograd.grad` would not do: it refuses a network with reentrant checkpoints.
    """
    generator = torch.Generator().manual_seed(0)
    cotangents = [torch.randn(output.shape, generator=generator).to(output) for output in outputs]
    if outputs:
        torch.autograd.backward(outputs, cotangents)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each tensor, number or other object in nested containers."""
    if isinstance(value, Mapping):
        parts = [(f"{name}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{name}[{number}]", part) for number, part in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)]
    else:
        yield name, value
        return
    for part_name, part in parts:
        yield from _leaves(part_name, part)


def _first_difference(expected: Values, got: Values, rtol: float | None, floor: float = 0.0) -> str | None:
    """Return a sentence on the first value of a name common to both that differs, None if none does."""
    for name, value in expected.items():
        difference = _difference(value, got[name], rtol, floor) if name in got else None
        if difference is not None:
            return f"{name} {difference}"
    return None


def _difference(expected: Any, got: Any, rtol: float | None, floor: float) -> str | None:
    """Return the predicate of a sentence on how a value differs; values below ``floor`` are measured by it."""
    if type(expected) is not type(got):
        return f"is of type {type(got).__name__}, expected {type(expected).__name__}"
    if not isinstance(expected, torch.Tensor):
        comparable = expected is None or isinstance(expected, (Number, str))
        same = expected is got or (comparable and (expected == got or (expected != expected and got != got)))
        return None if same else f"is {got!r}, expected {expected!r}"
    for attribute in ("shape", "dtype", "device"):
        mine, theirs = getattr(expected, attribute), getattr(got, attribute)
        if mine != theirs:
            return f"has the {attribute} {theirs}, expected {mine}"
    if expected.layout != torch.strided:
        expected, got = expected.to_dense(), got.to_dense()
    same_entries = (expected == got) | ((expected != expected) & (got != got))
    if same_entries.all():
        return None
    finite = torch.isfinite(expected) & torch.isfinite(got)
    if not (same_entries | finite).all():
        return "is not finite in the same places"
    apart = _wide(got[finite]) - _wide(expected[finite])
    largest, difference = _largest(expected), float(apart.abs().max())
    exact = not (expected.is_floating_point() or expected.is_complex())
    allowed = 0.0 if exact else torch.finfo(expected.dtype).eps ** 0.5 if rtol is None else rtol
    if difference <= allowed * max(largest, floor):
        return None
    share = (
        f"{difference / largest:.2g} of its largest absolute value, which is" if largest else f"{difference:.2g} from"
    )
    return f"differs by {share} {largest:.3g}"


def _largest(value: Any) -> float:
    """Return the largest absolute value of the finite entries of a tensor, 0 without any."""
    if not isinstance(value, torch.Tensor):
        return 0.0
    entries = _wide(value.to_dense() if value.layout != torch.strided else value)
    entries = entries[torch.isfinite(entries)].abs()
    return float(entries.max()) if entries.numel() else 0.0


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
