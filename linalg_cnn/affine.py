"""The affine map x -> W x + B with dense, sparse or exact entries."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse
import sympy

from linalg_cnn.checks import as_exact, as_numbers, check_array, check_exact, check_shape
from linalg_cnn.exact import add, from_domain, to_domain, to_sympy
from linalg_cnn.map_file import read_map_file, write_map_file
from linalg_cnn.memory import check_memory
from linalg_cnn.meta import check_meta, composed_meta, meta_from_text, meta_to_text, shared_meta
from linalg_cnn.notebook import Drawn
from linalg_cnn.types import Shape, size_of

FORMAT = "linalg_cnn.AffineMap"


@dataclass(frozen=True, eq=False, repr=False)
class AffineMap(Drawn):
    """The affine map x -> W x + B on vectors.

    Parameters
    ----------
    W : array_like, scipy sparse matrix or sympy matrix, shape (out_size, in_size)
        Kept as a dense array, a ``csr_array``, or an immutable sympy matrix. Arrays are not copied.
    B : array_like (out_size,), or a sympy column
        Kept as a 1-D array, or as a sympy column where W is a sympy matrix.
    in_shape, out_shape : tuple of int, optional
        Shapes (channels, *spatial) of which the vectors are C-order ravels. They change no number: pictures of W and
        the reading of image files need them.
    meta : mapping, optional
        What the map expects of its input. Kept as a dict of all of the following keys, with None where nothing is
        known, or as None if nothing is known at all; then bytes count as 0 to 255. It changes no number of the map:
        `gpu.predict.Predictor` and ``linalg-cnn predict`` prepare pictures as it says.

        ``pixel_scale``: the number that stands for white, such as 255 or 1, or ``"network"`` where the map takes what
        its network took, of which nothing more is known.
        ``mean``, ``std``: normalisation, a number or one for each channel, in units of ``pixel_scale``, of the input,
        or, if it is ``folded``, of pixels in [0, 1] before W and B took it over.
        ``folded``: whether the normalisation is a part of W and B. Where it is not, it is expected of the input.
        ``layout``: the axes of a sample, ``"CL"``, ``"CHW"`` or ``"CDHW"``.
        ``channel_order``: ``"RGB"`` or ``"BGR"``.
        ``class_names``: a string for each score.

    Raises
    ------
    TypeError
        If W or B has a dtype the library does not compute with, or an entry of ``meta`` is of another type.
    ValueError
        If the shapes do not fit each other, an entry is not finite, or ``meta`` has other keys, or entries that do not
        fit together.

    Notes
    -----
    Source: the paper's theorem 3.1. ``outer @ inner`` is one step of its equation (5).

    The operators are ``outer @ inner``, ``a + b``, and ``c * a`` or ``a * c`` for a number or a sympy expression c: so
    ``a + -1 * b`` is a difference. A map is applied to vectors by calling it.

    ``outer @ inner`` expects of its input what ``inner`` expects, and has the class names of ``outer``. ``a + b``
    expects what both expect; what only one of them knows holds for the sum. ``c * a`` keeps the meta of ``a``.

    Examples
    --------
    >>> inner = AffineMap([[1.0, 2.0]], [3.0])
    >>> outer = AffineMap([[10.0], [20.0]], [0.0, 1.0])
    >>> both = outer @ inner
    >>> both.W, both.B
    (array([[10., 20.],
           [20., 40.]]), array([30., 61.]))
    >>> both([1.0, 1.0])
    array([ 60., 121.])
    >>> pixels = AffineMap([[1.0, 2.0]], [3.0], meta={"pixel_scale": 255})
    >>> (outer @ pixels).meta["pixel_scale"]
    255.0
    """

    W: Any
    B: Any
    in_shape: Shape | None = None
    out_shape: Shape | None = None
    meta: Mapping[str, Any] | None = None

    __array_ufunc__ = None  # numpy leaves `array * map` and `map @ array` to this class

    def __post_init__(self) -> None:
        W, B = self.W, self.B
        if scipy.sparse.issparse(W):
            W = scipy.sparse.csr_array(W)
            data = check_array("W", W.data, copy=False, empty=True)
            W = scipy.sparse.csr_array((data, W.indices, W.indptr), shape=W.shape)
        else:
            W = check_array("W", W, ndim=2, copy=False)
        if isinstance(B, sympy.MatrixBase):
            B = B.vec()
            B = np.array(B.tolist(), dtype=object).ravel()
        B = check_array("B", B, ndim=1, copy=False)
        if len(B) != W.shape[0]:
            raise ValueError(f"B: expected {W.shape[0]} entries for W of shape {W.shape}, got {len(B)}")
        if W.dtype == object or B.dtype == object:
            W, B = to_sympy(W), to_sympy(B.reshape(-1, 1))
        object.__setattr__(self, "W", W)
        object.__setattr__(self, "B", B)
        for name, size in (("in_shape", W.shape[1]), ("out_shape", W.shape[0])):
            shape = getattr(self, name)
            if shape is None:
                continue
            shape = check_shape(name, shape)
            if size_of(shape) != size:
                raise ValueError(f"{name}: expected {size} entries in all as W has, got {shape}")
            object.__setattr__(self, name, shape)
        object.__setattr__(self, "meta", check_meta(self.meta, self.in_shape, self.out_size))

    def __repr__(self) -> str:
        """Show the sizes and the kind of the entries."""
        kind = "sympy" if self.symbolic else f"{'sparse' if self.sparse else 'dense'} {self.W.dtype}"
        return f"AffineMap({self.in_size} -> {self.out_size}, {kind})"

    @property
    def in_size(self) -> int:
        """Length of the input vectors."""
        return int(self.W.shape[1])

    @property
    def out_size(self) -> int:
        """Length of the output vectors."""
        return int(self.W.shape[0])

    @property
    def symbolic(self) -> bool:
        """Whether the entries are sympy expressions."""
        return isinstance(self.W, sympy.MatrixBase)

    @property
    def sparse(self) -> bool:
        """Whether W is a ``csr_array``."""
        return bool(scipy.sparse.issparse(self.W))

    def __call__(self, x: Any) -> Any:
        """Return W x + B.

        Parameters
        ----------
        x : array_like (..., in_size), or a sympy column for a symbolic map

        Returns
        -------
        ndarray (..., out_size), or a sympy column

        Raises
        ------
        ValueError
            If the last axis does not have ``in_size`` entries.
        """
        if self.symbolic and isinstance(x, sympy.MatrixBase):
            if x.shape != (self.in_size, 1):
                raise ValueError(f"x: expected a column of {self.in_size} entries, got shape {x.shape}")
            return from_domain(add(to_domain(self.W) * to_domain(x), to_domain(self.B)))
        x = as_exact(x) if self.symbolic else as_numbers(x)
        if x.ndim == 0 or x.shape[-1] != self.in_size:
            raise ValueError(f"x: expected shape (..., {self.in_size}), got {x.shape}")
        if x.dtype == object and not self.symbolic:
            return self.exact()(x)
        rows = x.reshape(-1, self.in_size)
        if self.symbolic:
            y = from_domain(to_domain(rows) * to_domain(self.W).transpose())
            y = np.array(y.tolist(), dtype=object).reshape(len(rows), self.out_size)
            y = y + np.array(self.B.tolist(), dtype=object).ravel()
        elif self.sparse:
            y = (self.W @ rows.T).T + self.B
        else:
            y = rows @ self.W.T + self.B
        return y.reshape(*x.shape[:-1], self.out_size)

    def __matmul__(self, inner: "AffineMap") -> "AffineMap":
        """Return the map that applies ``inner`` first: W = W_outer W_inner and B = W_outer B_inner + B_outer.

        Raises
        ------
        ValueError
            If the output of ``inner`` has another size than the input of this map.
        """
        if not isinstance(inner, AffineMap):
            return NotImplemented
        if inner.out_size != self.in_size:
            raise ValueError(
                f"outer @ inner: expected the inner map to give {self.in_size} entries, got {inner.out_size}"
            )
        meta = composed_meta(self.meta, inner.meta)
        if self.symbolic or inner.symbolic:
            outer, inner_exact = self.exact(), inner.exact()
            W = to_domain(outer.W) * to_domain(inner_exact.W)
            B = add(to_domain(outer.W) * to_domain(inner_exact.B), to_domain(outer.B))
            return AffineMap(from_domain(W), from_domain(B), inner.in_shape, self.out_shape, meta)
        return AffineMap(self.W @ inner.W, self.W @ inner.B + self.B, inner.in_shape, self.out_shape, meta)

    def __add__(self, other: "AffineMap") -> "AffineMap":
        """Return the map x -> self(x) + other(x).

        Raises
        ------
        ValueError
            If the sizes differ, or the maps expect different inputs.
        """
        if not isinstance(other, AffineMap):
            return NotImplemented
        if self.W.shape != other.W.shape:
            raise ValueError(f"a + b: expected maps of one size, got {self.W.shape} and {other.W.shape}")
        in_shape = self.in_shape if self.in_shape == other.in_shape else None
        out_shape = self.out_shape if self.out_shape == other.out_shape else None
        meta = shared_meta(self.meta, other.meta)
        if self.symbolic or other.symbolic:
            a, b = self.exact(), other.exact()
            W, B = add(to_domain(a.W), to_domain(b.W)), add(to_domain(a.B), to_domain(b.B))
            return AffineMap(from_domain(W), from_domain(B), in_shape, out_shape, meta)
        return AffineMap(self.W + other.W, self.B + other.B, in_shape, out_shape, meta)

    def __rmul__(self, factor: Any) -> "AffineMap":
        """Return the map x -> factor * self(x) for a number or a sympy expression.

        Raises
        ------
        TypeError
            If it is neither, such as another map, or has a dtype the library does not compute with.
        ValueError
            If it has axes, or is NaN or infinite.
        """
        if self.symbolic or isinstance(factor, sympy.Expr):
            a = self.exact()
            given = np.asarray(factor, dtype=object)
            if given.ndim:
                raise ValueError(f"factor: expected a number or a sympy expression, got shape {given.shape}")
            exact = check_exact("factor", given).item()
            return replace(a, W=(exact * a.W).applyfunc(sympy.expand), B=(exact * a.B).applyfunc(sympy.expand))
        scalar = check_array("factor", factor, ndim=0)

        def scaled(array: Any) -> Any:
            # As in numpy 2, float64 widens float32, but a Python number does not. numpy 1 decided by the value.
            dtype = array.dtype if type(factor) in (int, float) else np.promote_types(array.dtype, scalar.dtype)
            return array.astype(dtype) * dtype.type(scalar)

        return replace(self, W=scaled(self.W), B=scaled(self.B))

    def __mul__(self, factor: Any) -> "AffineMap":
        """Return the map x -> self(x) * factor, which is ``factor * self``; raises the same."""
        return self.__rmul__(factor)

    def exact(self) -> "AffineMap":
        """Return the same map with sympy entries; a float becomes the binary fraction that it is."""
        if self.symbolic:
            return self
        return replace(self, W=to_sympy(self.W), B=to_sympy(self.B.reshape(-1, 1)))

    def toarray(self) -> "AffineMap":
        """Return the same map with a dense W.

        Raises
        ------
        TypeError
            If the entries are sympy expressions.
        MemoryError
            If the dense W would take more than half of the machine's memory.
        """
        self._check_numbers("toarray")
        if not self.sparse:
            return self
        check_memory("the dense W", self.in_size * self.out_size * self.W.dtype.itemsize)
        return replace(self, W=self.W.toarray())

    def astype(self, dtype: npt.DTypeLike) -> "AffineMap":
        """Return the same map with W and B rounded to float32, or widened to float64.

        Raises
        ------
        TypeError
            If the entries are sympy expressions, or ``dtype`` is neither of the two.
        """
        self._check_numbers("astype")
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
        return replace(self, W=self.W.astype(dtype), B=self.B.astype(dtype))

    def with_meta(self, **entries: Any) -> "AffineMap":
        """Return the same map with entries of ``meta`` replaced; W and B are shared with it.

        Raises
        ------
        TypeError
            If an entry is of another type.
        ValueError
            If a key is not known, or an entry is out of range or does not fit the others.

        Examples
        --------
        >>> AffineMap([[1.0], [2.0]], [0.0, 0.0]).with_meta(class_names=["cat", "dog"]).meta["class_names"]
        ('cat', 'dog')
        """
        return replace(self, meta=dict(self.meta or {}) | entries)

    def _check_numbers(self, method: str) -> None:
        if self.symbolic:
            raise TypeError(
                f"{method}: expected numbers, got sympy expressions; substitute numbers with W.subs(...) first"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a safetensors file with the tensors ``W`` (dense) and ``B`` and a SHA-256 of its content.

        Shapes and ``meta`` are JSON in the file's metadata.

        Raises
        ------
        TypeError
            If the entries are sympy expressions.
        OSError
            If the file cannot be written. A file that was there before is then unchanged.
        """
        dense = self.toarray()
        tensors = {"W": np.ascontiguousarray(dense.W), "B": np.ascontiguousarray(dense.B)}
        shapes = {name: getattr(self, name) for name in ("in_shape", "out_shape")}
        metadata = {name: json.dumps(shape) for name, shape in shapes.items() if shape} | meta_to_text(self.meta)
        write_map_file(path, FORMAT, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a map that `save` wrote, of this version or an earlier one, whose files have no ``meta``.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, altered, or not such a map. The message names the path.
        """
        _, tensors, metadata = read_map_file(path, {FORMAT: ("W", "B")})
        try:
            shapes = {key: tuple(json.loads(metadata[key])) for key in ("in_shape", "out_shape") if key in metadata}
            return cls(tensors["W"], tensors["B"], **shapes, meta=meta_from_text(metadata))
        except (TypeError, ValueError, RecursionError) as error:  # RecursionError: brackets nested very deeply
            raise ValueError(f"{os.fspath(path)}: expected W and B of an affine map, got {error}") from error
