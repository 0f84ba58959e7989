"""An affine map kept as a product of factors, W = W2 W1, with fewer entries than W where a network narrows."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import matmul
from typing import Any, Self

import numpy as np

from linalg_cnn.affine import FORMAT as AFFINE_FORMAT
from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_items
from linalg_cnn.map_file import read_map_file, write_map_file
from linalg_cnn.meta import Meta, check_meta, composed_meta, meta_from_text, meta_to_text
from linalg_cnn.notebook import Drawn
from linalg_cnn.types import Array, Shape

FORMAT = "linalg_cnn.FactoredMap"


@dataclass(frozen=True, eq=False, repr=False)
class FactoredMap(Drawn):
    """Several affine maps, applied one after the other.

    Parameters
    ----------
    factors : sequence of AffineMap
        Maps whose product this is, the outermost first, as in ``outer @ inner``.

    Raises
    ------
    TypeError
        If ``factors`` is not a sequence, or a factor is not an AffineMap of numbers.
    ValueError
        If there is no factor, or the output of one has another size than the input of the next.

    Examples
    --------
    >>> outer, inner = AffineMap([[1.0], [2.0]], [0.0, 5.0]), AffineMap([[1.0, 1.0]], [0.0])
    >>> both = FactoredMap([outer, inner])
    >>> both([3.0, 4.0])
    array([ 7., 19.])
    >>> both.product().W
    array([[1., 1.],
           [2., 2.]])
    """

    factors: Sequence[AffineMap]

    def __post_init__(self) -> None:
        factors = check_items("factors", self.factors, "a sequence of AffineMaps, the outermost first")
        if not factors:
            raise ValueError("factors: expected at least one, got none")
        for number, factor in enumerate(factors):
            if not isinstance(factor, AffineMap) or factor.symbolic:
                raise TypeError(f"factors[{number}]: expected an AffineMap of numbers, got {factor!r}")
            if number and factor.out_size != factors[number - 1].in_size:
                raise ValueError(
                    f"factors[{number}]: expected out_size {factors[number - 1].in_size}, the in_size of the factor "
                    f"before it, got {factor.out_size}"
                )
        object.__setattr__(self, "factors", factors)

    def __repr__(self) -> str:
        """Show the shapes of the matrices."""
        return f"FactoredMap({' @ '.join(f'{f.out_size}x{f.in_size}' for f in self.factors)})"

    @property
    def in_size(self) -> int:
        """Length of the input vectors."""
        return self.factors[-1].in_size

    @property
    def out_size(self) -> int:
        """Length of the output vectors."""
        return self.factors[0].out_size

    @property
    def in_shape(self) -> Shape | None:
        """Shape of the input, if it is known."""
        return self.factors[-1].in_shape

    @property
    def out_shape(self) -> Shape | None:
        """Shape of the output, if it is known."""
        return self.factors[0].out_shape

    @property
    def meta(self) -> Meta | None:
        """What the map expects of its input, as in `AffineMap`: the innermost's, with class names of the outermost."""
        return check_meta(composed_meta(self.factors[0].meta, self.factors[-1].meta), self.in_shape, self.out_size)

    def with_meta(self, **entries: Any) -> "FactoredMap":
        """Return the same map with entries of ``meta`` replaced, as `AffineMap.with_meta` does; it raises the same."""
        entries = dict(self.meta or {}) | entries
        check_meta(entries, self.in_shape, self.out_size)
        outermost = replace(self.factors[0], meta={"class_names": entries.pop("class_names", None)})
        if len(self.factors) == 1:
            return FactoredMap([outermost.with_meta(**entries)])
        return FactoredMap([outermost, *self.factors[1:-1], replace(self.factors[-1], meta=entries)])

    def __call__(self, x: Any) -> Any:
        """Return the images (..., out_size) of vectors (..., in_size); raises what `AffineMap` raises."""
        for factor in reversed(self.factors):
            x = factor(x)
        return x

    def product(self) -> AffineMap:
        """Return the product of the factors as one map."""
        return reduce(matmul, self.factors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a safetensors file with tensors ``W0``, ``B0`` of the outermost factor, ``W1``, ``B1``, ...

        Raises
        ------
        OSError
            If the file cannot be written. A file that was there before is then unchanged.
        """
        tensors: dict[str, Array] = {}
        for number, factor in enumerate(self.factors):
            dense = factor.toarray()
            tensors |= {f"W{number}": np.ascontiguousarray(dense.W), f"B{number}": np.ascontiguousarray(dense.B)}
        shapes = {"in_shape": self.in_shape, "out_shape": self.out_shape}
        metadata = {name: json.dumps(shape) for name, shape in shapes.items() if shape} | meta_to_text(self.meta)
        write_map_file(path, FORMAT, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a map that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, altered, or not such a map. The message names the path.
        """
        _, tensors, metadata = read_map_file(path, {FORMAT: None})
        count = len(tensors) // 2
        try:
            shapes: list[dict[str, Any]] = [{} for _ in range(count)]
            for name, number in (("out_shape", 0), ("in_shape", count - 1)):
                if name in metadata:
                    shapes[number][name] = tuple(json.loads(metadata[name]))
            factors = [AffineMap(tensors[f"W{n}"], tensors[f"B{n}"], **shapes[n]) for n in range(count)]
            return cls(cls(factors).with_meta(**meta_from_text(metadata)).factors)
        except (TypeError, ValueError, IndexError, KeyError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: expected W and B of each factor of a map, got {error!r}") from error


def load_map(path: str | os.PathLike[str]) -> AffineMap | FactoredMap:
    """Read a map that `AffineMap.save` or `FactoredMap.save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, altered, or not such a map. The message names the path.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     AffineMap([[1.0, 2.0]], [3.0]).save(f"{folder}/map.safetensors")
    ...     load_map(f"{folder}/map.safetensors")
    AffineMap(2 -> 1, dense float64)
    """
    found, _, _ = read_map_file(path, {AFFINE_FORMAT: ("W", "B"), FORMAT: None})
    return AffineMap.load(path) if found == AFFINE_FORMAT else FactoredMap.load(path)
