"""The command `worker`: programs and Python callables as functions, its life, its end."""
import io
import os
import re
import signal
import subprocess
import sys

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.options import UsageError
from gearman_std.cli.worker import load_function
from gearman_std.client.client import Client
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.errors import JobFailed
from gearman_std.server.server import Server

from patience import until

MODULE = """
import os, time

def reverse(job):
    return job.workload[::-1]

class Things:
    @staticmethod
    def count(job):
        return str(len(job.workload))

def fail(job):
    raise RuntimeError("it broke")

def told(job):
    job.send_data(b"started")
    wait_for_stop(job)
    if job.workload == b"for ever":
        time.sleep(60)
    return b"finished"

def wait_for_stop(job):
    while not job.stopping:
        time.sleep(0.005)  # as long as a function looks at it, now and then
    job.send_data(b"told to stop")

def double(job):
    return job.value * 2

def patient(job):
    job.send_data(str(os.getpid()))
    open(job.text).close()
    return b"finished"

def threaded(job):
    from concurrent.futures import ThreadPoolExecutor
    job.send_data(b"started")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(time.sleep, 60)
        wait_for_stop(job)
        waits.result()

def end(job):
    os._exit(int(job.text))

def talk(job):
    import logging, sys
    logging.getLogger("mine").warning("%s of mine", job.text)
    for stream in (sys.stdout, sys.stderr):
        print("printed", job.text, file=stream)
        stream.write("x" * 12000)
        stream.flush()
    return "talked"

def stubborn(job):
    job.send_data(b"started")
    wait_for_stop(job)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def where(job):
    import threading
    return str(threading.current_thread() is threading.main_thread())

number = 7
"""


@pytest.fixture
def server():
    with Server(port=0) as server:
        yield server


@pytest.fixture
def client(server):
    with Client([server.address], job_timeout=20) as client:
        yield client


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "somemodule.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def start(server, folder, processes):
    """start(words…) starts `worker` in a folder that has a module with functions."""
    def start(*words, **options):
        return processes.start([sys.executable, "-m", "gearman_std", "worker", "-h", "%s:%d" % server.address] + list(words),
                               cwd=str(folder), **dict({"stderr": subprocess.PIPE}, **options))
    return start


def peers(server):
    """The client ids of the workers that have functions."""
    with AdminClient(server.address) as admin:
        return [peer.client_id for peer in admin.workers() if peer.functions]


@pytest.fixture
def pipes(tmp_path):
    """Three pipes with names; a job of `patient` waits for the one that it is given."""
    paths = [str(tmp_path / ("pipe %d" % number)) for number in range(3)]
    for path in paths:
        os.mkfifo(path)
    return paths


def release(pipe):
    """Let the job go on that waits for a pipe, or that is about to."""
    with open(pipe, "w"):
        pass


# --- Functions.


def test_a_program_is_a_function(client, start):
    start("-f", "upper", "-f", "again", "--", sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())")
    assert client.run("upper", "hello") == b"HELLO"
    assert client.run("again", "hello") == b"HELLO"


def test_a_program_that_fails_says_why(client, start):
    start("-f", "x", "--", sys.executable, "-c", "import sys; print('some output'); sys.exit('no such thing')")
    task = client.submit("x")
    with pytest.raises(JobFailed) as caught:
        task.result()
    assert caught.value.exception == b"no such thing"
    with pytest.raises(JobFailed):
        list(task.stream())


