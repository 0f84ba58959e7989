"""`gpu.train` takes images of any shape and any number of classes, as tensors or from a torch Dataset."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import gpu
from gpu.training.labelled import LabelledImages

CASES = {
    "colour pictures that are not square": ((3, 9, 14), 4),
    "signals in one dimension": ((2, 30), 3),
    "volumes": ((1, 5, 6, 7), 2),
    "vectors": ((12,), 5),
}


def images_of(shape, classes, count=24, dtype=torch.uint8):
    """Return images whose class shows in their brightness."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    drawn = torch.randint(0, 40, (count, *shape), generator=generator)
    bright = drawn + (labels * (200 // classes)).reshape(-1, *(1,) * len(shape))
    return (bright.to(torch.uint8) if dtype == torch.uint8 else bright.to(dtype) / 255), labels


def network_for(shape, classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


def samples(images, labels):
    return [(image, int(label)) for image, label in zip(images, labels, strict=True)]


class Listed(Dataset):
    """A Dataset of the samples that it is given."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.mark.parametrize(("shape", "classes"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_training_takes_the_steps_of_a_plain_loop_of_torch_on_any_shape(shape, classes, dtype):
    images, labels = images_of(shape, classes, dtype=dtype)
    ours, plain = network_for(shape, classes), network_for(shape, classes)
    history = gpu.train(
        ours, (images, labels), (images, labels), epochs=2, batch_size=len(images), learning_rate=0.01, progress=False
    )
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(plain(images / 255 if dtype == torch.uint8 else images), labels).backward()
        optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)  # the order of the images rounds differently
    assert history[-1]["validation_accuracy"] == gpu.accuracy_of(gpu.predict_scores(ours, images), labels)


def test_tensors_a_dataset_and_labelled_images_are_one_training():
    images, labels = images_of((3, 6, 8), 3)
    arrays = [(image.numpy(), np.int64(label)) for image, label in samples(images, labels)]
    forms = {
        "tuple": (images, labels),
        "labels of another integer dtype": (images, labels.to(torch.int16)),
        "TensorDataset": TensorDataset(images, labels),
        "samples with ints": Listed(samples(images, labels)),
        "arrays": Listed(arrays),
        "Subset": Subset(Listed(samples(images, labels)), range(len(images))),
        "LabelledImages": LabelledImages(images, labels),
        "read before": LabelledImages.from_dataset(TensorDataset(images, labels)),
    }
    histories = {
        name: gpu.train(network_for((3, 6, 8), 3), form, form, epochs=2, batch_size=10, progress=False)
        for name, form in forms.items()
    }
    for name, history in histories.items():
        assert history == histories["tuple"], name


def test_a_dataset_is_read_once_so_that_its_random_transforms_are_drawn_once():
    class Counting(Listed):
        read = 0

        def __getitem__(self, index):
            type(self).read += 1
            return super().__getitem__(index)

    images, labels = images_of((1, 4, 4), 2, count=6)
    dataset = Counting(samples(images, labels))
    gpu.train(network_for((1, 4, 4), 2), dataset, (images, labels), epochs=3, progress=False)
    assert Counting.read == len(images) + 1  # the first one says how much memory all of them take


def test_resuming_on_own_data_ends_in_the_same_bits(tmp_path):
    images, labels = images_of((3, 6, 8), 3, dtype=torch.float32)

    def trainer():
        return gpu.Trainer(
            network_for((3, 6, 8), 3), TensorDataset(images, labels), (images, labels), epochs=3, batch_size=5
        )

    def stop(count, left=[7]):  # noqa: B006 - counts over calls
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    whole, resumed = trainer(), trainer()
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        trainer().run(tmp_path / "checkpoint", every_seconds=0.0, report=stop)
    assert resumed.run(tmp_path / "checkpoint") == whole.history
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_same_bytes_in_another_shape_are_another_training(tmp_path):
    images, labels = images_of((1, 4, 9), 2)

    def trainer(shape):
        return gpu.Trainer(network_for((36,), 2), *2 * [(images.reshape(-1, *shape), labels)], epochs=1)

    trainer((1, 4, 9)).run(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"expected settings .*uint8 \(1, 6, 6\).*, got settings"):
        trainer((1, 6, 6)).run(tmp_path / "checkpoint")


def test_a_network_of_float64_trains_on_bytes_and_on_narrower_floats():
    for dtype in (torch.uint8, torch.float32):
        images, labels = images_of((1, 4, 4), 2, dtype=dtype)
        model = nn.Sequential(nn.BatchNorm2d(1), network_for((1, 4, 4), 2)).double()
        history = gpu.train(model, (images, labels), (images, labels), epochs=1, progress=False)
        assert "validation_accuracy_running" in history[0]  # its statistics were estimated anew
        assert gpu.predict_scores(model, images).dtype == torch.float64


def test_the_probe_before_a_training_leaves_modes_and_random_states():
    images, labels = images_of((1, 4, 4), 2)
    model = nn.Sequential(nn.Dropout(), network_for((1, 4, 4), 2))
    model[0].eval()
    before, modes = torch.get_rng_state(), [part.training for part in model.modules()]
    gpu.Trainer(model, (images, labels), (images, labels))
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model.modules()] == modes


def narrow(size=1, track=True):
    """A network whose batch normalisation gets maps of size x size from images of 4x4."""
    norm = nn.BatchNorm2d(3, track_running_stats=track)
    return nn.Sequential(nn.Conv2d(1, 3, 5 - size), norm, nn.Flatten(), nn.Dropout(), nn.Linear(3 * size**2, 2))


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (65, {}, "got 65 images in batches of 64; give batch_size=65, or other images"),
        (9, {"batch_size": 4}, "got 9 images in batches of 4; give batch_size=5, or other images"),
        (7, {"batch_size": 2}, "got 7 images in batches of 2; give batch_size=4, or other images"),
        (8, {"batch_size": 1}, "got 8 images in batches of 1; give batch_size=2, or other images"),
        (1, {}, "training: expected at least two images, as 1: BatchNorm2d .*, got 1"),
        (8, {"recalibration_images": 1}, "recalibration_images: expected 0, or at least 2, as 1: Batch.*, got 1"),
    ],
)
def test_a_batch_of_one_image_is_refused_where_a_norm_has_one_number_of_each(count, options, message):
    images, labels = images_of((1, 4, 4), 2, count)
    model, random = narrow().eval(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        gpu.Trainer(model, (images, labels), (images, labels), **options)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part.training or part._forward_pre_hooks for part in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Frozen(nn.Sequential):
    """A network that keeps its batch normalisation frozen."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (narrow(2), {"batch_size": 4}),
        (narrow(2), {"batch_size": 1}),
        (narrow(), {"batch_size": 3, "recalibration_images": 2}),
        (Frozen(*narrow()), {"batch_size": 4}),
        (network_for((1, 4, 4), 2), {"batch_size": 4}),
    ],
    ids=["maps of 2x2", "every batch of one image", "no batch of one image", "frozen", "one map of 4x4"],
)
def test_a_batch_of_one_image_is_trained_on_where_its_norms_have_numbers_enough(model, options):
    images, labels = images_of((1, 4, 4), 2, 9)
    history = gpu.Trainer(model, (images, labels), (images, labels), epochs=1, **options).run()
    assert len(history) == 1


def test_a_norm_without_running_statistics_needs_two_images_in_any_mode():
    images, labels = images_of((1, 4, 4), 2, 9)
    with pytest.raises(ValueError, match="got 9 images in batches of 4; give batch_size=5"):
        gpu.Trainer(Frozen(*narrow(track=False)), (images, labels), (images, labels), batch_size=4)


def test_shape_and_classes_make_a_network():
    data = LabelledImages(*images_of((3, 9, 14), 4))
    model = gpu.three_layer_cnn(data.in_shape, data.num_classes)
    assert gpu.predict_scores(model, data.images).shape == (24, 4)
    assert gpu.Digits(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.tensor([3])).num_classes == 10


GOOD = images_of((1, 4, 4), 2)
IMAGES, LABELS = GOOD

REFUSED = {
    "labels are missing": (IMAGES, TypeError, "training: expected (images, labels), a torch Dataset or .*, got Tensor"),
    "a list of samples": (
        [IMAGES] * 3,
        TypeError,
        "training: expected (images, labels), a torch Dataset or .*, got list",
    ),
    "arrays in a pair": ((IMAGES.numpy(), LABELS), TypeError, "training: images: expected a tensor, got ndarray"),
    "labels as a list": ((IMAGES, LABELS.tolist()), TypeError, "training: labels: expected a tensor, got list"),
    "integers that are no bytes": (
        (IMAGES.long(), LABELS),
        ValueError,
        "training: images: expected a dense tensor of uint8, float16, bfloat16, float32 or float64, got torch.int64",
    ),
    "floats of 8 bits": (
        (IMAGES.to(torch.float8_e5m2), LABELS),
        ValueError,
        "training: images: expected a dense tensor of uint8, .* or float64, got torch.float8_e5m2",
    ),
    "a sparse tensor": (
        (IMAGES.float().to_sparse(), LABELS),
        ValueError,
        "training: images: expected a dense tensor .* in the layout torch.sparse_coo",
    ),
    "no images": (
        (IMAGES[:0], LABELS[:0]),
        ValueError,
        "training: images: expected at least one image (N, *in_shape), got shape (0, 1, 4, 4)",
    ),
    "numbers instead of images": (
        (LABELS.float(), LABELS),
        ValueError,
        "training: images: expected at least one image (N, *in_shape), got shape (24,)",
    ),
    "infinite pixels": (
        (IMAGES / 0.0, LABELS),
        ValueError,
        "training: images: expected finite numbers, got NaN or infinity",
    ),
    "too few labels": (
        (IMAGES, LABELS[:5]),
        ValueError,
        "training: labels: expected an integer for each of 24 images, of shape (24,), got torch.int64 (5,)",
    ),
    "labels that are scores": (
        (IMAGES, torch.eye(2)[LABELS]),
        ValueError,
        "training: labels: expected an integer for each of 24 images, of shape (24,), got torch.float32 (24, 2)",
    ),
    "a negative label": (
        (IMAGES, LABELS - 1),
        ValueError,
        "training: labels: expected classes numbered from 0, got -1",
    ),
    "a label that has no score": (
        (IMAGES, LABELS + 5),
        ValueError,
        "training: expected labels 0 to 1 for a network of 2 scores, got 6; make it with num_classes=7",
    ),
    "floats that are wider than the network": (
        (IMAGES.double(), LABELS),
        ValueError,
        "training: expected images of uint8 or torch.float32, .* got torch.float64; convert the images with "
        ".to(torch.float32)",
    ),
    "an image shape that the network does not take": (
        (IMAGES[..., :3], LABELS),
        ValueError,
        "model: expected a network of images (1, 4, 3), got RuntimeError: mat1 and mat2 shapes cannot be multiplied",
    ),
    "a Dataset without a length": (
        type("Stream", (IterableDataset,), {"__iter__": None})(),
        TypeError,
        "training: expected a Dataset with a length, got Stream; give its samples as two tensors, "
        "torch.utils.data.default_collate(list(dataset))",
    ),
    "an empty Dataset": (Listed([]), ValueError, "training: expected at least one image, got an empty Listed"),
    "a Dataset of images alone": (
        Listed(list(IMAGES)),
        ValueError,
        "training[0]: expected a pair (image, label), got Tensor",
    ),
    "a Dataset of pictures": (
        Listed([("a picture", 1)]),
        ValueError,
        "training[0]: expected an image that is a tensor of uint8, .* or float64, got str; give the dataset a",
    ),
    "a Dataset of integers": (
        Listed([(IMAGES[0].int(), 1)]),
        ValueError,
        "training[0]: expected an image that is a tensor of uint8, .* or float64, got torch.int32",
    ),
    "a Dataset of labels that are no classes": (
        Listed([(IMAGES[0], 0), (IMAGES[1], 0.5)]),
        ValueError,
        "label of training[1]: expected an int of at least 0, got 0.5",
    ),
    "samples that differ in shape": (
        Listed([(IMAGES[0], 0), (IMAGES[1], 1), (IMAGES[2, :, 1:], 0)]),
        ValueError,
        "training[2]: expected an image of torch.uint8 (1, 4, 4), as training[0] is, got torch.uint8 (1, 3, 4); resize "
        "and convert in the dataset's transform",
    ),
    "samples that differ in dtype": (
        Listed([(IMAGES[0], 0), (IMAGES[1].float(), 1)]),
        ValueError,
        "training[1]: expected an image of torch.uint8 (1, 4, 4), as training[0] is, got torch.float32 (1, 4, 4)",
    ),
}


@pytest.mark.parametrize(("training", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused_with_its_place(training, kind, message):
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(kind, match=f"^{pattern}"):
        gpu.train(network_for((1, 4, 4), 2), training, training, progress=False)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ((IMAGES[..., :3], LABELS), "held_out: expected images of torch.uint8 (1, 4, 4), as those to train on, got "),
        ((IMAGES / 255, LABELS), "(1, 4, 4), as those to train on, got torch.float32 (1, 4, 4)"),
        ((IMAGES, LABELS + 1), "held_out: expected labels 0 to 1 for a network of 2 scores, got 2; make it with"),
        (Listed([]), "held_out: expected at least one image"),
    ],
)
def test_held_out_images_are_like_those_to_train_on(held_out, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        gpu.train(network_for((1, 4, 4), 2), GOOD, held_out, progress=False)


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (nn.Conv2d(1, 2, 3), "(2, 2, 2, 2)"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(16, 2)), "tuple"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(32, 2)), "(2,)"),
    ],
)
def test_a_network_that_gives_no_scores_is_refused(model, got):
    with pytest.raises(ValueError, match=re.escape(f"model: expected scores (2, classes) of 2 images, got {got}")):
        gpu.train(model, GOOD, GOOD, progress=False)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda scores: (scores, scores), "got tuple; train a module whose forward returns the scores alone"),
        (lambda scores: [scores], "got list"),
        (lambda scores: scores[:1], "got (1, 2)"),
        (lambda scores: torch.cat([scores, scores], dim=1), "got (4, 4)"),  # could be trained, on labels that are not
        (lambda scores: scores.detach(), "got some without"),
    ],
    ids=["auxiliary_output", "list", "one_row", "more_classes", "no_gradient"],
)
def test_a_network_that_gives_something_else_in_training_mode_is_refused(change, got):
    model = network_for((1, 4, 4), 2)
    model.register_forward_hook(lambda module, given, scores: change(scores) if module.training else None)
    with pytest.raises(ValueError, match=r"model: expected scores .*in training mode, .*" + re.escape(got)):
        gpu.train(model, GOOD, GOOD, batch_size=4, progress=False)


