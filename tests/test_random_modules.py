"""Random module graphs: four independent judges agree with the composition, and a cut changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from judges import assert_all_agree, assert_close
from random_modules import random_nets

import gpu
from linalg_cnn import compose
from linalg_cnn.cut import cheapest_cut, split

# each example is exported and differentiated, which takes half a second
few = settings(max_examples=40 if settings().max_examples >= 100 else 8)


@few
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
