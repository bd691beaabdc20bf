"""The command `check`: exit status and one line, for each limit, with servers that tell all, little, or nothing."""
import io
import os

import pytest

from gearman_std.cli.check import CRITICAL, OK, NOT_TOLD, WARNING, Finding, judge, make_check_line, report, summarize
from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.client.client import Client
from gearman_std.server.server import Server
from gearman_std.testing import JobServer
from worker_tools import FakeServer


def figures(name="f", **others):
    return dict({"function": name, "waiting": 0, "running": 0, "workers": 1, "oldest": None, "aside": 0,
                 "recent": {"failed": 0}, "last_success": None, "completed": 0}, **others)


def judged(functions, *words, uptime=1000):
    """The status and the line for some figures and options."""
    options = make_check_line().parse(words)
    return report([summarize(functions)] + judge(functions, uptime, options))


@pytest.mark.parametrize("waiting, status", [(0, OK), (9, OK), (10, WARNING), (99, WARNING), (100, CRITICAL)])
def test_two_levels(waiting, status):
    assert judged([figures(waiting=waiting)], "--max-waiting", "10,100")[0] == status


def test_one_level_is_critical_when_it_is_reached():
    assert judged([figures(waiting=9)], "--max-waiting=10")[0] == OK
    assert judged([figures(waiting=10)], "--max-waiting=10")[0] == CRITICAL


def test_a_limit_of_one_function_says_nothing_about_others():
    functions = [figures("resize", waiting=50), figures("a:b", waiting=5)]
    assert judged(functions, "--max-waiting", "a:b:10")[0] == OK
    assert judged(functions, "--max-waiting", "resize:10") == (
        CRITICAL, "GEARMAN CRITICAL - resize: 50 waiting | 'waiting'=55;;;0 'running'=0;;;0 'resize_waiting'=50;;10;0\n")
    assert judged(functions, "--max-waiting", "other:10")[0] == OK


@pytest.mark.parametrize("option, bad", [
    ("--max-age", {"oldest": 301.0}), ("--max-aside", {"aside": 301}), ("--max-failed", {"recent": {"failed": 301}})])
def test_each_limit(option, bad):
    limit = "5m" if option == "--max-age" else "300"
    assert judged([figures()], option, limit)[0] == OK
    assert judged([figures(), figures("g", **bad)], option, limit)[0] == CRITICAL
    assert judged([figures("f"), figures("g", **bad)], option, "f:" + limit)[0] == OK


def test_nobody_can_do_what_waits():
    idle, stuck = figures("idle", workers=0), figures("stuck", workers=0, waiting=1)
    assert judged([idle], "--no-worker")[0] == OK
    assert judged([idle, stuck], "--no-worker") == (
        CRITICAL, "GEARMAN CRITICAL - no worker for stuck | 'waiting'=1;;;0 'running'=0;;;0\n")
    assert judged([idle], "--no-worker=idle")[0] == CRITICAL
    assert judged([idle], "--no-worker=unknown")[0] == CRITICAL
    assert judged([figures()], "--no-worker=f")[0] == OK


@pytest.mark.parametrize("last, uptime, status", [
    (10, 1e6, OK), (3600, 1e6, WARNING), (7200, 1e6, CRITICAL), (None, 60, OK), (None, 7200, CRITICAL)])
def test_a_job_that_cron_submits_is_late(last, uptime, status):
    function = figures("backup", last_success=None if last is None else {"age": last, "time": 0.0})
    assert judged([function], "--late", "backup=1h,2h", uptime=uptime)[0] == status


def test_a_function_that_never_was_is_late_when_the_server_has_run_for_long():
    assert judged([], "--late", "backup=1h", uptime=10)[0] == OK
    assert judged([], "--late", "backup=1h", uptime=3600)[0] == CRITICAL


@pytest.mark.parametrize("words", [["--max-age", "1"], ["--max-aside", "1"], ["--max-failed", "1"], ["--late", "f=1"]])
def test_what_a_server_does_not_tell_is_unknown(words):
    told = [{"function": "f", "waiting": 3, "running": 1, "workers": 1}]
    assert judged(told, *words, uptime=None)[0] == NOT_TOLD
    assert judged(told, "--max-waiting", "2", *words, uptime=None)[0] == CRITICAL  # which is worse
    assert judged([], *words, uptime=None)[0] == NOT_TOLD  # also before it has its first function


def test_a_success_of_which_the_server_remembers_no_more_is_not_called_none():
    functions = [figures("backup", completed=3)]
    assert judged(functions, "--late", "backup=1h", uptime=10)[0] == OK
    status, line = judged(functions, "--late", "backup=1h", uptime=7200)
    assert (status, "no longer knows" in line) == (NOT_TOLD, True)


