"""Functions that nobody uses are listed for a while, and never take the room of others."""
import pytest

from core_world import packets_of
from gearman_std.core.functions import UNUSED_TIME
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.core.turns import STEP
from gearman_std.wire.protocol import (CANT_DO, CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, RESET_ABILITIES, SUBMIT_JOB,
                                       SUBMIT_JOB_BG, TEXT_LINE, WORK_COMPLETE, WORK_FAIL)

TOO_MANY = (b"QUEUE_ERROR", b"Too many functions")


def listed(world):
    return [line.split(b"\t")[0] for line in world.connects().asks(b"status").splitlines()[:-1]]


def test_a_function_is_listed_for_an_hour_after_its_last_use(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    worker.says(CANT_DO, b"f")
    world.passes(UNUSED_TIME * 2)
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"r")
    client.takes()
    world.passes(UNUSED_TIME * 2)
    worker.leaves()
    world.passes(UNUSED_TIME - 1)
    assert listed(world) == [b"f"]
    world.passes(1)
    assert listed(world) == [] and world.totals().completed == 1 and world.totals().submitted == 1


def uses(world, how):
    """Uses the function f in one way; returns what ends that use."""
    admin = world.connects()
    if how == "worker":
        worker = world.worker(b"f")
        return lambda: worker.says(RESET_ABILITIES)
    if how == "job":
        admin.submits_bg(b"f")
        return lambda: admin.asks(b"cancel function f")
    if how == "foreground job":
        client = world.connects()
        client.submits(b"f")
        return client.leaves
    if how == "job set aside":
        admin.submits_bg(b"f")
        world.loses(5)
        assert world.aside()
        return lambda: admin.asks(b"purge all")
    admin.asks(b"create function f")
    world.core.functions[b"f"].kept = False  # so that nothing else keeps it
    if how == "pause":
        admin.asks(b"pause function f")
        return lambda: admin.asks(b"resume function f")
    admin.asks(b"maxqueue f 3")
    return lambda: admin.asks(b"maxqueue f")


@pytest.mark.parametrize("how", ("worker", "job", "foreground job", "job set aside", "pause", "maxqueue"))
def test_each_use_keeps_a_function_until_an_hour_after_its_end(world, how):
    ends = uses(world, how)
    world.passes(UNUSED_TIME * 3)
    assert listed(world) == [b"f"]
    ends()
    world.passes(UNUSED_TIME - 1)
    assert listed(world) == [b"f"]
    world.passes(1)
    assert listed(world) == []


def test_a_function_that_an_admin_made_stays_until_it_is_dropped(world):
    admin = world.connects()
    admin.asks(b"create function f")
    world.passes(UNUSED_TIME * 3)
    assert listed(world) == [b"f"] and admin.asks(b"drop function f") == b"OK\r\n" and listed(world) == []
    admin.submits(b"f")
    admin.asks(b"create function f")
    admin.asks(b"cancel function f")
    admin.takes()
    world.passes(UNUSED_TIME * 3)
    assert listed(world) == [b"f"], "made while it was in use"


def test_when_room_is_needed_the_function_goes_that_was_longest_unused(make_world):
    world = make_world(limits=Limits(functions=4))
    admin = world.connects()
    admin.asks(b"create function made")
    for name in (b"a", b"b", b"c"):
        world.worker(name).leaves()
        world.passes(1)
    worker = world.worker(b"a")
    world.worker(b"b").leaves()
    assert listed(world) == [b"made", b"a", b"b", b"c"]
    admin.submits_bg(b"d")
    assert listed(world) == [b"made", b"a", b"b", b"d"], "c, which was used before b"
    admin.submits_bg(b"e")
    assert listed(world) == [b"made", b"a", b"d", b"e"]
    admin.says(SUBMIT_JOB, b"f", b"", b"").hears_error(*TOO_MANY)
    assert admin.asks(b"create function f") == b"ERR QUEUE_ERROR Too+many+functions\r\n"
    world.connects().says(CAN_DO, b"f").hears_error(*TOO_MANY)
    worker.leaves()
    assert world.worker(b"f").grabs() is None and listed(world) == [b"made", b"d", b"e", b"f"]


def test_names_have_a_limit_in_bytes_too(make_world):
    world = make_world(limits=Limits(name_bytes=1000))
    client = world.connects()
    first = client.submits_bg(b"x" * 500)
    client.submits_bg(b"y" * 500)
    client.says(SUBMIT_JOB_BG, b"z", b"", b"").hears_error(*TOO_MANY)
    assert client.asks(b"cancel job " + first) == b"OK\r\n"
    client.submits_bg(b"z" * 300)
    client.submits_bg(b"u" * 200)
    client.says(SUBMIT_JOB_BG, b"v", b"", b"").hears_error(*TOO_MANY)
    assert world.core.counters["refused_functions"] == 2


def test_whoever_asks_for_many_functions_and_leaves_takes_no_room(make_world):
    """As a scanner does by HTTP, or a typo in a worker that is started again and again."""
    world = make_world(limits=Limits(functions=50))
    for number in range(200):
        client = world.connects()
        client.submits(b"wp-admin/%d" % number)
        client.leaves()
        world.worker(b"typo%d" % number).leaves()
    assert len(listed(world)) == 50
    client, worker = world.connects(), world.worker(b"resize")
    assert worker.says(GRAB_JOB).takes() and client.submits(b"resize")


