"""Children of forks: whatever they do, the server of their parent goes on, and its end is seen while they live."""
import gc
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from gearman_std.net import forks
from gearman_std.server.access import PeerFacts
from gearman_std.wire.protocol import ECHO_REQ, ECHO_RES, JOB_CREATED, SUBMIT_JOB_BG
from gearman_std.server.server import Server
from gearman_std.net.signals import WokenBySignals

from server_tools import TIMEOUT, Wire, in_dispatcher

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Child:
    """A child of a fork that runs a function and then lives until it is told to end."""

    def __init__(self, function=lambda: None):
        answers, answer = os.pipe()
        orders, order = os.pipe()
        self.process = os.fork()
        if not self.process:
            try:
                os.close(order)
                os.write(answer, repr(function()).encode())
                os.close(answer)
                os.read(orders, 1)
            finally:
                os._exit(0)
        os.close(answer)
        os.close(orders)
        self._order = order
        with open(answers, "rb") as file:
            self.said = file.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._order)
        os.waitpid(self.process, 0)


def open_things():
    """The sockets and selectors that this process has open."""
    return {known for known in map(as_the_system_knows_it, range(300)) if "socket:" in known or "anon_inode:" in known}


def as_the_system_knows_it(number):
    """A descriptor with its number, as all selectors have the same name; "" if it is not open."""
    path = "/proc/self/fd/%d" % number
    return "%d %s" % (number, os.readlink(path)) if os.path.exists(path) else ""


def echo(wire, data=b"x"):
    wire.request(ECHO_REQ, data)
    wire.response(ECHO_RES, data)


@pytest.fixture(params=["127.0.0.1", "unix"])
def listen(request, tmp_path):
    return [str(tmp_path / "socket")] if request.param == "unix" else [request.param]


def test_the_servers_end_is_seen_and_its_address_free_while_a_child_lives(listen):
    with Server(port=0, listen=listen) as server:
        asker, silent = Wire(server.address), Wire(server.address)
        echo(asker)
        echo(silent)
        child = Child()
    with child:
        for wire in (asker, silent):
            wire.ended()
            wire.close()
        with socket.socket(socket.AF_UNIX if isinstance(server.address, str) else socket.AF_INET) as late:
            with pytest.raises(OSError):
                late.connect(server.address)
        with Server(port=0 if isinstance(server.address, str) else server.address[1], listen=listen) as other:
            assert other.address == server.address
            wire = Wire(other.address)
            echo(wire)
            wire.close()


def test_a_peer_that_the_server_drops_sees_it_while_a_child_lives(place):
    server = place.serve()
    wire = place.wire(server)
    echo(wire)
    with Child():
        wire.send(b"a b c d e f\n")
        wire.ended()


def test_the_one_who_is_turned_away_sees_it_while_a_child_lives(place):
    server = place.serve(max_connections=1)
    wire = place.wire(server)
    echo(wire)
    with Child():
        other = place.wire(server)
        assert other.packet()[1].startswith(b"TOO_MANY_CONNECTIONS")
        other.ended()


def test_a_listener_that_somebody_else_opened_goes_on_for_whoever_else_has_it(place):
    from gearman_std.server.listeners import Listener
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        with Server(listen=[Listener(listening.dup())]) as server:
            wire = Wire(server.address)
            echo(wire)
        wire.ended()
        wire.close()
        with socket.create_connection(listening.getsockname()):
            listening.accept()[0].close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_a_child_holds_nothing(listen, tmp_path):
    before = open_things()
    ours, theirs = socket.socketpair()
    with Server(port=0, listen=listen) as server:
        wires = [Wire(server.address), Wire(server.address)]
        for wire in wires:
            echo(wire)
        in_dispatcher(server, lambda: server._entrance.handshakes.begin(PlainTLS(), ours, PeerFacts(), None))
        mine = {as_the_system_knows_it(one.fileno()) for one in [theirs] + [wire.socket for wire in wires]}
        assert len(open_things() - mine - before) >= 7
        with Child(lambda: sorted(open_things() - mine - before)) as child:
            assert child.said == "[]"
        for wire in wires:
            echo(wire)
            wire.abandon()
    theirs.close()


class PlainTLS:
    """Something to shake hands with that never answers."""

    def wrap(self, connected):
        connected.setblocking(False)
        return PlainStream(connected)


class PlainStream:
    receive_waits_to_send = False

    def __init__(self, connected):
        self.fileno, self.shutdown = connected.fileno, connected.shutdown
        self.close = self.leave = connected.close

    def do_handshake(self):
        raise BlockingIOError()


def stop_and_close(server):
    server.stop()
    server.join(TIMEOUT)
    server.close()
    return server.running


