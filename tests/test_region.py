"""The region around an input, against walls that torch differentiates and windows that loops compare."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from linalg_cnn import (
    Abs,
    AffineGraph,
    AMax,
    Conv,
    Dense,
    Hardtanh,
    LeakyReLU,
    Maximum,
    MaxOver,
    MaxPool,
    MinOver,
    PiecewiseGraph,
    ReLU,
    Reshape,
    SkipNetwork,
    Softshrink,
    WeightedSum,
    chunks,
    region,
)
from linalg_cnn.piecewise import region as region_module
from linalg_cnn.types import size_of


class Skipping(nn.Module):
    """A residual block behind a max pooling, with one activation that has two thresholds."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1)
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.relu, self.last_relu, self.clip = nn.ReLU(), nn.ReLU(), nn.Hardtanh(-0.3, 0.4)
        self.head = nn.Linear(27, 2)

    def forward(self, x):
        x = self.pool(self.clip(self.stem(x)))
        x = self.last_relu(0.5 * self.second(self.relu(self.first(x))) + 0.5 * x)
        return self.head(x.flatten(1))


def walls_by_torch(module, x):
    """Return A and b from the Jacobian of what arrives at each activation, row by row and window by window."""
    seen = []
    hooks = [
        part.register_forward_pre_hook(lambda part, inputs: seen.append((part, inputs[0])))
        for part in module.modules()
        if isinstance(part, (nn.ReLU, nn.Hardtanh, nn.MaxPool2d))
    ]
    x = torch.from_numpy(x)[None].requires_grad_()
    module(x)
    rows = []
    for part, v in seen:
        J = torch.stack([torch.autograd.grad(entry, x, retain_graph=True)[0].ravel() for entry in v.ravel()])
        values, J = v[0].detach().numpy(), J.numpy().reshape(*v.shape[1:], -1)
        if not isinstance(part, nn.MaxPool2d):
            thresholds = [0.0] if isinstance(part, nn.ReLU) else [part.min_val, part.max_val]
            for at in np.ndindex(values.shape):
                above = [threshold for threshold in thresholds if threshold >= values[at]]
                below = [threshold for threshold in thresholds if threshold < values[at]]
                rows += [(J[at], threshold - values[at]) for threshold in above[:1]]
                rows += [(-J[at], values[at] - threshold) for threshold in below[-1:]]
        else:
            channels, height, width = values.shape
            for c in range(channels):
                for p in range(0, height, 2):
                    for q in range(0, width, 2):
                        window = [
                            (c, i, j)
                            for i in range(max(p - 1, 0), min(p + 2, height))
                            for j in range(max(q - 1, 0), min(q + 2, width))
                        ]
                        best = max(window, key=lambda at: values[at])
                        rows += [(J[at] - J[best], values[best] - values[at]) for at in window if at != best]
    for hook in hooks:
        hook.remove()
    A, slack = np.array([row for row, _ in rows]), np.array([slack for _, slack in rows])
    moving = np.abs(A).max(axis=1) > 1e-12
    return A[moving], slack[moving]


def in_order(A, slack):
    """Return inequalities sorted, to compare them as sets; sums separate what rounds differently."""
    keys = np.round(np.column_stack([A, slack]) @ np.random.default_rng(1).standard_normal(A.shape[1] + 1), 9)
    order = np.argsort(keys)
    return A[order], slack[order]


