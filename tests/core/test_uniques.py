"""Which job has which unique."""
import pytest

from gearman_std.core.jobs import Function, FunctionPolicy, Job
from gearman_std.core.uniques import Uniques, unique_key


def job(number, function, unique, workload=b"w"):
    return Job(b"H:x:%d" % number, function, unique, workload, 1, True, 0.0)


@pytest.fixture
def functions():
    return [Function(name, FunctionPolicy()) for name in (b"f", b"g", b"h")]


def test_the_key_of_a_job_is_its_unique_or_its_workload_or_nothing():
    assert unique_key(b"u", b"w") == b"u"
    assert unique_key(b"-", b"w") == unique_key(b"-", b"w") != unique_key(b"-", b"v")
    assert unique_key(b"-", b"w") != unique_key(b"w", b"")
    assert unique_key(b"", b"w") is unique_key(b"-", b"") is None


def test_jobs_of_several_functions_are_found_by_one_unique_the_newest_first(functions):
    uniques = Uniques()
    jobs = [job(number, function, b"u") for number, function in enumerate(functions)]
    for one in jobs:
        uniques.add(one)
    assert [function.uniques for function in functions] == [{b"u": one} for one in jobs]
    while jobs:
        assert uniques.find(b"u") is jobs[-1]
        uniques.remove(jobs.pop())
    assert uniques.find(b"u") is None and repr(uniques) == "<Uniques: 0>"
    assert [function.uniques for function in functions] == [{}, {}, {}]


def test_a_second_job_of_function_and_unique_is_not_found_and_does_not_remove_the_first(functions):
    uniques, first, second = Uniques(), job(1, functions[0], b"u"), job(2, functions[0], b"u")
    uniques.add(first)
    uniques.add(second)
    uniques.remove(second)
    assert uniques.find(b"u") is first
    uniques.remove(first)
    assert uniques.find(b"u") is None


def test_jobs_without_a_unique_are_not_found(functions):
    uniques = Uniques()
    for one in (job(1, functions[0], b""), job(2, functions[0], b"-", b"")):
        uniques.add(one)
        uniques.remove(one)
    assert uniques.find(b"") is uniques.find(b"-") is None and functions[0].uniques == {}


def test_the_unique_dash_is_none_by_which_a_job_is_found(functions):
    uniques, first, second = Uniques(), job(1, functions[0], b"-", b"1"), job(2, functions[0], b"-", b"2")
    uniques.add(first)
    uniques.add(second)
    assert uniques.find(b"-") is None and set(functions[0].uniques.values()) == {first, second}
    uniques.remove(second)
    assert list(functions[0].uniques.values()) == [first]
