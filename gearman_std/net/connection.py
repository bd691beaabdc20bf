"""One connection to one job server: connect, send, receive, wait, time out."""
import errno
import os
import re
import select
import socket
import threading
import time
from collections import deque

from ..arguments import ENDLESS, as_float
from ..errors import CommandTimeout, ConnectTimeout, NoServer, ServerError, ServerLost
from .addresses import join_address, split_address
from .forks import leave_in_children
from .streams import TLSStream, certificate_error, end_connection, set_up_tcp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Iterable, List, Optional, Tuple, Union
    from ..wire.protocol import Data
    from .addresses import Address

RECEIVE_SIZE = 65536  # bytes taken from a socket at once; for much larger buffers, malloc would map and unmap memory each time
SEND_COUNT = 64        # pieces handed to a socket at once
_JOIN_BELOW = 16384    # pieces smaller than this are joined before they are sent
LONGEST_WAIT = 3600.0  # seconds of one wait, because the system refuses very long ones; longer waits are repeated
LONGEST_REFUSAL = 16384  # bytes of an ERR line
_ERROR_CODE = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+\Z")


class Deadline:
    """A time-out over several steps: `timeout` seconds from now, None or ENDLESS for no limit.

    Raises ValueError or TypeError, which name the argument, if `timeout` is not a number.

    Owner: the thread that made it.
    """

    __slots__ = ("_clock", "_end")

    def __init__(self, timeout: "Optional[float]", clock: "Callable[[], float]" = time.monotonic,
                 name: str = "timeout") -> None:
        self._clock = clock
        try:
            self._end = None if timeout is None or timeout >= ENDLESS else clock() + timeout
        except (TypeError, ArithmeticError):  # no number, or one of another kind
            try:
                self._end = clock() + as_float(timeout)
            except TypeError:
                raise TypeError("%s is %r, not a number of seconds or None" % (name, timeout)) from None
        if self._end != self._end:  # NaN: the deadline would never be over, and there would never be time left
            raise ValueError("%s is %r, not a number of seconds or None" % (name, timeout))

    def __repr__(self) -> str:
        return "<Deadline in %s s>" % self.left()

    def left(self) -> "Optional[float]":
        """Seconds left, not less than 0; None for no limit."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and self._clock() >= self._end


def start_deadline(name: str, timeout: "Any", clock: "Callable[[], float]" = time.monotonic) -> Deadline:
    """The deadline of a time-out that begins now.  Raises ValueError or TypeError, naming the argument, if it is not valid."""
    deadline = Deadline(timeout, clock, name)
    if timeout is not None and timeout < 0:
        raise ValueError("%s is %r; a time-out is not less than 0, and None for ever" % (name, timeout))
    return deadline


def check_timeout(name: str, timeout: "Any") -> "Any":
    """The time-out, or None for no limit; raises what `start_deadline` raises."""
    return None if start_deadline(name, timeout).left() is None else as_float(timeout)


class Connection:
    """A connected, non-blocking socket, and the bytes that are still to be sent; made by `open_connection`.

    Owner: the lock or thread of whoever opened it.
    """

    __slots__ = ("address", "queued", "sent", "_process", "_socket", "_outgoing", "_send_pieces", "_count_pending",
                 "__weakref__")

    def __init__(self, address: "Address", connected: "Any") -> None:
        self.address = address
        self._process = os.getpid()
        self.queued = 0  # bytes given to `put` since the start
        self.sent = 0    # bytes of these that the system took
        self._socket = connected
        self._outgoing = deque()  # type: Deque[Data]
        self._send_pieces = getattr(connected, "sendmsg", None)  # Windows has none
        self._count_pending = getattr(connected, "pending", None)  # type: Optional[Callable[[], int]] # TLS has it
        leave_in_children(self)

    def __repr__(self) -> str:
        return "<Connection to %s, %d bytes unsent>" % (join_address(self.address), self.queued - self.sent)

    def fileno(self) -> int:
        """The file descriptor, for a selector."""
        return int(self._socket.fileno())

    @property
    def inherited(self) -> bool:
        """Whether this process's parent made it before a fork; then it cannot be used here."""
        return self._process != os.getpid()

    @property
    def unsent(self) -> bool:
        """Whether there is something left to be sent."""
        return bool(self._outgoing)

    @property
    def pieces(self) -> int:
        """How many pieces are left to be sent."""
        return len(self._outgoing)

    def put(self, *pieces: "Data") -> None:
        """Add bytes to what is to be sent; nothing leaves before `flush`."""
        for piece in pieces:
            self.queued += len(piece)
            self._outgoing.append(piece)

    def flush(self) -> bool:
        """Send as much as the socket takes without waiting; return whether that was all.

        Raises ServerLost.
        """
        outgoing = self._outgoing
        try:
            while outgoing:
                pieces = _next_pieces(outgoing)
                if len(pieces) > 1 and self._send_pieces is not None:
                    sent = self._send_pieces(pieces)
                else:
                    sent = self._socket.send(pieces[0])
                self.sent += sent
                while sent:
                    if sent < len(outgoing[0]):
                        outgoing[0] = memoryview(outgoing[0])[sent:]
                        break
                    sent -= len(outgoing.popleft())
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise self._lost(error) from None
        return True

    def receive(self, room: "Optional[memoryview]" = None) -> "Optional[Union[bytes, int]]":
        """What has arrived, or the number of bytes received into `room` if one is given; None if there is nothing.

        Raises ServerLost, also at the end of the stream.
        """
        try:
            received = self._socket.recv(RECEIVE_SIZE) if room is None else self._socket.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._lost(error) from None
        if not received:
            raise ServerLost("%s closed the connection" % join_address(self.address))
        return received  # type: ignore[no-any-return]

    def wait(self, timeout: "Optional[float]") -> bool:
        """Wait until something can be received or, if something is left to be sent, until it can be sent; return whether so."""
        return self.pending or bool(make_waiter([(self, self.unsent)])(timeout))

    @property
    def pending(self) -> bool:
        """Whether bytes that were taken from the socket wait for `receive` (TLS reads whole records)."""
        return self._count_pending is not None and self._count_pending() > 0

    def close(self) -> None:
        """End the connection; in a child of a fork, close the socket without a word to the other end."""
        if self.inherited:
            self.leave()
        else:
            end_connection(self._socket)

    def leave(self) -> None:
        """Close this process's socket without a word to the other end: the connection is that of the process it forked from."""
        getattr(self._socket, "leave", self._socket.close)()

    def _lost(self, error: OSError) -> ServerLost:
        return ServerLost("lost the connection to %s: %s" % (join_address(self.address), error.strerror or error))