def test_a_line_stays_a_line():
    status, line = report([Finding(CRITICAL, "a|b\nc", [("it's=", 1.5, ("", 1, 2.5), "s")]), Finding(OK, "well")])
    assert (status, line) == (CRITICAL, "GEARMAN CRITICAL - a/b c | 'it''s_'=1.5s;1;2.5;0\n")


def test_large_figures_are_written_as_graphs_read_them():
    line = judged([figures(waiting=1234567, oldest=2345678.25)], "--max-waiting", "2000000,3000000", "--max-age", "9000000")[1]
    assert " 'waiting'=1234567;;;0 " in line and "'max_waiting'=1234567;2000000;3000000;0 " in line
    assert "'max_age'=2345678.25s;;9000000;0\n" in line


def test_what_is_worst_comes_first():
    line = report([Finding(NOT_TOLD, "who knows"), Finding(WARNING, "many"), Finding(CRITICAL, "dead")])[1]
    assert line == "GEARMAN CRITICAL - dead, who knows, many\n"


def test_a_name_does_not_move_the_cursor_and_thousands_of_them_are_not_all_told():
    assert "\x1b" not in judged([figures("\x1b[2J", waiting=9)], "--max-waiting", "1")[1]
    line = judged([figures("f%d" % number, waiting=1, workers=0) for number in range(1000)], "--no-worker")[1]
    assert "no worker for f0, f1, f2, f3, f4, and 995 more | " in line


def check(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(["check"] + list(words), there)
    assert there.stderr.getvalue() == b""
    return status, there.stdout.getvalue().decode()


def at(server):
    return ["-h", "%s:%d" % server.address]


def test_a_server_with_jobs():
    with Server(port=0) as server, Client([server.address]) as client:
        for _ in range(3):
            client.submit("wc", b"one", background=True)
        assert check(*at(server)) == (
            OK, "GEARMAN OK - 3 waiting, 0 running in 1 functions | 'waiting'=3;;;0 'running'=0;;;0\n")
        assert check("--max-waiting=1,3", "--no-worker", *at(server))[0] == CRITICAL
        assert check("--max-waiting=3,4", "--late", "wc=1d", *at(server))[0] == WARNING
        assert check("--job", "wc", "--timeout", "0.05", *at(server))[0] == CRITICAL


def test_a_real_job():
    with JobServer() as server:
        server.start_worker({"reverse": lambda job: job.workload[::-1]})
        status, line = check("--job", "reverse", "--expect", "olleh", *at(server), "hello")
        assert (status, "reverse said 'olleh'" in line) == (OK, True)
        status, line = check("--job", "reverse", "--expect", "hello", *at(server), "hello")
        assert (status, "not 'hello'" in line) == (CRITICAL, True)


def test_no_server_is_critical():
    server = FakeServer()
    server.close()
    status, line = check("-h", server.address)
    assert status == CRITICAL and line.startswith("GEARMAN CRITICAL - ")


@pytest.mark.parametrize("words", [
    ["--max-waiting", "x"], ["--max-waiting", "5,1"], ["--max-waiting", "1,2,3"], ["--late", "f"], ["--late", "f=a:1"],
    ["--expect", "x"], ["data"], ["--job", "f", "a", "b"], ["--nothing"], ["--max-age", "f:1w"]])
def test_what_makes_no_sense_is_unknown(words):
    status, line = check(*words)
    assert status == NOT_TOLD and line.startswith("GEARMAN UNKNOWN - ") and line.count("\n") == 1


@pytest.mark.parametrize("words", [["--tls-ca", "/nowhere"], ["--tls-certificate", os.devnull], ["--tls-ca", "/\nor/|"]])
def test_files_that_cannot_be_used_are_unknown_not_a_warning(words):
    status, line = check("-S", *words)
    assert status == NOT_TOLD and line.startswith("GEARMAN UNKNOWN - ")
    assert line.count("\n") == 1 and "|" not in line


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_help_and_version_are_there_as_for_any_command(words):
    assert check(*words)[0] == OK


@pytest.mark.parametrize("stdout", [None, "/dev/full"])
def test_a_line_that_cannot_be_written_is_unknown_not_a_warning(stdout, server):
    there = Console("check", io.BytesIO(), None, io.BytesIO())
    there.stdout = stdout and open(stdout, "wb", 0)
    try:
        assert main(["check", "-h", "%s:%d" % server], there) == NOT_TOLD
    finally:
        if stdout:
            there.stdout.close()
    assert there.stderr.getvalue().startswith(b"gearman-std check: ")


def test_a_success_that_lies_ahead_since_the_clock_was_set_back_says_nothing():
    function = figures("backup", last_success={"age": 0.0, "time": 5000.0})
    options = make_check_line().parse(["--late", "backup=1h"])
    for now, status in ((1000.0, NOT_TOLD), (4990.0, OK), (6000.0, OK)):
        assert [one.status for one in judge([function], 9.0, options, lambda: now)] == [status]
