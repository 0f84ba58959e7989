"""Running statistics estimated anew: `gpu.recalibrate`, and the Trainer that uses it."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

import gpu


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3, momentum=0.3),
    )


def pictures(count=10):
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def statistics_of(model):
    return {name: tensor for name, tensor in model.state_dict().items() if "running" in name or "tracked" in name}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("training", [True, False])
def test_the_statistics_are_those_of_torchs_update_bn_where_no_dropout_is_drawn(training):
    model = network()
    model[3].p = 0.0
    theirs, model = copy.deepcopy(model), model.train(training)
    update_bn(pictures().float().split(4), theirs)  # 4, 4 and 2 images
    gpu.recalibrate(model, pictures().float(), batch_size=4)
    assert_same(statistics_of(model), statistics_of(theirs))


def test_uint8_pixels_count_as_pixels_in_0_to_1():
    by_bytes, by_floats = network().eval(), network().eval()
    gpu.recalibrate(by_bytes, pictures())
    gpu.recalibrate(by_floats, pictures() * (1 / 255))
    assert_same(statistics_of(by_bytes), statistics_of(by_floats))


@pytest.mark.parametrize("training", [True, False])
def test_only_the_statistics_change_and_they_stay_in_their_tensors(training):
    model = network().train(training)
    before, tensors = state_of(model), {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    random = torch.get_rng_state()
    gpu.recalibrate(model, pictures())
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in model.modules()] == modes
    assert (model[1].momentum, model[5].momentum) == (0.1, 0.3)
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == tensors
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(statistics_of(model))


def test_the_result_depends_on_the_images_alone():
    once, twice = network().eval(), network().eval()
    gpu.recalibrate(once, pictures())
    gpu.recalibrate(twice, pictures(7))
    gpu.recalibrate(twice, pictures())
    assert_same(state_of(once), state_of(twice))


def test_a_last_batch_of_one_image_joins_the_batch_before():
    joined, whole = nn.BatchNorm1d(3).eval(), nn.BatchNorm1d(3).eval()
    x = torch.randn(5, 3)
    gpu.recalibrate(joined, x, batch_size=2)  # 2 and 3
    assert joined.num_batches_tracked == 2
    expected = (x[:2].var(0) + x[2:].var(0)) / 2
    assert torch.allclose(joined.running_var, expected)
    gpu.recalibrate(whole, x, batch_size=4)  # 5
    assert torch.allclose(whole.running_var, x.var(0))


def test_frozen_norms_stay_in_a_model_in_training_mode_and_are_estimated_in_evaluation_mode():
    model = network().train()
    model[1].eval()
    before = state_of(model[1])
    gpu.recalibrate(model, pictures())
    assert_same(state_of(model[1]), before)
    assert model[5].num_batches_tracked == 1
    gpu.recalibrate(model.eval(), pictures())
    assert model[1].num_batches_tracked == 1


def test_a_shared_norm_has_the_mean_over_all_its_uses():
    norm = nn.BatchNorm1d(1, affine=False)
    model = nn.Sequential(norm, norm).eval()
    gpu.recalibrate(model, torch.tensor([[0.0], [4.0]]))
    assert norm.num_batches_tracked == 2
    assert norm.running_mean == 1.0  # of 2 and, normalised, of 0


class Inputs:
    """Notes what each normalisation of a model gets."""

    def __init__(self, model):
        self.of = {}
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.register_forward_pre_hook(lambda norm, inputs: self.of.update({norm: inputs[0].detach()}))


def test_layer_by_layer_the_statistics_are_those_of_the_network_in_evaluation_mode():
    model = gpu.resnet(18, in_channels=1, t=0.0).double().train()
    images = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    gpu.recalibrate(model, images, batch_size=2, layer_by_layer=True)
    assert all(part.training for part in model.modules())
    inputs = Inputs(model.eval())
    model(images)
    assert len(inputs.of) > 15
    for norm, found in inputs.of.items():
        torch.testing.assert_close(norm.running_mean, found.mean((0, 2, 3)), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.running_var, found.var((0, 2, 3)), rtol=1e-9, atol=1e-12)
        assert norm.num_batches_tracked == 1


def test_layer_by_layer_a_shared_norm_has_the_mean_over_all_its_uses():
    norm = nn.BatchNorm1d(1, affine=False)
    gpu.recalibrate(nn.Sequential(norm, norm).eval(), torch.tensor([[0.0], [4.0]]), layer_by_layer=True)
    assert norm.num_batches_tracked == 2
    assert norm.running_mean == 1.0  # of 2 and, normalised, of 0


def test_layer_by_layer_nothing_stays_in_the_model():
    model = network().train()
    model[1].eval()
    before = state_of(model[1])
    gpu.recalibrate(model, pictures(), layer_by_layer=True)
    assert_same(state_of(model[1]), before)  # frozen
    assert [part.training for part in model] == [True, False, True, True, True, True]
    assert model[5].momentum == 0.3
    assert not any(part._forward_pre_hooks for part in model.modules())
    with pytest.raises(ValueError, match="images: expected images that the model takes"):
        gpu.recalibrate(model, torch.rand(3, 2, 8, 8), layer_by_layer=True)
    assert not any(part._forward_pre_hooks for part in model.modules())
    assert [part.training for part in model] == [True, False, True, True, True, True]


def test_layer_by_layer_the_hooks_of_the_user_count():
    model = nn.Sequential(nn.BatchNorm1d(1)).eval()
    model[0].register_forward_pre_hook(lambda norm, inputs: (10 * inputs[0],))
    gpu.recalibrate(model, torch.tensor([[0.0], [4.0]]), layer_by_layer=True)
    assert model[0].running_mean == 20


def test_the_strengths_of_skips_stay():
    model = gpu.resnet(18, t=0.25)
    gpu.recalibrate(model, torch.rand(4, 1, 28, 28), layer_by_layer=True)
    assert set(gpu.skip_strengths(model).values()) == {0.25}


def test_norms_without_statistics_and_norms_that_are_not_used_stay():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
            self.without = nn.BatchNorm1d(1, track_running_stats=False)

        def forward(self, x):
            return self.without(self.used(x))

    model = Auxiliary().eval()
    model.unused.running_mean.fill_(7)
    gpu.recalibrate(model, torch.tensor([[0.0], [4.0]]))
    assert model.used.running_mean == 2
    assert model.unused.running_mean == 7


@pytest.mark.parametrize("model", [gpu.perceptron(), gpu.three_layer_cnn()], ids=["without buffers", "with buffers"])
def test_a_network_without_batch_norms_stays_as_it_is(model):
    before = state_of(model)
    gpu.recalibrate(model, torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert_same(state_of(model), before)


class Failing(nn.Module):
    """A network whose second batch fails after its norm has been run."""

    def __init__(self):
        super().__init__()
        self.norm, self.calls = nn.BatchNorm1d(1), 0

    def forward(self, x):
        x = self.norm(x)
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return x


def test_an_interruption_half_way_leaves_the_model_as_it_was():
    model = Failing().train()
    model.norm.running_mean.fill_(3)
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        gpu.recalibrate(model, torch.randn(4, 1), batch_size=2)
    assert_same(state_of(model), before)
    assert model.training
    assert model.norm.momentum == 0.1


def test_an_interruption_between_two_layers_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(1), Failing())
    model[1].calls = 1
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        gpu.recalibrate(model, torch.randn(4, 1), layer_by_layer=True)
    assert_same(state_of(model), before)


class Unused(nn.Module):
    """A network whose norm is never used."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "images", "error", "message"),
    [
        (network(), np.zeros((2, 1, 8, 8)), TypeError, "images: expected a tensor, got ndarray"),
        ("network", pictures(), TypeError, "model: expected an nn.Module, got str"),
        (network(), torch.zeros(0, 1, 8, 8), ValueError, r"images: expected at least one image .* \(0, 1, 8, 8\)"),
        (
            network(),
            torch.zeros(2, 1, 8, 8, dtype=torch.int64),
            ValueError,
            "images: expected uint8.* got torch.int64",
        ),
        (network(), torch.full((2, 1, 8, 8), torch.nan), ValueError, "images: expected finite numbers, got NaN"),
        (
            network(),
            torch.zeros(2, 1, 8, 8, device="meta"),
            ValueError,
            "images: expected images on the CPU .* got meta",
        ),
        (network(), torch.zeros(2, 3, 8, 8), ValueError, r"images: expected images that the model takes, got Runtime"),
        (network(), torch.zeros(2, 1, 8, 8).double(), ValueError, r"a batch of torch.float64 \(2, 1, 8, 8\)"),
        (nn.BatchNorm1d(1), torch.zeros(1, 1), ValueError, "images: .*Expected more than 1 value per channel"),
        (
            network(),
            pictures().float().to_sparse(),
            ValueError,
            "images: expected a dense tensor, got torch.sparse_coo",
        ),
        (
            nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True)),
            torch.zeros(2, 1, 8, 8),
            ValueError,
            "model: expected running statistics of batch normalisations, got 0.running_mean in a module that is none",
        ),
        (Unused(), torch.zeros(2, 1), ValueError, "model: expected a forward pass that uses its batch normalisations"),
        (
            nn.Sequential(nn.BatchNorm1d(1)),
            torch.full((2, 1), 3e38) * torch.tensor([[1.0], [-1.0]]),
            ValueError,
            "model: expected finite statistics, got others in 0.running_var",
        ),
    ],
)
def test_bad_input_is_refused_and_the_model_stays_as_it_was(model, images, error, message):
    before = state_of(model) if isinstance(model, nn.Module) else None
    with pytest.raises(error, match=message):
        gpu.recalibrate(model, images)
    if before is not None:
        assert_same(state_of(model), before)


