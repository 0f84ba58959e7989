"""Operations that are affine by definition and have no index rule in `linalg_cnn`."""

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

    The columns of its matrix are the images of the unit vectors, which takes long: it serves operations that are rare
    in networks, such as ``einsum`` with a constant or bicubic upsampling. The exact entries are the float64 ones.

    Parameters
    ----------
    name : str
        Name of the function in torch.
    function : callable
        Function of one float64 tensor (N, *in_shape) per input that returns (N, *out_shape). It must be affine and
        treat the samples separately, which is not checked.
    in_shapes : tuple of shapes
        Shapes of the inputs.
    arguments : anything
        Other values that the function depends on, for comparing two operations.
    """

    name: str
    function: Callable[..., torch.Tensor] = field(compare=False)
    in_shapes: tuple[Shape, ...]
    arguments: Any = None

    def __repr__(self) -> str:
        """Show the name of the function."""
        return f"AutogradOperation({self.name})"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the output.

        Raises
        ------
        ValueError
            If the inputs have other shapes than ``self.in_shapes``.
        """
        if tuple(in_shapes) != self.in_shapes:
            raise ValueError(f"{self.name}: expected inputs of shapes {self.in_shapes}, got {tuple(in_shapes)}")
        return tuple(self.function(*self._zeros(1)).shape[1:])

    def offset(self, *in_shapes: Shape) -> Array:
        """Return the output for zeros."""
        offset: Array = self.function(*self._zeros(1))[0].numpy()
        return offset

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of rows times columns, because the zeros are not known from the shapes."""
        return size_of(self.out_shape(*in_shapes)) * sum(size_of(shape) for shape in in_shapes)

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the images of the unit vectors as columns."""
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
        """Return the linear part of the function, computed by torch on the CPU."""
        return _as(self._linear(*(_tensor(x) for x in xs)), xs[0])

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return the vector-Jacobian product by autograd."""
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