@pytest.fixture(scope="module")
def skipping():
    """The module, and the same network wired by hand."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = Skipping().double()

    def conv(part):
        return Conv(part.weight.detach().numpy(), part.bias.detach().numpy(), padding=1)

    graph = PiecewiseGraph((1, 6, 6))
    clipped = graph.add(Hardtanh(-0.3, 0.4), graph.add(conv(module.stem), 0), name="clip")
    pooled = graph.add(MaxPool(3, stride=2, padding=1), clipped, name="pool")
    hidden = graph.add(ReLU(), graph.add(conv(module.first), pooled), name="relu")
    mixed = graph.add(WeightedSum([0.5, 0.5]), graph.add(conv(module.second), hidden), pooled)
    last = graph.add(ReLU(), mixed, name="last_relu")
    graph.add(Dense(module.head.weight.detach().numpy(), module.head.bias.detach().numpy()), last)
    return module, graph


@pytest.mark.parametrize("seed", range(3))
def test_walls_are_those_that_torch_differentiates_through_a_skip_and_a_max_pooling(skipping, seed):
    module, graph = skipping
    x = np.random.default_rng(seed).standard_normal((1, 6, 6))
    around = region(graph, x)
    A, b = around.walls()
    theirs, slack = walls_by_torch(module, x)
    assert A.shape == theirs.shape == (len(around), 36)
    for ours, judge in zip(in_order(A, b - A @ x.ravel()), in_order(theirs, slack), strict=True):
        np.testing.assert_allclose(ours, judge, rtol=0, atol=1e-12)
    for norm, dual in (("l2", 2), ("linf", 1)):
        distance = around.distance(norm)
        assert distance == pytest.approx((slack / np.linalg.norm(theirs, dual, axis=1)).min(), rel=1e-12)
        assert np.linalg.norm((distance.point - x).ravel(), {2: 2, 1: np.inf}[dual]) == pytest.approx(distance)
        assert A[distance.wall.number] @ distance.point.ravel() == pytest.approx(b[distance.wall.number])


def test_a_wall_is_named_by_its_operation_and_pulled_back_as_the_row_of_all_walls(skipping):
    _, graph = skipping
    around = region(graph, np.random.default_rng(0).standard_normal((1, 6, 6)))
    A, b = around.walls()
    found = [around.wall(number) for number in range(0, len(around), 7)]
    for wall in found:
        np.testing.assert_allclose(wall.normal.ravel(), A[wall.number], rtol=0, atol=1e-13)
        assert wall.bound == pytest.approx(b[wall.number], abs=1e-13)
    assert {wall.node for wall in found} == {"clip", "pool", "relu", "last_relu"}
    assert {len(wall.entries) for wall in found} == {1, 2}
    assert all(len(position) == 3 for wall in found for position in wall.entries)


def activation(draw, shape):
    """Return an operation that is piecewise linear on a shape."""
    options = [
        ReLU(),
        LeakyReLU(draw(st.sampled_from([-0.5, 0.25]))),
        Hardtanh(-0.5, 0.75),
        Abs(),
        Softshrink(0.5),
        MaxOver(0),
        MinOver(len(shape) - 1),
        AMax(list(range(len(shape)))),
    ]
    if len(shape) > 1 and min(shape[1:]) > 1:
        options += [MaxPool(2, stride=1), MaxPool(2, padding=1), MaxPool(2, ceil_mode=True)] * 2
    return draw(st.sampled_from(options))


@st.composite
def piecewise_graphs(draw):
    """A random graph with normally distributed weights, skips and several kinds of pieces, and an input."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(4,), (2, 5), (1, 3, 4)]))
    graph, x = PiecewiseGraph(shape), rng.standard_normal(shape)
    value = 0
    for _ in range(draw(st.integers(1, 3))):
        if len(shape) > 1 and draw(st.booleans()):
            kernel = rng.standard_normal((2, shape[0], *(3,) * (len(shape) - 1)))
            value = graph.add(Conv(kernel, rng.standard_normal(2), padding=1), value)
        else:
            count = draw(st.integers(2, 6))
            value = graph.add(Dense(rng.standard_normal((count, size_of(shape))), rng.standard_normal(count)), value)
        shape = graph.out_shape
        value = graph.add(activation(draw, shape), value)
        shape = graph.out_shape
        if draw(st.booleans()):
            skipped = draw(st.integers(0, value - 1))
            table = rng.standard_normal((size_of(shape), size_of(graph.shapes[skipped])))
            side = graph.add(Reshape(shape), graph.add(Dense(table), skipped))
            value = graph.add(draw(st.sampled_from([WeightedSum([0.5, 0.5]), Maximum()])), value, side)
    return graph, x


def same_pieces(graph, one, other):
    return all(map(np.array_equal, graph.pieces(one), graph.pieces(other)))


