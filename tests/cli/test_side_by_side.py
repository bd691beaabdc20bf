"""The command client under the name gearman, beside the real one: the same invocations print the same and submit the same."""
import io
import re
import shlex
import subprocess
import sys
import threading

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.errors import JobFailed
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker

pytestmark = pytest.mark.interop

LONG = 30.0
LINES = b"one\ntwo\n\nfour"      # with an empty line, and no line end at the end
BINARY = bytes(range(1, 256)) * 3  # gearman takes no NUL in a line
LARGE = b"0123456789abcdef" * 20000


class Counter:
    """A server, and a worker that remembers what it was given."""

    def __init__(self):
        self.server = Server(0, ["127.0.0.1"])
        self.server.start()
        self.port = "%d" % self.server.address[1]
        self.seen = []
        self.worker = Worker(self.server.address, threads=4)
        for name in ("echo", "reverse", "nothing", "talk", "fail", "unique", "count", "warn"):
            self.worker.register(name, getattr(self, name))
        self.thread = threading.Thread(target=self.worker.work, kwargs={"signals": False})
        self.thread.start()
        with AdminClient(self.server.address) as admin:
            while not any(function.workers for function in admin.status()):
                continue

    def see(self, job):
        self.seen.append((job.function, job.workload))

    def echo(self, job):
        self.see(job)
        return job.workload

    def reverse(self, job):
        self.see(job)
        return job.workload[::-1]

    def count(self, job):
        self.see(job)
        return "%d\n" % len(job.workload)

    def nothing(self, job):
        self.see(job)

    def unique(self, job):
        self.see(job)
        return job.unique

    def talk(self, job):
        self.see(job)
        job.send_data(b"first ")
        job.send_data(b"second\n")
        return b"last\n"

    def warn(self, job):
        self.see(job)
        job.send_warning(b"careful\n")
        return b"done\n"

    def fail(self, job):
        self.see(job)
        raise ValueError(" no good")

    def take(self):
        """What the worker was given since it was asked last, in any order, and what waits for nobody, which goes."""
        seen, self.seen = sorted(self.seen), []
        with AdminClient(self.server.address) as admin:
            waiting = [(job["function"], job["unique"], job["priority"], job["size"], job["background"])
                       for job in admin.job_details() if job["function"] == "idle"]
            for job in admin.job_details():
                admin.cancel_job(job["handle"])
        return seen, sorted(waiting)

    def close(self):
        self.worker.stop()
        self.thread.join(LONG)
        self.server.stop()
        self.server.join()


@pytest.fixture(scope="module")
def counter():
    made = Counter()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gearman(require):
    return require("gearman")


@pytest.fixture(scope="module")
def gearadmin(require):
    return require("gearadmin")


