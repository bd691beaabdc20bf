"""The admin client: what it sends, how it reads replies of gearmand and of other servers, and what it does about bad ones."""
import itertools
import random
import select
import socket
import threading

import pytest

from gearman_std.client.admin import (AdminClient, ConnectedPeer, FunctionStatus, JobAside, PriorityStatus, QueuedJob)
from gearman_std.client.client import Client
from gearman_std.net.connection import Connection
from gearman_std.errors import CommandTimeout, GearmanError, NoServer, ProtocolError, QueueFull, ServerError, ServerLost
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.text import _TEXT_COMMANDS
from gearman_std.net.system import System
from gearman_std.server.server import Server
from gearman_std.worker.worker import Worker


class Script:
    """A server that answers each line with the next reply of a list; a reply may be pieces to send, or None to say nothing."""

    def __init__(self, replies, close=False):
        self.lines = []
        self._replies = list(replies)
        self._close = close
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(5)
        self.address = "127.0.0.1:%d" % self._listening.getsockname()[1]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while self._replies:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                for line in reader:
                    self.lines.append(line)
                    reply = self._replies.pop(0)
                    if reply is None:
                        self._done.wait(20)
                        break
                    try:
                        for piece in [reply] if isinstance(reply, bytes) else reply:
                            connection.sendall(piece)
                    except OSError:
                        break
                    if self._close or not self._replies:
                        break

    def end(self):
        self._done.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._listening.close()


@pytest.fixture
def script():
    """script(reply, …) is an AdminClient of a server that gives these replies; `.lines` of it is what the server got."""
    scripts = []

    def make(*replies, **options):
        script = Script(replies, options.pop("close", False))
        admin = AdminClient(script.address, **options)
        scripts.append((script, admin))
        admin.script = script
        return admin
    yield make
    for script, admin in scripts:
        admin.close()
        script.end()


