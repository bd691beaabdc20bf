"""What the tests of the server share: a server that is checked when it ends, and sockets that leave no byte unread."""
import io
import os
import socket
import struct
import threading

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.core.invariants import check_core
from gearman_std.wire.protocol import pack_request, pack_response
from gearman_std.net.system import System
from gearman_std.server.server import Server
from gearman_std.version import VERSION

VERSION_LINE = b"OK %s\n" % VERSION.encode()  # the answer to the text command
TIMEOUT = 20.0  # seconds, for what is sure to happen


class Wire:
    """A plain socket to a server.  Bytes that no assertion consumed fail the test."""

    def __init__(self, address, receive_buffer=None):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.wrap(self.socket)
        self._file = self.socket.makefile("rb")

    def wrap(self, plain):
        """What is read and written instead of the plain socket."""
        return plain

    def send(self, *packets):
        """Send bytes as they are."""
        self.socket.sendall(b"".join(packets))

    def request(self, packet_type, *arguments):
        """Send a request packet."""
        self.send(pack_request(packet_type, *arguments))

    def expect(self, *expected):
        """Read exactly these bytes."""
        expected = b"".join(expected)
        got = self._file.read(len(expected))
        assert got == expected, "got %r instead of %r" % (got[:200], expected[:200])

    def response(self, packet_type, *arguments):
        """Read exactly this response packet."""
        self.expect(pack_response(packet_type, *arguments))

    def packet(self):
        """Read any response packet; return its type and its body."""
        header = self._file.read(12)
        assert header[:4] == b"\0RES", header
        packet_type, size = struct.unpack(">II", header[4:])
        return packet_type, self._file.read(size)

    def line(self):
        """Read a line."""
        return self._file.readline()

    def listing(self):
        """Read the lines before that of one dot."""
        return list(iter(self.line, b".\n"))

    def totals(self):
        """What `show totals` says."""
        self.send(b"show totals\n")
        return {name: int(figure) for name, figure in (line.decode().split("\t") for line in self.listing())}

    def half_close(self):
        """Send nothing more."""
        self.socket.shutdown(socket.SHUT_WR)

    def ended(self):
        """Read the end of the stream, which must come next."""
        assert self._file.read(1) == b""

    def broken(self):
        """Read up to the end, or to where the connection breaks."""
        try:
            while self._file.read(65536):
                continue
        except socket.timeout:
            raise
        except OSError:
            return

    def close(self):
        """Close it.  There must be nothing left to read."""
        self.socket.setblocking(False)
        try:
            rest = self._file.peek(1)
        except OSError:
            rest = b""
        self.abandon()
        assert not rest, "nobody wanted %r" % rest

    def abandon(self):
        """Close it, whatever there is to read."""
        self._file.close()
        self.socket.close()


def receive(connection, size):
    """So many bytes of a socket; fails if it ends before."""
    got = b""
    while len(got) < size:
        data = connection.recv(size - len(got))
        assert data, got
        got += data
    return got


def in_dispatcher(server, function, *arguments):
    """What a function returns, or raises, in the dispatcher thread of a running server."""
    done, outcome = threading.Event(), []

    def call():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))
        done.set()
    server.call_soon(call)
    assert done.wait(TIMEOUT)
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def check(server):
    """Check the core's invariants, in the dispatcher thread; what gathers counts as about to be sent."""
    server._channels.release()
    check_core(server.core)


def server_of(**settings):
    """A Server, also with a clock or a selector of the test's."""
    ours = {name: settings.pop(name) for name in System.__slots__ if name in settings}
    numbers = settings.pop("handle_numbers", int)  # from 1 on, unless the test wants those of a real server
    server = Server(**dict({"port": 0, "handle_prefix": "H:t", "_system": System(**ours)}, **settings))
    server.core.handles.numbers = numbers
    return server


class Place:
    """Servers and sockets of one test."""

    wire_class = Wire

    def __init__(self):
        self._servers = []
        self._wires = []

    def serve(self, **settings):
        """A running server."""
        return self.run(server_of(**settings))

    def run(self, server):
        """Start a server that ends with the test."""
        server.start()
        self._servers.append(server)
        return server

    def wire(self, server, **options):
        """A socket connected to a server, or to an address."""
        wire = self.wire_class(getattr(server, "address", server), **options)
        self._wires.append(wire)
        return wire

    def end(self):
        """Check that everything was read, that every server is sound and none had a fault, and end all of them."""
        try:
            for server in self._servers:
                if server.running:
                    in_dispatcher(server, check, server)
            for wire in self._wires:  # after that, so that what a server was about to say has been said
                if wire.socket.fileno() >= 0:
                    wire.close()
        finally:
            for wire in self._wires:
                wire.abandon()
            for server in self._servers:
                server.stop()
                server.join(TIMEOUT)
                assert not server.running
                assert not server.core.counters["faults"]


class Clock:
    """A clock that stands still until it is told to go on, or that goes on a little each time somebody looks."""

    def __init__(self, now=1000.0, step=0.0):
        self.now = now
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now

    def advance(self, seconds):
        self.now += seconds


def let_pass(server, clock, seconds):
    """Have time pass for a server, and have it do what is due then."""
    in_dispatcher(server, clock.advance, seconds)
    for _ in range(2):
        in_dispatcher(server, lambda: None)


class HeldServer:
    """While it is entered, the dispatcher thread of a server waits, so that all that is sent meanwhile arrives at once."""

    def __init__(self, server):
        self._server = server
        self._waits, self._go_on = threading.Event(), threading.Event()

    def __enter__(self):
        self._server.call_soon(self._wait)
        assert self._waits.wait(TIMEOUT)

    def _wait(self):
        self._waits.set()
        assert self._go_on.wait(TIMEOUT)

    def __exit__(self, *_):
        self._go_on.set()


def channel_of(server, number=-1):
    """The channel of a server's latest connection, or of another one."""
    return in_dispatcher(server, lambda: list(server._channels.all)[number])


def server_command(*words):
    """Run the command `server` in this process, for what ends at once; return its status, output and errors."""
    console = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(["server", "--config-file", os.devnull] + list(words), console)
    return status, console.stdout.getvalue().decode(), console.stderr.getvalue().decode()
