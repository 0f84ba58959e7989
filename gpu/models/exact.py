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
        _fill(getattr(self, self.tensor_name), numbers)

    def exact_numbers(self) -> Any:
        """Return the numbers in double precision: those of the tensor, if somebody wrote others into it.

        A moving average of networks does so (``torch.optim.swa_utils.AveragedModel``), which averages buffers, too.
        """
        tensor, exact = self._buffers.get(self.tensor_name), getattr(self, self.exact_name)
        if type(tensor) is torch.Tensor and not tensor.is_meta:
            unchanged = torch.equal(tensor, _fill(torch.empty_like(tensor), exact))
        else:
            unchanged = tensor is not None  # a parameter in the place of the buffer has numbers of its own
        return exact if unchanged else self.held_numbers()

    def held_numbers(self) -> Any:
        """Return the numbers as the forward reads them, rounded; the exact ones if the tensor is on the meta device."""
        tensor, exact = getattr(self, self.tensor_name).detach(), getattr(self, self.exact_name)
        if tensor.is_meta:
            return exact
        return tuple(tensor.tolist()) if isinstance(exact, tuple) else float(tensor)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Convert the tensor, and fill it anew if that made another tensor."""
        before, exact = self._buffers.get(self.tensor_name), self.exact_numbers()
        super()._apply(fn, recurse)
        after = self._buffers.get(self.tensor_name)
        if after is not None and after is not before:
            self.keep_exactly(exact)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle; in those of earlier versions, the number is in the tensor alone."""
        super().__setstate__(state)
        if self.exact_name not in vars(self):
            setattr(self, self.exact_name, float(self.get_buffer(self.tensor_name)))


def _fill(tensor: torch.Tensor, numbers: float | tuple[float, ...]) -> torch.Tensor:
    """Write a number or several into a tensor, rounded to its dtype, and return it."""
    if isinstance(numbers, tuple):
        return tensor.copy_(torch.tensor(numbers, dtype=torch.float64, device="cpu"))
    return tensor.fill_(numbers)