ANSWERS = [
    ("status", (), b"wc\t3\t1\t2\nresize\t0\t0\t0\n.\n", b"status",
     [FunctionStatus(b"wc", 3, 1, 2), FunctionStatus(b"resize", 0, 0, 0)]),
    ("status", (), b".\n", b"status", []),
    ("priority_status", (), b"wc\t1\t2\t3\t4\n.\n", b"prioritystatus", [PriorityStatus(b"wc", 1, 2, 3, 4)]),
    ("workers", (), b"33 127.0.0.1 - :\n.\n", b"workers", [ConnectedPeer(33, "127.0.0.1", b"-", ())]),
    ("jobs", (), b"H:vm:1\t2\t0\t1\n.\n", b"show jobs", [QueuedJob(b"H:vm:1", 2, False, True)]),
    ("unique_jobs", (), b"one\n\ntwo\n.\n", b"show unique jobs", [b"one", b"", b"two"]),
    ("version", (), b"OK 1.1.20+ds\n", b"version", "1.1.20+ds"),
    ("verbose", (), b"OK ERROR\n", b"verbose", "ERROR"),
    ("getpid", (), b"OK 4711\n", b"getpid", 4711),
    ("create_function", ("wc",), b"OK\r\n", b"create function wc", None),
    ("drop_function", (b"wc",), b"OK\r\n", b"drop function wc", None),
    ("drop_function", ("wc", True), b"OK\r\n", b"drop function wc force", None),
    ("cancel_job", (b"H:vm:1",), b"OK\r\n", b"cancel job H:vm:1", None),
    ("max_queue", ("wc",), b"OK\r\n", b"maxqueue wc", None),
    ("max_queue", ("wc", 5), b"OK\r\n", b"maxqueue wc 5", None),
    ("max_queue", ("wc", 5, 6, 7), b"OK\r\n", b"maxqueue wc 5 6 7", None),
    ("max_queue", ("wc", 5, None, 7), b"OK\r\n", b"maxqueue wc 5 0 7", None),
    ("max_queue", ("wc", 5), b"OK\n", b"maxqueue wc 5", None),  # Perl's server
    ("shutdown", (), b"OK\r\n", b"shutdown", None),
    ("shutdown", (True,), b"OK\r\n", b"shutdown graceful", None),
    ("pause", ("wc",), b"OK\r\n", b"pause function wc", None),
    ("resume", ("wc",), b"OK\r\n", b"resume function wc", None),
    ("drain", (), b"OK\r\n", b"drain on", None),
    ("drain", (False,), b"OK\r\n", b"drain off", None),
    ("cancel_unique", ("u",), b"OK 2\r\n", b"cancel unique u", 2),
    ("cancel_unique", ("u", "wc"), b"OK 1\r\n", b"cancel unique u wc", 1),
    ("cancel_function", ("wc",), b"OK 3\r\n", b"cancel function wc", 3),
    ("run_job", ("H:1",), b"OK\r\n", b"run job H:1", None),
    ("requeue", ("H:1",), b"OK 1\r\n", b"requeue job H:1", 1),
    ("requeue", (None, "wc"), b"OK 4\r\n", b"requeue function wc", 4),
    ("purge", (), b"OK 9\r\n", b"purge all", 9),
    ("aside", (), b"H:1\twc\tu\t3\tit broke\n.\n", b"show aside", [JobAside(b"H:1", b"wc", b"u", 3, b"it broke")]),
    ("totals", (), b"submitted\t12\njobs\t3\n.\n", b"show totals", {"submitted": 12, "jobs": 3}),
    ("job_details", (), b'{"handle": "H:1", "age": 1.5}\n.\n', b"show jobs json", [{"handle": "H:1", "age": 1.5}]),
    ("job_details", (5,), b".\n", b"show jobs json 5", []),
    ("job_details", (None, b"gr\xf6\xdfe"), b".\n", b"show jobs json 0 gr\xf6\xdfe", []),
    ("schedules", (), b'{"handle": "H:1"}\n.\n', b"show schedules", [{"handle": "H:1"}]),
    ("history", (7, "wc"), b'{"handle": "H:1"}\n.\n', b"show history 7 wc", [{"handle": "H:1"}]),
    ("aside_details", (), b".\n", b"show aside json", []),
    ("function_details", (), b'{"function": "wc"}\n.\n', b"show functions json", [{"function": "wc"}]),
]


@pytest.mark.parametrize("method, arguments, reply, line, answer", ANSWERS)
def test_each_command(script, method, arguments, reply, line, answer):
    admin = script(reply)
    assert getattr(admin, method)(*arguments) == answer
    assert admin.script.lines == [line + b"\r\n"]


def test_replies_in_single_bytes(script):
    """A listing that arrives byte by byte is whole only with its dot."""
    reply = b"wc\t3\t1\t2\n.\n"
    admin = script([reply[index:index + 1] for index in range(len(reply))], b"OK 1.0\n")
    assert admin.status() == [FunctionStatus(b"wc", 3, 1, 2)]
    assert admin.version() == "1.0"


def test_the_version_of_perls_server_comes_without_an_ok(script):
    assert script(b"v1.130.1\n").version() == "v1.130.1"


def test_several_commands_share_a_connection(script):
    admin = script(b"OK 1\n", b"OK 2\n", b"OK 3\n")
    assert [admin.version(), admin.version(), admin.version()] == ["1", "2", "3"]


def test_addresses_of_ip_version_6_and_client_ids_with_colons_and_blanks(script):
    admin = script(b"35 ::1 - : wc resize\n36 fe80::1%eth0 host:17 worker : rev\n37 10.0.0.1  :\n38 unix a b :\n.\n")
    assert admin.workers() == [
        ConnectedPeer(35, "::1", b"-", (b"wc", b"resize")), ConnectedPeer(36, "fe80::1%eth0", b"host:17 worker", (b"rev",)),
        ConnectedPeer(37, "10.0.0.1", b"", ()), ConnectedPeer(38, "unix", b"a b", ())]


