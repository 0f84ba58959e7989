"""Operations wired in order: what is held, dropped, added and refused, judged by definitions and by hand."""

import weakref

import numpy as np
import pytest
import sympy

from linalg_cnn import AffineGraph, Concatenate, Conv, Dense, Flatten, Node, ReLU, WeightedSum, compose
from linalg_cnn.types import size_of


def diamond():
    """Value 1 is read by two nodes and beside value 0; nothing reads value 3; value 5 is the output."""
    graph = AffineGraph((2,))
    graph.add(Dense([[1, 2], [3, 4], [5, 6]]), 0, name="wide")
    graph.add(Dense([[1, 0, 1], [0, 1, 0]]), 1, name="narrow")
    graph.add(Dense(np.ones((9, 2))), 2, name="dead end")
    graph.add(Concatenate(), 0, 2, 0, name="join")
    graph.add(Dense(np.arange(24.0).reshape(4, 6)), 4, name="last")
    return graph


def random_graph(seed):
    """Return a graph in which nodes read any values made before, some of them twice, and some values are not read."""
    rng = np.random.default_rng(seed)
    graph = AffineGraph((int(rng.integers(1, 9)),))
    for _ in range(rng.integers(1, 7)):
        read = int(rng.integers(len(graph.shapes)))
        if rng.random() < 0.4:
            graph.add(Concatenate(), *map(int, rng.integers(0, len(graph.shapes), rng.integers(1, 4))))
        else:
            graph.add(Dense(np.ones((int(rng.integers(1, 9)), size_of(graph.shapes[read])))), read)
    return graph


def held_forward(graph):
    """Return the most entries at once: a value is held until its last reader is done, or to the end if it has none."""
    sizes = [size_of(shape) for shape in graph.shapes]
    counts = [sizes[0]]
    for number, node in enumerate(graph.nodes):
        held = 0
        for value in range(number + 2):
            readers = [reader for reader, other in enumerate(graph.nodes) if value in other.inputs]
            held += sizes[value] if not readers or max(readers) >= number else 0
        counts.append(held + 2 * (sizes[number + 1] + sum(sizes[value] for value in set(node.inputs))))
    return max(counts)


def held_backward(graph):
    """Return the same for cotangents: one is held from the first node that sends it to the node that made the value."""
    sizes, last = [size_of(shape) for shape in graph.shapes], len(graph.nodes)
    needed = {last}
    for number in reversed(range(last)):
        needed |= set(graph.nodes[number].inputs) if number + 1 in needed else set()
    counts = [sizes[-1]]
    for number in reversed(range(last)):
        if number + 1 in needed:
            sent = {
                value for later in range(number + 1, last) if later + 1 in needed for value in graph.nodes[later].inputs
            }
            held = sum(sizes[value] for value in sent | {last} if value <= number + 1)
            read = sum(sizes[value] for value in graph.nodes[number].inputs)
            counts.append(held + read + 2 * (sizes[number + 1] + read))
    return max(counts)


@pytest.mark.parametrize("seed", range(60))
def test_the_largest_state_counts_what_is_held_by_its_definition(seed):
    graph = random_graph(seed)
    assert graph.largest_state("forward") == held_forward(graph)
    assert graph.largest_state("adjoint") == held_backward(graph)


def test_the_largest_state_of_the_diamond_is_that_counted_by_hand():
    """Both are largest at the join, which reads values 0 and 2. Forward, the dead end of 9 entries is still held."""
    graph = diamond()
    assert graph.largest_state("forward") == (2 + 2 + 9 + 6) + 2 * (6 + 2 + 2)
    assert graph.largest_state("adjoint") == 6 + (2 + 2 + 2) + 2 * (6 + 2 + 2 + 2)
    assert AffineGraph((3, 2)).largest_state("forward") == AffineGraph((3, 2)).largest_state("adjoint") == 6


class State:
    """An object whose life can be watched."""