def test_a_function_in_use_is_never_forgotten_however_much_room_is_needed(make_world):
    """Whatever was done with it, and whatever is done with others."""
    world = make_world(limits=Limits(functions=3), policy=FunctionPolicy(attempts=2, backoff=1.0))
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f")
    worker.grabs()
    for number in range(20):
        world.worker(b"other%d" % number).leaves()
    worker.says(WORK_FAIL, handle)
    worker.leaves()
    for number in range(20):
        world.worker(b"other%d" % number).leaves()
    world.passes(2)
    worker = world.worker(b"f")
    assert worker.grabs() == handle
    worker.says(WORK_FAIL, handle)
    worker.leaves()
    for number in range(20):
        world.worker(b"other%d" % number).leaves()
    assert world.aside() and b"f" in listed(world)


def test_many_functions_are_forgotten_in_turns(world):
    """Each step forgets some, and is wanted again at once while there are more."""
    worker = world.worker(*[b"f%d" % number for number in range(4 * STEP + 1)])
    worker.leaves()
    world.core.tick(world.now + UNUSED_TIME, world.wall)
    assert len(world.core.functions) == 3 * STEP + 1 and world.core.wait_time() == 0.0
    assert world.does_chores() == 4
    assert not world.core.functions and world.wait is None


LOOKS = 4 * STEP  # functions that are looked at in one turn, when room is needed
ASKED = {"submit": [(SUBMIT_JOB_BG, [b"new", b"", b"w"])], "ability": [(CAN_DO, [b"new"]), (GRAB_JOB, [])],
         "admin": [(TEXT_LINE, (b"create function new",))]}


@pytest.mark.parametrize("how, reply", (
    ("submit", [("ERROR",) + TOO_MANY]), ("ability", [("ERROR",) + TOO_MANY, ("NO_JOB",)]),
    ("admin", [b"ERR QUEUE_ERROR Too+many+functions\r\n"])))
def test_that_there_is_no_room_among_very_many_functions_in_use_is_found_in_turns(make_world, how, reply):
    world = make_world(limits=Limits(functions=6 * LOOKS))
    world.worker(*[b"f%d" % number for number in range(6 * LOOKS)])
    one, other = world.connects(), world.connects()
    rest = world.core.receive(one.peer, ASKED[how] + [(ECHO_REQ, [b"x"])])
    assert rest and one.heard() == b""
    other.says(ECHO_REQ, b"y").hears((ECHO_RES, b"y"))
    assert world.does(one, rest) > 2
    *answers, last = packets_of(one.takes()) if how != "admin" else one.takes().partition(b"\n")[::2]
    if how == "admin":
        assert (answers[0] + b"\n", packets_of(last)) == (reply[0], [("ECHO_RES", b"x")])
    else:
        assert answers == reply and last == ("ECHO_RES", b"x")
    assert not world.core.registry.unused and len(world.core.functions) == 6 * LOOKS
    assert world.core.receive(other.peer, ASKED[how]) == [] and other.takes(), "all that is known now"


@pytest.mark.parametrize("how", sorted(ASKED))
def test_very_many_unused_functions_make_room_for_a_long_name_in_turns(make_world, how):
    world = make_world(limits=Limits(name_bytes=5 * 6 * LOOKS))
    world.worker(*[b"%05d" % number for number in range(6 * LOOKS)]).leaves()
    world.does_chores()
    long = b"n" * 5 * 6 * LOOKS
    one = world.connects()
    packets = [(kind, [bytes(words[0]).replace(b"new", long)] + list(words[1:]) if words else []) for kind, words in ASKED[how]]
    assert world.does(one, packets) > 4
    assert list(world.core.functions) == [long] and b"ERR" not in one.takes().replace(long, b"")


def test_who_leaves_while_room_is_looked_for_has_submitted_nothing(make_world):
    world = make_world(limits=Limits(functions=6 * LOOKS))
    world.worker(*[b"f%d" % number for number in range(6 * LOOKS)]).leaves()
    world.does_chores()
    world.worker(*[b"f%d" % number for number in range(5 * LOOKS)])
    one = world.connects()
    assert world.core.receive(one.peer, ASKED["submit"])
    one.leaves()
    world.does_chores()
    assert not world.core.jobs and b"new" not in world.core.functions and one.takes() == b""
    world.connects().submits_bg(b"new")


def test_a_function_that_is_in_use_cannot_be_dropped_whoever_asks(world):
    worker, client, registry = world.worker(b"f"), world.connects(), world.core.registry
    function = world.core.functions[b"f"]
    assert not registry.drop(function)
    worker.says(CANT_DO, b"f")
    handle = client.submits_bg()
    assert not registry.drop(function) and b"f" in world.core.functions
    assert client.asks(b"cancel job " + handle) == b"OK\r\n"
    assert registry.drop(function) and not registry.drop(function)
    check_core(world.core)
    assert repr(registry) == "<Registry: 0 functions, 0 dropped, 0 perhaps unused>"


def test_a_dropped_function_stays_until_its_last_job_aside_is_gone(world):
    client, registry = world.connects(), world.core.registry
    handles = [client.submits_bg() for _ in range(2)]
    assert client.asks(b"drop function f force") == b"OK\r\n"
    for handle in handles:
        assert list(registry.dropped) == [b"f"]
        assert client.asks(b"purge job " + handle) == b"OK 1\r\n"
    assert not registry.dropped and world.totals().set_aside == 2


def test_all_who_list_functions_have_the_same_list_until_one_comes_or_goes(world):
    client = world.connects()
    for name in (b"a", b"b"):
        client.asks(b"create function " + name)
    registry = world.core.registry
    before = registry.all()
    assert registry.all() is before and [function.name for function in before] == [b"a", b"b"]
    client.asks(b"create function c")
    client.asks(b"drop function a")
    assert [function.name for function in registry.all()] == [b"b", b"c"]
    assert [function.name for function in before] == [b"a", b"b"], "who reads on reads what there was"