def test_a_lazy_norm_that_has_not_been_run_is_named():
    with pytest.raises(
        ValueError, match="model: expected initialised batch normalisations, got 0: LazyBatchNorm1d; run"
    ):
        gpu.recalibrate(nn.Sequential(nn.LazyBatchNorm1d()), torch.zeros(2, 3))


def test_an_exported_model_whose_norms_are_no_modules_is_refused_and_not_passed_over():
    exported = torch.export.export(network().eval(), (pictures(2).float(),)).module()
    with pytest.raises(
        ValueError, match=r"got 1.running_mean .*; recalibrate a model before it is scripted or exported"
    ):
        gpu.recalibrate(exported, pictures())


PARTS = {
    "scripted": torch.jit.script,
    "traced": lambda part: torch.jit.trace(part.eval(), torch.rand(2, 1, 4, 4)),
    "exported": lambda part: torch.export.export(part.eval(), (torch.rand(2, 1, 4, 4),), strict=True).module(),
}


def with_part(made, inner=nn.BatchNorm2d):
    return nn.Sequential(nn.BatchNorm2d(1), made(nn.Sequential(nn.Identity(), inner(1, track_running_stats=True))))


@pytest.mark.filterwarnings("ignore")  # of torch.jit, which says that it is deprecated
@pytest.mark.parametrize("made", PARTS.values(), ids=PARTS)
def test_a_part_whose_norms_are_no_modules_is_refused_and_not_passed_over(made):
    model = with_part(made)
    if made is not PARTS["exported"]:  # which has no modes
        model.eval()
    before = state_of(model)
    with pytest.raises(
        ValueError, match=r"got 1\.1\.running_mean in a module that is none; recalibrate a model before it is scripted"
    ):
        gpu.recalibrate(model, torch.rand(2, 1, 4, 4))
    assert_same(state_of(model), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("inner", "training"), [(nn.BatchNorm2d, True), (nn.InstanceNorm2d, False)])
