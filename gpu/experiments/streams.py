"""Trials side by side on one CUDA device: a thread and a stream for each, all in one process.

A training step of a small network does not fill a large card. Processes take turns on it; streams run side by side.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from threading import Event, Lock
from typing import Any, TypeVar

import torch

from gpu.runtime.turns import turn_taken

Task = TypeVar("Task")
Result = dict[str, Any]


class StoppedError(Exception):
    """A task ends because all are stopped."""


def cuda_devices(device: torch.device) -> list[str]:
    """Return the CUDA devices that a name stands for: "cuda" is all of them, and "cuda:1" is one; none for a CPU."""
    if device.type != "cuda":
        return []
    if ":" in str(device):
        return [str(device)]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def own_stream(device: torch.device) -> AbstractContextManager[Any]:
    """Let this thread use a new stream of a CUDA device within the context; elsewhere there are no streams."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def side_by_side(
    tasks: Sequence[Task],
    run: Callable[[Task, Callable[[int], None]], Result],
    workers: int,
    device: torch.device,
    report: Callable[[int], None] = lambda images: None,
) -> Iterator[tuple[Task, Result]]:
    """Yield tasks with their results as they finish; several run at the same time, each on a stream of its own.

    Each thread has the turn (`gpu.runtime.turns`) while it does anything but to replay its training step. If a task
    fails, the others still run to their end, and its error is raised then. If the caller stops, all tasks end after
    their next batch.

    Parameters
    ----------
    tasks : sequence
    run : callable
        Runs a task; it is given the task, and a function that it calls with its number of images after each batch.
    workers : int
        Number of tasks that run at the same time.
    device : torch.device
        Device that they run on.
    report : callable
        Called with the number of images after each batch of any task, by one thread at a time.

    Raises
    ------
    Exception
        The first error of a task, after the other tasks have ended; it names how many tasks failed in a note.
    """
    stop, reporting = Event(), Lock()

    def count(images: int) -> None:
        if stop.is_set():
            raise StoppedError
        with reporting:
            report(images)

    def work(task: Task) -> Result:
        with turn_taken(), own_stream(device):
            return run(task, count)

    errors: list[BaseException] = []
    pool = ThreadPoolExecutor(workers)
    try:
        started = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(started):
            error = future.exception()
            if error is None:
                yield started[future], future.result()
            else:
                errors.append(error)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if errors:
        errors[0].add_note(f"{len(errors)} of {len(tasks)} trials failed; the results of the others are kept")
        raise errors[0]
