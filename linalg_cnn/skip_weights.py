"""The weights t^(k,j) of skip connections: checked, and made from one strength for all skips."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sympy

from linalg_cnn.checks import check_array, check_items, is_sequence
from linalg_cnn.exact import to_exact

SkipWeights = dict[tuple[int, int], Any]


def check_skip_weights(given: Mapping[tuple[int, int], Any], depth: int) -> SkipWeights:
    """Return all weights t^(k,j), the implied t^(j,j) = 1 included, as Python floats or sympy expressions.

    Raises
    ------
    TypeError
        If it is not a mapping, or a weight is neither a number nor a sympy expression.
    ValueError
        If a key is out of range, a weight is not finite, or the weights into a layer do not sum to 1.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"skip_weights: expected a mapping {{(k, j): weight}}, got {type(given).__name__}")
    weights: SkipWeights = {}
    for key, value in given.items():
        if not (
            isinstance(key, tuple)
            and len(key) == 2
            and all(isinstance(index, (int, np.integer)) and not isinstance(index, bool) for index in key)
            and 0 <= key[0] <= key[1] < depth
        ):
            raise ValueError(
                f"skip_weights: expected keys (k, j) with 0 <= k <= j < {depth} (the number of layers), got {key!r}"
            )
        k, j = key
        weights[int(k), int(j)] = check_array(f"skip_weights[{(int(k), int(j))}]", value, ndim=0).item()
    for j in range(depth):
        into = {key: weight for key, weight in weights.items() if key[1] == j}
        if not into:
            weights[j, j] = 1.0
            continue
        total: Any
        if any(isinstance(weight, sympy.Expr) for weight in into.values()):
            into = {key: to_exact(np.array(weight, dtype=object)).item() for key, weight in into.items()}
            weights |= into  # floats beside symbols become exact as well
            total = sympy.simplify(sum(into.values()))
            right = total == 1
        else:
            total = sum(into.values())
            right = abs(total - 1) <= 1e-12
        if not right:
            raise ValueError(
                f"skip_weights: expected the weights into layer {j + 1} (the keys (k, {j})) to sum to 1, "
                f"got {total} from {into}"
            )
    return weights


def shared_skip_weights(skips: Iterable[tuple[int, int]], t: Any) -> SkipWeights:
    """Return the weights of a network whose skips all have strength t: equation (23).

    The input of layer j + 1 becomes (1 - t) f^(j) plus t shared equally among the skips into it.

    Parameters
    ----------
    skips : iterable of (k, j)
        Skip connections: f^(k) is added to the input of layer j + 1, k < j.
    t : float in [0, 1], or a sympy expression
        Strength of the skips.

    Returns
    -------
    dict {(k, j): weight}
        Weights for ``SkipNetwork(..., skip_weights=...)``.

    Raises
    ------
    TypeError
        If ``skips`` is not iterable, or t is neither a number nor a sympy expression.
    ValueError
        If t is not in [0, 1], or a skip is no pair of ints, does not have 0 <= k < j or is named twice.

    Examples
    --------
    >>> shared_skip_weights([(1, 2)], 0.25)
    {(1, 2): 0.25, (2, 2): 0.75}
    """
    strength = check_array("t", t, ndim=0).item()
    is_number = not isinstance(strength, sympy.Expr) or strength.is_number
    if is_number and not 0 <= strength <= 1:
        raise ValueError(f"t: expected a number in [0, 1], got {strength}")
    pairs = [tuple(pair) if is_sequence(pair) else pair for pair in check_items("skips", skips, "pairs of ints (k, j)")]
    for pair in pairs:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        ints = is_pair and all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in pair)
        if not ints or not 0 <= pair[0] < pair[1] or pairs.count(pair) != 1:
            raise ValueError(f"skips: expected different pairs of ints (k, j) with 0 <= k < j, got {pair!r}")
    weights: SkipWeights = {}
    for k, j in pairs:
        weights[k, j] = strength / sum(1 for _, goal in pairs if goal == j)
        weights[j, j] = 1 - strength
    return weights
