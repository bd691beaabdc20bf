"""Orders that stand until they are taken back: what is recorded of them, and what a restart makes of the records."""
import pytest

from gearman_std.core.invariants import check_core
from gearman_std.core.ledger import ORDER, OrderRecord
from gearman_std.core.limits import Limits
from gearman_std.core.standing import restore_order, standing_orders, tell_standing
from gearman_std.core.rights import STEER
from gearman_std.core.text import obey
from gearman_std.core.turns import STEP
from gearman_std.wire.protocol import JOB_CREATED, SUBMIT_JOB


def order(name, function=b"", value=b""):
    return OrderRecord(ORDER, b"", name, function, value)


def recorded(world, *lines):
    """What is recorded of what an admin says; each is obeyed."""
    admin, records = world.connects(), world.core.ledger.records
    for line in lines:
        assert admin.asks(line).startswith(b"OK"), line
    found = [record for record in records if record.kind == ORDER]
    del records[:]
    world.core.ledger.hand_over()
    world.core.stored()
    return found


def restored(make_world, records, **settings):
    """A world that begins with these orders."""
    world = make_world(durable=True, **settings)
    for record in records:
        restore_order(world.core, record)
    check_core(world.core)
    return world


def test_each_order_is_recorded_and_so_is_that_it_stands_no_longer(durable):
    assert recorded(durable, b"create function f", b"pause function f", b"maxqueue f 5 6 7", b"maxqueue nosuch 9",
                    b"drain") == [
        order("create", b"f"), order("pause", b"f"), order("maxqueue", b"f", b"5 6 7"), order("maxqueue", b"nosuch", b"9 9 9"),
        order("drain")]
    assert recorded(durable, b"maxqueue f 1", b"resume function f", b"maxqueue f", b"maxqueue nosuch 0", b"drain off") == [
        order("maxqueue", b"f", b"1 1 1"), order("pause", b"f", None), order("maxqueue", b"f", None),
        order("maxqueue", b"nosuch", None), order("drain", b"", None)]
    assert list(standing_orders(durable.core)) == [order("create", b"f")]


def test_an_order_that_stands_already_is_not_recorded_again(durable):
    lines = [b"create function f", b"pause function f", b"maxqueue f 5", b"drain on"]
    assert len(recorded(durable, *lines)) == 4
    assert recorded(durable, *lines) == []
    back = [b"resume function f", b"maxqueue f", b"drain off"]
    assert len(recorded(durable, *back)) == 3
    assert recorded(durable, *back) == []


def test_without_a_store_nothing_of_them_is_recorded(world):
    assert recorded(world, b"create function f", b"pause function f", b"maxqueue f 5", b"drain") == []


@pytest.mark.parametrize("command, force", [(b"drop function f", False), (b"drop function f force", True)])
def test_a_function_that_is_dropped_is_no_longer_paused_nor_kept(durable, command, force):
    recorded(durable, b"create function f", b"pause function f", b"maxqueue f 5")
    if force:
        durable.connects().submits_bg()
        durable.core.ledger.hand_over()
        durable.core.stored()
    found = recorded(durable, command)
    assert sorted(found) == sorted([order("create", b"f", None), order("pause", b"f", None)])
    assert list(standing_orders(durable.core)) == [order("maxqueue", b"f", b"5 5 5")]


def test_while_a_function_with_many_jobs_is_dropped_its_pause_is_no_order(durable):
    client = durable.connects()
    for _ in range(3 * STEP):
        client.submits_bg()
    durable.core.ledger.hand_over()
    durable.core.stored()
    recorded(durable, b"pause function f")
    drop = obey(durable.core, frozenset([STEER]), [b"drop", b"function", b"f", b"force"])
    next(drop)
    assert durable.core.functions[b"f"].paused and list(standing_orders(durable.core)) == []
    assert durable.core.ledger.records[0] == order("pause", b"f", None)
    assert b"".join(drop) == b"OK\r\n" and b"f" not in durable.core.functions and not durable.core.dropping
    assert [record for record in durable.core.ledger.records if record.kind == ORDER] == [order("pause", b"f", None)]


