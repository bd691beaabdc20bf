"""What takes long: in steps, while others have their turns; what a listing shows and an order reaches meanwhile."""
import json

import pytest

from core_world import packets_of
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.core.orders import drop_job, requeue_job
from gearman_std.wire.protocol import (CAN_DO, CANT_DO, ECHO_REQ, GRAB_JOB, NO_JOB, RESET_ABILITIES, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_EPOCH, TEXT_LINE, WORK_COMPLETE, WORK_FAIL, pack_response)
from gearman_std.core.turns import STEP

MANY = 4 * STEP


def submit(world, client, count, packet_type=SUBMIT_JOB_BG, function=b"f", fields=()):
    world.core.receive(client.peer, [(packet_type, [function, b""] + list(fields) + [b"w"])] * count)
    client.takes()


def begin(world, admin, line):
    """Have a command begin; returns what waits for the peer's next turn."""
    rest = world.core.receive(admin.peer, [(TEXT_LINE, (line,))])
    check_core(world.core)
    return rest


def grab(world, worker, count):
    """Grab so many jobs; returns their handles."""
    for _ in range(count):
        world.core.receive(worker.peer, [(GRAB_JOB, [])])
    check_core(world.core)
    return [packet[1] for packet in packets_of(worker.takes()) if packet[0] == "JOB_ASSIGN"]


def set_aside(world, client, count, function=b"f"):
    submit(world, client, count, function=function)
    world.does(client, begin(world, client, b"drop function %s force" % function))
    assert client.takes() == b"OK\r\n"


# ---------------------------------------------------------------------------------------------------------------- listings

@pytest.mark.parametrize("line, entries", [
    (b"show jobs", MANY), (b"show jobs json", MANY), (b"show unique jobs", MANY), (b"show aside", MANY),
    (b"show aside json", MANY), (b"status", MANY), (b"prioritystatus", MANY), (b"show functions json", MANY),
    (b"workers", MANY)])
def test_a_listing_is_made_a_piece_a_turn(make_world, line, entries):
    world = make_world()
    admin = world.connects()
    if line == b"workers":
        for _ in range(MANY - 1):
            world.core.connect(world.connects().peer)
    elif b"jobs" in line:
        submit(world, admin, MANY)
    elif b"aside" in line:
        set_aside(world, admin, MANY)
    else:
        for number in range(MANY):
            world.core.add_function(b"f%d" % number)
    rest = begin(world, admin, line)
    first = admin.takes()
    turns = world.does(admin, rest)
    assert turns >= MANY // STEP - 1 and first.count(b"\n") <= 2 * STEP
    lines = (first + admin.takes()).split(b"\n")
    assert len(lines) == entries + 2 and lines[-2:] == [b".", b""]


def test_a_short_listing_is_there_at_once(world):
    admin = world.connects()
    submit(world, admin, 3)
    assert begin(world, admin, b"status") == []
    assert admin.takes() == b"f\t3\t0\t0\n.\n"


def test_what_comes_during_a_listing_is_not_in_it_and_what_goes_is_left_out(world):
    admin, client = world.connects(), world.connects()
    submit(world, client, MANY)
    rest = begin(world, admin, b"show jobs")
    assert client.asks(b"cancel job H:x:1") == client.asks(b"cancel job H:x:%d" % MANY) == b"OK\r\n"
    submit(world, client, 5)
    world.does(admin, rest)
    assert [line.split(b"\t")[0] for line in admin.takes().splitlines()[:-1]] == [b"H:x:%d" % one for one in range(1, MANY)]


@pytest.mark.parametrize("line, ending", ((b"show jobs json", b"cancel job H:x:%d"), (b"show aside json", b"purge job H:x:%d")))
def test_a_job_that_goes_between_the_pieces_of_a_listing_of_long_lines_is_left_out(world, line, ending):
    admin, client, name = world.connects(), world.connects(), b"f" * 3000
    (set_aside if b"aside" in line else submit)(world, client, STEP, function=name)
    rest = begin(world, admin, line)
    first = admin.takes()
    assert rest and 1 < first.count(b"\n") < STEP - 1
    assert client.asks(ending % STEP).startswith(b"OK")
    world.does(admin, rest)
    shown = [json.loads(line)["handle"] for line in (first + admin.takes()).decode().splitlines()[:-1]]
    assert shown == ["H:x:%d" % one for one in range(1, STEP)]


