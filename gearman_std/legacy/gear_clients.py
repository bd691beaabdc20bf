"""The client and the worker of the library gear.  Each has a thread that reads and a thread that connects."""
import queue
import socket
import threading

from ..net.addresses import join_address
from ..net.connection import Deadline, make_waiter
from ..net.threads import start_thread
from ..timers import growing_pause
from ..wire.protocol import encode_function
from .gear_connection import Connection, _logger_gear
from .gear_constants import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_RES, ERROR, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ,
                             JOB_CREATED, NO_JOB, NOOP, OPTION_REQ, OPTION_RES, PRE_SLEEP, PRECEDENCE_HIGH, PRECEDENCE_LOW,
                             PRECEDENCE_NORMAL, RESET_ABILITIES, SET_CLIENT_ID, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG,
                             SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, WORK_COMPLETE, WORK_DATA,
                             WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING)
from .gear_jobs import TextWorkerJob, WorkerJob
from .gear_packets import (ConfigurationError, ConnectionError, GearmanError, InterruptedError, InvalidDataError,
                           NoConnectedServersError, Packet, TimeoutError, convert_to_bytes, request)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set
    from .gear_jobs import Job

FIRST_RETRY, LAST_RETRY = 0.1, 2.0  # seconds: the shortest and the longest pause between two tries to reach a server

# The name of the method for a packet, by the packet's type.
_HANDLERS = {
    JOB_CREATED: "handleJobCreated", WORK_COMPLETE: "handleWorkComplete", WORK_FAIL: "handleWorkFail",
    WORK_EXCEPTION: "handleWorkException", WORK_DATA: "handleWorkData", WORK_WARNING: "handleWorkWarning",
    WORK_STATUS: "handleWorkStatus", STATUS_RES: "handleStatusRes", JOB_ASSIGN_UNIQ: "handleJobAssignUnique",
    JOB_ASSIGN: "handleJobAssign", NO_JOB: "handleNoJob", NOOP: "handleNoop", ECHO_RES: "handleEchoRes",
    ERROR: "handleError", OPTION_RES: "handleOptionRes",
}
_OF_JOBS = frozenset((WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION, WORK_DATA, WORK_WARNING, WORK_STATUS))
_SUBMITS = {
    (False, PRECEDENCE_NORMAL): SUBMIT_JOB, (False, PRECEDENCE_LOW): SUBMIT_JOB_LOW, (False, PRECEDENCE_HIGH): SUBMIT_JOB_HIGH,
    (True, PRECEDENCE_NORMAL): SUBMIT_JOB_BG, (True, PRECEDENCE_LOW): SUBMIT_JOB_LOW_BG,
    (True, PRECEDENCE_HIGH): SUBMIT_JOB_HIGH_BG,
}


class Task:
    """A wait for an answer.  `answered` is True once it has come; `error` is the text of a refusal."""

    def __init__(self) -> None:
        self._wait_event = threading.Event()
        self.answered = False
        self.error = ""

    def setComplete(self) -> None:
        """End the wait."""
        self._wait_event.set()

    def wait(self, timeout: "Optional[float]" = None) -> bool:
        """Wait at most `timeout` seconds; return whether the wait was ended, by an answer or because there will be none."""
        return self._wait_event.wait(timeout)


class SubmitJobTask(Task):
    """A wait for the answer to a submitted job."""

    def __init__(self, job: "Job") -> None:
        super().__init__()
        self.job = job


class OptionReqTask(Task):
    """A wait for the answer to a request for an option."""


