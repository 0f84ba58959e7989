"""The modes of a network, training and evaluation, while somebody else's network is run."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put all modules of a network into evaluation mode within the context; each has its own mode again at the end.

    The modes alone are set, as ``nn.Module.train`` sets them: a method ``train`` of the user's, which may do more, such
    as adding low-rank updates to the weights, would have to be undone as well.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    >>> with in_evaluation_mode(model):
    ...     [part.training for part in model.modules()]
    [False, False, False]
    >>> [part.training for part in model.modules()]
    [True, True, False]
    """
    # frozen parts of torch.jit have no mode
    modes = [(part, part.training) for part in model.modules() if hasattr(part, "training")]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, training in modes:
            part.training = training
