"""The stages of "build your own": the pages, the judge, the small server, and what the real ones do."""
import contextlib
import copy
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

from gearman_std.client.client import Client
from gearman_std.server.server import Server
from gearman_std.wire.protocol import REQUEST_MAGIC, RESPONSE_MAGIC
from gearman_std.worker.worker import Worker

FOLDER = os.path.dirname(os.path.abspath(__file__))
JUDGE, MINI = os.path.join(FOLDER, "judge.py"), os.path.join(FOLDER, "mini.py")
sys.path.insert(0, FOLDER)
try:
    import judge
finally:
    sys.path.remove(FOLDER)

STAGES = {stage.number: stage for stage in judge.load_stages()}
SHORT = 0.4  # seconds to wait for what is not expected to come
LONG = 20.0  # seconds to wait for what is
GEARMAND, PERL, OURS = "gearmand 1.1.20", "Perl's Gearman::Server 1.130", "gearman_std"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def claims():
    """What the table of README.md says: by server and stage, "yes" or "no: why"."""
    lines = read(os.path.join(FOLDER, "README.md")).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *rows = rows
    return {name: {int(re.match(r"\[(\d+) ", row[0]).group(1)): row[column] for row in rows}
            for column, name in enumerate(head) if column}


CLAIMS = claims()


# --- The pages.

def test_there_are_twelve_and_the_table_has_each():
    assert sorted(STAGES) == list(range(1, judge.LAST + 1))
    links = re.findall(r"^\| \[(\d+) (.*)\]\((.*)\)", read(os.path.join(FOLDER, "README.md")), re.MULTILINE)
    assert links == [(str(number), stage.title, os.path.basename(stage.page)) for number, stage in sorted(STAGES.items())]
    for by_stage in CLAIMS.values():
        assert all(re.match("yes|no: ..", claim) for claim in by_stage.values())


@pytest.mark.parametrize("number", sorted(STAGES))
def test_a_page_has_its_parts_and_its_bytes_are_true(number):
    text = read(STAGES[number].page)
    assert re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE)[:3] == ["Why.", "The bytes.", "A hint."]
    assert len(text.split()) < 500, "half a page"
    for direction, packets, hexes in re.findall(r"^    \w ([<>]) (.*)\n((?:        [0-9a-f].*\n)+)", text, re.MULTILINE):
        data = judge.pack(judge.Words(), packets)
        if direction == "<":
            data = data.replace(REQUEST_MAGIC, RESPONSE_MAGIC)
        assert bytes.fromhex("".join(hexes.split())) == data, packets


def test_mini_can_be_read_in_one_sitting():
    assert len(read(MINI).splitlines()) <= 300


# --- Our server, and the small one.

@pytest.fixture(scope="module")
def ours():
    with Server(port=0) as server:
        yield judge.Running(server.address[:2])


@pytest.mark.parametrize("number", range(1, judge.LAST))
def test_our_server_keeps(ours, number):
    assert CLAIMS[OURS][number] == "yes"
    assert STAGES[number].judge(ours, LONG) == []


@pytest.fixture
def started():
    """started(command) is a server that the judge starts, and that ends with the test."""
    servers = []

    def started(*command):
        servers.append(judge.Started(command))
        return servers[-1]
    yield started
    for server in servers:
        server.end()


@pytest.mark.long
def test_our_server_is_killed_and_loses_nothing(started, tmp_path):
    server = started(sys.executable, "-m", "gearman_std", "server", "-L", "127.0.0.1", "-p", "{port}", "-q", "sqlite3",
                     "--sqlite3-db", str(tmp_path / "jobs"))
    assert CLAIMS[OURS][judge.LAST] == "yes"
    assert STAGES[judge.LAST].judge(server, LONG) == []


