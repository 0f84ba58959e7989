"""Breaks along a segment and regions of a slice, against a walk from region to region and the network itself."""

from itertools import pairwise

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from linalg_cnn import (
    Abs,
    AffineGraph,
    AMax,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    Hardtanh,
    LeakyReLU,
    Maximum,
    MaxPool,
    Minimum,
    MinOver,
    PiecewiseGraph,
    PReLU,
    ReLU,
    ReLU6,
    WeightedSum,
    region,
    segment,
    slice_regions,
)
from linalg_cnn.piecewise import carrying, polygons
from linalg_cnn.piecewise import segment as segment_module
from linalg_cnn.piecewise import slices as slices_module
from linalg_cnn.piecewise.segment import ClassChange

SHAPE = (2, 4, 5)


def network(seed, kinds=("relu", "pool", "skip", "hardtanh")):
    """A graph with random weights: a convolution and one operation of each kind in turn, then scores of 3 classes."""
    rng = np.random.default_rng(seed)
    graph = PiecewiseGraph(SHAPE)
    value = 0
    for kind in kinds:
        channels = graph.shapes[value][0]
        conv = Conv(rng.normal(size=(channels, channels, 3, 3)) / 3, rng.normal(size=channels) / 2, padding=1)
        made = graph.add(conv, value)
        single = {
            "relu": ReLU(),
            "leaky": LeakyReLU(0.2),
            "prelu": PReLU(rng.uniform(-1, 1, channels)),
            "hardtanh": Hardtanh(-0.4, 0.5),
            "abs": Abs(),
            "pool": MaxPool(3, stride=2, padding=1),
            "amax": AMax(1),
            "min": MinOver(2),
            "norm": BatchNorm(np.ones(channels), np.ones(channels), np.zeros(channels), np.full(channels, 2.0)),
        }.get(kind)
        if single is not None:
            value = graph.add(single, made)
        elif kind == "skip":
            value = graph.add(WeightedSum([0.5, 0.5]), value, graph.add(ReLU(), made))
        elif kind == "join":
            value = graph.add(Concatenate(), value, graph.add(ReLU(), made))
        else:
            value = graph.add({"max": Maximum(), "minimum": Minimum()}[kind], value, made)
    size = int(np.prod(graph.shapes[value]))
    graph.add(Dense(rng.normal(size=(3, size)), rng.normal(size=3)), value)
    return graph


def walked(graph, start, end):
    """The breaks that the walls of one region after the other give."""
    breaks, t, direction = [], 0.0, (end - start).ravel()
    while True:
        here = start + (t + 1e-9) * (end - start)
        A, b = region(graph, here).walls()
        speed, slack = A @ direction, b - A @ start.ravel()
        ahead = speed > 1e-12
        steps = (slack[ahead] / speed[ahead])[slack[ahead] / speed[ahead] > t + 1e-9]
        t = steps.min(initial=np.inf)
        if t >= 1:
            return np.array(breaks)
        breaks.append(t)


def ends(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE), rng.normal(size=SHAPE)


@pytest.mark.parametrize(
    "kinds",
    [
        ("relu", "pool", "skip", "hardtanh"),
        ("abs", "leaky", "amax"),
        ("prelu", "join", "min"),
        ("max", "norm", "minimum", "relu"),
    ],
    ids="-".join,
)
def test_breaks_are_those_of_a_walk_from_region_to_region(kinds):
    graph, (start, end) = network(0, kinds), ends(1)
    path = segment(graph, start, end)
    np.testing.assert_allclose(path.t, walked(graph, start, end), rtol=0, atol=1e-9)
    assert len(path.t) > 5
    assert path.complete


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.permutations(["relu", "pool", "skip", "abs", "max", "amax", "hardtanh"]))
def test_a_path_is_affine_between_its_breaks_and_a_dense_sampling_misses_none(seed, kinds):
    graph, (start, end) = network(seed, kinds[:4]), ends(seed)
    path = segment(graph, start, end)
    middles = (path.points[:-1] + path.points[1:]) / 2
    values = graph(np.stack([path.input_at(t) for t in middles]))
    np.testing.assert_allclose(values, (path.values[:-1] + path.values[1:]) / 2, rtol=0, atol=1e-11)
    np.testing.assert_allclose(graph(np.stack([path.input_at(t) for t in path.points])), path.values, atol=1e-11)
    ts = np.linspace(0, 1, 80)
    sampled = [graph.pieces(path.input_at(t)) for t in ts]
    for low, high, one, other in zip(ts[:-1], ts[1:], sampled[:-1], sampled[1:], strict=True):
        if any((a != b).any() for a, b in zip(one, other, strict=True)):
            assert ((path.t > low - 1e-12) & (path.t < high + 1e-12)).any()


