"""The training loop learns, is repeatable, and stops when it diverges."""

import math
from fractions import Fraction

import pytest
import torch

import gpu
from gpu import three_layer_cnn
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.runtime.timing import microseconds_per_image
from gpu.training.data import Digits, load_digits
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.train import train


@pytest.fixture(scope="module")
def digits():
    training, held_out = load_digits()
    return Digits(training.images[:640], training.labels[:640]), Digits(held_out.images[:200], held_out.labels[:200])


def run(digits, **options):
    model = three_layer_cnn(channels=2)
    return model, train(model, *digits, **({"epochs": 2, "progress": False} | options))


def test_it_learns(digits):
    model, history = run(digits, epochs=4, learning_rate=1e-2)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["train_accuracy"] > 0.75
    assert history[-1]["validation_accuracy"] > 0.7
    scores = predict_scores(model, digits[1].images)
    assert history[-1]["validation_accuracy"] == accuracy_of(scores, digits[1].labels)
    assert not model.training


def test_it_is_repeatable(digits):
    first, history = run(digits)
    second, again = run(digits)
    other, _ = run(digits, seed=1)
    assert history == again
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_a_last_short_batch_counts_by_its_size(digits):
    _, by_one = run(digits, epochs=1, batch_size=1000, learning_rate=1e-9)
    _, by_parts = run(digits, epochs=1, batch_size=601, learning_rate=1e-9)
    assert math.isclose(by_one[0]["loss"], by_parts[0]["loss"], rel_tol=1e-5)


def test_divergence_stops(digits):
    with pytest.raises(FloatingPointError, match=r"training diverged: the loss is nan in epoch \d; try a smaller"):
        run(digits, learning_rate=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected an int of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected an int of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate: expected a positive number, got nan"),
    ],
)
def test_bad_options(digits, options, message):
    with pytest.raises(ValueError, match=message):
        run(digits, **options)


def test_progress_is_drawn_on_standard_error(digits, capsys):
    run(digits, epochs=1, progress=True)
    captured = capsys.readouterr()
    assert "training: 100%" in captured.err
    assert captured.out == ""


def test_devices():
    assert resolve_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")
    # torch knows the name of hpu, imports a package for it that is not there, and names all others for mps
    for name in ("abacus", "cuda:99", "hpu", "lazy", "meta"):
        message = f"^device: expected a device of this machine, got '{name}': .{{1,200}}; it has cpu[a-z0-9:, ]*$"
        with pytest.raises(ValueError, match=message):
            resolve_device(name)


def test_timing_measures_and_names_the_machine(monkeypatch, tmp_path):
    model = torch.nn.Linear(4, 4)
    measured = microseconds_per_image(model, torch.rand(2, 4), min_run_time=0.05)
    assert 0 < measured["median"] < 1e6
    assert 0 <= measured["iqr"] < 1e6
    hardware = describe_hardware(torch.device("cpu"))
    assert hardware["device"] == "cpu"
    assert hardware["processor"]
    assert set(describe_versions()) == {"python", "linalg_cnn", "numpy", "scipy", "sympy", "torch", "torchvision"}
    for cpuinfo in ("processor: 0\n", None):  # Linux on Arm names no model; other systems have no such file
        if cpuinfo is not None:
            (tmp_path / "cpuinfo").write_text(cpuinfo)
        monkeypatch.setattr("gpu.runtime.machine.CPUINFO", tmp_path / ("missing" if cpuinfo is None else "cpuinfo"))
        assert describe_hardware(torch.device("cpu"))["processor"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    assert describe_hardware(torch.device("cuda:0"))["gpu"] == "card of cuda:0"


def test_timing_leaves_statistics_and_modes_as_they_are():
    """A network fresh from its constructor is in training mode, in which each timed run would move its statistics."""
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.BatchNorm1d(4).eval())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    microseconds_per_image(model, torch.rand(2, 4), min_run_time=0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [part.training for part in model.modules()] == [True, True, True, False]
    exported = torch.export.export(torch.nn.Linear(4, 1), (torch.rand(2, 4),)).module()  # whose eval() raises an error
    assert microseconds_per_image(exported, torch.rand(2, 4), min_run_time=0.0)["median"] > 0


def test_timing_puts_modes_back_after_a_forward_that_fails():
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout().eval())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        microseconds_per_image(model, torch.rand(2, 4), min_run_time=0.0)
    assert [part.training for part in model.modules()] == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "network"}, TypeError, "model: expected an nn.Module or another callable, got str"),
        ({"batch": [1.0]}, TypeError, "batch: expected a tensor, got list"),
        (
            {"batch": torch.zeros(0, 4)},
            ValueError,
            r"batch: expected at least one image \(N, ...\), got shape \(0, 4\)",
        ),
        ({"batch": torch.tensor(1.0)}, ValueError, r"batch: expected at least one image \(N, ...\), got shape \(\)"),
        ({"min_run_time": -1}, ValueError, "min_run_time: expected a finite number of at least 0, got -1"),
        ({"min_run_time": math.nan}, ValueError, "min_run_time: expected a finite number of at least 0, got nan"),
        ({"min_run_time": math.inf}, ValueError, "min_run_time: expected a finite number of at least 0, got inf"),
        (
            {"min_run_time": "model(batch)"},
            ValueError,
            "min_run_time: expected a finite number of at least 0, got 'mod",
        ),
        ({"least_runs": 0}, ValueError, "least_runs: expected an int of at least 1, got 0"),
    ],
)
def test_timing_refuses_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        microseconds_per_image(**{"model": torch.nn.Flatten(), "batch": torch.zeros(2, 4)} | arguments)


