"""Running many trials: one after the other, on all cores, or on a cluster. Finished trials are not repeated."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import joblib
from tqdm import tqdm

from gpu.experiments.streams import cuda_devices, side_by_side
from gpu.experiments.trial import Trial
from gpu.experiments.trial_run import run_trial
from gpu.experiments.workspace import Workspace
from gpu.runtime.devices import resolve_device
from gpu.settings import WORKER_BACKENDS
from linalg_cnn.checks import check_choice, check_int

TRIES = 3
"""Number of times in a row that workers may die before any trial is finished."""

Result = dict[str, Any]
Run = Callable[[Any, Workspace, Callable[[int], None]], Result]


def sweep(
    trials: Sequence[Trial],
    workspace: Workspace,
    *,
    workers: int = 1,
    backend: str = "local",
    cluster: str | None = None,
    progress: bool = True,
    on_result: Callable[[Trial, Result], None] = lambda trial, result: None,
    run: Run = run_trial,
) -> list[Result]:
    """Run trials and return their results in the same order.

    Each result is kept in a file: a sweep that is called again runs the remaining trials only. Workers on other
    machines must share the folder.

    Parameters
    ----------
    trials : sequence of Trial
    workspace : Workspace
    workers : int
        Number of trials that run at the same time. A single local worker is this process.
    backend : {"local", "dask", "ray"}
        Where the workers run: on this machine, or on a cluster (joblib's Dask or Ray backend). On this machine they are
        processes (joblib's loky); on a CUDA device they are threads of one process with a stream each, and there is
        one such process for each of several devices.
    cluster : str, optional
        Address of the cluster; a cluster on this machine is started if none is given.
    progress : bool
        Whether to draw a progress bar, which counts images, on standard error.
    on_result : callable
        Called with each trial and its result as soon as the trial is finished.
    run : callable
        Runs a trial, as `run_trial` does.

    Raises
    ------
    ValueError
        If a setting is out of range, the data are not genuine, or a teacher diverged.
    RuntimeError
        If workers die three times in a row and no trial is finished.
    OSError
        If a file cannot be read or written.
    """
    check_int("workers", workers, 1)
    check_choice("backend", backend, WORKER_BACKENDS)
    if cluster is not None and backend == "local":
        raise ValueError(f"cluster: expected an address only with backend dask or ray, got {cluster!r} with local")
    # Taught networks come second: several at the same time would each train their teacher.
    teachers = [trial.teacher for trial in trials if trial.teacher is not None]
    stages = [
        list(dict.fromkeys([*teachers, *(trial for trial in trials if trial.teacher is None)])),
        list(dict.fromkeys(trial for trial in trials if trial.teacher is not None)),
    ]
    keeping = replace(workspace, keep_weights=workspace.keep_weights or bool(teachers))
    results: dict[Trial, Result] = {}
    total = sum(_images_in(trial, workspace) for stage in stages for trial in stage)
    with tqdm(total=total, desc="training", unit="image", unit_scale=True, disable=not progress) as bar:

        def note(trial: Trial, result: Result, images: int) -> None:
            results[trial] = result
            if trial in trials:
                on_result(trial, result)
            bar.update(images)

        for stage in stages:
            pending = []
            for trial in stage:
                result = keeping.result_of(trial)
                if result is None:
                    pending.append(trial)
                else:
                    note(trial, result, _images_in(trial, workspace))
            if workers == 1 and backend == "local":
                for trial in pending:
                    note(trial, run(trial, keeping, bar.update), 0)
            elif not pending:
                continue
            elif backend == "local" and (devices := cuda_devices(resolve_device(keeping.device))):
                for trial, result in _on_devices(pending, keeping, workers, devices, run, bar.update):
                    note(trial, result, 0)
            else:
                for trial, result in _in_parallel(pending, keeping, workers, backend, cluster, run):
                    note(trial, result, _images_in(trial, workspace))
    return [results[trial] for trial in trials]


def _images_in(trial: Trial, workspace: Workspace) -> int:
    """Return the number of images that a trial trains on, counted once per epoch."""
    return trial.epochs * len(workspace.images_of(trial)[0])


def _on_devices(
    trials: Sequence[Trial],
    workspace: Workspace,
    workers: int,
    devices: Sequence[str],
    run: Run,
    report: Callable[[int], None],
) -> Iterator[tuple[Trial, Result]]:
    """Yield trials with their results: those of one device as they finish, those of several one device after another.

    Raises
    ------
    Exception
        The first error of a trial, after the others have ended.

    Notes
    -----
    Has not run on CUDA yet; the tests run it on the CPU, where the threads have no streams.
    """
    if len(devices) == 1:
        where = replace(workspace, device=devices[0])
        task = lambda trial, count: run(trial, where, count)
        yield from side_by_side(trials, task, workers, resolve_device(devices[0]), report)
        return
    each = -(-workers // len(devices))
    tasks = (
        joblib.delayed(_on_one_device)(trials[number :: len(devices)], workspace, each, device, run)
        for number, device in enumerate(devices)
    )
    errors = []
    with _workers(len(devices), "local", None):
        for found, error in joblib.Parallel(len(devices), return_as="generator")(tasks):
            errors += [] if error is None else [error]
            for trial, result in found.items():
                report(_images_in(trial, workspace))
                yield trial, result
    if errors:
        raise errors[0]


def _on_one_device(
    trials: Sequence[Trial], workspace: Workspace, workers: int, device: str, run: Run
) -> tuple[dict[Trial, Result], Exception | None]:
    """Run trials on one device, in a process of its own; return the results, and the error if a trial failed."""
    found: dict[Trial, Result] = {}
    try:
        found.update(_on_devices(trials, workspace, workers, [device], run, lambda images: None))
    except Exception as error:  # the results of the other devices are wanted first
        return found, error
    return found, None


def _in_parallel(
    trials: Sequence[Trial], workspace: Workspace, workers: int, backend: str, cluster: str | None, run: Run
) -> Iterator[tuple[Trial, Result]]:
    """Yield trials with their results as they finish; repeat the trials whose workers died.

    Raises
    ------
    RuntimeError
        If workers die three times in a row and no trial is finished.
    """
    pending = list(trials)
    rounds_without_result = 0
    with _workers(workers, backend, cluster):
        while pending:
            returned: set[Trial] = set()
            with suppress(BrokenProcessPool):  # a worker was killed, and with it the pool
                for number, result in _results(pending, workspace, workers, backend, run):
                    returned.add(pending[number])
                    yield pending[number], result
            # results that were written but not returned are read from their files in the next round
            pending = [trial for trial in pending if trial not in returned]
            rounds_without_result = 0 if returned else rounds_without_result + 1
            if rounds_without_result == TRIES:
                names = ", ".join(trial.key for trial in pending[:3])
                raise RuntimeError(
                    f"workers died {TRIES} times in a row with {len(pending)} trials to go: {names}; "
                    "is there enough memory?"
                )


def _results(
    trials: Sequence[Trial], workspace: Workspace, workers: int, backend: str, run: Run
) -> Iterable[tuple[int, Result]]:
    """Return (number, result) of trials as they finish; Ray's backend can only return all of them at the end."""
    tasks = (joblib.delayed(_numbered)(number, trial, workspace, run) for number, trial in enumerate(trials))
    parallel = joblib.Parallel(workers, return_as="list" if backend == "ray" else "generator_unordered", batch_size=1)
    results: Iterable[tuple[int, Result]] = parallel(tasks)
    return results


def _numbered(number: int, trial: Trial, workspace: Workspace, run: Run) -> tuple[int, Result]:
    """Run a trial in a worker, and return its result with its number."""
    return number, run(trial, workspace, lambda images: None)


@contextmanager
def _workers(workers: int, backend: str, cluster: str | None) -> Iterator[None]:
    """Let joblib use that many processes of this machine, or a cluster."""
    if backend == "local":
        threads = max(1, (os.cpu_count() or 1) // workers)
        with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads):
            yield
    elif backend == "dask":
        from dask.distributed import Client  # here: needs the extra `cluster`

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