def _next_pieces(outgoing: "Deque[Data]") -> "List[Data]":
    """The beginning of what is to be sent, small pieces joined in place."""
    first = outgoing[0]
    if len(first) < _JOIN_BELOW and len(outgoing) > 1:
        small = []  # type: List[Data]
        size = 0
        while outgoing and size + len(outgoing[0]) < _JOIN_BELOW:
            size += len(outgoing[0])
            small.append(outgoing.popleft())
        outgoing.appendleft(b"".join(small))
    return [outgoing[index] for index in range(min(len(outgoing), SEND_COUNT))] if len(outgoing) > 1 else [outgoing[0]]


def open_connection(address: "Any", timeout: "Optional[float]" = None, tls: "Any" = None) -> Connection:
    """Connect to a job server within `timeout` seconds, including the look-up of its name; try its addresses in turn.

    `tls` is None, True for the system's certificate authorities, an `ssl.SSLContext`, or a dict with some of "ca" (a file of
    certificate authorities), "certificate" and "key" (files of this side's own certificate), "hostname" (the name in the
    server's certificate, if that is not the address) and "verify" (False accepts every certificate).  Unix sockets are not
    encrypted.  Raises ConnectTimeout or NoServer; ValueError for a dict with other keys, OSError for files that cannot be used.
    """
    address = split_address(address)
    deadline = Deadline(timeout)
    context, hostname = tls_context(tls) if tls and not address[0].startswith("/") else (None, None)
    try:
        connected = _connect(address, deadline)
        if context is not None:
            connected = _start_tls(connected, context, hostname or address[0], deadline)
    except socket.timeout:
        limit = " within %.2g s" % timeout if timeout is not None else ""  # the system has its own limit
        raise ConnectTimeout("%s did not answer%s" % (join_address(address), limit)) from None
    except (OSError, UnicodeError) as error:  # a UnicodeError is about a host name that no name server could hold
        reason = getattr(error, "strerror", None) or error
        raise NoServer("cannot connect to %s: %s" % (join_address(address), reason)) from None
    connected.setblocking(False)
    return Connection(address, connected)


