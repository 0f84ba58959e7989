import os

import pytest
from hypothesis import HealthCheck, settings

# Examples build matrices and torch modules: their time varies too much for a deadline.
settings.register_profile(
    "default",
    deadline=None,
    # what the fixture record_configuration counts may well add up over examples
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
# The same examples in every run, so that a red build is red again.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None, print_blob=True)
# `make sweep`: so many configurations of each operation, other ones in every run.
settings.register_profile(
    "sweep", settings.get_profile("default"), database=None, max_examples=int(os.environ.get("SWEEP", "3000"))
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

compared = {}


@pytest.fixture
def record_configuration():
    """Count a configuration that was compared with torch. The same options and shapes count once."""

    def record(name, operation, in_shapes):
        options = [getattr(value, "shape", value) for value in vars(operation).values()]
        compared.setdefault(name, set()).add((str(options), *in_shapes))

    return record


def pytest_terminal_summary(terminalreporter):
    if compared:
        counts = ", ".join(f"{name} {len(seen):,}" for name, seen in sorted(compared.items()))
        total = sum(len(seen) for seen in compared.values())
        terminalreporter.write_line(f"{total:,} different configurations compared with torch: {counts}")