@given(piecewise_graphs(), st.sampled_from(["l2", "linf"]), st.integers(0, 2**32 - 1))
def test_pieces_stay_up_to_the_distance_in_all_directions_and_change_beyond_it_in_one(drawn, norm, seed):
    graph, x = drawn
    around = region(graph, x)
    assert len(around.ties) == 0
    distance = around.distance(norm)
    if distance == np.inf:
        assert distance.wall is distance.point is None
        distance, beyond = 1.0, None
    else:
        beyond = x + (distance.point - x) * (1 + 1e-6)
    directions = np.random.default_rng(seed).standard_normal((20, *x.shape))
    axes = tuple(range(1, directions.ndim))
    if norm == "l2":
        directions /= np.sqrt((directions**2).sum(axis=axes, keepdims=True))
    else:
        directions = np.sign(directions)
    for direction in directions:
        assert same_pieces(graph, x, x + distance * (1 - 1e-6) * direction)
    if beyond is not None:
        assert same_pieces(graph, x, x + (distance.point - x) * (1 - 1e-6))
        assert not same_pieces(graph, x, beyond)
        assert around.contains(distance.point)
        assert not around.contains(x + 3 * (distance.point - x))  # further than the tolerance


@given(piecewise_graphs(), st.integers(0, 2**32 - 1))
def test_a_region_contains_the_inputs_with_its_pieces_where_its_map_is_the_network(drawn, seed):
    graph, x = drawn
    around = region(graph, x)
    A, b = around.walls()
    steps = np.geomspace(1e-3, 3, 15).reshape(-1, *(1,) * x.ndim)
    inputs = x + steps * np.random.default_rng(seed).standard_normal((15, *x.shape))
    contained = around.contains(inputs)
    np.testing.assert_array_equal(contained, [same_pieces(graph, x, one) for one in inputs])
    np.testing.assert_array_equal(contained, (inputs.reshape(15, -1) @ A.T <= b).all(axis=1))
    np.testing.assert_allclose(graph(inputs[contained]), around.affine(inputs[contained]), rtol=1e-11, atol=1e-11)


def test_a_background_of_equal_pixels_ties_each_window_and_the_distance_is_to_the_next_wall():
    graph = PiecewiseGraph((1, 1, 6))
    graph.add(MaxPool((1, 2)), 0)
    around = region(graph, [[[0.0, 0.0, 0.0, 0.0, 5.0, 2.0]]])
    assert around.ties.tolist() == [0, 1]
    assert [around.wall(tie).entries for tie in around.ties] == [((0, 0, 0), (0, 0, 1)), ((0, 0, 2), (0, 0, 3))]
    assert around.distance("linf") == 1.5
    np.testing.assert_array_equal(around.distance("linf").point, [[[0, 0, 0, 0, 3.5, 3.5]]])
    assert around.distance() == pytest.approx(3 / np.sqrt(2))


def test_a_tie_is_judged_relative_to_what_is_compared_not_by_the_unit_of_the_values():
    for unit in (1e-20, 1.0, 1e20):
        graph = PiecewiseGraph((2,))
        graph.add(MaxOver(0), 0)
        near, off = [unit, unit * (1 - 1e-10)], [unit, unit * (1 - 1e-7)]
        assert len(region(graph, near).ties) == 1
        assert len(region(graph, off).ties) == 0
        assert len(region(graph, off, tolerance=1e-6).ties) == 1
        assert len(region(graph, near, tolerance=0).ties) == 0


def test_a_region_contains_what_rounding_puts_beyond_its_walls_in_any_unit():
    graph = PiecewiseGraph((2,))
    graph.add(MaxOver(0), 0)
    for unit in (1e-20, 1.0, 1e20):
        around = region(graph, [2 * unit, unit])
        beyond = [[unit * (1 - 1e-10), unit], [unit * (1 - 1e-7), unit]]
        assert around.contains(beyond).tolist() == [True, False]
    assert region(graph, [2.0, 1.0], tolerance=0).contains([1.0, 1.0])  # on the wall itself