def test_a_function_that_cannot_be_dropped_keeps_its_orders(durable):
    recorded(durable, b"create function f", b"pause function f")
    durable.worker(b"f")
    assert durable.connects().asks(b"drop function f").startswith(b"ERR")
    assert durable.core.ledger.records == [] and len(list(standing_orders(durable.core))) == 2


def test_a_stop_is_no_order_to_drain(durable):
    durable.core.stop(graceful=True)
    assert durable.core.draining and list(standing_orders(durable.core)) == []
    assert recorded(durable, b"drain on") == [order("drain")]


def test_after_a_restart_they_stand(make_world):
    world = restored(make_world, [order("create", b"e"), order("pause", b"f"), order("maxqueue", b"f", b"0 2 0")])
    client, worker = world.connects(), world.worker(b"f")
    assert {b"e", b"f"} <= set(world.core.functions)
    for _ in range(2):
        client.submits()
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR", b"Job queue is full")
    assert worker.grabs() is None
    assert recorded(world, b"resume function f") == [order("pause", b"f", None)]
    assert worker.grabs() is not None


def test_a_server_that_drained_takes_no_jobs_until_it_is_told_to(make_world):
    world = restored(make_world, [order("drain")])
    client = world.connects()
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR", b"The server is draining and takes no new jobs")
    assert recorded(world, b"drain off") == [order("drain", b"", None)]
    client.says(SUBMIT_JOB, b"f", b"", b"").hears((JOB_CREATED, b"H:x:1"))


def test_restored_orders_are_the_ones_that_stood(make_world, durable):
    recorded(durable, b"create function g", b"create function f", b"pause function f", b"maxqueue f 1 2 3", b"drain")
    stood = list(standing_orders(durable.core))
    assert len(stood) == 5
    assert sorted(standing_orders(restored(make_world, stood).core)) == sorted(stood)
    assert [record for record in durable.core.snapshot() if record.kind == ORDER] == stood


def test_more_orders_than_there_may_be_functions_now_are_obeyed(make_world):
    records = [order("pause", b"f%d" % number) for number in range(9)]
    world = restored(make_world, records, limits=Limits(functions=3))
    assert sorted(standing_orders(world.core)) == records


@pytest.mark.parametrize("record", [order("maxqueue", b"f", b"1 2"), order("maxqueue", b"f", b"0 0 0"),
                                    order("maxqueue", b"f", b"-1 2 3"), order("maxqueue", b"f", b"x y z"), order("odd")])
def test_an_order_that_makes_no_sense_is_refused(world, record):
    with pytest.raises(ValueError):
        restore_order(world.core, record)


def test_what_stands_is_told_in_words(durable):
    assert tell_standing(durable.core) == ""
    recorded(durable, b"create function f", b"pause function f", b"maxqueue f 1", b"drain")
    assert tell_standing(durable.core) == "no new jobs are taken, functions paused: 1, functions with a limit: 1"


def test_orders_of_which_some_are_taken_back_while_they_are_listed(durable):
    """They are listed in steps while the store is written anew, and others are obeyed in between."""
    recorded(durable, b"create function f", b"create function g", b"pause function f", b"maxqueue f 1", b"maxqueue g 1")
    listed = standing_orders(durable.core)
    first = next(listed)
    recorded(durable, b"drop function f", b"maxqueue g", b"create function h", b"maxqueue h 5")
    rest = [first] + list(listed)
    assert order("create", b"g") in rest and order("create", b"h") not in rest


def test_who_pauses_a_function_that_is_being_dropped_is_told(durable):
    function = durable.core.add_function(b"f")
    durable.core.dropping.add(function)
    for word in (b"pause", b"resume"):
        assert durable.connects().asks(word + b" function f") == b"ERR the function is being dropped\r\n"
    assert not function.paused
