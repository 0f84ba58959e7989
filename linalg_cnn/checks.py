"""Argument checks. Every message names the argument, says what was expected and what came."""

import operator
import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import sympy

from linalg_cnn.exact import to_exact
from linalg_cnn.types import Array, Shape


def check_int(name: str, value: object, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum``.

    Raises
    ------
    ValueError
        If it is smaller, or not an integer. A bool counts as a slip, not as 0 or 1.
    """
    number = _as_index(value)
    if number is None or number < minimum:
        raise ValueError(f"{name}: expected an int of at least {minimum}, got {value!r}")
    return number


def _as_index(value: object) -> int | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_per_axis(name: str, value: object, axes: int, minimum: int) -> Shape:
    """Return one int per spatial axis from an int (taken for every axis) or a sequence of ``axes`` ints.

    Raises
    ------
    ValueError
        If the number of entries is wrong or an entry is not an int of at least ``minimum``.
    """
    if not isinstance(value, (tuple, list, np.ndarray)):
        return (check_int(name, value, minimum),) * axes
    if len(value) != axes:
        raise ValueError(f"{name}: expected an int or {axes} ints, one per spatial axis, got {value!r}")
    return tuple(check_int(f"{name}[{axis}]", entry, minimum) for axis, entry in enumerate(value))


def check_shape(name: str, shape: object, axes: int | None = None) -> Shape:
    """Return ``shape`` as a tuple of positive ints: (channels, *spatial), or (features,) after a dense layer.

    Raises
    ------
    ValueError
        If it is not a non-empty sequence of positive ints, or does not have ``1 + axes`` entries.
    """
    if not isinstance(shape, (tuple, list, np.ndarray)) or len(shape) == 0:
        raise ValueError(f"{name}: expected a shape (channels, *spatial), got {shape!r}")
    sizes = tuple(check_int(f"{name}[{axis}]", size, 1) for axis, size in enumerate(shape))
    if axes is not None and len(sizes) != 1 + axes:
        raise ValueError(f"{name}: expected (channels, *spatial) with {axes} spatial axes, got {sizes}")
    return sizes


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises
    ------
    ValueError
        If it is not.
    """
    allowed = tuple(choices)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_array(name: str, value: object, ndim: int | None = None, copy: bool = True) -> Array:
    """Return ``value`` as an array that the library computes with.

    float32 and float64 stay what they are, integers become float64. Objects must be sympy expressions (Python
    ints and Fractions may stand among them) and stay exact.

    Parameters
    ----------
    name : str
        The argument, for messages.
    value : array_like, sympy matrix or sympy array
    ndim : int, optional
        The number of axes it must have.
    copy : bool
        Whether to copy, so that nobody can change a frozen object from outside; else only where needed.

    Returns
    -------
    ndarray
        float32, float64, or object with sympy expressions.

    Raises
    ------
    TypeError
        For any other dtype: bool, float16, complex, strings, objects that are not sympy expressions.
    ValueError
        If the number of axes is wrong, an axis is empty, or an entry is NaN or infinite.
    """
    if isinstance(value, (sympy.MatrixBase, sympy.NDimArray)):
        array = np.array(value.tolist(), dtype=object).reshape(value.shape)
    else:
        try:
            array = np.array(value) if copy else np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name}: expected a rectangular array, got rows of different lengths") from error
    if array.dtype == object:
        array = _as_expressions(name, array)
    elif array.dtype.kind in "iu":
        array = array.astype(np.float64)
    elif array.dtype.type in (np.float32, np.float64):
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    else:
        raise TypeError(f"{name}: expected float32, float64, integers or sympy expressions, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one entry along every axis, got shape {array.shape}")
    _check_finite(name, array)
    return array


def _as_expressions(name: str, array: Array) -> Array:
    entries = array.ravel().tolist()
    stray = [e for e in entries if not isinstance(e, (sympy.Expr, int, np.integer, Fraction)) or isinstance(e, bool)]
    if not any(isinstance(e, sympy.Expr) for e in entries):
        stray = entries
    if stray:
        raise TypeError(
            f"{name}: expected float32, float64, integers or sympy expressions, "
            f"got dtype object with entries of type {type(stray[0]).__name__}"
        )
    return to_exact(array)


def _check_finite(name: str, array: Array) -> None:
    if array.dtype == object:
        bad = [entry for entry in array.ravel() if entry.is_finite is False or entry is sympy.nan]
        found = bad[0] if bad else None
    else:
        flat = array[~np.isfinite(array)]
        found = flat[0] if flat.size else None
    if found is not None:
        # torch answers NaN everywhere; a matrix would drop the taps on the padding. Neither is an answer.
        raise ValueError(f"{name}: expected finite entries, got {found}")


def as_numbers(x: npt.ArrayLike) -> Array:
    """Return data (not a parameter) as an array to compute with: integers and bools become float64."""
    array = np.asarray(x)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def check_memory(what: str, n_bytes: int, max_bytes: int | None = None) -> None:
    """Refuse a result that would not fit, before any memory is taken.

    Parameters
    ----------
    what : str
        The result, for the message.
    n_bytes : int
        What it will take, computed from the shapes.
    max_bytes : int, optional
        The limit; half of the machine's memory if not given.

    Raises
    ------
    MemoryError
        If it needs more.
    """
    limit = _default_max_bytes() if max_bytes is None else max_bytes
    if n_bytes > limit:
        raise MemoryError(
            f"{what} needs {n_bytes:,} bytes ({n_bytes / 2**30:.1f} GiB), more than the limit of {limit:,} bytes"
        )


def _default_max_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 8 * 2**30
