"""The experiment `front`: its networks, what they keep, its trials, and what its record says."""

from dataclasses import replace

import matplotlib.image
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import gpu
import gpu.experiments.front as front
from gpu.experiments import front_networks, front_times, front_trials
from gpu.experiments.command import run_experiment
from gpu.experiments.front_choice import order_of_removal
from gpu.experiments.front_networks import KEPT, Window, merged_architecture, network_of
from gpu.experiments.front_trials import ABRUPT, DIRECT, HOMOTOPY, WHOLE, load_weights, run_front_trial
from gpu.experiments.front_view import Point, beaten, nearest_to_goal, points_of
from gpu.experiments.tables import format_experiment
from gpu.experiments.workspace import Workspace
from gpu.models.removal import remove_skips
from gpu.settings import ExperimentSettings
from gpu.training.data import Digits
from linalg_cnn.files import read_json


@pytest.mark.parametrize("depth", [18, 34])
def test_the_resnets_are_those_of_the_library_without_skips(depth):
    torch.manual_seed(7)
    theirs = remove_skips(gpu.resnet(depth, t=0.0, stem_pool="avg")).eval()
    ours = network_of(f"ResNet{depth}", seed=7).eval()
    x = torch.rand(2, 1, 28, 28)
    assert_close(ours(x), theirs(x))  # not the same bits: taps that read padding alone are left out
    kernels = [part.kernel_size for part in ours if isinstance(part, nn.Conv2d)]
    assert kernels.count((1, 1)) == {18: 3, 34: 5}[depth]
    assert kernels.count((2, 2)) == 1, "the one that brings 2x2 to 1x1"
    assert len(gpu.activation_slopes(ours)) == depth - 1


def pixels_read(layers, side, output):
    """Return which pixels an output of some layers depends on, by its gradient for positive weights."""
    x = torch.ones(1, next(p for p in layers.parameters() if p.ndim == 4).shape[1], side, side, requires_grad=True)
    for p in layers.parameters():
        nn.init.ones_(p)
    layers.eval()(x)[(0, 0, *output)].backward()
    return x.grad[0, 0] != 0


@pytest.mark.parametrize(
    ("side", "given"),
    [
        (28, [(3, 1, 1), (3, 2, 1)]),
        (28, [(7, 2, 3), "pool"]),
        (7, [(3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)]),
        (4, [(3, 1, 1)] * 6),
        (5, [(3, 2, 1), (3, 2, 1), (3, 2, 1)]),
        (2, [(3, 2, 1), (3, 1, 1)]),
        (9, [(2, 2, 0), (3, 1, 1)]),
    ],
)
def test_one_convolution_reads_the_pixels_that_its_stretch_reads(side, given):
    channels = 1 if side == 28 else 3
    parts = []
    for geometry in given:
        pool = nn.AvgPool2d(3, stride=2, padding=1)
        parts.append(pool if geometry == "pool" else nn.Conv2d(channels if not parts else 64, 64, *geometry))
    stretch, window = nn.Sequential(*parts), Window()
    for part in parts:
        window.extend(part)
    out_side = stretch(torch.zeros(1, channels, side, side)).shape[-1]
    size, padding = window.cropped(side, out_side)
    one = nn.Sequential(nn.Conv2d(channels, 1, size, stride=window.stride, padding=padding))
    assert one(torch.zeros(1, channels, side, side)).shape[-1] == out_side
    for output in ((0, 0), (out_side - 1, 0), (out_side // 2, out_side - 1)):
        expected = pixels_read(stretch, side, output)
        assert torch.equal(expected & pixels_read(one, side, output), expected)
    assert size <= 2 * side - 1, "taps that read padding at every position are left out"


def test_merged_architectures_have_a_layer_per_stretch_unless_the_chain_is_less_work():
    network = network_of("plain CNN", seed=0)
    names = list(gpu.activation_slopes(network))
    x = torch.rand(2, 1, 28, 28)
    for kept in ([], names, names[1::2], names[-1:], names[:1], names[2:3]):
        made = merged_architecture(network_of("plain CNN", seed=0), kept)
        assert made(x).shape == (2, 10)
        assert len(gpu.activation_slopes(made)) == len(kept)
    halves = merged_architecture(network, names[1::2])
    assert [part.kernel_size for part in halves if isinstance(part, nn.Conv2d)] == [(5, 5)] * 4
    late = merged_architecture(network_of("ResNet18", seed=0), ["2", "12"])
    assert [part.kernel_size for part in late if isinstance(part, nn.Conv2d)] == [(7, 7)] + [(3, 3)] * 3
    assert isinstance(merged_architecture(network_of("ResNet34", seed=0), ["94"]), nn.Sequential)


def test_what_costs_least_for_what_it_saves_goes_first_on_images_for_validation():
    torch.manual_seed(0)
    harmless, costly, free = nn.LeakyReLU(1.0), nn.Threshold(0.5, 5.0), nn.Tanh()
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), harmless, nn.Linear(10, 10), costly, free)
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    model[3].weight.data.copy_(torch.eye(10))
    validation = Digits(images, model.eval()(images / 255).argmax(1))

    def macs_of(left):
        return 100 * ("2" in left) + 50 * ("4" in left)  # the removal of 5 saves nothing

    found = order_of_removal(model, images, validation, macs_of)
    assert found["order"][-1] == "5"
    assert found["order"][0] == "2"
    assert found["multiply_adds"] == [150, 50, 0, 0]
    assert len(found["losses"]) == 4
    assert found["losses"][1] == pytest.approx(found["losses"][0])
    assert gpu.activation_slopes(model) == {"2": 1, "4": 1, "5": 1}


