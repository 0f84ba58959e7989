"""Modules that keep numbers in double precision beside the tensor that their forward reads."""

from typing import Any, ClassVar, Self

import torch
from torch import nn


class KeptExactly(nn.Module):
    """A module with one number or several that it keeps in double precision, and a tensor that holds them, rounded.

    The forward reads the tensor, so that a new value needs no new compilation or CUDA graph. A conversion to another
    dtype or device fills the tensor from the exact numbers: ``.double()`` alone would keep the rounding of a float32
    network, ``.half().float()`` that of float16, and ``.to_empty()`` would leave memory that nobody has written.

    Attributes
    ----------
    exact_name : str
        Name of the attribute with the exact numbers, a float or a tuple of floats.
    tensor_name : str
        Name of the buffer that holds them. It is not persistent, so that a state_dict holds only what was learnt.
    """

    exact_name: ClassVar[str]
    tensor_name: ClassVar[str]

    def keep_exactly(self, numbers: float | tuple[float, ...]) -> None:
        """Set the numbers, in the same tensor."""
        setattr(self, self.exact_name, numbers)
        tensor = self.get_buffer(self.tensor_name)
        if isinstance(numbers, tuple):
            tensor.copy_(torch.tensor(numbers, dtype=torch.float64, device="cpu"))
        else:
            tensor.fill_(numbers)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Convert the tensor, and fill it anew if that made another tensor."""
        before = self._buffers[self.tensor_name]
        super()._apply(fn, recurse)
        if self._buffers[self.tensor_name] is not before:
            self.keep_exactly(getattr(self, self.exact_name))
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle; in those of earlier versions, the number is in the tensor alone."""
        super().__setstate__(state)
        if self.exact_name not in vars(self):
            setattr(self, self.exact_name, float(self.get_buffer(self.tensor_name)))
