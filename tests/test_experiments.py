"""The paper's experiments at a small size: their trials, their records, and several trials at the same time."""

import json
import math
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.image
import pytest
import torch
from torch import nn

import gpu
from gpu.cli.main import main
from gpu.experiments import price
from gpu.experiments.command import _record_of, run_experiment
from gpu.experiments.experiment import Experiment
from gpu.experiments.figure2 import PAPER
from gpu.experiments.paper_numbers import TIMINGS
from gpu.experiments.pictures import draw
from gpu.experiments.registry import find_experiment
from gpu.experiments.sweep import sweep
from gpu.experiments.tables import format_experiment
from gpu.experiments.timing import networks
from gpu.experiments.trial import SCHEDULES, Trial
from gpu.experiments.trial_run import run_trial
from gpu.experiments.workspace import Workspace, some_images
from gpu.settings import EXPERIMENTS, ExperimentSettings
from gpu.training.trainer import Trainer
from linalg_cnn.files import write_json

SMALL = {"trials": 1, "epochs": 2, "subset": 64, "held_out": 50, "dataset": "mnist-5k", "progress": False}


def small_trial(**options):
    given = {
        "network": "3-layer CNN",
        "seed": 0,
        "t": 0.5,
        "activation": "relu",
        "stem_pool": "max",
        "epochs": 1,
        "batch_size": 64,
        "images": 64,
        "held_out": 20,
        "dataset": "mnist-5k",
        "learning_rate": 1e-3,
        "precision": "float32",
    }
    return Trial(**given | options)


def plan(settings):
    return find_experiment(settings.name).plan(settings)


def conditions(record):
    return find_experiment(record["experiment"]).view.conditions(record)


def test_defaults_are_the_papers_settings(tmp_path):
    settings = ExperimentSettings("figure3", tmp_path)
    assert (settings.trials, settings.batch_size, settings.subset, settings.dataset) == (5, 64, None, "mnist")
    trials = [trial for series in plan(settings).values() for trial in series]
    assert {trial.epochs for trial in trials} == {10}
    assert {trial.network for trial in trials} == {"ResNet34"}
    assert len({trial.key for trial in trials}) == len(trials) == 15
    assert {trial.epochs for series in plan(ExperimentSettings("figure2", tmp_path)).values() for trial in series} == {
        2
    }


def test_figure2_asks_for_the_papers_strengths(tmp_path):
    series = plan(ExperimentSettings("figure2", tmp_path))
    assert len(series) == 8
    assert sorted({trial.t for trial in series["ResNet34"]}) == sorted(PAPER.columns()["t"])
    linear = series["3-layer CNN, linear"][0].model()
    assert [type(activation).__name__ for activation in linear.activations] == ["Identity"] * 3
    with pytest.raises(ValueError, match="series: expected some of ResNet34, .*; got LeNet"):
        plan(ExperimentSettings("figure2", tmp_path, series=("LeNet",)))


def test_a_record_names_every_batch_size_that_its_trials_have(tmp_path):
    trials = {"64 images": [small_trial()], "16 images": [small_trial(batch_size=16)]}
    settings = ExperimentSettings("figure1", tmp_path, **SMALL)
    record = _record_of(settings, trials, {}, Workspace(tmp_path, None, False, "cpu", False))
    assert record["settings"]["batch_size"] == [64, 16]
    assert record["settings"]["learning_rate"] == 1e-3
    assert record["settings"]["epochs"] == 1


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [2, 3, 10, 17])
def test_schedules_end_without_skips_for_any_number_of_epochs_and_not_before(name, epochs):
    trial = small_trial(t=name, epochs=epochs, network="6-layer CNN")
    model = trial.model()
    at_first = gpu.skip_strengths(model)
    schedule = trial.schedule(model)
    assert gpu.skip_strengths(model) == at_first
    sums = []
    for epoch in range(epochs):
        strengths = gpu.skip_strengths(model).values()
        assert all(0 <= t < 1 for t in strengths)
        sums.append(sum(strengths))
        if name == "threshold":
            schedule.step(1 - 2.0 ** -(epoch + 2))  # halves the error before each epoch
        else:
            schedule.step()
    assert sums[0] > 0
    if name == "threshold":
        assert sums == [strength * 4 for strength in (0.9, 0.2, 0.0, *[0.0] * epochs)][:epochs]
    else:
        assert sums[-1] == 0
        assert all(sums[:-1])
    if name == "paper from 0.9" and epochs == 10:
        assert sums == [4 * t for t in [0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0]]


