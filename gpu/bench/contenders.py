"""The networks and runtimes that ``bench predict`` compares."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import transforms

from gpu.bench.tunings import TUNINGS, Tuning
from gpu.collapsing.collapse import collapse
from gpu.experiments.timing import IN_SHAPE
from gpu.models.copying import copy_of
from gpu.models.removal import remove_skips
from gpu.models.resnets import resnet
from gpu.models.shallow import six_layer_cnn, three_layer_cnn
from gpu.predict import Predictor
from gpu.runtime.cuda_graphs import WARM_UP, graphed
from gpu.runtime.onnx import onnx_session, to_onnx
from gpu.runtime.timing import Predict

Bind = Callable[[torch.Tensor], tuple[Predict, torch.Tensor]]
"""Takes a batch of floats and returns the function to time, with the images to call it on. The network of each call
lies at another place in memory."""

COMPILED = "torch.compile"
"""End of the name of a variant that is compiled anew for each size of a batch."""
MAX_AUTOTUNE = "max-autotune"
"""Mode in which ``torch.compile`` measures kernels before it chooses: minutes for a network."""


def networks(*, quick: bool) -> dict[str, nn.Module]:
    """Return the networks of the table, in evaluation mode. Their weights are random: latency does not depend on them.

    The nonlinear ResNet has skips of strength 0, so that it is the same function with its skips and without.

    Parameters
    ----------
    quick : bool
        Take ResNet10, with a single block in each stage, instead of ResNet34.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = resnet(34, activation="identity", stem_pool="avg")
        deep = resnet(34, t=0.0)
    if quick:
        for model in (linear, deep):
            for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
                del stage[1:]
    depth = 10 if quick else 34
    found = {
        "3-layer CNN, linear": three_layer_cnn(),
        "6-layer CNN, linear": six_layer_cnn(),
        f"ResNet{depth}, linear": linear,
        f"ResNet{depth}, with skips": deep,
        f"ResNet{depth}, skips removed": remove_skips(deep.eval()),
    }
    return {name: module.eval().requires_grad_(False) for name, module in found.items()}


def fold_batch_norms(module: nn.Module) -> nn.Module | None:
    """Return a copy whose batch normalisations are folded into the convolutions before them; None if it has none.

    The modules of the network must be registered in the order of their calls, as those of ResNets are.

    Notes
    -----
    Source: ``torch.nn.utils.fusion.fuse_conv_bn_eval``.
    """
    folded = copy_of(module)
    found = False
    for part in folded.modules():
        for (name, conv), (norm_name, norm) in pairwise(list(part.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
                setattr(part, norm_name, nn.Identity())
                found = True
    return folded if found else None


class Compiled:
    """A network that ``torch.compile`` compiles once for each batch size, whatever the number of its copies.

    Compiled code takes the weights as arguments. A copy is therefore the same code, with the weights at another place.

    Parameters
    ----------
    module : nn.Module
        The network; its weights are moved, and keep their values.
    backend : str
        Backend of ``torch.compile``.
    mode : str, optional
        Mode of ``torch.compile``.
    """

    def __init__(self, module: nn.Module, backend: str, mode: str | None = None) -> None:
        self.module, self.backend, self.mode = module, backend, mode
        self._compiled: Predict | None = None
        self._size = 0
        self._left: list[torch.Tensor] = []

    def __call__(self, batch: torch.Tensor) -> tuple[Predict, torch.Tensor]:
        """Return the network compiled for the size of this batch, with its weights where no call before had them."""
        if self._compiled is None or self._size != len(batch):
            torch.compiler.reset()
            self._left.clear()
            self._compiled = torch.compile(self.module, backend=self.backend, mode=self.mode, dynamic=False)
            self._size = len(batch)
        else:
            self._left += move_weights(self.module)
        with torch.inference_mode():  # as it is timed: another mode would be compiled anew
            for _ in range(WARM_UP):
                self._compiled(batch)
        return self._compiled, batch


def move_weights(module: nn.Module) -> list[torch.Tensor]:
    """Move the parameters and buffers of a module to other places in memory; return what keeps their old places."""
    tensors = [*module.parameters(), *module.buffers()]
    left = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.clone()
    return left


def contenders(name: str, module: nn.Module, device: torch.device, backend: str) -> dict[str, Bind]:
    """Return the variants of a network by name; each is prepared when it is bound to a batch for the first time.

    Parameters
    ----------
    name : str
        Name of the network; if it ends in "linear", the collapsed network is among the variants.
    module : nn.Module
        The network, on the device.
    device : torch.device
        Device that predicts.
    backend : str
        Backend of ``torch.compile``.
    """
    variants: dict[str, Bind] = {}
    folded = fold_batch_norms(module)
    for prefix, network in (("", module), ("batch norm folded, ", folded)):
        if network is not None:
            variants |= {f"{prefix}{variant}": bind for variant, bind in _in_torch(network, device, backend).items()}
    if device.type == "cuda":
        if folded is not None:
            del variants[COMPILED]  # the folded network is the faster one, and each compilation takes time
        variants |= tuned(module if folded is None else folded, backend)
    else:
        model = cache(lambda: to_onnx(copy_of(module), IN_SHAPE))
        variants["onnxruntime"] = lambda batch: (onnx_session(model()), batch)
    if name.endswith("linear"):
        collapsed = cache(lambda: collapse(module, IN_SHAPE, factored=False))
        predictor = partial(Predictor, preprocess=transforms.ToTensor(), device=device)
        variants["collapsed, nn.Linear"] = lambda batch: (copy_of(collapsed().module), batch)
        variants["collapsed, Predictor, floats"] = lambda batch: (predictor(collapsed()), batch)
        variants["collapsed, Predictor, bytes"] = lambda batch: (predictor(collapsed()), (255 * batch).to(torch.uint8))
    return variants


def _in_torch(module: nn.Module, device: torch.device, backend: str) -> dict[str, Bind]:
    variants: dict[str, Bind] = {
        "eager": lambda batch: (copy_of(module), batch),
        COMPILED: Compiled(copy_of(module), backend),
    }
    if device.type == "cuda":
        variants["CUDA graph"] = lambda batch: (graphed(copy_of(module), batch), batch)
    return variants


def tuned(module: nn.Module, backend: str) -> dict[str, Bind]:
    """Return a network, on CUDA, as its users would run it (see `TUNINGS`), by the name of the variant.

    Parameters
    ----------
    module : nn.Module
        The network, with its batch normalisations folded if it had some.
    backend : str
        Backend of ``torch.compile``.

    Notes
    -----
    Has not run on CUDA yet; the tests run it on the CPU.
    """
    variants: dict[str, Bind] = {}
    for name, tuning in TUNINGS.items():
        variants[f"channels_last, {name}, CUDA graph"] = partial(_tuned_graph, module, tuning)
        if not tuning.tf32:
            compiled = Compiled(tuning.network(module), backend, MAX_AUTOTUNE)
            variants[f"channels_last, {name}, {MAX_AUTOTUNE}"] = partial(_tuned_code, compiled, tuning)
    return variants


def _tuned_graph(module: nn.Module, tuning: Tuning, batch: torch.Tensor) -> tuple[Predict, torch.Tensor]:
    images = tuning.images(batch)
    with tuning.applied():  # the graph keeps the algorithms that are chosen here
        return graphed(tuning.network(module), images), images


def _tuned_code(compiled: Compiled, tuning: Tuning, batch: torch.Tensor) -> tuple[Predict, torch.Tensor]:
    with tuning.applied():
        return compiled(tuning.images(batch))