def _connect(address: "Address", deadline: Deadline) -> socket.socket:
    host, port = address
    if host.startswith("/"):
        return _connect_one(socket.AF_UNIX, 0, host, deadline)
    failure = OSError(errno.EADDRNOTAVAIL, "no address found")  # type: OSError
    choices = _look_up(host, port, deadline)
    for index, (family, _, protocol, _, found) in enumerate(choices):
        try:
            return _connect_one(family, protocol, found, deadline, len(choices) - index)
        except OSError as error:
            failure = error
    raise failure


def _look_up(host: str, port: int, deadline: Deadline) -> "List[Any]":
    """The addresses of a host.

    If there is a time limit, a separate thread looks up a name, because silent name servers may take the system half a minute.
    Nothing can interrupt that, so the thread is left behind.  Raises socket.timeout, OSError, UnicodeError.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        pass  # it is a name
    outcomes = []  # type: List[Any]

    def look_up() -> None:
        try:
            outcomes.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcomes.append(error)

    left = deadline.left()
    try:
        if left is not None:
            thread = threading.Thread(target=look_up, name="gearman_std name", daemon=True)
            thread.start()
            thread.join(left)
    except RuntimeError:
        left = None  # no thread can be started: there are too many, or the interpreter is ending, or it has no threads
    if left is None:
        look_up()
    if not outcomes:
        raise socket.timeout()
    if isinstance(outcomes[0], Exception):
        raise outcomes[0]
    return outcomes[0]  # type: ignore[no-any-return]


class _Unfinished:
    """A socket that is being connected.

    Owner: the thread that connects it.
    """

    __slots__ = ("leave", "__weakref__")

    def __init__(self, connecting: "Any") -> None:
        self.leave = connecting.close
        leave_in_children(self)

    def __repr__(self) -> str:
        return "<_Unfinished: %r>" % (self.leave,)


def _connect_one(family: int, protocol: int, found: "Any", deadline: Deadline, shares: int = 1) -> socket.socket:
    """Connect to one address within its share of the time that is left."""
    left = deadline.left()
    if left == 0:
        raise socket.timeout()
    connected = socket.socket(family, socket.SOCK_STREAM, protocol)
    unfinished = _Unfinished(connected)  # for as long as this call lasts
    try:
        connected.settimeout(None if left is None else left / shares)
        connected.connect(found)
        if not isinstance(found, str):
            set_up_tcp(connected)
    except BaseException:
        unfinished.leave()
        raise
    return connected


def check_tls_kind(tls: "Any") -> None:
    """Raises TypeError or ValueError if `tls` cannot be a setting of TLS; does not look at its files."""
    if isinstance(tls, dict):
        unknown = sorted(map(str, set(tls) - {"ca", "certificate", "key", "hostname", "verify"}))
        if unknown:
            raise ValueError("not a TLS setting: %s" % ", ".join(unknown))
    elif tls not in (None, True, False) and not hasattr(tls, "wrap_socket"):
        raise TypeError("tls is %.80r, not True, an ssl.SSLContext or a dict" % (tls,))


def check_tls(tls: "Any") -> None:
    """Raises what `open_connection` would raise for these settings, which a worker would later take for an outage."""
    if tls:
        tls_context(tls)


def _start_tls(connected: "Any", context: "Any", hostname: str, deadline: Deadline) -> "Any":
    try:
        left = deadline.left()
        if left == 0:
            raise socket.timeout()
        connected.settimeout(left)
        connected = context.wrap_socket(connected, server_hostname=hostname, do_handshake_on_connect=False)
        unfinished = _Unfinished(connected)
        connected.do_handshake()
    except ValueError as error:  # what Python 3.6 raises for a certificate of another host
        connected.close()
        raise OSError(errno.EPROTO, str(error)) from None
    except BaseException:
        connected.close()
        raise
    del unfinished
    return TLSStream(connected)


def tls_context(tls: "Any") -> "Tuple[Any, Optional[str]]":
    """The SSLContext for the `tls` of `open_connection`, and the host name that the certificate should have, if it says one."""
    check_tls_kind(tls)
    import ssl
    if tls is True:
        return ssl.create_default_context(), None
    if not isinstance(tls, dict):
        return tls, None
    path = tls.get("ca")
    try:
        context = ssl.create_default_context(cafile=path)
        path = tls.get("certificate")
        if path:
            context.load_cert_chain(path, tls.get("key"))
    except OSError as error:  # which does not name the file
        raise certificate_error(error, path) from None
    if not tls.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context, tls.get("hostname")


def make_waiter(connections: "Iterable[Tuple[Any, bool]]") -> "Callable[[Optional[float]], List[int]]":
    """A function that waits until one of the connections can be read, or also written if its flag is true; it takes seconds.

    It returns their file descriptors; none when that time, or an hour, is over.
    """
    if hasattr(select, "poll"):
        poller = select.poll()
        for connection, writing in connections:
            poller.register(connection.fileno(), select.POLLIN | (select.POLLOUT if writing else 0))

        def wait_with_poll(timeout: "Optional[float]") -> "List[int]":
            limit = LONGEST_WAIT if timeout is None or timeout > LONGEST_WAIT else timeout
            return [descriptor for descriptor, _ in poller.poll(int(limit * 1000 + 0.999))]
        return wait_with_poll
    pairs = [(connection.fileno(), writing) for connection, writing in connections]
    readers, writers = [one for one, _ in pairs], [one for one, writing in pairs if writing]

    def wait_with_select(timeout: "Optional[float]") -> "List[int]":
        limit = LONGEST_WAIT if timeout is None or timeout > LONGEST_WAIT else timeout
        readable, writable, _ = select.select(readers, writers, [], limit)
        return readable + [descriptor for descriptor in writable if descriptor not in readable]
    return wait_with_select


def ask(connection: Connection, line: bytes, timeout: "Optional[float]") -> bytes:
    """Send one text command over a connection, return the reply up to its line of one dot, and close the connection.

    Raises CommandTimeout after `timeout` seconds, ServerLost, and ServerError for a refusal.
    """
    deadline = Deadline(timeout)
    try:
        connection.put(line + b"\n")
        reply = bytearray()
        while not (reply.endswith(b"\n.\n") or reply == b".\n"):
            if deadline.over:
                raise CommandTimeout("%s did not answer within %s s" % (join_address(connection.address), timeout))
            connection.flush()
            connection.wait(deadline.left())
            received = connection.receive()
            if isinstance(received, bytes):
                reply += received
                if is_refusal(reply, listing=True):
                    raise read_refusal(reply)
        return bytes(reply)
    finally:
        connection.close()


def is_refusal(reply: "Union[bytes, bytearray]", listing: bool) -> bool:
    """Whether the reply to a text command is an ERR line; in a listing, a name may also begin with `ERR `."""
    if not reply.startswith(b"ERR") or not reply.endswith(b"\n") or reply[3:4] not in (b" ", b"\r", b"\n"):
        return False
    return not listing or len(reply) < LONGEST_REFUSAL and reply.count(b"\n") == 1 and b"\t" not in reply


def read_refusal(reply: "Union[bytes, bytearray]") -> ServerError:
    """The error for an ERR line."""
    words = reply[3:].strip().decode("utf-8", "backslashreplace")
    code, _, text = words.partition(" ")
    if _ERROR_CODE.match(code):
        return ServerError(code, text.replace("+", " ").strip())
    return ServerError("ERR", words or "no reason given")
