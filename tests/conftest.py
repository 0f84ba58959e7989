import functools
import gc
import os
import sys
import sysconfig
from importlib.machinery import SourceFileLoader

import pytest
from hypothesis import HealthCheck, settings

# Examples build matrices and torch modules: their time varies too much for a deadline.
settings.register_profile(
    "default",
    deadline=None,
    # the fixture record_configuration has function scope, but its counts are to add up over examples
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=10)
# The same examples in every run, so that a red build is red again; more of them would find nothing new after the first
# run. `make test` by hand draws others in every run, and `make sweep` thousands.
settings.register_profile(
    "ci", settings.get_profile("default"), derandomize=True, database=None, print_blob=True, max_examples=50
)
# `make sweep`: SWEEP configurations of each operation, different ones in every run.
settings.register_profile(
    "sweep", settings.get_profile("default"), database=None, max_examples=int(os.environ.get("SWEEP", "3000"))
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

# All tests and libraries are over a million objects. At Python's own threshold of 700 new ones, collecting garbage took
# 7 % of the time of all tests.
gc.set_threshold(50_000)

# Files whose tests train or collapse networks, run notebooks, start processes or compare every size, the longest first.
# `make quick` leaves them out, and `make test`, which runs on several cores, begins with them.
SLOW = (
    "test_notebooks.py",
    "test_torchvision_models.py",
    "test_experiments.py",
    "test_resuming.py",
    "test_random_modules.py",
    "test_resample.py",
    "test_errata.py",
    "test_browser.py",
    "test_benchmarks.py",
    "test_triton_kernel.py",
    "test_command_line.py",
    "test_collapse_command.py",
    "test_homotopy.py",
    "test_collapsing.py",
    "test_train.py",
    "test_data.py",
    "piecewise.md",
)
# Files and tests that run whole networks, notebooks or many random examples, and take seconds, of which the code that
# they reach is reached by other tests, too: without them the share of branches is the same up to 0.2 %. Tracing every
# line of torch and Hypothesis, which coverage.py does before Python 3.12, makes them take half as long again.
UNMEASURED = {
    "test_benchmarks.py::test_onnxruntime_computes_the_same",
    "test_browser.py",
    "test_collapsing.py::test_it_keeps_within_its_limit",
    "test_errata.py",
    "test_errors.py",
    "test_examples.py",
    "test_experiments.py::test_a_dask_cluster_of_two_workers",
    "test_experiments.py::test_a_record_has_both_accuracies_and_the_stem",
    "test_experiments.py::test_a_worker_that_dies_costs_one_trial_which_is_tried_again",
    "test_experiments.py::test_the_stem_stride_reaches_every_resnet_that_is_timed",
    "test_homotopy.py",
    "test_leftovers.py::test_no_stand_in_is_left_after_a_branch_on_the_data",
    "test_linear_operations.py::test_vmap_inside_a_forward",
    "test_linearizing.py",
    "test_linearizing_hostile.py::test_inputs_that_the_forward_takes_are_found_or_asked_for",
    "test_modules.py::test_there_and_back",
    "test_names.py",
    "test_notebooks.py",
    "test_operations.py",
    "test_panels.py",
    "test_piecewise_paths.py::test_a_path_is_affine_between_its_breaks_and_a_dense_sampling_misses_none",
    "test_piecewise_tracing.py::test_every_handler_has_a_case",
    "test_piecewise_tracing.py::test_values_and_local_maps_are_those_of_torch",
    "test_public_api.py",
    "test_random_modules.py",
    "test_readme.py",
    "test_recording.py",
    "test_resample.py",
    "test_resuming.py",
    "test_rewriting.py::test_from_torchvision_keeps_what_is_harmless",
    "test_rules.py",
    "test_small_maps.py",
    "test_teaching.py",
    "test_torch_tools.py",
    "test_torchvision_models.py",
    "test_tracing.py::test_affine_modules_that_autograd_cannot_judge",
    "test_tracing.py::test_every_handler_has_a_case",
    "test_triton_kernel.py",
    "test_verification.py::test_a_conversion_copies_where_it_does_in_float32",
}
# Functions of libraries, by their module, in which tests spend much time; each of them makes many thousand short calls.
LONG_CALLS = (
    ("matplotlib.figure", "Figure", "savefig"),
    ("torch._subclasses.fake_tensor", "FakeTensorMode", "__torch_dispatch__"),
    ("torch.export", "", "export"),
    ("torch.export", "ExportedProgram", "run_decompositions"),
    ("torch.onnx", "", "export"),
)
# Files whose tests share a fixture that takes seconds: each file runs in one process, which makes the fixture once.
SHARING = (
    "test_benchmarks.py",
    "test_browser.py",
    "test_collapse_command.py",
    "test_command_line.py",
    "test_train.py",
    "test_triton_kernel.py",
)


def pytest_ignore_collect(collection_path, config):
    """Do not collect files whose tests would all be deselected: their imports take seconds."""
    deselected = collection_path.name in SLOW and "not slow" in config.option.markexpr
    if config.option.markexpr == "cuda" and collection_path.is_file():
        deselected = b"pytest.mark.cuda" not in collection_path.read_bytes()
    return True if deselected else None


def cuda_devices():
    """Return the number of CUDA devices of this machine."""
    import torch  # here: it takes seconds, and is loaded already where a test needs CUDA

    return torch.cuda.device_count()


def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers("cuda"):
            needed = marker.kwargs.get("devices", 1)
            if cuda_devices() < needed:
                item.add_marker(pytest.mark.skip(reason=f"needs {needed} CUDA device{'s' * (needed > 1)}"))
        if item.path.name in SLOW:
            item.add_marker("slow")
        if not UNMEASURED.isdisjoint((item.path.name, f"{item.path.name}::{item.name.partition('[')[0]}")):
            item.add_marker("no_cover")
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


def pytest_configure(config):
    """Let coverage.py look away while libraries are imported and assertions rewritten: a third of the collection."""
    if not config.getoption("cov_source", None):
        return
    run_module, libraries = SourceFileLoader.exec_module, tuple(map(sysconfig.get_path, ("stdlib", "purelib")))
    run_library = untraced(run_module)

    def exec_module(loader, module):
        return (run_library if loader.path.startswith(libraries) else run_module)(loader, module)

    SourceFileLoader.exec_module = exec_module
    rewriting = sys.modules["_pytest.assertion.rewrite"]
    rewriting._rewrite_test = untraced(rewriting._rewrite_test)


def pytest_collection_finish(session):
    """Let coverage.py look away during long calls of libraries, of whose every line it would be told as well."""
    if not session.config.getoption("cov_source", None):
        return
    for module, kind, name in LONG_CALLS:
        if module in sys.modules:  # tests that need another library import it later, and are measured throughout
            owner = getattr(sys.modules[module], kind) if kind else sys.modules[module]
            setattr(owner, name, untraced(getattr(owner, name)))


def untraced(function):
    """Return a function during which the tracer of coverage.py, where this thread has one, is stopped."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        tracer = sys.gettrace()
        if not hasattr(tracer, "stop"):
            return function(*args, **kwargs)
        tracer.stop()
        try:
            return function(*args, **kwargs)
        finally:
            tracer.start()

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand out tests one by one, but those of a file that shares fixtures together."""
    from xdist.scheduler import LoadScopeScheduling

    class BySharedFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file.rpartition("/")[2] in SHARING else nodeid

    return BySharedFixtures(config, log)


compared = {}


@pytest.fixture
def record_configuration():
    """Count a configuration that was compared with torch. The same options and shapes count once."""

    def record(name, operation, in_shapes):
        options = [getattr(value, "shape", value) for value in vars(operation).values()]
        compared.setdefault(name, set()).add(str((options, *in_shapes)))

    return record


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a worker of pytest-xdist, which sends its counts to the main process
        session.config.workeroutput["compared"] = {name: sorted(seen) for name, seen in compared.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for name, seen in getattr(node, "workeroutput", {}).get("compared", {}).items():
        compared.setdefault(name, set()).update(seen)


def pytest_terminal_summary(terminalreporter):
    if compared:
        counts = ", ".join(f"{name} {len(seen):,}" for name, seen in sorted(compared.items()))
        total = sum(len(seen) for seen in compared.values())
        terminalreporter.write_line(f"{total:,} different configurations compared with torch: {counts}")