def test_scores_and_accuracy_refuse_what_does_not_fit():
    scores = torch.eye(3)
    for labels in (torch.tensor([[0], [1], [2]]), torch.tensor([1]), torch.tensor(1)):
        with pytest.raises(ValueError, match=r"labels: expected a label \(N,\) for each row of scores"):
            gpu.accuracy_of(scores, labels)
    model, images = gpu.perceptron(), torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    for dtype in (torch.int64, torch.float8_e4m3fn, torch.float8_e5m2):
        with pytest.raises(ValueError, match=f"images: expected uint8, .* or float64, got {dtype}"):
            gpu.predict_scores(model, images.to(dtype))
    with pytest.raises(TypeError, match="images: expected a tensor, got ndarray"):
        gpu.predict_scores(model, images.numpy())
    with pytest.raises(ValueError, match="batch_size: expected an int of at least 1, got 0"):
        gpu.predict_scores(model, images, batch_size=0)
    with pytest.raises(ValueError, match=r"images: expected images \(N, \*in_shape\), got shape \(\)"):
        gpu.predict_scores(model, images[0, 0, 0, 0])
    with pytest.raises(TypeError, match="model: expected an nn.Module"):
        gpu.predict_scores(torch.flatten, images)
    for network, got in ((torch.nn.LSTM(784, 3), "tuple"), (torch.nn.Flatten(0), r"\(1568,\)")):
        with pytest.raises(ValueError, match=rf"model: expected scores \(2, classes\) of 2 images, got {got}"):
            gpu.predict_scores(torch.nn.Sequential(torch.nn.Flatten(), network), images)
    assert gpu.predict_scores(torch.nn.Flatten(), images).shape == (2, 784)


def test_accuracy_refuses_what_would_count_as_wrong_or_as_nothing():
    scores = torch.eye(3)
    for labels, message in (
        (torch.tensor([0.0, 1.0, 2.0]), "labels: expected integers, got torch.float32"),
        (torch.tensor([True, False, True]), "labels: expected integers, got torch.bool"),
        (torch.tensor([0, 1, 3]), "labels: expected classes from 0 to 2, which have scores, got 0 to 3"),
        (torch.tensor([0, -1, 2]), "labels: expected classes from 0 to 2, which have scores, got -1 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            gpu.accuracy_of(scores, labels)
    none = torch.zeros(0, dtype=torch.int64)
    for empty in (torch.zeros(0, 3), torch.zeros(0, 0)):
        with pytest.raises(ValueError, match=r"scores: expected those of at least one image, got shape \(0, [03]\)"):
            gpu.accuracy_of(empty, none)
    for arguments, name in (
        ((scores.numpy(), torch.arange(3)), "scores"),
        ((scores, torch.arange(3).numpy()), "labels"),
    ):
        with pytest.raises(TypeError, match=f"{name}: expected a tensor, got ndarray"):
            gpu.accuracy_of(*arguments)
    for dtype in (torch.uint8, torch.int32):
        assert gpu.accuracy_of(scores, torch.tensor([0, 1, 1], dtype=dtype)) == pytest.approx(2 / 3)


def test_scores_that_are_nan_are_never_right():
    """The index of the highest score is that of the NaN: class 0 for a network whose scores are all NaN."""
    scores = torch.tensor([[math.nan] * 3, [0.0, math.nan, 1.0], [0.0, math.inf, 1.0], [2.0, 0.0, 1.0]])
    assert gpu.accuracy_of(scores, torch.tensor([0, 1, 1, 0])) == 0.5


@pytest.mark.parametrize(
    "rate", [0, -1.0, True, "1e-3", float("inf"), float("nan"), None, 10**400, Fraction(1, 10**400)]
)
def test_a_learning_rate_is_a_positive_number(rate):
    images, labels = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="learning_rate: expected a positive number, got"):
        gpu.Trainer(gpu.perceptron(), (images, labels), (images, labels), learning_rate=rate)
