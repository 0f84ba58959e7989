"""Fake quantisation and its observers, which modules prepared for quantisation are full of."""

from torch import nn

from gpu.tracing.not_affine import Obstacle

HOMES = tuple(f"torch.ao.quantization.{name}" for name in ("fake_quantize", "_learnable_fake_quantize", "observer"))
"""Modules of torch whose classes return their input, unless they are fake quantisers that are switched on."""

REMEDY = "switch it off by module.apply(torch.ao.quantization.disable_fake_quant)"


def without_fake_quantisation(module: nn.Module) -> list[Obstacle]:
    """Replace the observers and fake quantisers of torch in a module by the identity; return those that quantise.

    An observer returns its input, and so does a fake quantiser that is switched off. Neither can be exported as it is,
    because it branches on its buffers or changes them.

    Parameters
    ----------
    module : nn.Module
        A copy of the user's module, which is changed.

    Returns
    -------
    list of Obstacle
        Fake quantisers that are switched on, one for each module.
    """
    found: dict[int, Obstacle] = {}
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if not path or type(part).forward.__module__ not in HOMES:
            continue
        if getattr(part, "fake_quant_enabled", [0])[0] != 0:
            found.setdefault(id(part), Obstacle(f"{path}: {type(part).__name__}", "rounds its input", REMEDY))
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())
    return list(found.values())
