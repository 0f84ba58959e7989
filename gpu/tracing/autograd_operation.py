"""Operations that are affine by their definition, but have no rule of their own in `linalg_cnn`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
import torch

from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import MergingOperation
from linalg_cnn.types import Array, Shape, size_of


@dataclass(frozen=True, eq=False)
class AutogradOperation(MergingOperation):
    """A torch function that is known to be affine, evaluated by torch and transposed by autograd.

    Its matrix is what the function makes of the unit vectors: this is for operations that are rare in networks,
    such as ``einsum`` with a constant or bicubic up-sampling.

    Parameters
    ----------
    name : str
        What torch calls the function.
    function : callable
        Takes one float64 tensor (N, *in_shape) per input and returns (N, *out_shape). It must be affine, and treat
        the samples one by one: nothing here tries that out.
    in_shapes : tuple of shapes
        Of its inputs.
    arguments : anything
        What else the function depends on, by which two operations are compared.
    """

    name: str
    function: Callable[..., torch.Tensor] = field(compare=False)
    in_shapes: tuple[Shape, ...]
    arguments: Any = None

    def __repr__(self) -> str:
        """Show what torch calls it."""
        return f"AutogradOperation({self.name})"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that comes out.

        Raises
        ------
        ValueError
            If the inputs do not have the shapes that it was made for.
        """
        if tuple(in_shapes) != self.in_shapes:
            raise ValueError(f"{self.name}: expected inputs of shapes {self.in_shapes}, got {tuple(in_shapes)}")
        return tuple(self.function(*self._zeros(1)).shape[1:])

    def offset(self, *in_shapes: Shape) -> Array:
        """Return the answer to zero."""
        offset: Array = self.function(*self._zeros(1))[0].numpy()
        return offset

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of places in the matrices: which of them hold zeros is not known before."""
        return size_of(self.out_shape(*in_shapes)) * sum(size_of(shape) for shape in in_shapes)

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return what the function makes of each unit vector."""
        matrices = []
        for number, shape in enumerate(in_shapes):
            size = size_of(shape)
            xs = list(self._zeros(size))
            xs[number] = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
            columns = self._linear(*xs).reshape(size, -1)
            csr = scipy.sparse.csr_array(columns.numpy().T)
            matrices.append(Entries(csr.shape, csr.indptr, csr.indices, csr.data.astype(object if exact else float)))
        return tuple(matrices)

    def _zeros(self, count: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros(count, *shape, dtype=torch.float64) for shape in self.in_shapes)

    def _linear(self, *xs: torch.Tensor) -> torch.Tensor:
        return self.function(*xs) - self.function(*self._zeros(1))

    def push(self, *xs: Any) -> Any:
        """Return what torch computes, on the CPU."""
        return _as(self._linear(*(_tensor(x) for x in xs)), xs[0])

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return the vector-Jacobian product of autograd."""
        transposed = torch.func.vjp(self.function, *self._zeros(len(y)))[1]
        return tuple(_as(part, y) for part in transposed(_tensor(y)))


def _tensor(x: Any) -> torch.Tensor:
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            raise TypeError("x: expected numbers, got sympy expressions, which torch cannot compute with")
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))
    return x.detach().cpu().double()  # type: ignore[no-any-return]


def _as(x: torch.Tensor, like: Any) -> Any:
    return x.detach().numpy() if isinstance(like, np.ndarray) else x.detach().to(like)
