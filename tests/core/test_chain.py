"""Jobs in a row, and walks along it while it changes."""
import pytest

from gearman_std.core.chain import CHAIN_STEP, Chain, untie
from gearman_std.core.jobs import Function, FunctionPolicy, Job

FUNCTION = Function(b"f", FunctionPolicy())


def make_jobs(count):
    return [Job(b"H:x:%d" % number, FUNCTION, b"", b"", 1, True, 0.0) for number in range(count)]


@pytest.fixture
def chain():
    return Chain()


def full(chain, count):
    jobs = make_jobs(count)
    for job in jobs:
        chain.add(job)
    return jobs


def walked(walk):
    return [job for jobs in walk for job in jobs]


@pytest.mark.parametrize("count", (0, 1, CHAIN_STEP, 3 * CHAIN_STEP + 1))
def test_a_walk_finds_all_in_the_order_of_adding_some_at_a_time(chain, count):
    jobs = full(chain, count)
    assert walked(chain.walk()) == jobs
    assert all(len(some) <= CHAIN_STEP for some in chain.walk())


@pytest.mark.parametrize("count", (0, 1, 5))
def test_many_are_added_behind_the_others_in_their_order(chain, count):
    jobs = full(chain, 3) + make_jobs(count)
    chain.extend(jobs[3:])
    assert walked(chain.walk()) == jobs
    chain.extend(jobs[:0])
    jobs += full(chain, 2)
    for job in jobs[::2]:
        untie(job)
    assert walked(chain.walk()) == jobs[1::2]


def test_what_is_added_during_a_walk_is_not_in_it_and_what_goes_is_left_out(chain):
    jobs = full(chain, 4 * CHAIN_STEP)
    walk = chain.walk()
    found = next(walk)
    for job in jobs[:2] + jobs[CHAIN_STEP - 1:CHAIN_STEP + 3] + jobs[-2:]:
        untie(job)
    new = full(chain, 3)
    assert found + walked(walk) == jobs[:CHAIN_STEP] + jobs[CHAIN_STEP + 3:-2]
    assert walked(chain.walk()) == jobs[2:CHAIN_STEP - 1] + jobs[CHAIN_STEP + 3:-2] + new


def test_a_walk_goes_on_though_all_have_gone(chain):
    jobs = full(chain, 3 * CHAIN_STEP)
    walk = chain.walk()
    next(walk)
    for job in jobs:
        untie(job)
    assert walked(walk) == walked(chain.walk()) == []


def test_walks_do_not_see_one_another_and_leave_nothing_behind(chain):
    jobs = full(chain, 2 * CHAIN_STEP)
    first, second, third = chain.walk(), chain.walk(), chain.walk()
    assert next(first) == next(second) == jobs[:CHAIN_STEP]
    second.close()
    assert walked(first) == jobs[CHAIN_STEP:] and walked(third) == jobs
    links = 0
    link = chain.end.later
    while link is not chain.end:
        links += 1
        link = link.later
    assert links == len(jobs)


def test_who_has_left_knows_no_neighbours(chain):
    first, second, third = full(chain, 3)
    untie(second)
    assert second.earlier is second.later is None and first.later is third and third.earlier is first


def test_a_chain_tells_how_many_it_has(chain):
    full(chain, 5)
    assert repr(chain) == "<Chain of 5 jobs>" and repr(chain.end) == "<_Link>"
