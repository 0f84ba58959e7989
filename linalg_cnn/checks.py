"""Argument checks. Every message names the argument and says what was expected and what was given."""

import math
import operator
from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import sympy

from linalg_cnn.exact import to_exact
from linalg_cnn.types import Array, Shape

LARGEST_SIZE = 2**40
"""Upper bound on the length of an axis. It keeps sums and products of sizes within 64 bits."""


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether an argument holds one entry per axis rather than one number for all axes."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def check_int(name: str, value: object, minimum: int, maximum: int = LARGEST_SIZE) -> int:
    """Return ``value`` as an int from ``minimum`` to ``maximum``.

    Raises
    ------
    ValueError
        If it is smaller, larger, or not an integer. A bool is refused as a mistake.
    """
    number = as_index(value)
    if number is None or number < minimum:
        raise ValueError(f"{name}: expected an int of at least {minimum}, got {value!r}")
    if number > maximum:
        raise ValueError(f"{name}: expected an int of at most {maximum}, got {value!r}")
    return number


def as_index(value: object) -> int | None:
    """Return ``value`` as an int, or None if it is not an integer; a bool is none."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_per_axis(name: str, value: object, axes: int, minimum: int) -> Shape:
    """Return one int per spatial axis, from an int for all axes or from a sequence of ``axes`` ints.

    Raises
    ------
    ValueError
        If the number of entries is wrong or an entry is not an int of at least ``minimum``.
    """
    if not is_sequence(value):
        return (check_int(name, value, minimum),) * axes
    if len(value) != axes:
        raise ValueError(f"{name}: expected an int or {axes} ints, one per spatial axis, got {value!r}")
    return tuple(check_int(f"{name}[{axis}]", entry, minimum) for axis, entry in enumerate(value))


def check_bool(name: str, value: object) -> None:
    """Refuse anything but True and False.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if value is not True and value is not False and not isinstance(value, np.bool_):
        raise ValueError(f"{name}: expected True or False, got {value!r}")


def as_float(value: object) -> float:
    """Return a real number as a float: NaN if ``value`` is none, or a bool, and infinite if it is too large.

    NaN is in no interval, so that ``if not 0 <= as_float(value) <= 1`` refuses whatever is no number in it.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an int may be larger than any float
        return math.inf if value > Fraction(0) else -math.inf


def check_sizes(name: str, value: object, minimum: int = 1) -> int | Shape:
    """Return an int for all axes, or a tuple of ints for a number of axes that is not known yet.

    Raises
    ------
    ValueError
        If an entry is not an int of at least ``minimum``, or there is none.
    """
    if not is_sequence(value):
        return check_int(name, value, minimum)
    if len(value) == 0:
        raise ValueError(f"{name}: expected an int, or one int per spatial axis, got {value!r}")
    return check_per_axis(name, value, len(value), minimum)


def check_shape(name: str, shape: object, axes: int | None = None) -> Shape:
    """Return a shape as a tuple of positive ints: (channels, *spatial), or (features,) after a dense layer.

    Raises
    ------
    ValueError
        If it is not a non-empty sequence of positive ints, or does not have ``1 + axes`` entries.
    """
    if not is_sequence(shape) or len(shape) == 0:
        raise ValueError(f"{name}: expected a shape (channels, *spatial), got {shape!r}")
    sizes = tuple(check_int(f"{name}[{axis}]", size, 1) for axis, size in enumerate(shape))
    if axes is not None and len(sizes) != 1 + axes:
        raise ValueError(f"{name}: expected (channels, *spatial) with {axes} spatial axes, got {sizes}")
    return sizes


def check_items(name: str, value: object, what: str) -> tuple[Any, ...]:
    """Return the items of an iterable, which may be a generator; a string is refused as a mistake.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    value : iterable
    what : str
        What its items are, for the message.

    Raises
    ------
    TypeError
        If it is not iterable.
    """
    try:
        items = None if isinstance(value, (str, bytes)) else iter(value)  # type: ignore[call-overload]
    except TypeError:
        items = None
    if items is None:
        raise TypeError(f"{name}: expected {what}, got {type(value).__name__}")
    return tuple(items)


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


def check_image(name: str, shape: object) -> tuple[int, list[int]]:
    """Return (channels, spatial sizes) of a shape with at least one spatial axis.

    Raises
    ------
    ValueError
        If it is not a shape, or has no spatial axis.
    """
    channels, *sizes = check_shape(name, shape)
    if not sizes:
        raise ValueError(f"{name}: expected (channels, *spatial) with a spatial axis, got {(channels,)}")
    return channels, sizes


def check_array(name: str, value: object, ndim: int | None = None, *, copy: bool = True, empty: bool = False) -> Array:
    """Return a parameter as an array that the library computes with.

    float32 and float64 are kept, and integers become float64. Objects must be sympy expressions, with Python ints and
    Fractions allowed among them, and stay exact.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    value : array_like, sympy matrix or sympy array
    ndim : int, optional
        Number of axes that it must have.
    copy : bool
        Whether to copy always, which protects a frozen object from changes outside, or only where needed.
    empty : bool
        Whether an axis may have no entries.

    Returns
    -------
    ndarray
        float32, float64, or object with sympy expressions.

    Raises
    ------
    TypeError
        For any other dtype: bool, float16, complex, strings, objects that are not sympy expressions.
    ValueError
        If the number of axes is wrong, an axis is empty, an entry is NaN or infinite, or an integer is too large
        for float64 to hold.
    """
    array = as_array(name, value)
    if array.dtype == object:
        array = _as_expressions(name, array)
    elif array.dtype.kind in "iu":
        if array.size and max(abs(int(array.max())), abs(int(array.min()))) > 2**53:
            raise ValueError(f"{name}: expected integers up to 2**53, which float64 holds exactly, got larger ones")
        array = array.astype(np.float64)
    elif array.dtype.type in (np.float32, np.float64):
        native = array.dtype.newbyteorder("=")
        array = array.astype(native, copy=copy)
    else:
        raise TypeError(f"{name}: {EXPECTED_NUMBERS}, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, got shape {array.shape}")
    if array.size == 0 and not empty:
        raise ValueError(f"{name}: expected at least one entry along every axis, got shape {array.shape}")
    if array.dtype != object:
        # torch would give NaN for every output, and a matrix would ignore the taps on the padding.
        check_finite(name, array)
    return array


def check_finite(name: str, array: Array) -> None:
    """Check numbers. Their sum is finite only if they are, and needs no second array to tell.

    Raises
    ------
    ValueError
        If one is NaN or infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum()) or np.isfinite(array).all()
    if not finite:
        raise ValueError(f"{name}: expected finite entries, got {array[~np.isfinite(array)].flat[0]}")


