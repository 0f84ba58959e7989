"""What linearising and collapsing cost is measured on held-out inputs, and told in Python and on the command line."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torchvision import transforms

import gpu
from gpu.cli.held_out import read_held_out
from gpu.cli.main import main
from gpu.models.predictions import accuracies, in_words
from linalg_cnn import load_map

IN_SHAPE = (1, 3, 4)


class Folding(nn.Module):
    """The first score is |x|, the second 1, as two rectified units: linearised, the first score becomes 0."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(12, 2), nn.ReLU(), nn.Linear(2, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.first.weight[0, 0], self.first.weight[1, 0] = 1, -1
            self.last.weight[0] = 1
            self.last.bias[1] = 1

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


def inputs(*values):
    """Images with one value at their first pixel."""
    x = torch.zeros(len(values), *IN_SHAPE)
    x[:, 0, 0, 0] = torch.tensor(values)
    return x


X, LABELS = inputs(3.0, -3.0, 0.5, 2.0, 0.0), torch.tensor([0, 0, 1, 0, 0])
"""The network is wrong on the last only; linearised, it answers 1 to all and is right on the third only."""


def test_linearize_returns_a_pair_whose_list_says_what_the_changes_cost():
    model = Folding()
    linear, changes = gpu.linearize(model, X, LABELS)
    assert changes == ["act: ReLU -> Identity"]
    assert isinstance(changes, list)
    assert changes.accuracy == {
        "inputs": 5,
        "before": 0.8,
        "linearized": 0.2,
        "collapsed": None,
        "changed": {"linearized": 0.6},
    }
    with torch.no_grad():
        assert (linear(X).argmax(1) == 1).all()


def test_without_labels_the_share_of_changed_predictions_is_told_and_without_inputs_nothing():
    assert gpu.linearize(Folding(), X)[1].accuracy["changed"] == {"linearized": 0.6}
    assert gpu.linearize(Folding(), X)[1].accuracy["before"] is None
    assert gpu.linearize(Folding())[1].accuracy is None
    assert gpu.linearize(Folding(), (X,))[1].accuracy is None  # arguments of a forward, of which there may be several
    assert gpu.linearize(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), X)[1].accuracy is None


def test_the_networks_are_measured_in_evaluation_mode_and_left_as_they_were():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.999), nn.BatchNorm1d(12), Folding()).train()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    linear, changes = gpu.linearize(model, X, LABELS)
    assert changes.accuracy["before"] == 0.8
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert linear.training
    assert model[2].num_batches_tracked == linear[2].num_batches_tracked == 0


def test_many_labelled_inputs_are_not_all_run_to_see_what_the_activations_become(monkeypatch):
    seen = []
    monkeypatch.setattr("gpu.models.linearization.examine", lambda _, given: seen.append(given) or pytest.skip("seen"))
    with pytest.raises(pytest.skip.Exception):
        gpu.linearize(Folding(), X.repeat(20, 1, 1, 1), LABELS.repeat(20))
    assert len(seen[0][0]) == 8


@pytest.mark.parametrize(
    ("given", "labels", "error", "message"),
    [
        (None, [0], TypeError, "inputs: expected a tensor that the labels belong to, got NoneType"),
        ((X,), LABELS, TypeError, "inputs: expected a tensor that the labels belong to, got tuple"),
        (X, LABELS[:4], ValueError, r"labels: expected one integer for each of 5 inputs, got torch.int64 \(4,\)"),
        (X, LABELS.float(), ValueError, r"labels: expected one integer for each of 5 inputs, got torch.float32"),
        (X, LABELS > 0, ValueError, r"labels: expected one integer for each of 5 inputs, got torch.bool"),
        (X, -LABELS, ValueError, "labels: expected classes from 0 on, got -1"),
        (X[:0], LABELS[:0], ValueError, "labels: expected classes from 0 on, got none"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given, labels, error, message):
    with pytest.raises(error, match=message):
        gpu.linearize(Folding(), given, labels)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), "got a single score"),
        (nn.Conv2d(1, 2, 1), r"got outputs torch.Size\(\[5, 2, 3, 4\]\)"),
        (nn.LSTM(4, 2), "expected arguments that the forward of the model takes, got "),
    ],
)
def test_labels_need_a_network_with_a_score_for_each_class(model, message):
    with pytest.raises(ValueError, match=f"(labels: expected a network that gives scores.*|inputs: .*)({message})"):
        gpu.linearize(model, X, LABELS)
    if isinstance(model, nn.LSTM):
        return
    with pytest.raises(ValueError, match="labels: expected a network with one score for each of 2 classes or more"):
        gpu.collapse(model.eval(), IN_SHAPE, inputs=X, labels=LABELS)