def test_the_trailing_blank_of_other_servers(script):
    """Perl's Gearman::Server and Python's gear end the line of a peer without functions with a blank."""
    assert script(b"5 127.0.0.1 - : \n.\n").workers() == [ConnectedPeer(5, "127.0.0.1", b"-", ())]


def test_names_with_blanks_tabs_and_line_ends(script):
    """gearmand takes any byte in a function's name but NUL, and prints it as it is."""
    admin = script(b"a b\t1\t0\t2\na\tb\t1\t0\t2\na\nb\t3\t0\t0\n\xff\t0\t0\t0\nERR x\t0\t0\t0\n.\n")
    assert [line.function for line in admin.status()] == [b"a b", b"a\tb", b"a\nb", b"\xff", b"ERR x"]


def test_a_unique_may_be_a_dot(script):
    assert script(b"a\n.\nb\n.\n").unique_jobs() == [b"a", b".", b"b"]


def test_negative_and_huge_counts(script):
    """Some versions of gearmand count below zero."""
    assert script(b"wc\t0\t-1\t4294967295\n.\n").status() == [FunctionStatus(b"wc", 0, -1, 4294967295)]


def test_a_reply_of_many_megabytes(script):
    line = b"function-%07d\t1\t2\t3\n"
    pieces = [b"".join(line % number for number in range(start, start + 1000)) for start in range(0, 100000, 1000)]
    admin = script(pieces + [b".\n"])
    status = admin.status()
    assert len(status) == 100000
    assert status[-1] == FunctionStatus(b"function-0099999", 1, 2, 3)


@pytest.mark.parametrize("line, code, text, shown", [
    (b"ERR UNKNOWN_JOB\r\n", "UNKNOWN_JOB", "", "UNKNOWN_JOB"),
    (b"ERR UNKNOWN_COMMAND Unknown+server+commandx\r\n", "UNKNOWN_COMMAND", "Unknown server commandx",
     "UNKNOWN_COMMAND: Unknown server commandx"),
    (b"ERR function not found\r\n", "ERR", "function not found", "ERR: function not found"),
    (b"ERR incomplete_args An+incomplete+set\n", "incomplete_args", "An incomplete set", "incomplete_args: An incomplete set"),
    (b"ERR\n", "ERR", "no reason given", "ERR: no reason given"),
])
def test_a_refusal_is_a_server_error(script, line, code, text, shown):
    admin = script(line, line, b"OK 1\n")
    for command in (admin.version, admin.status):
        with pytest.raises(ServerError) as caught:
            command()
        assert (caught.value.code, caught.value.text, str(caught.value)) == (code, text, shown)
    assert admin.version() == "1"  # the connection is as good as before


@pytest.mark.parametrize("method, reply", [
    ("version", b"hello\n"), ("getpid", b"OK many\n"), ("status", b"nonsense\n.\n"), ("status", b"wc\tx\t0\t0\n.\n"),
    ("workers", b"nonsense\n.\n"), ("job_details", b"{\n.\n"), ("job_details", b"\xff\n.\n"),
    ("version", b"x" * 100000), ("status", b"x\n" * 100000 + b".\n"),
])
def test_a_reply_that_makes_no_sense(script, method, reply):
    with pytest.raises(ProtocolError):
        getattr(script(reply), method)()


