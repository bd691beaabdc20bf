"""The command `client`: what becomes a job, what is printed, and with which status it ends."""
import io
import os
import signal
import subprocess
import sys
import threading
import uuid

import pytest

from client_tools import be_silent, obey, once, vanish
from gearman_std.client.admin import AdminClient
from gearman_std.cli.cli import main
from gearman_std.cli.client import make_unique
from gearman_std.cli.console import Console
from gearman_std.server.server import Server
from gearman_std.testing import JobServer
from gearman_std.worker.worker import Worker
from gearman_std.worker.job import Retry


@pytest.fixture(scope="module")
def address():
    """HOST:PORT of a server with a worker that can do a few functions."""
    with Server(port=0) as server:
        worker = Worker([server.address], threads=4)
        worker.register("echo", lambda job: job.workload)
        worker.register("reverse", lambda job: job.workload[::-1])
        worker.register("unique", lambda job: job.unique)

        @worker.function("talk")
        def talk(job):
            job.send_data(b"first ")
            job.send_status(1, 4)
            job.send_warning(b"careful\n")
            job.send_data(b"second ")
            job.send_status(3, 4)
            return b"last"

        @worker.function("divide")
        def divide(job):
            job.send_status(1, 0)

        @worker.function("fail")
        def fail(job):
            raise RuntimeError("it broke, " + job.text)

        @worker.function("second try")
        def second_try(job):
            tries.append(job.workload)
            if tries.count(job.workload) == 1:
                raise RuntimeError("not yet")
            return b"done"

        @worker.function("sleep")
        def sleep(job):
            raise Retry(3600.0)

        tries = []
        thread = threading.Thread(target=worker.work)
        thread.start()
        yield "%s:%d" % server.address
        worker.stop()
        thread.join(20)


def client(address, *words, stdin=b""):
    """Run `client`; return status, output and errors."""
    there = Console("", io.BytesIO(stdin), io.BytesIO(), io.BytesIO())
    status = main(["client", "-h", address] + list(words), there)
    return status, there.stdout.getvalue(), there.stderr.getvalue()


def waiting(address):
    """The jobs that wait at a server: (function, unique, priority, size)."""
    with AdminClient(address) as admin:
        return [(job["function"], job["unique"], job["priority"], job["size"]) for job in admin.job_details()]


# --- What becomes a job.


@pytest.mark.parametrize("words, stdin, output", [
    (["-f", "reverse", "abc"], b"unread", b"cba"),
    (["-f", "reverse", "abc", "def"], b"", b"cbafed"),
    (["-f", "reverse"], b"abc\n", b"\ncba"),
    (["-f", "echo"], b"", b""),
    (["-f", "echo"], bytes(range(256)), bytes(range(256))),
    (["-f", "reverse", "-n"], b"ab\n\ncd", b"\nba\ndc"),
    (["-f", "reverse", "-N"], b"ab\n\ncd", b"badc"),
    (["-N", "-f", "reverse"], b"ab\r\n", b"\rba"),
    (["-f", "echo", "-s"], b"unread", b""),
    (["-f", "echo", "-f", "reverse", "abc"], b"", b"cbaabc"),  # the last function first, as in gearman
    (["-f", "echo", "-f", "reverse", "-N"], b"ab\ncd\n", b"baabdccd"),
    (["-f", "reverse", "--", "-n"], b"", b"n-"),
    (["-freverse", "-nP"], b"ab\ncd\n", b"reverse: \nbareverse: \ndc"),
])
def test_data_becomes_jobs(address, words, stdin, output):
    assert client(address, *words, stdin=stdin) == (0, output, b"")


def test_bytes_of_the_command_line_that_are_no_text_arrive(address):
    assert client(address, "-f", "echo", os.fsdecode(b"\xff\xfe")) == (0, b"\xff\xfe", b"")


def test_the_name_of_a_reducer_is_bytes_too(serve):
    server = serve()
    assert client(server.name, "-f", "f", "--reducer", os.fsdecode(b"s\xfcm"), "x") == (0, b"x", b"")
    assert server.outcome()[0][3] == b"s\xfcm"


def test_a_large_job_comes_back(address):
    data = os.urandom(5000000)
    assert client(address, "-f", "echo", stdin=data) == (0, data, b"")


