"""What a map says of its input is kept, saved, loaded and composed; predictor and command prepare pixels by it."""

import json
from functools import cache

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

import gpu
from gpu.cli.main import main
from gpu.collapsing.preprocessing import meta_of, preprocessing_operations
from gpu.predict import Predictor
from linalg_cnn import AffineMap, FactoredMap, load_map, symbolic
from linalg_cnn.map_file import _digest

IN_SHAPE, OUT_SIZE = (3, 4, 5), 4
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
CHAIN = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
NAMES = ("cat", "dog", "emu", "fox")
FULL = {
    "pixel_scale": 255.0,
    "mean": MEAN,
    "std": STD,
    "folded": True,
    "layout": "CHW",
    "channel_order": "BGR",
    "class_names": NAMES,
}


def a_map(meta=None, in_shape=IN_SHAPE, out_size=OUT_SIZE):
    rng = np.random.default_rng(0)
    W = rng.integers(-4, 5, (out_size, int(np.prod(in_shape))))
    return AffineMap(W, rng.integers(-4, 5, out_size), in_shape, meta=meta)


def two_factors(meta=None):
    rng = np.random.default_rng(1)
    outer = AffineMap(rng.integers(-4, 5, (OUT_SIZE, 2)), np.zeros(OUT_SIZE))
    return FactoredMap([outer, a_map(out_size=2)]).with_meta(**(meta or {}))


def pixels(count=70, in_shape=IN_SHAPE):
    """Bytes of which each image has dark and bright ones."""
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (count, *in_shape), dtype=np.uint8))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(12, OUT_SIZE)).eval()


@cache
def collapsed(form="plain"):
    """The collapsed network, made once for each form."""
    preprocess = {"plain": None, "raw": [], "scaled": transforms.ToTensor()}.get(form, CHAIN)
    return gpu.collapse(network(), IN_SHAPE, preprocess=preprocess, class_names=NAMES, factored=form == "two")


def known(meta):
    return None if meta is None else {key: value for key, value in meta.items() if value is not None}


# The map


def test_a_map_made_by_hand_says_nothing_and_takes_bytes_as_they_are():
    affine = a_map()
    assert affine.meta is None
    assert AffineMap(affine.W, affine.B, meta={"mean": None}).meta is None
    scores = affine(pixels().flatten(1).numpy())
    assert np.array_equal(Predictor(affine)(pixels()).numpy(), scores)


def test_meta_has_every_key_with_none_where_nothing_is_known():
    assert a_map(FULL).meta == FULL
    assert a_map({"pixel_scale": 1}).meta == dict.fromkeys(FULL) | {"pixel_scale": 1.0}
    assert known(a_map({"pixel_scale": 1, "std": [0.5]}).meta) == {"pixel_scale": 1, "std": (0.5,), "folded": False}
    assert known(a_map({"pixel_scale": np.int64(1), "mean": np.float32(0.5)}).meta)["mean"] == (0.5,)


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ("RGB", TypeError, "meta: expected a mapping, got str"),
        ({"scale": 1}, ValueError, "meta: expected keys among pixel_scale, .*, got 'scale'"),
        (
            {"pixel_scale": 0},
            ValueError,
            r"meta\['pixel_scale'\]: expected a positive number, 'network' or None, got 0",
        ),
        ({"pixel_scale": True}, ValueError, r"meta\['pixel_scale'\]: expected a positive number, .* got True"),
        ({"pixel_scale": np.inf}, ValueError, r"meta\['pixel_scale'\]: expected a positive number, .* got inf"),
        ({"pixel_scale": 10**400}, ValueError, r"meta\['pixel_scale'\]: expected a positive number, .* got 1000"),
        ({"pixel_scale": "net"}, ValueError, r"meta\['pixel_scale'\]: expected a positive number, .* got 'net'"),
        ({"mean": 0.5}, ValueError, r"meta\['pixel_scale'\]: expected a number where there is a mean"),
        ({"pixel_scale": "network", "std": 1}, ValueError, r"meta\['pixel_scale'\]: expected a number where there"),
        (
            {"pixel_scale": 1, "mean": (1, 2)},
            ValueError,
            r"meta\['mean'\]: expected one number, or .* 3 channels, got 2",
        ),
        ({"pixel_scale": 1, "mean": "0.5"}, TypeError, r"meta\['mean'\]: expected .* got dtype <U3"),
        ({"pixel_scale": 1, "mean": np.nan}, ValueError, r"meta\['mean'\]: expected finite entries, got nan"),
        ({"pixel_scale": 1, "mean": symbolic.avg_pool_matrix((1, 2), 2)[0]}, TypeError, r"meta\['mean'\]: .*numbers"),
        ({"pixel_scale": 1, "std": (1, 0, 1)}, ValueError, r"meta\['std'\]: expected numbers other than 0"),
        (
            {"pixel_scale": 1, "std": 1e-320},
            ValueError,
            r"meta\['std'\]: expected numbers that pixel_scale and mean can",
        ),
        ({"pixel_scale": 1, "std": 1e-308, "mean": 1e3}, ValueError, r"meta\['std'\]: expected .* \(1000.0,\)"),
        ({"pixel_scale": 1, "mean": 1, "folded": 1}, ValueError, r"meta\['folded'\]: expected True or False, got 1"),
        ({"layout": "HWC"}, ValueError, r"meta\['layout'\]: expected one of 'CHW', got 'HWC'"),
        ({"channel_order": "GBR"}, ValueError, r"meta\['channel_order'\]: expected one of 'RGB', 'BGR', got 'GBR'"),
        ({"class_names": "abcd"}, TypeError, r"meta\['class_names'\]: expected a sequence of strings, got 'abcd'"),
        ({"class_names": [0, 1, 2, 3]}, TypeError, r"meta\['class_names'\]: expected a sequence of strings"),
        ({"class_names": ["a"]}, ValueError, r"meta\['class_names'\]: expected a name for each of 4 scores, got 1"),
    ],
)
def test_a_meta_that_cannot_be_is_refused_by_its_key(meta, error, message):
    with pytest.raises(error, match=message):
        a_map(meta)