def test_a_peer_that_leaves_before_its_line_is_made_is_not_in_the_listing(world):
    admin, last = world.connects(), [world.connects() for _ in range(MANY)][-1]
    rest = begin(world, admin, b"workers")
    last.leaves()
    first = admin.takes()
    world.does(admin, rest)
    assert [line.split()[0] for line in (first + admin.takes()).splitlines()] == [
        b"%d" % one for one in range(1, MANY + 1)] + [b"."]


def test_functions_that_come_and_go_during_a_listing(world):
    admin, other = world.connects(), world.connects()
    for number in range(MANY):
        world.core.add_function(b"f%d" % number)
    rest = begin(world, admin, b"status")
    assert other.asks(b"drop function f%d" % (MANY - 1)) == other.asks(b"create function new") == b"OK\r\n"
    world.does(admin, rest)
    assert [line.split(b"\t")[0] for line in admin.takes().splitlines()] == [b"f%d" % one for one in range(MANY - 1)] + [b"."]


def test_a_peer_with_very_many_abilities_does_not_make_its_line_long_in_one_turn(make_world):
    world = make_world()
    admin, worker = world.connects(), world.connects()
    world.core.receive(worker.peer, [(CAN_DO, [b"f%d" % number]) for number in range(MANY * STEP)])
    world.core.settle()
    rest = begin(world, admin, b"workers")
    first = admin.takes()
    assert world.does(admin, rest) >= 1 and first.count(b" f") < MANY * STEP
    assert (first + admin.takes()).count(b" f") == MANY * STEP


def test_the_peer_s_later_packets_wait_for_a_listing_and_other_peers_do_not(world):
    admin, client = world.connects(), world.connects()
    submit(world, client, MANY)
    rest = world.core.receive(admin.peer, [(TEXT_LINE, (b"show jobs",)), (ECHO_REQ, [b"x"]), (GRAB_JOB, [])])
    assert [kind for kind, _ in rest[1:]] == [ECHO_REQ, GRAB_JOB]
    assert client.submits(b"g") == b"H:x:%d" % (MANY + 1)
    world.does(admin, rest)
    data = admin.takes()
    assert data.endswith(b"\n.\n" + pack_response(17, b"x") + pack_response(NO_JOB))


def test_a_listing_ends_with_its_peer(world):
    admin, client = world.connects(), world.connects()
    submit(world, client, MANY)
    begin(world, admin, b"show jobs")
    admin.takes()
    admin.leaves()
    assert not world.core.turns.chores and admin.peer.errand is None
    assert client.asks(b"cancel function f") == b"OK %d\r\n" % MANY


# ------------------------------------------------------------------------------------------------------------------ orders

@pytest.mark.parametrize("line", (b"cancel function f", b"cancel unique none"))
def test_a_cancel_takes_turns_and_tells_how_many_there_were(world, line):
    admin, client = world.connects(), world.connects()
    submit(world, client, MANY)
    rest = begin(world, admin, line)
    assert admin.heard() == b"" and rest
    submit(world, client, 2)
    assert world.does(admin, rest) >= MANY // STEP - 2
    gone = b"none" not in line
    assert admin.takes() == (b"OK %d\r\n" % MANY if gone else b"ERR UNKNOWN_JOB\r\n")
    assert len(world.core.jobs) == (2 if gone else MANY + 2)


def test_an_order_for_jobs_that_many_joined_takes_a_turn_for_each_and_what_goes_meanwhile_is_not_counted(world):
    admin, client = world.connects(), world.connects()
    handles = [client.submits(b"f", b"u%d" % number) for number in range(3)]
    for number in range(3):
        world.core.receive(client.peer, [(SUBMIT_JOB, [b"f", b"u%d" % number, b""])] * STEP)
    client.takes()
    rest = begin(world, admin, b"cancel function f")
    assert rest and handles[0] not in world.core.jobs and handles[2] in world.core.jobs
    assert world.connects().asks(b"cancel job " + handles[2]) == b"OK\r\n"
    client.hears(*[(WORK_FAIL, handles[0])] * (STEP + 1) + [(WORK_FAIL, handles[2])] * (STEP + 1))
    assert world.does(admin, rest) >= 1 and admin.takes() == b"OK 2\r\n"
    client.hears(*[(WORK_FAIL, handles[1])] * (STEP + 1))