def test_a_scripted_part_whose_statistics_are_to_stay_is_taken(inner, training):
    model = with_part(torch.jit.script, inner).train(training)
    model[1].eval()  # frozen, where the model is in training mode
    before = state_of(model[1])
    gpu.recalibrate(model, torch.rand(2, 1, 4, 4))
    assert_same(state_of(model[1]), before)
    assert model[0].num_batches_tracked == 1


@pytest.mark.parametrize("batch_size", [0, 1.5])
def test_a_bad_batch_size_is_refused(batch_size):
    with pytest.raises((TypeError, ValueError), match="batch_size: expected an int"):
        gpu.recalibrate(network(), pictures(), batch_size=batch_size)


@pytest.fixture(scope="module")
def digits():
    training, held_out = gpu.load_digits()
    return (
        gpu.Digits(training.images[:1280], training.labels[:1280]),
        gpu.Digits(held_out.images[:500], held_out.labels[:500]),
    )


def chain():
    """Return six convolutions and norms without skips; the last four of them see feature maps of 1x1."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 32, 7, stride=4, padding=3)]
    for number in range(6):
        stride = 2 if number < 3 else 1
        parts += [nn.Conv2d(32, 32, 3, padding=1, stride=stride, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 10))


def test_on_real_digits_it_brings_a_network_back_that_is_useless_in_evaluation_mode(digits):
    model = chain()
    trainer = gpu.Trainer(model, *digits, epochs=1, learning_rate=3e-3, recalibration_images=0)
    (epoch,) = trainer.run()
    assert "validation_accuracy_running" not in epoch
    assert epoch["validation_accuracy"] < 0.3
    gpu.recalibrate(model, digits[0].images)
    assert gpu.accuracy_of(gpu.predict_scores(model, digits[1].images), digits[1].labels) > 0.7


def test_the_trainer_validates_and_leaves_the_recalibrated_network(digits):
    model = chain()
    (epoch,) = gpu.Trainer(model, *digits, epochs=1, learning_rate=3e-3).run()
    assert epoch["validation_accuracy_running"] < 0.3
    assert epoch["validation_accuracy"] > 0.7
    assert epoch["validation_accuracy"] == gpu.accuracy_of(
        gpu.predict_scores(model, digits[1].images), digits[1].labels
    )


def test_recalibration_leaves_the_training_as_it_is(digits):
    with_it, without = chain(), chain()
    training = gpu.Digits(digits[0].images[:256], digits[0].labels[:256])
    gpu.Trainer(with_it, training, digits[1], epochs=2).run()
    gpu.Trainer(without, training, digits[1], epochs=2, recalibration_images=0).run()
    assert all(map(torch.equal, with_it.parameters(), without.parameters()))


class Frozen(nn.Module):
    """A chain that keeps its first norm frozen, as detectors keep those of their backbone."""

    def __init__(self):
        super().__init__()
        self.chain = chain()

    def train(self, mode=True):
        super().train(mode)
        self.chain[2].eval()
        return self

    def forward(self, x):
        return self.chain(x)


def test_the_trainer_leaves_frozen_norms_as_they_are(digits):
    model = Frozen()
    before = state_of(model.chain[2])
    (epoch,) = gpu.Trainer(model, *digits, epochs=1).run()
    assert "validation_accuracy_running" in epoch
    after = state_of(model.chain[2])
    assert all(torch.equal(after[name], before[name]) for name in statistics_of(model.chain[2]))
    assert model.chain[5].num_batches_tracked == 1  # estimated


def test_the_trainer_takes_a_network_whose_norms_work_in_training_only(digits):
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.norm = gpu.perceptron(), nn.BatchNorm1d(10)

        def forward(self, x):
            return self.norm(self.net(x)) if self.training else self.net(x)

    model = Auxiliary()
    (epoch,) = gpu.Trainer(model, *digits, epochs=1).run()
    assert epoch["validation_accuracy"] == epoch["validation_accuracy_running"]
    assert model.norm.num_batches_tracked > 1  # as trained


def test_a_network_that_does_not_take_so_many_images_is_not_said_to_diverge(digits):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.chain = chain()

        def forward(self, x):
            if len(x) > 300:
                raise RuntimeError("out of memory")
            return self.chain(x)

    with pytest.raises(ValueError, match="images: expected images that the model takes, got RuntimeError .*1000"):
        gpu.Trainer(Small(), digits[0], gpu.Digits(digits[1].images[:50], digits[1].labels[:50]), epochs=1).run()


def test_statistics_that_are_not_finite_end_the_training(digits):
    class Exploding(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x if len(x) <= 64 else x * torch.inf)

    model = chain()
    model[2] = Exploding(32)
    with pytest.raises(FloatingPointError, match="training diverged: model: expected finite statistics, .* epoch 1"):
        gpu.Trainer(model, *digits, epochs=1).run()


def test_the_trainer_refuses_statistics_that_cannot_be_written_before_it_trains(digits):
    model = chain()
    model[2].num_batches_tracked = None
    with pytest.raises(
        ValueError, match="model: expected batch normalisations with num_batches_tracked, got None in 2"
    ):
        gpu.Trainer(model, *digits)
    gpu.Trainer(model, *digits, recalibration_images=0)
    with torch.inference_mode():
        model = chain()
    with pytest.raises(ValueError, match="model: expected statistics that can be written, got 2: BatchNorm2d"):
        gpu.recalibrate(model, digits[0].images)


def test_a_network_without_batch_norms_has_one_validation_accuracy(digits):
    (epoch,) = gpu.Trainer(gpu.perceptron(), *digits, epochs=1).run()
    assert "validation_accuracy_running" not in epoch


def test_a_negative_number_of_images_is_refused(digits):
    with pytest.raises(ValueError, match="recalibration_images: expected an int of at least 0, got -1"):
        gpu.Trainer(chain(), *digits, recalibration_images=-1)


def test_the_random_states_of_python_numpy_and_torch_stay():
    class Noisy(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x * random.random() + np.random.rand() + torch.rand(()))  # noqa: NPY002

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state()  # noqa: NPY002

    before = states()
    gpu.recalibrate(Noisy(1), pictures())
    assert states()[:3] == before[:3]
    assert torch.equal(states()[3], before[3])