def test_classes_change_where_the_path_says_and_nowhere_else():
    graph, (start, end) = network(12), ends(13)
    path = segment(graph, start, end)
    assert path.class_changes
    edges = [0.0, *(change.t for change in path.class_changes), 1.0]
    for low, high in pairwise(edges):
        inside = np.linspace(low, high, 52)[1:-1]
        assert len(set(graph(np.stack([path.input_at(t) for t in inside])).argmax(axis=1))) == 1
    for change in path.class_changes:
        scores = graph(path.input_at(change.t))
        assert scores[change.before] == pytest.approx(scores[change.after])
        assert scores.max() == pytest.approx(scores[change.before])


def test_the_local_map_of_a_region_of_the_path_is_that_of_its_middle():
    graph, (start, end) = network(2), ends(3)
    path = segment(graph, start, end)
    number = path.regions // 2
    middle = path.input_at((path.points[number] + path.points[number + 1]) / 2)
    np.testing.assert_array_equal(path.local_map(number).W, graph.local_maps(middle[None])[0][0])
    with pytest.raises(IndexError, match=r"number: expected a region from 0 to \d+, got -1"):
        path.local_map(-1)


@pytest.mark.parametrize("cores", [1, 2])
def test_parts_carried_one_after_the_other_or_on_two_cores_give_the_same_path(monkeypatch, cores):
    graph, (start, end) = network(5), ends(6)
    whole = segment(graph, start, end)
    monkeypatch.setattr(segment_module, "STATE_BYTES", 5000)
    monkeypatch.setattr(carrying, "cores", lambda: cores)
    parts = segment(graph, start, end)
    np.testing.assert_allclose(parts.t, whole.t, rtol=0, atol=1e-13)
    np.testing.assert_allclose(parts.values, whole.values, rtol=0, atol=1e-12)


