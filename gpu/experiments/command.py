"""``linalg-cnn experiment``: trials, a record, a figure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu.experiments.figures import draw
from gpu.experiments.plans import Trial, plan
from gpu.experiments.sweep import sweep
from gpu.experiments.timing import time_networks
from gpu.experiments.trial import Place, finished, images_of
from gpu.runtime.devices import resolve_device
from gpu.settings import EXPERIMENTS, ExperimentSettings
from linalg_cnn.checks import check_choice, check_int
from linalg_cnn.files import write_atomically, write_json


def run_experiment(settings: ExperimentSettings) -> dict[str, Any]:
    """Run an experiment, or go on where it was killed; write ``NAME.json`` and ``NAME.png``; return the record.

    The record is written anew after every trial, with what there is.

    Raises
    ------
    ValueError
        If a setting or the data are not what they should be.
    OSError
        If a file cannot be read or written.
    RuntimeError
        If workers keep dying.
    """
    check_choice("name", settings.name, EXPERIMENTS)
    check_int("trials", settings.trials, 1)
    check_int("batch_size", settings.batch_size, 1)
    if settings.epochs is not None:
        check_int("epochs", settings.epochs, 1)
    if settings.t and settings.name != "figure2":
        raise ValueError(f"t: expected only with figure2, got it with {settings.name}")
    if len(set(settings.t)) != len(settings.t):
        raise ValueError(f"t: expected different numbers, got {settings.t}")
    resolve_device(settings.device)
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / f"{settings.name}.json"
    if settings.name == "timing":
        record = time_networks(settings)
        write_json(path, record)
    else:
        record = _train(settings, path)
    write_atomically(path.with_suffix(".png"), draw(record))
    return record


def _train(settings: ExperimentSettings, path: Path) -> dict[str, Any]:
    series = plan(settings)
    place = Place(
        settings.out.resolve(),  # workers may be elsewhere
        None if settings.data_root is None else settings.data_root.resolve(),
        settings.download,
        settings.device,
        keep_weights=settings.name == "distillation",
    )
    # What an earlier start has finished stays in the record, also of series that are not asked for now.
    whole = plan(replace(settings, series=()))
    found = ((trial, finished(trial, place)) for trials in whole.values() for trial in trials)
    results: dict[Trial, dict[str, Any]] = {trial: result for trial, result in found if result is not None}

    def keep(trial: Trial, result: dict[str, Any]) -> None:
        results[trial] = result
        write_json(path, record_of(settings, whole, results, place))

    sweep(
        [trial for trials in series.values() for trial in trials],
        place,
        workers=settings.workers,
        backend=settings.backend,
        cluster=settings.cluster,
        progress=settings.progress,
        on_result=keep,
    )
    return record_of(settings, whole, results, place)


def record_of(
    settings: ExperimentSettings,
    series: dict[str, list[Trial]],
    results: dict[Trial, dict[str, Any]],
    place: Place,
) -> dict[str, Any]:
    """Return the record of the trials that are over."""
    first = next(trial for trials in series.values() for trial in trials)
    training, held_out = images_of(first, place)
    left_out = ("trial", "hardware", "versions")

    def public(result: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in result.items() if name not in left_out and value is not None}

    return {
        "experiment": settings.name,
        "settings": {
            "epochs": first.epochs,
            "trials": settings.trials,
            "images": len(training),
            "held_out_images": len(held_out),
            "batch_size": settings.batch_size,
            "dataset": settings.dataset,
            "seed": settings.seed,
            "optimizer": "Adam",
            "learning_rate": settings.learning_rate,
            "precision": settings.precision,
        },
        "hardware": _joint([result["hardware"] for result in results.values()]),
        "versions": _joint([result["versions"] for result in results.values()]),
        "complete": not settings.series
        and len(results) == len({trial for trials in series.values() for trial in trials}),
        "series": [
            {"name": name, "trials": [public(results[trial]) for trial in trials if trial in results]}
            for name, trials in series.items()
            if not settings.series or name in settings.series or any(trial in results for trial in trials)
        ],
    }


def _joint(descriptions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what trials ran on; where they differ, all of it, in a list."""
    joint: dict[str, Any] = {}
    for name in dict.fromkeys(key for description in descriptions for key in description):
        values = list(dict.fromkeys(description.get(name) for description in descriptions))
        joint[name] = values[0] if len(values) == 1 else values
    return joint
