"""Whether there is room for one more, and if not why."""
import pytest

from gearman_std.core.jobs import Function, FunctionPolicy
from gearman_std.core.limits import (TOO_MANY_BYTES, TOO_MANY_FUNCTION_BYTES, TOO_MANY_FUNCTION_JOBS, TOO_MANY_JOBS, Limits)


def function(running=0, aside=0, size=0):
    one = Function(b"f", FunctionPolicy())
    one.running, one.aside, one.size = running, aside, size
    return one


@pytest.mark.parametrize("limits, reason", [
    ({"jobs": 5}, TOO_MANY_JOBS), ({"jobs": 6}, b""),
    ({"job_bytes": 109}, TOO_MANY_BYTES), ({"job_bytes": 110}, b""),
    ({"function_jobs": 3}, TOO_MANY_FUNCTION_JOBS), ({"function_jobs": 4}, b""),
    ({"function_job_bytes": 39}, TOO_MANY_FUNCTION_BYTES), ({"function_job_bytes": 40}, b""),
    ({}, b"")])
def test_a_job_more(limits, reason):
    """There are 5 jobs of 100 bytes, of which 3 of 30 bytes are of this function, and one of 10 bytes comes."""
    assert Limits(**limits).job_refusal(function(running=2, aside=1, size=30), 5, 100, 10) == reason


@pytest.mark.parametrize("limits, size, reason", [
    ({"job_bytes": 105}, 6, TOO_MANY_BYTES), ({"job_bytes": 105}, 5, b""),
    ({"function_job_bytes": 31}, 2, TOO_MANY_FUNCTION_BYTES),
    ({"function_job_bytes": 31}, 1, b""), ({"jobs": 1, "function_jobs": 1}, 1000, b""), ({"job_bytes": 100}, -1, b"")])
def test_bytes_more(limits, size, reason):
    assert Limits(**limits).bytes_refusal(function(size=30), 100, size) == reason


def test_whether_jobs_are_bounded_at_all():
    assert not Limits().bounds_jobs and not Limits(functions=1, abilities=1).bounds_jobs
    for name in ("jobs", "job_bytes", "function_jobs", "function_job_bytes"):
        assert Limits(**{name: 1}).bounds_jobs


def test_repr_shows_the_limits():
    assert repr(Limits(jobs=3)) == ("<Limits jobs=3 job_bytes=0 function_jobs=0 function_job_bytes=0 functions=100000 "
                                    "name_bytes=16777216 abilities=20000 kept_bytes=67108864 unstored_jobs=100000 "
                                    "unstored_job_bytes=268435456>")