def test_a_meta_that_does_not_fit_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"meta\['layout'\]: expected one of 'CL', 'CHW', 'CDHW', got 'NCHW'"):
        AffineMap([[1.0]], [0.0], meta={"layout": "NCHW"})
    with pytest.raises(ValueError, match=r"meta\['channel_order'\]: expected none for 1 channels, got 'RGB'"):
        a_map({"channel_order": "RGB"}, in_shape=(1, 4, 4))


# Files


@pytest.mark.parametrize("make", [a_map, two_factors])
@pytest.mark.parametrize("meta", [None, FULL, {"pixel_scale": "network", "class_names": NAMES}])
def test_meta_is_saved_and_loaded_in_either_form(tmp_path, make, meta):
    made = make(meta)
    assert known(made.meta) == meta
    made.save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert type(loaded) is type(made)
    assert loaded.meta == made.meta
    with safetensors.safe_open(tmp_path / "map", "numpy") as file:
        assert file.metadata()["format_version"] == "2"


def version_1(path, kind, tensors):
    """Write a file as the first version of the library did."""
    metadata = {"format": f"linalg_cnn.{kind}", "format_version": "1", "in_shape": json.dumps(IN_SHAPE)}
    metadata["sha256"] = _digest(tensors, metadata)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def test_files_of_version_1_are_of_unknown_scale_and_take_bytes_as_they_are(tmp_path):
    one, two = a_map(), two_factors()
    version_1(tmp_path / "one", "AffineMap", {"W": one.W, "B": one.B})
    version_1(
        tmp_path / "two",
        "FactoredMap",
        {f"{name}{n}": getattr(two.factors[n], name) for n in (0, 1) for name in ("W", "B")},
    )
    for name, made in (("one", one), ("two", two)):
        loaded = load_map(tmp_path / name)
        assert loaded.meta is None
        assert np.array_equal(Predictor(loaded)(pixels()).numpy(), made(pixels().flatten(1).numpy()))


def test_a_meta_changed_under_the_old_checksum_is_refused(tmp_path):
    path = tmp_path / "map"
    a_map(FULL).save(path)
    with safetensors.safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in ("W", "B")}
        metadata = file.metadata()
    changed = metadata | {"meta": json.dumps(FULL | {"pixel_scale": 1})}
    path.write_bytes(safetensors.numpy.save(tensors, changed))
    with pytest.raises(ValueError, match="the content was altered"):
        load_map(path)
    for wrong, message in (("[1]", "meta: expected a JSON object"), ('{"white": 1}', "meta: expected keys among")):
        changed = {key: value for key, value in metadata.items() if key != "sha256"} | {"meta": wrong}
        changed["sha256"] = _digest(tensors, changed)
        path.write_bytes(safetensors.numpy.save(tensors, changed))
        with pytest.raises(ValueError, match=f"map: expected W and B of an affine map, got {message}"):
            load_map(path)


