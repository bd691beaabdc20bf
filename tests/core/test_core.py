"""The life of a job in the core: submitted, ordered, run, ended; limits and status."""
import pytest

from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.errors import ProtocolError
from gearman_std.wire.protocol import (CANT_DO, CAN_DO, GET_STATUS, GET_STATUS_UNIQUE, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ,
                                       JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, JOB_CREATED, NOOP, NO_JOB, OPTION_REQ,
                                       OPTION_RES, PRE_SLEEP, STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG,
                                       SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, WORK_COMPLETE, WORK_DATA,
                                       WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING, pack_response)


# ----------------------------------------------------------------------------------------------------------- a job, end to end

def test_a_foreground_job_goes_to_a_worker_and_its_result_to_the_client(world):
    client, worker = world.connects(), world.worker(b"reverse")
    client.says(SUBMIT_JOB, b"reverse", b"", b"abc").hears((JOB_CREATED, b"H:x:1"))
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"reverse", b"abc"))
    worker.says(WORK_COMPLETE, b"H:x:1", b"cba").hears()
    client.hears((WORK_COMPLETE, b"H:x:1", b"cba"))
    assert not client.knows(b"H:x:1")


def test_a_background_job_tells_its_submitter_nothing_more(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    assert worker.grabs() == handle
    worker.says(WORK_STATUS, handle, b"1", b"3").says(WORK_DATA, handle, b"d").says(WORK_WARNING, handle, b"w").hears()
    worker.says(WORK_COMPLETE, handle, b"r").hears()
    client.hears()
    assert world.core.jobs == {}


def test_a_background_job_outlives_its_submitter(world):
    client = world.connects()
    handle = client.submits_bg()
    client.leaves()
    assert world.worker(b"f").grabs() == handle


def test_each_job_has_a_handle_of_its_own(world):
    client = world.connects()
    assert [client.submits(b"f"), client.submits_bg(b"g"), client.submits(b"f")] == [b"H:x:1", b"H:x:2", b"H:x:3"]


def test_a_worker_may_hold_several_jobs_and_finish_them_in_any_order(world):
    client, worker = world.connects(), world.worker(b"f")
    first, second = client.submits(), client.submits()
    assert [worker.grabs(), worker.grabs(), worker.grabs()] == [first, second, None]
    worker.says(WORK_COMPLETE, second, b"2").says(WORK_COMPLETE, first, b"1").hears()
    client.hears((WORK_COMPLETE, second, b"2"), (WORK_COMPLETE, first, b"1"))


def test_one_connection_may_be_client_and_worker_of_the_same_job(world):
    both = world.worker(b"f", sleeps=True)
    both.says(SUBMIT_JOB, b"f", b"", b"w").hears((NOOP,), (JOB_CREATED, b"H:x:1"))
    both.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:1", b"f", b"w"))
    both.says(WORK_COMPLETE, b"H:x:1", b"r").hears((WORK_COMPLETE, b"H:x:1", b"r"))


def test_when_client_and_worker_of_a_job_are_one_and_leave_nobody_is_woken_for_it(world):
    both, other = world.worker(b"f"), world.worker(b"f", sleeps=True)
    both.says(SUBMIT_JOB, b"f", b"", b"w").hears((JOB_CREATED, b"H:x:1"))
    other.hears((NOOP,)).says(PRE_SLEEP).hears((NOOP,))
    assert both.grabs() == b"H:x:1"
    other.says(PRE_SLEEP)
    both.leaves()
    other.hears()
    assert world.core.jobs == {} and world.core.unsent == []


def test_a_large_result_is_passed_on_without_a_copy(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    result = bytes(100000)
    world.core.receive(worker.peer, [(WORK_COMPLETE, [handle, memoryview(result)])])
    assert client.peer.bulky and any(isinstance(piece, memoryview) and piece.obj is result for piece in client.peer.outgoing)
    client.hears((WORK_COMPLETE, handle, result))


# --------------------------------------------------------------------------------------------------------------- order of jobs

def test_jobs_of_a_priority_run_in_the_order_of_their_coming_foreground_and_background_mixed(world):
    client = world.connects()
    handles = [client.submits(), client.submits_bg(), client.submits(), client.submits_bg()]
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(4)] == handles


def test_high_before_normal_before_low(world):
    client = world.connects()
    order = [SUBMIT_JOB_LOW, SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG]
    low, normal, high, low_bg, normal_bg, high_bg = [client.submits(packet_type=packet_type) for packet_type in order]
    worker = world.worker(b"f")
    assert [worker.grabs() for _ in range(6)] == [high, high_bg, normal, normal_bg, low, low_bg]


def test_priority_counts_over_all_functions_of_a_worker(world):
    client = world.connects()
    low, high = client.submits(b"f", packet_type=SUBMIT_JOB_LOW), client.submits(b"g", packet_type=SUBMIT_JOB_HIGH)
    for functions in ((b"f", b"g"), (b"g", b"f")):
        worker = world.worker(*functions)
        assert worker.grabs() == high
        worker.says(CANT_DO, b"g")
        worker.says(CANT_DO, b"f")
        worker.leaves()
    assert world.worker(b"g", b"f").grabs() == high and world.worker(b"f", b"g").grabs() == low


def test_functions_of_equal_priority_take_turns(world):
    client = world.connects()
    jobs = {name: [client.submits(name) for _ in range(3)] for name in (b"a", b"b", b"c")}
    worker = world.worker(b"a", b"b", b"c")
    taken = [worker.grabs() for _ in range(9)]
    assert taken == [jobs[name][turn] for turn in range(3) for name in (b"c", b"b", b"a")]  # registered last, looked at first


def test_a_grab_without_a_fitting_ability_finds_no_job(world):
    world.connects().submits(b"f")
    assert world.connects().grabs() is None
    assert world.worker(b"g").grabs() is None


# ------------------------------------------------------------------------------------------------------------------ who leaves

def test_a_lost_worker_s_job_goes_to_the_tail_of_its_priority_and_its_client_is_not_told(world):
    client, worker, sleeper = world.connects(), world.worker(b"f"), world.worker(b"f")
    lost = client.submits()
    assert worker.grabs() == lost
    worker.says(WORK_STATUS, lost, b"1", b"2")
    client.hears((WORK_STATUS, lost, b"1", b"2"))
    waiting = client.submits()
    low = client.submits(packet_type=SUBMIT_JOB_LOW)
    worker.leaves()
    client.says(GET_STATUS, lost).hears((STATUS_RES, lost, b"1", b"0", b"0", b"0"))
    assert [sleeper.grabs() for _ in range(3)] == [waiting, lost, low]
    assert world.core.jobs[lost].attempts == 1


# ------------------------------------------------------------------------------------------------------ results and exceptions

@pytest.mark.parametrize("request_, text", (
    ((WORK_STATUS, b"H", b"1", b"2"), b"Job given in work result not found"),
    ((WORK_COMPLETE, b"H", b""), b"Job given in work result not found"),
    ((WORK_FAIL, b"H"), b"Job given in work result not found"),
    ((WORK_DATA, b"H", b""), b"Job does not exist on server"),
    ((WORK_WARNING, b"H", b""), b"Job does not exist on server"),
    ((WORK_EXCEPTION, b"H", b""), b"An exception was received for a job that does not exist")))
def test_results_of_who_does_not_run_the_job_are_refused_and_harm_nothing(world, request_, text):
    client, worker, stranger = world.connects(), world.worker(b"f"), world.worker(b"f")
    running, waiting = client.submits(), client.submits()
    assert worker.grabs() == running
    for handle in (running, waiting, b"H:x:99"):
        stranger.says(request_[0], handle, *request_[2:]).hears_error(b"JOB_NOT_FOUND", text)
    client.hears()
    worker.says(WORK_COMPLETE, running, b"r").hears()
    client.hears((WORK_COMPLETE, running, b"r"))
    worker.says(request_[0], running, *request_[2:]).hears_error(b"JOB_NOT_FOUND", text)


def test_status_data_and_warnings_are_passed_on_word_for_word(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    worker.says(WORK_STATUS, handle, b"12x", b"-1").says(WORK_DATA, handle, b"\0\xff").says(WORK_WARNING, handle, b"").hears()
    client.hears((WORK_STATUS, handle, b"12x", b"-1"), (WORK_DATA, handle, b"\0\xff"), (WORK_WARNING, handle, b""))
    client.says(GET_STATUS, handle).hears((STATUS_RES, handle, b"1", b"1", b"12", b"4294967295"))


def test_a_failure_is_passed_on_as_received(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    worker.says(WORK_FAIL, handle + b"\0").hears()
    client.hears((WORK_FAIL, handle + b"\0"))


def test_an_exception_goes_to_who_wants_it_and_is_a_failure_without_stray_bytes_to_the_others(world):
    wants, other, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = wants.submits(b"f", b"u")
    other.submits(b"f", b"u")
    worker.grabs()
    wants.says(OPTION_REQ, b"Exceptions").hears((OPTION_RES, b"Exceptions"))
    worker.says(WORK_EXCEPTION, handle, b"what").hears()
    wants.hears((WORK_EXCEPTION, handle, b"what"))
    other.hears((WORK_FAIL, handle))
    worker.says(WORK_FAIL, handle).hears_error(b"JOB_NOT_FOUND")


def test_exceptions_may_be_on_for_every_connection(make_world):
    world = make_world(exceptions=True)
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    worker.says(WORK_EXCEPTION, handle, b"what")
    client.hears((WORK_EXCEPTION, handle, b"what"))


# ---------------------------------------------------------------------------------------------------------------------- limits

@pytest.mark.parametrize("limits, text", (
    (Limits(jobs=2), b"The server is full: too many jobs"),
    (Limits(job_bytes=20), b"The server is full: too many bytes"),
    (Limits(function_jobs=2), b"The function is full: too many jobs"),
    (Limits(function_job_bytes=20), b"The function is full: too many bytes")))
def test_limits_are_refusals_with_a_reason_and_end_when_there_is_room(make_world, limits, text):
    world = make_world(limits=limits)
    client, worker = world.connects(), world.worker(b"f")
    first = client.submits_bg(workload=b"0123456789")
    client.submits_bg(workload=b"0123456789")
    client.says(SUBMIT_JOB, b"f", b"", b"x").hears_error(b"QUEUE_ERROR", text)
    worker.grabs()
    worker.says(WORK_COMPLETE, first, b"")
    client.submits_bg(workload=b"0123456789")
    assert world.totals().refused == 1


@pytest.mark.parametrize("limits", (Limits(jobs=1), Limits(job_bytes=1), Limits(function_jobs=1), Limits(function_job_bytes=1)))
def test_jobs_set_aside_count_against_the_limits(make_world, limits):
    world = make_world(limits=limits, policy=FunctionPolicy(retries=1))
    client = world.connects()
    handle = client.submits_bg()
    world.loses(1)
    client.says(SUBMIT_JOB_BG, b"f", b"", b"w").hears_error(b"QUEUE_ERROR")
    client.asks(b"purge job " + handle)
    client.submits_bg()


@pytest.mark.parametrize("name", [name for name in Limits.__slots__ if name != "bounds_jobs"])
@pytest.mark.parametrize("value, error", [(-1, ValueError), (1.5, TypeError), ("5", TypeError)])
def test_what_is_no_limit_is_refused(name, value, error):
    with pytest.raises(error, match=name):
        Limits(**{name: value})


def test_functions_are_limited(make_world):
    world = make_world(limits=Limits(functions=2))
    client = world.connects()
    client.submits_bg(b"a")
    client.says(CAN_DO, b"b").says(CAN_DO, b"a").hears()
    client.says(CAN_DO, b"c").hears_error(b"QUEUE_ERROR", b"Too many functions")
    client.says(SUBMIT_JOB, b"c", b"", b"").hears_error(b"QUEUE_ERROR", b"Too many functions")
    assert list(world.core.functions) == [b"a", b"b"]


# ----------------------------------------------------------------------------------------------------------------- reduce jobs

def test_a_reduce_job_shows_its_reducer_to_grab_job_all_only(world):
    client, worker = world.connects(), world.worker(b"f")
    for packet_type in (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, SUBMIT_REDUCE_JOB):
        client.says(packet_type, b"f", b"", b"reducer", b"0", b"w")
    client.hears((JOB_CREATED, b"H:x:1"), (JOB_CREATED, b"H:x:2"), (JOB_CREATED, b"H:x:3"))
    client.submits()
    worker.says(GRAB_JOB_ALL).hears((JOB_ASSIGN_ALL, b"H:x:1", b"f", b"", b"reducer", b"w"))
    worker.says(GRAB_JOB_UNIQ).hears((JOB_ASSIGN_UNIQ, b"H:x:2", b"f", b"", b"w"))
    worker.says(GRAB_JOB).hears((JOB_ASSIGN, b"H:x:3", b"f", b"w"))
    worker.says(GRAB_JOB_ALL).hears((JOB_ASSIGN_UNIQ, b"H:x:4", b"f", b"", b"w"))
    worker.says(GRAB_JOB_ALL).hears((NO_JOB,))
    assert not world.core.jobs[b"H:x:1"].background and world.core.jobs[b"H:x:2"].background


def test_a_reducer_of_65_bytes_is_too_large(world):
    client = world.connects()
    client.says(SUBMIT_REDUCE_JOB, b"f", b"", b"r" * 64, b"0", b"w").hears((JOB_CREATED, b"H:x:1"))
    client.says(SUBMIT_REDUCE_JOB, b"f", b"", b"r" * 65, b"0", b"w")
    client.hears_error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")


# ---------------------------------------------------------------------------------------------------------------------- status

def test_get_status_tells_known_running_and_progress(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    client.says(GET_STATUS, handle).hears((STATUS_RES, handle, b"1", b"0", b"0", b"0"))
    worker.grabs()
    worker.says(WORK_STATUS, handle, b"3", b"10")
    client.says(GET_STATUS, handle + b"\0").hears((STATUS_RES, handle, b"1", b"1", b"3", b"10"))
    worker.says(WORK_COMPLETE, handle, b"")
    client.says(GET_STATUS, handle).hears((STATUS_RES, handle, b"0", b"0", b"0", b"0"))


def test_get_status_unique_tells_the_unique_and_the_number_of_clients(world):
    client, other = world.connects(), world.connects()
    client.submits_bg(b"f", b"u")
    client.says(GET_STATUS_UNIQUE, b"u").hears((STATUS_RES_UNIQUE, b"u", b"1", b"0", b"0", b"0", b"0"))
    client.submits(b"f", b"u")
    other.submits(b"f", b"u")
    client.says(GET_STATUS_UNIQUE, b"u").hears((STATUS_RES_UNIQUE, b"u", b"1", b"0", b"0", b"0", b"2"))
    client.submits(b"f", b"")
    client.says(GET_STATUS_UNIQUE, b"").hears((STATUS_RES_UNIQUE, b"", b"0", b"0", b"0", b"0", b"0"))


# ------------------------------------------------------------------------------------------------------------- the core itself

def test_a_stream_that_cannot_be_read_is_answered_with_its_error_and_closed(world):
    client = world.connects()
    world.core.refuse(client.peer, ProtocolError("too long", code=b"TOO_LARGE"))
    client.hears_error(b"TOO_LARGE", b"too long")
    assert client.peer.closing
    other = world.connects()
    world.core.refuse(other.peer, ProtocolError("who are you"))
    other.hears()
    assert other.peer.closing


def test_the_bytes_of_a_packet_are_those_of_the_protocol(world):
    client = world.connects()
    client.sends(b"\0REQ\0\0\0\x07\0\0\0\x05f\0\0ab")
    assert client.takes() == b"\0RES\0\0\0\x08\0\0\0\x05H:x:1" == pack_response(JOB_CREATED, b"H:x:1")