def run_judge(*arguments, **options):
    """The judge as a program of its own: run from another folder, with nothing of ours on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run((sys.executable, JUDGE) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50,
                          cwd=os.path.dirname(sys.executable), env=environment, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_mini_keeps_the_first_nine():
    status, said, complained = run_judge("--stage", "1-9", "--patience", str(LONG), "--", sys.executable, MINI, "{port}")
    assert (status, complained) == (0, ""), said
    assert said == "".join("stage %d, %s: kept\n" % (number, STAGES[number].title) for number in range(1, 10))
    assert [CLAIMS["mini.py"][number] for number in range(1, 10)] == ["yes"] * 9


def test_our_client_and_worker_work_with_mini(started):
    address = started(sys.executable, MINI, "{port}").address
    worker = Worker(address, threads=2)
    worker.register("reverse", lambda job: bytes(job.workload)[::-1])
    thread = threading.Thread(target=worker.work, kwargs={"signals": False})
    thread.start()
    try:
        with Client(address) as client:
            assert client.run("reverse", b"hello", timeout=LONG) == b"olleh"
            workloads = [b"%d" % number for number in range(100, 150)]
            assert list(client.map("reverse", workloads, timeout=LONG)) == [workload[::-1] for workload in workloads]
    finally:
        worker.stop()
        thread.join(LONG)


# --- The judge tells what is broken, each stage by its own conversations.

BROKEN = [
    (1, "waits for who has come last", "A connection that says nothing holds nobody up.", "expected ECHO_RES hello within ", """
        real = mini.Server.accept
        def accept(self):
            real(self)
            connection = list(self.sockets.values())[-1]
            connection.setblocking(True)
            self.receive(connection, list(self.sockets)[-1])
        mini.Server.accept = accept"""),
    (1, "answers with the magic of a request", "A client is answered.",
     "expected a packet, which begins with \\0RES; got \"\\0REQ", """
        mini.pack = lambda number, body: mini.HEADER.pack(b"\\0REQ", number, len(body)) + body"""),
    (2, "takes what one recv brings for a packet", "A packet may come a byte at a time.", "expected ECHO_RES hello within ", """
        real = mini.take
        def take(buffer):
            try:
                return real(buffer)
            finally:
                buffer.clear()
        mini.take = take"""),
    (3, "gives all jobs the same handle", "Each job gets a handle of its own.",
     "expected a {job2} of its own; got H:mini:1, which is that of {job1} already", """
        mini.Jobs.count = property(lambda self: 1, lambda self, value: None)"""),
    (3, "ends arguments with a NUL", "A job is taken, and gets a handle.", 'got JOB_CREATED "H:mini:1\\0"', """
        real = mini.pack
        mini.pack = lambda number, *arguments: real(number, *arguments, b"") if number == 8 else real(number, *arguments)"""),
    (4, "gives the last one first", "Jobs are given out in the order in which they came.", "first; got JOB_ASSIGN", """
        def put(self, job):
            self.queues.setdefault(job.function, mini.collections.deque()).appendleft(job)
        mini.Jobs.put = put"""),
    (4, "gives anything to anybody", "A worker that can do nothing gets no job.", "expected NO_JOB; got JOB_ASSIGN", """
        real = mini.Jobs.on_grab
        def on_grab(self, peer, number):
            peer.can_do = set(self.queues)
            real(self, peer, number)
        mini.Jobs.on_grab = on_grab"""),
    (5, "takes a result from anybody", "So is a result for a job that another worker has.", "expected ERROR * * within ", """
        real = mini.Jobs.on_work
        def on_work(self, peer, number, handle, *rest):
            if handle in self.jobs:
                peer = self.jobs[handle].worker
            real(self, peer, number, handle, *rest)
        mini.Jobs.on_work = on_work"""),
    (5, "sends the result to all", "The result goes to the client that waits for it, and to nobody else.",
     "expected nothing for other here; got WORK_COMPLETE", """
        real = mini.Jobs.on_work
        def on_work(self, peer, number, handle, *rest):
            job = peer.jobs.get(handle)
            real(self, peer, number, handle, *rest)
            for other in self.peers:
                if job and other is not job.client:
                    other.outgoing += mini.pack(number, handle, *rest)
        mini.Jobs.on_work = on_work"""),
    (6, "loses the wake-up", "A job that came between NO_JOB and PRE_SLEEP wakes the worker at once.",
     "expected NOOP within ", """
        def on_sleep(self, peer, number):
            peer.sleeping = True
        mini.Jobs.on_sleep = on_sleep"""),
    (6, "wakes again and again", "A worker is woken once, however many jobs come before it asks.",
     "expected nothing for w here; got NOOP", """
        def wake(self, peer):
            peer.outgoing += mini.pack(mini.NOOP)
        mini.Jobs.wake = wake"""),
    (7, "forgets what a lost worker had", "A job whose worker is gone wakes another worker, which gets it; the client gets its "
     "result as if nothing had been.", "expected NOOP within ", """
        def on_gone(self, peer):
            self.peers.remove(peer)
        mini.Jobs.on_gone = on_gone"""),
    (8, "tells who does not wait", "A background job is taken like another, and its client hears no more of it.",
     "expected nothing for c here; got WORK_STATUS", """
        real = mini.Jobs.on_submit
        mini.Jobs.on_submit = lambda self, peer, number, *rest: real(self, peer, mini.SUBMIT_JOB, *rest)"""),
    (9, "counts no jobs that run", "`status` has a line for each function: its jobs, those of them that run, its workers.",
     "expected a list with a line", """
        real = mini.Jobs.status
        def status(self):
            for job in self.jobs.values():
                job.worker = None
            return real(self)
        mini.Jobs.status = status"""),
    (9, "has no dot behind a list", "Half a line holds nobody up.",
     "expected lines of text up to a dot within ", """
        real = mini.Jobs.status
        mini.Jobs.status = lambda self: real(self)[:-2]"""),
    (10, "has one queue", "High comes before normal, and normal before low.", "expected JOB_ASSIGN", """
        mini.REQUESTS.update(dict.fromkeys((21, 32, 33, 34), ("on_submit", 3)))"""),
    (11, "takes each job for a new one",
     "A job with the function and the unique of one that waits is that one, for another client, too.",
     "expected JOB_CREATED H:mini:1; got JOB_CREATED H:mini:2", ""),
    (12, "keeps nothing", "A background job that waits outlives the server.", "expected JOB_ASSIGN", ""),
    (12, "loses what it was told last", "No job that was acknowledged is lost, at whatever moment the server is killed.",
     "jobs that were acknowledged with JOB_CREATED before the server was killed; 1 of them are lost", """
        import os
        real_init, real_submit = mini.Jobs.__init__, mini.Jobs.on_submit
        def init(self):
            real_init(self)
            self.file = open(path, "ab+")
            self.file.seek(0)
            lines = [line.rstrip(b"\\n").split(b"\\t") for line in self.file]
            for function, unique, workload in lines[:-1]:  # here it is
                real_submit(self, mini.Peer(""), mini.SUBMIT_JOB_BG, function, unique, workload)
        def on_submit(self, peer, number, function, unique, workload):
            self.file.write(b"%s\\t%s\\t%s\\n" % (function, unique, workload))
            self.file.flush()
            real_submit(self, peer, number, function, unique, workload)
        mini.Jobs.__init__, mini.Jobs.on_submit = init, on_submit"""),
]


@pytest.mark.parametrize("number, what, about, told, change", BROKEN, ids=["%d-%s" % broken[:2] for broken in BROKEN])
def test_the_judge_tells_a_server_that(started, tmp_path, number, what, about, told, change):
    program = "import sys\nsys.path.insert(0, %r)\nimport mini\npath = %r\n%s\nmini.Server(int(sys.argv[1])).run()\n" % (
        FOLDER, str(tmp_path / "jobs"), textwrap.dedent(change.strip("\n")))
    stage = copy.copy(STAGES[number])
    stage.conversations = [conversation for conversation in stage.conversations if conversation.about == about]
    server = started(sys.executable, "-c", program, "{port}")
    wrong = stage.judge(server, SHORT)
    if told not in wrong[0]:  # this machine may be too slow for that
        wrong = stage.judge(server, LONG)
    assert len(wrong) == 1
    assert told in wrong[0], wrong[0]
    assert re.match(r"    %s\n(       .*\n)*    >> .*\n    %s:\d+: expected .*\.\Z" % (
        re.escape(about), re.escape(os.path.basename(stage.file))), wrong[0]), wrong[0]


@pytest.mark.parametrize("piece, patience, told", [
    (b"\0RES\0\0\0\x11\xff\xff\xff\xff" + b"x" * 65536, LONG, "got ECHO_RES with a size of 4294967295 bytes in its header"),
    (b"x" * 65536, LONG, "bytes of a line without an end: xxxxx"),
    (b"\0RES\0\0\0\6\0\0\0\0" * 1000, SHORT, "expected the ECHO_RES of an ECHO_REQ within 0.4 s; "),
], ids=["a packet without an end", "a line without an end", "NOOP without an end"])
def test_the_judge_does_not_listen_for_ever(piece, patience, told):
    """A server that says the same again and again, whatever is sent to it."""
    def flood():
        connected, _ = listening.accept()
        with connected, contextlib.suppress(OSError):
            while True:
                connected.sendall(piece)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        thread = threading.Thread(target=flood)
        thread.start()
        connection = judge.Connection(listening.getsockname(), patience)
        try:
            with pytest.raises(judge.Wrong) as caught:
                connection.settle()
        finally:
            connection.close()
            thread.join(LONG)
    assert told in str(caught.value)


@pytest.mark.parametrize("number", range(10, judge.LAST + 1))
def test_mini_does_not_keep_what_is_left_to_the_reader(number):
    assert CLAIMS["mini.py"][number].startswith("no: ")


# --- How the judge is called.

def test_it_stops_at_the_first_stage_that_is_not_kept():
    command = ("--patience", str(LONG), "--", sys.executable, MINI, "{port}")
    status, said, _ = run_judge("--stage", "9,10,11", *command)
    assert status == 1
    assert re.findall("^stage .*", said, re.MULTILINE) == [
        "stage 9, For people: kept", "stage 10, High and low: 6 of its 6 conversations go otherwise"]
    assert "10_priorities.md" in said
    status, said, _ = run_judge("--keep-going", "--stage", "9-11", *command)
    assert status == 1
    assert re.findall(r"^stage (\d+)", said, re.MULTILINE) == ["9", "10", "11"]


@pytest.mark.parametrize("arguments, words", [
    ((), "either HOST:PORT of a server that runs, or -- and the command that starts one"),
    (("--stage", "13", "localhost:4730"), "there are the stages 1 to 12"),
    (("--stage", "three", "localhost:4730"), "'three' is not a stage"),
    (("--stage", "2-1", "localhost:4730"), "there are the stages 1 to 12"),
    (("localhost",), "'localhost' has no port at its end"),
    (("localhost:99999",), "ports are from 1 to 65535"),
    (("127.0.0.1:1",), "cannot connect to 127.0.0.1:1"),
    (("--", "python3"), "the command has no {port} in it"),
    (("--", "/nonexistent", "{port}"), "cannot start /nonexistent"),
    (("--", sys.executable, "-c", "raise SystemExit(3)", "{port}"), "the server ended with status 3 before it listened"),
])
def test_there_is_no_server_to_judge(arguments, words):
    status, said, complained = run_judge(*arguments)
    assert (status, said) == (2, "")
    assert words in complained


def test_the_last_stage_needs_the_command(ours):
    status, _, complained = run_judge("--stage", "12", "127.0.0.1:%d" % ours.address[1])
    assert status == 2
    assert "judge.py --stage 12 -- COMMAND {port}" in complained


def test_help_says_how_conversations_are_read():
    status, said, _ = run_judge("-h")
    assert status == 0
    assert "A connection that says nothing holds nobody up." in said and "is killed and started again" in said


# --- The real servers, and what the table says about them.

def real_server(require, kind, folder):
    """The command that starts one, with a store if it has one."""
    if kind == GEARMAND:
        return [require("gearmand"), "-L", "127.0.0.1", "-p", "{port}", "-l", "none", "-P", str(folder / "pid"),
                "-q", "libsqlite3", "--libsqlite3-db=%s" % (folder / "jobs")]
    if subprocess.call([require("perl"), "-MGearman::Server", "-e1"], stderr=subprocess.DEVNULL):
        require.missing("Perl's Gearman::Server is not installed")
    return [require("perl"), "-S", "/usr/bin/gearmand", "--listen", "127.0.0.1", "--port", "{port}"]


@pytest.mark.interop
@pytest.mark.long
@pytest.mark.parametrize("kind", [GEARMAND, PERL])
def test_real_servers_keep_what_the_table_says_and_nothing_else(require, started, tmp_path, kind):
    command = real_server(require, kind, tmp_path)
    server = started(*command)
    for number, claim in sorted(CLAIMS[kind].items()):
        wrong = STAGES[number].judge(server, LONG if claim == "yes" else SHORT)
        assert bool(wrong) == (claim != "yes"), "stage %d: %s\n%s" % (number, claim, "\n".join(wrong))


@pytest.mark.interop
def test_the_command_gearman_works_with_mini(require, started, processes):
    port = str(started(sys.executable, MINI, "{port}").address[1])
    gearman = [require("gearman"), "-h", "127.0.0.1", "-p", port, "-f", "upper"]
    processes.start(gearman + ["-w", "--", "tr", "a-z", "A-Z"])
    done = subprocess.run(gearman, input=b"hello", stdout=subprocess.PIPE, timeout=LONG)
    assert (done.returncode, done.stdout) == (0, b"HELLO")
