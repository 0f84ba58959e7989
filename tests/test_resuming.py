"""Training that is killed and resumed ends with the same bits as training that is not."""

import copy
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gpu
from gpu.experiments.trial import Trial
from gpu.experiments.trial_run import run_trial
from gpu.experiments.workspace import Workspace
from gpu.schedules import Linear, Listed, SkipSchedule, SlopeSchedule, ThresholdSchedule
from gpu.training.checkpoints import Autosave, load_checkpoint, save_checkpoint
from gpu.training.data import Digits, load_digits
from gpu.training.distillation import Teacher
from gpu.training.resuming import LATER_SETTINGS, taught_by
from gpu.training.trainer import Trainer
from linalg_cnn import Conv, Dense, SkipNetwork

EPOCHS = 3


@pytest.fixture(scope="module")
def digits():
    training, held_out = load_digits()
    return Digits(training.images[:300], training.labels[:300]), Digits(held_out.images[:100], held_out.labels[:100])


def network():
    """Return a network that draws random numbers (dropout), has skips, and running statistics that are recalibrated."""
    model = gpu.three_layer_cnn(channels=2, activation="relu", seed=5)  # with seed 0, no ReLU is ever on
    _, linear = model.layers[3]
    model.layers[3] = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(linear.in_features), nn.Dropout(0.2), linear)
    return model


def trainer(digits, **options):
    torch.manual_seed(5)
    model = network()
    schedule = SkipSchedule(model, Listed((0.5, 0.25, 0.0)))
    return Trainer(model, *digits, schedule=schedule, **({"epochs": EPOCHS, "learning_rate": 1e-2} | options))


class KilledError(Exception):
    pass


def killed_after(batches):
    """Return a report that interrupts training after some batches, as a power cut would."""
    seen = [0]

    def report(images):
        seen[0] += 1
        if seen[0] == batches:
            raise KilledError

    return report