def test_one_at_a_time_removes_skips_from_the_input_on_and_several_if_there_are_more_than_epochs():
    trial = small_trial(t="one at a time", epochs=4, network="ResNet18")
    model = trial.model()
    schedule, left = trial.schedule(model), []
    for _ in range(4):
        left.append([t > 0 for t in gpu.skip_strengths(model).values()])
        schedule.step()
    assert left == [[False] * gone + [True] * (8 - gone) for gone in (0, 2, 5, 8)]


def test_ways_without_skips_are_compared_with_the_network_with_skips_of_the_same_seed(tmp_path):
    def trial(seed, accuracies, strengths):
        epochs = [
            {"epoch": n, "t": t, "validation_accuracy": a, "validation_accuracy_running": a / 2}
            for n, (a, t) in enumerate(zip(accuracies, strengths, strict=True), 1)
        ]
        return {"seed": seed, "epochs": epochs}

    small = SMALL | {"epochs": 1, "subset": 16, "held_out": 8, "series": ("No skips from the start",)}
    record = run_experiment(ExperimentSettings("schedules", tmp_path, depth=18, **small))
    assert record["settings"]["network"] == "ResNet18"
    assert record["series"][0]["trials"][0]["skips_removed"]["largest_difference"] == 0
    record["series"] = [
        {
            "name": "Static t = 0.5, with skips",
            "trials": [trial(1, [0.5, 0.75], [0.5, 0.5]), trial(0, [0.5, 0.9], [0.5, 0.5])],
        },
        {
            "name": "One skip at a time",
            "trials": [
                trial(0, [0.5, 0.8, 0.88], [{"a": 0.5, "b": 0.0}, {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}]),
                trial(1, [0.5, 0.6, 0.76], [0.9, 0.5, 0.2]),
            ],
        },
        {"name": "No skips, taught", "trials": [{"seed": 0, "epochs": [], "stopped": "diverged"}]},
    ]
    lines = format_experiment(record).splitlines()
    assert lines[2].startswith("| Static t = 0.5, with skips | 0 of 2 |  | 82.50% (75.00% to 90.00%) | 10.61% |  | ")
    assert lines[3] == (
        "| One skip at a time | 1 of 2 | 2.0 | 82.00% (76.00% to 88.00%) | 8.49% | -0.5 (-2.0 to +1.0) "
        "| 41.00% (38.00% to 44.00%) |"
    )
    assert lines[4] == "| No skips, taught (1 of 1 diverged) | 0 of 0 |  |  |  |  |  |"
    assert "ResNet18, mnist-5k, 16 images" in lines[-1]
    alt = gpu.record_picture(record).alt
    assert "One skip at a time: 82.00% (76.00% to 88.00%); No skips, taught (1 of 1 diverged): none." in alt


def ended(*values, **more):
    epochs = [{"epoch": n, "t": 0.0, "validation_accuracy": value} for n, value in enumerate(values, 1)]
    return {"epochs": epochs} | more


