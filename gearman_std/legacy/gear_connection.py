"""A connection of the library gear's client or worker; it sends packets and administrative requests."""
import threading
import time
from collections import deque

from ..errors import NoServer, ProtocolError, ServerLost
from ..net.addresses import join_address, split_address
from ..net.connection import Deadline, open_connection
from ..net.logs import own_logger
from ..net.streams import certificate_error
from ..wire.protocol import LARGEST_SIZE, RESPONSE_MAGIC, TEXT_LINE, TOO_FEW_ARGUMENTS, WRONG_MAGIC, PacketReader
from .gear_constants import ECHO_REQ, RES
from .gear_packets import (ConfigurationError, ConnectionError, InvalidDataError, Packet, TimeoutError, convert_to_bytes,
                           request)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Optional, Set
    from ..net.connection import Connection as Stream
    from .gear_packets import AdminRequest

_logger_gear = own_logger("gearman_std.gear")

CONNECT_TIMEOUT = 10.0  # seconds


class Connection:
    """A connection to a server.

    `state` is INIT, IDLE, GRAB_WAIT or SLEEP; a worker sets it with `changeState`.  `related_jobs` are the submitted jobs that
    have not ended, by handle.  TCP keepalive is always on.

    Owner: its lock for sending and receiving; the thread that reads for what has arrived.
    """

    log = _logger_gear

    def __init__(self, host: "Optional[str]", port: "Any", ssl_key: "Optional[str]" = None, ssl_cert: "Optional[str]" = None,
                 ssl_ca: "Optional[str]" = None, client_id: "Any" = "unknown", keepalive: bool = False,
                 tcp_keepidle: int = 7200, tcp_keepintvl: int = 75, tcp_keepcnt: int = 9) -> None:
        self.host = host
        self.port = port
        self.client_id = client_id
        try:
            self.address = split_address((host or "localhost", port))
        except (TypeError, ValueError) as error:
            raise ConfigurationError("no address of a server: %s" % error) from None
        if any((ssl_key, ssl_cert, ssl_ca)) and not all((ssl_key, ssl_cert, ssl_ca)):
            raise ConfigurationError("TLS needs all of ssl_key, ssl_cert and ssl_ca; some are missing")
        self.ssl_key, self.ssl_cert, self.ssl_ca = ssl_key, ssl_cert, ssl_ca
        self.use_ssl = bool(ssl_key)
        self.conn = None       # type: Optional[Stream]
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)  # notified when something was sent, or the connection is over
        self._echo_lock = threading.Lock()
        self.pending_tasks = []   # type: List[Any] # the tasks that wait for an answer, in the order of the requests
        self.admin_requests = []  # type: List[AdminRequest]
        self._begin()

    def _begin(self) -> None:
        self.attend(None, None)
        self.connected = False
        self.connect_time = None  # type: Optional[float]
        self.related_jobs = {}    # type: Dict[bytes, Any]
        self._joined = {}         # type: Dict[bytes, List[Any]] # further jobs by handle: equal jobs have the same one
        self.options = set()      # type: Set[bytes]
        self._echoes = {}         # type: Dict[bytes, threading.Event]
        self._reader = PacketReader(RESPONSE_MAGIC, max_line=LARGEST_SIZE)
        self._lines = b""         # of an answer that is not complete
        self._arrived = deque()   # type: Deque[Any]
        self.changeState("INIT")

    def __repr__(self) -> str:
        return "<gear.Connection 0x%x host: %s port: %s>" % (id(self), self.host, self.port)

    def changeState(self, state: str) -> None:
        """Set the state of a worker's connection."""
        self.state = state
        self.state_time = time.time()

    # ------------------------------------------------------------------------------------------ connecting

    def check(self) -> None:
        """Raise ConfigurationError if the files of TLS cannot be used."""
        try:
            self._context()
        except OSError as error:
            raise ConfigurationError(str(error)) from None

    def _context(self) -> "Any":
        return make_context(False, self.ssl_key, self.ssl_cert, self.ssl_ca) if self.use_ssl else None

    def connect(self) -> None:
        """Connect.  Raises ConnectionError."""
        try:
            self.conn = open_connection(self.address, CONNECT_TIMEOUT, self._context())
        except (NoServer, OSError) as error:
            raise ConnectionError(str(error)) from None
        self.connected = True
        self.connect_time = time.time()

    def attend(self, wake: "Any", thread: "Optional[int]") -> None:
        """Let a thread read from now on; `wake` wakes it to send what the system did not take at once."""
        self.wake, self.reader_thread = wake, thread

    def give_up(self) -> "List[Any]":
        """The connection is lost: end all waits for answers; return the jobs that have not ended."""
        with self._lock:
            waiting = self.pending_tasks + self.admin_requests  # type: List[Any]
            del self.pending_tasks[:], self.admin_requests[:]  # which others may be about to append to
            jobs = list(self.related_jobs.values()) + [job for equal in self._joined.values() for job in equal]
            self.related_jobs, self._joined = {}, {}
            self._moved.notify_all()
        for one in waiting:
            one.setComplete()
        return jobs

    def relate(self, job: "Any") -> None:
        """Find a job by its handle from now on; an equal job may have the same handle."""
        other = self.related_jobs.get(job.handle)
        if other is not None:
            self._joined.setdefault(job.handle, []).append(other)
        self.related_jobs[job.handle] = job

    def take_turns(self, packet: Packet) -> None:
        """Give the next packet with this handle to the next of the equal jobs: the server sends one packet for each submit."""
        handle = packet.data.partition(b"\0")[0]
        others = self._joined.get(handle)
        if others is not None:
            if handle in self.related_jobs:
                others.append(self.related_jobs[handle])
            self.related_jobs[handle] = others.pop(0)
            if not others:
                del self._joined[handle]

    def disconnect(self) -> None:
        """Close the connection, and forget its jobs and requests."""
        with self._lock:
            stream, self.conn = self.conn, None
        self.give_up()
        if stream is not None:
            stream.close()
        self._begin()

    def reconnect(self) -> None:
        """Close the connection, and connect again.  Raises ConnectionError."""
        self.disconnect()
        self.connect()

    # ------------------------------------------------------------------------------------------ sending

    def sendPacket(self, packet: Packet) -> None:
        """Send a packet.  Raises ConnectionError."""
        self.sendRaw(packet.toBinary())

    def sendRaw(self, data: "Any") -> None:
        """Send bytes.  Raises ConnectionError."""
        self.ask(bytes(data), [], None)

    def post(self, packet: Packet) -> None:
        """Send a packet without waiting: what the system does not take now is sent by the thread that reads.

        Raises ConnectionError.
        """
        self.ask(bytes(packet.toBinary()), [], None, False)

    def ask(self, data: bytes, queue: "List[Any]", waiting: "Any", patient: bool = True) -> None:
        """Send bytes, and append `waiting` to `queue`; the lock keeps the queue in the order of sending.

        Without `patient`, it does not wait until the system has taken all bytes.  Raises ConnectionError.
        """
        with self._lock:
            stream = self.conn
            if stream is None:
                raise ConnectionError("not connected to %s" % join_address(self.address))
            queue.append(waiting)
            stream.put(data)
            complete = self._flush(stream)
        if not complete and self.wake is not None:
            self.wake()
        if self.reader_thread == threading.get_ident():
            return  # it sends the rest when it reads again
        while not complete and patient:
            with self._lock:
                if self.conn is not stream:
                    raise ConnectionError("lost the connection to %s" % join_address(self.address))
                alone = self.wake is None
                if not alone and stream.unsent:
                    self._moved.wait()
                complete = self._flush(stream)
            if alone and not complete:  # no thread reads, and the server may wait for us to read before it reads on
                stream.wait(None)
                self._receive_or_raise()

    def _flush(self, stream: "Stream") -> bool:
        """Send what can be sent without waiting, with the lock held; return whether that was all."""
        try:
            return stream.flush()
        except ServerLost as error:
            raise ConnectionError(str(error)) from None

    def flush(self) -> None:
        """Send what is left, as far as that goes without waiting.  Raises ConnectionError."""
        with self._lock:
            if self.conn is not None and self.conn.unsent:
                self._flush(self.conn)
                self._moved.notify_all()

    def sendAdminRequest(self, request: "AdminRequest", timeout: "Optional[float]" = 90) -> None:
        """Send a text command and wait for the answer, at most `timeout` seconds.  Raises TimeoutError, ConnectionError."""
        self.ask(request.getCommand(), self.admin_requests, request)
        if not request.waitForResponse(timeout):
            raise TimeoutError("%s did not answer %r within %s s" % (join_address(self.address), request.command, timeout))
        if request.response is None:
            raise ConnectionError("lost the connection to %s" % join_address(self.address))

    def echo(self, data: "Any" = None, timeout: "Optional[float]" = 30) -> bytes:
        """Send bytes to the server, which sends them back; return them.

        Raises TimeoutError, ConnectionError, and InvalidDataError for bytes that another thread sends just now.
        """
        if data is None:
            from uuid import uuid4
            data = uuid4().hex
        data = convert_to_bytes(data)
        with self._echo_lock:
            if data in self._echoes:
                raise InvalidDataError("an echo of %.80r is waited for already" % (data,))
            arrived = self._echoes[data] = threading.Event()
        try:
            self.sendEchoReq(data)
            if not arrived.wait(timeout):
                raise TimeoutError("%s sent no echo within %s s" % (join_address(self.address), timeout))
        finally:
            with self._echo_lock:
                self._echoes.pop(data, None)
        return data  # type: ignore[no-any-return]

    def sendEchoReq(self, data: bytes) -> None:
        """Ask for an echo."""
        self.sendPacket(request(ECHO_REQ, data))

    def handleEchoRes(self, data: bytes) -> bool:
        """An echo has come; return whether somebody waited for it."""
        with self._echo_lock:
            arrived = self._echoes.pop(data, None)
        if arrived is not None:
            arrived.set()
        return arrived is not None

    def handleOptionRes(self, option: bytes) -> None:
        """The server has accepted an option."""
        self.options.add(option)

    # ------------------------------------------------------------------------------------------ receiving

    def hasPendingData(self) -> bool:
        """Whether something has arrived that nobody has taken, even if it makes no sense."""
        return bool(self._arrived) or self._reader.error is not None

    def readPacket(self, timeout: "Optional[float]" = None) -> "Any":
        """Wait for a packet or an answered administrative request, and return it; None when the connection has ended.

        Raises TimeoutError after `timeout` seconds.
        """
        deadline = Deadline(timeout)
        while not self._arrived:
            stream = self.conn
            if stream is None:
                return None
            if deadline.over:
                raise TimeoutError("%s sent nothing within %s s" % (join_address(self.address), timeout))
            try:
                stream.wait(deadline.left())
                self._receive_or_raise()
            except ConnectionError as error:
                self.log.info("%s", error)
                return None
        return self._arrived.popleft()

    def take(self) -> "List[Any]":
        """Take the packets and answered requests that have arrived.

        Raises ConnectionError if there are none and none will come: the connection has ended, or what comes makes no sense.
        """
        try:
            self._receive_or_raise()
        except ConnectionError:
            if not self._arrived:
                raise
        items = list(self._arrived)
        self._arrived.clear()
        return items

    def _receive_or_raise(self) -> None:
        """Receive what has come."""
        stream, reader = self.conn, self._reader
        try:
            while stream is not None and reader.error is None:
                with self._lock:
                    received = stream.receive() if self.conn is stream else None
                    pending = received is not None and stream.pending
                if not isinstance(received, bytes):
                    return
                for kind, arguments in reader.feed(received):
                    self._take_unit(kind, arguments)
                if not pending and (self._arrived or not reader.held):
                    return
            if reader.error is not None:
                raise reader.error
        except (ServerLost, ProtocolError) as error:
            raise ConnectionError(str(error)) from None

    def _take_unit(self, kind: int, arguments: "Any") -> None:
        if kind == TEXT_LINE:
            self._take_line(bytes(arguments[0]) + b"\n")
        elif kind == WRONG_MAGIC:  # gear's server sends such a packet when a worker is lost
            raise ProtocolError("a packet that only a client may send, from %s" % join_address(self.address))
        elif kind == TOO_FEW_ARGUMENTS:
            self.log.error("%s sent too few arguments in %s", join_address(self.address), bytes(arguments[0]).decode())
        else:
            self._arrived.append(Packet(RES, kind, b"\0".join(arguments), connection=self))

    def _take_line(self, line: bytes) -> None:
        if not self.admin_requests:
            self.log.error("%s sent a line that answers no request: %.80r", join_address(self.address), line)
            return
        complete, rest = self.admin_requests[0].isComplete(self._lines + line)
        self._lines = (self._lines + line if rest is None else rest)
        if complete:
            self._arrived.append(self.admin_requests.pop(0))


def make_context(server: bool, key: "Any", certificate: "Any", ca: "Any") -> "Any":
    """The `ssl.SSLContext` for TLS as gear uses it: the other side needs a certificate of the authority `ca`, for any name.

    Raises OSError for files that cannot be used.
    """
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    path = certificate
    try:
        context.load_cert_chain(certificate, key)
        path = ca
        context.load_verify_locations(ca)
    except OSError as error:
        raise certificate_error(error, path) from None
    return context


__all__ = ["Connection"]
