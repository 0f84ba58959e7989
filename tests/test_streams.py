"""Trials side by side in one process: threads that take turns, on a CPU here, where there are no streams."""

import gc
import re
import threading
import traceback
import weakref

import joblib
import pytest
import torch
from fake_cuda import CUDA, FakeOptimizer, FakeStreams

import gpu
from gpu.cli.main import main
from gpu.experiments import sweep as module
from gpu.experiments.everything import format_times, run_all
from gpu.experiments.streams import MOST_STREAMS, StoppedError, cuda_devices, side_by_side
from gpu.experiments.sweep import sweep
from gpu.experiments.trial import Trial
from gpu.experiments.trial_run import run_trial
from gpu.experiments.workspace import Workspace
from gpu.runtime import turns
from gpu.runtime.turns import turn_given_up, turn_taken
from gpu.settings import SECTION_5, ExperimentSettings
from gpu.training.data import Digits
from gpu.training.graphed_step import WARM_UP, GraphedStep
from gpu.training.trainer import Trainer

CPU = torch.device("cpu")
SECONDS = 30  # after which a thread that waits for another has waited in vain


def trials_of(count, **options):
    given = {
        "network": "3-layer CNN",
        "t": 0.5,
        "activation": "relu",
        "stem_pool": "max",
        "epochs": 1,
        "batch_size": 16,
        "images": 32,
        "held_out": 8,
        "dataset": "drawn at random",
        "learning_rate": 1e-3,
        "precision": "float32",
    }
    return [Trial(**given | options, seed=seed) for seed in range(count)]


def test_tasks_meet_where_they_give_up_their_turn_and_nowhere_else():
    meeting, inside = threading.Barrier(3, timeout=SECONDS), []

    def run(task, report):
        inside.append(task)
        assert len(inside) == 1
        with turn_given_up():
            inside.remove(task)
            meeting.wait()
            with turn_taken():
                inside.append(task)
                assert len(inside) == 1
                inside.remove(task)
        inside.append(task)
        assert len(inside) == 1
        inside.remove(task)
        return {"task": task}

    found = dict(side_by_side("abc", run, 3, CPU))
    assert found == {task: {"task": task} for task in "abc"}


def test_random_numbers_are_those_of_a_task_alone():
    def run(task, report):
        torch.manual_seed(task)
        first = torch.rand(1)
        with turn_taken():
            return {"drawn": [first.item(), torch.rand(1).item()]}

    alone = {task: run(task, None) for task in range(20)}
    assert dict(side_by_side(range(20), run, 4, CPU)) == alone


def test_no_more_tasks_run_at_the_same_time_than_asked():
    running, most = [], []

    def run(task, report):
        running.append(task)
        most.append(len(running))
        with turn_given_up():
            threading.Event().wait(0.01)
        running.remove(task)
        return {}

    list(side_by_side(range(6), run, 2, CPU))
    assert max(most) == 2


def test_one_that_fails_harms_no_other_and_its_error_comes_last():
    def run(task, report):
        if task % 2:
            raise ValueError(f"task {task}")
        return {"task": task}

    found = []
    with pytest.raises(ValueError, match="task [13]") as caught:
        found.extend(side_by_side(range(5), run, 2, CPU))
    assert sorted(task for task, _ in found) == [0, 2, 4]
    assert caught.value.__notes__ == ["2 of 5 trials failed; the results of the others are kept"]


class Held:
    """Something large, such as a network on a card."""


def test_a_task_that_fails_gives_its_memory_back_at_once_after_its_stream_is_done(monkeypatch):
    fake, kept, alive = FakeStreams(monkeypatch), [], []

    def inner(held):
        raise KeyError("inner")

    def fails():
        held = Held()
        kept.append(weakref.ref(held, lambda _: fake.log.append("freed")))
        try:
            inner(held)
        except KeyError as error:
            large = Held()
            kept.append(weakref.ref(large))
            raise MemoryError("out of memory") from error

    def run(task, report):
        if task == 0:
            fails()
        alive.extend(reference() for reference in kept)
        return {}

    gc.disable()
    try:
        with pytest.raises(MemoryError, match="out of memory") as caught:
            list(side_by_side([0, 1], run, 1, CUDA))
    finally:
        gc.enable()
    assert alive == [None, None]
    assert fake.log == ["new stream 0", "synchronize stream 0", "freed"]
    assert isinstance(caught.value.__cause__, KeyError)
    shown = "".join(traceback.format_exception(caught.value))
    assert "inner(held)" in shown
    assert "1 of 2 trials failed" in shown


