"""Tests that do the same many times: a few of these times belong to every run, the others are marked long."""
import pytest


def few(values, count=1):
    """The values for a parametrized test; those after the first `count` are marked long."""
    values = list(values)
    return values[:count] + [pytest.param(value, marks=pytest.mark.long) for value in values[count:]]