def run_theirs(program, words, stdin):
    done = subprocess.run([program] + words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    return done.returncode, done.stdout, done.stderr


def run_ours(command, words, stdin):
    there = Console("", io.BytesIO(stdin), io.BytesIO(), io.BytesIO())
    status = main([command] + words, there)
    return status, there.stdout.getvalue(), there.stderr.getvalue()


STDIN = {"lines": LINES, "ended": b"one\ntwo\n", "blank": b"\n", "blanks": b"a\n\n\nb\n", "crlf": b"a\r\nb\r\n", "empty": b"",
         "binary": BINARY, "large": LARGE, "word": b"word", "utf8": "gr\u00f6\u00dfe\n".encode(), "spaces": b"  a  \n\tb\n",
         "option": b"-n\n--\n"}

# An invocation a line: the words, and behind < the name of what is on standard input.
CASES = """
-f echo x
-f echo x y z
-f echo < word
-f echo < lines
-f echo < ended
-f echo < blank
-f echo < blanks
-f echo < crlf
-f echo < binary
-f echo < large
-f echo < utf8
-f echo < empty
-f reverse < lines
-f reverse x y
-f reverse 'a b' c
-f reverse größe
-f count < large
-f count < lines
-f nothing x
-f nothing < large
-f talk x
-f talk x y
-f talk < lines
-f warn x
-f fail x
-f fail x y
-f fail < lines
-f echo -n < lines
-f echo -n < ended
-f echo -n < blank
-f echo -n < blanks
-f echo -n < crlf
-f echo -n < utf8
-f echo -n < spaces
-f echo -n < option
-f echo -n < word
-f echo -n < empty
-f echo -n < binary
-f count -n < lines
-f reverse -n < ended
-f talk -n < ended
-f nothing -n < ended
-f warn -n < ended
-f fail -n < ended
-f echo -N < ended
-f reverse -N < ended
-f count -N < ended
-f echo -N < crlf
-f echo -N < utf8
-f echo -N < spaces
-f talk -N < ended
-f echo -N < empty
-f echo -n -N < ended
-f echo -N -n < ended
-f echo -nN < ended
-nNf echo < ended
-nf echo < ended
-fecho x
-f echo -n x y < lines
-f echo -N x y
-f echo -s
-f echo -s < lines
-f count -s
-f talk -s
-f echo -s x
-f echo -s -P
-P -f echo x
-P -f echo x y
-P -f echo < lines
-P -f echo -n < lines
-P -f echo -n < blanks
-P -f echo -N < ended
-P -f talk x
-P -f talk x y
-P -f talk -n < ended
-P -f nothing x
-P -f warn x
-P -f fail x
-P -s -f talk
-Pf echo x
-Pnf echo < ended
-f unique -u key x
-f unique -u key x y
-f unique -u key -n < ended
-f unique -u key < lines
-f unique -u 'a key' x
-f unique -u größe x
-f unique -u '#' x
-f unique -u '#' data
-f unique -u '#' < lines
-f unique -u '#' < large
-f unique -u '#' -n < ended
-f echo -u key < lines
-f echo -u - < word
-f unique -u - x
-P -f unique -u key x
-f unique -u 123456789012345678901234567890123456789012345678901234567890123 x
-f unique -u 1234567890123456789012345678901234567890123456789012345678901234 x
-f echo -I x
-f echo -L x
-f echo -I -L x
-f echo -I -n < ended
-f echo -L -N < ended
-f echo -P -I x
-f echo -t 5000 x
-f echo -t -1 x
-f talk -t 5000 x
-t5000 -f echo x
-f echo -c 5 x
-f echo -- -n
-f echo -- -f reverse
-f echo x -n < ended
-f echo x -P
x -f echo y
-f echo - x
-b -f idle x
-b -f idle x y
-b -f idle < lines
-b -f idle -n < ended
-b -f idle -N < ended
-b -f idle -s
-b -f idle -u key x
-b -f idle -u key x y
-b -f idle -u '#' x
-b -f idle -u - x
-b -I -f idle x
-b -L -f idle x
-b -I -L -f idle x
-b -L -I -f idle x
-b -I -f idle -n < ended
-b -P -f idle x
-bnf idle < ended
-bIf idle x
-bLsf idle
-b -f idle < large
-b -f idle < empty
-b -t 5000 -f idle x
-v -b -f idle x
-v -b -f idle x y
-v -b -f idle -n < ended
-v -v -b -f idle x
"""
# Those of several functions, which the real one has run at the same time: the same pieces, in whatever order.
UNORDERED = """
-f echo -f reverse xyz
-f echo -f reverse x y
-P -f echo -f reverse xyz
-P -f echo -f count < lines
-P -f talk -f echo x
-P -f echo -f reverse -f count x
-P -f echo -f reverse -n < ended
-P -f echo -f echo x
-f nothing -f echo x
"""


def read(table):
    rows = [(line,) + line.partition(" < ")[::2] for line in table.strip().split("\n")]
    return [pytest.param(shlex.split(words), STDIN[name] if name else b"", id=line) for line, words, name in rows]


def beside(counter, gearman, words, stdin, in_order=True):
    """What both do: status, output, jobs."""
    found = []
    for run in (lambda: run_theirs(gearman, ["-h", "127.0.0.1", "-p", counter.port] + words, stdin),
                lambda: run_ours("client", ["-h", "127.0.0.1", "-p", counter.port] + words, stdin)):
        status, output, errors = run()
        output = re.sub(b"Task created: H:[^\n]*", b"Task created: HANDLE", output)
        if not in_order:
            output = sorted(output)
        if "fail" in words:
            assert b"Job failed" in errors.splitlines()[0]  # behind which ours has the exception's text
            errors = errors.count(b"Job failed")
        seen, waiting = counter.take()
        found.append((status, output, errors, seen, [(job[0], "UUID" if "-u" not in words else job[1]) + job[2:]
                                                     for job in waiting]))
    return found


@pytest.mark.parametrize("words, stdin", read(CASES))
def test_gearman_prints_and_submits_the_same(counter, gearman, words, stdin):
    their, our = beside(counter, gearman, words, stdin)
    assert our == their


@pytest.mark.parametrize("words, stdin", read(UNORDERED))
def test_several_functions_get_the_same(counter, gearman, words, stdin):
    their, our = beside(counter, gearman, words, stdin, in_order=False)
    assert our == their


def test_the_table_is_long_enough():
    assert len(CASES.strip().split("\n")) >= 100


# --- gearman -w.

WORKERS = """
-- cat
-- tr a-z A-Z
-- wc -c
cat
-- true
-- false
-- sh -c 'cat; exit 3'
-- sh -c 'echo out; echo err >&2'
-n -- sh -c 'echo one'
-N -- sh -c 'echo one'
-t 20000 -- cat
-c 2 -- cat
"""


@pytest.mark.parametrize("words", [pytest.param(shlex.split(line), id=line) for line in WORKERS.strip().split("\n")])
def test_gearman_as_a_worker_does_the_same(counter, gearman, words, processes):
    found = []
    for command in ([gearman], [sys.executable, "-m", "gearman_std", "client"]):
        process = processes.start(command + ["-h", "127.0.0.1", "-p", counter.port, "-w", "-f", "work"]
                                  + ([] if words[0] == "-c" else ["-c", "1"]) + words, stdout=subprocess.PIPE)
        results = []
        with Client([counter.server.address]) as client:
            for _ in range(2 if words[0] == "-c" else 1):
                parts = []
                task = client.submit("work", LINES, on_data=parts.append)
                try:
                    results.append((parts, task.result(LONG)))
                except JobFailed:
                    results.append((parts, "failed"))
                    process.kill()  # as the real one counts a job that failed twice, and may wait for one more
        printed, _ = process.communicate(timeout=LONG)
        found.append((process.returncode if results[0][1] != "failed" else None, printed, results))
    assert found[1] == found[0]


def test_gearman_as_a_worker_without_a_program_prints_the_same(counter, gearman, processes):
    found = []
    for command in ([gearman], [sys.executable, "-m", "gearman_std", "client"]):
        process = processes.start(command + ["-h", "127.0.0.1", "-p", counter.port, "-w", "-f", "work", "-c", "2"],
                                  stdout=subprocess.PIPE)
        with Client([counter.server.address]) as client:
            results = [client.run("work", data, timeout=LONG) for data in (LINES, BINARY)]
        printed, _ = process.communicate(timeout=LONG)
        found.append((process.returncode, printed, results))
    assert found[1] == found[0]


# --- gearadmin.

ADMIN = """
--status
--priority-status
--show-jobs
--show-unique-jobs
--server-version
--server-verbose
--getpid
--create-function made
--server-version --status
--getpid --server-verbose
--stat
--prio
--show-u
--create-function=made
--drop-function made
--drop-function nobody
--cancel-job H:nobody:1
"""


@pytest.mark.parametrize("words", [pytest.param(line.split(), id=line) for line in ADMIN.strip().split("\n")])
def test_gearadmin_prints_the_same(counter, gearadmin, words):
    with AdminClient(counter.server.address) as admin:
        admin.create_function("made")
    where = ["--host=127.0.0.1", "--port=" + counter.port]
    theirs = run_theirs(gearadmin, where + words, b"")
    with AdminClient(counter.server.address) as admin:
        admin.create_function("made")
    our = run_ours("admin", where + words, b"")
    assert our[1] == theirs[1]
    assert (our[0], b"") == (theirs[0], b"") or our[2]  # where gearadmin ends with 0, and ours says what was refused