@pytest.mark.parametrize("size", [1e-170, 1e-200, 1.0, 1e160])
@pytest.mark.parametrize("chunk", [None, 1])
def test_distances_do_not_depend_on_the_scale_of_weights_whose_squares_overflow_or_vanish(size, chunk, monkeypatch):
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), graph.add(Dense([[3 * size, 4 * size], [size, 0.0]], [-10 * size, 7 * size]), 0))
    around = region(graph, [0.0, 0.0])
    if chunk:
        plan = around._inequalities.plan_columns
        monkeypatch.setattr(around._inequalities, "plan_columns", lambda *args: plan(*args)._replace(size=chunk))
    assert around.distance() == pytest.approx(2.0)
    assert around.distance("linf") == pytest.approx(10 / 7)
    np.testing.assert_allclose(around.distance().point, [1.2, 1.6])


def test_a_limit_holds_the_walls_and_one_vector_to_the_byte():
    """Two walls in two inputs. A vector takes 2 + 2 entries and twice that, and 3 (2 + 2) where walls are compared."""
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), 0)
    around, vector = region(graph, [1.0, 2.0]), 8 * (3 * (2 + 2) + 3 * (2 + 2))
    for measure, least in ((around.walls, 8 * 2 * (2 + 1) + vector), (around.distance, 32 * 2 + vector)):
        with pytest.raises(MemoryError, match=f"needs {least} bytes"):
            measure(max_bytes=least - 1)
        measure(max_bytes=least)


def test_comparisons_that_hold_for_all_inputs_are_no_walls():
    graph = PiecewiseGraph((4,))
    relu = graph.add(ReLU(), graph.add(Dense(np.eye(4)), 0))
    graph.add(MaxOver(0), relu)
    around = region(graph, [-1.0, -2.0, -3.0, -4.0])  # the maximum is that of four zeros
    assert (len(around), len(around.ties)) == (4, 0)
    around = region(graph, [-1.0, 2.0, -3.0, -4.0])  # 0 <= x_2, three times
    A, b = around.walls()
    np.testing.assert_array_equal(A[4:], [[0, -1, 0, 0]] * 3)
    np.testing.assert_array_equal(b, 0)


def test_the_first_of_walls_at_an_equal_distance_is_named():
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), graph.add(LeakyReLU(), graph.add(Dense([[3.0, 4.0]] * 2), 0), name="first"), name="second")
    assert region(graph, [1.0, 1.0]).distance().wall.node == "first"


def test_an_input_on_a_piece_of_width_0_has_its_two_walls_as_ties_and_no_other():
    graph = PiecewiseGraph((2,))
    graph.add(Abs(), 0)
    around = region(graph, [0.0, 1.0])
    assert sorted(around.wall(tie).normal.tolist() for tie in around.ties) == [[-1, 0], [1, 0]]
    assert around.distance() == 1.0
    assert around.contains([[0.0, 3.0], [0.1, 3.0]]).tolist() == [True, False]


def test_values_that_share_a_maximum_are_walls_on_both_sides_and_named_by_their_position():
    graph = PiecewiseGraph((3,))
    graph.add(Maximum(), 0, graph.add(Dense([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]), 0))
    around = region(graph, [3.0, 3.0, 7.0])  # against 3, 3 and 6; the second is equal to itself
    A, b = around.walls()
    np.testing.assert_array_equal(A, [[-1, 1, 0], [2, 0, -1], [1, -1, 0]])
    np.testing.assert_array_equal(b, 0)
    assert around.ties.tolist() == [0, 2]
    assert around.wall(1).entries == ((2,), (2,))
    assert around.distance("linf") == pytest.approx(1 / 3)


def test_without_another_wall_the_distance_is_infinite():
    graph = PiecewiseGraph((2,))
    graph.add(Dense([[1.0, 1.0]]), 0)
    everything = region(graph, [1.0, 2.0])
    assert everything.distance() == np.inf
    assert everything.distance().wall is None
    assert everything.contains([1e9, -1e9]) is True
    assert everything.walls()[0].shape == (0, 2)
    graph.add(ReLU(), 1)
    assert region(graph, [1.0, -1.0]).distance() == np.inf  # its only wall is a tie