class BaseClient:
    """What a client and a worker have in common: servers, and the two threads.

    The thread that reads calls a method for each packet, such as `handleJobCreated`; subclasses may override these methods.

    Owner: `connections_condition` for the lists of connections, the thread that reads for what arrives.
    """

    log = _logger_gear

    def __init__(self, client_id: "Any" = "unknown") -> None:
        self.client_id = convert_to_bytes(client_id)
        self.running = True
        self.active_connections = []    # type: List[Connection]
        self.inactive_connections = []  # type: List[Connection]
        self.connection_index = -1
        self.connections_condition = threading.Condition()
        self.broadcast_lock = threading.RLock()  # held while what every server is to know changes
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self.poll_thread = start_thread(self._read_all, "Gearman client poll")
        self.connect_thread = start_thread(self._connect_all, "Gearman client connect")

    def __repr__(self) -> str:
        return "<gear.%s 0x%x>" % (type(self).__name__, id(self))

    # ------------------------------------------------------------------------------------------ called by any thread

    def addServer(self, host: str, port: "Any" = 4730, ssl_key: "Optional[str]" = None, ssl_cert: "Optional[str]" = None,
                  ssl_ca: "Optional[str]" = None, keepalive: bool = False, tcp_keepidle: int = 7200, tcp_keepintvl: int = 75,
                  tcp_keepcnt: int = 9) -> None:
        """Add a server.  A thread connects to it, also again after the connection is lost; see `waitForServer`.

        Raises ConfigurationError for a server that was added before, and for what is no address.
        """
        connection = Connection(host, port, ssl_key, ssl_cert, ssl_ca, self.client_id, keepalive, tcp_keepidle, tcp_keepintvl,
                                tcp_keepcnt)
        connection.check()
        with self.connections_condition:
            if any(one.address == connection.address for one in self.active_connections + self.inactive_connections):
                raise ConfigurationError("%s was added before" % join_address(connection.address))
            self.inactive_connections.append(connection)
            self.connections_condition.notify_all()

    def waitForServer(self, timeout: "Optional[float]" = None) -> None:
        """Wait until a server is connected, at most `timeout` seconds.  Raises TimeoutError."""
        deadline = Deadline(timeout)
        with self.connections_condition:
            while self.running and not self.active_connections:
                if deadline.over:
                    names = ", ".join(join_address(one.address) for one in self.inactive_connections)
                    raise TimeoutError("not connected within %s s to %s" % (timeout, names or "any server, as there is none"))
                self.connections_condition.wait(deadline.left())

    def getConnection(self) -> Connection:
        """The next connected server in turn.  Raises NoConnectedServersError."""
        with self.connections_condition:
            if not self.active_connections:
                raise NoConnectedServersError("No connected Gearman servers")
            self.connection_index = (self.connection_index + 1) % len(self.active_connections)
            return self.active_connections[self.connection_index]

    def broadcast(self, packet: Packet) -> None:
        """Send a packet to all connected servers."""
        for connection in self.active_connections[:]:
            try:
                self.sendPacket(packet, connection)
            except ConnectionError:
                continue  # it was logged, and the other thread connects again

    def sendPacket(self, packet: Packet, connection: Connection) -> None:
        """Send a packet to a server.  Raises ConnectionError."""
        try:
            connection.sendPacket(packet)
        except ConnectionError as error:
            self._lost(connection, error)
            raise

    def shutdown(self) -> None:
        """End all connections and both threads; the object is of no use afterwards."""
        if not self.running:
            self.log.warning("shutdown of %r, which was shut down before", self)
            return
        self._shutdown()
        for thread in (self.poll_thread, self.connect_thread):
            if thread is not threading.current_thread():
                thread.join()
        with self.connections_condition:
            connections = self.active_connections + self.inactive_connections
            self.active_connections, self.inactive_connections = [], []
        for connection in connections:
            connection.disconnect()
        self._waker.close()
        self._woken.close()

    def _shutdown(self) -> None:
        with self.connections_condition:
            self.running = False
            self.connections_condition.notify_all()
        self._wake()

    def _wake(self) -> None:
        """Wake the thread that reads, so that it looks again at what is to be read and sent."""
        try:
            self._waker.send(b"\0")
        except OSError:
            return  # the thread is about to look, or the client is closed

    def _lost(self, connection: Connection, error: "Any") -> None:
        """A connection is lost: give up its jobs, and let the other thread connect again."""
        with self.connections_condition:
            if connection in self.active_connections:
                self.log.info("lost a server: %s", error)
                self.active_connections.remove(connection)
                self.inactive_connections.append(connection)
            self.connections_condition.notify_all()
        for job in connection.give_up():
            self._call(self.handleDisconnect, job)

    def _call(self, hook: "Any", argument: "Any") -> None:
        """Call a hook; its errors are logged."""
        try:
            hook(argument)
        except Exception:
            self.log.exception("%s of %r failed", getattr(hook, "__name__", hook), argument)

    # ------------------------------------------------------------------------------------------ the thread that connects

    def _connect_all(self) -> None:
        failures = 0
        while self.running:
            with self.connections_condition:
                if not self.inactive_connections:
                    self.connections_condition.wait()
                elif failures:
                    self.connections_condition.wait(growing_pause(FIRST_RETRY, LAST_RETRY, failures - 1))
                waiting = self.inactive_connections[:]
            for connection in waiting:
                if self.running:
                    failures = 0 if self._connect(connection) else failures + 1

    def _connect(self, connection: Connection) -> bool:
        """Connect to a server; return whether that succeeded."""
        try:
            connection.reconnect()
            with self.broadcast_lock:
                self._onConnect(connection)
                with self.connections_condition:
                    if not self.running:
                        return False
                    self.inactive_connections.remove(connection)
                    connection.attend(self._wake, self.poll_thread.ident)
                    self.active_connections.append(connection)
                    self.connections_condition.notify_all()
        except ConnectionError as error:
            self.log.info("%s", error)
            return False
        except Exception:
            self.log.exception("cannot use %r", connection)
            return False
        self.log.info("connected to %s", join_address(connection.address))
        self._wake()
        self._call(self._onActiveConnection, connection)
        return True

    def _onConnect(self, connection: Connection) -> None:
        """Called when a server is connected, before it is used."""

    def _onActiveConnection(self, connection: Connection) -> None:
        """Called when a server has become usable."""

    # ------------------------------------------------------------------------------------------ the thread that reads

    def _read_all(self) -> None:
        while self.running:
            watched = {}  # type: Dict[int, Connection]
            pairs = [(self._woken, False)]  # type: List[Any]
            for connection in self.active_connections[:]:
                stream = connection.conn
                if stream is not None:
                    watched[stream.fileno()] = connection
                    pairs.append((stream, stream.unsent))
            try:
                left = [number for number, connection in watched.items() if connection.hasPendingData()]
                ready = make_waiter(pairs)(0.0 if left else None)
            except (ValueError, OSError):
                continue  # another thread has just closed one of them
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
            for descriptor in set(ready).union(left):
                if descriptor in watched and self.running:
                    self._read(watched[descriptor])

    def _read(self, connection: Connection) -> None:
        try:
            connection.flush()
            for item in connection.take():
                self._call(self.handlePacket if isinstance(item, Packet) else self.handleAdminRequest, item)
                if isinstance(item, Packet) and item.ptype in _OF_JOBS:
                    connection.take_turns(item)
        except ConnectionError as error:
            self._lost(connection, error)
        except Exception as error:  # of a program's own AdminRequest
            self.log.exception("what %r has sent cannot be handled", connection)
            self._lost(connection, error)

    def handlePacket(self, packet: Packet) -> None:
        """Call the method for packets of this type."""
        getattr(self, _HANDLERS.get(packet.ptype, "_defaultPacketHandler"))(packet)

    def handleAdminRequest(self, request: "Any") -> None:
        """An administrative request was answered."""
        request.setComplete()

    def handleDisconnect(self, job: "Any") -> "Any":
        """Called for each job that has not ended when the connection is lost over which it was submitted."""
        return job

    def _defaultPacketHandler(self, packet: Packet) -> "Any":
        self.log.error("a packet that nobody waits for: %r", packet)

    handleJobCreated = handleWorkComplete = handleWorkFail = handleWorkException = handleWorkData = _defaultPacketHandler
    handleWorkWarning = handleWorkStatus = handleStatusRes = handleJobAssignUnique = handleJobAssign = _defaultPacketHandler
    handleNoJob = handleNoop = handleOptionRes = _defaultPacketHandler

    def handleEchoRes(self, packet: Packet) -> None:
        """An echo has come."""
        packet.connection.handleEchoRes(packet.data)

    def handleError(self, packet: Packet) -> None:
        """A server has refused a request: the oldest one that it has not answered."""
        code, _, text = packet.data.partition(b"\0")
        words = "%s: %s" % (code.decode("utf-8", "replace"), text.decode("utf-8", "replace"))
        self.log.error("%s refuses: %s", join_address(packet.connection.address), words)
        if packet.connection.pending_tasks:
            task = packet.connection.pending_tasks.pop(0)
            task.error = words
            task.setComplete()

    def _answered(self, packet: Packet, kind: "Any") -> "Any":
        """Take the task that a packet answers.  Raises GearmanError if there is none, or one of another kind."""
        tasks = packet.connection.pending_tasks
        if not tasks or not isinstance(tasks[0], kind):
            error = GearmanError("an answer that nobody waits for: %r" % packet)
            self._lost(packet.connection, error)
            raise error
        tasks[0].answered = True
        return tasks.pop(0)