def test_results_come_in_order_even_if_several_jobs_run_at_a_time(address):
    lines = [b"%d\n" % number for number in range(500)]
    assert client(address, "-f", "echo", "-n", "-j", "64", stdin=b"".join(lines)) == (0, b"".join(lines), b"")


# --- What is printed.


def test_data_progress_and_warnings_are_printed_as_they_come(address):
    assert client(address, "-f", "talk", "") == (0, b"first 25% Complete\nsecond 75% Complete\nlast", b"careful\n")


def test_with_prefix(address):
    assert client(address, "-P", "-f", "talk", "") == (
        0, b"talk: first talk: 25% Complete\ntalk: second talk: 75% Complete\ntalk: last", b"talk: careful\n")


def test_of_several_jobs_at_a_time_each_prints_in_its_turn(address):
    once = b"first 25% Complete\nsecond 75% Complete\nlast"
    assert client(address, "-j", "3", "-f", "talk", "a", "b", "c", "d") == (0, once * 4, b"careful\n" * 4)


def test_progress_in_parts_of_nothing(address):
    """Which kills gearman with a division by zero."""
    assert client(address, "-f", "divide", "x") == (0, b"0% Complete\n", b"")


def test_verbose_tells_the_handle_first(address):
    status, output, _ = client(address, "-v", "-f", "echo", "data")
    first, _, rest = output.partition(b"\n")
    assert (status, rest) == (0, b"data")
    assert first.startswith(b"Task created: H:")


def test_a_failed_job_is_told_and_the_others_are_done(address):
    assert client(address, "-f", "fail", "-f", "echo", "a", "b") == (
        1, b"ab", b"Job failed: it broke, a\nJob failed: it broke, b\n")
    assert client(address, "-P", "-f", "fail", "a") == (1, b"", b"fail: Job failed: it broke, a\n")


def test_a_failed_job_may_be_tried_again(address):
    assert client(address, "--attempts", "2", "-f", "second try", "x") == (0, b"done", b"")


@pytest.mark.parametrize("words", [["-u", "u"], ["-j", "2"], ["-b"]])
def test_a_job_whose_server_was_lost_may_be_tried_again(serve, words):
    server = serve(once(vanish, obey))
    status, _, errors = client(server.name, "--attempts", "2", "-f", "f", *words, "--", "x")
    assert (status, errors) == (0, b"")
    server.outcome()
    assert client(serve(vanish).name, "-f", "f", *words, "--", "x", "y")[0] == 3


def test_a_job_that_takes_too_long(address):
    assert client(address, "-t", "50", "-f", "sleep", "x") == (4, b"", b"gearman-std client: no result of sleep within 50 ms\n")


def test_nobody_there():
    with Server(port=0) as server:
        address = "%s:%d" % server.address
    status, output, errors = client(address, "-f", "x", "x")
    assert (status, output) == (3, b"")
    assert errors.startswith(b"gearman-std client: cannot connect to 127.0.0.1:") and errors.count(b"\n") == 1


@pytest.mark.parametrize("words, complaint", [
    (["x"], b"no function was given"), (["-f", "x", "--at", "tomorrow", "x"], b"'tomorrow' is not a unix time"),
    (["-f", "x", "--at", "5m", "x"], b"'5m' is not a unix time"), (["-f", "x", "--delay", "-1", "x"], b"--delay"),
    (["-f", "x", "--cron", "* * *", "x"], b"five fields"), (["-f", "x", "--cron", "0 25 * * *", "x"], b"hour"),
    (["-f", "x", "--cron", "@daily", "--delay", "1", "x"], b"delay and schedule"),
    (["-f", "x", "-t", "y"], b"-t: 'y' is not a whole number;"),
    (["-f", "", "x"], b"function"), (["-f", "x", "-u", "x" * 65, "x"], b"unique"),
    (["-f", "x", "--delay", "1", "-I", "x"], b"normal"),
])
def test_what_makes_no_sense(address, words, complaint):
    status, output, errors = client(address, *words)
    assert (status, output) == (2, b"")
    assert errors.startswith(b"gearman-std client: ") and complaint in errors and errors.count(b"\n") == 1


# --- Background, priority, unique, time.


@pytest.fixture
def idle():
    """HOST:PORT of a server without workers."""
    with Server(port=0) as server:
        yield "%s:%d" % server.address