NAMES = [b"test\tresize", b"\tx\t", b"a\x0bb\x0c", b"a\rb", b"gr\xf6\xdfe", b"\xff\xfe\x01", "größe".encode(),
         b"'\"\\$(x);&|#%=,", b"ERR", b"1", b"."]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_is_any_bytes_that_a_line_can_carry_in_every_call(name):
    """Perl's clients put a tab between prefix and function; only blanks separate the words of a text command."""
    policy = FunctionPolicy(attempts=2, backoff=0.0)
    with Server(port=0, policies={name: policy}) as server, AdminClient([server.address]) as admin, \
            Client([server.address]) as client:
        worker = Worker([server.address], max_jobs=2)

        @worker.function(name)
        def fail(job):
            assert [peer.functions for peer in admin.workers() if peer.functions] == [(name,)]
            raise RuntimeError("no")
        admin.create_function(name)
        admin.pause(name)
        client.submit(name, b"x", unique=name, background=True)
        assert [line.function for line in admin.status()] == [name]
        assert [line.function for line in admin.priority_status()] == [name]
        assert admin.unique_jobs() == [name]
        admin.max_queue(name, 1)
        with pytest.raises(QueueFull):
            client.submit(name, b"y", background=True)
        admin.max_queue(name)
        admin.resume(name)
        worker.work(signals=False)
        assert [(job.function, job.unique, job.attempts, job.error) for job in admin.aside()] == [(name, name, 2, b"no")]
        assert admin.requeue(function=name) == 1
        assert admin.cancel_function(name) == 1
        client.submit(name, b"x", unique=name, background=True)
        assert admin.cancel_unique(name, name) == 1
        admin.drop_function(name)
        assert admin.status() == []


def test_the_tab_of_a_function_or_of_a_unique(script):
    jobs = b"H:1\ttest\tresize\tu\t2\tlost\nH:2\ttest\tresize\tu\tv\t3\t\nH:3\tf\t\tu\t1\tx\nH:4\tf\t\t1\tno unique\n.\n"
    assert script(jobs, b"test\tresize\t0\t0\t0\nf\t0\t0\t0\n.\n").aside() == [
        JobAside(b"H:1", b"test\tresize", b"u", 2, b"lost"), JobAside(b"H:2", b"test\tresize", b"u\tv", 3, b""),
        JobAside(b"H:3", b"f", b"\tu", 1, b"x"), JobAside(b"H:4", b"f", b"", 1, b"no unique")]


def test_peers_with_tabs_and_line_ends_in_their_names(script):
    admin = script(b"35 ::1 a\tb : x\ty z\n36 ::1 a\nb : f\ng h\n37 ::1 - :\n.\n")
    assert admin.workers() == [ConnectedPeer(35, "::1", b"a\tb", (b"x\ty", b"z")),
                               ConnectedPeer(36, "::1", b"a\nb", (b"f\ng", b"h")), ConnectedPeer(37, "::1", b"-", ())]


@pytest.mark.parametrize("call, text", [
    (lambda admin: admin.create_function(5), "5 cannot be a word of the command create"),
    (lambda admin: admin.create_function("a b"), "b'a b', which is empty or holds a blank"),
    (lambda admin: admin.create_function("\udcff"), "os.fsencode"),
    (lambda admin: admin.max_queue("f", "5"), "limit is '5'"), (lambda admin: admin.max_queue("f", 1.5), "limit is 1.5"),
    (lambda admin: admin.max_queue("f", 1, -1), "normal is -1"), (lambda admin: admin.drain("off"), "on is 'off'"),
    (lambda admin: admin.shutdown("no"), "graceful is 'no'"), (lambda admin: admin.drop_function("f", "no"), "force is 'no'"),
])
def test_what_cannot_be_is_named(script, call, text):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(script(b"OK\r\n"))
    assert text in str(caught.value)


def test_one_admin_client_asks_one_server():
    with pytest.raises(ValueError, match="server is 'a,b'"):
        AdminClient("a,b")


@pytest.mark.parametrize("method, arguments", [
    ("create_function", ("a b",)), ("create_function", ("",)), ("create_function", ("a\nb",)), ("create_function", (b"a\0b",)),
    ("create_function", ("a\r",)), ("drop_function", ("x" * 9000,)), ("cancel_job", (" x",)), ("max_queue", ("wc", -1)),
    ("create_function", ("\udcff",)), ("send", ("",)), ("send", (" ",)),
    ("requeue", ("H:1", "wc")), ("send", ("status\nshutdown",)),
])
def test_what_a_line_cannot_carry_is_refused_before_anything_is_sent(script, method, arguments):
    admin = script(b"OK\r\n")
    with pytest.raises(ValueError):
        getattr(admin, method)(*arguments)
    assert admin.script.lines == []


