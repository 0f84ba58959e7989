"""``bench predict`` fits the device: the number of images, the bytes that count, and networks as users run them."""

import math

import pytest
import torch
from torch import nn

from gpu.bench import image_counts, predict
from gpu.bench.contenders import MAX_AUTOTUNE, Compiled, contenders, tuned
from gpu.bench.image_counts import fitting_in_floats, images_for
from gpu.bench.pictures import LABELS
from gpu.bench.predict import (
    COPYING,
    LINEAR,
    PIXELS,
    PREDICTOR,
    READING,
    copied_per_second,
    time_from_bytes,
)
from gpu.bench.tables import _from_bytes
from gpu.bench.tunings import TUNINGS, Tuning
from gpu.runtime.progress import Progress
from gpu.runtime.run import CPU


def test_the_pixels_are_a_fiftieth_of_what_is_copied_in_a_second(monkeypatch):
    monkeypatch.setattr(image_counts, "memory_limit", lambda: 2**60)
    assert 0.02 * 1e12 <= images_for(1e12, CPU) * PIXELS < 0.0201 * 1e12


def test_the_pixels_leave_room_for_a_copy_and_those_in_floats_for_two_values_in_float32_of_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100e9, 140e9))
    cuda = torch.device("cuda")
    images = images_for(2e12, cuda)
    assert 2 * images * PIXELS < 100e9 < 3.1 * images * PIXELS
    assert 9 * fitting_in_floats(cuda) * PIXELS < 100e9 < 14 * fitting_in_floats(cuda) * PIXELS


def test_ways_that_compute_with_floats_take_what_fits(monkeypatch):
    monkeypatch.setattr(predict, "fitting_in_floats", lambda device: 500)
    ways = time_from_bytes(CPU, 1_000, 2, 0.001, Progress(draw=False))["ways"]
    assert {name: way["images"] for name, way in ways.items()} == {
        COPYING: 1_000,
        READING: 1_000,
        PREDICTOR: 1_000,
        LINEAR: 500,
        predict.NORMALISED: 500,
    }


def test_a_slow_device_has_as_many_images_as_all_others_had():
    assert images_for(1e6, CPU) == 100_000


def test_copying_counts_the_bytes_of_one_side():
    assert 2**20 < copied_per_second(CPU, 2**20, 2) < 1e12


def test_each_way_counts_the_bytes_it_must_read_and_write():
    found = time_from_bytes(CPU, 1_000, 2, 0.001, Progress(draw=False))
    ways = found["ways"]
    assert {name: way["bytes_per_image"] for name, way in ways.items()} == {
        COPYING: 2 * 784,
        READING: 784,
        PREDICTOR: 784 + 40,
        LINEAR: 784 + 40,
        predict.NORMALISED: 784 + 40,
    }
    assert ways[COPYING]["share_of_copying"] == 1
    rate = 2 * 784 / ways[COPYING]["microseconds_per_image"]
    for way in ways.values():
        share = way["bytes_per_image"] / way["microseconds_per_image"] / rate
        assert way["share_of_copying"] == pytest.approx(share)
    assert found["bytes_per_second"] >= 1e6 * rate * (1 - 1e-9)
    assert max(found["relative_error"].values()) < 1e-5  # float32 sums of 784 terms
    assert _from_bytes(found)[0].endswith("| share of the bandwidth of copying |")
    for way in ways.values():
        del way["share_of_copying"]  # as in records of earlier versions
    assert "share" not in _from_bytes(found)[0]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval().requires_grad_(False)


@pytest.fixture
def on_the_cpu(monkeypatch):
    """Warm up and capture by running; `torch.compile` returns the network, and keeps its mode."""
    modes = []

    def compiles(module, *, backend, mode, dynamic):
        modes.append((backend, mode, dynamic))
        return module

    class Graph:
        def __init__(self, function, device):
            self.result = function()

        def __call__(self):
            return self.result

    monkeypatch.setattr(
        "gpu.runtime.cuda_graphs.warm_up", lambda function, device, times: [function() for _ in range(times)]
    )
    monkeypatch.setattr("gpu.runtime.cuda_graphs.CudaGraph", Graph)
    monkeypatch.setattr(torch, "compile", compiles)
    return modes


def flags():
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()


def test_networks_are_tuned_as_their_names_say_and_the_settings_are_restored(on_the_cpu):
    module, batch, before = network(), torch.rand(3, 1, 4, 4), flags()
    seen = []

    def see(part, given, result):
        seen.append((given[0].dtype, given[0].is_contiguous(memory_format=torch.channels_last), flags()))

    module[0].register_forward_hook(see)
    variants = tuned(module, "inductor")
    assert set(variants) <= set(LABELS)
    expected = {
        "channels_last, float32, CUDA graph": (torch.float32, True, (True, False, "highest")),
        "channels_last, TF32, CUDA graph": (torch.float32, True, (True, True, "high")),
        "channels_last, bfloat16, CUDA graph": (torch.bfloat16, True, (True, False, "highest")),
        "channels_last, float32, max-autotune": (torch.float32, True, (True, False, "highest")),
        "channels_last, bfloat16, max-autotune": (torch.bfloat16, True, (True, False, "highest")),
    }
    assert set(variants) == set(expected)
    for name, bind in variants.items():
        seen.clear()
        answer, images = bind(batch)
        assert set(seen) == {expected[name]}
        assert flags() == before
        tolerance = 0.1 if "bfloat16" in name else 1e-5
        torch.testing.assert_close(answer(images).float(), module(batch), rtol=tolerance, atol=tolerance)
    assert on_the_cpu == [("inductor", MAX_AUTOTUNE, False)] * 2
    assert module[0].weight.dtype == torch.float32  # the given network is unchanged


def test_on_cuda_a_network_is_compiled_with_its_batch_norms_folded_only():
    with_norm = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).eval()
    names = {"norm": with_norm, "none": nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()}
    for device, expected in (
        ("cpu", {"norm": {"", "batch norm folded, "}, "none": {""}}),
        ("cuda", {"norm": {"batch norm folded, "}, "none": {""}}),
    ):
        for name, module in names.items():
            variants = contenders(name, module, torch.device(device), "inductor")
            compiled = {variant.removesuffix("torch.compile") for variant in variants if "torch.compile" in variant}
            assert compiled == expected[name], (device, name)


def test_settings_are_restored_after_an_error():
    before = flags()
    with pytest.raises(ZeroDivisionError), Tuning("TF32", tf32=True).applied():
        math.sqrt(1 / 0)
    assert flags() == before


def test_code_that_is_compiled_runs_before_it_is_timed_as_often_as_a_graph_needs(on_the_cpu):
    module, calls = network(), []
    module.register_forward_hook(lambda *_: calls.append(torch.is_inference_mode_enabled()))
    Compiled(module, "inductor")(torch.rand(2, 1, 4, 4))
    assert calls == [True] * 3


def test_the_precisions_are_told_apart_by_their_names():
    assert [tuning.name for tuning in TUNINGS.values()] == list(TUNINGS) == ["float32", "TF32", "bfloat16"]