def test_a_layer_that_widens_what_is_carried_divides_it(monkeypatch):
    monkeypatch.setattr(segment_module, "STATE_BYTES", 5000)
    rng, graph = np.random.default_rng(0), PiecewiseGraph((6,))
    graph.add(Dense(rng.normal(size=(500, 6))), graph.add(ReLU(), 0))
    start, end = rng.normal(size=6), rng.normal(size=6)
    path = segment(graph, start, end)
    crossed = np.sign(start) != np.sign(end)
    np.testing.assert_allclose(path.t, np.sort(start[crossed] / (start - end)[crossed]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(path.values[1:-1], graph(np.stack([path.input_at(t) for t in path.t])), atol=1e-12)
    assert len(path.t) > 1


def test_a_search_that_ends_early_says_so_and_keeps_what_it_found():
    graph, (start, end) = network(5), ends(6)
    whole = segment(graph, start, end)
    seen = []

    def progress(percents):
        for percent in percents:
            seen.append(percent)
            yield percent

    path = segment(graph, start, end, max_regions=3, progress=progress)
    assert not path.complete
    assert path.regions == 3
    np.testing.assert_array_equal(path.points, whole.points[:4])
    assert "complete up to t" in repr(path)
    assert seen
    complete = segment(graph, start, end, max_regions=whole.regions)
    assert complete.complete
    assert repr(complete) == repr(whole)


def test_background_that_ties_everywhere_makes_no_breaks():
    graph = PiecewiseGraph((1, 4, 4))
    graph.add(MaxPool(2), graph.add(ReLU(), 0))
    start, end = np.zeros((2, 1, 4, 4))
    start[0, 0, 0], end[0, 0, 1] = 1.0, 1.0
    np.testing.assert_allclose(segment(graph, start, end).t, [0.5])
    assert len(slice_regions(graph, start, end, -start)) == 2


@pytest.mark.parametrize("shape", ["rectangle", "triangle"])
@pytest.mark.parametrize("kinds", [("pool", "relu", "skip"), ("amax", "abs", "max")], ids="-".join)
def test_regions_of_a_slice_cover_it_and_are_affine_with_pieces_of_their_own(shape, kinds):
    graph, (origin, u), (v, _) = network(7, kinds), ends(8), ends(9)
    regions = slice_regions(graph, origin, u, v, shape=shape)
    assert regions.complete
    assert regions.covered == pytest.approx(1, abs=1e-9)
    rng, found = np.random.default_rng(0), set()
    for one in regions:
        point = rng.dirichlet(np.ones(len(one.vertices))) @ one.vertices
        np.testing.assert_allclose(one.W @ point + one.B, graph(regions.input_at(point)), rtol=0, atol=1e-11)
        assert [a.tolist() for a in graph.pieces(regions.input_at(point))] == [a.tolist() for a in one.pieces]
        found.add(b"".join(array.tobytes() for array in one.pieces))
        assert sum(slices_module.area(part.tolist()) for _, part in one.classes()) == pytest.approx(one.area)
    assert len(found) == len(regions)  # a set of pieces is convex, so no two polygons share it


def test_a_slice_meets_the_breaks_of_its_edge():
    graph, (origin, u), (v, _) = network(3), ends(4), ends(5)
    path = segment(graph, origin, origin + u)
    corners = np.concatenate([one.vertices for one in slice_regions(graph, origin, u, v)])
    on_edge = np.unique(np.round(corners[np.abs(corners[:, 1]) < 1e-12, 0], 9))
    np.testing.assert_allclose(on_edge[1:-1], path.t, rtol=0, atol=1e-8)


def test_the_class_of_a_part_of_a_region_is_the_largest_output():
    graph, (origin, u), (v, _) = network(15), ends(16), ends(17)
    regions = slice_regions(graph, origin, u, v)
    classes = set()
    for one in regions[::4]:
        for number, part in one.classes():
            assert graph(regions.input_at(part.mean(axis=0))).argmax() == number
            classes.add(number)
    assert len(classes) > 1


@pytest.mark.parametrize("cores", [1, 2])
def test_groups_of_polygons_carried_one_after_the_other_or_on_two_cores_give_the_same_slice(monkeypatch, cores):
    graph, (origin, u), (v, _) = network(7), ends(8), ends(9)
    whole = slice_regions(graph, origin, u, v)
    monkeypatch.setattr(carrying, "cores", lambda: cores)
    monkeypatch.setattr(slices_module, "STATE_BYTES", 20_000)
    parts = slice_regions(graph, origin, u, v)
    assert len(parts) == len(whole)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one.vertices, other.vertices, rtol=0, atol=1e-12)
        np.testing.assert_allclose(one.W, other.W, rtol=0, atol=1e-11)


def test_a_slice_that_ends_early_says_so():
    graph, (origin, u), (v, _) = network(7), ends(8), ends(9)
    regions = slice_regions(graph, origin, u, v, max_regions=5, progress=list)
    assert len(regions) == 5
    assert not regions.complete
    assert "incomplete" in repr(regions)
    assert 0 < regions.covered < 1
    assert "regions of a rectangle)" in repr(slice_regions(graph, origin, u, v))


def test_cells_cover_a_polygon_also_where_two_of_the_largest_functions_are_equal_within_the_tolerance():
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    right, left = (-7.0, 10.0, 0.0), (3.0, -10.0, 0.0)  # they leave a strip in which the others differ by 0.008 at most
    parts = polygons.cells(square, [right, left, (0.0, 0.0, 0.0), (-0.02, 0.04, 0.0)], 0.01)
    assert [number for number, _ in parts] == [0, 1, 2]
    assert sum(polygons.area(part) for _, part in parts) == pytest.approx(1)


def bad(**changed):
    return {"start": np.ones(SHAPE), "end": np.zeros(SHAPE), **changed}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"end": np.ones(SHAPE)}, ValueError, "segment of length zero"),
        ({"end": np.full(SHAPE, np.nan)}, ValueError, "end: expected finite entries, got nan"),
        ({"start": np.ones(3)}, ValueError, r"start: expected one input of shape \(2, 4, 5\), got \(3,\)"),
        ({"start": np.full(SHAPE, sympy.Symbol("x"))}, TypeError, "start: expected numbers, got sympy"),
        ({"max_regions": 0}, ValueError, "max_regions: expected an int of at least 1"),
        ({"progress": 3}, TypeError, "progress: expected a callable"),
        ({"graph": AffineGraph(SHAPE)}, TypeError, "graph: expected a PiecewiseGraph, or .*, got AffineGraph"),
    ],
    ids=lambda value: None if isinstance(value, (dict, type)) else value,
)
def test_bad_segments_are_refused_by_name(changed, error, message):
    with pytest.raises(error, match=message):
        segment(**{"graph": network(0), **bad(**changed)})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"v": np.full(SHAPE, 2.0)}, ValueError, "not parallel to u"),
        ({"u": np.zeros(SHAPE)}, ValueError, "neither to be zero"),
        ({"shape": "circle"}, ValueError, "shape: expected"),
        ({"max_regions": 0}, ValueError, "max_regions: expected an int of at least 1"),
        ({"progress": 3}, TypeError, "progress: expected a callable"),
    ],
    ids=lambda value: None if isinstance(value, (dict, type)) else value,
)
def test_bad_slices_are_refused_by_name(changed, error, message):
    good = {"graph": network(0), "origin": np.zeros(SHAPE), "u": np.ones(SHAPE), "v": np.eye(5)[:4] + np.zeros(SHAPE)}
    with pytest.raises(error, match=message):
        slice_regions(**{**good, **changed})