def test_a_server_that_does_not_answer(script):
    """Python's gear does not answer commands that it does not know."""
    admin = script(None, timeout=0.05)
    with pytest.raises(CommandTimeout):
        admin.version()


def test_the_time_out_is_for_the_whole_command_not_for_each_byte(script):
    class Clock:
        def __init__(self):
            self.now = 0.0

        def __call__(self):
            self.now += 1.0
            return self.now
    admin = script(itertools.repeat(b"x\t0\t0\t0\n"), timeout=5.0, _system=System(clock=Clock()))
    with pytest.raises(CommandTimeout):
        admin.status()


def test_after_a_lost_connection_the_next_command_opens_another(script):
    admin = script(b"OK 1\n", [], b"OK 2\n", close=True)
    assert admin.version() == "1"
    select.select([admin._connection], [], [], 20)  # until the end has arrived
    with pytest.raises(ServerLost):
        admin.version()
    assert admin.version() == "2"


class Canned:
    """A socket that, once something was sent, hands out a reply in parts and then ends."""

    def __init__(self, reply, part):
        self.reply = reply
        self.part = part
        self.asked = False

    def send(self, data):
        self.asked = True
        return len(data)

    def recv(self, size):
        if not self.asked:
            raise BlockingIOError
        part, self.reply = self.reply[:self.part], self.reply[self.part:]
        return part

    def shutdown(self, how):
        self.close()

    def close(self):
        self.reply = b""


def answer_to(method, arguments, reply, part=1000):
    """What a method makes of a reply after which the connection ends."""
    admin = AdminClient("127.0.0.1")
    admin._connection = Connection(admin.address, Canned(reply, part))
    try:
        return getattr(admin, method)(*arguments)
    except GearmanError as error:
        assert str(error)
        if not isinstance(error, ServerError):
            assert admin._connection is None or isinstance(error, ProtocolError)
        return error


@pytest.mark.parametrize("method, arguments, reply, line, answer", ANSWERS)
def test_a_reply_that_is_cut_anywhere_is_an_error_and_never_a_hang(method, arguments, reply, line, answer):
    for size in range(len(reply)):
        error = answer_to(method, arguments, reply[:size])
        assert isinstance(error, (ServerLost, ProtocolError)), (size, error)
    assert answer_to(method, arguments, reply, 1) == answer


@pytest.mark.parametrize("method, arguments, reply, line, answer", ANSWERS)
def test_a_garbled_reply_is_read_or_is_a_named_error(method, arguments, reply, line, answer):
    """What is not a GearmanError goes through."""
    for seed in range(300):
        rng = random.Random(seed)
        garbled = bytearray(reply)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(garbled) + 1)
            noise = bytes(rng.choice(b"\n\t .0129{}[]\":OKER\0\xff") for _ in range(rng.randrange(6)))
            garbled[place:place + rng.randrange(4)] = noise
        answer_to(method, arguments, bytes(garbled), rng.randrange(1, 20))
    answer_to(method, arguments, reply.replace(b"1", b"1" * 5000))
    answer_to(method, arguments, b"OK " + b"[" * 100000 + b"\n.\n")
    answer_to(method, arguments, b"[" * 100000 + b"\n.\n")


def test_nobody_listens():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        admin = AdminClient("127.0.0.1:%d" % closed.getsockname()[1])
        with pytest.raises(NoServer):
            admin.status()
        assert "not connected" in repr(admin)


def test_the_environment_names_the_server(monkeypatch):
    monkeypatch.setenv("GEARMAN_SERVERS", "one:1,two:2")
    assert AdminClient().address == ("one", 1)
    assert AdminClient("three").address == ("three", 4730)


