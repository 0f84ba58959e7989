"""Running an experiment: its trials or its measurement, the record, and the figure."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu.experiments.experiment import Experiment, Record
from gpu.experiments.pictures import draw
from gpu.experiments.registry import find_experiment
from gpu.experiments.sweep import sweep
from gpu.experiments.trial import Trial
from gpu.experiments.workspace import Workspace
from gpu.models.homotopy import check_share
from gpu.models.resnets import check_stem_stride
from gpu.runtime.devices import resolve_device
from gpu.runtime.results import check_output_folder, folder_locked
from gpu.runtime.run import unfinished
from gpu.settings import EXPERIMENTS, ExperimentSettings
from gpu.training.data import LARGEST_SEED, check_positive, check_seed
from linalg_cnn.checks import check_choice, check_int
from linalg_cnn.files import write_atomically, write_json


def run_experiment(settings: ExperimentSettings) -> Record:
    """Run an experiment, or resume it; write ``NAME.json`` and ``NAME.png``; return the record.

    The record is written after every trial, with all results so far: runs of different series can fill one folder, also
    at the same time. What a measurement has measured so far is in ``NAME.json.unfinished`` until its record is written.

    Raises
    ------
    ValueError
        If a setting is out of range, the data are not genuine, or the file of a result was altered.
    OSError
        If a file cannot be read or written.
    RuntimeError
        If workers die three times in a row and no trial is finished.
    """
    experiment = find_experiment(settings.name)
    check_choice(f"dataset of {settings.name}", settings.dataset, experiment.datasets)
    check_seed(settings.seed)
    check_int("trials", settings.trials, 1, LARGEST_SEED + 1 - settings.seed)  # each further trial adds 1 to the seed
    check_int("batch_size", settings.batch_size, 1)
    check_stem_stride(settings.stem_stride)
    if settings.epochs is not None:
        check_int("epochs", settings.epochs, 1)
    check_positive("learning_rate", settings.learning_rate)
    _check_options(settings)
    for t in settings.t:  # the first of them would be trained with before the next is looked at
        check_share("t", t)
    if len(set(settings.t)) != len(settings.t):
        raise ValueError(f"t: expected different numbers, got {settings.t}")
    resolve_device(settings.device)
    path = settings.out / f"{settings.name}.json"
    files = (path, unfinished(path), path.with_suffix(".png"))
    check_output_folder(settings.out, [file.name for file in files])  # before the work, which takes hours
    if experiment.measure is None:
        record_so_far = _train(experiment, settings, path)
    else:
        measured = experiment.measure(settings)
        record_so_far = lambda: measured
    with folder_locked(settings.out):
        record = record_so_far()
        write_json(path, record)
        write_atomically(path.with_suffix(".png"), draw(record))
        unfinished(path).unlink(missing_ok=True)
    return record


def _check_options(settings: ExperimentSettings) -> None:
    """Refuse a setting that only other experiments take.

    Raises
    ------
    ValueError
        If the settings have one.
    """
    takers: dict[str, list[str]] = {}
    for name in EXPERIMENTS:
        for option in find_experiment(name).options:
            takers.setdefault(option, []).append(name)
    defaults = ExperimentSettings.__dataclass_fields__
    for option, names in takers.items():
        if getattr(settings, option) != defaults[option].default and settings.name not in names:
            raise ValueError(f"{option}: expected only with {', '.join(names)}, got it with {settings.name}")


def _train(experiment: Experiment, settings: ExperimentSettings, path: Path) -> Callable[[], Record]:
    """Run the trials that are not finished, write the record after each, and return a function that returns it.

    The function reads the results of trials that other runs have finished. Where it is called and its record is written
    while the folder is locked, the last record to be written has the results of all runs.
    """
    chosen = experiment.plan(settings)
    # Results of an earlier run stay in the record, also those of series that are not chosen now.
    plan = experiment.plan(replace(settings, series=()))
    workspace = Workspace(
        settings.out.resolve(),  # workers may have another current folder
        None if settings.data_root is None else settings.data_root.resolve(),
        settings.download,
        settings.device,
        experiment.keep_weights,
    )
    results: dict[Trial, dict[str, Any]] = {}

    def record_so_far() -> Record:
        missing = (trial for trials in plan.values() for trial in trials if trial not in results)
        found = ((trial, workspace.result_of(trial)) for trial in missing)
        results.update({trial: result for trial, result in found if result is not None})
        return _record_of(settings, plan, results, workspace)

    def keep(trial: Trial, result: dict[str, Any]) -> None:
        results[trial] = result
        with folder_locked(workspace.folder):
            write_json(path, record_so_far())

    sweep(
        [trial for trials in chosen.values() for trial in trials],
        workspace,
        workers=settings.workers,
        backend=settings.backend,
        cluster=settings.cluster,
        progress=settings.progress,
        on_result=keep,
    )
    return record_so_far


def _record_of(
    settings: ExperimentSettings,
    plan: Mapping[str, list[Trial]],
    results: Mapping[Trial, dict[str, Any]],
    workspace: Workspace,
) -> Record:
    """Return the record of the trials that are finished.

    ``complete`` says whether these are all trials of all series, whichever of them were run now.
    """
    planned = [trial for trials in plan.values() for trial in trials]
    shared = _joint([vars(trial) for trial in planned])
    training, held_out = workspace.images_of(planned[0])
    left_out = ("trial", "hardware", "versions", "recalibration")

    def public(result: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in result.items() if name not in left_out and value is not None}

    return {
        "experiment": settings.name,
        "settings": {
            "network": shared["network"],
            "epochs": shared["epochs"],
            "trials": settings.trials,
            "images": len(training),
            "held_out_images": len(held_out),
            "batch_size": shared["batch_size"],
            "dataset": shared["dataset"],
            "seed": settings.seed,
            "optimizer": "Adam",
            "learning_rate": shared["learning_rate"],
            "precision": shared["precision"],
            "stem_stride": shared["stem_stride"],
            "recalibration": _recalibration(list(results.values())),
        },
        "hardware": _joint([result["hardware"] for result in results.values()]),
        "versions": _joint([result["versions"] for result in results.values()]),
        "complete": set(planned) <= results.keys(),
        "series": [
            {"name": name, "trials": [public(results[trial]) for trial in trials if trial in results]}
            for name, trials in plan.items()
            if not settings.series or name in settings.series or any(trial in results for trial in trials)
        ],
    }


def _recalibration(results: list[dict[str, Any]]) -> Any:
    """Return how running statistics were estimated: None if there were none, a list where trials differ.

    Results were written before it was noted in them.
    """
    ways = [result.get("recalibration", "not noted") for result in results]
    return _joint([{"by": way} for way in ways if way is not None]).get("by")


def _joint(descriptions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one description of all trials, or of their machines: a list of values where they differ."""
    joint: dict[str, Any] = {}
    for name in dict.fromkeys(key for description in descriptions for key in description):
        values = list(dict.fromkeys(description.get(name) for description in descriptions))
        joint[name] = values[0] if len(values) == 1 else values
    return joint
