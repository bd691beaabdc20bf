"""Real work between this package and other Gearman programs: libgearman's commands, PHP's and Perl's libraries, the library
gear, and the servers gearmand, Perl's and gear's."""
import itertools
import os
import socket
import subprocess
import sys
import threading

import pytest

from programs import free_port
from gearman_std.client.admin import AdminClient
from gearman_std import HIGH, LOW
from gearman_std.client.client import Client
from gearman_std.errors import JobFailed, JobTimeout
from gearman_std.worker.worker import Worker

pytestmark = pytest.mark.interop

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "interop")
LONG = 30.0
SIZES = (0, 1, 65535, 65536, 65537, 1048576)
IDLE = ("idle%04d" % number for number in itertools.count())  # functions that nobody can do


def data_of(size):
    return (b"1234567890" * (size // 10 + 1))[:size]


def find(require, kind):
    """The beginning of a command that runs a program of that kind."""
    if kind == "gear":
        python = os.environ.get("GEARMAN_STD_GEAR")
        return [python or require.missing("GEARMAN_STD_GEAR does not name a Python that has the library gear")]
    command = [require(kind)]
    probe = {"php": ["-r", "new GearmanClient();"], "perl": ["-MGearman::Client", "-MGearman::Worker", "-e1"]}[kind]
    if subprocess.call(command + probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        require.missing("%s has no Gearman library" % kind)
    return command


def program(require, kind, role):
    """The command that runs our program for the library of that kind in that role."""
    name = {"php": "%s.php", "perl": "%s.pl", "gear": "gear_%s.py"}[kind] % role
    return find(require, kind) + [os.path.join(PROGRAMS, name)]


class OurWorker:
    """Our worker at work in a thread, with the functions that the programs of tests/interop have."""

    def __init__(self, address):
        self.worker = Worker(address, threads=4)
        self.runs = 0
        self.worker.register("echo", lambda job: job.workload)
        self.worker.register("nothing", lambda job: b"")
        self.worker.register("reverse", lambda job: bytes(job.workload)[::-1])
        self.worker.register("unique", lambda job: job.unique)
        self.worker.register("count", self.count)
        self.worker.register("tell", self.tell)
        self.worker.register("fail", self.fail)
        self.worker.register("raise", self.fail)
        self.thread = threading.Thread(target=self.worker.work, kwargs={"signals": False})

    def count(self, job):
        self.runs += 1
        return b"%d" % self.runs

    @staticmethod
    def tell(job):
        job.send_status(1, 2)
        job.send_data(b"half ")
        job.send_warning(b"careful")
        return b"done"

    @staticmethod
    def fail(job):
        raise ValueError("no good")

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.worker.stop()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


def use_client(address, kind=""):
    """What our client sees of a worker's functions."""
    idle = next(IDLE)
    with Client(address) as client:
        for size in SIZES:
            assert client.run("echo", data_of(size), timeout=LONG) == data_of(size)
        assert client.run("nothing", b"x", timeout=LONG) == b""
        assert client.run("reverse", b"hello", priority=HIGH, timeout=LONG) == b"olleh"
        if kind != "perl":  # whose server knows no low priority, data or warnings
            assert client.run("reverse", b"hello", priority=LOW, timeout=LONG) == b"olleh"
        told = []
        task = client.submit("tell", b"x", on_data=told.append, on_warning=told.append, on_status=lambda *n: told.append(n))
        assert task.result(LONG) == b"done"
        assert told == ([(1, 2)] if kind == "perl" else [(1, 2), b"half ", b"careful"])
        with pytest.raises(JobFailed):
            client.run("fail", b"x", timeout=LONG)
        with pytest.raises(JobFailed, match="no good"):
            client.run("raise", b"x", timeout=LONG)
        workloads = [b"%d" % number for number in range(100, 130)]
        assert list(client.map("reverse", workloads, timeout=LONG)) == [workload[::-1] for workload in workloads]
        handles = {client.submit(idle, b"%d" % number, unique="once", background=True).handle for number in range(3)}
        assert len(handles) == (3 if kind == "gear" else 1)  # whose server lets equal jobs run each
        status = client.status(handles.pop())
        assert status.known and not status.running
        with pytest.raises(JobTimeout):
            client.run(idle, b"never", timeout=0.1)


# --- Others' clients and workers through our server.

@pytest.fixture(scope="module", params=["php", "perl", "gear", "ours"])
def worker(request, require, server, module_processes):
    """A worker of some kind at our server, which it leaves before the next kind comes."""
    if request.param == "ours":
        with OurWorker("%s:%d" % server):
            yield request.param
        return
    command = program(require, request.param, "worker") + [server[0], str(server[1])]
    process = module_processes.start(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield request.param
    process.terminate()
    process.wait(LONG)


ECHOES = "".join("echo %d same\n" % size for size in SIZES)
JOBS = "nothing ''\nreverse olleh hgih wol\nstatus 1/2\ndata half \nwarning careful\ncomplete done\nfailed\n"
# PHP's client takes no empty workload; Perl's wants exceptions as Perl's worker packs them.
EXPECTED = {
    "php": (ECHOES.partition("\n")[2] + JOBS + "exception no good\ntasks 20 001\nbackground joined 1 0\nunknown 0\nping 1\n"
            "timeout 1\n"),
    "perl": ECHOES + JOBS + "tasks 20 001\nbackground joined 1 0\ntimeout 1\n",
    "gear": (ECHOES + JOBS + "exception no good\nbackground joined 1\nStatusAdminRequest 1\nVersionAdminRequest 1\n"
             "WorkersAdminRequest 1\nShowUniqueJobsAdminRequest 1\nCancelJobAdminRequest 1\nCancelJobAdminRequest 1\n"),
}


@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_others_clients(require, server, worker, kind):
    command = program(require, kind, "client") + [server[0], str(server[1]), next(IDLE)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    expected = EXPECTED[kind]
    if worker == "ours" and kind != "perl":  # which never fails a job without saying why
        expected = expected.replace("failed\n", "exception no good\n")
    assert (done.stdout.decode(), done.stderr.decode(), done.returncode) == (expected, "", 0)


def test_our_client_with_others_workers(server, worker):
    use_client("%s:%d" % server)


def test_equal_jobs_run_once_in_others_workers(server, worker):
    """Submitted before anybody can do them, so that all but the first join it."""
    with Client(server) as client, AdminClient(server) as admin:
        admin.pause("count")
        tasks = [client.submit("count", b"x", unique="equal") for _ in range(5)]
        assert len({task.handle for task in tasks}) == 1
        admin.resume("count")
        assert len({task.result(LONG) for task in tasks}) == 1


def test_others_workers_get_the_unique(server, worker):
    if worker == "perl":
        pytest.skip("Perl's worker does not ask for it")
    with Client(server) as client:
        assert client.run("unique", b"x", unique="key", timeout=LONG) == b"key"


def pattern(size):
    """Bytes that a loss or an exchange of pieces would show."""
    return b"".join(b"%015d\n" % number for number in range(size // 16))


@pytest.mark.long
def test_64_mib_come_back_intact(require, server, processes, tmp_path):
    """Through PHP's client and ours, to our worker and that of `gearman`, whose client takes hours to read as much."""
    data = pattern(64 << 20)
    host, port = server
    with OurWorker("%s:%d" % server), Client(server) as client:
        assert client.run("echo", data, timeout=60) == data
        done = subprocess.run(find(require, "php") + ["-d", "memory_limit=512M", "-r", ECHO_IN_PHP, "--", host, str(port)],
                              input=data, stdout=subprocess.PIPE, timeout=LONG)
        assert done.returncode == 0 and done.stdout == data
        with open(str(tmp_path / "printed"), "wb") as file:
            worker = processes.start([require("gearman"), "-h", host, "-p", str(port), "-w", "-c", "1", "-f", "print"],
                                     stdout=file)
            assert client.run("print", data, timeout=LONG) == b""
            assert worker.wait(LONG) == 0
        with open(str(tmp_path / "printed"), "rb") as file:
            assert file.read() == data


ECHO_IN_PHP = """
$client = new GearmanClient();
$client->addServer($argv[1], (int) $argv[2]);
echo $client->doNormal("echo", stream_get_contents(STDIN));
"""


# --- Our client, worker and admin with others' servers.

GEAR_SERVER = """
import gear, signal, sys
server = gear.Server(int(sys.argv[1]), host="127.0.0.1")
signal.pause()
"""


@pytest.fixture(params=["gearmand", "perl", "gear"])
def others_server(request, require, processes):
    """The kind and the address of somebody else's server."""
    port = free_port()
    if request.param == "gearmand":
        return request.param, request.getfixturevalue("gearmand")
    if request.param == "perl":
        if subprocess.call([require("perl"), "-MGearman::Server", "-e1"], stderr=subprocess.DEVNULL):
            require.missing("Perl's Gearman::Server is not installed")
        command = [require("perl"), "-S", "/usr/bin/gearmand", "--listen", "127.0.0.1", "--port", str(port)]
    else:
        command = find(require, "gear") + ["-c", GEAR_SERVER, str(port)]
    processes.start_server(command, port)
    return request.param, ("127.0.0.1", port)


def test_our_client_and_worker_with_others_servers(others_server):
    kind, address = others_server
    with OurWorker("%s:%d" % address):
        use_client("%s:%d" % address, kind)


FAILING = {
    "gearman": (["gearman", "-h", "%(host)s", "-p", "%(port)s", "-f", "fail", "x"], "", "no goodJob failed\n", 1),
    "perl": (["perl", "-MGearman::Client", "-e", 'my $client = Gearman::Client->new(job_servers => ["%(host)s:%(port)s"]);'
              'print defined $client->do_task("fail", "x") ? "done" : "failed";'
              'print " ", ${$client->do_task("echo", "next")};'], "failed next", "", 0),
    "php": (["php", "-r", '$client = new GearmanClient(); $client->addServer("%(host)s", %(port)s); $client->setTimeout(20000);'
             'echo @$client->doNormal("fail", "x"), $client->returnCode() == GEARMAN_WORK_FAIL ? "failed" : "?";'
             'echo " ", $client->doNormal("echo", "next");'], "failed next", "", 0),
    "ours": ([sys.executable, "-m", "gearman_std", "client", "-h", "%(host)s", "-p", "%(port)s", "-f", "fail", "x"], "",
             "no goodJob failed\n", 1),
}


@pytest.mark.parametrize("kind", sorted(FAILING))
def test_a_job_that_fails_ends_for_clients_that_did_not_ask_for_exceptions(require, gearmand, kind):
    """gearmand 1.1.20 would send them a handle with a NUL behind it for an exception, which C's and Perl's do not know."""
    if kind in ("perl", "php"):
        find(require, kind)
    elif kind == "gearman":
        require(kind)
    command, output, errors, status = FAILING[kind]
    with OurWorker("%s:%d" % gearmand):
        done = subprocess.run([word.replace("%(host)s", gearmand[0]).replace("%(port)s", str(gearmand[1])) for word in command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    assert (done.stdout.decode(), done.stderr.decode(), done.returncode) == (output, errors, status)


def test_our_admin_with_others_servers(others_server):
    kind, address = others_server
    with Client(address) as client, AdminClient(address) as admin:
        for number in range(2):
            client.submit("idle", b"%d" % number, background=True)
        assert ("idle", 2, 0) in [(status.function.decode(), status.total, status.running) for status in admin.status()]
        if kind != "gear":  # whose server does not answer that
            assert admin.version()
        assert "127.0.0.1" in [peer.address for peer in admin.workers()]


# --- The commands as crontabs and scripts use them: `gearman` and ours do the same, each with each.

COMMANDS = {"gearman": None, "ours": [sys.executable, "-m", "gearman_std", "client"]}
DATA = b"one\ntwo\nthree"
# The worker's words, the client's words, the client's output and status.
PATTERNS = [
    (["--", "wc", "-l"], [], b"2\n", 0),
    (["--", "cat"], [], DATA, 0),
    (["xargs", "echo"], [], b"one two three\n", 0),
    (["--", "sh", "-c", "cat; echo more"], [], DATA + b"more\n", 0),
    (["--", "sh", "-c", "cat > /dev/null; exit 3"], [], b"", 1),
    (["--", "cat"], ["word"], b"word", 0),
    (["--", "cat"], ["-s"], b"", 0),
    (["--", "cat"], ["-u", "key", "word"], b"word", 0),
    (["--", "cat"], ["-P", "word"], None, 0),
    (["-n", "--", "cat"], ["a\n"], b"a\n", 0),
]


# Ours with ours is what tests/cli is about.
@pytest.mark.parametrize("at_work, client", [("gearman", "gearman"), ("gearman", "ours"), ("ours", "gearman")])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: " ".join(pattern[0] + ["|"] + pattern[1]))
def test_command_patterns(require, server, processes, at_work, client, pattern):
    for_worker, for_client, output, status = pattern
    name = next(IDLE)
    there = ["-h", server[0], "-p", str(server[1]), "-f", name]
    command = {kind: (words or [require("gearman")]) + there for kind, words in COMMANDS.items()}
    worker = processes.start(command[at_work] + ["-w", "-c", "1"] + for_worker, stderr=subprocess.PIPE)
    done = subprocess.run(command[client] + for_client, input=DATA, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=LONG)
    if output is None:
        output = b"%s: word" % name.encode()
    assert (done.stdout, done.returncode) == (output, status), done.stderr
    assert bool(done.stderr) == bool(status)
    assert worker.wait(LONG) == 0


@pytest.mark.parametrize("client", sorted(COMMANDS))
def test_a_background_job_waits_for_a_worker_that_prints(require, server, processes, client):
    """gearman -b … and later gearman -w -c 1 to peek at it."""
    name = next(IDLE)
    there = ["-h", server[0], "-p", str(server[1]), "-f", name]
    command = {kind: (words or [require("gearman")]) + there for kind, words in COMMANDS.items()}
    assert subprocess.check_output(command[client] + ["-b", "data"], stdin=subprocess.DEVNULL, timeout=LONG) == b""
    other = "ours" if client == "gearman" else "gearman"
    assert subprocess.check_output(command[other] + ["-w", "-c", "1"], stdin=subprocess.DEVNULL, timeout=LONG) == b"data"


@pytest.mark.parametrize("client", sorted(COMMANDS))
def test_several_functions_each_do_each_word(require, server, processes, client):
    names = [next(IDLE), next(IDLE)]
    there = ["-h", server[0], "-p", str(server[1])] + [word for name in names for word in ("-f", name)]
    command = (COMMANDS[client] or [require("gearman")]) + there + ["-P", "a", "b"]
    worker = processes.start((COMMANDS["ours"] if client == "gearman" else [require("gearman")]) + there
                             + ["-w", "-c", "4", "--", "sh", "-c", "cat; echo"])
    printed = subprocess.check_output(command, stdin=subprocess.DEVNULL, timeout=LONG).decode()
    assert sorted(printed.splitlines()) == ["%s: %s" % (name, word) for name in names for word in "ab"]
    assert worker.wait(LONG) == 0


def test_status_through_a_pipe(server):
    """echo status | nc: the asker half-closes before it reads."""
    with socket.create_connection(server, LONG) as asker:
        asker.sendall(b"status\n")
        asker.shutdown(socket.SHUT_WR)
        with asker.makefile("rb") as file:
            assert file.read().endswith(b".\n")


ACTIONS = ["--status", "--priority-status", "--workers", "--show-jobs", "--show-unique-jobs", "--server-version",
           "--server-verbose", "--getpid", "--create-function=made", "--cancel-job=H:none:1"]


@pytest.mark.parametrize("action", ACTIONS)
def test_gearadmin_asks_our_server(require, server, action):
    with Client(server) as client:
        client.submit("asked about", b"x", unique="asked", background=True)
        theirs = subprocess.run([require("gearadmin"), "-h", server[0], "-p", str(server[1]), action], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, timeout=LONG)
        ours = subprocess.run([sys.executable, "-m", "gearman_std", "admin", "-h", server[0], "-p", str(server[1]), action],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    if "cancel" in action:
        assert theirs.stderr.split() == ours.stderr.split() == [b"Error:", b"UNKNOWN_JOB"]
        assert (theirs.returncode, ours.returncode) == (0, 1)  # which a script notices
    else:
        assert theirs.returncode == 0 and theirs.stdout and theirs.stdout == ours.stdout


def test_gearadmin_drops_a_function(require, server):
    there = ["-h", server[0], "-p", str(server[1])]
    for action in ("--create-function=dropped", "--drop-function=dropped"):
        assert subprocess.check_output([require("gearadmin")] + there + [action], timeout=LONG) == b"OK\n"
    with AdminClient(server) as admin:
        assert b"dropped" not in [status.function for status in admin.status()]