def test_a_skip_network_is_taken_as_its_graph():
    net = SkipNetwork((1, 3), [Conv([[[1.0, -2.0]]]), ReLU()])
    assert region(net, [[1.0, 2.0, 3.0]]).distance("linf") == pytest.approx(1)  # -3 and -4, each over 3


def test_chunks_of_one_vector_on_two_cores_give_the_same_walls_and_distances(skipping, monkeypatch):
    _, graph = skipping
    x = np.random.default_rng(0).standard_normal((1, 6, 6))
    around = region(graph, x)
    A, b = around.walls()
    distances = {norm: float(around.distance(norm)) for norm in ("l2", "linf")}
    counted = []
    for name in ("CHUNK_BYTES", "ARRAY_BYTES"):
        monkeypatch.setattr(chunks, name, 1)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    monkeypatch.setattr(region_module, "CHUNK_BYTES", 1)
    again = region(graph, x)
    found = again.walls(progress=lambda numbers: counted.extend(numbers) or numbers)
    assert counted == list(range(36))
    np.testing.assert_allclose(found[0], A, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[1], b, rtol=0, atol=1e-13)
    assert {norm: float(again.distance(norm)) for norm in distances} == pytest.approx(distances, rel=1e-12)
    assert again.contains(np.stack([x, x + 10])).tolist() == [True, False]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("seed", range(4))
def test_random_directions_find_the_wall_that_measuring_all_of_them_finds(norm, seed):
    rng = np.random.default_rng(seed)
    graph = PiecewiseGraph((1, 14, 14))
    hidden = graph.add(ReLU(), graph.add(Conv(rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4)), 0))
    graph.add(ReLU(), graph.add(Conv(rng.normal(size=(4, 4, 3, 3)), rng.normal(size=4)), graph.add(MaxPool(2), hidden)))
    x = rng.normal(size=(1, 14, 14))
    around = region(graph, x)
    found, exact = around.distance(norm, failure_probability=1e-9), region(graph, x).distance(norm)
    # the normals of the other walls were not computed, except for linf where the bounds leave too many
    assert not around._lengths or norm == "linf"
    assert (found, found.wall.number) == (exact, exact.wall.number)
    np.testing.assert_array_equal(found.point, exact.point)


def test_directions_that_leave_many_walls_at_one_distance_give_way_to_measuring_all():
    graph = PiecewiseGraph((200,))
    graph.add(ReLU(), 0)
    around = region(graph, np.ones(200))
    distance = around.distance(failure_probability=1e-9)
    assert (distance, distance.wall.number) == (1, 0)
    assert around._lengths


def test_directions_find_the_first_of_two_walls_at_an_equal_distance_and_stop_behind_a_near_one():
    graph = PiecewiseGraph((200,))
    graph.add(ReLU(), 0)
    x = np.full(200, 1e3)
    x[[30, 70]] = 1.0
    around = region(graph, x)
    distance = around.distance("l2", failure_probability=1e-9)
    assert (distance, distance.wall.number) == (1, 30)
    assert not around._lengths
    flat = PiecewiseGraph((200,))
    flat.add(ReLU(), flat.add(Dense(np.zeros((3, 200)), np.ones(3)), 0))
    assert region(flat, x).distance(failure_probability=1e-9) == np.inf


@pytest.mark.parametrize("probability", [-1e-9, 1.0, np.nan])
def test_a_failure_probability_that_is_none_is_refused(probability):
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), 0)
    with pytest.raises(ValueError, match=r"failure_probability: expected a number in \[0, 1\), got"):
        region(graph, [1.0, 2.0]).distance(failure_probability=probability)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_nearest_wall_is_found_by_all_columns_of_its_normal_however_they_are_divided(monkeypatch, norm):
    """By the last column alone, the first wall would never be reached."""
    for name in ("CHUNK_BYTES", "ARRAY_BYTES"):
        monkeypatch.setattr(chunks, name, 1)
    monkeypatch.setattr(chunks, "cores", lambda: 1)
    graph = PiecewiseGraph((2,))
    graph.add(ReLU(), graph.add(Dense([[10.0, 0.0], [1.0, 1.0]], [10.0, 10.0]), 0))
    distance = region(graph, [0.0, 0.0]).distance(norm)
    assert distance == 1.0
    assert distance.wall.entries == ((0,),)


