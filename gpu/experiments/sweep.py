"""Many trials: one after the other, on all cores, or on a cluster. What is finished is never done again."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import joblib
from tqdm import tqdm

from gpu.experiments.plans import Trial
from gpu.experiments.trial import Place, finished, images_of, run_trial
from gpu.settings import BACKENDS
from linalg_cnn.checks import check_choice, check_int

TRIES = 3
"""How often trials are begun again whose workers die, without any coming to its end."""

Result = dict[str, Any]


def sweep(
    trials: Sequence[Trial],
    place: Place,
    *,
    workers: int = 1,
    backend: str = "local",
    cluster: str | None = None,
    progress: bool = True,
    on_result: Callable[[Trial, Result], None] = lambda trial, result: None,
) -> list[Result]:
    """Run trials; return their results in order.

    Each trial's result is in a file, so that a sweep which is called again does what is left. Workers that are
    other machines must see the same folder.

    Parameters
    ----------
    trials : sequence of Trial
    place : Place
    workers : int
        How many trials run at the same time; with 1 on this machine they run in this process.
    backend : {"local", "dask", "ray"}
        Processes of this machine by joblib's loky, or a cluster by joblib's Dask or Ray backend.
    cluster : str, optional
        The cluster's address; a cluster of this machine's own is started if none is given.
    progress : bool
        Whether to draw a progress bar, of images, on standard error.
    on_result : callable
        Is given each trial with its result as soon as it is there.

    Raises
    ------
    ValueError
        If a setting is not what it should be.
    RuntimeError
        If workers die three times in a row and no trial comes to its end.
    OSError
        If a file cannot be read or written.
    """
    check_int("workers", workers, 1)
    check_choice("backend", backend, BACKENDS)
    if cluster is not None and backend == "local":
        raise ValueError(f"cluster: expected an address only with backend dask or ray, got {cluster!r} with local")
    # Taught ones come second: several of them, at the same time, would each train their teacher.
    teachers = [trial.teacher for trial in trials if trial.teacher is not None]
    stages = [
        list(dict.fromkeys([*teachers, *(trial for trial in trials if trial.teacher is None)])),
        list(dict.fromkeys(trial for trial in trials if trial.teacher is not None)),
    ]
    keeping = replace(place, keep_weights=place.keep_weights or bool(teachers))
    results: dict[Trial, Result] = {}
    total = sum(_images_in(trial, place) for stage in stages for trial in stage)
    with tqdm(total=total, desc="training", unit="image", unit_scale=True, disable=not progress) as bar:

        def note(trial: Trial, result: Result, images: int) -> None:
            results[trial] = result
            if trial in trials:
                on_result(trial, result)
            bar.update(images)

        for stage in stages:
            pending = []
            for trial in stage:
                result = finished(trial, keeping)
                if result is None:
                    pending.append(trial)
                else:
                    note(trial, result, _images_in(trial, place))
            if workers == 1 and backend == "local":
                for trial in pending:
                    note(trial, run_trial(trial, keeping, bar.update), 0)
            elif pending:
                for trial, result in _in_parallel(pending, keeping, workers, backend, cluster):
                    note(trial, result, _images_in(trial, place))
    return [results[trial] for trial in trials]


def _images_in(trial: Trial, place: Place) -> int:
    """Return how many images a trial trains on, repeated ones included."""
    return trial.epochs * len(images_of(trial, place)[0])


def _in_parallel(
    trials: Sequence[Trial], place: Place, workers: int, backend: str, cluster: str | None
) -> Iterator[tuple[Trial, Result]]:
    """Yield trials with their results as they come; begin those again whose worker died.

    Raises
    ------
    RuntimeError
        If workers die three times in a row and no trial comes to its end.
    """
    pending = list(trials)
    rounds_without_result = 0
    with _workers(workers, backend, cluster):
        while pending:
            came: set[Trial] = set()
            with suppress(BrokenProcessPool):  # a worker was killed, and with it the pool
                for number, result in _results(pending, place, workers, backend):
                    came.add(pending[number])
                    yield pending[number], result
            # what was finished and has not come is in files, and comes at once
            pending = [trial for trial in pending if trial not in came]
            rounds_without_result = 0 if came else rounds_without_result + 1
            if rounds_without_result == TRIES:
                names = ", ".join(trial.key for trial in pending[:3])
                raise RuntimeError(
                    f"workers died {TRIES} times in a row with {len(pending)} trials to go: {names}; "
                    "is there enough memory?"
                )


def _results(trials: Sequence[Trial], place: Place, workers: int, backend: str) -> Iterable[tuple[int, Result]]:
    """Return (number, result) of trials: as they come, or all at the end from Ray, whose backend knows no other way."""
    tasks = (joblib.delayed(_numbered)(number, trial, place) for number, trial in enumerate(trials))
    run = joblib.Parallel(workers, return_as="list" if backend == "ray" else "generator_unordered", batch_size=1)
    results: Iterable[tuple[int, Result]] = run(tasks)
    return results


def _numbered(number: int, trial: Trial, place: Place) -> tuple[int, Result]:
    return number, run_trial(trial, place)


@contextmanager
def _workers(workers: int, backend: str, cluster: str | None) -> Iterator[None]:
    """Let joblib use so many processes here, or a cluster."""
    if backend == "local":
        threads = max(1, (os.cpu_count() or 1) // workers)
        with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads):
            yield
    elif backend == "dask":
        from dask.distributed import Client  # here: an extra of its own

        made: Any = Client(cluster) if cluster else Client(n_workers=workers, threads_per_worker=1)
        with made, joblib.parallel_config("dask", n_jobs=workers):
            yield
    else:
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        ray.init(address=cluster, ignore_reinit_error=True)
        with joblib.parallel_config("ray", n_jobs=workers):
            yield