def test_a_state_is_dropped_after_its_last_reader():
    alive, counts, graph = weakref.WeakSet(), [], diamond()

    def make(*_):
        counts.append(len(alive))
        state = State()
        alive.add(state)
        return state

    last = graph.walk("x", make)
    assert counts == [0, 1, 1, 2, 2]  # 1; 2; 2 and 3, which nothing reads; 3 and 4
    assert last in alive


def test_a_cotangent_is_dropped_when_its_node_has_sent_it_on():
    alive, counts, graph = weakref.WeakSet(), [], AffineGraph((2,))
    for _ in range(4):
        graph.add(Dense(np.eye(2)), len(graph.nodes))

    def make():
        state = State()
        alive.add(state)
        return state

    def step(node, state):
        counts.append(len(alive))
        return [make()]

    assert graph.walk_back("y", step) in alive
    assert counts == [0, 1, 1, 1]


def test_walking_visits_each_node_with_the_states_of_its_inputs_in_order():
    graph = diamond()
    expression = graph.walk("x", lambda node, states: f"{node.name}({', '.join(states)})")
    assert expression == "last(join(x, narrow(wide(x)), x))"
    made = []
    graph.walk("x", lambda node, states: made.append(node.name) or node.name)
    assert made == ["wide", "narrow", "dead end", "join", "last"]
    assert AffineGraph((2,)).walk("x", None) == "x"


def test_walking_back_adds_what_the_readers_of_a_value_send_and_skips_what_the_output_does_not_need():
    graph, visited = diamond(), []

    def step(node, state):
        visited.append(node.name)
        return [f"{node.name}{i}({state})" for i in range(len(node.inputs))]

    total = graph.walk_back("y", step, lambda a, b: f"{a} + {b}")
    assert total == "join0(last0(y)) + join2(last0(y)) + wide0(narrow0(join1(last0(y))))"
    assert visited == ["last", "join", "narrow", "wide"]
    assert AffineGraph((2,)).walk_back("y", None) == "y"
    doubled = AffineGraph((2,))
    doubled.add(WeightedSum([1, 1]), 0, 0)
    assert doubled.walk_back(5, lambda node, state: [state, 2 * state]) == 15  # added by + if nothing else is given


def test_walking_back_refuses_a_step_that_sends_too_few_cotangents():
    with pytest.raises(ValueError, match="zip"):
        diamond().walk_back("y", lambda node, state: [state])


def test_values_that_do_not_exist_are_refused_and_leave_the_graph_as_it_was():
    graph = AffineGraph((2,))
    assert graph.add(Dense([[1, 2]]), 0) == 1
    for inputs in [(), (2,), (-1,), (0, 2)]:
        with pytest.raises(
            ValueError, match=r"node 1 \(Concatenate\): expected to read values 0 to 1, got \("
        ) as caught:
            graph.add(Concatenate(), *inputs)
        assert str(caught.value).endswith(f"got {inputs}")
    with pytest.raises(ValueError, match="head: weight: expected|head: in_shape: expected"):
        graph.add(Dense([[1, 2]]), 1, name="head")
    assert graph.shapes == [(2,), (1,)]
    assert [node.name for node in graph.nodes] == ["node 0 (Dense)"]
    with pytest.raises(ValueError, match=r"^in_shape\[1\]: expected an int of at least 1, got 0"):
        AffineGraph((2, 0))


def test_a_graph_is_appended_to_any_value_with_its_names():
    graph, other = AffineGraph((2,)), diamond()
    graph.add(Dense(2 * np.eye(2)), 0, name="twice")
    graph.add(Dense(3 * np.eye(2)), 0, name="three times")
    assert graph.extend(other, 1) == 7
    assert [node.name for node in graph.nodes] == ["twice", "three times", *(node.name for node in other.nodes)]
    assert [node.inputs for node in graph.nodes[2:]] == [(1,), (3,), (4,), (1, 4, 1), (6,)]
    np.testing.assert_array_equal(graph([1.0, -2.0]), other([2.0, -4.0]))
    assert graph.extend(AffineGraph((2,)), 2) == 2  # the identity adds nothing
    with pytest.raises(ValueError, match=r"start: expected a value of shape \(2,\), got \(4,\)"):
        graph.extend(other, 7)