def test_an_order_is_carried_out_though_its_peer_has_left(world):
    admin, client = world.connects(), world.connects()
    submit(world, client, MANY)
    begin(world, admin, b"cancel function f")
    assert world.core.jobs
    world.core.disconnect(admin.peer)
    world.talkers.remove(admin)
    assert world.does_chores() >= MANY // STEP - 2
    assert not world.core.jobs and admin.heard() == b""


@pytest.mark.parametrize("line, left", [(b"requeue all", 0), (b"requeue function f", 0), (b"purge all", 0),
                                        (b"purge function g", MANY)])
def test_requeue_and_purge_take_turns(world, line, left):
    admin, client = world.connects(), world.connects()
    set_aside(world, client, MANY)
    rest = begin(world, admin, line)
    turns = world.does(admin, rest)
    assert turns >= MANY // STEP - 2 and len(world.core.aside) == left
    assert admin.takes() == (b"ERR function not found\r\n" if left else b"OK %d\r\n" % MANY)
    assert len(world.core.jobs) == (MANY if line.startswith(b"requeue") else 0)


def test_requeued_jobs_run_in_their_order_and_once_each(world):
    admin, worker = world.connects(), world.worker(b"f")
    worker.leaves()
    submit(world, admin, 20)
    admin.sends(b"cancel job H:x:7\n").takes()
    assert admin.asks(b"drop function f force") == b"OK\r\n" and admin.asks(b"requeue all") == b"OK 19\r\n"
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(20)] == [b"H:x:%d" % one for one in range(1, 21) if one != 7] + [None]


def test_a_job_that_was_dropped_behind_others_and_requeued_runs_once(world):
    """Its old entry in the queue is not taken for the new one."""
    client = world.connects()
    for number in range(4):
        client.submits_bg(b"f", b"u%d" % number)
    (first, second, third, _) = list(world.core.jobs.values())
    drop_job(world.core, second)
    drop_job(world.core, third)
    check_core(world.core)
    requeue_job(world.core, world.core.aside[third.handle])
    check_core(world.core)
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(4)] == [b"H:x:1", b"H:x:4", b"H:x:3", None]
    assert list(world.core.aside) == [b"H:x:2"]


@pytest.mark.parametrize("refused", (False, True))
def test_a_job_set_aside_and_requeued_before_it_is_on_disk_is_refused_with_the_others(make_world, refused):
    world = make_world(durable=True)
    client, admin = world.connects(), world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w")
    admin.says(CAN_DO, b"g")
    assert admin.asks(b"drop function f force") == b"OK\r\n" and admin.asks(b"requeue all") == b"OK 1\r\n"
    if refused:
        world.refuses_to_store()
        client.hears_error(b"QUEUE_ERROR")
        assert not world.core.jobs and not world.core.aside
    else:
        world.stores()
        client.takes()
        assert world.worker(b"f").grabs() == b"H:x:1"


# ------------------------------------------------------------------------------------------------------ drop function force

def test_a_forced_drop_takes_turns_gives_out_nothing_meanwhile_and_forgets_the_function(world):
    admin, client, worker = world.connects(), world.connects(), world.connects()
    submit(world, client, MANY)
    submit(world, client, 3, SUBMIT_JOB_EPOCH, fields=[b"%d" % (world.wall + 100)])
    watched = client.submits(b"f")
    rest = begin(world, admin, b"drop function f force")
    worker.says(CAN_DO, b"f")
    assert worker.grabs() is None
    worker.leaves()
    assert world.does(admin, rest) >= MANY // STEP - 2
    assert admin.takes() == b"OK\r\n" and client.hears((WORK_FAIL, watched))
    assert len(world.core.aside) == MANY + 3 and not world.core.jobs and not world.core.functions


def test_a_function_that_another_drops_meanwhile_and_one_made_in_its_place_are_left_alone_by_a_forced_drop(world):
    admin, client, other = world.connects(), world.connects(), world.connects()
    client.submits(b"f")
    submit(world, client, MANY, function=b"g")
    rest = begin(world, admin, b"drop function f force")
    assert rest and client.hears((WORK_FAIL, b"H:x:1"))
    assert other.asks(b"drop function f") == b"OK\r\n"
    assert other.asks(b"create function f") == other.asks(b"pause function f") == b"OK\r\n"
    world.does(admin, rest)
    assert admin.takes() == b"OK\r\n" and world.core.functions[b"f"].paused and world.core.functions[b"f"].kept