@pytest.mark.parametrize("name", ["figure2", "figure3", "distillation", "schedules"])
def test_a_trial_that_diverged_is_counted_beside_its_series_and_in_no_mean(name):
    """It had 10 % after the last epoch before it diverged, which the network that was to be trained never had."""
    lost = ended(0.1, seed=2, stopped="training diverged: the loss is nan in epoch 2")
    series = [
        {"name": "one way", "trials": [ended(0.25, 0.75, seed=0), ended(0.5, 0.5, seed=1), lost]},
        {"name": "another", "trials": [lost]},
    ]
    settings = {"dataset": "mnist-5k", "images": 35, "epochs": 2, "trials": 3, "held_out_images": 5}
    settings["network"] = "ResNet34"
    hardware = {"processor": "Xeon", "cores": 2}
    record = {"experiment": name, "settings": settings, "hardware": hardware, "series": series}
    text, alt = format_experiment(record), gpu.record_picture(record).alt
    assert "62.50% (50.00% to 75.00%)" in text
    assert "10.00%" not in text
    for said in (text, alt):
        assert "one way (1 of 3 diverged)" in said
        assert "another (1 of 1 diverged)" in said
    assert "another (1 of 1 diverged): none" in alt
    assert "one way, seed 2: training diverged" in text
    assert draw(record).startswith(b"\x89PNG")
    del series[0]["trials"][2]
    assert "one way |" in format_experiment(record)


@pytest.mark.parametrize(
    ("kinds", "cells"),
    [
        ("not affine, not affine", "refused: not affine |  |  |"),
        ("too large, not affine", "2 of 2 refused |  |  |"),
        ("compared, too large, compared", "38 of 40; 1 of 3 refused | 0.2 | 75.00% |"),
        ("too large, compared", "19 of 20; 1 of 2 refused | 0.2 | 75.00% |"),
        ("compared", "19 of 20 | 0.2 | 75.00% |"),
    ],
)
def test_the_map_of_each_trial_is_compared_or_refused_by_itself(kinds, cells):
    compared = {"predictions_agree": 19, "images_compared": 20, "largest_difference": 0.2, "validation_accuracy": 0.75}
    collapsed = {
        "compared": compared,
        "not affine": {"refused": "module: expected affine operations only, got 1 that are not: ..."},
        "too large": {"refused": "module: expected a map that is the network, got one that is off by 3e+30"},
    }
    trials = [ended(0.5, seed=seed, collapsed=collapsed[kind]) for seed, kind in enumerate(kinds.split(", "))]
    settings = {"dataset": "mnist-5k", "images": 35, "epochs": 1, "trials": 3, "held_out_images": 20}
    record = {"experiment": "figure1", "settings": settings, "hardware": {"processor": "Xeon", "cores": 2}}
    text = format_experiment(record | {"series": [{"name": "linear", "trials": trials}]})
    assert f"| linear | collapsed | {cells}" in text


