"""What a predictor does on CUDA, where there is none: which backend it takes, on which device, and what it refuses."""

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda

from gpu.predict import CapturedPrediction, Predictor
from linalg_cnn import AffineMap

BARE = "cuda"  # without an index, as users write it
RNG = np.random.default_rng(0)
AFFINE = AffineMap(RNG.standard_normal((10, 70)), RNG.standard_normal(10))
PIXELS = torch.from_numpy(RNG.integers(0, 256, (40, 70), dtype=np.uint8))
SCORES = torch.from_numpy(AFFINE(PIXELS.double().numpy())).float()


@pytest.fixture
def there(monkeypatch):
    """A CUDA device, its kernels, and a log."""
    with fake_cuda(monkeypatch, AFFINE) as there:
        yield there


@pytest.mark.parametrize("name", [BARE, torch.device(BARE), "cuda:0", "cuda:1"])
def test_the_device_of_a_predictor_has_an_index(there, name):
    predictor = Predictor(AFFINE, device=name)
    assert predictor.device == torch.device("cuda:1" if name == "cuda:1" else "cuda:0")
    assert predictor.device == predictor(PIXELS).device
    assert repr(predictor).count(str(predictor.device)) == 1


def test_a_bare_name_is_the_current_device(there):
    there.cuda.current = 1
    assert Predictor(AFFINE, device=BARE).device == torch.device("cuda:1")


@pytest.mark.parametrize("name", [BARE, "cuda:0", "cuda:1"])
def test_bytes_on_cuda_are_predicted_by_the_kernel_on_the_predictors_device(there, name):
    predictor = Predictor(AFFINE, device=name)
    assert predictor.way_for(40).way == "triton"
    for current in (0, 1):
        there.cuda.current = current
        there.kernels.launches.clear()
        assert torch.equal(predictor(PIXELS).cpu(), SCORES)
        assert torch.equal(predictor.classes(PIXELS).cpu(), SCORES.argmax(1))
        assert there.kernels.launches == [("kernel", predictor.device.index)] * 2
        assert there.cuda.current == current


def test_images_on_the_device_are_not_copied(there, monkeypatch):
    predictor, images = Predictor(AFFINE, device=BARE), PIXELS.to(BARE)
    copied, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *others: copied.append(tensor) or to(tensor, *others))
    assert torch.equal(predictor(images).cpu(), SCORES)
    assert not any(tensor.dtype == torch.uint8 for tensor in copied)
    assert copied  # by the fake kernel: what is copied would be seen


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_only_backend_for_all_sizes_is_not_chosen_anew_for_each_batch(there, monkeypatch, dtype):
    predictor, images = Predictor(AFFINE, device=BARE), PIXELS.to(BARE, dtype)
    monkeypatch.setattr("gpu.predict.dispatch.Dispatch.name_for", None)
    for rows in (0, 1, 40):
        assert torch.allclose(predictor(images[:rows]).cpu(), SCORES[:rows], rtol=1e-4)
        assert torch.equal(predictor.classes(images[:rows]).cpu(), SCORES[:rows].argmax(1))


def test_endless_recursion_is_not_taken_for_a_kernel_that_does_not_run(there, monkeypatch):
    def launch(*arguments, **named):
        raise RecursionError("a mistake")

    monkeypatch.setattr("gpu.predict.triton_backend.TritonProducts._launch", launch)
    with pytest.raises(RecursionError, match="a mistake"):
        Predictor(AFFINE, device=BARE)


# A whole epoch as a CUDA graph


@pytest.mark.parametrize("name", [BARE, "cuda:0", "cuda:1"])
@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("classes", [False, True])
def test_a_capture_runs_each_batch_twice_and_then_replays(there, name, batch_size, classes):
    predictor = Predictor(AFFINE, device=name)
    there.kernels.launches.clear()
    with there.cuda.device(predictor.device):  # a stream belongs to a device, which the fake one does not say
        captured = CapturedPrediction(predictor, PIXELS.to(name), batch_size, classes=classes)
    batches = 3 if batch_size else 1
    of_each = [("part_kernel", predictor.device.index), ("sum_kernel", predictor.device.index)]
    assert there.kernels.launches == 2 * batches * of_each  # the launches of a graph cost little
    expected = SCORES.argmax(1) if classes else SCORES
    assert torch.equal(captured().cpu(), expected)
    assert there.log == [
        "new stream 0",
        "stream 0 waits for main",
        "enter stream 0",
        "leave stream 0",
        "main waits for stream 0",
        "enter main",
        "enter capture on stream 0",
        "leave capture on stream 0",
        "leave main",
        "replay",
    ]


@pytest.mark.parametrize(
    ("device", "images"), [("cuda:1", "cuda:0"), ("cuda:0", "cuda:1"), (BARE, "cpu"), ("cpu", BARE)]
)
def test_a_capture_refuses_images_on_another_device(there, device, images):
    with pytest.raises(ValueError, match="device: expected predictor and images on one CUDA device, got c.* and c"):
        CapturedPrediction(Predictor(AFFINE, device=device), PIXELS.to(images))
    assert there.log == []