def test_background_jobs(idle):
    assert client(idle, "-b", "-f", "one", "abc", "de") == (0, b"", b"")
    assert client(idle, "-bI", "-f", "two", "-f", "one", "-u", "u", stdin=b"x") == (0, b"", b"")
    assert client(idle, "-b", "-L", "-n", "-j", "100", "-f", "three", stdin=b"a\nb\n" * 200)[0] == 0
    jobs = waiting(idle)
    assert [job[0] for job in jobs[:4]] == ["one", "one", "one", "two"]
    assert [job[3] for job in jobs[:4]] == [3, 2, 1, 1]
    assert jobs[2][1:3] == ("u", "high")
    assert len(jobs) == 404 and len({job[1] for job in jobs}) == 403
    assert {job[2:] for job in jobs[4:]} == {("low", 2)}


def test_background_and_verbose(idle):
    status, output, _ = client(idle, "-bv", "-f", "one", "a", "b")
    assert status == 0 and output.count(b"Task created: ") == 2


def test_a_queue_that_is_full(idle):
    with AdminClient(idle) as admin:
        admin.max_queue("one", 1)
    assert client(idle, "-b", "-f", "one", "a", "b") == (
        1, b"", b"gearman-std client: QUEUE_ERROR: Job queue is full (function one)\n")
    assert client(idle, "-b", "-j", "5", "-f", "one", "a", "b")[0] == 1
    assert client(idle, "-f", "one", "a")[0] == 1


def test_a_job_of_later(idle):
    assert client(idle, "--delay", "100", "-f", "one", "x") == (0, b"", b"")
    assert client(idle, "--at", "4000000000", "-f", "one", "x") == (0, b"", b"")
    with AdminClient(idle) as admin:
        assert [job["state"] for job in admin.job_details()] == ["delayed", "delayed"]


def test_a_worker_may_be_required(idle):
    assert client(idle, "--require-worker", "-f", "one", "x") == (1, b"", b"gearman-std client: no worker can do one\n")


def test_the_unique_of_a_job(address):
    assert make_unique("photo", b"data") == b"photo"
    assert make_unique("-", b"data") == b"-"
    assert make_unique("#", b"x") == b"1030509023" and make_unique("#", b"hello world") == b"2727477341"  # as gearman
    assert make_unique(None, b"data") != make_unique(None, b"data")
    assert len(make_unique("", b"data")) == 36
    assert make_unique("u" * 64, b"data") == b"u" * 63
    assert make_unique(None, b"", lambda size: b"\0" * size) == b"00000000-0000-4000-8000-000000000000"
    for data in [os.urandom(16) for _ in range(64)]:
        assert make_unique(None, b"", lambda size: data) == str(uuid.UUID(bytes=data, version=4)).encode()
    assert client(address, "-u", "photo", "-f", "unique", "x")[1] == b"photo"
    assert len(client(address, "-f", "unique", "x")[1]) == 36


# --- As a process.


