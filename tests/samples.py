"""Which tests run when: of what is done many times only a few in every run, and not all while coverage is measured."""
import sys

import pytest

# For tests of how long something takes, or of what a process loads or may read: to measure what is run changes that.
unmeasured = pytest.mark.skipif("coverage" in sys.modules, reason="coverage is measured")


def few(values, count=1):
    """The values for a parametrized test; those after the first `count` are marked long."""
    values = list(values)
    return values[:count] + [pytest.param(value, marks=pytest.mark.long) for value in values[count:]]