@pytest.mark.parametrize("batches", [1, 4, 5, 6, 11])
def test_resumed_training_ends_in_the_same_bits(digits, tmp_path, batches):
    whole = trainer(digits)
    history = whole.run()
    assert [epoch["t"] for epoch in history] == [0.5, 0.25, 0.0]

    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        trainer(digits).run(path, every_seconds=0.0, report=killed_after(batches))
    torch.manual_seed(99)  # another process has another random state
    resumed = trainer(digits)
    told = []
    assert resumed.run(path, every_seconds=0.0, report=told.append) == history
    assert sum(told) == EPOCHS * 300
    for (name, a), (_, b) in zip(whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert gpu.skip_strengths(resumed.model) == gpu.skip_strengths(whole.model)
    ours, theirs = whole.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"]
    assert all(torch.equal(ours[i]["exp_avg_sq"], theirs[i]["exp_avg_sq"]) for i in ours)
    assert torch.equal(whole.progress.generator.get_state(), resumed.progress.generator.get_state())
    assert resumed.finished
    assert resumed.images_seen == EPOCHS * 300


TRIAL = ("3-layer CNN", 3, "paper from 0.9", "relu", "max", 4, 64, 640, 100, "mnist-5k", 1e-2, "float32")

SCRIPT = f"""
    import sys, time
    from pathlib import Path
    from gpu.experiments.trial import Trial
    from gpu.experiments.trial_run import run_trial
    from gpu.experiments.workspace import Workspace
    from gpu.training.trainer import Trainer

    Trainer.run.__kwdefaults__["every_seconds"] = 0.0  # a checkpoint at every batch, not every minute
    run_trial(Trial(*{TRIAL}), Workspace(Path(sys.argv[1])), lambda images: time.sleep(0.05))
"""


def test_a_killed_process_is_resumed(tmp_path):
    """The result after SIGKILL at three moments is the result of an undisturbed run."""

    def results(folder):
        return [file.read_text() for file in folder.glob("trials/*/result.json")]

    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "killed")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 300
        folder = tmp_path / "killed"
        before = {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/checkpoint")}
        while time.monotonic() < deadline:
            now = {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/checkpoint")}
            if now and now != before:
                break
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert results(folder) == []
    for name in ("killed", "whole"):
        run_trial(Trial(*TRIAL), Workspace(tmp_path / name))
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert len(results(tmp_path / "whole")) == 1


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(digits, tmp_path):
    path = tmp_path / "checkpoint"
    good = trainer(digits)
    with pytest.raises(KilledError):
        good.run(path, every_seconds=0.0, report=killed_after(7))
    before = load_checkpoint(path)
    bad = trainer(digits)

    def poison(images):
        if images <= 64:  # a batch, not the images of the checkpoint
            next(bad.model.parameters()).data.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match="training diverged: weights are not finite in epoch 2"):
        bad.run(path, every_seconds=0.0, report=poison)
    after = load_checkpoint(path)
    assert after["batch"] == before["batch"]
    assert all(torch.equal(after["model"][name], tensor) for name, tensor in before["model"].items())


def test_a_checkpoint_of_another_training_is_refused(digits, tmp_path):
    path = tmp_path / "checkpoint"
    trainer(digits).run(path)
    for options in ({"batch_size": 32}, {"seed": 1}, {"learning_rate": 1e-3}):
        with pytest.raises(
            ValueError, match=r"state: expected settings \{'images': 300.* and a schedule, got settings \{"
        ):
            trainer(digits, **options).run(path)
    other = Trainer(gpu.three_layer_cnn(channels=3), *digits, epochs=EPOCHS, learning_rate=1e-2)
    with pytest.raises(
        ValueError, match=r"state: expected settings .* and no schedule, got settings .* and a schedule"
    ):
        other.run(path)
    state = load_checkpoint(path)
    save_checkpoint(path, state | {"model": {}})
    with pytest.raises(ValueError, match="state: expected the weights of this model, got others: Error"):
        trainer(digits).run(path)


@pytest.fixture(scope="module")
def state(digits, tmp_path_factory):
    """A state in the second epoch of training."""
    path = tmp_path_factory.mktemp("state") / "checkpoint"
    with pytest.raises(KilledError):
        trainer(digits).run(path, every_seconds=0.0, report=killed_after(8))
    return load_checkpoint(path)


def with_moment(state, **changes):
    moments = state["optimizer"]["state"]
    return {"optimizer": state["optimizer"] | {"state": moments | {0: moments[0] | changes}}}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = {
    "settings_nested_deeply": lambda s: {"settings": deep(200)},
    "settings_of_tensors": lambda s: {"settings": s["settings"] | {"images": torch.ones(2)}},
    "weights_of_numbers": lambda s: {"model": dict.fromkeys(s["model"], 1)},
    "weights_that_are_a_list": lambda s: {"model": [1]},
    "history_of_numbers": lambda s: {"history": [1]},
    "history_that_is_no_list": lambda s: {"history": None},
    "history_without_accuracy": lambda s: {"history": [{"epoch": 1, "loss": 1.0}]},
    "history_of_another_epoch": lambda s: {"history": [s["history"][0] | {"epoch": 2}]},
    "batch_past_the_end": lambda s: {"batch": 5},
    "batch_before_the_start": lambda s: {"batch": -1},
    "batch_that_is_no_int": lambda s: {"batch": "1"},
    "t_of_another_skip": lambda s: {"t": {"joins.9": 0.5}},
    "t_that_is_a_list": lambda s: {"t": [0.5]},
    "t_out_of_range": lambda s: {"t": {"joins.2": 2.0}},
    "no_step_in_the_schedule": lambda s: {"schedule": {"last_t": 0.5}},
    "a_schedule_that_is_a_number": lambda s: {"schedule": 1},
    "random_state_too_short": lambda s: {"random": s["random"][:10]},
    "random_state_of_zeros": lambda s: {"random": torch.zeros_like(s["random"])},
    "no_random_state": lambda s: {"drawn_from": None},
    "losses_of_a_batch": lambda s: {"loss_sum": torch.ones(64)},
    "hits_that_are_not_counted": lambda s: {"hits": torch.tensor(0.5)},
    "no_optimizer": lambda s: {"optimizer": None},
    "optimizer_without_state": lambda s: {"optimizer": {"param_groups": []}},
    "optimizer_of_another_tensor": lambda s: {"optimizer": {"state": {99: {}}}},
    "moment_of_another_shape": lambda s: with_moment(s, exp_avg=torch.ones(7)),
    "moment_that_is_a_number": lambda s: with_moment(s, exp_avg_sq=1.0),
    "moment_of_another_name": lambda s: with_moment(s, momentum=torch.ones(2)),
    "moments_that_are_a_list": lambda s: {"optimizer": {"state": {0: [1]}}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_sealed_checkpoint_of_anything_is_one_error_that_names_the_path(digits, state, tmp_path, change):
    path = tmp_path / "checkpoint"
    save_checkpoint(path, state | change(state))
    with pytest.raises(ValueError, match=rf"{path}: (state|expected the state of this training|t\[|t:)"):
        trainer(digits).run(path)


def test_a_state_of_an_earlier_version_is_resumed(digits, state):
    settings = {name: value for name, value in state["settings"].items() if name not in LATER_SETTINGS}
    assert len(settings) == len(state["settings"]) - len(LATER_SETTINGS)
    resumed = trainer(digits)
    resumed.load_state_dict(state | {"settings": settings})
    assert len(resumed.history) == len(state["history"])


def test_a_state_from_before_blocks_had_several_activations_is_resumed(digits, state):
    settings = {name: value for name, value in state["settings"].items() if name != "network"} | {"layers": "0" * 64}
    resumed = trainer(digits)
    resumed.load_state_dict(state | {"settings": settings})
    assert len(resumed.history) == len(state["history"])
    assert "slopes" not in state


def sloped(digits):
    """Return a training in which skips go out and two of three activations go to the identity at the same time."""
    torch.manual_seed(5)
    model = network()
    names, ramp = list(gpu.activation_slopes(model))[1:], Linear(0, steps=2, end=1)
    return Trainer(
        model,
        *digits,
        epochs=EPOCHS,
        learning_rate=1e-2,
        schedule=SkipSchedule(model, Listed((0.5, 0.25, 0.0))),
        slope_schedule=SlopeSchedule(model, lambda step: dict.fromkeys(names, ramp(step))),
    )


@pytest.mark.parametrize("batches", [4, 6, 13])
def test_resumed_training_with_slopes_ends_in_the_same_bits(digits, tmp_path, batches):
    whole, path = sloped(digits), tmp_path / "checkpoint"
    history = whole.run()
    assert [list(epoch["slope"].values()) for epoch in history] == [[0, 0], [0.5, 0.5], [1, 1]]
    assert [epoch["t"] for epoch in history] == [0.5, 0.25, 0.0]
    with pytest.raises(KilledError):
        sloped(digits).run(path, every_seconds=0.0, report=killed_after(batches))
    torch.manual_seed(99)
    resumed = sloped(digits)
    assert resumed.run(path) == history
    assert all(map(torch.equal, whole.model.state_dict().values(), resumed.model.state_dict().values()))
    slopes = {"activations.0": 0, "activations.1": 1, "activations.2": 1}
    assert gpu.activation_slopes(resumed.model) == gpu.activation_slopes(whole.model) == slopes


def test_slopes_are_kept_beside_the_weights_without_a_schedule(digits, tmp_path):
    path, model = tmp_path / "checkpoint", network()
    gpu.set_activation_slope(model, {"activations.1": 0.25})
    Trainer(model, *digits, epochs=1).run(path)
    resumed = Trainer(network(), *digits, epochs=2)
    resumed.run(path)
    assert gpu.activation_slopes(resumed.model)["activations.1"] == 0.25


def test_a_state_with_other_slopes_is_refused(digits, tmp_path):
    path = tmp_path / "checkpoint"
    sloped(digits).run(path)
    with pytest.raises(ValueError, match=r"and a schedule, got settings .* and a schedule and a slope schedule"):
        trainer(digits).run(path)
    state = load_checkpoint(path)
    for slopes in ({"activations.9": 0.5}, {"activations.1": 2.0}, {3: 0.5}, "half", None):
        save_checkpoint(path, state | {"slopes": slopes})
        with pytest.raises(ValueError, match=r"state\['slopes'\]: expected those of this model, got others: slope"):
            sloped(digits).run(path)
    save_checkpoint(path, {name: value for name, value in state.items() if name != "slopes"})
    with pytest.raises(ValueError, match="state: expected a dict with the entries slopes, slope_schedule, model"):
        sloped(digits).run(path)


def test_settings_too_deep_to_be_shown_are_refused_as_others(digits, state):
    with pytest.raises(ValueError, match=r"state: expected settings .*, got settings \[\[\[.*\.\.\."):
        trainer(digits).load_state_dict(state | {"settings": deep(100_000)})


def test_a_checkpoint_without_one_of_its_entries_is_one_error_that_names_the_path(digits, state, tmp_path):
    path = tmp_path / "checkpoint"
    for left_out in state:
        save_checkpoint(path, {name: value for name, value in state.items() if name != left_out})
        with pytest.raises(ValueError, match=rf"{path}: state: expected a dict with the entries model, .*, hits"):
            trainer(digits).run(path)


def test_settings_of_the_optimizer_are_those_of_the_training_and_not_of_the_file(digits, state, tmp_path):
    whole = trainer(digits).run()
    path = tmp_path / "checkpoint"
    save_checkpoint(path, state | {"optimizer": state["optimizer"] | {"param_groups": [{"lr": 7.0}]}})
    assert trainer(digits).run(path) == whole


def test_a_state_in_another_layout_of_memory_is_continued_in_the_same_bits(digits, tmp_path):
    def channels_last(tensor):
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    whole, path = trainer(digits).run(), tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        trainer(digits).run(path, every_seconds=0, report=killed_after(5))
    state = load_checkpoint(path)
    moments = {
        number: {name: channels_last(tensor) for name, tensor in found.items()}
        for number, found in state["optimizer"]["state"].items()
    }
    assert any(found["exp_avg"].stride() != found["exp_avg"].contiguous().stride() for found in moments.values())
    save_checkpoint(path, state | {"optimizer": state["optimizer"] | {"state": moments}})
    assert trainer(digits).run(path) == whole


def test_t_is_kept_beside_the_weights(digits, tmp_path):
    path = tmp_path / "checkpoint"
    model = network()
    gpu.set_skip_strength(model, 0.25)
    Trainer(model, *digits, epochs=1).run(path)
    resumed = Trainer(network(), *digits, epochs=2)
    resumed.run(path)
    assert gpu.skip_strengths(resumed.model) == {"joins.2": 0.25}


def test_the_network_stays_at_the_t_of_its_last_epoch(digits):
    model = network()
    schedule = SkipSchedule(model, [0.5, 0.25].__getitem__)
    assert [epoch["t"] for epoch in Trainer(model, *digits, epochs=2, schedule=schedule).run()] == [0.5, 0.25]
    assert gpu.skip_strengths(model) == {"joins.2": 0.25}


def test_the_first_epoch_is_kept_at_once(digits, tmp_path):
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        trainer(digits).run(path, report=killed_after(6))
    assert len(load_checkpoint(path)["history"]) == 1


@pytest.mark.parametrize("batches", [EPOCHS * 5, 12], ids=["finished", "within_the_last_epoch"])
def test_a_training_of_fewer_epochs_than_the_checkpoint_has_is_refused(digits, tmp_path, batches):
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        trainer(digits).run(path, every_seconds=0.0, report=killed_after(batches))
    with pytest.raises(ValueError, match=r"checkpoint: epochs: expected at least 3, .*, got 2; a training is resumed"):
        trainer(digits, epochs=2).run(path)


def test_a_finished_training_is_returned_as_it_is(digits, tmp_path):
    history = trainer(digits).run(tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint").read_bytes()
    again = trainer(digits)
    assert again.run(tmp_path / "checkpoint") == history
    assert (tmp_path / "checkpoint").read_bytes() == before


def by_thresholds(model):
    return ThresholdSchedule(model, values=(0.5, 0.25, 0.0), thresholds=(0.0, 0.01))


def by_function(model):
    return SkipSchedule(model, Listed((0.5, 0.25, 0.0)))


@pytest.mark.parametrize("schedule", [by_function, by_thresholds])
def test_more_epochs_than_before_give_what_as_many_at_once_give(digits, tmp_path, schedule):
    """The schedules take the step that they do not take after the last epoch."""

    def run(epochs, path):
        torch.manual_seed(5)
        model = network()
        return Trainer(model, *digits, epochs=epochs, learning_rate=1e-2, schedule=schedule(model)).run(path)

    run(1, tmp_path / "checkpoint")
    resumed = run(EPOCHS, tmp_path / "checkpoint")
    assert resumed == run(EPOCHS, None)
    assert len({epoch["t"] for epoch in resumed}) > 1


@pytest.mark.parametrize("name", ["missing/checkpoint", "folder", "file/checkpoint"])
def test_a_checkpoint_that_cannot_be_written_is_an_error_before_the_first_step(digits, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    told = []
    with pytest.raises(OSError, match=name):
        trainer(digits).run(tmp_path / name, report=told.append)
    assert told == []


def test_a_state_that_a_checkpoint_cannot_hold_is_an_error_before_the_first_step(digits, tmp_path):
    class Odd(gpu.SkipCNN):
        def get_extra_state(self):
            return lambda: 0

    model, told = network(), []
    model.__class__ = Odd
    with pytest.raises(ValueError, match="last: state: expected tensors, .*, got something that cannot be pickled: "):
        Trainer(model, *digits).run(tmp_path / "last", report=told.append)
    assert told == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", ["60", None, True, -1, float("nan")])
def test_seconds_between_checkpoints_are_a_number(digits, seconds):
    told = []
    with pytest.raises(ValueError, match=f"every_seconds: expected a number of at least 0, got {seconds!r}"):
        trainer(digits).run(every_seconds=seconds, report=told.append)
    assert told == []


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="a device of POSIX")
def test_a_checkpoint_that_is_a_device_is_written_to(tmp_path):
    Autosave(Path("/dev/null"), 60.0).check(dict)


@pytest.mark.parametrize("schedule", [by_function, by_thresholds])
def test_a_schedule_of_another_network_is_refused(digits, schedule):
    model = network()
    for other in (network(), copy.deepcopy(model)):
        with pytest.raises(
            ValueError, match="schedule: expected a schedule of the model that is trained, got one of another SkipCNN"
        ):
            Trainer(model, *digits, schedule=schedule(other))
    with pytest.raises(ValueError, match="slope_schedule: expected a schedule of the model that is trained, got one"):
        Trainer(model, *digits, slope_schedule=SlopeSchedule(network(), Linear(0, 2, end=1)))


def test_a_schedule_of_a_part_of_the_network_or_of_what_contains_it_is_taken(digits):
    model = network()
    whole = nn.Sequential(model, nn.Identity())
    for trained, scheduled in ((whole, model), (model, whole)):
        slopes = SlopeSchedule(scheduled, Linear(0, 2, end=1))
        Trainer(trained, *digits, schedule=by_function(scheduled), slope_schedule=slopes)


def test_thresholds_are_told_the_accuracy(digits):
    model = network()
    schedule = ThresholdSchedule(model, values=(0.5, 0.0), thresholds=(0.01,))
    history = Trainer(model, *digits, epochs=2, learning_rate=1e-2, schedule=schedule).run()
    assert [epoch["t"] for epoch in history] == [0.5, 0.0]


def test_bfloat16_trains_with_weights_in_float32(digits):
    model = gpu.three_layer_cnn(channels=2)
    history = Trainer(model, *digits, epochs=2, learning_rate=1e-2, precision="bfloat16").run()
    exact = Trainer(gpu.three_layer_cnn(channels=2), *digits, epochs=2, learning_rate=1e-2).run()
    assert next(model.parameters()).dtype == torch.float32
    assert history[1]["loss"] != exact[1]["loss"]
    assert abs(history[1]["loss"] - exact[1]["loss"]) < 0.2
    with pytest.raises(ValueError, match="precision: expected one of"):
        Trainer(model, *digits, precision="float8")


def test_the_loss_of_a_taught_network_by_hand():
    scores, taught = torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 0.0]])
    labels = torch.tensor([1])
    teacher = Teacher(nn.Identity(), weight=0.25, temperature=2.0)
    own, goal = torch.tensor([0.0, 1.0]).softmax(0), torch.tensor([2.0, 0.0]).softmax(0)
    distance = float((goal * (goal / own).log()).sum())
    cross = -float(scores.softmax(1)[0, 1].log())
    assert float(teacher.loss(scores, taught, labels)) == pytest.approx(0.75 * cross + 0.25 * 4 * distance, rel=1e-5)
    assert float(Teacher(nn.Identity(), weight=1.0).loss(taught, taught, labels)) == pytest.approx(0, abs=1e-6)
    for options, message in (
        ({"weight": 1.5}, "weight: expected a number in"),
        ({"temperature": 0}, "temperature: exp"),
    ):
        with pytest.raises(ValueError, match=message):
            Teacher(nn.Identity(), **options)


def test_a_taught_network_comes_closer_to_its_teacher(digits):
    teacher = gpu.three_layer_cnn(channels=4)
    Trainer(teacher, *digits, epochs=6, learning_rate=1e-2).run()
    wrong = Digits(digits[0].images, (digits[0].labels + 1) % 10)  # the labels alone would teach something else
    student = gpu.three_layer_cnn(channels=4, seed=1)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    history = Trainer(
        student, wrong, digits[1], epochs=6, learning_rate=1e-2, teacher=Teacher(teacher, weight=1.0)
    ).run()
    assert history[-1]["validation_accuracy"] > 0.6
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not teacher.training


@pytest.mark.cuda
def test_a_captured_step_is_the_step(digits):
    def run(captured):
        torch.manual_seed(0)
        model = gpu.three_layer_cnn(channels=4).cuda()
        made = Trainer(model, *digits, epochs=2, learning_rate=1e-2)
        if not captured:
            made.step = made.train_on
        return made.run(), model

    (ours, fast), (theirs, slow) = run(captured=True), run(captured=False)
    assert [e["validation_accuracy"] for e in ours] == pytest.approx(
        [e["validation_accuracy"] for e in theirs], abs=0.03
    )
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_unequal_weights_of_skips_are_those_of_the_network_after_resuming(digits, tmp_path):
    def unequal():
        rng = np.random.default_rng(0)
        convolutions = [Conv(rng.normal(size=(1, 1, 3, 3)), padding=1) for _ in range(2)]
        layers = [*convolutions, Dense(rng.normal(size=(10, 784)))]
        weights = {(0, 2): 0.5, (1, 2): 0.2, (2, 2): 0.3}
        return gpu.SkipCNN.from_network(SkipNetwork((1, 28, 28), layers, weights)).float()

    path = tmp_path / "checkpoint"
    whole = Trainer(unequal(), *digits, epochs=2)
    whole.run()
    with pytest.raises(KilledError):
        Trainer(unequal(), *digits, epochs=2).run(path, every_seconds=0.0, report=killed_after(3))
    resumed = Trainer(unequal(), *digits, epochs=2)
    resumed.run(str(path))
    images = digits[1].images
    assert torch.equal(gpu.predict_scores(resumed.model, images), gpu.predict_scores(whole.model, images))


def with_slopes(slope):
    model = gpu.three_layer_cnn(activation="relu")
    gpu.set_activation_slope(model, slope)
    return model


def taught(digits, teacher):
    return Trainer(gpu.perceptron(seed=1), *digits, epochs=1, teacher=Teacher(teacher))


def at_another_t(model):
    gpu.set_skip_strength(model, 0.25)


def of_other_weights(model):
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1


def of_other_statistics(model):
    model.layers[3][1].running_mean[0] = 7


def with_another_function(model):
    model.activations[1] = nn.Tanh()


def with_an_option_of_a_layer(model):
    model.activations[1] = nn.LeakyReLU(0.9)


def with_a_buffer_that_no_state_has(model):
    model.register_buffer("scale", torch.ones(1), persistent=False)


def with_another_slope(model):
    gpu.set_activation_slope(model, {"activations.1": 0.5})


@pytest.mark.parametrize(
    "change",
    [
        at_another_t,
        of_other_weights,
        of_other_statistics,
        with_another_function,
        with_an_option_of_a_layer,
        with_a_buffer_that_no_state_has,
        with_another_slope,
    ],
)
def test_a_state_of_another_teacher_is_refused_and_one_from_before_it_was_noted_is_not(digits, tmp_path, change):
    path, other = tmp_path / "checkpoint", network()
    taught(digits, network()).run(path)
    assert taught(digits, network().to(memory_format=torch.channels_last)).run(path)  # the same numbers
    change(other)
    with pytest.raises(
        ValueError,
        match=r"checkpoint: teacher: expected the one that the state was trained with, of SHA-256 '\w+\.{3}\w+', got",
    ):
        taught(digits, other).run(path)
    with pytest.raises(ValueError, match=r"state: expected settings .*'teacher': None"):
        Trainer(gpu.perceptron(seed=1), *digits, epochs=1).run(path)
    state = load_checkpoint(path)
    del state["settings"]["teacher"]
    save_checkpoint(path, state)
    assert taught(digits, other).run(path) == state["history"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # torch will not have them for ever
def test_teachers_of_any_tensors_have_a_fingerprint():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sparse", torch.eye(3).to_sparse())
            self.register_buffer("quantised", torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8))
            self.register_buffer("scalar", torch.tensor(1.0, dtype=torch.bfloat16))
            self.register_buffer("empty", torch.zeros(0, 2))

        def get_extra_state(self):
            return {"any": object()}

    first, second = (taught_by(Teacher(Odd())) for _ in range(2))
    assert first == second
    changed = Odd()
    changed.scalar.fill_(2)
    assert taught_by(Teacher(changed))["teacher"] != first["teacher"]


def test_numbers_of_numpy_are_settings_that_a_checkpoint_holds(digits, tmp_path):
    teacher = Teacher(gpu.perceptron(), weight=np.float64(0.5), temperature=np.float32(2))
    numbers = {"learning_rate": np.float32(1e-3), "batch_size": np.int64(64), "seed": np.int64(1)}
    path = tmp_path / "checkpoint"
    Trainer(gpu.perceptron(), *digits, epochs=1, teacher=teacher, **numbers).run(path)
    assert Trainer(gpu.perceptron(), *digits, epochs=1, teacher=teacher, **numbers).run(path)


def test_a_graph_is_captured_anew_where_activations_get_slopes(digits):
    model = gpu.three_layer_cnn(activation="relu")
    names = list(gpu.activation_slopes(model))
    steps = [{names[0]: 0.5}, {names[0]: 0.5}, {names[1]: 0.5}]
    training = Trainer(model, *digits, epochs=3, slope_schedule=SlopeSchedule(model, lambda step: steps[step]))
    graph = object()
    seen = []

    def report(images):
        seen.append(training.graphed)
        training.graphed = graph

    training.run(report=report)
    per_epoch = len(seen) // 3
    assert seen[per_epoch] is graph, "only a slope has another value"
    assert seen[2 * per_epoch] is None, "the second activation has a slope now"


@pytest.mark.parametrize("make", [lambda t: gpu.resnet(18, t=t), with_slopes], ids=["t", "slopes"])
def test_the_fingerprint_of_a_teacher_has_the_numbers_that_its_network_holds(make):
    """So it had before t and slopes were kept in double precision, and trainings of then are to go on."""
    rounded = float(torch.tensor(0.3))
    first, second = (make(t) for t in (0.3, rounded))
    second.load_state_dict(first.state_dict())
    assert taught_by(Teacher(first)) == taught_by(Teacher(second))


def test_a_printed_address_is_no_part_of_a_teachers_fingerprint():
    first, second = nn.Sequential(nn.Flatten()), nn.Sequential(nn.Flatten())
    for model in (first, second):
        model[0].extra_repr = lambda own=object(): f"of {own}"  # noqa: B008
    assert repr(first) != repr(second)
    assert taught_by(Teacher(first)) == taught_by(Teacher(second))


def test_teachers_that_do_not_fit_are_refused_before_the_training(digits):
    model = gpu.perceptron()
    with pytest.raises(TypeError, match="model: expected an nn.Module, got int"):
        Teacher(5)
    with pytest.raises(TypeError, match=r"teacher: expected gpu.Teacher\(model\), got "):
        Trainer(model, *digits, teacher=gpu.perceptron())
    for teacher, message in (
        (gpu.perceptron(num_classes=7), "teacher: expected 10 scores, as the network that learns has, got 7"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 1)), "teacher: expected 10 scores, .* got 1"),
        (gpu.perceptron((1, 8, 8)), r"teacher: .*expected a network of images \(1, 28, 28\), got "),
        (gpu.perceptron().double(), r"teacher: .*expected a network of images \(1, 28, 28\), got "),
        (model, "teacher: expected a network with weights of its own, got one that shares .* take a copy"),
        (nn.Sequential(model), "teacher: expected a network with weights of its own, got one that shares"),
    ):
        with pytest.raises(ValueError, match=message):
            Trainer(model, *digits, teacher=Teacher(teacher))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            lambda m: {"schedule": SlopeSchedule(m, Listed((0.5, 0.0)))},
            "^schedule: expected gpu.SkipSch.* of SlopeSchedule",
        ),
        (
            lambda m: {"slope_schedule": SkipSchedule(m, Listed((0.5, 0.0)))},
            "slope_schedule: expected gpu.SlopeSch.* of Skip",
        ),
        (lambda m: {"schedule": SkipSchedule}, "schedule: expected gpu.SkipSchedule.*, got SkipSchedule$"),
        (lambda m: {"schedule": "linear"}, "schedule: expected gpu.SkipSchedule.*, got an object of str"),
    ],
)
def test_a_schedule_of_another_kind_is_refused_before_the_training(digits, options, message):
    model = network()
    with pytest.raises(TypeError, match=message):
        Trainer(model, *digits, **options(model))