def test_a_graph_shows_its_shapes_and_knows_its_inputs_and_symbols():
    graph = diamond()
    assert repr(graph) == "AffineGraph((2,) -> (4,), 5 operations)"
    assert graph.input_shapes(graph.nodes[3]) == ((2,), (2,), (2,))
    assert (graph.in_shape, graph.out_shape) == ((2,), (4,))
    assert not graph.symbolic
    graph.add(Dense([[sympy.Symbol("a"), 1, 1, 1]]), 5)
    assert graph.symbolic
    assert not AffineGraph((2,)).symbolic


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
def test_leading_axes_are_kept_and_other_shapes_refused(leading):
    graph = AffineGraph((2, 3))
    graph.add(Flatten(), 0)
    x = np.arange(size_of((*leading, 6))).reshape(*leading, 2, 3)
    np.testing.assert_array_equal(graph(x), x.reshape(*leading, 6))
    for wrong in [(3,), (3, 2), (*leading, 2, 4), (*leading, 2, 3, 1)]:
        with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 2, 3\), got") as caught:
            graph(np.ones(wrong))
        assert str(caught.value).endswith(f"got {wrong}")


def test_the_identity_returns_an_array_of_its_own():
    x = np.arange(2.0)
    y = AffineGraph((2,))(x)
    assert y.tolist() == x.tolist()
    assert not np.may_share_memory(x, y)


def test_a_graph_with_symbols_evaluates_floats_exactly():
    a, graph = sympy.Symbol("a"), AffineGraph((1,))
    graph.add(Dense([[1], [a]]), 0)
    graph.add(Dense([[0.25, 0.5]]), 1)
    assert graph([0.5]).tolist() == [sympy.Rational(1, 8) + a / 4]
    large = AffineGraph((1,))
    large.add(Dense([[a]]), 0)
    assert large([2**60 + 1]).tolist() == [(2**60 + 1) * a]  # float64 would lose the 1


@pytest.mark.parametrize("wrong", [0.0, "0", None, (0,), False, np.False_])
def test_a_number_of_a_value_is_an_int(wrong):
    graph = AffineGraph((2,))
    with pytest.raises(TypeError, match=r"node 0 \(Flatten\): expected numbers of values, got "):
        graph.add(Flatten(), wrong)
    with pytest.raises(TypeError, match=r"^start: expected numbers of values, got "):
        graph.extend(AffineGraph((2,)), wrong)
    for missing in (-1, 1):
        with pytest.raises(ValueError, match="^start: expected to read values 0 to 0, got "):
            graph.extend(AffineGraph((2,)), missing)
    assert graph.add(Flatten(), np.int64(0)) == 1


def test_exact_data_are_computed_exactly():
    """0.1 is the binary fraction that it is, as in the composition, and integers may have any size."""
    a, graph = sympy.Symbol("a"), AffineGraph((1, 3))
    graph.add(Conv([[[0.1, 0.2]]], [0.3]), 0)
    graph.add(Flatten(), 1)
    x = np.array([[a, 1, 10**30]])
    expected = compose(graph)(x.ravel())
    assert (graph(x) - expected).tolist() == [0, 0]
    assert expected.dtype == object
    assert not any(entry.atoms(sympy.Float) for entry in graph(x))
    dense = Dense([[0.1]], [0.5])
    assert dense([[10**30]]).tolist() == [[sympy.Rational(0.1) * 10**30 + sympy.Rational(1, 2)]]
    assert dense.forward([[a]]).tolist() == dense.adjoint([[a]], (1,)).tolist() == [[sympy.Rational(0.1) * a]]
    assert graph(np.ones((1, 3))).dtype == np.float64