def test_a_program_that_takes_too_long_is_killed(client, start):
    start("-f", "x", "--timeout", "200ms", "--", sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(JobFailed) as caught:
        client.run("x")
    assert b"time limit" in caught.value.exception


@pytest.mark.parametrize("option, chunks", [("-n", [b"one\n", b"two\n"]), ("-N", [b"one", b"two"])])
def test_lines_of_output_are_data(client, start, option, chunks):
    start("-f", "x", option, "--", sys.executable, "-c", "print('one'); print('two')")
    task = client.submit("x")
    assert [chunk.replace(b"\r", b"") for chunk in task.stream()] == chunks
    assert task.result() == b""


def test_callables_are_functions(client, start):
    start("somemodule:reverse", "length=somemodule:Things.count", "somemodule:fail", "--threads", "4")
    assert client.run("reverse", "hello") == b"olleh"
    assert client.run("length", "hello") == b"5"
    with pytest.raises(JobFailed) as caught:
        client.run("fail")
    assert caught.value.exception == b"it broke"


@pytest.mark.skipif(os.name != "posix", reason="about pipes with names")
def test_jobs_run_side_by_side_up_to_the_limit(client, start, pipes):
    """A third job of the function would have taken the place of those of the other."""
    start("somemodule:patient", "somemodule:reverse", "--threads", "3", "--limit", "2")
    tasks = [client.submit("patient", pipe) for pipe in pipes]
    assert all(next(task.stream()).isdigit() for task in tasks[:2])
    assert [client.run("reverse", "ab") for _ in range(3)] == [b"ba"] * 3
    for pipe in pipes:
        release(pipe)
    assert [task.result() for task in tasks] == [b"finished"] * 3


def test_a_serializer_is_nothing_to_a_command(client, start):
    start("--serializer", "json", "-f", "count", "--", sys.executable, "-c", "import sys; print(len(sys.stdin.read()))")
    assert client.run("count", "12345") == b"5\n"


def test_a_serializer(client, start):
    start("somemodule:double", "--serializer", "json")
    assert client.run("double", "[1, 2]") == b"[1, 2, 1, 2]"


@pytest.mark.parametrize("word, name", [("somemodule:reverse", b"reverse"), ("a=b=somemodule:reverse", b"a=b"),
                                        ("somemodule:Things.count", b"count")])
def test_names_of_callables(folder, monkeypatch, word, name):
    monkeypatch.syspath_prepend(str(folder))
    assert load_function(word)[0] == name


@pytest.mark.parametrize("word, complaint", [
    ("somemodule", "is not [NAME=]MODULE:CALLABLE"), ("somemodule:", "is not"), (":reverse", "is not"),
    ("=somemodule:reverse", "is not"), ("somemodule:nothing", "there is no nothing in somemodule"),
    ("somemodule:Things.nothing", "there is no"), ("somemodule:number", "cannot be called"),
    ("nomodule:reverse", "cannot import nomodule: ModuleNotFoundError"), ("broken:reverse", "cannot import broken: NameError"),
    ("exiting:reverse", "cannot import exiting: SystemExit: bye"),
])
def test_callables_that_cannot_be_had(folder, monkeypatch, word, complaint):
    (folder / "broken.py").write_text("nonsense\n")
    (folder / "exiting.py").write_text("raise SystemExit('bye')\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(UsageError) as caught:
        load_function(word)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("code, complaint", [
    ("import os\n\n1 / 0\n", r"ZeroDivisionError: .*division by zero \(%s, line 3\)"),
    ("\nimport no_such_thing\n", r"ModuleNotFoundError: No module named 'no_such_thing' \(%s, line 2\)"),
    ("import json\njson.loads('{')\n", r"JSONDecodeError: .*json/\w+\.py, line \d"),
    ("def f(:\n", r"SyntaxError: .*lines? 1.*\) \(%s\)"),
    ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(%s, line 2\)"),
])
def test_what_is_wrong_with_a_module_is_told_with_file_and_line(folder, monkeypatch, code, complaint):
    path = folder / ("wrong%d.py" % abs(hash(code)))
    path.write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(UsageError) as caught:
        load_function(path.name[:-3] + ":f")
    assert re.search(complaint.replace("%s", re.escape(str(path))), str(caught.value))  # PyPy words some of it in its own way


def test_a_module_may_be_named_by_its_file(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "in_a_file.py").write_text("def f(job): pass\n")
    (folder / "here_in_a_file.py").write_text("def f(job): pass\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_function("./here_in_a_file.py:f")[0] == b"f"
    assert load_function("here_in_a_file.py:f")[0] == b"f"
    assert load_function("name=%s:f" % (folder / "elsewhere" / "in_a_file.py"))[0] == b"name"
    for word in ("./nothing.py:f", ".here:f", "elsewhere/in_a_file:f", "../x:f"):
        with pytest.raises(UsageError, match="is not .* nor is there such a file"):
            load_function(word)


@pytest.mark.parametrize("words, complaint", [
    ([], b"no function was given"), (["-f", "x", "no-such-program"], b"there is no program"),
    (["nomodule:x"], b"cannot import nomodule"),
    (["-f", "x" * 9000, "true"], b"8191"), (["--threads", "0", "x:y"], b"--threads"),
])
def test_what_makes_no_sense(words, complaint):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    if "true" in words:
        words = words[:-1] + [sys.executable]
    assert main(["worker", "-h", "127.0.0.1:1"] + words, there) == 2
    errors = there.stderr.getvalue()
    assert errors.startswith(b"gearman-std worker: ") and complaint in errors and errors.count(b"\n") == 1


@pytest.mark.parametrize("words", [["nosuchmodule:f"], ["somemodule:reverse", "-h", "one:x"],
                                   ["--client-id", "a\nb", "-f", "", "--", sys.executable]])
def test_what_makes_no_sense_to_a_process_ends_its_parent_too(start, words):
    process = start("--processes", "2", *words)
    process.communicate(timeout=20)
    assert process.returncode == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="about processes as POSIX has them")
@pytest.mark.parametrize("words", [["--processes", "2", "nosuchmodule:f"], ["--reload", "nosuchmodule:f"], ["nosuchmodule:f"]])
def test_in_the_background_too_it_says_that_it_cannot_start(folder, processes, words):
    process = processes.start([sys.executable, "-m", "gearman_std", "worker", "-h", "127.0.0.1:1", "-d"] + words,
                              cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert b"gearman-std worker: cannot import nosuchmodule: " in errors


@pytest.mark.skipif(os.name != "posix", reason="about folders that can be deleted while one is in them")
@pytest.mark.parametrize("words", [["--processes", "1"], ["--reload"], []])
def test_it_works_in_a_folder_that_was_deleted(client, server, processes, tmp_path, words):
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    processes.start(["sh", "-c", script, str(tmp_path), sys.executable, "-m", "gearman_std", "worker"] + words +
                    ["-h", "%s:%d" % server.address, "-f", "upper", "--", "tr", "a-z", "A-Z"])
    assert client.run("upper", "ab", timeout=20) == b"AB"


@pytest.mark.parametrize("words", [["worker", "-f", "x"], ["client", "-f", "x", "data"], ["client", "-w", "-f", "x"],
                                   ["admin", "--status"]])
def test_a_certificate_that_is_not_there_or_is_none(words, tmp_path):
    (tmp_path / "none").write_text("none")
    for path, reason in (("/no/such/file", "No such file or directory\n"), (str(tmp_path / "none"), "")):
        there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
        assert main(words[:1] + ["-h", "127.0.0.1:1", "--tls", "--tls-ca", path] + words[1:], there) == 1
        errors = there.stderr.getvalue().decode()
        complaint = "gearman-std %s: cannot use the certificates or the key of %s: %s" % (words[0], path, reason)
        assert errors.startswith(complaint) and errors.count("\n") == 1


def test_without_a_program_data_is_printed(client, start):
    worker = start("-f", "q", "-c", "2", "-t", "1000", stdout=subprocess.PIPE)
    assert client.run("q", "one") == client.run("q", " two") == b""
    assert worker.communicate(timeout=20) == (b"one two", b"")
    assert worker.returncode == 0


# --- Life.


def test_it_ends_after_so_many_jobs(client, start):
    worker = start("-c", "2", "somemodule:reverse")
    assert client.run("reverse", "ab") + client.run("reverse", "cd") == b"badc"
    assert worker.wait(20) == 0


def test_it_ends_after_some_time(start):
    assert start("--max-age", "50ms", "--splay", "10ms", "somemodule:reverse").wait(20) == 0


def test_it_has_a_name_in_the_servers_list(server, start):
    worker = start("somemodule:reverse")
    start("somemodule:reverse", "--client-id", b"my w\xf6rker")
    until(lambda: len(peers(server)) == 2)
    names = peers(server)
    assert b"my w\xf6rker" in names and any(name.endswith(b":%d" % worker.pid) for name in names)


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_when_its_job_is_done(client, start, folder, number, status):
    worker = start("-i", "pid", "somemodule:told")
    task = client.submit("told")
    assert next(task.stream()) == b"started"
    assert (folder / "pid").read_text() == "%d\n" % worker.pid
    worker.send_signal(number)
    assert task.result() == b"finished"
    assert worker.wait(20) == status
    assert worker.stderr.read() == b""
    assert not (folder / "pid").exists()


def spoil():
    """Ignore and block what some starters do; for `preexec_fn`."""
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="about signals, and /proc")
@pytest.mark.parametrize("options", [[], ["--processes", "1"]])
def test_whatever_is_ignored_or_blocked_a_command_has_its_status_and_its_signals(client, start, options):
    """And the worker ends as it is told to."""
    worker = start(*options + ["-f", "x", "--", "sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; exit 3"],
                   restore_signals=False, preexec_fn=spoil)
    task = client.submit("x")
    with pytest.raises(JobFailed) as caught:
        task.result()
    assert caught.value.exception == b"sh ended with status 3"
    with pytest.raises(JobFailed):
        assert [int(line.split()[1], 16) for line in b"".join(task.stream()).splitlines()] == [0, 0]
        task.result()
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == 130


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("options, before", [([], signal.SIG_DFL), ([], signal.SIG_IGN), (["--processes", "1"], signal.SIG_DFL),
                                             (["-l", "log"], signal.SIG_DFL), (["-l", "log"], signal.SIG_IGN)])
def test_sighup_ends_no_worker(client, start, pipes, options, before):
    worker = start(*options + ["somemodule:patient"], preexec_fn=lambda: signal.signal(signal.SIGHUP, before))
    task = client.submit("patient", pipes[0])
    assert next(task.stream()).isdigit()
    worker.send_signal(signal.SIGHUP)
    release(pipes[0])
    assert task.result() == b"finished"
    second = client.submit("patient", pipes[0])
    release(pipes[0])
    assert second.result() == b"finished"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


SLOW_MODULE = """
import signal, time
print("importing", flush=True)
try:
    time.sleep(60)
except %s:
    pass
def reverse(job):
    return job.workload[::-1]
"""


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("caught", ["ValueError", "BaseException"])
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_while_it_imports_also_what_catches_all(start, folder, number, status, caught):
    (folder / "slow_module.py").write_text(SLOW_MODULE % caught)
    worker = start("-P", "pid", "slow_module:reverse", stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"importing\n"
    assert (folder / "pid").exists()
    worker.send_signal(signal.SIGHUP)
    worker.send_signal(number)
    assert worker.wait(20) == status
    assert worker.stderr.read() == b"" and not (folder / "pid").exists()


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("options, signals", [(["--grace", "100ms"], 1), ([], 2)])
def test_it_does_not_wait_for_ever(client, start, options, signals):
    worker = start(*options + ["somemodule:told"])
    task = client.submit("told", "for ever")
    said = task.stream()
    assert next(said) == b"started"
    worker.send_signal(signal.SIGTERM)
    assert next(said) == b"told to stop"
    if signals == 2:
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert not task.done()  # the server gives it to another worker


@pytest.mark.skipif(os.name != "posix", reason="about signals")
def test_it_leaves_at_once_whatever_its_functions_have_started(client, start):
    """The interpreter would wait for the pool's thread."""
    worker = start("somemodule:threaded", "-i", "pid")
    said = client.submit("threaded").stream()
    assert next(said) == b"started"
    worker.send_signal(signal.SIGTERM)
    assert next(said) == b"told to stop"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert b"was left unfinished" in worker.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="about processes as POSIX has them")
def test_the_jobs_of_a_killed_process_are_given_to_others(server, client, start, pipes):
    """kill -9: the server gives its job to the next worker, the parent starts a new process, the client waits for both."""
    parent = start("--processes", "2", "somemodule:patient")
    until(lambda: len(peers(server)) == 2)
    before = peers(server)
    task = client.submit("patient", pipes[0])
    pids = task.stream()
    first = int(next(pids))
    os.kill(first, signal.SIGKILL)
    second = int(next(pids))
    release(pipes[0])
    assert task.result() == b"finished" and second != first
    until(lambda: len(peers(server)) == 2 and peers(server) != before)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0


@pytest.mark.skipif(os.name != "posix", reason="about processes as POSIX has them")
def test_several_processes_under_one_parent(server, client, start):
    parent = start("--processes", "2", "somemodule:reverse", "-c", "1")
    until(lambda: len(peers(server)) == 2)
    first = peers(server)
    assert [client.run("reverse", "ab") for _ in range(4)] == [b"ba"] * 4  # so that each was started again
    until(lambda: len(peers(server)) == 2)
    assert not set(first) & set(peers(server))
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0
    until(lambda: not peers(server))


@pytest.mark.skipif(os.name != "posix", reason="about processes as POSIX has them")
def test_it_starts_anew_when_its_code_changes(server, client, start, folder):
    parent = start("--reload", "somemodule:reverse")
    assert client.run("reverse", "abc") == b"cba"
    (folder / "somemodule.py").write_text(MODULE.replace("[::-1]", ".upper()"))
    until(lambda: client.run("reverse", "abc") == b"ABC")
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0


def test_the_log_may_be_a_file_and_tells_more(client, start, folder):
    worker = start("-v", "-l", "log", "-c", "2", "somemodule:fail")
    for _ in range(2):
        with pytest.raises(JobFailed):
            client.run("fail")
    assert worker.wait(20) == 0
    text = (folder / "log").read_text()
    assert "connected to 127.0.0.1" in text and "RuntimeError: it broke" in text
    assert worker.stderr.read() == b""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="about processes as POSIX has them")
def test_it_may_detach(client, start, folder):
    assert start("-d", "-i", "pid", "-l", "none", "somemodule:reverse", stderr=subprocess.DEVNULL).wait(20) == 0
    assert client.run("reverse", "ab") == b"ba"
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    until(lambda: not (folder / "pid").exists())


def test_it_outlives_its_server(start, folder, processes, tmp_path):
    """An outage is no reason to end, and no reason to talk all the time."""
    with Server(port=0) as server:
        address = server.address
        worker = start("-h", "%s:%d" % address, "-l", "log", "somemodule:reverse")
        with Client([address]) as client:
            assert client.run("reverse", "ab", timeout=20) == b"ba"
    until(lambda: "tried again" in (folder / "log").read_text())
    with Server(port=address[1]) as server, Client([address]) as client:
        assert client.run("reverse", "ab", timeout=20) == b"ba"
    assert worker.poll() is None
    assert len((folder / "log").read_text().splitlines()) <= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="about processes as POSIX has them")
