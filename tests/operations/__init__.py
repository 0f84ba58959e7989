"""One table of operations. Every test of operations runs over it.

A new operation is tested by adding its row: how to draw a random configuration, what torch computes, the matrix as
plain loops, and what is refused. The loops are slow: they are written from the formulas alone and share no code with
the library. Parameters are drawn so that float64 is exact: small integers, and factors
that are powers of two.
"""

from operations import merging, moving, sampling, taps, weighting
from operations.row import OperationInfo

__all__ = ["OPERATIONS"]

OPERATIONS: list[OperationInfo] = [row for rows in (taps, sampling, weighting, moving, merging) for row in rows.ROWS]