# Composition


def test_a_composition_expects_what_the_inner_map_expects_and_has_the_classes_of_the_outer():
    inner = a_map(FULL | {"class_names": None})
    outer = AffineMap(np.ones((2, OUT_SIZE)), np.zeros(2), meta={"pixel_scale": 1, "class_names": ["no", "yes"]})
    both = outer @ inner
    assert both.meta == FULL | {"class_names": ("no", "yes")}
    assert (outer.exact() @ inner).meta == both.meta
    assert known((outer @ a_map()).meta) == {"class_names": ("no", "yes")}
    assert (AffineMap(outer.W, outer.B) @ a_map()).meta is None


def test_what_changes_the_entries_alone_keeps_the_meta():
    affine = a_map(FULL)
    for made in (2 * affine, affine.exact(), symbolic.avg_pool_matrix((1, 2), 2)[0] * affine, affine.astype("f4")):
        assert made.meta == FULL
    sparse = AffineMap(np.eye(3), np.zeros(3), meta={"pixel_scale": 1})
    assert (2 * sparse).toarray().meta == sparse.meta


def test_a_sum_expects_what_both_maps_expect_of_their_one_input():
    full, unknown = a_map(FULL), a_map()
    assert (full + full).meta == (full + unknown).meta == (unknown + full).meta == FULL
    other = a_map({"pixel_scale": 255, "mean": 0.1, "folded": True, "class_names": ["a", "b", "c", "d"]})
    named = {"pixel_scale": 255, "layout": "CHW", "channel_order": "BGR"}
    assert known((full + other).meta) == known((other + full).meta) == named
    assert known((a_map({"class_names": NAMES}) + full).meta) == FULL
    unfolded = a_map({"pixel_scale": 1, "mean": 0.5})
    assert (unfolded + a_map({"layout": "CHW"})).meta == unfolded.meta | {"layout": "CHW"}


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"pixel_scale": 255}, {"pixel_scale": 1}, "the same pixel_scale of their input, got 255.0 and 1.0"),
        ({"pixel_scale": "network"}, {"pixel_scale": 1}, "the same pixel_scale of their input, got 'network' and 1.0"),
        ({"channel_order": "RGB"}, {"channel_order": "BGR"}, "the same channel_order .* got 'RGB' and 'BGR'"),
        ({"pixel_scale": 1, "mean": 0.5}, {"pixel_scale": 1}, r"the same mean and std .* got \(0.5,\), None and None"),
        (
            {"pixel_scale": 1, "mean": 0.5, "folded": True},
            {"pixel_scale": 1, "mean": 0.5},
            r"the same mean and std .* got \(0.5,\), None and \(0.5,\), None",
        ),
    ],
)
def test_maps_of_different_inputs_cannot_be_added(a, b, message):
    with pytest.raises(ValueError, match=f"a \\+ b: expected maps that expect {message}"):
        a_map(a) + a_map(b)


# Collapsing


def test_collapse_says_which_pixels_the_map_takes():
    named = {"layout": "CHW", "class_names": NAMES}
    assert known(collapsed().affine.meta) == named | {"pixel_scale": "network"}
    for form in ("raw", "scaled"):
        assert known(collapsed(form).affine.meta) == named | {"pixel_scale": 255}
    for form, factors in (("normalised", 1), ("two", 2)):
        assert len(collapsed(form).factors) == factors
        assert collapsed(form).affine.meta == FULL | {"channel_order": None}


def test_means_of_bytes_are_told_in_units_of_white():
    chain = [v2.ToDtype(torch.float32), v2.Normalize([51.0], [102.0])]
    meta = meta_of(chain, preprocessing_operations(chain, IN_SHAPE), IN_SHAPE)
    assert (meta["pixel_scale"], meta["mean"], meta["std"]) == (255, (0.2,) * 3, (0.4,) * 3)


def test_class_names_that_do_not_fit_are_refused_before_the_work(monkeypatch):
    monkeypatch.setattr("gpu.collapsing.collapse.compose_form", lambda *_: pytest.fail("the work began"))
    with pytest.raises(ValueError, match=r"meta\['class_names'\]: expected a name for each of 4 scores, got 1"):
        gpu.collapse(network(), IN_SHAPE, class_names=["cat"])


# Prediction