@pytest.mark.parametrize("use", [
    lambda server: None, stop_and_close, lambda server: server.reload(), lambda server: server.call_soon(os._exit, 1),
    lambda server: server.__exit__(None, None, None), lambda server: gc.collect()],
    ids=["nothing", "stop", "reload", "call_soon", "exit", "collect"])
def test_what_a_child_does_with_the_server_does_not_reach_the_parents(place, listen, use):
    server = place.serve(listen=listen)
    wire = place.wire(server)
    echo(wire)
    with Child(lambda: use(server)) as child:
        assert child.said in ("None", "False") or child.said.isdigit()
        echo(wire)
        echo(place.wire(server))
    echo(wire)
    assert in_dispatcher(server, lambda: server.core.stopping) == ""


PROGRAM = """
import os, signal, sys, threading
from gearman_std.server.server import Server
server = Server(port=0, handle_prefix="H:t", listen=["127.0.0.1"], store=sys.argv[2])
server.core.handles.numbers = int
def fork():
    answers, answer = os.pipe()
    if os.fork():
        os.close(answer)
        os.read(answers, 1)  # ends with the child, or when that says so
        return
    kind = sys.argv[1]
    if kind == "exit":
        sys.exit(3)
    if kind == "exec":
        os.execv(sys.executable, [sys.executable, "-c", "pass"])
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":
        raise RuntimeError("in the child")
    if kind == "live":  # and go on as if it were the server
        os.close(answer)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout.close()
        os.close(1)
server.bind()
process = os.getpid()
signal.signal(signal.SIGTERM, lambda *_: server.stop())
signal.signal(signal.SIGUSR1, lambda *_: fork())
print(server.address[1], flush=True)
try:
    server.serve()
except BaseException as error:
    if os.getpid() == process:
        print(repr(error))
if os.getpid() == process:
    print("ended well", server.stored)
"""


@pytest.mark.parametrize("kind", ["exit", "exec", "kill", "raise", "live"])
def test_a_child_of_the_servers_own_thread_that_ends_or_lives_on_changes_nothing(root, tmp_path, kind):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, kind, str(tmp_path / "store")], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, cwd=root)
    with process:
        wire = Wire(("127.0.0.1", int(process.stdout.readline())))
        for number in (1, 2):
            wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
            wire.response(JOB_CREATED, b"H:t:%d" % number)
            if number == 1:
                process.send_signal(signal.SIGUSR1)
                echo(wire)
        wire.send(b"show jobs\n")
        wire.expect(b"H:t:1\t0\t0\t1\nH:t:2\t0\t0\t1\n.\n")
        process.send_signal(signal.SIGTERM)
        wire.ended()
        wire.close()
        assert process.stdout.read() == b"ended well True\n"
    assert process.returncode == 0


def test_signals_of_a_child_are_written_nowhere():
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer, WokenBySignals(writer.fileno()):
        with Child(lambda: signal.set_wakeup_fd(-1)) as child:
            assert child.said == "-1"
        assert signal.set_wakeup_fd(writer.fileno()) == writer.fileno()


def test_what_is_to_be_left_is_left_once_and_only_while_it_is_there():
    class Thing:
        left = 0

        def leave(self):
            self.left += 1
    kept, gone = Thing(), Thing()
    for thing in (kept, kept, gone):
        forks.leave_in_children(thing)
    del gone, thing
    with Child(lambda: (kept.left, forks._leave_all(), kept.left)) as child:
        assert child.said == "(1, None, 1)"
    assert kept.left == 0


def test_one_that_cannot_be_left_keeps_no_other_from_it():
    class Thing:
        def __init__(self, number):
            self.number = number
            self.left = 0

        def leave(self):
            self.left += 1
            if self.number % 2:
                raise ValueError("thing %d" % self.number)
    things = [Thing(number) for number in range(6)]
    for thing in things:
        forks.leave_in_children(thing)
    with Child(lambda: [thing.left for thing in things]) as child:
        assert child.said == "[1, 1, 1, 1, 1, 1]"


def test_without_being_told_nothing_is_left_and_nothing_breaks(monkeypatch):
    monkeypatch.setattr(forks, "TOLD_OF_FORKS", False)
    monkeypatch.setattr(forks, "_call_in_children", lambda call: None)
    monkeypatch.setattr(forks, "_left_in_children", None)
    with Server(port=0, listen=["127.0.0.1"]) as server:
        wire = Wire(server.address)
        with Child(lambda: server.__exit__(None, None, None)):
            echo(wire)
            assert threading.active_count() > 1
        echo(wire)
        wire.close()