def test_an_error_is_raised_though_its_stream_cannot_be_waited_for(monkeypatch):
    fake = FakeStreams(monkeypatch)

    def lost(stream):
        raise RuntimeError("the device is lost")

    def run(task, report):
        raise MemoryError("out of memory")

    fake.synchronized = lost
    with pytest.raises(MemoryError, match="out of memory"):
        list(side_by_side([0], run, 1, CUDA))
    with turn_taken():  # free again
        pass


def test_images_are_reported_and_a_caller_that_stops_stops_all_tasks():
    reported, ended = [], []

    def run(task, report):
        try:
            while task:
                with turn_given_up():
                    report(task)
        except StoppedError:
            ended.append(task)
            raise
        return {}

    results = side_by_side([5, 7, 0], run, 3, CPU, reported.append)
    assert next(results) == (0, {})
    results.close()
    assert set(ended) <= {5, 7}
    assert set(reported) <= {5, 7}
    assert threading.active_count() < 10  # no thread goes on


def test_a_turn_that_was_not_taken_cannot_be_given_up():
    with turn_given_up(), turn_taken(), turn_taken(), turn_given_up(), turn_given_up():
        taken_elsewhere = threading.Thread(target=lambda: turn_taken().__enter__())
        taken_elsewhere.daemon = True
    with turn_taken():  # free again
        pass


def test_a_thread_waits_for_its_stream_before_it_takes_the_turn_and_not_in_it(monkeypatch):
    fake, free = FakeStreams(monkeypatch), []

    def synchronized(stream):
        free.append(not turns._lock.locked())

    fake.synchronized = synchronized
    with turn_taken(CUDA), turn_taken(CUDA):
        assert free == [True]
        with turn_given_up(CUDA):
            assert free == [True]
        assert free == [True, True]
    with turn_given_up(CUDA), turn_taken(CPU), turn_given_up(CPU):
        pass
    assert free == [True, True]


def test_a_turn_is_taken_again_though_the_stream_cannot_be_waited_for(monkeypatch):
    fake = FakeStreams(monkeypatch)

    def lost(stream):
        raise RuntimeError("the device is lost")

    fake.synchronized = lost
    with pytest.raises(RuntimeError, match="lost"), turn_taken(), turn_given_up(CUDA):
        pass
    with turn_taken():  # free again
        pass


def test_a_turn_is_free_after_an_error():
    with pytest.raises(ZeroDivisionError), turn_taken(), turn_given_up():
        raise ZeroDivisionError
    with turn_taken():
        pass


def test_which_cuda_devices_a_name_stands_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert cuda_devices(CPU) == []
    assert cuda_devices(torch.device("cuda:1")) == ["cuda:1"]
    assert cuda_devices(torch.device("cuda")) == ["cuda:0", "cuda:1", "cuda:2"]


@pytest.mark.parametrize("version", ["2.6.0+cu124", "2.6.1"])
def test_several_on_one_cuda_device_need_a_torch_in_which_they_can_replay_while_one_captures(monkeypatch, version):
    FakeStreams(monkeypatch)
    monkeypatch.setattr(torch, "__version__", version)
    ran = []
    run = lambda task, report: ran.append(task) or {}
    with pytest.raises(ValueError, match=rf"torch 2\.7 or newer .*, got 2 workers and torch {re.escape(version)}"):
        list(side_by_side("abc", run, 2, CUDA))
    assert ran == []
    assert len(list(side_by_side("abc", run, 1, CUDA))) == 3
    assert len(list(side_by_side("abc", run, 2, CPU))) == 3
    for newer in ("2.7.0+cu126", "2.10.0a0", "3.0.0"):
        monkeypatch.setattr(torch, "__version__", newer)
        assert len(list(side_by_side("abc", run, 2, CUDA))) == 3