def test_a_linear_operator_multiplies_as_the_matrices_of_its_operations_do():
    conv = Conv(np.arange(1.0, 13.0).reshape(2, 2, 3), [5.0, 6.0], padding=1)
    dense = Dense(np.arange(24.0).reshape(3, 8), np.ones(3))
    graph = AffineGraph((2, 4))
    graph.add(dense, graph.add(conv, 0))
    W = dense.weight @ conv.matrix((2, 4)).toarray()
    operator = graph.linear_operator()
    assert operator.shape == (3, 8)
    assert operator.dtype == np.float64
    rng = np.random.default_rng(0)
    X, Y = rng.integers(-3, 4, (8, 5)), rng.integers(-3, 4, (3, 5))
    for given, judge in [
        (operator @ X, W @ X),
        (operator.H @ Y, W.T @ Y),
        (operator @ X[:, 0], W @ X[:, 0]),
        (operator.H @ Y[:, 0], W.T @ Y[:, 0]),
        (operator @ X[:, :1].astype(np.float32), W @ X[:, :1]),
    ]:
        assert given.dtype == np.float64
        np.testing.assert_array_equal(given, judge)


def test_a_linear_operator_carries_several_columns_at_once_and_nothing_before_it_is_asked(monkeypatch):
    counts, graph = [], diamond()
    for name in ("push", "pull"):
        carry = getattr(graph, name)
        monkeypatch.setattr(graph, name, lambda x, name=name, carry=carry: counts.append((name, len(x))) or carry(x))
    operator = graph.linear_operator()
    assert counts == []
    assert (operator @ np.ones((2, 7))).shape == (4, 7)
    assert (operator.H @ np.ones((4, 3))).shape == (2, 3)
    assert (operator @ np.ones((2, 1))).shape == (4, 1)
    assert counts == [("push", 7), ("pull", 3), ("push", 1)]


def test_a_linear_operator_of_symbols_is_refused():
    graph = AffineGraph((1,))
    graph.add(Dense([[sympy.Symbol("a")]]), 0)
    with pytest.raises(TypeError, match="linear_operator: expected numbers, got sympy expressions"):
        graph.linear_operator()


def test_only_entries_of_kernels_and_weights_inside_the_input_are_multiplied():
    """A kernel of 3 on 4 padded pixels has 3 * 4 - 2 taps inside, for 2 x 2 channels; the weight has 3 x 8 entries."""
    graph = AffineGraph((2, 4))
    graph.add(Dense(np.ones((3, 8))), graph.add(Flatten(), graph.add(Conv(np.ones((2, 2, 3)), padding=1), 0)))
    assert graph.multiply_adds == 4 * (3 * 4 - 2) + 24


def test_pulling_visits_each_node_with_the_cotangent_at_its_output():
    graph, seen = diamond(), []
    y = np.array([[1.0, -1.0, 2.0, 0.0]])
    join = y @ graph.nodes[4].operation.weight
    narrow = join[:, 2:4]
    wide = narrow @ graph.nodes[1].operation.weight
    expected = join[:, :2] + join[:, 4:] + wide @ graph.nodes[0].operation.weight
    np.testing.assert_array_equal(graph.pull(y, lambda node, cotangent: seen.append((node, cotangent))), expected)
    np.testing.assert_array_equal(graph.pull(y), expected)
    assert [node.name for node, _ in seen] == ["last", "join", "narrow", "wide"]
    assert all(isinstance(node, Node) for node, _ in seen)
    for (_, ours), theirs in zip(seen, [y, join, narrow, wide], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_affine_graph_refuses_what_bends():
    with pytest.raises(TypeError, match=r"node 0 \(ReLU\): expected an affine Operation, got ReLU; a PiecewiseGraph"):
        AffineGraph((2,)).add(ReLU(), 0)
