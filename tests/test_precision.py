"""float32 in full: where the process allows less, by torch's older names or by its newer ones."""

import pytest
import torch
from torch import nn
from torch.backends import cuda, cudnn

import gpu
from gpu.runtime.precision import FULL, NAMED, full_float32, precision, set_precision

BY_NEWER_NAMES = pytest.mark.skipif(not precision().named, reason="this torch has only the older names")


def allow_everywhere():
    torch.backends.fp32_precision = "tf32"
    for backend, op in NAMED:
        torch._C._set_fp32_precision_setter(backend, op, "none")


WAYS = {
    "as torch starts": lambda: None,
    "no convolutions": lambda: setattr(cudnn, "allow_tf32", False),
    "products": lambda: torch.set_float32_matmul_precision("high"),
    "products in bfloat16": lambda: torch.set_float32_matmul_precision("medium"),
}
NEWER_WAYS = {
    "no convolutions, by name": lambda: setattr(cudnn.conv, "fp32_precision", "ieee"),
    "products, by name": lambda: setattr(cuda.matmul, "fp32_precision", "tf32"),
    "all that inherit it": allow_everywhere,
}


@pytest.fixture(
    params=[*WAYS.values(), *(pytest.param(way, marks=BY_NEWER_NAMES) for way in NEWER_WAYS.values())],
    ids=[*WAYS, *NEWER_WAYS],
)
def allowed(request):
    """The settings after one way to set them."""
    before, inherited = precision(), getattr(torch.backends, "fp32_precision", None)
    request.param()
    yield precision()
    if inherited is not None:
        torch.backends.fp32_precision = inherited
    set_precision(before)
    assert precision() == before


def test_products_are_in_full_float32_within_and_as_before_after(allowed):
    with full_float32():
        within = precision()
        assert within.convolutions in {False, None}
        assert within.products in {"highest", None}
        assert set(within.named.values()) <= set(FULL)
    assert precision() == allowed


@BY_NEWER_NAMES
@pytest.mark.parametrize("allowed", [allow_everywhere], indirect=True)
@pytest.mark.usefixtures("allowed")
def test_what_inherits_its_precision_still_does_so():
    with full_float32():
        pass
    torch.backends.fp32_precision = "ieee"
    assert set(precision().named.values()) == {"ieee"}


def test_networks_are_compared_however_the_process_allows_it(allowed):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3)).eval()
    assert gpu.collapse(network, (1, 6, 6)).report.differences["bound"]["held"]
    assert gpu.predict_scores(network, torch.zeros(2, 1, 6, 6)).shape == (2, 3)
    assert precision() == allowed


def test_a_forward_may_ask_for_the_older_names(allowed):
    class Asking(nn.Linear):
        def forward(self, x):
            if allowed.convolutions is not None:
                assert not cudnn.allow_tf32
            return super().forward(x)

    assert gpu.predict_scores(Asking(2, 2), torch.zeros(1, 2)).shape == (1, 2)