def test_against_our_own_server():
    with Server(port=0) as server, Client([server.address]) as client, AdminClient(server.address) as admin:
        admin.create_function("resize")
        admin.max_queue("resize", 2)
        task = client.submit("resize", b"abc", unique="u1", background=True)
        client.submit("resize", b"abc", unique="u2", background=True, priority="high")
        with pytest.raises(ServerError):
            client.submit("resize", b"abc", unique="u3", background=True)
        assert admin.status() == [FunctionStatus(b"resize", 2, 0, 0)]
        assert admin.priority_status() == [PriorityStatus(b"resize", 1, 1, 0, 0)]
        assert admin.jobs()[0] == QueuedJob(task.handle, 0, False, True)
        assert sorted(admin.unique_jobs()) == [b"u1", b"u2"]
        assert {job["unique"] for job in admin.job_details()} == {"u1", "u2"}
        assert len(admin.workers()) == 2
        assert admin.getpid() > 0 and admin.verbose() == "ERROR" and admin.version()
        assert 0 <= admin.ping() < 10
        with pytest.raises(ServerError):
            admin.drop_function("resize")
        admin.cancel_job(task.handle)
        assert admin.cancel_unique("u2") == 1
        admin.drop_function("resize")
        assert admin.status() == [] and admin.aside() == []
        assert admin.totals()["jobs"] == 0
        admin.drain()
        admin.drain(False)
        admin.shutdown(graceful=True)
        server.join(20)


@pytest.mark.interop
def test_against_gearmand(gearmand):
    with Client([gearmand]) as client, AdminClient(gearmand) as admin:
        admin.create_function("a")
        admin.max_queue("a", 1, 2, 3)
        task = client.submit("a", b"", unique="u1", background=True)
        assert FunctionStatus(b"a", 1, 0, 0) in admin.status()
        assert PriorityStatus(b"a", 0, 1, 0, 0) in admin.priority_status()
        assert QueuedJob(task.handle, 0, False, True) in admin.jobs()
        assert b"u1" in admin.unique_jobs()
        assert {peer.address for peer in admin.workers()} == {"127.0.0.1"}
        assert admin.getpid() > 0 and admin.verbose() == "ERROR" and admin.version().startswith(("1.", "2."))
        admin.cancel_job(task.handle)
        with pytest.raises(ServerError) as caught:
            admin.cancel_job("H:none:1")
        assert caught.value.code == "UNKNOWN_JOB"
        with pytest.raises(ServerError) as caught:
            admin.shutdown()
        assert caught.value.code == "UNKNOWN_COMMAND"
        with pytest.raises(ServerError):
            admin.job_details()
        assert admin.version()


# --- The commands.

ARGUMENTS = {"max_queue": ("f", 5), "create_function": ("f",), "drop_function": ("f",), "cancel_job": ("H:1",),
             "cancel_unique": ("u",), "cancel_function": ("f",), "pause": ("f",), "resume": ("f",), "run_job": ("H:1",),
             "result": ("H:1",)}
NO_COMMANDS = {"ask", "close", "connect", "connected", "listing", "order", "send"}


def test_every_text_command_is_sent_by_a_method(monkeypatch):
    """And every method sends one that the server knows."""
    sent = set()
    send = AdminClient.send

    def note(client, line, listing=False):
        sent.add(bytes(line).split()[0] if isinstance(line, (bytes, bytearray)) else line.split()[0].encode())
        return send(client, line, listing)
    monkeypatch.setattr(AdminClient, "send", note)
    names = {name for name in vars(AdminClient) if not name.startswith("_")} - NO_COMMANDS
    with Server(port=0) as server, AdminClient(server.address) as there:
        for name in sorted(names, key=lambda name: name == "shutdown"):  # that one last
            try:
                getattr(there, name)(*ARGUMENTS.get(name, ()))
            except ServerError as error:
                assert "UNKNOWN_COMMAND" not in str(error), name
    known = set(_TEXT_COMMANDS)
    assert sent == known, "not at both places: %s" % (sent ^ known)