SMALL = {"trials": 1, "epochs": 2, "subset": 40, "held_out": 20, "dataset": "mnist-5k", "progress": False}


def refuse(module, dynamic):
    raise RuntimeError("there is no compiler\nhere")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Return settings for a plain CNN of three convolutions, which is trained and merged in seconds."""
    monkeypatch.setattr(front_networks, "PLAIN", ((4, 2), (4, 7), (4, 1)))
    monkeypatch.setitem(KEPT, "plain CNN", (1,))
    monkeypatch.setattr(front_times, "ROUNDS", 1)
    monkeypatch.setattr(front_times, "SECONDS", 0.001)
    monkeypatch.setattr(torch, "compile", refuse)
    return ExperimentSettings("front", tmp_path, series=("plain CNN",), learning_rate=1e-3, **SMALL)


def test_the_front_is_measured_and_an_experiment_that_is_run_again_trains_nothing(settings, monkeypatch):
    record = run_experiment(settings)
    found = {(series["arm"], series["taught"]): series for series in record["series"]}
    assert set(found) == {(WHOLE, False), *((a, t) for a in (HOMOTOPY, ABRUPT, DIRECT) for t in (False, True))}
    for (arm, _), series in found.items():
        (trial,) = series["trials"]
        assert 0 <= trial["test_accuracy"] <= 1
        assert len(trial["epochs"]) == (2 if arm == DIRECT else 1)  # the others start from a network of one epoch
        assert series["left"] == (3 if arm == WHOLE else 1)
    assert record["settings"] | {"images": 35, "held_out_images": 5, "test_images": 20} == record["settings"]
    plans = {("network", 3), ("merged", 3), ("merged", 1), (DIRECT, 1)}
    rows = {(row["variant"], row["left"], row["runtime"]): row for row in record["rows"]}
    assert set(rows) == {(*plan, runtime) for plan in plans for runtime in ("eager", "onnxruntime")}
    assert set(rows["network", 3, "eager"]["forms"]) == {"chain"}
    assert len(rows["merged", 1, "eager"]["forms"]) == 2
    assert "plain CNN, network, 3 left, torch.compile: RuntimeError: there is no compiler" in record["left_out"]
    assert len(record["left_out"]) == len(plans)
    lines = format_experiment(record)
    assert "| activations left | whole network | homotopy | homotopy, taught | abrupt removal |" in lines
    assert "The whole network has" in gpu.record_picture(record).alt
    assert matplotlib.image.imread(settings.out / "front.png").ndim == 3

    def fail(*arguments, **options):
        raise AssertionError("a finished trial is trained again")

    monkeypatch.setattr(front_trials, "Trainer", fail)
    monkeypatch.setattr(front, "time_networks", lambda *arguments, **options: (record["rows"], record["left_out"]))
    assert run_experiment(settings)["series"] == record["series"]


def test_a_homotopy_that_is_killed_continues_to_the_same_bits(settings, tmp_path):
    start = front.pretrained_trial("plain CNN", settings, 0)
    trial = replace(start, arm=HOMOTOPY, kept=("5",), pretrained=start, epochs=3)
    results = []
    for folder, killed in ((tmp_path / "whole", False), (tmp_path / "killed", True)):
        workspace = Workspace(folder, device="cpu", keep_weights=True)
        run_front_trial(start, workspace)

        def kill(images, seen=[0]):  # noqa: B006 - counts the calls
            seen[0] += 1
            if seen[0] == 3:
                raise KeyboardInterrupt

        if killed:
            with pytest.raises(KeyboardInterrupt):
                run_front_trial(trial, workspace, kill)
        result = run_front_trial(trial, workspace)
        assert run_front_trial(trial, workspace) == read_json(workspace.folder_of(trial) / "result.json", "it", {})
        results.append((result["epochs"], result["test_accuracy"]))
        names = [path.name for path in workspace.folder_of(trial).iterdir()]
        assert sorted(names) == ["result.json", "weights.safetensors"]
    assert results[0] == results[1]


def test_what_starts_from_a_diverged_network_says_so(settings, tmp_path):
    start = replace(front.pretrained_trial("plain CNN", settings, 0), learning_rate=1e30)
    workspace = Workspace(tmp_path, device="cpu", keep_weights=True)
    model = network_of("plain CNN", 0)
    with pytest.raises(
        ValueError, match=r"trial: expected plain-cnn-pretrained-all-.* to be trained, got one that is n"
    ):
        load_weights(model, start, workspace)
    assert "diverged" in run_front_trial(start, workspace)["stopped"]
    with pytest.raises(ValueError, match="to be trained, got one that stopped: training diverged"):
        load_weights(model, start, workspace)


def test_networks_that_the_front_does_not_have_are_named(settings, tmp_path):
    with pytest.raises(ValueError, match="series: expected some of plain CNN, ResNet18, ResNet34; got LeNet"):
        front.measure_front(ExperimentSettings("front", tmp_path, series=("LeNet",)))


def test_the_record_has_the_number_of_epochs_that_were_trained(settings, monkeypatch):
    monkeypatch.setattr(front, "_train", lambda *arguments: {"choice": {"order": []}, "series": []})
    monkeypatch.setattr(front, "time_networks", lambda *arguments, **options: ([], []))
    record = front.measure_front(replace(settings, epochs=1))
    assert record["settings"]["epochs"] == 2, "one for the pretrained network, and one for each arm"


def test_times_are_kept_where_the_next_network_is_stopped(settings, monkeypatch):
    timed = []

    def time_networks(name, *arguments, **options):
        timed.append(name)
        if len(timed) == 2:
            raise KeyboardInterrupt
        return [{"network": name}], [f"{name} on a card"]

    monkeypatch.setattr(front, "_train", lambda *arguments: {"choice": {"order": []}, "series": []})
    monkeypatch.setattr(front, "time_networks", time_networks)
    settings = replace(settings, series=("plain CNN", "ResNet18"))
    with pytest.raises(KeyboardInterrupt):
        front.measure_front(settings)
    record = front.measure_front(settings)
    assert timed == ["plain CNN", "ResNet18", "ResNet18"]
    assert record["continued"] == ["times of plain CNN"]
    assert record["rows"] == [{"network": "plain CNN"}, {"network": "ResNet18"}]
    assert record["left_out"] == ["plain CNN on a card", "ResNet18 on a card"]


def test_the_goal_and_the_arms_that_are_beaten():
    whole = Point(WHOLE, 8, 1.0, [0.98, 0.99])
    slow, fast, far = Point(DIRECT, 2, 4.0, [0.98, 0.985]), Point(ABRUPT, 2, 6.0, [0.975]), Point(ABRUPT, 0, 50, [0.9])
    assert nearest_to_goal([whole, slow, fast, far]) == (slow, fast)
    assert nearest_to_goal([whole, far]) == (None, far)
    assert nearest_to_goal([slow]) == (None, None)
    worse = Point(HOMOTOPY, 2, 3.0, [0.96, 0.95])
    assert list(beaten([whole, slow, fast, worse])) == [(worse, slow)]
    assert list(beaten([worse, Point(DIRECT, 2, 2.9, [0.99])])) == []


def test_each_network_is_compared_in_the_runtime_that_is_fastest_for_it():
    times = {("network", 8, "eager"): 10.0, ("network", 8, "onnxruntime"): 6.0}
    times |= {("merged", 2, "eager"): 2.0, ("merged", 2, "onnxruntime"): 4.0}
    record = {
        "series": [{"network": "A", "arm": HOMOTOPY, "taught": False, "left": 2, "trials": [{"test_accuracy": 0.9}]}],
        "rows": [
            {"network": "A", "variant": variant, "left": left, "runtime": runtime, "microseconds_per_image": time}
            for (variant, left, runtime), time in times.items()
        ],
    }
    assert points_of(record, "A") == [Point(HOMOTOPY, 2, 3.0, [0.9])]


def test_a_compiled_network_computes_the_same_as_it_is_timed(monkeypatch):
    modes = []

    def compile_(module, dynamic):
        return lambda batch: modes.append(torch.is_inference_mode_enabled()) or module(batch)

    monkeypatch.setattr(torch, "compile", compile_)
    network, batch = network_of("plain CNN", 0).eval(), torch.rand(2, 1, 28, 28)
    assert torch.equal(front_times._START["torch.compile"](network, batch)(batch), network(batch))
    assert modes == [True, False], "compiled for inference mode, in which it is timed"


def test_the_time_of_a_network_is_the_median_of_its_rounds_with_their_interquartile_range(monkeypatch):
    times = {"one": iter([5.0, 1.0, 2.0, 3.0, 4.0]), "another": iter([7.0] * 5)}
    monkeypatch.setattr(front_times, "ROUNDS", 5)
    monkeypatch.setattr(front_times, "microseconds_per_image", lambda predict, *_, **__: {"median": next(predict)})
    found = {(name, 0): (taken, None) for name, taken in times.items()}
    assert front_times._in_turn(found, None) == {("one", 0): (3.0, 2.0), ("another", 0): (7.0, 0.0)}


def test_on_cuda_a_network_is_captured_with_the_fastest_convolutions(monkeypatch):
    measured = []
    monkeypatch.setattr(front_times, "graphed", lambda *_: measured.append(torch.backends.cudnn.benchmark))
    front_times._START["CUDA graph"](nn.Identity(), torch.ones(1))
    assert measured == [True]
    assert not torch.backends.cudnn.benchmark


def test_a_record_says_what_is_missing_and_which_arms_lose():
    def series(arm, left, accuracies, taught=False):
        trials = [{"seed": 0, "epochs": [], "test_accuracy": accuracy} for accuracy in accuracies]
        shared = {"network": "plain CNN", "arm": arm, "taught": taught, "left": left}
        return {"name": f"{arm}{left}", "trials": trials or [{"seed": 0, "epochs": [], "stopped": "diverged"}]} | shared

    times = {("network", 8): 10.0, ("merged", 8): 8.0, ("merged", 2): 1.0, (DIRECT, 2): 4.0}
    record = {
        "experiment": "front",
        "settings": {"dataset": "mnist-5k", "images": 35, "epochs": 2, "trials": 1, "held_out_images": 5}
        | {"test_images": 20, "batch_size": 64},
        "hardware": {"processor": "Xeon", "cores": 2},
        "networks": {"plain CNN": {}},
        "series": [
            series(WHOLE, 8, [0.9, 0.92]),
            series(HOMOTOPY, 2, []),
            series(ABRUPT, 2, [0.85]),
            series(DIRECT, 2, [0.8], taught=True),
        ],
        "rows": [
            {"network": "plain CNN", "variant": variant, "left": left, "forms": ["chain"], "multiply_adds": 7}
            | {"microseconds_per_image": time, "spread": 0.5}
            for (variant, left), time in times.items()
        ],
    }
    text = format_experiment(record)
    assert "| 2 | merged | chain | 7 | 1.00 (0.50) | 10.00 |" in text
    assert "| 8 | 91.00% (90.00% to 92.00%) |  |  |" in text
    assert "| 2 |  | 85.00% | 80.00% |" in text
    assert "The whole network has 91.00% (90.00% to 92.00%)." in text
    assert "No network with fewer activations is within its spread." in text
    assert "Most accurate at 5 times or more: abrupt removal with 2 left, 10.0 times faster, 85.00%." in text
    assert "at no more cost: direct, taught with 2 by abrupt removal with 2." in text
    assert "homotopy2, seed 0: diverged" in text
    picture = gpu.record_picture(record)
    assert "Fastest" not in picture.alt
    assert "tested on 20; batch 64; Xeon, 2 cores." in picture.alt
    record["series"] = [series(WHOLE, 8, [0.9]), series(DIRECT, 2, [0.95])]
    text = format_experiment(record)
    assert "Fastest within its spread: direct with 2 left, 2.5 times faster, 95.00%." in text
    assert "Most accurate" not in text
