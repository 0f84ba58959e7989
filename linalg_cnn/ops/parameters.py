"""What affine and piecewise-linear operations have in common: their parameters, as numbers or as sympy expressions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import sympy

from linalg_cnn.exact import to_exact
from linalg_cnn.notebook import Drawn
from linalg_cnn.types import Array


class Parametrised(Drawn):
    """A frozen dataclass whose fields are parameters.

    Attributes
    ----------
    merges : bool
        Whether the operation may read several values.
    """

    merges: ClassVar[bool] = False

    @property
    def symbolic(self) -> bool:
        """Whether a parameter holds sympy expressions."""
        return any(_holds_expressions(value) for value in vars(self).values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype that holds all parameters: object if one is symbolic, float64 if there is none."""
        dtypes = [array.dtype for array in self._parameters().values()]
        return np.dtype(object) if self.symbolic else np.result_type(*dtypes) if dtypes else np.dtype(np.float64)

    def _parameters(self) -> dict[str, Array]:
        """Return the arrays of numbers among the fields; a table of positions is not one of them."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {name: array for name, array in arrays.items() if array.dtype.kind in "fO"}

    def exact(self) -> Self:
        """Return the same operation with sympy parameters; a float becomes the binary fraction that it is."""
        parameters = {name: to_exact(array) for name, array in self._parameters().items()}
        return replace(self, **parameters) if parameters else self  # type: ignore[type-var]

    def exact_for(self, *xs: Array) -> Self:
        """Return the operation with sympy parameters where an array of data is exact, and as it is where none is."""
        return self.exact() if not self.symbolic and any(x.dtype == object for x in xs) else self

    def check_count(self, count: int) -> None:
        """Refuse another number of inputs than the operation reads.

        Raises
        ------
        ValueError
            If there is none, or more than one for an operation that does not merge values.
        """
        if count != 1 and (count == 0 or not self.merges):
            expected = "at least one input" if self.merges else "one input"
            raise ValueError(f"{type(self).__name__}: expected {expected}, got {count or 'none'}")

    def check_batches(self, xs: Sequence[Array]) -> None:
        """Refuse batches that cannot be the inputs of one call, whatever the shapes of their samples are.

        Raises
        ------
        ValueError
            If there is another number of them than the operation reads, one has no batch axis, or the numbers of
            samples differ: numpy would repeat a single sample without a word.
        """
        self.check_count(len(xs))
        for x in xs:
            if x.ndim < 2:
                raise ValueError(
                    f"{type(self).__name__}: expected inputs (N, *in_shape), with a batch axis, got shape {x.shape}"
                )
            if len(x) != len(xs[0]):
                raise ValueError(
                    f"{type(self).__name__}: expected inputs with one number of samples, got {[len(x) for x in xs]}"
                )


def _holds_expressions(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.dtype == object)
    if isinstance(value, tuple):
        return any(map(_holds_expressions, value))
    return isinstance(value, sympy.Expr)
