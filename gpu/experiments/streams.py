"""Trials side by side on one CUDA device: a thread and a stream for each, all in one process.

A training step of a small network does not fill a large card. Processes take turns on it; streams run side by side.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from threading import Event, Lock
from typing import Any, TypeVar

import torch

from gpu.runtime.turns import turn_given_up, turn_taken

Task = TypeVar("Task")
Result = dict[str, Any]

TORCH = (2, 7)
"""First version of torch in which a thread can replay a graph while another captures; before, the replay fails."""
MOST_STREAMS = 32
"""Number of different streams that torch has for a device: whoever asks for more gets one that is already in use."""


class StoppedError(Exception):
    """A task ends because all are stopped."""


def cuda_devices(device: torch.device) -> list[str]:
    """Return the CUDA devices that a name stands for: "cuda" is all of them, and "cuda:1" is one; none for a CPU."""
    if device.type != "cuda":
        return []
    if ":" in str(device):
        return [str(device)]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def own_streams(device: torch.device, threads: int) -> Callable[[], None]:
    """Return a function that each of some threads calls once, to use a stream of a CUDA device that no other uses.

    The function does nothing on other devices, where there are no streams.

    Raises
    ------
    ValueError
        If there are more threads than streams, or torch is too old for several threads with CUDA graphs.
    """
    if device.type != "cuda":
        return lambda: None
    if threads > 1 and tuple(map(int, torch.__version__.split(".")[:2])) < TORCH:
        needed = ".".join(map(str, TORCH))
        raise ValueError(
            f"workers: expected torch {needed} or newer for several on one CUDA device, got {threads} workers and "
            f"torch {torch.__version__}; --workers 1 needs no newer one"
        )
    if threads > MOST_STREAMS:
        raise ValueError(f"workers: expected at most {MOST_STREAMS} on one CUDA device, got {threads}")
    streams = [torch.cuda.Stream(device) for _ in range(threads)]
    return lambda: torch.cuda.set_stream(streams.pop())


def let_go_of_locals(error: BaseException | None) -> None:
    """Clear the local variables of the calls that an error came through, and those of its causes.

    A traceback keeps them: of a trial that failed, its network, its optimizer and its graph. Types, messages and lines
    of the errors stay.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def side_by_side(
    tasks: Sequence[Task],
    run: Callable[[Task, Callable[[int], None]], Result],
    workers: int,
    device: torch.device,
    report: Callable[[int], None] = lambda images: None,
) -> Iterator[tuple[Task, Result]]:
    """Yield tasks with their results as they finish; several run at the same time, each on a stream of its own.

    Each thread keeps its stream for all its tasks. A stream that another thread uses, too, could not be captured from.

    Each thread has the turn (`gpu.runtime.turns`) while it does anything but to replay its training step. If a task
    fails, its memory is freed, the others still run to their end, and its error is raised then. If the caller stops,
    all tasks end after their next batch.

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
    ValueError
        If more tasks are to run at the same time than a CUDA device has streams, or several with a torch before 2.7.
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
        with turn_taken():
            try:
                return run(task, count)
            except BaseException as error:
                with suppress(RuntimeError), turn_given_up(device):
                    pass  # waits for the stream: replays that are launched still use the memory
                let_go_of_locals(error)
                raise

    errors: list[BaseException] = []
    pool = ThreadPoolExecutor(workers, initializer=own_streams(device, workers))
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
