"""Random modules: several judges agree with the composition, a cut changes nothing, and hostile programs stay right."""

import numpy as np
import pytest
import torch
from hostile.programs import CONDITIONS, CONDITIONS_OF_LUCK, everything, programs, run
from hypothesis import given, settings
from judges import assert_all_agree, assert_close
from random_modules import random_nets

import gpu
from gpu.collapsing.verification import VerificationError
from linalg_cnn import compose
from linalg_cnn.cut import cheapest_cut, split

# `make sweep` tries SWEEP programs of each kind; the suite, a few
swept = settings().max_examples > 100


def share(examples):
    return settings() if swept else settings(max_examples=max(2, examples * settings().max_examples // 100))


@settings(max_examples=max(8, 40 * min(100, settings().max_examples) // 100))  # of half a second each
@pytest.mark.filterwarnings("ignore:There is a performance drop because")
@given(random_nets())
def test_random_module_graphs(drawn):
    module, in_shape = drawn
    graph = gpu.trace(module, in_shape)
    assert_all_agree(module, graph)
    cut = cheapest_cut(graph)
    if cut is None:
        return
    outer, inner = split(graph, cut)
    whole, product = compose(graph), compose(outer) @ compose(inner)
    assert_close(product.W, whole.W, scale=1.0)
    np.testing.assert_allclose(product.B, whole.B, rtol=1e-12, atol=1e-12 * max(1, np.abs(whole.B).max()))


def assert_agrees(net, affine, program):
    """Compare a map with the program itself on batches of several sizes, with large, usual, tiny and zero inputs."""
    for count, scale in ((1, 1.0), (2, 1e3), (3, 1.0), (5, 1e-3), (2, 0.0)):
        x = scale * torch.randn(count, *program.in_shape, dtype=torch.float64)
        with torch.no_grad():
            expected = net(x.clone()).reshape(count, -1).numpy()
        assert_close(affine(x.flatten(1).numpy()), expected, rtol=1e-9, scale=max(1.0, scale))


@share(8)
@given(programs())
def test_a_program_of_affine_pieces_is_traced_and_leaves_nothing_behind(program):
    namespace = run(program.source)
    net = namespace["make"]()
    before = everything(namespace, net)
    affine = compose(gpu.trace(net, program.in_shape))
    assert everything(namespace, net) == before
    assert_agrees(net, affine, program)


@share(8)
@given(programs(affine=False))
def test_a_program_is_traced_rightly_or_refused_and_leaves_nothing_behind(program):
    namespace = run(program.source)
    net = namespace["make"]()
    before = everything(namespace, net)
    try:
        graph = gpu.trace(net, program.in_shape)
    except ValueError:
        assert not program.affine
        graph = None
    assert everything(namespace, net) == before
    if graph is not None:
        assert_agrees(net, compose(graph), program)


@share(2)
@given(programs(conditions=CONDITIONS_OF_LUCK))
def test_a_program_that_asks_whether_it_is_exported_is_collapsed_rightly_or_refused(program):
    net = run(program.source)["make"]()
    try:
        collapsed = gpu.collapse(net, program.in_shape)
    except (ValueError, VerificationError):
        return
    assert_agrees(net, collapsed.affine, program)


@share(20)
@given(programs(activated=True, conditions=CONDITIONS + CONDITIONS_OF_LUCK))
def test_a_linearized_program_is_the_program_without_its_activations(program):
    namespace = run(program.source)
    net, twin = namespace["make"](), run(program.twin)["make"]()
    x = torch.randn(3, *program.in_shape, dtype=torch.float64)
    before = everything(namespace, net)
    linear, _ = gpu.linearize(net, inputs=x)
    assert everything(namespace, net) == before
    for training in (False, True):
        state = torch.get_rng_state()
        expected = twin.train(training)(x.clone()).detach().reshape(3, -1).numpy()
        torch.set_rng_state(state)
        ours = linear.train(training)(x.clone()).detach().reshape(3, -1).numpy()
        assert_close(ours, expected, rtol=1e-9, scale=1.0)
