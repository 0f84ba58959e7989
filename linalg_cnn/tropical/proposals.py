"""Floats propose: points where one affine function is the largest, and functions that dominate others together.

Nothing here has to be right: `linalg_cnn.tropical.envelope` checks each proposal exactly.
"""

from typing import Any

import numpy as np

from linalg_cnn.types import Array

MOST_VARIABLES = 3
"""Number of variables above which a convex hull has too many facets to be of use."""

NEGLIGIBLE = 1e-11
"""Weight of a combination below which it counts as the rounding error of 0."""

Units = tuple[int, int]
"""The sizes of the constants and of the slopes, by which they are divided: a point has the size of their quotient."""


def in_units(rows: Array) -> tuple[Array, Array, Units]:
    """Return constants (functions,) and slopes (functions, variables) as floats with sizes of about 1, and their units.

    The quotients are taken of integers: they may be too large for floats.
    """
    units = [max(map(abs, rows[:, columns].ravel())) or 1 for columns in (slice(1), slice(1, None))]
    constants, slopes = rows[:, 0] / units[0], rows[:, 1:] / units[1]
    return constants.astype(np.float64), slopes.astype(np.float64), (units[0], units[1])


def hull_proposals(constants: Array, slopes: Array) -> tuple[Array, list[list[int]]]:
    """Return a point in the region of each function on the envelope, and the functions that meet in each corner.

    Parameters
    ----------
    constants, slopes : float64 arrays (functions,), (functions, variables)

    Returns
    -------
    points : float64 array (points, variables)
    corners : list of lists of int

    Notes
    -----
    A corner of the envelope is a facet on the upper side of the convex hull of the points (slopes, constant). One more
    point far below makes all other facets nearly vertical, so that their normals are directions of unbounded regions.
    """
    from scipy.spatial import ConvexHull, QhullError  # here, as importing scipy's subpackages takes long

    count, variables = slopes.shape
    nothing: tuple[Array, list[list[int]]] = np.empty((0, variables)), []
    if variables > MOST_VARIABLES or count < variables + 2:
        return nothing
    below = np.append(slopes.mean(axis=0), constants.min() - 1e3)
    try:
        hull = ConvexHull(np.vstack([np.column_stack([slopes, constants]), below]))
    except QhullError:  # such as points that lie in a plane
        return nothing
    normals, heights = hull.equations[:, :variables], hull.equations[:, variables]
    upper = (heights > NEGLIGIBLE) & (hull.simplices < count).all(axis=1)
    corners = normals[upper] / heights[upper, np.newaxis]
    outside = (hull.simplices == count).any(axis=1)
    reach = 1 + np.ptp(corners, axis=0).max(initial=0)
    sums, weights = np.zeros((count + 1, variables)), np.zeros(count + 1)
    directions = np.zeros((count + 1, variables))
    for vertex in range(variables + 1):
        np.add.at(sums, hull.simplices[upper, vertex], corners)
        np.add.at(weights, hull.simplices[upper, vertex], 1)
        np.add.at(directions, hull.simplices[outside, vertex], reach * normals[outside])
    seen = (weights > 0)[:-1]
    points = sums[:-1][seen] / weights[:-1][seen, np.newaxis] + directions[:-1][seen]
    return points, hull.simplices[upper].tolist()


def below_corners(slopes: Array, corners: list[list[int]]) -> list[list[int]]:
    """Return for each corner the functions whose slopes lie in its simplex; each in the first one that contains it."""
    system = np.vstack([np.ones(len(slopes)), slopes.T])
    inverses: Any = np.linalg.pinv(system[:, corners].transpose(1, 0, 2)) if corners else []
    remaining, found = np.arange(len(slopes)), []
    for inverse in inverses:
        inside = (inverse @ system[:, remaining] > -1e-9).all(axis=0)
        found.append(remaining[inside].tolist())
        remaining = remaining[~inside]
    return found


def program_proposal(constants: Array, slopes: Array) -> tuple[Array | None, list[int]]:
    """Return a point where all of some functions are negative, and the functions whose combination is 0 or more.

    Parameters
    ----------
    constants, slopes : float64 arrays (functions,), (functions, variables)

    Returns
    -------
    point : float64 array (variables,), or None
    support : list of int

    Notes
    -----
    Both come from one linear program: maximise s subject to c_k + a_k . x + s <= 0 for all k, s <= 1. Its dual
    variables are the weights of the combination.
    """
    from scipy.optimize import linprog  # here, as importing scipy's subpackages takes long

    variables = slopes.shape[1]
    result = linprog(
        np.append(np.zeros(variables), -1.0),
        A_ub=np.column_stack([slopes, np.ones(len(slopes))]),
        b_ub=-constants,
        bounds=[(None, None)] * variables + [(None, 1.0)],
        method="highs-ds",
    )
    if result.x is None:  # the solver gave up
        return None, []
    support = np.flatnonzero(-np.asarray(result.ineqlin.marginals) > NEGLIGIBLE).tolist()
    return (result.x[:-1] if result.x[-1] > 0 else None), support