def test_a_sweep_on_several_devices_names_the_torch_that_it_needs(tmp_path, monkeypatch):
    FakeStreams(monkeypatch)
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    monkeypatch.setattr(module, "resolve_device", lambda name: CUDA)
    monkeypatch.setattr(module, "cuda_devices", lambda device: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(module, "_workers", lambda count, *_: joblib.parallel_config("threading", n_jobs=count))
    trials, workspace = trials_of(3), Workspace(tmp_path, device=str(CUDA))
    with pytest.raises(ValueError, match=r"torch 2\.7"):
        sweep(trials, workspace, workers=4, progress=False, run=lambda trial, *_: pytest.fail("trained"))
    found = sweep(trials, workspace, workers=2, progress=False, run=lambda trial, *_: {"seed": trial.seed})
    assert [result["seed"] for result in found] == [0, 1, 2]  # one on each device, in a process of its own


def test_each_thread_warms_up_captures_and_replays_on_the_one_stream_that_it_keeps(monkeypatch):
    """Torch has 32 streams for a device: a new one at each request would soon be that of another thread."""
    fake, meeting = FakeStreams(monkeypatch), threading.Barrier(3, timeout=SECONDS)
    used = {}

    def run(task, report):
        step = GraphedStep(lambda index: None, FakeOptimizer([]), 4, CUDA)
        with turn_given_up():
            meeting.wait()
            for _ in range(WARM_UP + 3):
                step(torch.arange(4))
        used.setdefault(threading.get_ident(), set()).add(torch.cuda.current_stream().name)
        return {}

    assert len(list(side_by_side(range(15), run, 3, CUDA))) == 15
    assert [stream.name for stream in fake.made] == ["stream 0", "stream 1", "stream 2"]
    assert sorted(used.values(), key=str) == [{"stream 0"}, {"stream 1"}, {"stream 2"}]
    assert len(fake.captures) == 15
    assert all(own == captured != "main" for own, captured in fake.captures)
    assert len(fake.replays) == 15 * 3
    assert "main" not in fake.replays
    assert torch.cuda.current_stream() is fake.main


@pytest.fixture
def fake(monkeypatch):
    return FakeStreams(monkeypatch)


def trainer_on(fake, **options):
    """A trainer that takes the CPU for a CUDA device; its last batch of an epoch is smaller than the others."""
    digits = Digits(torch.zeros(19, 1, 28, 28, dtype=torch.uint8), torch.arange(19) % 10)
    model = gpu.perceptron()
    trainer = Trainer(model, digits, digits, batch_size=4, **options)
    trainer.device = CUDA
    return trainer


def test_a_trainer_on_cuda_warms_up_captures_and_replays_its_step(fake):
    trainer, trained = trainer_on(fake, epochs=2), []
    train_on = trainer.train_on
    trainer.train_on = lambda index: (trained.append(len(index)), train_on(index))
    assert len(trainer.run()) == 2
    assert trained == [4] * WARM_UP + [4] + [3, 3]  # the capture is the fourth, and nothing runs at a replay
    assert len(fake.captures) == 1
    assert fake.replays == ["main"] * (8 - WARM_UP)


def test_replays_that_are_queued_are_waited_for_without_the_turn(fake, tmp_path):
    """Validation, checkpoints, and steps without the graph would otherwise keep the turn while they wait for them."""
    trainer, queued, held = trainer_on(fake, epochs=2), [], []
    replays = lambda: len(fake.replays)

    def synchronized(stream):
        held.append(turns._held.value)
        queued[:] = [replays()]

    def waited(function):
        def checked(*arguments):
            assert queued == [replays()], "all replays are done"
            return function(*arguments)

        return checked

    fake.synchronized = synchronized
    for name in ("_end_epoch", "_check_finite", "train_on"):
        setattr(trainer, name, waited(getattr(trainer, name)))

    def run(task, report):
        trainer.run(tmp_path / "checkpoint", every_seconds=0.0)
        return {}

    trainer.state_dict = dict
    assert len(list(side_by_side([0], run, 1, CUDA))) == 1
    assert replays() == 8 - WARM_UP
    assert held
    assert not any(held)


@pytest.mark.parametrize("error", [FloatingPointError, StoppedError])
def test_training_that_fails_gives_its_graph_back_at_once(fake, error):
    """The garbage collector might destroy it while another thread captures."""
    trainer, graphs = trainer_on(fake, epochs=2), []

    def report(images):
        if trainer.graphed.graph is not None:
            graphs.append(weakref.ref(trainer.graphed.graph))
            if error is StoppedError:
                raise error
            trainer.progress.loss_sum.fill_(float("nan"))

    gc.disable()
    try:
        with pytest.raises(error):
            trainer.run(report=report)
        assert [graph() for graph in graphs] == [None] * len(graphs) != []
    finally:
        gc.enable()
    assert trainer.graphed is None


def test_no_two_threads_share_a_stream_of_a_device(monkeypatch):
    fake = FakeStreams(monkeypatch)
    run = lambda task, report: {}
    with pytest.raises(ValueError, match="workers: expected at most 32 on one CUDA device, got 33"):
        list(side_by_side("abc", run, MOST_STREAMS + 1, CUDA))
    assert fake.made == []
    assert len(list(side_by_side("abc", run, MOST_STREAMS, CUDA))) == 3
    assert len(fake.made) == MOST_STREAMS


@pytest.fixture(autouse=True)
def digits(monkeypatch):
    """Images that are drawn at random: reading genuine ones takes seconds."""

    def drawn(*_, **__):
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, 10, (64,), generator=generator)
        return Digits(images, labels), Digits(images[:16], labels[:16])

    monkeypatch.setattr("gpu.experiments.workspace.load_images", drawn)