@pytest.mark.parametrize("words", [["worker", "-f", "x", "--", "cat"], ["worker", "somemodule:reverse"],
                                   ["worker", "--processes", "2", "somemodule:reverse"], ["client", "-w", "-f", "x", "cat"]])
def test_in_the_background_it_lets_go_of_all_three_streams(server, folder, processes, words):
    """Whoever waits for the end of its output, as ssh, cron and $(...) do, need not wait for its own end."""
    words[1:1] = ["-h", "%s:%d" % server.address, "-d", "-i", "pid"]
    process = processes.start([sys.executable, "-m", "gearman_std"] + words, cwd=str(folder), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    try:
        assert process.communicate(timeout=20) == (b"", b"")
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    until(lambda: not (folder / "pid").exists())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="about a device of Linux")
@pytest.mark.parametrize("output", ["full", "closed", "broken", "unbuffered"])
def test_what_a_function_prints_never_fails_a_job(server, client, folder, processes, output):
    redirection = {"closed": ">&- 2>&-", "broken": "2>&1 | true"}.get(output, ">/dev/full 2>&1")
    environment = dict(os.environ, **({"PYTHONUNBUFFERED": "1"} if output == "unbuffered" else {}))
    command = "%s -m gearman_std worker -h %s:%d -c 3 -l log somemodule:talk" % ((sys.executable,) + server.address)
    process = processes.start(["sh", "-c", "(%s; echo $? > status) %s" % (command, redirection)], cwd=str(folder),
                              env=environment)
    assert [client.run("talk", word) for word in ("one", "two", "three")] == [b"talked"] * 3
    process.wait(20)
    until(lambda: (folder / "status").exists() and (folder / "status").read_text())
    assert (folder / "status").read_text() == "0\n"
    text = (folder / "log").read_text()
    assert text.count("one of mine") == text.count("three of mine") == 1
    assert text.count("what functions write to stdout is lost") == (output != "closed")