@pytest.mark.parametrize("before", (b"version", b"create function f"))
def test_a_function_that_is_created_during_a_forced_drop_stays(world, before):
    admin, other = world.connects(), world.connects()
    submit(world, admin, MANY)
    admin.asks(before)
    rest = begin(world, admin, b"drop function f force")
    assert other.asks(b"create function f") == b"OK\r\n"
    world.does(admin, rest)
    assert admin.takes() == b"OK\r\n" and other.asks(b"status") == b"f\t0\t0\t0\n.\n"
    assert len(world.core.aside) == MANY and not world.core.functions[b"f"].paused
    assert other.asks(b"drop function f") == b"OK\r\n" and other.asks(b"status") == b".\n"


def test_what_is_submitted_during_a_forced_drop_stays_and_is_given_out_after_it(world):
    admin, client, worker = world.connects(), world.connects(), world.connects()
    submit(world, client, MANY)
    rest = begin(world, admin, b"drop function f force")
    new = client.submits_bg(b"f")
    worker.says(CAN_DO, b"f").says(4)
    world.does(admin, rest)
    assert admin.takes() == b"OK\r\n" and worker.hears((6,))
    assert list(world.core.jobs) == [new] and len(world.core.aside) == MANY
    assert worker.grabs() == new


def test_jobs_of_a_dropped_function_still_count_in_it(make_world):
    """A limit of two let four in, and a cancel of one that was dropped was counted nowhere."""
    world = make_world(limits=Limits(function_jobs=2))
    client, admin = world.connects(), world.connects()
    first = client.submits_bg()
    client.submits_bg()
    assert admin.asks(b"drop function f force") == b"OK\r\n"
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").hears_error(b"QUEUE_ERROR", b"The function is full: too many jobs")
    assert admin.asks(b"cancel job " + first) == b"OK\r\n" and world.totals().cancelled == 1
    third = client.submits_bg()
    client.says(SUBMIT_JOB_BG, b"f", b"", b"").hears_error(b"QUEUE_ERROR")
    assert admin.asks(b"cancel job " + third) == b"OK\r\n" and admin.asks(b"purge all") == b"OK 1\r\n"
    assert world.totals().cancelled == 2 and world.totals().submitted == 3 and world.core.functions[b"f"].aside == 0


def test_a_dropped_function_is_forgotten_with_its_last_job_and_its_totals_are_kept(world):
    client, admin = world.connects(), world.connects()
    client.submits_bg()
    assert admin.asks(b"pause function f") == admin.asks(b"drop function f force") == b"OK\r\n"
    assert admin.asks(b"status") == b".\n" and world.core.registry.dropped
    assert admin.asks(b"requeue all") == b"OK 1\r\n" and not world.core.registry.dropped
    assert world.worker(b"f").grabs() == b"H:x:1", "it is not paused any longer"
    client.submits_bg(b"g")
    assert admin.asks(b"drop function g force") == b"OK\r\n" and admin.asks(b"purge all") == b"OK 1\r\n"
    assert not world.core.registry.dropped and world.totals().submitted == 2
    assert b"submitted\t2\n" in admin.asks(b"show totals")


@pytest.mark.parametrize("line, reply", [(b"drop function nobody", b"ERR function not found\r\n"),
                                         (b"drop function F%d" % (MANY - 1), b"OK\r\n")])
def test_a_function_to_drop_is_looked_for_in_turns(world, line, reply):
    admin = world.connects()
    for number in range(MANY):
        world.core.add_function(b"f%d" % number)
    rest = begin(world, admin, line)
    assert world.does(admin, rest) >= MANY // STEP - 2 and admin.takes() == reply


# --------------------------------------------------------------------------------------------- who leaves, and what is due

def test_a_worker_that_is_lost_with_many_jobs_gives_them_back_in_turns_in_their_order(world):
    client, worker, other = world.connects(), world.worker(b"f"), world.connects()
    submit(world, client, MANY)
    grab(world, worker, MANY)
    world.core.disconnect(worker.peer)
    world.talkers.remove(worker)
    check_core(world.core)
    assert len(world.core.turns.chores) == 1 and world.core.wait_time() == 0.0
    assert other.asks(b"cancel job H:x:%d" % MANY) == b"OK\r\n"
    assert world.does_chores() == 0, "done with the step after"
    other.says(CAN_DO, b"f")
    assert grab(world, other, MANY) == [b"H:x:%d" % one for one in range(1, MANY)]