def test_settings_that_no_trial_can_have_are_refused_before_the_first(tmp_path):
    for options, message in (
        ({"t": (0.5, math.inf)}, r"t: expected a number in \[0, 1\], got inf"),
        ({"learning_rate": math.nan}, "learning_rate: expected a positive number, got nan"),
        ({"seed": 2**41}, f"seed: expected an int of at most 4294967295, got {2**41}"),
        ({"seed": 2**32 - 2, "trials": 3}, "trials: expected an int of at most 2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            run_experiment(ExperimentSettings("figure2", tmp_path, **SMALL | options))
    assert list(tmp_path.iterdir()) == []


def test_a_depth_that_no_resnet_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="depth: expected one of 18, 34, 50, 101, 152, got 19"):
        run_experiment(ExperimentSettings("schedules", tmp_path, depth=19, **SMALL))


@pytest.fixture
def shallow_resnets(monkeypatch):
    """Let trials in this process train ResNet18 for ResNet34, which has the same stages with fewer blocks."""
    monkeypatch.setattr("gpu.experiments.trial.resnet", lambda depth, **options: gpu.resnet(18, **options))


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", ["figure1", "distillation"])
def test_an_experiment_from_the_command_line(tmp_path, capsys, name):
    arguments = ["--epochs", "1", "--trials", "1", "--subset", "64", "--held-out", "50", "--dataset", "mnist-5k"]
    assert main(["experiment", name, "--out", str(tmp_path), "--no-progress", *arguments]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["experiment"] == name
    assert record["complete"]
    assert {"epochs", "trials", "images", "batch_size", "dataset", "seed"} <= set(record["settings"])
    assert record["hardware"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    for series in record["series"]:
        assert series["name"] in printed
        for trial in series["trials"]:
            assert [epoch["epoch"] for epoch in trial["epochs"]] == [1]
            assert 0 <= trial["epochs"][0]["validation_accuracy"] <= 1
    assert matplotlib.image.imread(tmp_path / f"{name}.png").shape[2] == 4
    trials = {series["name"]: series["trials"][0] for series in record["series"]}
    if name == "figure1":  # erratum 4: the network of the paper's figure is not affine
        assert "maxpool: MaxPool2d" in trials["ResNet34, linear, max pooling (not affine)"]["collapsed"]["refused"]
        collapsed = trials["ResNet34, linear, average pooling"]["collapsed"]
        assert collapsed["predictions_agree"] >= 49
        assert collapsed["images_compared"] == 50
    else:
        removed = trials["No skips, taught"]["skips_removed"]
        assert removed["predictions_agree"] == 50
        assert removed["largest_difference"] == 0
        assert removed["parameters"] < trials["No skips, taught"]["parameters"]
        assert "skips_removed" not in trials["Teacher, t = 0.5"]


def test_finished_trials_are_not_repeated(tmp_path, monkeypatch):
    settings = ExperimentSettings("figure2", tmp_path, series=("3-layer CNN",), t=(0.1, 0.9), **SMALL)
    first = run_experiment(settings)
    assert [line.split()[1] for line in format_experiment(first).splitlines()[2:4]] == ["0.1", "0.9"]
    assert [trial["epochs"][1]["t"] for trial in first["series"][0]["trials"]] == [0.1, 0.9]
    monkeypatch.setattr("gpu.experiments.trial_run.Trainer", None)
    assert run_experiment(settings) == first
    assert not list(tmp_path.glob("trials/*/checkpoint"))


def test_a_trial_that_diverges_is_recorded_and_the_others_go_on(tmp_path):
    settings = ExperimentSettings(
        "figure2", tmp_path, series=("3-layer CNN",), t=(0.5,), **SMALL | {"learning_rate": 1e30, "trials": 2}
    )
    record = run_experiment(settings)
    trials = record["series"][0]["trials"]
    assert [trial["seed"] for trial in trials] == [0, 1]
    assert all(trial["stopped"].startswith("training diverged") for trial in trials)
    assert all(len(trial["epochs"]) < 2 for trial in trials)
    assert len(list(tmp_path.glob("trials/*/result.json"))) == 2
    assert "3-layer CNN, seed 1: training diverged" in format_experiment(record)


def test_a_series_at_a_time_fills_one_record(tmp_path):
    for name in ("3-layer CNN", "6-layer CNN"):
        record = run_experiment(ExperimentSettings("figure2", tmp_path, series=(name,), t=(0.1,), **SMALL))
        assert not record["complete"]
    assert [series["name"] for series in record["series"]] == ["3-layer CNN", "6-layer CNN"]
    assert all(len(series["trials"]) == 1 for series in record["series"])
    with pytest.raises(ValueError, match="t: expected different numbers, got"):
        run_experiment(ExperimentSettings("figure2", tmp_path, t=(0.1, 0.1), **SMALL))


def test_a_record_is_complete_once_every_series_is_in_it_whichever_run_trained_it(tmp_path, monkeypatch):
    def find(name):
        networks = ("perceptron", "3-layer CNN", "6-layer CNN")
        series = lambda common, settings: {network: [replace(common, network=network)] for network in networks}
        return replace(find_experiment("figure3"), series=series) if name == "figure3" else find_experiment(name)

    monkeypatch.setattr("gpu.experiments.command.find_experiment", find)

    def is_complete(**options):
        small = SMALL | {"epochs": 1, "subset": 16, "held_out": 8}
        return run_experiment(ExperimentSettings("figure3", tmp_path, **small | options))["complete"]

    assert not is_complete(series=("perceptron",))
    assert not is_complete(series=("3-layer CNN",))
    assert is_complete(series=("6-layer CNN", "perceptron"))
    assert not is_complete(series=("perceptron",), trials=2)
    assert is_complete(trials=2)


def test_weights_too_large_to_collapse_and_scores_that_overflow_are_recorded(tmp_path):
    for rate in (1e9, 1e12):
        out = tmp_path / str(rate)
        small = SMALL | {"learning_rate": rate, "epochs": 1, "subset": 128}
        record = run_experiment(
            ExperimentSettings("figure1", out, series=("3-layer CNN with skip connections",), **small)
        )
        (trial,) = record["series"][0]["trials"]
        assert "stopped" in trial or "refused" in trial["collapsed"]


def test_a_teacher_that_diverges_is_named(tmp_path):
    teacher = small_trial(learning_rate=1e30, epochs=3)
    with pytest.raises(ValueError, match="teacher: expected a network that could be trained, got 3-layer-"):
        sweep([small_trial(teacher=teacher)], Workspace(tmp_path), progress=False)


def test_bad_settings_are_named(tmp_path):
    for options, message in (
        ({"subset": 5000}, "subset: expected 1 to 4000 images, got 5000"),
        ({"held_out": 0}, "held_out: expected 1 to 1000 images, got 0"),
        ({"trials": 0}, "trials: expected an int of at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected an int of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected an int of at least 1, got 0"),
        ({"t": (0.5,)}, "t: expected only with figure2, got it with figure1"),
        ({"depth": 18}, "depth: expected only with schedules, got it with figure1"),
        ({"stem_stride": 3}, "stem_stride: expected 1 or 2, got 3"),
        ({"name": "price", "stem_stride": 1}, "stem_stride: expected only with figure1, .*, got it with price"),
        ({"workers": 0}, "workers: expected an int of at least 1, got 0"),
        ({"backend": "mpi"}, "backend: expected one of"),
        ({"cluster": "tcp://127.0.0.1:1"}, "cluster: expected an address only with backend dask or ray"),
        ({"device": "abacus"}, "device: expected a device of this machine"),
    ):
        with pytest.raises(ValueError, match=message):
            run_experiment(ExperimentSettings(**{"name": "figure1", "out": tmp_path} | SMALL | options))
    with pytest.raises(ValueError, match="name: expected one of"):
        run_experiment(ExperimentSettings("figure9", tmp_path, **SMALL))


def trials_of(count):
    return [small_trial(seed=seed) for seed in range(count)]


def test_all_local_cores_give_what_one_process_gives(tmp_path):
    trials = trials_of(3)
    told = []
    parallel = sweep(
        trials,
        Workspace(tmp_path / "two"),
        workers=2,
        progress=False,
        on_result=lambda trial, result: told.append(trial),
    )
    alone = sweep(trials, Workspace(tmp_path / "one"), progress=False)
    for ours, theirs in zip(parallel, alone, strict=True):
        assert ours["seed"] == theirs["seed"]
        assert ours["epochs"][0]["loss"] == pytest.approx(theirs["epochs"][0]["loss"], rel=1e-4)
    assert set(told) == set(trials)


def dies_once(trial, workspace, report):
    """Run a trial, but kill the worker at the first start of the trial of seed 1."""
    mark = workspace.folder / "died"
    if trial.seed == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_trial(trial, workspace)


def always_dies(trial, workspace, report):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given to the executor")
def test_a_worker_that_dies_costs_one_trial_which_is_tried_again(tmp_path):
    results = sweep(trials_of(3), Workspace(tmp_path), workers=2, progress=False, run=dies_once)
    assert (tmp_path / "died").exists()
    assert [result["seed"] for result in results] == [0, 1, 2]
    assert all(result["stopped"] is None for result in results)
    with pytest.raises(
        RuntimeError, match="workers died 3 times in a row with 1 trials to go: 3-layer-cnn-relu-t-0.5-"
    ):
        sweep([small_trial(seed=7)], Workspace(tmp_path), workers=2, progress=False, run=always_dies)


@pytest.mark.filterwarnings("ignore")  # Dask warns of a slow disk or a busy port, which are not what is tested
def test_a_dask_cluster_of_two_workers(tmp_path):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        results = sweep(
            trials_of(3),
            Workspace(tmp_path),
            workers=2,
            backend="dask",
            cluster=cluster.scheduler_address,
            progress=False,
        )
    assert [result["seed"] for result in results] == [0, 1, 2]
    assert len(list(tmp_path.glob("trials/*/result.json"))) == 3


def test_timings_have_the_papers_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("gpu.experiments.timing.SECONDS", 0.01)
    record = run_experiment(ExperimentSettings("timing", tmp_path, **SMALL | {"batch_size": 2}))
    measured = {(row["network"], row["variant"]): row for row in record["rows"]}
    assert set(TIMINGS) <= set(measured)
    assert all(row["microseconds_per_image"] > 0 and row["spread"] >= 0 for row in record["rows"])
    assert measured["ResNet34", "with skips"]["paper"] == 106.83
    deep = [measured["ResNet34", variant]["parameters"] for variant in ("with skips", "skips removed")]
    assert deep[0] - deep[1] == 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert measured["ResNet34, linear", "collapsed"]["parameters"] == 7850
    assert "83.10" in format_experiment(record)
    assert conditions(record).endswith("batch 2")
    assert len(format_experiment(record).splitlines()) == len(record["rows"]) + 4
    assert (tmp_path / "timing.png").stat().st_size > 10_000


def test_the_price_is_that_of_the_trained_network_without_its_nonlinearities(tmp_path):
    """The network is trained here again, and its layers are put together without ReLU and with average pooling."""
    small = SMALL | {"trials": 2, "learning_rate": 1e-2}
    record = run_experiment(ExperimentSettings("price", tmp_path, series=("nonlinearities",), **small))
    found = {(row["network"], row["stage"]): row["validation_accuracies"] for row in record["rows"]}
    training, held_out = some_images("mnist-5k", None, False, SMALL["subset"], SMALL["held_out"])
    for seed in range(2):
        torch.manual_seed(seed)
        model = price.cnn()
        Trainer(model, training, held_out, epochs=SMALL["epochs"], learning_rate=1e-2, seed=seed).run()
        pools = [nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in model]
        bare = nn.Sequential(*(layer for layer in pools if not isinstance(layer, nn.ReLU)))
        for stage, network in (("trained", model), ("linearised", bare)):
            scores = network(held_out.images / 255)
            assert found[price.CNN, stage][seed] == float((scores.argmax(1) == held_out.labels).double().mean())
    first = found[price.CNN, "trained"]
    assert f"| {price.CNN} | trained | {50 * sum(first):.1f} % | {100 * min(first):.1f} % |" in format_experiment(
        record
    )
    with pytest.raises(ValueError, match="series: expected some of nonlinearities, skips; got pooling"):
        run_experiment(ExperimentSettings("price", tmp_path, series=("pooling",), **small))
    assert gpu.record_picture(record).alt.startswith(
        f"Held-out accuracy. {price.CNN}, trained: {50 * sum(first):.1f} %"
    )


def test_the_price_of_skips_is_that_of_the_same_network_at_t_0(tmp_path):
    small = SMALL | {"epochs": 1, "subset": 16, "held_out": 8}
    record = run_experiment(ExperimentSettings("price", tmp_path, series=("skips",), **small))
    training, held_out = some_images("mnist-5k", None, False, 16, 8)
    torch.manual_seed(0)
    model = gpu.resnet(18, t=0.5)
    Trainer(model, training, held_out, epochs=1, learning_rate=ExperimentSettings.learning_rate).run()
    for row, t in zip(record["rows"][:2], (0.5, 0), strict=True):
        gpu.set_skip_strength(model, t)
        right = model(held_out.images / 255).argmax(1) == held_out.labels
        assert row["validation_accuracies"] == [float(right.double().mean())]
    assert len(record["rows"]) == 3
    assert record["settings"]["resnet_epochs"] == 1, "the ResNet has no more epochs than were asked for"


def test_a_price_that_was_interrupted_goes_on_with_the_seeds_that_it_has_not_measured(tmp_path, monkeypatch, capsys):
    small = SMALL | {"trials": 2, "epochs": 1, "series": ("nonlinearities",)}
    whole = run_experiment(ExperimentSettings("price", tmp_path / "whole", **small))
    measure, seeds = price.without_nonlinearities, []

    def interrupted(one):
        seeds.append(one.seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        yield from measure(one)

    monkeypatch.setitem(price.MEASURED, "nonlinearities", interrupted)
    settings = ExperimentSettings("price", tmp_path / "stopped", **small)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(settings)
    assert [path.name for path in settings.out.iterdir()] == ["price.json.unfinished"]
    record = run_experiment(settings)
    assert seeds == [0, 1, 1]
    assert record["rows"] == whole["rows"]
    assert record["continued"] == ["nonlinearities, seed 0"]
    assert "the run goes on, 1 of its parts are measured" in capsys.readouterr().err
    assert {path.name for path in settings.out.iterdir()} == {"price.json", "price.png"}


def test_timings_that_were_interrupted_go_on_with_the_networks_that_were_not_timed(tmp_path, monkeypatch):
    made = [(name, variant, gpu.perceptron()) for name in "AB" for variant in ("network", "collapsed")]
    timed = []

    def interrupted(module, batch, min_run_time):
        timed.append(module)
        if len(timed) == 3:
            raise KeyboardInterrupt
        return {"median": float(len(timed)), "iqr": 0.5}

    monkeypatch.setattr("gpu.experiments.timing.networks", lambda *_: made)
    monkeypatch.setattr("gpu.experiments.timing.microseconds_per_image", interrupted)
    settings = ExperimentSettings("timing", tmp_path, **SMALL | {"batch_size": 2})
    with pytest.raises(KeyboardInterrupt):
        run_experiment(settings)
    record = run_experiment(settings)
    assert [made.index(row) for module in timed for row in made if row[2] is module] == [0, 1, 2, 2, 3]
    assert [row["microseconds_per_image"] for row in record["rows"]] == [1, 2, 4, 5]
    assert record["continued"] == ["A, network", "A, collapsed"]
    assert {path.name for path in tmp_path.iterdir()} == {"timing.json", "timing.png"}


def test_a_record_does_not_say_of_earlier_results_how_their_statistics_were_estimated(tmp_path):
    small = SMALL | {"series": ("3-layer CNN",), "t": (0.1, 0.9), "epochs": 1}
    settings = ExperimentSettings("figure2", tmp_path, **small)
    assert run_experiment(settings)["settings"]["recalibration"] is None  # there are none
    path = next(tmp_path.glob("trials/*t-0.1*/result.json"))
    result = {
        name: value for name, value in json.loads(path.read_text()).items() if name not in ("recalibration", "sha256")
    }
    write_json(path, result)
    assert run_experiment(settings)["settings"]["recalibration"] == "not noted"


@pytest.mark.usefixtures("shallow_resnets")
def test_a_record_has_both_accuracies_and_the_stem(tmp_path):
    """The accuracy of the network as it would be used, and the one with the running statistics that training left."""
    small = SMALL | {"series": ("Static t",), "epochs": 1, "stem_stride": 1}
    record = run_experiment(ExperimentSettings("figure3", tmp_path, **small))
    assert record["settings"]["stem_stride"] == 1
    assert record["settings"]["recalibration"] == "layer by layer"
    (epoch,) = record["series"][0]["trials"][0]["epochs"]
    assert {"validation_accuracy", "validation_accuracy_running"} <= set(epoch)
    tables = format_experiment(record)
    assert "With the running statistics that training left:" in tables
    del epoch["validation_accuracy_running"]  # as in records from before
    assert "With the running statistics" not in format_experiment(record)


def test_the_stem_stride_reaches_every_resnet_that_is_timed(monkeypatch):
    monkeypatch.setattr("gpu.experiments.timing.collapse", lambda network, in_shape: SimpleNamespace(module=network))
    for stride in (1, 2):
        resnets = [
            module for name, variant, module in networks(0, stride) if "ResNet" in name and variant != "collapsed"
        ]
        assert {resnet.conv1.stride for resnet in resnets} == {(stride, stride)}
        assert len(resnets) == 4


@pytest.mark.usefixtures("shallow_resnets")
def test_figures_of_records_that_have_just_begun(tmp_path):
    record = run_experiment(
        ExperimentSettings(
            "figure3", tmp_path, series=("Static t",), **SMALL | {"subset": 32, "epochs": 1, "held_out": 8}
        )
    )
    for begun in (record, record | {"series": [{"name": "Static t", "trials": []}]}):
        assert draw(begun).startswith(b"\x89PNG")
    assert "32 images" in conditions(record)


def test_the_papers_numbers_are_whole():
    figures = {name: getattr(find_experiment(name).view, "paper", None) for name in EXPERIMENTS}
    assert [name for name, figure in figures.items() if figure] == ["figure1", "figure2", "figure3"]
    for figure in filter(None, figures.values()):
        columns = figure.columns()
        assert len({len(values) for values in columns.values()}) == 1
        assert all(0 <= value <= 10 for values in columns.values() for value in values)
        assert set(figure.curves.values()) <= set(columns)
    assert figures["figure1"].columns()["ResNet34 (linearized)"][-1] == 0.9868


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_name_is_an_experiment_whose_paper_curves_stand_beside_its_series(name, tmp_path):
    experiment = find_experiment(name)
    assert isinstance(experiment, Experiment)
    series = set(experiment.plan(ExperimentSettings(name, tmp_path)))
    assert (series == set()) == (experiment.measure is not None)
    paper = getattr(experiment.view, "paper", None)
    assert set(paper.curves if paper else ()) <= series
    assert set(experiment.options) <= set(ExperimentSettings.__dataclass_fields__)


def test_a_record_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"record\['experiment'\]: expected one of 'figure1', .*, got 'bench predict'"):
        format_experiment({"experiment": "bench predict"})


def test_an_experiment_either_trains_or_measures():
    view = find_experiment("timing").view
    for options, got in (({}, "neither"), ({"series": dict, "measure": dict}, "both")):
        with pytest.raises(ValueError, match=f"experiment: expected one of series and measure, got {got}"):
            Experiment(view=view, **options)


def test_the_names_of_trials_folders_stay_so_that_they_are_resumed():
    assert small_trial().key == "3-layer-cnn-relu-t-0.5-seed-0-f155995166f1"
    assert (
        small_trial(t="paper from 0.9", teacher=small_trial(seed=1)).key
        == "3-layer-cnn-relu-t-paper-from-0.9-seed-0-ef60b09fbe67"
    )
    assert small_trial(stem_stride=1).key != small_trial().key
    taught = [small_trial(teacher=small_trial(stem_stride=stride)).key for stride in (1, 2)]
    assert taught[0] != taught[1] == small_trial(teacher=small_trial()).key
