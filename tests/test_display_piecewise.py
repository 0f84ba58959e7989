"""Pictures of slices, segments and local maps show what the network itself computes."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import SVG, parse, written
from PIL import Image
from torch import nn

from linalg_cnn import Conv, Dense, MaxPool, PiecewiseGraph, ReLU, SkipNetwork, segment, slice_regions
from linalg_cnn.display import diverging_colors, local_maps_picture, segment_picture, slice_picture
from linalg_cnn.display.classes import TEN, class_colors, color_key, input_picture, softened
from linalg_cnn.notebook import html_of
from linalg_cnn.piecewise.slices import SliceRegions

MINUS = "\N{MINUS SIGN}"


def network(seed, in_size=2, hidden=6, out_size=3):
    """A network with one layer of ReLUs."""
    rng = np.random.default_rng(seed)
    graph = PiecewiseGraph((in_size,))
    before = graph.add(Dense(rng.normal(size=(hidden, in_size)), rng.normal(size=hidden)), 0)
    graph.add(Dense(rng.normal(size=(out_size, hidden)), rng.normal(size=out_size)), graph.add(ReLU(), before))
    return graph


def outlines(picture):
    """Return the filled polygons of a slice, in pixels: [(hover text or None, fill, [corners])]."""
    found = []
    for path in parse(picture).iter(f"{SVG}path"):
        if path.get("fill") not in {"none", None}:
            title = path.find(f"{SVG}title")
            corners = [
                np.cumsum(np.array(re.findall(r"-?\d+", part), int).reshape(-1, 2), axis=0) / 10
                for part in path.get("d").split("z")[:-1]
            ]
            found.append((None if title is None else title.text, path.get("fill"), corners))
    return found[1:]  # the first is the whole slice


def dots(picture):
    """Return the marks: {hover text: position}."""
    return {
        circle.find(f"{SVG}title").text: np.array([circle.get("cx"), circle.get("cy")], float)
        for circle in parse(picture).iter(f"{SVG}circle")
    }


def holds(corners, point, margin):
    """Return whether a point is in a convex polygon, at least some pixels from its sides."""
    sides = np.roll(corners, -1, axis=0) - corners
    away = point - corners
    across = (sides[:, 0] * away[:, 1] - sides[:, 1] * away[:, 0]) / np.hypot(*sides.T)
    return bool((across > margin).all() or (across < -margin).all())


def total_area(polygons):
    return sum(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 for x, y in (corners.T for corners in polygons))


def read(element):
    """Return an image of a picture as an array (height, width, 3)."""
    data = base64.b64decode(element.get("href").removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# Slices


@pytest.mark.parametrize("shape", ["rectangle", "triangle"])
def test_a_point_of_a_slice_has_the_colour_of_the_networks_largest_output(shape):
    graph = network(0)
    regions = slice_regions(graph, [-3.0, -2.0], [5.0, 1.0], [-1.0, 6.0], shape=shape)
    picture = slice_picture(regions, labels=["a", "b", "c"], marks={"o": (0, 0), "u": (1, 0), "v": (0, 1)})
    at = dots(picture)
    origin, u, v = at["o: (0, 0)"], at["u: (1, 0)"], at["v: (0, 1)"]
    colors = class_colors(3, range(3))
    seen, inside = set(), 0
    for a, b in np.random.default_rng(1).random((200, 2)):
        if shape == "rectangle" or a + b < 1:
            largest = int(graph(np.array([-3.0, -2.0]) + a * regions.u + b * regions.v).argmax())
            point = origin + a * (u - origin) + b * (v - origin)
            around = [(words, fill) for words, fill, (corners,) in outlines(picture) if holds(corners, point, 0.1)]
            inside += len(around)
            for words, fill in around:
                assert words.endswith(f": {'abc'[largest]}")
                assert fill == softened(colors[largest])
                seen.add(largest)
    assert len(seen) > 1
    assert inside > 80


def test_distances_in_a_slice_are_those_between_inputs():
    u, v = np.array([4.0, 0.0, 3.0]), np.array([1.0, 2.0, 2.0])
    regions = slice_regions(network(1, in_size=3), np.zeros(3), u, v)
    at = dots(slice_picture(regions))
    across, up = at["origin + u: (1, 0)"] - at["origin: (0, 0)"], at["origin + v: (0, 1)"] - at["origin: (0, 0)"]
    assert np.hypot(*across) / np.hypot(*up) == pytest.approx(5 / 3, abs=1e-3)
    assert across @ up / (np.hypot(*across) * np.hypot(*up)) == pytest.approx(u @ v / 15, abs=1e-3)
    assert across[1] == 0
    assert up[1] < 0  # upwards


def test_a_thin_slice_is_stretched_and_says_so():
    regions = slice_regions(network(1), [0.0, 0.0], [1.0, 0.0], [0.9, 0.01])
    at = dots(slice_picture(regions))
    assert (at["origin + u: (1, 0)"] - at["origin: (0, 0)"]).tolist() == [320, 0]
    assert (at["origin + v: (0, 1)"] - at["origin: (0, 0)"]).tolist() == [0, -320]
    assert "u and v are not drawn to scale" in written(slice_picture(regions))
    assert "u and v are not drawn to scale" not in written(
        slice_picture(slice_regions(network(1), [0.0, 0.0], [1.0, 0.0], [0.0, 0.26]))
    )


def test_up_to_18_pieces_have_colours_and_numbers_of_their_own():
    regions = slice_regions(network(2, hidden=4), [-3.0, -3.0], [6.0, 0.0], [0.0, 6.0])
    assert 8 <= len(regions) <= 18
    drawn = outlines(slice_picture(regions, color="piece"))
    assert [words for words, _, _ in drawn] == [f"region {k}" for k in range(len(regions))]
    assert len({fill for _, fill, _ in drawn}) == len(regions)
    texts = written(slice_picture(regions, color="piece", marks={}))
    assert set(texts) <= {str(k) for k in range(len(regions))}
    assert len(texts) == len(set(texts)) >= 4  # the others have no room


def test_a_single_output_is_coloured_by_piece_and_many_regions_in_seven_colours():
    regions = slice_regions(network(3, hidden=9, out_size=1), [-3.0, -3.0], [6.0, 0.0], [0.0, 6.0])
    picture = slice_picture(regions)
    assert len(regions) > 18
    assert len({fill for _, fill, _ in outlines(picture)}) == 7
    assert picture.alt.startswith(f"{len(regions)} regions of a rectangle, coloured by piece; the largest covers ")
    assert {fill for _, fill, _ in outlines(slice_picture(regions, color="class"))} == {softened(TEN[0])}


def lattice(side):
    """Regions of which each is a quadrilateral of a distorted lattice, as many as side * side."""
    rng = np.random.default_rng(0)
    steps = np.arange(side + 1) / side
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    points[1:-1, 1:-1] += rng.uniform(-0.3, 0.3, (side - 1, side - 1, 2)) / side
    polygons = [
        np.array([points[i, j], points[i + 1, j], points[i + 1, j + 1], points[i, j + 1]])
        for i in range(side)
        for j in range(side)
    ]
    coefficients = np.zeros((len(polygons), 3, 4))
    coefficients[:, 0] = [0.3, 0, 0, -1]  # the outputs are 0.3, a, b / 2 and -1
    coefficients[:, 1, 1] = 1
    coefficients[:, 2, 2] = 0.5
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), 0)
    zero, u, v = np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    return SliceRegions(graph, zero, u, v, "rectangle", tuple(polygons), coefficients, True)


@pytest.mark.parametrize("color", ["class", "piece"])
def test_ten_thousand_regions_stay_below_a_megabyte_and_cover_the_slice(color):
    picture = slice_picture(lattice(100), color=color)
    assert len(picture.svg) < 1_000_000
    drawn = outlines(picture)
    assert len(drawn) == {"class": 3, "piece": 7}[color]  # a path for each colour
    assert sum(total_area(polygons) for _, _, polygons in drawn) == pytest.approx(320**2, rel=1e-3)
    if color == "class":
        assert picture.alt == (
            "10,000 regions of a rectangle, coloured by the largest output: 1 on 66 %, 0 on 18 %, 2 on 16 %. "
            "Marks: origin at (0, 0), origin + u at (1, 0), origin + v at (0, 1)."
        )
        assert [total_area(polygons) / 320**2 for _, _, polygons in drawn] == pytest.approx(
            [0.18, 0.66, 0.16], abs=1e-3
        )
        assert {"0", "1", "2"} <= set(written(picture))


def test_polygons_that_vanish_at_the_resolution_are_left_out():
    square = lattice(1)
    tiny = np.array([[0.5, 0.5], [0.500001, 0.5], [0.5, 0.500001]])
    coefficients = np.repeat(square.coefficients, 2, axis=0)
    both = replace(square, polygons=(*square.polygons, tiny), coefficients=coefficients)
    assert [len(polygons) for _, _, polygons in outlines(slice_picture(both, color="piece"))] == [1, 0]


def test_a_name_without_room_is_in_the_key_below():
    coefficients = lattice(1).coefficients.copy()
    coefficients[:, 1, 3], coefficients[:, 0, 3] = 200, -198.5  # the largest where a is close to 1
    picture = slice_picture(replace(lattice(1), coefficients=coefficients), labels=["p", "q", "r", "narrow"])
    key = [rect.get("fill") for rect in parse(picture).iter(f"{SVG}rect") if rect.get("width") == "12"]
    assert key == [softened(TEN[3])]
    assert written(picture).count("narrow") == 1
    long = slice_picture(lattice(1), labels=["a name that is far too long for its place", "b", "c", "d"])
    key = [rect.get("fill") for rect in parse(long).iter(f"{SVG}rect") if rect.get("width") == "12"]
    assert key == [softened(TEN[0])]


def test_marks_have_the_images_of_their_inputs_beside_them():
    graph = PiecewiseGraph((1, 5, 5))
    graph.add(ReLU(), graph.add(Dense(np.ones((2, 25)), [0.0, -1.0]), 0))
    x, u, v = np.zeros((1, 5, 5)), np.zeros((1, 5, 5)), np.zeros((1, 5, 5))
    u[0, 0, 0] = v[0, 4, 4] = 1
    picture = slice_picture(slice_regions(graph, x, u, v), marks={"a < b": (0.5, 0.5), "end": (1, 0)})
    assert [image.get("width") for image in parse(picture).iter(f"{SVG}image")] == ["44", "44"]
    assert {"a < b", "end"} <= set(written(picture))
    assert "a < b: (0.5, 0.5)" in dots(picture)
    at = dots(picture)["end: (1, 0)"]
    image_at_the_end = list(parse(picture).iter(f"{SVG}image"))[1]
    assert read(image_at_the_end)[0, 0].tolist() == [255, 255, 255]
    assert read(image_at_the_end)[1:].max() == 0
    assert at.tolist() == [320, 320]
    assert picture.width > 320 + 44  # it is outside of the slice


def test_an_incomplete_slice_says_how_much_it_covers():
    regions = slice_regions(network(2), [-3.0, -3.0], [6.0, 0.0], [0.0, 6.0], max_regions=3)
    picture = slice_picture(regions)
    share = f"{100 * regions.covered:.3g} %"
    assert f"incomplete: the regions of {share} of the rectangle" in written(picture)
    assert f"3 regions of a rectangle, which cover {share} of it, " in picture.alt
    present = re.findall(r"(\d) on ", picture.alt)
    key = [rect for rect in parse(picture).iter(f"{SVG}rect") if rect.get("width") == "12"]
    assert len(key) == len(present) > 0  # no name is beyond what is known


def test_slices_that_cannot_be_drawn_as_asked_are_refused_by_name():
    regions = slice_regions(network(0), [0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="color: expected one of 'auto', 'class', 'piece', got 'value'"):
        slice_picture(regions, color="value")
    with pytest.raises(ValueError, match="labels: expected 3, one per output, got 2"):
        slice_picture(regions, labels=["a", "b"])
    for point in ((0.0, 1.0, 2.0), (0.0, np.nan)):
        with pytest.raises(ValueError, match=re.escape("marks['x']: expected ")):
            slice_picture(regions, marks={"x": point})


def test_a_thousand_outputs_have_the_parts_that_all_of_them_are_compared_for():
    graph = network(9, hidden=3, out_size=1000)
    regions = slice_regions(graph, [-3.0, -3.0], [6.0, 0.0], [0.0, 6.0])
    picture = slice_picture(regions, marks={})
    shares = np.zeros(1000)
    for region in regions:
        for k, corners in region.classes():
            shares[k] += total_area([corners])
    said = dict(re.findall(r"(\d+) on ([\d.e-]+) %", picture.alt))
    assert {int(k): float(share) for k, share in said.items()} == pytest.approx(
        {k: 100 * shares[k] for k in np.flatnonzero(shares)}, rel=0.01
    )
    assert len({fill for _, fill, _ in outlines(picture)}) == len(said)


# Segments


def curves(picture):
    """Return the widest line of each output: {hover text: points (points, 2) in pixels}."""
    found = {}
    for path in parse(picture).iter(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        if title is not None:
            found[title.text] = np.array([pair.split() for pair in path.get("d")[1:].split("L")], float)
    return found


def numbers_in(picture):
    """Return the lowest and the highest output, as the picture says them."""
    (words,) = [words for words in written(picture) if words.startswith("↑")]
    return [float(value.replace(MINUS, "-")) for value in re.findall(rf"[{MINUS}\d.]+", words)]


def test_curves_of_a_segment_are_the_outputs_of_the_network():
    graph = network(4)
    path = segment(graph, [-3.0, -3.0], [3.0, 2.0])
    picture = segment_picture(path, labels=["a", "b", "c"])
    low, high = numbers_in(picture)
    drawn = curves(picture)
    assert set(drawn) == {"a", "b", "c"}
    ts = np.linspace(0, 1, 41)
    outputs = np.stack([graph(path.input_at(t)) for t in ts])
    assert (low, high) == pytest.approx((outputs.min(), outputs.max()), rel=0.01)
    for k, name in enumerate("abc"):
        heights = np.interp(360 * ts, *drawn[name].T)
        assert heights == pytest.approx(22 + 158 * (high - outputs[:, k]) / (high - low), abs=1.2)


def bands(picture):
    """Return the parts of the band: [(hover text, width, fill)]."""
    return [
        (rect.find(f"{SVG}title").text, float(rect.get("width")), rect.get("fill"))
        for rect in parse(picture).iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    ]


def test_the_band_has_the_largest_output_of_the_network():
    graph = network(4, hidden=12)
    path = segment(graph, [-6.0, -3.0], [6.0, 4.0])
    assert len(path.class_changes) > 1
    drawn = bands(segment_picture(path))
    assert sum(width for _, width, _ in drawn) == pytest.approx(360, abs=0.05)
    ends = np.cumsum([0, *(width / 360 for _, width, _ in drawn)])
    for (words, _, fill), low, high in zip(drawn, ends[:-1], ends[1:], strict=True):
        for t in np.linspace(low + 0.001, high - 0.001, 5):
            largest = int(graph(path.input_at(t)).argmax())
            assert words.split(" from ")[0] == str(largest)
            assert fill == softened(class_colors(3, [largest])[largest])


def test_the_band_of_a_constant_winner_does_not_depend_on_ties():
    graph = PiecewiseGraph((1,))
    graph.add(ReLU(), graph.add(Dense([[0.0], [1.0]], [0.0, -0.5]), 0))
    path = segment(graph, [0.0], [1.0])  # both outputs are 0 up to t = 0.5
    assert path.class_changes == ()
    assert "The largest output: 1 from 0 to 1." in segment_picture(path).alt


def bars(picture):
    return [rect for rect in parse(picture).iter(f"{SVG}rect") if rect.get("width") == "1.6"]


def test_each_break_is_a_tick_and_many_are_counted_in_bars():
    path = segment(network(5, hidden=40), [-3.0, -3.0], [3.0, 2.5])
    picture = segment_picture(path)
    (ticks,) = [
        p for p in parse(picture).iter(f"{SVG}path") if p.get("stroke-width") == "0.8" and p.get("stroke") == "#1b4965"
    ]
    positions = [float(x) for x in re.findall(r"M(\S+) 0L", ticks.get("d"))]
    assert positions == pytest.approx(360 * path.t, abs=0.01)
    assert bars(picture) == []

    path = segment(network(5, hidden=400), [-3.0, -3.0], [3.0, 2.5])
    assert len(path.t) > 120
    counts = np.bincount((180 * path.t).astype(int), minlength=180)
    picture = segment_picture(path)
    assert f"→ t: 0 to 1, {len(path.t)} breaks, up to {counts.max()} in a bar" in written(picture)
    drawn = {float(bar.get("x")) / 2: float(bar.get("height")) for bar in bars(picture)}
    assert drawn == pytest.approx({k: 32 * counts[k] / counts.max() for k in np.flatnonzero(counts)}, abs=0.01)


def test_a_long_path_has_a_point_per_column_alone():
    path = segment(network(6, hidden=3000, out_size=2), [-3.0, -3.0], [3.0, 2.5])
    assert len(path.t) > 1500
    assert all(len(points) <= 722 for points in curves(segment_picture(path)).values())
    assert len(segment_picture(path).svg) < 60_000


def test_of_many_outputs_the_highest_are_drawn_and_a_single_one_has_no_band():
    graph = network(7, out_size=60)
    path = segment(graph, [-3.0, -3.0], [3.0, 2.5])
    drawn = curves(segment_picture(path))
    leading = {change.before for change in path.class_changes} | {change.after for change in path.class_changes}
    others = [k for k in np.argsort(-path.values.max(axis=0)).tolist() if k not in leading]
    assert {int(name) for name in drawn} == leading | set(others[: 20 - len(leading)])
    alone = segment_picture(segment(network(7, out_size=1), [-3.0, -3.0], [3.0, 2.5]))
    assert bands(alone) == []
    assert alone.alt.startswith("The output along a segment of ")


def test_an_incomplete_path_is_drawn_as_far_as_it_is_known():
    path = segment(network(4, hidden=12), [-6.0, -3.0], [6.0, 4.0], max_regions=2)
    picture = segment_picture(path, title="Partly")
    assert "incomplete: the breaks up to t = " in " ".join(written(picture))
    assert "The regions are known up to t = " in picture.alt
    assert picture.alt.startswith("Partly: ")
    assert max(points[:, 0].max() for points in curves(picture).values()) == pytest.approx(360 * path.reached, abs=0.1)


def test_names_without_room_in_the_band_are_in_the_key():
    graph = network(4, hidden=12)
    path = segment(graph, [-6.0, -3.0], [6.0, 4.0])
    long = ["an output with a long name " * 3] * 3
    present = {words.split(" from ")[0] for words, _, _ in bands(segment_picture(path))}
    keys = [rect for rect in parse(segment_picture(path, labels=long)).iter(f"{SVG}rect") if rect.get("width") == "12"]
    assert len(keys) == len(present)


def test_inputs_along_the_segment_are_drawn_where_they_are_images():
    graph = PiecewiseGraph((3, 5, 6))
    graph.add(ReLU(), 0)
    ramp = np.arange(90.0).reshape(3, 5, 6)
    picture = segment_picture(segment(graph, ramp, -ramp))
    images = [read(image) for image in parse(picture).iter(f"{SVG}image")]
    assert len(images) == 5
    assert images[0].shape == (5, 6, 3)
    expected = (255 * ramp / 89).round().transpose(1, 2, 0)
    assert np.abs(images[0] - expected).max() <= 1
    assert np.abs(images[-1] - (255 - expected)).max() <= 1


# Local maps


def test_rows_of_local_maps_are_the_gradients_of_torch_in_colour():
    torch.manual_seed(0)
    conv, dense = nn.Conv2d(1, 3, 3).double(), nn.Linear(3 * 9 * 9, 4).double()
    model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), dense)
    graph = PiecewiseGraph((1, 21, 21))
    value = 0
    for layer in (
        Conv(conv.weight.detach().numpy(), conv.bias.detach().numpy()),
        ReLU(),
        MaxPool(2),
        Dense(dense.weight.detach().numpy(), dense.bias.detach().numpy()),
    ):
        value = graph.add(layer, value)
    xs = torch.rand(3, 1, 21, 21, dtype=torch.float64)
    picture = local_maps_picture(graph, xs.numpy(), rows=[3, 1], labels=list("abcd"), names=["x", "y", "z"], most=2)
    gradients = [torch.autograd.functional.jacobian(lambda x: model(x[None])[0], x)[[3, 1], 0].numpy() for x in xs[:2]]
    limit = max(np.abs(gradient).max() for gradient in gradients)
    images = [read(image) for image in parse(picture).iter(f"{SVG}image")]
    assert len(images) == 6  # two columns of an input and two rows
    for column, gradient in enumerate(gradients):
        for row in range(2):
            assert np.abs(images[3 * column + 1 + row].astype(int) - diverging_colors(gradient[row], limit)).max() <= 1
    scores = model(xs[:2]).detach().numpy()
    said = [f"{name}: {scores[i, k]:.3g}".replace("-", MINUS) for i in range(2) for k, name in ((3, "d"), (1, "b"))]
    assert [words for words in written(picture) if re.match(r"[bd]: ", words)] == said
    assert "the first 2 of 3 inputs" in written(picture)
    assert {"x", "y"} <= set(written(picture))
    assert "z" not in written(picture)


def frames(picture):
    return [rect for rect in parse(picture).iter(f"{SVG}rect") if rect.get("stroke") == "#d55e00"]


def test_the_rows_of_the_largest_outputs_are_drawn_and_framed():
    graph = network(8, in_size=3, out_size=5)
    xs = np.array([[1.0, 0.0, 0.0], [-3.0, 1.0, 2.0], [0.0, 4.0, -2.0]])
    largest = {int(graph(x).argmax()) for x in xs}
    assert 1 < len(largest) < 5
    picture = local_maps_picture(graph, xs)
    said = {int(words.split(":")[0]) for words in written(picture) if re.match(r"\d: ", words)}
    assert said == largest
    assert len(frames(picture)) == 3  # one in each column
    alone = local_maps_picture(network(8, out_size=1), [[1.0, 2.0]], title="One output")
    assert frames(alone) == []
    assert alone.alt.startswith("One output: 1 input, and below each the rows of its local map W(x) as images: 0. ")


def test_rows_of_three_channels_are_images_below_each_other():
    weights = np.random.default_rng(0).normal(size=(1, 75))
    graph = PiecewiseGraph((3, 5, 5))
    graph.add(ReLU(), graph.add(Dense(weights, [9.0]), 0))
    picture = local_maps_picture(graph, np.zeros((1, 3, 5, 5)))
    drawn = [read(image) for image in parse(picture).iter(f"{SVG}image")][1:]
    expected = diverging_colors(weights.reshape(3, 5, 5), np.abs(weights).max())
    assert np.array_equal(np.stack(drawn), expected)


def test_the_networks_of_the_paper_have_local_maps_too():
    kernel = np.arange(9.0).reshape(1, 1, 3, 3) - 4
    net = SkipNetwork((1, 6, 6), [Conv(kernel), ReLU(), Dense(np.ones((2, 16)))])
    assert (
        local_maps_picture(net, np.ones((1, 1, 6, 6))).alt == local_maps_picture(net.graph, np.ones((1, 1, 6, 6))).alt
    )


def test_local_maps_that_cannot_be_drawn_are_refused_by_name():
    graph = network(8)
    with pytest.raises(TypeError, match="graph: expected a PiecewiseGraph, or .* SkipNetwork, got AffineGraph"):
        local_maps_picture(graph.at([0.0, 0.0]), [[0.0, 0.0]])
    with pytest.raises(ValueError, match="xs: expected at least one input, got none"):
        local_maps_picture(graph, np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"xs: expected shape \(N, 2\), got \(2,\)"):
        local_maps_picture(graph, [0.0, 0.0])
    with pytest.raises(ValueError, match="names: expected 1, one per input, got 2"):
        local_maps_picture(graph, [[0.0, 0.0]], names=["a", "b"])
    with pytest.raises(ValueError, match="rows: expected outputs from 0 to 2, got 3"):
        local_maps_picture(graph, [[0.0, 0.0]], rows=[3])
    with pytest.raises(ValueError, match="rows: expected at least one output, got none"):
        local_maps_picture(graph, [[0.0, 0.0]], rows=[])
    with pytest.raises(ValueError, match="most: expected an int of at least 1, got 0"):
        local_maps_picture(graph, [[0.0, 0.0]], most=0)
    video = PiecewiseGraph((1, 2, 3, 3))
    video.add(ReLU(), 0)
    with pytest.raises(ValueError, match=r"graph: expected inputs of at most three axes, got the shape \(1, 2, 3, 3\)"):
        local_maps_picture(video, np.zeros((1, 1, 2, 3, 3)))


# What they share


def test_colours_of_outputs_are_the_same_in_all_pictures_unless_there_are_too_many():
    assert class_colors(10, [9, 0]) == {9: TEN[9], 0: TEN[0]}
    assert len(set(class_colors(18, range(18)).values())) == 18
    assert class_colors(19, [18, 3]) == {18: TEN[0], 3: TEN[1]}


def test_a_key_breaks_its_lines_and_constant_inputs_are_black():
    assert color_key([("a", "#000000")] * 3, widest=60).height == 38
    assert color_key([("a", "#000000")] * 3, widest=600).height == 18
    assert read(next(parse(input_picture(np.ones((1, 5, 5)), 40)).iter(f"{SVG}image"))).max() == 0


def test_notebooks_show_slices_and_paths_and_the_repr_of_huge_slices():
    regions = slice_regions(network(0), [0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    path = segment(network(0), [0.0, 0.0], [1.0, 0.0])
    assert regions._repr_html_() == slice_picture(regions, title=repr(regions)).svg
    assert path._repr_html_() == segment_picture(path, title=repr(path)).svg
    assert html_of(replace(lattice(1), polygons=lattice(1).polygons * 10_001)) is None