def test_symbolic_graphs_are_refused():
    graph = PiecewiseGraph((1,))
    graph.add(ReLU(), graph.add(Dense(np.array([[sympy.Rational(1, 3)]], object)), 0))
    with pytest.raises(TypeError, match="graph: expected numbers, got sympy expressions"):
        segment(graph, [0.0], [1.0])


@pytest.mark.parametrize(("slopes", "before", "after"), [((1.0, -1.0), 1, 0), ((-1.0, 1.0), 0, 1)])
def test_the_largest_output_changes_where_all_are_equal_at_a_break(slopes, before, after):
    graph = PiecewiseGraph((1,))
    graph.add(ReLU(), graph.add(Dense([[slope] for slope in slopes]), 0))
    assert segment(graph, [-1.0], [1.0]).class_changes == (ClassChange(0.5, before, after),)
    assert segment(graph, [0.0], [1.0]).class_changes == (), "the one that leads after the start leads there"


def test_each_stretch_between_changes_of_the_largest_output_has_that_output_in_front():
    """Also where outputs are equal: behind ReLU, several are 0 at once."""
    rng, changes = np.random.default_rng(0), 0
    for _ in range(40):
        graph = PiecewiseGraph((4,))
        inner = graph.add(ReLU(), graph.add(Dense(rng.normal(size=(16, 4)), rng.normal(size=16)), 0))
        graph.add(ReLU(), graph.add(Dense(rng.normal(size=(3, 16)), rng.normal(size=3)), inner))
        path = segment(graph, *rng.normal(size=(2, 4)))
        changes += len(path.class_changes)
        points = np.array([0.0, *path.t, 1.0])
        starts = [0.0, *(change.t for change in path.class_changes)]
        leaders = [change.before for change in path.class_changes]
        leaders += [path.class_changes[-1].after] if leaders else []
        for later, earlier in zip(path.class_changes[1:], path.class_changes[:-1], strict=True):
            assert later.before == earlier.after
        for number, leader in enumerate(leaders):
            values = path.values[(points >= starts[number]) & (points <= [*starts[1:], 1.0][number])]
            assert np.all(values[:, leader] >= values.max(axis=1) - 1e-9)
        if not leaders:
            assert any(np.all(path.values[:, output] >= path.values.max(axis=1) - 1e-9) for output in range(3))
    assert changes > 10


def overflowing(*layers):
    graph = PiecewiseGraph((2,))
    value = 0
    for layer in layers:
        value = graph.add(layer, value)
    return graph


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize(
    "layers",
    [
        (Dense(1e200 * np.eye(2)), Dense(1e200 * np.eye(2)), ReLU6()),
        (ReLU(), Dense(1e200 * np.eye(2)), Dense(1e200 * np.eye(2))),
    ],
    ids=["before pieces", "at the output"],
)
def test_values_that_overflow_are_refused(layers):
    graph = overflowing(*layers)
    message = "graph: expected values of the network that float64 holds, got larger ones at "
    with pytest.raises(ValueError, match=message):
        segment(graph, [-1.0, -1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=message):
        slice_regions(graph, [-1.0, -1.0], [2.0, 0.0], [0.0, 2.0])


@pytest.mark.parametrize("size", [1e-200, 1e-9, 1e13, 1e200])
def test_directions_of_any_lengths_are_parallel_or_not(size):
    graph = overflowing(ReLU())
    assert len(slice_regions(graph, [0.0, 0.0], [size, 0.0], [0.0, 2.0])) == 1
    for v in ([3.0, 0.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="v: expected a direction that is not parallel to u"):
            slice_regions(graph, [0.0, 0.0], [size, 0.0], v)