def test_what_a_function_prints_is_printed_whole_and_in_order(client, start):
    worker = start("-c", "2", "-l", "none", "somemodule:talk", stdout=subprocess.PIPE)
    assert [client.run("talk", word) for word in ("one", "two")] == [b"talked"] * 2
    output, errors = worker.communicate(timeout=20)
    expected = "".join("printed %s%s%s" % (word, os.linesep, "x" * 12000) for word in ("one", "two")).encode()
    assert (output, errors) == (expected, expected) and worker.returncode == 0


def test_jobs_can_be_followed_in_the_log(client, start, folder):
    for verbose, lines in (("-v", 3), ("-vv", 6)):
        worker = start(verbose, "-l", "log" + verbose, "-c", "3", "somemodule:reverse", "somemodule:fail", "somemodule:talk")
        client.run("reverse", "ab")
        client.run("talk", "one")
        with pytest.raises(JobFailed):
            client.run("fail")
        assert worker.wait(20) == 0
        text = (folder / ("log" + verbose)).read_text()
        assert len([line for line in text.splitlines() if "] reverse H:" in line or "] fail H:" in line or "] talk H:" in line]
                   ) == lines, text
        assert " is done after 0." in text and " failed after 0." in text and "WARNING" in text and "one of mine" in text


@pytest.mark.parametrize("python", [False, True], ids=["program", "python"])
@pytest.mark.parametrize("verbose", ["-v", "-vv"])
def test_who_watches_a_worker_sees_each_job_end_and_with_more_also_start(client, start, python, verbose):
    code = "import sys; sys.exit(3 if sys.stdin.read() == 'bad' else 0)"
    words = ["fail=somemodule:fail", "good=somemodule:reverse"] if python else [
        "-f", "good", "-f", "fail", "--", sys.executable, "-c", code]
    worker = start(verbose, "-c", "2", *words)
    jobs = [client.submit(name, data) for name, data in (("good", "ab"), ("fail", "bad"))]
    for task in jobs:
        task.wait()
    _, errors = worker.communicate(timeout=20)
    lines = errors.decode().splitlines()
    for task, name, end in zip(jobs, ("good", "fail"), (" is done after ", " failed after ")):
        about = "%s %s" % (name, task.handle.decode())
        told = [line[line.index(about) + len(about):] for line in lines if about + " " in line and "<WorkerJob" not in line]
        assert len(told) == (2 if verbose == "-vv" else 1), errors
        assert verbose == "-v" or told[0] == " has started, attempt 1"
        assert re.match(end + r"[0-9]+\.[0-9]{3} s$", told[-1]), told