def test_bytes_are_refused_until_someone_says_how_the_network_takes_them():
    affine = collapsed().affine
    predictor = Predictor(affine)
    for call in (
        predictor,
        predictor.classes,
        lambda _: predictor.error_bound("linear"),
        lambda _: predictor.way_for(1),
    ):
        with pytest.raises(ValueError, match=r"images: expected floats as the network takes them, got uint8: .*prepro"):
            call(pixels())
    assert "bytes are refused: this map was collapsed without preprocess=" in str(predictor)
    with pytest.raises(ValueError, match="way: expected a backend for floats, got 'planes': this map was collapsed"):
        Predictor(affine, way="planes")
    scaled = pixels().float() / 255
    expected = network()(scaled).detach()
    torch.testing.assert_close(predictor(scaled), expected)
    for told in (
        Predictor(affine, preprocess=transforms.ToTensor()),
        Predictor(affine.with_meta(pixel_scale=1)),
        Predictor(collapsed("scaled").affine),
    ):
        torch.testing.assert_close(told(pixels()), expected)
    as_they_are = Predictor(affine, preprocess=[])(pixels())
    raw = network()(pixels().float()).detach()  # sums of 60 products with numbers up to 255, in float32
    torch.testing.assert_close(as_they_are, raw, rtol=1e-4, atol=1e-4)


def test_a_predictor_takes_what_collapse_returns_in_either_form():
    expected = network()(CHAIN[1](pixels().float() / 255)).detach()
    for form in ("normalised", "two"):
        predictor = Predictor(collapsed(form))
        torch.testing.assert_close(predictor(pixels()), expected, rtol=1e-5, atol=1e-5)
        assert predictor.meta == collapsed(form).affine.meta
        assert [predictor.class_names[i] for i in predictor.classes(pixels())] == [NAMES[i] for i in expected.argmax(1)]
        assert str(predictor).splitlines()[1] == "  classes: cat, dog, emu, fox"
    assert Predictor(a_map()).class_names is None
    assert "classes:" not in str(Predictor(a_map()))


@pytest.mark.parametrize(
    "meta",
    [
        {"pixel_scale": 1},
        {"pixel_scale": 1, "mean": MEAN, "std": STD},
        {"pixel_scale": 2, "mean": MEAN},
        {"pixel_scale": 255, "std": 50.0},
        {"pixel_scale": 1, "mean": MEAN, "folded": True},
    ],
)
@pytest.mark.parametrize("make", [a_map, two_factors])
def test_bytes_are_prepared_as_the_map_says(make, meta):
    prepared = pixels().double() / 255 * meta["pixel_scale"]
    if not meta.get("folded"):
        prepared = prepared - torch.tensor(meta.get("mean", 0.0)).double().reshape(-1, 1, 1)
        prepared = prepared / torch.tensor(meta.get("std", 1.0)).double().reshape(-1, 1, 1)
    scores = make()(prepared.flatten(1).numpy())
    predicted = Predictor(make(meta))(pixels()).numpy()
    np.testing.assert_allclose(predicted, scores, rtol=0, atol=1e-5 * np.abs(scores).max())
    # floats are taken as prepared
    torch.testing.assert_close(Predictor(make(meta))(prepared), torch.from_numpy(scores), rtol=1e-12, atol=1e-12)


def test_a_number_for_each_channel_needs_the_shape():
    affine = a_map()
    flat = AffineMap(affine.W, affine.B, meta={"pixel_scale": 1, "mean": 0.5})
    np.testing.assert_allclose(Predictor(flat)(pixels()), affine(pixels().flatten(1).numpy() / 255 - 0.5), atol=1e-4)
    with pytest.raises(ValueError, match="in_shape: expected a shape, whose first entry is the channels of mean"):
        Predictor(flat.with_meta(mean=MEAN))


def test_a_second_preparation_is_refused():
    with pytest.raises(ValueError, match=r"preprocess: expected none for a map that says .* \(pixel_scale 255\), got"):
        Predictor(collapsed("normalised"), preprocess=CHAIN)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("meta", "wrong"),
    [
        ({"pixel_scale": 255}, {"normalised", "scaled"}),
        ({"pixel_scale": 1}, {"normalised", "raw"}),
        ({"pixel_scale": 1, "mean": MEAN, "std": STD}, {"raw"}),
        ({"pixel_scale": "network"}, set()),
        (None, set()),
    ],
)
def test_floats_that_were_prepared_otherwise_are_refused(meta, wrong, dtype):
    predictor = Predictor(a_map(meta))
    forms = {"raw": pixels().float(), "scaled": pixels() / 255, "normalised": CHAIN[1](pixels() / 255)}
    for form, images in forms.items():
        if form in wrong:
            for call in (predictor, predictor.classes):
                with pytest.raises(
                    ValueError, match=r"images: expected floats from about .* as the map's meta says, got"
                ):
                    call(images.to(dtype))
        else:
            assert predictor(images.to(dtype)).shape == (70, OUT_SIZE)