EXPECTED_NUMBERS = "expected float32, float64, integers or sympy expressions"


def as_array(name: str, value: object) -> Array:
    """Return a value as a numpy array, with errors that name the argument.

    Raises
    ------
    TypeError
        If numpy cannot convert it, such as a tensor that requires a gradient or a masked array.
    ValueError
        If its rows differ in length.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: {EXPECTED_NUMBERS}, got a masked array")
    if isinstance(value, (sympy.MatrixBase, sympy.NDimArray)):
        return np.array(value.tolist(), dtype=object).reshape(value.shape)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected a rectangular array, got rows of different lengths") from error
    except (RuntimeError, TypeError) as error:  # a torch tensor that requires a gradient, or whose dtype numpy lacks
        raise TypeError(f"{name}: {EXPECTED_NUMBERS}, got {type(value).__name__}: {error}") from error


def _as_expressions(name: str, array: Array) -> Array:
    entries = array.ravel().tolist()
    stray = [e for e in entries if isinstance(e, bool) or not isinstance(e, (sympy.Expr, int, Fraction))]
    if not any(isinstance(e, sympy.Expr) for e in entries):
        stray = entries
    if stray:
        raise TypeError(f"{name}: {EXPECTED_NUMBERS}, got dtype object with entries of type {type(stray[0]).__name__}")
    return check_exact(name, array)


def check_exact(name: str, array: Array) -> Array:
    """Return the same numbers as sympy expressions.

    Raises
    ------
    TypeError
        If an entry is neither a number nor a sympy expression.
    ValueError
        If an entry is NaN or infinite.
    """
    try:
        return to_exact(array)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def as_numbers(x: npt.ArrayLike, name: str = "x") -> Array:
    """Return data, as opposed to a parameter, as an array to compute with; integers, bools and float16 are widened.

    Raises
    ------
    TypeError
        For data that are neither real numbers of at most 64 bits nor sympy expressions, or a masked array.
    """
    array = x if type(x) is np.ndarray else as_array(name, x)
    if array.dtype.type in (np.float32, np.float64):
        return array
    if array.dtype == object:
        return check_exact(name, array)
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    raise TypeError(f"{name}: {EXPECTED_NUMBERS}, got dtype {array.dtype}")


def as_exact(x: npt.ArrayLike) -> Array:
    """Return data, as opposed to a parameter, as sympy expressions; integers may have any size.

    Raises
    ------
    TypeError
        If an entry is neither a number nor a sympy expression.
    ValueError
        If an entry is NaN or infinite.
    """
    array = as_array("x", x)
    return check_exact("x", array.astype(np.int8) if array.dtype == bool else array)


def check_bias(bias: object, count: int, what: str) -> Array | None:
    """Return a bias of ``count`` entries, or None.

    Raises
    ------
    TypeError
        If it has a dtype the library does not compute with.
    ValueError
        If it has another number of entries, or one that is not finite.
    """
    if bias is None:
        return None
    array = check_array("bias", bias, ndim=1)
    if len(array) != count:
        raise ValueError(f"bias: expected one entry per {what} ({count}), got shape {array.shape}")
    return array