class Client(BaseClient):
    """Submits jobs, each to the next server in turn.

    Owner: as every BaseClient; `broadcast_lock` for its options.
    """

    def __init__(self, client_id: "Any" = "unknown") -> None:
        self.options = set()  # type: Set[bytes]
        super().__init__(client_id)

    def __repr__(self) -> str:
        return "<gear.Client 0x%x>" % id(self)

    def _onConnect(self, connection: Connection) -> None:
        for name in self.options:
            self._ask_option(name, connection)

    @staticmethod
    def _ask_option(name: bytes, connection: Connection) -> OptionReqTask:
        task = OptionReqTask()
        connection.ask(bytes(request(OPTION_REQ, name).toBinary()), connection.pending_tasks, task)
        return task

    def setOption(self, name: "Any", timeout: "Optional[float]" = 30) -> bool:
        """Ask all servers for an option, also those that are connected later; return whether all that were asked accept it."""
        name = convert_to_bytes(name)
        asked, success = [], True
        with self.broadcast_lock:
            self.options.add(name)
            for connection in self.active_connections[:]:
                try:
                    asked.append((connection, self._ask_option(name, connection)))
                except ConnectionError as error:
                    self._lost(connection, error)
        for connection, task in asked:
            if not task.wait(timeout):
                self._lost(connection, "no answer to the option %r within %s s" % (name, timeout))
            success = success and name in connection.options
        return success

    def submitJob(self, job: "Any", background: bool = False, precedence: int = PRECEDENCE_NORMAL,
                  timeout: "Optional[float]" = 30) -> None:
        """Submit a job.  If a server does not answer within `timeout` seconds, the next one is tried.

        Raises ConfigurationError for an unknown precedence, InvalidDataError for what the protocol cannot carry, and
        GearmanError if no server has accepted the job.
        """
        ptype = _SUBMITS.get((bool(background), precedence))
        if ptype is None:
            raise ConfigurationError("Invalid precedence value: %r is not PRECEDENCE_NORMAL, PRECEDENCE_LOW or PRECEDENCE_HIGH"
                                     % (precedence,))
        name, unique = _check_function(job.binary_name), job.binary_unique or b""
        if b"\0" in unique:
            raise InvalidDataError("the unique holds a NUL byte: %.80r" % unique)
        packet = bytes(request(ptype, name, unique, convert_to_bytes(job.binary_arguments)).toBinary())
        tried = {}  # type: Dict[Connection, str]
        while set(self.active_connections) - set(tried):
            connection = self.getConnection()
            if connection in tried:
                continue
            task = SubmitJobTask(job)
            job.connection = connection
            try:
                connection.ask(packet, connection.pending_tasks, task)
            except ConnectionError as error:
                tried[connection] = str(error)
                self._lost(connection, error)
                continue
            if not task.wait(timeout):
                tried[connection] = "no answer within %s s" % timeout
                self._lost(connection, tried[connection])
            elif task.answered:
                return
            else:
                tried[connection] = task.error or "the connection was lost"
        job.connection = None
        raise GearmanError("Unable to submit job to any connected servers: %s" % (
            ", ".join("%s: %s" % (join_address(one.address), what) for one, what in tried.items()) or "none is connected"))

    def handleJobCreated(self, packet: Packet) -> "Any":
        """A job was accepted."""
        task = self._answered(packet, SubmitJobTask)
        job = task.job
        job.handle = packet.data
        packet.connection.relate(job)
        task.setComplete()
        return job

    def handleOptionRes(self, packet: Packet) -> None:
        """An option was accepted."""
        task = self._answered(packet, OptionReqTask)
        packet.connection.handleOptionRes(packet.getArgument(0))
        task.setComplete()

    def handleWorkComplete(self, packet: Packet) -> "Any":
        """A job is done."""
        return self._end(packet, False)

    def handleWorkFail(self, packet: Packet) -> "Any":
        """A job has failed."""
        return self._end(packet, True)

    def handleWorkException(self, packet: Packet) -> "Any":
        """A job has failed, with the text of an exception."""
        packet.getJob().exception = packet.getArgument(1, True)
        return self._end(packet, True)

    @staticmethod
    def _end(packet: Packet, failure: bool) -> "Any":
        job = packet.getJob()
        if not failure and packet.getArgument(1, True):
            job.data.append(packet.getArgument(1, True))
        job.failure = failure
        job.complete = True
        del packet.connection.related_jobs[job.handle]
        return job

    def handleWorkData(self, packet: Packet) -> "Any":
        """A piece of a job's result has come."""
        job = packet.getJob()
        if packet.getArgument(1, True):
            job.data.append(packet.getArgument(1, True))
        return job

    def handleWorkWarning(self, packet: Packet) -> "Any":
        """A warning of a job has come."""
        job = Client.handleWorkData(self, packet)
        job.warning = True
        return job

    def handleWorkStatus(self, packet: Packet) -> "Any":
        """A status of a job has come: how far it is."""
        return self._take_progress(packet, 1)

    def handleStatusRes(self, packet: Packet) -> "Any":
        """The answer to a question about a job's status has come."""
        job = self._take_progress(packet, 3)
        job.known, job.running = packet.getArgument(1) == b"1", packet.getArgument(2) == b"1"
        return job

    @staticmethod
    def _take_progress(packet: Packet, first: int) -> "Any":
        job = packet.getJob()
        job.numerator, job.denominator = packet.getArgument(first), packet.getArgument(first + 1)
        try:
            job.fraction_complete = float(job.numerator) / float(job.denominator)
        except (ValueError, ZeroDivisionError):
            job.fraction_complete = None
        return job