@pytest.mark.skipif(os.name != "posix", reason="about processes as POSIX has them")
def test_a_job_that_ends_its_process_ends_no_other(start, folder):
    """Not even with the status of a command line that makes no sense, or with that of success."""
    policies = {"end": FunctionPolicy(retries=1)}
    with Server(port=0, policies=policies) as server, Client([server.address], job_timeout=20) as client:
        parent = start("-h", "%s:%d" % server.address, "--processes", "3", "-l", "log", "somemodule:end", "somemodule:reverse")
        until(lambda: len(peers(server)) == 3)
        for status in (0, 2):
            with pytest.raises(JobFailed):
                client.run("end", str(status))
            assert client.run("reverse", "ab") == b"ba"
        until(lambda: len(peers(server)) == 3)
        assert parent.poll() is None
        text = (folder / "log").read_text()
        for status in (0, 2):
            assert "has ended with status %d, in the middle of its work; the next one" % status in text
        assert text.count("WARNING") == text.count("in the middle of its work") == 2
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0


@pytest.mark.skipif(os.name != "posix", reason="about links and processes as POSIX has them")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_it_starts_anew_when_a_link_to_its_code_is_pointed_elsewhere(server, client, tmp_path, processes, what):
    """Also to a file of the same size and time."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "linked.py").write_text("def f(job):\n    return %r\n" % name)
        os.utime(str(tmp_path / name / "linked.py"), (10 ** 9, 10 ** 9))
    place = tmp_path / "place"
    if what == "file":
        place.mkdir()
    link = place / "linked.py" if what == "file" else place

    def point_to(name):
        os.symlink(str(tmp_path / name / "linked.py" if what == "file" else tmp_path / name), str(tmp_path / "new"))
        os.rename(str(tmp_path / "new"), str(link))
    point_to("one")
    parent = processes.start([sys.executable, "-m", "gearman_std", "worker", "-h", "%s:%d" % server.address, "--reload",
                              "linked:f"], cwd=str(place), env=dict(os.environ, PWD=str(place)))
    assert client.run("f") == b"one"
    point_to("two")
    until(lambda: client.run("f") == b"two")
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0


@pytest.mark.skipif(os.name != "posix", reason="about signals")
@pytest.mark.parametrize("supervised", [False, True])
def test_it_leaves_at_once_whatever_its_functions_catch(client, start, folder, supervised):
    worker = start("-i", "pid", *(["--processes", "1"] if supervised else []) + ["somemodule:stubborn"])
    said = client.submit("stubborn").stream()
    assert next(said) == b"started"
    worker.send_signal(signal.SIGTERM)
    assert next(said) == b"told to stop"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert not (folder / "pid").exists()
    assert b"was left unfinished" in worker.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="where the main thread cannot be interrupted, it runs no functions")
def test_functions_run_in_the_main_thread_of_a_worker_of_one_thread(client, start):
    worker = start("-c", "1", "somemodule:where")
    assert client.run("where") == b"True"
    assert worker.wait(20) == 0
    start("-T", "2", "somemodule:where")
    assert client.run("where") == b"False"