def start(address, *words, **options):
    return subprocess.Popen([sys.executable, "-m", "gearman_std", "client", "-h", address] + list(words),
                            **dict({"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, **options))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_reason_to_complain(address, unbuffered):
    process = start(address, "-f", "echo", env=dict(os.environ, PYTHONUNBUFFERED=unbuffered))
    process.stdin.write(b"x" * 3000000)
    process.stdin.close()
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk(address):
    with open("/dev/full", "wb") as full:
        process = start(address, "-f", "talk", "", stdout=full)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert errors == b"gearman-std client: cannot write to standard output: No space left on device\n"


def test_each_line_is_a_job_as_soon_as_it_is_there(address):
    """For tail -f, and for people who type."""
    process = start(address, "-f", "reverse", "-N")
    for line, result in ((b"abc\n", b"cba"), (b"1234\n", b"4321")):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.read(len(result)) == result
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_quietly_and_the_pid_file_goes(address, tmp_path, number, status):
    path = tmp_path / "pid"
    process = start(address, "-v", "-f", "sleep", "-i", str(path), "x")
    assert process.stdout.readline().startswith(b"Task created")
    assert path.read_text() == "%d\n" % process.pid
    process.send_signal(number)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == status
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="about processes as POSIX has them")
def test_it_may_detach(address):
    process = start(address, "-d", "-n", "-f", "echo")
    assert process.communicate(b"one\ntwo\n", timeout=20) == (b"one\ntwo\n", b"")
    assert process.returncode == 0


# --- As a worker.


def test_worker_mode_runs_a_command(idle):
    worker = start(idle, "-w", "-c", "2", "-f", "wc", "--", sys.executable, "-c", "import sys; print(len(sys.stdin.read()))")
    assert client(idle, "-f", "wc", "four", "sixsix") == (0, b"4\n6\n".replace(b"\n", os.linesep.encode()), b"")
    assert worker.communicate(timeout=20) == (b"", b"")
    assert worker.returncode == 0


def test_worker_mode_without_a_command_prints_data(idle):
    assert client(idle, "-b", "-f", "q", "one ", "two ", "three")[0] == 0
    assert client(idle, "-w", "-c", "2", "-f", "q") == (0, b"one two ", b"")
    assert [job[3] for job in waiting(idle)] == [5]


def test_worker_mode_loses_no_job_to_a_reader_that_went_away(idle):
    client(idle, "-b", "-f", "q", stdin=b"x" * 3000000)
    worker = start(idle, "-w", "-f", "q")
    assert worker.stdout.read(1) == b"x"
    worker.stdout.close()
    assert worker.wait(20) == 141
    worker.stdin.close()
    worker.stderr.close()
    assert [job[3] for job in waiting(idle)] == [3000000]


def test_worker_mode_wants_a_program_that_is_there(idle):
    status, _, errors = client(idle, "-w", "-f", "q", "no-such-program-anywhere")
    assert status == 2 and b"there is no program" in errors


# --- As the program gearman.

SAME = [["-f", "echo"], ["-f", "echo", "a", "b"], ["-f", "echo", "-n"], ["-f", "echo", "-P", "-n"], ["-f", "echo", "-s"],
        ["-f", "echo", "-u", "u"], ["-f", "echo", "-I", "x"], ["-f", "echo", "-L", "x"], ["-bf", "echo", "x"],
        ["-f", "echo", "--", "-x"],
        ["-P", "-f", "talk", "x"]]  # without -P, gearman writes progress into a pipe only when it ends, after all data


@pytest.mark.interop
@pytest.mark.parametrize("words", SAME, ids=" ".join)
def test_output_is_gearmans_to_the_byte(address, require, words):
    host, port = address.split(":")
    theirs = subprocess.run([require("gearman"), "-h", host, "-p", port] + words, input=b"one\ntwo", stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=20)
    assert client(address, *words, stdin=b"one\ntwo") == (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.mark.interop
def test_equal_data_has_gearmans_key(idle, require):
    """So that jobs of either program meet their equals."""
    host, port = idle.split(":")
    for size in range(1, 14):
        data = os.urandom(size).replace(b"\0", b"1")
        subprocess.run([require("gearman"), "-h", host, "-p", port, "-bf", "q", "-u", "#"], input=data, timeout=20, check=True)
        assert client(idle, "-bf", "q", "-u", "#", stdin=data) == (0, b"", b"")
    with AdminClient(idle) as admin:
        assert [job["joins"] for job in admin.job_details()] == [1] * 13


# --- What a person is told.


class Terminal(io.BytesIO):
    """A stream with a person at its other end."""

    def isatty(self):
        return True


class Impatient(Terminal):
    """A person who presses Ctrl-C when told that the command waits."""

    def write(self, data):
        super().write(data)
        if b"waiting for" in data:
            raise KeyboardInterrupt
        return len(data)


@pytest.mark.parametrize("words, text", [([], b"reading the data from the terminal, up to Ctrl-D"),
                                         (["-n"], b"reading a job of each line from the terminal, up to Ctrl-D"),
                                         (["-s"], b""), (["word"], b"")])
def test_who_is_waited_for_at_a_terminal_is_told_so(address, words, text):
    there = Console("", Terminal(b"typed"), io.BytesIO(), io.BytesIO())
    assert main(["client", "-h", address, "-f", "echo"] + words, there) == 0
    assert there.stderr.getvalue() == (b"gearman-std client: " + text + b"\n" if text else b"")


def test_who_waits_for_what_nobody_can_do_is_told_so(idle, address, monkeypatch):
    assert client(idle, "-t", "50", "-f", "nobody", "x") == (
        4, b"", b"gearman-std client: no result of nobody within 50 ms; no worker can do it\n")
    monkeypatch.setattr("gearman_std.cli.client._NOBODY_WAIT", 0.05)
    there = Console("", io.BytesIO(), io.BytesIO(), Impatient())
    assert main(["client", "-h", idle, "-f", "nobody", "x"], there) == 130
    assert there.stderr.getvalue() == b"gearman-std client: waiting for a worker that can do nobody\n"
    there = Console("", io.BytesIO(), io.BytesIO(), Terminal())
    assert main(["client", "-h", address, "-t", "300", "-f", "sleep", "x"], there) == 4
    assert b"waiting for" not in there.stderr.getvalue()


def test_a_function_that_nobody_can_do_may_have_been_meant_to_be_another_one(address, monkeypatch):
    meant = b" (did you mean echo?)\n"
    assert client(address, "--require-worker", "-f", "ehco", "x", "y") == (
        1, b"", (b"gearman-std client: no worker can do ehco" + meant) * 2)
    assert client(address, "-t", "50", "-f", "ehco", "x") == (
        4, b"", b"gearman-std client: no result of ehco within 50 ms; no worker can do it" + meant)
    monkeypatch.setattr("gearman_std.cli.client._NOBODY_WAIT", 0.05)
    there = Console("", io.BytesIO(), io.BytesIO(), Impatient())
    assert main(["client", "-h", address, "-f", "ehco", "x"], there) == 130
    assert there.stderr.getvalue() == b"gearman-std client: waiting for a worker that can do ehco" + meant


def test_nobody_is_told_that_no_worker_can_do_what_one_is_doing():
    """It may take no more of them."""
    go_on = threading.Event()
    with JobServer() as server:
        worker = Worker()
        worker.register("last", lambda job: (worker.unregister("last"), go_on.wait(20)) and None)
        working = server.start_worker(worker)
        worker.unregister = working.unregister
        assert client(server.name, "-t", "200", "-f", "last", "x") == (
            4, b"", b"gearman-std client: no result of last within 200 ms\n")
        go_on.set()


@pytest.mark.parametrize("words", [["-t", "0"], ["-t", "1"], ["-t", "1", "-b"], ["-t", "1", "-v"], ["-t", "1", "-j", "3"]])
def test_whatever_takes_too_long_it_is_a_time_out(silent, serve, monkeypatch, words):
    """Connecting too."""
    monkeypatch.setattr("gearman_std.cli.client._NOBODY_WAIT", 0.01)  # for each job, it asks in vain what workers can do
    for server in (silent, serve(be_silent).name):
        status, output, errors = client(server, "-f", "f", *words, "--", "x", "y")
        assert (status, output) == (4, b"")
        assert errors.count(b"\n") == 2 and errors.count(b" of f within %s ms\n" % words[1].encode()) == 2


def test_a_recurring_job(idle):
    assert client(idle, "-f", "f", "-u", "u", "--cron", "0 9 * * mon-fri", "x") == (0, b"", b"")
    with AdminClient(idle) as admin:
        assert [(job["state"], job["schedule"]) for job in admin.job_details()] == [("delayed", "0 9 * * 0,1,2,3,4")]


# --- Names in every locale.


LOCALES = [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}]


@pytest.mark.skipif(os.name != "posix", reason="about the bytes of a command line")
@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: "-".join(locale.values()))
def test_names_and_data_are_the_bytes_of_the_command_line(locale):
    name = b"gr\xf6\xdfe\t\xc3\xbc"
    with Server(port=0) as server, AdminClient([server.address]) as admin:
        here = ["-p", "%d" % server.address[1], "-h", "127.0.0.1"]

        def run(command, *words):
            done = subprocess.run([sys.executable, "-m", "gearman_std", command] + here + list(words), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=20, env=dict(os.environ, **locale))
            return done.returncode, done.stdout, done.stderr
        assert run("client", "-bvP", "-f", name, "-u", name, b"\xff\xe9")[::2] == (0, b"")
        assert admin.unique_jobs() == [name]
        status, output, errors = run("client", "-t", "100", "-f", name, b"x")
        assert (status, output) == (4, b"")
        assert errors.startswith(b"gearman-std client: no result of gr\\xf6\\xdfe \xc3\xbc within 100 ms")
        assert run("admin", "--pause", name, "--resume", name, "--max-queue", name + b"=5", "--status") == (
            0, b"OK\n" * 3 + name + b"\t1\t0\t0\n.\n", b"")
        worker = [sys.executable, "-m", "gearman_std", "worker"] + here + ["-f", name, "-c", "1"]
        assert subprocess.run(worker, stdout=subprocess.PIPE, timeout=20, env=dict(os.environ, **locale)).stdout == b"\xff\xe9"
        assert admin.unique_jobs() == []