def frozen(model):
    return model.requires_grad_(False)


def made_in_inference_mode():
    with torch.inference_mode():
        return network_for((1, 4, 4), 2)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("a network", TypeError, "model: expected an nn.Module, got str"),
        (nn.Linear, TypeError, "model: expected an nn.Module, got type"),
        (nn.Flatten(), ValueError, "model: expected parameters that require gradients, got none in a Flatten"),
        (
            frozen(network_for((1, 4, 4), 2)),
            ValueError,
            "require gradients, got only frozen ones (requires_grad=False)",
        ),
        (made_in_inference_mode(), ValueError, "got some made in torch.inference_mode()"),
    ],
)
def test_what_has_nothing_to_train_is_refused(model, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        gpu.train(model, GOOD, GOOD, progress=False)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_training_without_gradients_is_refused(off):
    model = network_for((1, 4, 4), 2)
    with off(), pytest.raises(ValueError, match="gradients: expected them to be on"):
        gpu.train(model, GOOD, GOOD, progress=False)


def test_a_part_of_a_network_can_be_frozen():
    model = nn.Sequential(nn.Flatten(), frozen(nn.Linear(16, 8)), nn.Linear(8, 2))
    before = model[1].weight.clone()
    gpu.train(model, GOOD, GOOD, epochs=1, progress=False)
    assert torch.equal(model[1].weight, before)


def test_images_that_require_gradients_get_none():
    images = (IMAGES / 255).requires_grad_()
    gpu.train(network_for((1, 4, 4), 2), (images, LABELS), (images, LABELS), epochs=1, progress=False)
    assert images.grad is None
    assert images.requires_grad


def test_a_dataset_that_does_not_fit_into_memory_is_refused_before_it_is_read():
    class Huge(Dataset):
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            assert index == 0, "the first image says how much memory all of them take"
            return torch.zeros(3, 64, 64), 0

    with pytest.raises(MemoryError, match=r"^training: expected images that fit in .* take 49,152,000,000,000; make"):
        gpu.train(network_for((1, 4, 4), 2), Huge(), GOOD, progress=False)


def test_datasets_whose_classes_have_other_numbers_are_refused():
    images, labels = images_of((1, 4, 4), 3)

    def folder(*classes):
        dataset = torch.utils.data.TensorDataset(images, labels % len(classes))
        dataset.classes = list(classes)
        return dataset

    model = network_for((1, 4, 4), 3)
    with pytest.raises(ValueError, match=r"held_out: expected the classes \['a', 'b', 'c'\], .* got \['b', 'c'\]"):
        gpu.train(model, folder("a", "b", "c"), folder("b", "c"), epochs=1, progress=False)
    gpu.train(model, folder("a", "b", "c"), folder("a", "b", "c"), epochs=1, progress=False)


@pytest.mark.parametrize("classes", [2, None, "ab"])
def test_classes_that_are_no_names_are_not_compared(classes):
    parts = [TensorDataset(IMAGES, LABELS) for _ in range(2)]
    parts[0].classes, parts[1].classes = classes, ["a", "b"]
    gpu.train(network_for((1, 4, 4), 2), *parts, epochs=1, progress=False)


def test_printed_images_show_their_kind_and_no_pixels():
    images, labels = images_of((3, 4, 5), 6)
    assert repr(gpu.LabelledImages(images, labels)) == "LabelledImages(24 images, torch.uint8 (3, 4, 5), 6 classes)"