def test_a_label_needs_a_score_of_its_own():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    labels = torch.tensor([0, 1, 2, 3, 0])
    with pytest.raises(ValueError, match="labels: .* got 3 scores, none of them for the label 3"):
        gpu.linearize(model, X, labels)
    wider = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    with pytest.raises(ValueError, match="original: .* got 3 scores, none of them for the label 3"):
        gpu.collapse(wider, IN_SHAPE, inputs=X, labels=labels, original=model)


def test_collapse_reports_the_accuracy_of_the_network_of_the_linearised_one_and_of_the_map():
    model = Folding().eval()
    linear, _ = gpu.linearize(model)
    report = gpu.collapse(linear, IN_SHAPE, inputs=X, labels=LABELS, original=model).report
    assert report.accuracy == {
        "inputs": 5,
        "before": 0.8,
        "linearized": 0.2,
        "collapsed": 0.2,
        "changed": {"linearized": 0.6, "collapsed": 0.6},
    }
    assert json.loads(report.to_json())["accuracy"] == report.accuracy
    words = "80.0 % before, 20.0 % linearised, 20.0 % collapsed, of 5 held-out inputs"
    assert f"accuracy   {words}; linearising changed 60.0 %" in str(report)
    assert words in report._repr_html_()


def test_collapse_without_an_original_compares_with_the_network_itself():
    linear, _ = gpu.linearize(Folding().eval())
    report = gpu.collapse(linear, IN_SHAPE, inputs=X, labels=LABELS).report
    assert report.accuracy["before"] == report.accuracy["collapsed"] == 0.2
    assert report.accuracy["changed"] == {"collapsed": 0.0}
    assert "collapsing changed none of the predictions" in str(report)
    unlabelled = gpu.collapse(linear, IN_SHAPE, inputs=X, original=Folding()).report
    assert unlabelled.accuracy["before"] is None
    assert "linearising changed 60.0 % of the predictions, collapsing changed 60.0 % of the predictions on 5" in str(
        unlabelled
    )
    assert gpu.collapse(linear, IN_SHAPE).report.accuracy is None
    assert "not measured" in str(gpu.collapse(linear, IN_SHAPE).report)
    whole = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    assert gpu.collapse(whole, IN_SHAPE, inputs=X).report.accuracy is None


def test_held_out_inputs_are_raw_pixels_where_the_preprocessing_is_folded_in():
    linear, _ = gpu.linearize(Folding().eval())
    with torch.no_grad():
        linear.last.weight[0, 1] = -1  # the first score is now 2 x, so that the scale matters
    pixels = inputs(254.0, 51.0, 204.0).to(torch.uint8)
    report = gpu.collapse(
        linear, IN_SHAPE, inputs=pixels, labels=[0, 1, 0], preprocess=transforms.ToTensor(), original=Folding()
    ).report
    assert (report.accuracy["linearized"], report.accuracy["collapsed"]) == (1.0, 1.0)
    assert report.accuracy["before"] == pytest.approx(1 / 3)  # |x| is below 1


def test_scores_of_labelled_inputs_beyond_the_first_are_not_compared_in_float64():
    linear, _ = gpu.linearize(Folding().eval())
    many = gpu.collapse(linear, IN_SHAPE, inputs=X.repeat(20, 1, 1, 1), labels=LABELS.repeat(20)).report
    assert many.accuracy["inputs"] == 100
    assert many.differences["inputs"] == 8 + 64


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"original": Folding()}, ValueError, "original: expected inputs as well"),
        ({"inputs": X, "original": "net"}, TypeError, "original: expected an nn.Module, got str"),
        ({"inputs": X, "original": nn.Linear(5, 2)}, ValueError, "original: expected a network that gives scores"),
        ({"labels": LABELS}, TypeError, "inputs: expected a tensor that the labels belong to"),
        ({"inputs": X, "labels": LABELS + 1}, ValueError, "labels: expected a network .* for each of 3 classes"),
    ],
)
def test_what_collapse_cannot_compare_is_refused(options, error, message):
    linear, _ = gpu.linearize(Folding().eval())
    with pytest.raises(error, match=message):
        gpu.collapse(linear, IN_SHAPE, **options)


def test_a_forward_that_squeezes_a_batch_of_one_is_measured_all_the_same():
    linear, _ = gpu.linearize(Folding().eval())
    squeezing = nn.Sequential(linear, Squeeze())
    x = X.repeat(13, 1, 1, 1)  # 65: the last batch has one input
    assert gpu.collapse(squeezing, IN_SHAPE, inputs=x, labels=LABELS.repeat(13)).report.accuracy["before"] == 0.2


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze()


def test_the_sentence_names_only_what_was_measured():
    right = torch.tensor([0, 1])
    assert in_words(accuracies({"before": right, "collapsed": right}, None)) == (
        "collapsing changed none of the predictions on 2 inputs"
    )


# The command