def test_the_norms_of_all_walls_are_measured_once(skipping):
    _, graph = skipping
    around = region(graph, np.ones((1, 6, 6)))
    around.distance()
    around.distance("linf", progress=lambda _: pytest.fail("the work was done again"))


def test_walls_are_refused_before_the_work_where_they_would_not_fit(skipping):
    _, graph = skipping
    around = region(graph, np.ones((1, 6, 6)))
    size = 8 * len(around) * 37
    with pytest.raises(MemoryError, match=r"the \d+ walls of the region in 36 inputs, beside one vector at a time"):
        around.walls(max_bytes=size, progress=lambda _: pytest.fail("the work began"))
    around.walls(max_bytes=2 * size)
    with pytest.raises(MemoryError, match="the distances of"):
        around.distance(max_bytes=1000)


def test_bad_input_is_refused_by_name(skipping):
    _, graph = skipping
    x = np.zeros((1, 6, 6))
    affine, symbolic = AffineGraph((2,)), PiecewiseGraph((2,))
    symbolic.add(ReLU(), symbolic.add(Dense([[sympy.Symbol("a"), 1]]), 0))
    huge = PiecewiseGraph((1,))
    huge.add(ReLU(), huge.add(Dense([[1e300]]), 0), name="hidden")
    lost = PiecewiseGraph((1,))  # the difference of two infinite values is not a number
    lost.add(ReLU(), lost.add(Dense([[1.0, -1.0]]), lost.add(Dense([[1e300], [2e300]]), 0)), name="hidden")
    for graph_, x_, options, error, text in [
        (affine, [1.0, 2.0], {}, TypeError, "graph: expected a PiecewiseGraph, .* got AffineGraph"),
        (nn.ReLU(), x, {}, TypeError, "graph: expected a PiecewiseGraph, .* got ReLU; "),
        (symbolic, [1, 2], {}, TypeError, "region: expected a graph and an x of numbers, got sympy"),
        (graph, np.full((1, 6, 6), sympy.Integer(1)), {}, TypeError, "region: expected a graph and an x of numbers"),
        (graph, x[0], {}, ValueError, r"x: expected shape \(\.\.\., 1, 6, 6\), got \(6, 6\)"),
        (graph, x[None], {}, ValueError, r"x: expected one sample of shape \(1, 6, 6\), got \(1, 1, 6, 6\)"),
        (graph, x + np.nan, {}, ValueError, "x: expected finite entries, got nan"),
        (huge, [1e200], {}, ValueError, "x: expected values of the network that float64 holds, got .* at hidden"),
        (lost, [1e200], {}, ValueError, "x: expected values of the network that float64 holds, got .* at hidden"),
        (graph, x, {"tolerance": [1e-9]}, ValueError, "tolerance: expected"),
        (graph, x, {"tolerance": -1.0}, ValueError, "tolerance: expected a number of at least 0, got -1.0"),
        (graph, x, {"tolerance": np.inf}, ValueError, "tolerance: expected finite"),
        (graph, x, {"tolerance": "small"}, TypeError, "tolerance: expected"),
        (graph, x, {"tolerance": sympy.Symbol("t")}, ValueError, "tolerance: expected a number"),
    ]:
        with pytest.raises(error, match=text):
            region(graph_, x_, **options)
    around = region(graph, x)
    for call, error, text in [
        (lambda: around.distance("l1"), ValueError, "norm: expected one of 'l2', 'linf', got 'l1'"),
        (lambda: around.distance(max_bytes=-1), ValueError, "max_bytes: expected an int of at least 0, got -1"),
        (lambda: around.walls(progress=3), TypeError, "progress: expected a callable, such as tqdm.tqdm, got int"),
        (lambda: around.wall(len(around)), ValueError, "number: expected the number of one of"),
        (lambda: around.wall(-1), ValueError, "number: expected an int of at least 0, got -1"),
        (lambda: around.contains(x[0]), ValueError, "x: expected shape"),
        (lambda: around.contains(x + np.inf), ValueError, "x: expected finite entries"),
    ]:
        with pytest.raises(error, match=text):
            call()
