"""The administrative text commands, to the byte."""
import json
import sys

import pytest

from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.store.store import Neighbour
from gearman_std.wire.protocol import (CAN_DO, JOB_CREATED, SET_CLIENT_ID, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_SCHED, TEXT_LINE,
                                       WORK_COMPLETE, WORK_FAIL)

INCOMPLETE = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+"
UNKNOWN = b"ERR UNKNOWN_COMMAND Unknown+server+command"


# ------------------------------------------------------------------------------------------------------------------- the line

def test_a_line_ends_with_lf_or_crlf_and_words_are_split_at_blanks(world):
    admin = world.connects()
    for line in (b"create function f", b"create function f\r", b"create  function   f", b"CREATE Function f"):
        assert admin.asks(line) == b"OK\r\n"
    assert admin.asks(b"status") == b"f\t0\t0\t0\n.\n"


def test_a_bare_lf_loses_no_letter(world):
    admin = world.connects()
    admin.asks(b"create function resize")
    assert list(world.core.functions) == [b"resize"]


@pytest.mark.parametrize("line, word", ((b"nonsense", b"nonsense"), (b"", b""), (b" status", b""), (b"\xff\xfe", b"\xff\xfe"),
                                        (b"x" * 8000, b"x" * 8000), (b"stat\tus", b"stat\tus"), (b"status\0", b"status\0")))
def test_an_unknown_word_is_named_without_a_separator(world, line, word):
    assert world.connects().asks(line) == UNKNOWN + word + b"\r\n"


def test_six_words_end_the_connection(world):
    admin = world.connects()
    assert admin.asks(b"maxqueue f 1 2 3") == b"OK\r\n"
    assert admin.asks(b"maxqueue f 1 2 3 4") == b"" and admin.peer.closing


# Whoever can make a program on this machine send a request to a URL must not be obeyed.

@pytest.mark.parametrize("line", [
    b"POST / HTTP/1.1", b"post / http/1.1", b"GET /x HTTP/1.0\r", b"GET / HTTP/1.1 \r", b"GET\t/\tHTTP/1.1", b"PRI * HTTP/2.0",
    b"  POST / HTTP/1.1", b"POST / HTTP/1.1\rshutdown\r", b"FOO / HTTP/1.1", b"shutdown / HTTP/1.1", b"shutdown HTTP/1.1",
    b"status HTTP/1.1", b"create function HTTP/1.1", b"cancel job / HTTP/1.1", b"HTTP/1.1 200 OK", b"GET /", b"put x",
    b"Delete /x",
    b"OPTIONS rtsp://x RTSP/1.0", b"INVITE sip:x SIP/2.0", b"GET /a b c d e HTTP/1.1", b"POST /x?a=b&c=d%20e HTTP/1.1",
    b"Host: localhost:4730", b"host:x\r", b"HOST : x:1", b" Host: x", b"\tHost: x", b"User-Agent: x", b"Content-Length: 9",
    b"Transfer-Encoding: chunked", b"Cookie: a=b", b"X-Anything: x"])
def test_a_line_of_http_ends_the_connection_and_nothing_after_it_is_obeyed(world, line):
    admin = world.connects()
    assert admin.asks(line) == b""
    assert admin.peer.closing
    admin.asks(b"shutdown")
    assert world.core.stopping == ""


@pytest.mark.parametrize("line", [
    b"create function HTTP", b"create function http/x", b"create function a:b", b"create function image/2.0",
    b"maxqueue GET: 5", b"create function http://x/1.1"])
def test_names_may_look_a_little_like_http(world, line):
    assert world.connects().asks(line) == b"OK\r\n"


@pytest.mark.parametrize("line", [b"GET", b"1/2.0", b"a/b.c", b"Host", b"HTTP"])
def test_a_word_that_means_nothing_is_no_http(world, line):
    assert world.connects().asks(line) == UNKNOWN + line + b"\r\n"


# ------------------------------------------------------------------------------------------------------------------- listings

