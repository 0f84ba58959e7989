"""Functions of arrays that work for numpy arrays and torch tensors alike, where their methods differ.

A graph is evaluated with numpy arrays, or with torch tensors where `gpu` composes on an accelerator. This module uses
the methods of a tensor and never imports torch: where there is a tensor, its library is imported already (`library`).

Operations that work pixel by pixel keep images in memory as (*spatial, N, channels): the numbers of one pixel lie
together, and a slice of pixels is a matrix without a copy. The shape of such an array stays (N, channels, *spatial).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from linalg_cnn.exact import to_exact
from linalg_cnn.types import Array, IntArray, Shape


def permute(x: Any, order: Shape) -> Any:
    """Return a view with the axes in another order."""
    return x.transpose(order) if isinstance(x, np.ndarray) else x.permute(order)


def like(values: Array, x: Any) -> Any:
    """Return numbers as an array of the same kind as ``x``, on its device."""
    return values if isinstance(x, np.ndarray) else x.new_tensor(values.copy(order="C"))


_kept: ContextVar[dict[Any, tuple[Any, Any]] | None] = ContextVar("what is computed once", default=None)
"""Results by the identity of what they were computed from, which is kept, so that no other object has its place."""


@contextmanager
def parameters_stay() -> Iterator[None]:
    """Say that parameters are not changed within the context: then what follows from them alone is computed once.

    These are copies of parameters on a device (`parameter_like`), and what operations compute from their parameters
    (`computed_once`). Contexts may be nested; the outermost one keeps the results. Threads share them that run in a
    copy of the caller's context (``contextvars.copy_context``), and no others.
    """
    token = _kept.set({} if (kept := _kept.get()) is None else kept)
    try:
        yield
    finally:
        _kept.reset(token)


def computed_once(owner: Any, name: Any, compute: Callable[[], Any]) -> Any:
    """Return what an operation computes from its parameters; the same object at every use within `parameters_stay`.

    Threads that need a result at the same time may each compute it; all of them get the one that is kept first. To wait
    for another thread would take as long, and a lock could be held while ``compute`` needs further results.

    Parameters
    ----------
    owner : object
        The operation, or an array of parameters.
    name : hashable
        What is computed, among the results of this owner.
    compute : callable
        Function that computes it.
    """
    kept = _kept.get()
    if kept is None:
        return compute()
    key = id(owner), name
    if key not in kept:
        kept.setdefault(key, (owner, compute()))
    return kept[key][1]


def parameter_like(values: Array, x: Any) -> Any:
    """Return a parameter as `like` does, and as the same tensor at every use within `parameters_stay`.

    A tensor has the axes of ``values`` in their order in memory: reordering them is faster on the device. A view that
    is made anew is another array.
    """
    if isinstance(x, np.ndarray):
        return values
    return computed_once(
        values, (x.dtype, x.device), lambda: library(x).from_numpy(np.require(values, requirements="W")).to(x)
    )


def library(x: Any) -> Any:
    """Return the module whose functions take an array: that of numpy, or of the tensor ``x``.

    Notes
    -----
    Source: the ``array_namespace`` of array-api-compat, which does not import the libraries of tensors either.
    """
    return sys.modules[type(x).__module__.partition(".")[0]]


def free_bytes(x: Any) -> int | None:
    """Return the memory of the CUDA device of a tensor that new tensors may take; None for a tensor elsewhere.

    It is what the device has free, and what torch keeps of tensors that were deleted: the device counts that as taken.
    """
    if not x.is_cuda:
        return None
    cuda = library(x).cuda
    kept = cuda.memory_reserved(x.device) - cuda.memory_allocated(x.device)
    return int(cuda.mem_get_info(x.device)[0] + kept)


def index_like(index: IntArray, x: Any) -> Any:
    """Return positions as an index of ``x``."""
    return index if isinstance(x, np.ndarray) else x.new_tensor(index).long()


def number_like(value: Any, x: Any) -> Any:
    """Return a number, such as an int or a Fraction, as an array without axes of the same kind and dtype as ``x``."""
    if not isinstance(x, np.ndarray):
        return x.new_tensor(float(value))
    return to_exact(np.array(value, object)) if x.dtype == object else np.array(float(value), x.dtype)


def as_counts(condition: Any) -> Any:
    """Return truth values as integers of 8 bits, without a copy where that is possible."""
    return condition.view(np.int8) if isinstance(condition, np.ndarray) else condition.char()


def where(condition: Any, x: Any, y: Any) -> Any:
    """Return entries of ``x`` where a condition holds and of ``y`` where not."""
    return np.where(condition, x, y) if isinstance(condition, np.ndarray) else x.where(condition, y)


def is_infinite(x: Any) -> Any:
    """Return where the entries of an array of floats are infinite; exact ones are finite."""
    if not isinstance(x, np.ndarray):
        return x.isinf()
    return np.zeros(x.shape, bool) if x.dtype == object else np.isinf(x)


def is_nan(x: Any) -> Any:
    """Return where the entries of an array of floats are not numbers (NaN); exact ones always are."""
    if not isinstance(x, np.ndarray):
        return x.isnan()
    return np.zeros(x.shape, bool) if x.dtype == object else np.isnan(x)


def zeros(shape: Shape, x: Any, parameters: Array | None = None) -> Any:
    """Return zeros as an array of the same kind as ``x``, of the dtype of its products with ``parameters``."""
    if isinstance(x, np.ndarray):
        return np.zeros(shape, x.dtype if parameters is None else np.result_type(x, parameters))
    return x.new_zeros(shape)


def zeros_laid_like(x: Any, shape: Shape) -> Any:
    """Return zeros of another shape whose axes have the same order in memory as those of ``x``."""
    if isinstance(x, np.ndarray):
        return np.zeros_like(x, shape=shape)
    order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
    return permute(x.new_zeros([shape[axis] for axis in order]), tuple(int(axis) for axis in np.argsort(order)))


def to_pixels(x: Any) -> Any:
    """Return a batch (N, channels, *spatial) as (*spatial, N, channels), contiguous."""
    pixels = permute(x, (*range(2, x.ndim), 0, 1))
    return np.ascontiguousarray(pixels) if isinstance(x, np.ndarray) else pixels.contiguous()


def from_pixels(x: Any) -> Any:
    """Return (*spatial, N, channels) as a view (N, channels, *spatial)."""
    return permute(x, (x.ndim - 2, x.ndim - 1, *range(x.ndim - 2)))


def to_channels(x: Any) -> Any:
    """Return a batch (N, channels, *spatial) as (channels, *spatial, N), contiguous."""
    channels = permute(x, (*range(1, x.ndim), 0))
    return np.ascontiguousarray(channels) if isinstance(x, np.ndarray) else channels.contiguous()


def from_channels(x: Any) -> Any:
    """Return (channels, *spatial, N) as a view (N, channels, *spatial)."""
    return permute(x, (x.ndim - 1, *range(x.ndim - 1)))


def along_axis(x: Any, axis: int, apply: Callable[[Any], Any]) -> Any:
    """Return what a function of the last axis gives along another axis of an array or a tensor."""
    result = apply(permute(x, (*(i for i in range(x.ndim) if i != axis), axis)))
    order = list(range(x.ndim - 1))
    order.insert(axis, x.ndim - 1)
    return permute(result, tuple(order))


def concatenate(xs: Sequence[Any], axis: int) -> Any:
    """Return several arrays of one kind joined along an axis."""
    return np.concatenate(xs, axis) if isinstance(xs[0], np.ndarray) else library(xs[0]).cat(tuple(xs), axis)


def add_at(x: Any, columns: IntArray, values: Any) -> None:
    """Add values (N, columns) to columns of ``x``, which is modified; a column that is named twice gets both."""
    if not isinstance(x, np.ndarray):
        x.index_add_(1, index_like(columns, x), values)
    elif len(np.unique(columns)) == len(columns):
        x[:, columns] += values
    else:
        np.add.at(x.T, columns, values.T)


def take_along(x: Any, index: Any) -> Any:
    """Return the entries of vectors (N, k, size) that an index (N, n) names, the same for the k vectors of a sample."""
    if isinstance(x, np.ndarray):
        return np.take_along_axis(x, index[:, np.newaxis], axis=2)
    return x.gather(2, index[:, None].expand(-1, x.shape[1], -1))


def add_along(y: Any, index: Any, size: int) -> Any:
    """Return the transpose of `take_along`: vectors (N, k, size) of the sums of what an index (N, n) sends there."""
    count, vectors = y.shape[:2]
    if not isinstance(y, np.ndarray):
        return y.new_zeros(count, vectors, size).scatter_add_(2, index[:, None].expand(-1, vectors, -1), y)
    starts = np.arange(count * vectors).reshape(count, vectors, 1) * size
    goals = (starts + index[:, np.newaxis]).ravel()
    if y.dtype != object:
        sums = np.bincount(goals, y.ravel(), count * vectors * size).astype(y.dtype, copy=False)
    else:
        sums = np.zeros(count * vectors * size, object)
        np.add.at(sums, goals, y.ravel())
    return sums.reshape(count, vectors, size)


def sums_like(xs: Any, shape: Shape) -> Any:
    """Return the sums (n, size) of each of n arrays over the axes along which an array of a shape is broadcast to it.

    The inner product of an array with one that broadcasts to it is that of these sums with its entries.
    """
    count = len(xs)
    shape = (*(1,) * (xs.ndim - 1 - len(shape)), *shape)
    if isinstance(xs, np.ndarray) and shape[0] == xs.shape[1] and all(size == 1 for size in shape[1:]):
        # Pixel by pixel as they lie in memory: numpy's sum over the last axes of a view takes ten times as long.
        return to_pixels(xs).reshape(-1, count * shape[0]).sum(0).reshape(count, -1)
    same = tuple(axis for axis in range(1, xs.ndim) if shape[axis - 1] == 1 != xs.shape[axis])
    return (xs.sum(same) if same else xs).reshape(count, -1)


def as_numpy(x: Any) -> Array:
    """Return an array, or a torch tensor on any device, as a numpy array."""
    array: Array = x if isinstance(x, np.ndarray) else x.cpu().numpy()
    return array