def folder_of(root, names=("cat", "dog")):
    """Two classes of pictures (1, 3, 4): bright ones and dark ones, with a hidden file beside them."""
    for name, values in zip(names, ((255, 250), (0, 10, 20)), strict=True):
        (root / name).mkdir(parents=True)
        (root / name / ".hidden").write_text("no picture")
        for value in values:
            Image.fromarray(np.full((3, 4), value, np.uint8)).save(root / name / f"{value}.png")
    (root / "readme.txt").write_text("beside the classes")
    return root


def bright():
    """A network that says 0 for bright pictures and 1 for dark ones, through a rectified unit."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[1].weight[0] = 1 / 12
        net[1].bias[0] = -0.5  # the unit is 0 for dark pictures
        net[3].weight[0, 0] = net[3].weight[1, 0] = 1
        net[3].weight[1, 0] = -1
        net[3].bias[1] = 0.1
    return net


def collapse(folder, *more, model="bright", shape="1,3,4"):
    safetensors.torch.save_file({"bright": bright, "flat": flat}[model]().state_dict(), folder / "weights.safetensors")
    given = ["collapse", "--model", f"{__name__}:{model}", "--weights", str(folder / "weights.safetensors")]
    return main([*given, "--in-shape", shape, "--out", str(folder / "out"), "--no-progress", *more])


def flat():
    return nn.Linear(5, 2)


def test_the_command_measures_on_a_folder_and_keeps_the_names_of_its_classes(tmp_path, capsys):
    pictures = folder_of(tmp_path / "pictures")
    assert collapse(tmp_path, "--linearize", "--held-out", str(pictures)) == 0
    captured = capsys.readouterr()
    assert "100.0 % before, 100.0 % linearised, 100.0 % collapsed, of 5 held-out inputs" in captured.out
    assert "warning: --linearize made another network: 100.0 % of the held-out images were right before" in captured.err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["accuracy"]["before"] == 1.0
    assert load_map(tmp_path / "out" / "collapsed.safetensors").meta["class_names"] == ("cat", "dog")
    (tmp_path / "names.txt").write_text("bright\ndark\n")
    assert collapse(tmp_path, "--linearize", "--class-names", str(tmp_path / "names.txt")) == 0
    assert "warning: --linearize makes another network, which may have lost" in capsys.readouterr().err
    assert load_map(tmp_path / "out" / "collapsed.safetensors").meta["class_names"] == ("bright", "dark")


def test_class_names_number_the_subfolders_that_they_name(tmp_path, capsys):
    pictures = folder_of(tmp_path / "pictures")
    safe = str(tmp_path / "names.txt")
    for text, right in (("cat\ndog\n", "100.0 %"), ("dog\ncat\n", "0.0 %"), ("one\ntwo\n", "100.0 %")):
        (tmp_path / "names.txt").write_text(text)
        assert collapse(tmp_path, "--linearize", "--held-out", str(pictures), "--class-names", safe) == 0
        assert f"accuracy   {right} before" in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    assert collapse(tmp_path, "--held-out", str(pictures), "--class-names", safe) == 1
    assert "--class-names: expected the held-out classes, cat, dog, among the names" in capsys.readouterr().err


def test_a_network_that_guesses_makes_the_report_ask_for_its_preprocessing():
    x, labels = torch.rand(100, *IN_SHAPE), torch.arange(100) % 2
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.zeros_(net[1].weight)
    report = gpu.collapse(net.eval(), IN_SHAPE, inputs=x, labels=labels).report
    assert "guessing gives 50.0 %: was the network trained with this preprocessing?" in str(report)
    assert "guessing" not in str(gpu.collapse(net, IN_SHAPE, inputs=x[:10], labels=labels[:10]).report), "too few"
    assert "guessing" not in str(gpu.collapse(net, IN_SHAPE, inputs=x).report), "no labels"


def test_linearizing_what_is_linear_is_no_reason_to_warn(tmp_path, capsys):
    assert collapse(tmp_path, "--linearize", model="flat", shape="5") == 0
    assert capsys.readouterr().err == ""


def test_held_out_images_that_do_not_fit_are_refused(tmp_path, capsys):
    empty = tmp_path / "empty"
    (empty / "cat").mkdir(parents=True)
    wrong = folder_of(tmp_path / "wrong")
    Image.new("L", (5, 5)).save(wrong / "dog" / "large.png")
    three = folder_of(tmp_path / "three")
    (three / "emu").mkdir()
    Image.new("L", (4, 3)).save(three / "emu" / "emu.png")
    for given, message in (
        ((empty,), "--held-out: expected mnist-5k or a folder with a subfolder of pictures for each class"),
        ((tmp_path / "none",), "No such file"),
        ((wrong,), "expected a picture of 4x3 pixels, got 5x5"),
        ((three,), "meta['class_names']: expected a name for each of 2 scores, got 3"),
        (("mnist-5k",), "--held-out: expected a network of images (1, 28, 28) for mnist-5k, got (1, 3, 4)"),
    ):
        assert collapse(tmp_path, "--linearize", "--held-out", *map(str, given)) == 1
        assert message in capsys.readouterr().err
    assert collapse(tmp_path, "--held-out", str(three), model="flat", shape="5") == 1
    assert "--held-out: expected a network of pictures (1 or 3, height, width), got (5,)" in capsys.readouterr().err


def test_a_dataset_of_torchvision_holds_the_same_images_as_the_folder_that_it_reads(tmp_path):
    pictures = folder_of(tmp_path / "pictures")
    expected = read_held_out(str(pictures), (1, 3, 4))
    assert collapse(tmp_path, "--linearize", *dataset_of("torchvision.datasets:ImageFolder", root=str(pictures))) == 0
    accuracy = json.loads((tmp_path / "out" / "report.json").read_text())["accuracy"]
    assert (accuracy["before"], accuracy["inputs"]) == (1.0, 5)
    assert load_map(tmp_path / "out" / "collapsed.safetensors").meta["class_names"] == ("cat", "dog")
    for shape in ((1, 3, 4), (3, 3, 4)):  # torchvision reads gray files in colour
        found = read_held_out("torchvision.datasets:ImageFolder", shape, {"root": str(pictures)})
        assert torch.equal(found.images, expected.images.expand(-1, *shape))
        assert torch.equal(found.labels, expected.labels)
        assert found.class_names == expected.class_names


def dataset_of(path, **arguments):
    return "--held-out", path, "--held-out-args", json.dumps(arguments)


def tensors(dtype, **attributes):
    """A Dataset whose samples are tensors already, without names of classes unless they are given."""
    dataset = TensorDataset(torch.zeros(5, 1, 3, 4).to(getattr(torch, dtype)), torch.tensor([1, 1, 1, 1, 0]))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def test_a_dataset_of_tensors_is_taken_as_it_is(tmp_path):
    assert collapse(tmp_path, "--linearize", *dataset_of(f"{__name__}:tensors", dtype="uint8")) == 0
    accuracy = json.loads((tmp_path / "out" / "report.json").read_text())["accuracy"]
    assert accuracy["before"] == 0.8  # four of five dark images are labelled so


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (2, None),
        ("ab", None),
        ([3, 8], ("3", "8")),
        ([["tench", "Tinca tinca"], ["goldfish"]], ("tench, Tinca tinca", "goldfish")),  # as ImageNet of torchvision
    ],
)
def test_the_classes_of_a_dataset_may_be_other_than_strings(tmp_path, classes, names):
    given = dataset_of(f"{__name__}:tensors", dtype="uint8", classes=classes)
    assert collapse(tmp_path, "--linearize", *given) == 0
    assert load_map(tmp_path / "out" / "collapsed.safetensors").meta["class_names"] == names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            dataset_of("torchvision.datasets:ImageFolder", root="nowhere"),
            "--held-out-args: expected arguments of torchvision.datasets:ImageFolder, got "
            "{'root': 'nowhere'}: FileNotFound",
        ),
        (
            dataset_of("torchvision.datasets:NotThere"),
            "--held-out: expected package.module:name, got 'torchvision.datas",
        ),
        (
            dataset_of("torch.nn:Flatten"),
            "--held-out: expected torch.nn:Flatten to make a Dataset of pictures and their classes, got TypeError: ",
        ),
        (
            dataset_of("torchvision.datasets:FakeData", size=3, image_size=[3, 6, 7]),
            "to have torch.uint8 images (1, 3, 4), got torch.uint8 (1, 6, 7); scaling belongs to the options",
        ),
        (dataset_of(f"{__name__}:tensors", dtype="float32"), "(1, 3, 4), got torch.float32 (1, 3, 4); scaling belongs"),
        (
            dataset_of("torch:pi"),
            "--held-out: expected torch:pi to be a class or a function that makes a Dataset, got ",
        ),
        (
            dataset_of("mnist-5k", train=False),
            "--held-out-args: expected only with --held-out MODULE:NAME, got them with",
        ),
    ],
)
def test_what_makes_no_dataset_for_the_network_is_refused(tmp_path, capsys, given, message):
    assert collapse(tmp_path, "--linearize", *given) == 1
    assert message in capsys.readouterr().err


def test_the_held_out_digits_are_meant_by_the_name_of_the_data_set(monkeypatch):
    training, held_out = (
        gpu.Digits(torch.zeros(n, 1, 28, 28, dtype=torch.uint8), torch.zeros(n).long()) for n in (3, 2)
    )
    monkeypatch.setattr("gpu.cli.held_out.load_digits", lambda: (training, held_out))
    assert read_held_out("mnist-5k", (1, 28, 28)) == (held_out.images, held_out.labels, None)