def test_status_counts_all_running_ones_and_workers(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f", b"g")
    assert admin.asks(b"status") == b"f\t0\t0\t1\ng\t0\t0\t1\n.\n"
    client.submits(b"f")
    client.submits_bg(b"f", packet_type=SUBMIT_JOB_HIGH_BG)
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:3"))
    worker.grabs()
    assert admin.asks(b"status further words") == b"f\t3\t1\t1\ng\t0\t0\t1\n.\n"
    assert admin.asks(b"Status") == admin.asks(b"STATUS")


def test_a_function_stays_in_status_until_it_is_dropped(world):
    admin, worker = world.connects(), world.worker(b"f\t\xff")
    worker.leaves()
    assert admin.asks(b"status") == b"f\t\xff\t0\t0\t0\n.\n"
    assert admin.asks(b"drop function f\t\xff") == b"OK\r\n" and admin.asks(b"status") == b".\n"


def test_prioritystatus_counts_what_is_queued_by_priority(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f")
    for packet_type in (SUBMIT_JOB_HIGH, SUBMIT_JOB, SUBMIT_JOB, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW):
        client.submits(b"f", packet_type=packet_type)
    assert admin.asks(b"prioritystatus") == b"f\t1\t2\t3\t1\n.\n"
    worker.grabs()
    assert admin.asks(b"prioritystatus") == b"f\t0\t2\t3\t1\n.\n"


def test_workers_lists_every_connection_with_its_functions_the_newest_first(world):
    admin, worker = world.connects(), world.worker(b"f", b"g")
    worker.says(SET_CLIENT_ID, b"me").says(CAN_DO, b"f")
    assert admin.asks(b"workers") == b"1 127.0.0.1 - :\n2 127.0.0.1 me : g f\n.\n"


def test_version_pid_and_verbosity(make_world):
    admin = make_world(version=b"1.2.3", pid=77, verbosity=b"INFO").connects()
    assert [admin.asks(line) for line in (b"version", b"getpid", b"verbose")] == [b"OK 1.2.3\n", b"OK 77\n", b"OK INFO\n"]


def test_show_jobs_lists_handle_attempts_nothing_ignored_and_background(world):
    admin, client = world.connects(), world.connects()
    client.submits()
    client.submits_bg()
    world.loses(1)
    assert admin.asks(b"show jobs") == b"H:x:1\t1\t0\t0\nH:x:2\t0\t0\t1\n.\n" == admin.asks(b"SHOW Jobs")


def test_show_unique_jobs_lists_uniques_an_empty_one_as_an_empty_line(world):
    admin, client = world.connects(), world.connects()
    client.submits(b"f", b"u1")
    client.submits(b"f", b"")
    assert admin.asks(b"show unique jobs") == b"u1\n\n.\n"


def test_show_jobs_json_tells_all_of_each_job(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f")
    worker.says(SET_CLIENT_ID, b"me")
    client.submits_bg(b"f", b"u", b"12345", SUBMIT_JOB_HIGH_BG)
    client.submits(b"f", b"u")
    worker.grabs()
    client.says(SUBMIT_JOB_EPOCH, b"f\xff", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:2"))
    client.says(SUBMIT_JOB_SCHED, b"g", b"", b"*", b"*", b"*", b"*", b"*", b"").hears((JOB_CREATED, b"H:x:3"))
    world.passes(1.5)
    lines = admin.asks(b"show jobs json").splitlines()
    assert lines.pop() == b"."
    one, two, three = [json.loads(line.decode()) for line in lines]
    assert one == {
        "handle": "H:x:1", "function": "f", "unique": "u", "priority": "high", "state": "running", "background": True,
        "age": 1.5, "attempts": 0, "joins": 1, "size": 5, "due": None, "error": "", "schedule": None, "waiting": 0.0,
        "running": 1.5, "progress": None, "worker": {"number": 3, "address": "127.0.0.1", "client_id": "me"}}
    assert (two["function"], two["state"], two["due"], two["worker"]) == ("f\\xff", "delayed", world.wall - 1.5 + 9, None)
    assert three["schedule"] == "* * * * *" and three["due"] > world.wall


def test_show_aside_lists_what_is_set_aside_and_why(make_world):
    world = make_world(policy=FunctionPolicy(attempts=2, backoff=0.0))
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = client.submits_bg(b"f", b"u")
    for _ in range(2):
        worker.grabs()
        worker.says(25, handle, b"no\tspace\r\nleft").hears()
        world.passes(1)
    assert admin.asks(b"show aside") == b"H:x:1\tf\tu\t2\tno space left\n.\n"
    (line, end) = admin.asks(b"show aside json").splitlines()
    assert end == b"." and json.loads(line.decode())["error"] == "no\tspace\r\nleft"
    assert json.loads(line.decode())["state"] == "set aside"
    assert admin.asks(b"show jobs") == b".\n"


def test_show_functions_json_tells_all_of_each_function(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f", b"f\xff")
    done = client.submits_bg(b"f", b"u", b"123")
    client.submits_bg(b"f", b"u", b"456")
    worker.grabs()
    worker.says(WORK_COMPLETE, done, b"")
    client.submits_bg(b"f", b"", b"1234567")
    admin.asks(b"pause function f")
    admin.asks(b"maxqueue f 5 6 7")
    one, two, end = admin.asks(b"show functions json").splitlines()
    assert end == b"."
    assert json.loads(one.decode()) == {
        "function": "f", "paused": True, "waiting": 1, "running": 0, "delayed": 0, "aside": 0, "workers": 1, "busy": 0,
        "size": 7,
        "max_queue": [5, 6, 7], "submitted": 2, "joined": 1, "completed": 1, "failed": 0, "requeued": 0, "set_aside": 0,
        "cancelled": 0, "refused": 0, "lost": 0, "late": 0, "oldest": 0.0,
        "waiting_high": 0, "waiting_normal": 1, "waiting_low": 0,
        "recent": {"submitted": 0, "completed": 0, "failed": 0, "seconds": 300}, "last_failure": None, "last_success": {
            "handle": "H:x:1", "unique": "u", "outcome": "completed", "time": world.wall, "age": 0.0, "waited": 0.0,
            "ran": 0.0, "text": "", "worker": {"number": 3, "address": "127.0.0.1", "client_id": "-"}}}
    two = json.loads(two.decode())
    assert (two["function"], two["paused"], two["max_queue"]) == ("f\\xff", False, None)


def test_show_totals_counts_what_has_happened(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f")
    done, failed, lost = client.submits_bg(b"f", b"u"), client.submits_bg(), client.submits_bg()
    client.submits_bg(b"f", b"u")
    assert [worker.grabs(), worker.grabs(), worker.grabs()] == [done, failed, lost]
    worker.says(WORK_COMPLETE, done, b"").says(WORK_FAIL, failed)
    worker.says(WORK_COMPLETE, done, b"").hears_error(b"JOB_NOT_FOUND")
    worker.leaves()
    world.passes(7.5)
    client.asks(b"drain")
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR")
    client.asks(b"cancel job " + client_job(world))
    world.core.counters["peers_dropped"] = 2
    assert admin.asks(b"show totals") == (
        b"submitted\t3\njoined\t1\ncompleted\t1\nfailed\t2\nrequeued\t1\nset_aside\t0\ncancelled\t1\nrefused\t1\nlost\t1\n"
        b"late\t0\n"
        b"jobs\t0\naside\t0\njob_bytes\t0\npeers\t2\nfunctions\t1\nuptime\t7\njobs_adopted\t0\nlate_results\t1\n"
        b"peers_dropped\t2\n"
        b"refused_abilities\t0\nrefused_draining\t1\nrefused_function_job_bytes\t0\nrefused_function_jobs\t0\n"
        b"refused_functions\t0\nrefused_job_bytes\t0\nrefused_jobs\t0\nrefused_max_queue\t0\nrefused_unstored\t0\n.\n")


def client_job(world):
    handle, = world.core.jobs
    return handle


def test_show_alone_is_an_unknown_command_and_of_something_else_an_error(world):
    admin = world.connects()
    assert admin.asks(b"show") == UNKNOWN + b"show\r\n"
    for line in (b"show me", b"show jobs xml", b"show unique", b"show aside all"):
        assert admin.asks(line) == b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"


# ------------------------------------------------------------------------------------------------------------------- maxqueue

@pytest.mark.parametrize("words, high, normal, low", (
    (b"2", 2, 2, 2), (b"1 2", 1, 2, 0), (b"1 2 3", 1, 2, 3), (b"0 0 1", 0, 0, 1), (b"", 0, 0, 0), (b"0", 0, 0, 0),
    (b"-1", 0, 0, 0), (b"many", 0, 0, 0), ("٣".encode(), 0, 0, 0)))
def test_maxqueue_limits_a_function_by_priority(world, words, high, normal, low):
    admin, client = world.connects(), world.connects()
    assert admin.asks(b"maxqueue f " + words) == b"OK\r\n"
    for packet_type, limit in ((SUBMIT_JOB_HIGH, high), (SUBMIT_JOB, normal), (SUBMIT_JOB_LOW, low)):
        handles = []
        for _ in range(limit or 5):
            handles.append(client.submits(b"f", packet_type=packet_type))
        if limit:
            client.says(packet_type, b"f", b"", b"").hears_error(b"QUEUE_ERROR", b"Job queue is full")
        admin.asks(b"cancel function f")
        client.hears(*[(WORK_FAIL, handle) for handle in handles])


def test_maxqueue_counts_all_priorities_running_and_delayed_jobs(world):
    client, worker = world.connects(), world.worker(b"f")
    client.asks(b"maxqueue f 3")
    client.submits(packet_type=SUBMIT_JOB_LOW)
    worker.grabs()
    client.submits_bg()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:3"))
    client.says(SUBMIT_JOB_HIGH, b"f", b"", b"").hears_error(b"QUEUE_ERROR", b"Job queue is full")


def test_maxqueue_works_before_a_function_exists_and_survives_drop(world):
    client = world.connects()
    assert client.asks(b"maxqueue f 1") == b"OK\r\n" and client.asks(b"status") == b".\n"
    client.submits_bg()
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR")
    client.asks(b"drop function f force")
    client.submits_bg()
    client.says(SUBMIT_JOB, b"f", b"", b"").hears_error(b"QUEUE_ERROR")
    client.asks(b"maxqueue f")
    client.submits_bg()


def test_maxqueue_of_a_number_of_8000_digits_is_a_large_limit(world):
    client = world.connects()
    assert client.asks(b"maxqueue f " + b"9" * 8000) == b"OK\r\n"
    client.submits()


def test_maxqueue_without_a_function_is_incomplete(world):
    assert world.connects().asks(b"maxqueue") == INCOMPLETE + b"maxqueue\r\n"


# ------------------------------------------------------------------------------------------------------------- create and drop

@pytest.mark.parametrize("line", (b"create", b"create function", b"create f", b"create queue f", b"create function f g"))
def test_create_wants_the_word_function_and_a_name(world, line):
    assert world.connects().asks(line) == INCOMPLETE + b"create\r\n"


@pytest.mark.parametrize("line", (b"drop", b"drop function", b"drop queue f", b"drop function f g",
                                  b"drop function f force now"))
def test_drop_wants_the_word_function_and_a_name(world, line):
    admin = world.connects()
    admin.asks(b"create function f")
    assert admin.asks(line) == INCOMPLETE + b"drop\r\n"


def test_drop_compares_names_ignoring_case_but_takes_the_exact_one_first(world):
    admin = world.connects()
    for name in (b"ABC", b"abc"):
        admin.asks(b"create function " + name)
    assert admin.asks(b"drop function abc") == b"OK\r\n" and list(world.core.functions) == [b"ABC"]
    assert admin.asks(b"drop function aBc") == b"OK\r\n"
    assert admin.asks(b"drop function abc") == b"ERR function not found\r\n"


def test_a_forced_drop_ignores_the_case_of_a_name_too(world):
    client = world.connects()
    client.submits_bg(b"Reverse")
    assert client.asks(b"drop function REVERSE") == b"ERR there are still 1 jobs queued: force sets them aside\r\n"
    assert client.asks(b"drop function REVERSE force") == b"OK\r\n"
    assert world.aside() == [(b"H:x:1", b"its function was dropped")] and not world.core.functions


@pytest.mark.parametrize("force", (b"", b" force"))
def test_drop_is_refused_while_there_are_workers_or_running_jobs(world, force):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"f")
    refused = b"ERR there are still connected workers or executing clients\r\n"
    assert admin.asks(b"drop function f" + force) == refused
    client.submits()
    worker.grabs()
    assert admin.asks(b"drop function f" + force) == refused


def test_drop_refuses_while_jobs_are_queued_and_says_how_many(world):
    admin, client = world.connects(), world.connects()
    client.submits_bg()
    client.submits_bg()
    assert admin.asks(b"drop function f") == b"ERR there are still 2 jobs queued: force sets them aside\r\n"
    assert admin.asks(b"drop function f FORCE") == b"OK\r\n" and len(world.aside()) == 2


# -------------------------------------------------------------------------------------------------------------------- cancel

@pytest.mark.parametrize("line, reply", (
    (b"cancel", UNKNOWN + b"cancel\r\n"), (b"cancel job", UNKNOWN + b"cancel\r\n"), (b"cancel x y", b"ERR UNKNOWN_ERROR\r\n"),
    (b"cancel job a b", b"ERR UNKNOWN_ERROR\r\n"), (b"cancel job H:x:99", b"ERR UNKNOWN_JOB\r\n"),
    (b"cancel function none", b"ERR function not found\r\n"), (b"cancel unique none", b"ERR UNKNOWN_JOB\r\n")))
def test_cancel_of_nothing(world, line, reply):
    assert world.connects().asks(line) == reply


def test_cancel_by_function_and_by_unique(world):
    admin, client, worker = world.connects(), world.connects(), world.worker(b"g")
    jobs = [client.submits(function, unique) for function in (b"f", b"g") for unique in (b"u", b"v")]
    assert worker.grabs() == jobs[2]
    assert admin.asks(b"cancel unique u f") == b"OK 1\r\n"
    client.hears((WORK_FAIL, jobs[0]))
    assert admin.asks(b"Cancel Unique u") == b"OK 1\r\n"
    client.hears((WORK_FAIL, jobs[2]))
    worker.says(WORK_COMPLETE, jobs[2], b"").hears_error(b"JOB_NOT_FOUND")
    client.submits_bg(b"g", b"w")
    assert admin.asks(b"cancel function g") == b"OK 2\r\n"
    client.hears((WORK_FAIL, jobs[3]))
    assert list(world.core.jobs) == [jobs[1]]


# --------------------------------------------------------------------------------------------------------- set aside and others

def test_requeue_and_purge_by_handle_function_and_all(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    admin, client = world.connects(), world.connects()
    for function in (b"f", b"f", b"g", b"h"):
        client.submits_bg(function)
    for function in (b"f", b"f", b"g", b"h"):
        world.loses(1, function)
    assert admin.asks(b"requeue job H:x:1") == b"OK 1\r\n"
    assert admin.asks(b"requeue function f") == b"OK 1\r\n"
    assert admin.asks(b"purge function g") == b"OK 1\r\n"
    assert admin.asks(b"purge job H:x:3") == b"ERR UNKNOWN_JOB\r\n"
    assert admin.asks(b"requeue all") == b"OK 1\r\n" and admin.asks(b"purge all") == b"OK 0\r\n"
    assert sorted(world.core.jobs) == [b"H:x:1", b"H:x:2", b"H:x:4"] and world.aside() == []


@pytest.mark.parametrize("line", (b"requeue", b"requeue job", b"requeue all jobs", b"purge", b"purge function", b"purge x y",
                                  b"pause", b"pause function", b"resume f", b"resume function f g", b"drain maybe",
                                  b"drain on off", b"shutdown now", b"shutdown graceful now"))
def test_incomplete_commands(world, line):
    assert world.connects().asks(line) == INCOMPLETE + line.split()[0] + b"\r\n"
    assert not world.core.stopping and not world.core.draining and world.core.functions == {}


@pytest.mark.parametrize("line", (b"requeue all", b"purge all", b"cancel function f", b"requeue function f",
                                  b"purge function f"))
def test_an_order_for_all_jobs_is_obeyed_although_there_are_none(world, line):
    admin = world.connects()
    admin.asks(b"create function f")
    assert admin.asks(line) == b"OK 0\r\n"


@pytest.mark.parametrize("line", (b"pause function nope", b"resume function nope", b"drop function nope",
                                  b"cancel function nope", b"requeue function nope", b"purge function nope"))
def test_an_order_for_a_function_that_is_none_is_an_error(world, line):
    assert world.connects().asks(line) == b"ERR function not found\r\n" and world.core.functions == {}


def test_a_function_may_be_paused_before_it_has_workers_or_jobs(world):
    admin = world.connects()
    assert admin.asks(b"create function f") == admin.asks(b"pause function f") == b"OK\r\n"
    admin.submits_bg()
    assert world.worker(b"f").grabs() is None


def test_drain_on_and_off(world):
    admin = world.connects()
    for line, draining in ((b"drain", True), (b"drain off", False), (b"drain on", True), (b"DRAIN Off", False)):
        assert admin.asks(line) == b"OK\r\n" and world.core.draining == draining


@pytest.mark.parametrize("line, stopping", ((b"shutdown", "now"), (b"shutdown graceful", "graceful"), (b"SHUTDOWN", "now")))
def test_shutdown(world, line, stopping):
    assert world.connects().asks(line) == b"OK\r\n" and world.core.stopping == stopping


# --------------------------------------------------------------------------------------------------------------------- growth

def calls(world, line):
    """How many functions, Python's and C's, are called to answer a line: what it costs, but the same on a busy machine."""
    count = [0]

    def note(frame, event, argument):
        count[0] += event in ("call", "c_call")
    admin = world.connects()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        world.core.receive(admin.peer, [(TEXT_LINE, (line,))])
    finally:
        sys.setprofile(before)
    admin.takes()
    admin.leaves()
    return count[0]


@pytest.mark.parametrize("line", (b"status", b"prioritystatus", b"show jobs", b"show unique jobs", b"show jobs json",
                                  b"show functions json", b"show aside", b"show totals", b"workers", b"cancel unique none",
                                  b"maxqueue f 1", b"version"))
def test_no_command_costs_more_than_its_share_of_jobs_and_functions(world, line):
    world.after_step = lambda: None
    client = world.connects()

    def grow(jobs):
        for number in range(world.core.number, jobs):
            world.core.receive(client.peer, [(SUBMIT_JOB_BG, [b"f%d" % (number // 10), b"u%d" % number, b"w"])])
        client.takes()
    grow(100)
    few = calls(world, line)
    grow(800)
    assert calls(world, line) <= 8 * few + 20


def test_limits_for_functions_that_there_are_not_are_as_many_as_functions_may_be(make_world):
    admin = make_world(limits=Limits(functions=2)).connects()
    assert [admin.asks(b"maxqueue %b 5" % name) for name in (b"a", b"b", b"c", b"b")] == [
        b"OK\r\n", b"OK\r\n", b"ERR QUEUE_ERROR Too+many+functions\r\n", b"OK\r\n"]
    assert admin.asks(b"maxqueue a") == b"OK\r\n" and admin.asks(b"maxqueue c 5") == b"OK\r\n"


# ------------------------------------------------------------------------------------------- the servers of the same database

def test_a_server_that_has_its_store_for_itself_shows_no_servers(world):
    admin = world.connects()
    assert admin.asks(b"show servers") == b".\n"
    assert admin.asks(b"show servers json") == b".\n"


def test_servers_of_the_same_database_are_shown_with_their_states(world):
    world.core.servers = [Neighbour("one", 1, 0.46, 5.0, False, "", 0.0), Neighbour("two", 3, 90.0, 5.0, False, "one", 61.0)]
    admin = world.connects()
    assert admin.asks(b"show servers") == b"one\tlives\t0.5\t-\ntwo\tadopted\t90.0\tone\n.\n"
    *lines, end, rest = admin.asks(b"SHOW Servers JSON").split(b"\n")
    assert (end, rest) == (b".", b"")
    assert [json.loads(line.decode()) for line in lines] == [
        {"server": "one", "state": "lives", "silent": 0.46, "take_over": 5.0, "adopted_by": None, "adopted_ago": None},
        {"server": "two", "state": "adopted", "silent": 90.0, "take_over": 5.0, "adopted_by": "one", "adopted_ago": 61.0}]