@pytest.mark.parametrize("loss", ("leaves", "resets"))
def test_each_step_of_giving_back_leaves_all_in_order(world, loss):
    client, worker, other = world.connects(), world.worker(b"f"), world.worker(b"f", b"g")
    submit(world, client, MANY)
    submit(world, client, 3, function=b"g")
    worker.says(CAN_DO, b"g")
    assert len(grab(world, worker, MANY + 3)) == MANY + 3
    if loss == "leaves":
        world.core.disconnect(worker.peer)
        world.talkers.remove(worker)
        assert world.does_chores() >= MANY // STEP - 1
    else:
        rest = world.core.receive(worker.peer, [(CANT_DO, [b"f"]), (WORK_COMPLETE, [b"H:x:%d" % MANY, b""])])
        assert world.does(worker, rest) >= MANY // STEP - 2
        worker.hears_error(b"JOB_NOT_FOUND")
        assert len(worker.peer.running) == 3
    assert len(world.core.jobs) == MANY + 3
    other.says(RESET_ABILITIES).says(CAN_DO, b"f")
    assert len(grab(world, other, MANY + 9)) == MANY


def test_a_worker_that_gives_back_and_is_lost_meanwhile_loses_no_job(world):
    client, worker = world.connects(), world.worker(b"f", b"g")
    submit(world, client, MANY)
    submit(world, client, MANY, function=b"g")
    grab(world, worker, 2 * MANY)
    assert world.core.receive(worker.peer, [(CANT_DO, [b"f"])])
    world.core.disconnect(worker.peer)
    world.talkers.remove(worker)
    world.does_chores()
    assert sum(sum(function.waiting) for function in world.core.functions.values()) == 2 * MANY


def test_a_client_that_is_lost_with_many_jobs_leaves_them_in_turns(world):
    client, other = world.connects(), world.connects()
    submit(world, client, MANY, SUBMIT_JOB)
    world.core.disconnect(client.peer)
    world.talkers.remove(client)
    check_core(world.core)
    assert len(world.core.jobs) == MANY - STEP
    assert other.submits(b"f") == b"H:x:%d" % (MANY + 1)
    world.does_chores()
    assert list(world.core.jobs) == [b"H:x:%d" % (MANY + 1)]


def test_many_delayed_jobs_due_at_once_come_some_at_each_tick(world):
    client = world.connects()
    submit(world, client, MANY, SUBMIT_JOB_EPOCH, fields=[b"%d" % (world.wall + 5)])
    world.core.tick(world.now + 5, world.wall + 5)
    check_core(world.core)
    assert sum(world.core.functions[b"f"].waiting) == STEP and world.core.wait_time() == 0.0
    for _ in range(MANY // STEP):
        world.core.tick(world.now + 5, world.wall + 5)
    assert sum(world.core.functions[b"f"].waiting) == MANY and world.core.wait_time() is None
    worker = world.worker(b"f")
    assert grab(world, worker, MANY) == [b"H:x:%d" % one for one in range(1, MANY + 1)]


def test_many_time_limits_that_run_out_at_once_do_so_some_at_each_tick(make_world):
    world = make_world(policy=FunctionPolicy(retries=0))
    client, worker = world.connects(), world.connects()
    submit(world, client, MANY)
    worker.says(23, b"f", b"1000")
    grab(world, worker, MANY)
    world.core.tick(world.now + 2, world.wall)
    check_core(world.core)
    assert world.core.functions[b"f"].running == MANY - STEP and world.core.wait_time() == 0.0
    for _ in range(MANY // STEP):
        world.core.tick(world.now + 2, world.wall)
    assert world.core.functions[b"f"].running == 0


def test_a_graceful_stop_waits_for_what_nobody_waits_for(world):
    client = world.connects()
    submit(world, client, MANY, SUBMIT_JOB)
    world.core.stop(graceful=True)
    world.core.disconnect(client.peer)
    world.talkers.remove(client)
    assert not world.core.idle
    world.does_chores()
    assert world.core.idle


def test_turns_tell_what_waits(world):
    assert repr(world.core.turns) == "<Turns: 0 chores>"