@pytest.fixture
def threads_on_the_cpu(monkeypatch):
    """A sweep takes the CPU for a CUDA device."""
    monkeypatch.setattr(module, "cuda_devices", lambda device: ["cpu"])


def without_machine(results):
    return [{name: value for name, value in result.items() if name != "hardware"} for result in results]


def test_side_by_side_the_results_are_those_of_one_after_the_other(tmp_path, threads_on_the_cpu):
    trials = [*trials_of(2), *trials_of(1, network="6-layer CNN")]
    alone = sweep(trials, Workspace(tmp_path / "alone", device="cpu"), progress=False)
    noted = []
    together = sweep(
        trials,
        Workspace(tmp_path / "together", device="cpu"),
        workers=3,
        progress=False,
        on_result=lambda trial, result: noted.append(trial),
    )
    assert without_machine(together) == without_machine(alone)
    assert set(noted) == set(trials)


def fails_after_an_epoch(trial, workspace, report):
    """Run a trial of two epochs; the first time, the one with seed 1 fails in the second."""
    images = 0

    def count(number):
        nonlocal images
        images += number
        if trial.seed == 1 and images > 32 and not (workspace.folder / "failed").exists():
            (workspace.folder / "failed").touch()
            raise MemoryError("out of memory")
        report(number)

    return run_trial(trial, workspace, count)


def test_a_sweep_whose_trial_failed_is_resumed_from_its_checkpoint(tmp_path, threads_on_the_cpu):
    trials, workspace = trials_of(3, epochs=2), Workspace(tmp_path, device="cpu")
    with pytest.raises(MemoryError, match="out of memory"):
        sweep(trials, workspace, workers=2, progress=False, run=fails_after_an_epoch)
    assert [workspace.result_of(trial) is not None for trial in trials] == [True, False, True]
    assert (workspace.folder_of(trials[1]) / "checkpoint").exists()
    resumed = sweep(trials, workspace, workers=2, progress=False, run=fails_after_an_epoch)
    alone = sweep(trials[1:2], Workspace(tmp_path / "alone", device="cpu"), progress=False)
    assert without_machine(resumed[1:2]) == without_machine(alone)


def returns_seed(trial, workspace, report):
    if trial.seed == 2:
        raise ValueError("seed 2")
    report(1)
    return {"seed": trial.seed, "device": workspace.device}


def test_several_devices_have_a_process_each_and_share_the_trials(tmp_path, monkeypatch):
    """Threads stand in for the processes, whose start takes seconds; `test_experiments.py` has sweeps in processes."""
    monkeypatch.setattr(module, "cuda_devices", lambda device: ["cpu", "cpu:0"])
    monkeypatch.setattr(module, "_workers", lambda count, *_: joblib.parallel_config("threading", n_jobs=count))
    trials = trials_of(5)
    noted = {}
    with pytest.raises(ValueError, match="seed 2"):
        sweep(
            trials,
            Workspace(tmp_path, device="cpu"),
            workers=4,
            progress=False,
            run=returns_seed,
            on_result=lambda trial, result: noted.update({trial.seed: result["device"]}),
        )
    assert noted == {0: "cpu", 4: "cpu", 1: "cpu:0", 3: "cpu:0"}


def test_all_runs_section_5_and_records_how_long_it_took(tmp_path, monkeypatch, capsys):
    ran = []

    def run_experiment(settings):
        ran.append(settings.name)
        (settings.out / f"{settings.name}.json").touch()
        return {"experiment": settings.name}

    monkeypatch.setattr("gpu.experiments.everything.run_experiment", run_experiment)
    monkeypatch.setattr("gpu.experiments.tables.format_experiment", lambda record: f"tables of {record['experiment']}")
    (tmp_path / "figure2.json").touch()
    assert main(["experiment", "all", "--workers", "8", "--device", "cpu", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert ran == list(SECTION_5)
    assert [f"tables of {name}" in shown for name in SECTION_5] == [True] * 4
    assert "8 at the same time." in shown
    record, _ = run_all(ExperimentSettings("all", tmp_path / "new", device="cpu"))
    assert [row["resumed"] for row in record["rows"]] == [False] * 4
    assert record["seconds"] == sum(row["seconds"] for row in record["rows"])
    assert (tmp_path / "new" / "all.json").exists()
    assert "| figure2 | 0 |  |" in format_times(record)
    assert "| figure2 | 0 | yes |" in shown


def test_all_refuses_series_which_are_those_of_one_experiment(tmp_path, capsys):
    assert main(["experiment", "all", "--series", "x", "--out", str(tmp_path)]) == 1
    assert "series: expected only with one experiment, got x with all" in capsys.readouterr().err