@pytest.mark.parametrize("pixel", [1.0, 3.0])
def test_nearly_black_pictures_are_predicted_with_a_warning(pixel):
    """A night's picture is one of the pixels that the map takes: it must not stop a service."""
    dark = torch.zeros(2, *IN_SHAPE)
    dark[1, 0, 0, 0] = pixel
    predictor = Predictor(a_map({"pixel_scale": 255}))
    for call in (predictor, predictor.classes):
        with pytest.warns(UserWarning, match=rf"got whole numbers from 0 to {pixel:g}: nearly black") as heard:
            found = call(dark)
        assert heard[0].filename == __file__
        torch.testing.assert_close(found, call(dark.byte()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "images", [torch.zeros(0, *IN_SHAPE), torch.zeros(2, *IN_SHAPE), torch.full((2, *IN_SHAPE), float("nan"))]
)
def test_floats_that_show_nothing_are_taken(images):
    assert Predictor(a_map({"pixel_scale": 255}))(images).shape == (len(images), OUT_SIZE)


# The command


@pytest.fixture
def picture(tmp_path):
    """Return a picture and its pixels (3, 4, 5)."""
    image = pixels(1)[0].numpy()
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", image


def printed(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()[-1].split("\t")[1:]


@pytest.mark.parametrize("order", [None, "RGB", "BGR"])
@pytest.mark.parametrize("folded", [True, False])
def test_the_command_prepares_pictures_as_the_map_says_and_prints_names(tmp_path, picture, capsys, order, folded):
    path, image = picture
    meta = {"pixel_scale": 1, "mean": MEAN, "std": STD, "folded": folded, "class_names": NAMES, "channel_order": order}
    a_map(meta).save(tmp_path / "map")
    ordered = (image[::-1] if order == "BGR" else image) / 255
    if not folded:
        ordered = (ordered - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    scores = a_map()(ordered.ravel())
    name, *shown = printed(capsys, tmp_path / "map", path, "--scores")
    assert name == NAMES[scores.argmax()]
    np.testing.assert_allclose([float(score) for score in shown], scores, rtol=1e-5)


def test_the_command_asks_for_the_scale_that_the_file_does_not_say(tmp_path, picture, capsys):
    path, image = picture
    collapsed().save(tmp_path / "map")
    assert main(["predict", str(tmp_path / "map"), str(path)]) == 1
    error = capsys.readouterr().err
    assert "map: expected a map that says how pixels are prepared" in error
    assert "give --pixel-scale 1" in error
    with torch.no_grad():
        scores = network()(torch.from_numpy(image)[None] / 255)[0].numpy()
    shown = printed(capsys, tmp_path / "map", path, "--scores", "--pixel-scale", "1")[1:]
    np.testing.assert_allclose([float(score) for score in shown], scores, rtol=1e-4, atol=1e-5)
    a_map({"pixel_scale": 255}).save(tmp_path / "said")
    assert main(["predict", str(tmp_path / "said"), str(path), "--pixel-scale", "1"]) == 1
    assert "--pixel-scale: expected none for" in capsys.readouterr().err


def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(60, OUT_SIZE))


def test_collapse_keeps_the_names_that_a_file_gives(tmp_path, picture, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n\n emu \nfox\n", encoding="utf-8")
    safetensors.torch.save_file(narrow().state_dict(), tmp_path / "weights.safetensors")
    given = ["collapse", "--model", f"{__name__}:narrow", "--weights", str(tmp_path / "weights.safetensors")]
    given += ["--in-shape", "3,4,5", "--out", str(tmp_path / "out"), "--no-progress", "--class-names"]
    assert main([*given, str(tmp_path / "names.txt")]) == 0
    saved = tmp_path / "out" / "collapsed.safetensors"
    assert known(load_map(saved).meta) == {"pixel_scale": 255, "layout": "CHW", "class_names": NAMES}
    capsys.readouterr()
    assert printed(capsys, saved, picture[0])[0] in NAMES
    for wrong, message in (
        (b"cat\n", "expected a name for each of 4 scores, got 1"),
        (b"\xff", "a text file in UTF-8"),
    ):
        (tmp_path / "names.txt").write_bytes(wrong)
        assert main([*given, str(tmp_path / "names.txt")]) == 1
        assert message in capsys.readouterr().err