class FunctionRecord:
    """A function for `Worker.setFunctions`.  `timeout` is the time limit of its jobs in milliseconds, as for gearmand."""

    def __init__(self, name: "Any", timeout: "Any" = None) -> None:
        self.name = _check_function(convert_to_bytes(name))
        self.timeout = timeout

    def __repr__(self) -> str:
        return "<gear.FunctionRecord 0x%x name: %s timeout: %s>" % (
            id(self), self.name.decode("utf-8", "replace"), self.timeout)

    def packet(self) -> Packet:
        """The packet that tells a server that a worker can do the function."""
        if not self.timeout:
            return request(CAN_DO, self.name)
        limit = self.timeout if isinstance(self.timeout, bytes) else str(self.timeout).encode()
        return request(CAN_DO_TIMEOUT, self.name, limit)


def _check_function(name: "Any") -> bytes:
    try:
        return encode_function(name)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(str(error)) from None


class Worker(BaseClient):
    """Gets jobs for the threads that call `getJob`, and asks servers for no more jobs than threads wait for.

    Owner: as every BaseClient; `job_lock` for who waits for jobs and for the states of connections.
    """

    job_class = WorkerJob  # type: Any

    def __init__(self, client_id: "Any" = None, worker_id: "Any" = None) -> None:
        client_id = client_id or worker_id
        if not client_id:
            raise Exception("A client_id must be provided")
        self.worker_id = client_id
        self.functions = {}  # type: Dict[bytes, FunctionRecord]
        self.job_lock = threading.RLock()
        self._answer = threading.Condition(self.job_lock)  # notified when a question for a job was answered
        self._closing = False
        self.waiting_for_jobs = 0  # threads in getJob, less the jobs that are there for them
        self.job_queue = queue.Queue()  # type: queue.Queue[Any]
        super().__init__(client_id)

    def __repr__(self) -> str:
        return "<gear.Worker 0x%x>" % id(self)

    # ------------------------------------------------------------------------------------------ called by any thread

    def registerFunction(self, name: "Any", timeout: "Any" = None) -> None:
        """Do jobs of a function.  With `timeout`, the server takes a job back that runs longer; see FunctionRecord."""
        record = FunctionRecord(name, timeout)
        with self.broadcast_lock:
            self.functions[record.name] = record
            self.broadcast(record.packet())
        with self.job_lock:
            for connection in self.active_connections[:]:
                if connection.state == "SLEEP":
                    connection.changeState("IDLE")
            self._updateStateMachines()

    def unRegisterFunction(self, name: "Any") -> None:
        """Do no more jobs of a function.  Raises KeyError if it was not registered."""
        name = convert_to_bytes(name)
        with self.broadcast_lock:
            del self.functions[name]
            self._sendCantDo(name)

    def setFunctions(self, functions: "Any") -> None:
        """Do jobs of these functions, FunctionRecords, and of no others."""
        records = list(functions)
        for record in records:
            if not isinstance(record, FunctionRecord):
                raise InvalidDataError("An iterable of FunctionRecords is required, and %.80r is none" % (record,))
        with self.broadcast_lock:
            self._sendResetAbilities()
            self.functions = {record.name: record for record in records}
            for record in records:
                self.broadcast(record.packet())

    def getJob(self) -> "Any":
        """Wait for a job.  Raises InterruptedError when `stopWaitingForJobs` or `shutdown` is called."""
        with self.job_lock:
            if self._closing:
                raise InterruptedError("the worker was shut down")
            self.waiting_for_jobs += 1
            self._updateStateMachines()
        try:
            job = self.job_queue.get()
        except BaseException:  # of a signal's handler
            with self.job_lock:
                self.waiting_for_jobs -= 1
            raise
        if job is None:
            raise InterruptedError("nobody waits for jobs any more")
        return job

    def stopWaitingForJobs(self) -> None:
        """End all calls of `getJob` that wait, after the servers have answered the questions that are under way."""
        deadline = Deadline(5.0)
        with self.job_lock:
            while True:
                asked = [one for one in self.active_connections if one.state == "GRAB_WAIT"]
                if not asked:
                    break
                if deadline.over:
                    for connection in asked:
                        self._lost(connection, "no answer to a question for a job")
                    break
                self._answer.wait(deadline.left())
            while self.waiting_for_jobs > 0:
                self.waiting_for_jobs -= 1
                self.job_queue.put(None)
            self._updateStateMachines()

    def _shutdown(self) -> None:
        with self.job_lock:
            self._closing = True
        self.stopWaitingForJobs()  # while the other threads are still there
        super()._shutdown()

    def _lost(self, connection: Connection, error: "Any") -> None:
        super()._lost(connection, error)
        with self.job_lock:
            self._answer.notify_all()  # no answer will come

    def _sendCanDo(self, name: bytes) -> None:
        self.broadcast(request(CAN_DO, name))

    def _sendCantDo(self, name: bytes) -> None:
        self.broadcast(request(CANT_DO, name))

    def _sendResetAbilities(self) -> None:
        self.broadcast(request(RESET_ABILITIES))

    def _sendGrabJobUniq(self, connection: "Optional[Connection]" = None) -> None:
        for one in self.active_connections[:] if connection is None else [connection]:
            self._post(request(GRAB_JOB_UNIQ), one)

    def _post(self, packet: Packet, connection: Connection) -> None:
        """Send a packet without waiting: `job_lock` is held, and the thread that reads may want it."""
        try:
            connection.post(packet)
        except ConnectionError as error:
            self._lost(connection, error)

    def _updateStateMachines(self) -> None:
        """If threads wait for jobs, ask each idle server for one; if none waits, no server counts as asleep."""
        for connection in self.active_connections[:]:
            if self.waiting_for_jobs < 1:
                if connection.state == "SLEEP":
                    connection.changeState("IDLE")
            elif connection.state == "IDLE":
                connection.changeState("GRAB_WAIT")
                self._sendGrabJobUniq(connection)

    def _onConnect(self, connection: Connection) -> None:
        connection.sendPacket(request(SET_CLIENT_ID, self.client_id))
        for record in list(self.functions.values()):
            connection.sendPacket(record.packet())
        connection.changeState("IDLE")

    def _onActiveConnection(self, connection: Connection) -> None:
        with self.job_lock:
            self._updateStateMachines()

    # ------------------------------------------------------------------------------------------ the thread that reads

    def handleNoop(self, packet: Packet) -> None:
        """There may be a job: ask for it."""
        with self.job_lock:
            if packet.connection.state == "SLEEP":
                packet.connection.changeState("GRAB_WAIT")
                self._sendGrabJobUniq(packet.connection)

    def handleNoJob(self, packet: Packet) -> None:
        """There is no job: sleep until there is."""
        with self.job_lock:
            if packet.connection.state == "GRAB_WAIT":
                packet.connection.changeState("SLEEP")
                self._post(request(PRE_SLEEP), packet.connection)
                self._answer.notify_all()

    def handleJobAssign(self, packet: Packet) -> None:
        """A job has come."""
        self._assign(packet, packet.getArgument(0), packet.getArgument(1), packet.getArgument(2, True), None)

    def handleJobAssignUnique(self, packet: Packet) -> None:
        """A job has come."""
        self._assign(packet, packet.getArgument(0), packet.getArgument(1), packet.getArgument(3, True),
                     packet.getArgument(2) or None)

    def _assign(self, packet: Packet, handle: bytes, name: bytes, arguments: bytes, unique: "Optional[bytes]") -> None:
        job = self.job_class(handle, name, arguments, unique)
        job.connection = packet.connection
        with self.job_lock:
            packet.connection.changeState("IDLE")
            self.waiting_for_jobs -= 1
            self.job_queue.put(job)
            self._updateStateMachines()
            self._answer.notify_all()


class TextWorker(Worker):
    """A worker whose jobs are text."""

    job_class = TextWorkerJob


__all__ = ["BaseClient", "Client", "FunctionRecord", "OptionReqTask", "SubmitJobTask", "Task", "TextWorker", "Worker"]
