"""The numbers of a map as torch tensors of a dtype, or a refusal if they do not fit."""

import numpy as np
import torch

from linalg_cnn import AffineMap


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without its module.

    Examples
    --------
    >>> dtype_name(torch.float32)
    'float32'
    """
    return str(dtype).removeprefix("torch.")


def cast_map(
    affine: AffineMap, dtype: torch.dtype, device: torch.device, expected: str, remedy: str = ""
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W and B of a map as tensors, which share no memory with it.

    Parameters
    ----------
    affine : AffineMap
        Dense map in float64.
    dtype : torch.dtype
        Dtype of the tensors, to which the entries are rounded.
    device : torch.device
        Device of the tensors.
    expected : str
        Beginning of the error text: the argument at fault and what is expected of it.
    remedy : str
        End of the error text.

    Returns
    -------
    tensor (out_size, in_size), tensor (out_size,)

    Raises
    ------
    ValueError
        If an entry is too large for the dtype.
    """
    W, B = (torch.from_numpy(np.ascontiguousarray(part)).to(device, dtype, copy=True) for part in (affine.W, affine.B))
    for part in (W, B):
        if not torch.isfinite(torch.stack(part.aminmax())).all():  # isfinite of W itself would be as large as W
            largest = max(np.abs(affine.W).max(), np.abs(affine.B).max())
            raise ValueError(f"{expected} {dtype}, got one as large as {largest:.3g}{remedy}")
    return W, B
