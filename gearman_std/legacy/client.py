"""The client of python-gearman, made of gearman_std's."""
import os
import time
from collections import deque
from weakref import WeakKeyDictionary

from ..errors import ClientBusy, NoServer, ServerError
from ..wire.client_session import read_number
from .carrier import (ANSWER, COMPLETE, CREATED, DATA, FAILED, PRIORITIES, REFUSED, STATUS, WARNING, Carrier, Question)
from .connection_manager import GearmanConnectionManager, gearman_logger
from .constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_NONE
from .errors import ConnectionError, ExceededConnectionAttempts, InvalidClientState, ProtocolError, ServerUnavailable
from .task import OldTasks
from .util import Stopwatch, unlist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, List, Optional, Tuple
    from ..client.link import Link
    from ..client.plan import Plan
    from ..net.addresses import Address
    from .job import GearmanJobRequest

RANDOM_UNIQUE_BYTES = 16


class GearmanClient(GearmanConnectionManager, OldTasks):
    """Submits jobs and waits for them.

    Owner: nobody, several threads may use it; a request belongs to the thread that made it.
    """

    submits_to_background = False  # unless a call says otherwise

    def __init__(self, host_list: "Any" = None, random_unique_bytes: int = RANDOM_UNIQUE_BYTES) -> None:
        super().__init__(host_list)
        self.random_unique_bytes = random_unique_bytes
        # The connections for each request; it is sent to the first one.
        self.request_to_rotating_connection_queue = WeakKeyDictionary()  # type: WeakKeyDictionary[Any, Deque[Any]]
        self._questions = WeakKeyDictionary()  # type: WeakKeyDictionary[Any, Question] # the last one about each request
        self._losses = WeakKeyDictionary()     # type: WeakKeyDictionary[Any, str] # why each connection was lost the last time
        self._carrier = None  # type: Optional[Carrier]

    def __repr__(self) -> str:
        return "<%s connection_list=%r%s>" % (
            type(self).__name__, self.connection_list, "" if self._carrier is None else ", in use")

    # ------------------------------------------------------------------------------------------------------------ submitting

    def submit_job(self, task: "Any", data: "Any", unique: "Any" = None, priority: "Any" = PRIORITY_NONE,
                   background: "Optional[bool]" = None, wait_until_complete: bool = True, max_retries: int = 0,
                   poll_timeout: "Optional[float]" = None) -> "Any":
        """Submit a job, wait, and return its request.  If `poll_timeout` seconds pass first, the request's `timed_out` is True.

        The wait ends when the job has ended; without `wait_until_complete`, or with `background`, when a server has the job.  A
        job that no server has accepted is submitted up to `max_retries` times again.  Raises ServerUnavailable,
        ExceededConnectionAttempts, ProtocolError for what a packet cannot carry, and what the data_encoder raises.
        """
        return unlist(self.submit_multiple_jobs([{"task": task, "data": data, "unique": unique, "priority": priority}],
                                                background, wait_until_complete, max_retries, poll_timeout))

    def submit_multiple_jobs(self, jobs_to_submit: "Any", background: "Optional[bool]" = None,
                             wait_until_complete: bool = True, max_retries: int = 0,
                             poll_timeout: "Optional[float]" = None) -> "List[Any]":
        """As submit_job, for several jobs: each is a dict with task and data, and, if wanted, unique and priority."""
        _several(jobs_to_submit, "jobs")
        if background is None:
            background = self.submits_to_background
        requests = [self._create_request_from_dictionary(job, background, max_retries) for job in jobs_to_submit]
        return self.submit_multiple_requests(requests, wait_until_complete, poll_timeout)  # type: ignore[no-any-return]

    def submit_multiple_requests(self, job_requests: "Any", wait_until_complete: bool = True,
                                 poll_timeout: "Optional[float]" = None) -> "Any":
        """Submit the requests that are in the state JOB_UNKNOWN, then wait for all of them as submit_job does."""
        _several(job_requests, "job requests")
        stopwatch = Stopwatch(poll_timeout)
        processed = self.wait_until_jobs_accepted(job_requests, poll_timeout=poll_timeout)
        left = stopwatch.get_time_remaining()
        if wait_until_complete and left != 0:
            processed = self.wait_until_jobs_completed(processed, poll_timeout=left)
        return processed

    def _create_request_from_dictionary(self, job_info: "Any", background: bool = False, max_retries: int = 0) -> "Any":
        for key in ("task", "data"):
            if key not in job_info:
                raise KeyError("%s is missing in %r" % (key, job_info))
        job = self.job_class(connection=None, handle=None, task=job_info["task"], data=job_info["data"],
                             unique=job_info.get("unique") or os.urandom(self.random_unique_bytes).hex())
        return self.job_request_class(job, initial_priority=job_info.get("priority", PRIORITY_NONE), background=background,
                                      max_attempts=max_retries + 1)

    def establish_request_connection(self, current_request: "Any") -> "Any":
        """Connect to the first of a request's servers that can be reached; return the connection.

        Raises ServerUnavailable.
        """
        rotating = self.request_to_rotating_connection_queue.get(current_request)
        if not rotating:
            rotating = deque(self._in_order(current_request))
            self.request_to_rotating_connection_queue[current_request] = rotating
        reasons = []
        for connection in list(rotating):
            try:
                return self.establish_connection(connection)
            except ConnectionError as error:
                reasons.append(str(error))
                rotating.rotate(-1)
        raise ServerUnavailable("Found no valid connections: %s" % (
            "; ".join(reasons) if reasons else "connection_list is empty, no server was given"))

    def _in_order(self, request: "Any") -> "List[Any]":
        """The connections in the order in which they are tried for a request: the same order for the same unique."""
        if len(self.connection_list) < 2:
            return self.connection_list
        carrier = self._carry()
        for connection in self.connection_list:
            carrier.link(connection.get_address())
        addresses = [link.address for link in carrier.network.candidates(self._plan(request), b"")]
        return sorted(self.connection_list, key=lambda connection: addresses.index(connection.get_address()))

    def send_job_request(self, current_request: "Any") -> "Any":
        """Submit a request.  Raises ServerUnavailable, and ExceededConnectionAttempts after `max_connection_attempts` tries."""
        if current_request.state != JOB_UNKNOWN:
            raise InvalidClientState("%r was submitted already" % (current_request,))
        if current_request.connection_attempts >= current_request.max_connection_attempts:
            raise ExceededConnectionAttempts("no server has accepted %r, which was submitted %d time(s)%s" % (
                current_request, current_request.connection_attempts, self._why()))
        self._plan(current_request)  # raises for what cannot be sent
        data = self._encode(current_request.job.data)
        connection = self.establish_request_connection(current_request)
        current_request.job.connection = connection
        current_request.connection_attempts += 1
        current_request.timed_out = False
        current_request.state = JOB_PENDING
        try:
            self._carry().send(current_request, data, self._link(connection))
        except (NoServer, ClientBusy) as error:  # the connection was lost just now
            current_request.state = JOB_UNKNOWN
            self._losses[connection] = str(error)
        return current_request

    def _plan(self, request: "Any") -> "Plan":
        if request.priority not in PRIORITIES:
            raise ProtocolError("the priority of a job is PRIORITY_NONE, PRIORITY_LOW or PRIORITY_HIGH, not %r" % (
                request.priority,))
        try:
            return self._carry().plan(request)
        except (ValueError, TypeError) as error:
            raise ProtocolError("the job cannot be sent: %s" % error) from None

    # --------------------------------------------------------------------------------------------------------------- waiting

    def wait_until_jobs_accepted(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any":
        """Submit the requests that are in the state JOB_UNKNOWN, then wait until each request is at a server."""
        _several(job_requests, "job requests")
        left = list(job_requests)

        def go_on(any_activity: bool) -> bool:
            for request in left:
                if request.state == JOB_UNKNOWN:
                    self.send_job_request(request)
            left[:] = [request for request in left if request.state in (JOB_PENDING, JOB_UNKNOWN)]
            return bool(left)
        self.poll_connections_until_stopped(self.connection_list, go_on, timeout=poll_timeout)
        for request in job_requests:
            request.timed_out = request.state == JOB_PENDING
        return job_requests

    def wait_until_jobs_completed(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any":
        """Wait until each request is complete, or was lost with its server; then its state is JOB_UNKNOWN.

        Raises ServerUnavailable if a request was lost and no server is connected.
        """
        _several(job_requests, "job requests")
        left = deque(job_requests)

        def go_on(any_activity: bool) -> bool:
            while left and (left[0].complete or left[0].state == JOB_UNKNOWN):
                left.popleft()
            return bool(left)
        self.poll_connections_until_stopped(self.connection_list, go_on, timeout=poll_timeout)
        for request in job_requests:
            request.timed_out = not request.complete
            if request.complete:
                self.request_to_rotating_connection_queue.pop(request, None)
        if (any(request.state == JOB_UNKNOWN for request in job_requests)
                and not any(connection.connected for connection in self.connection_list)):
            self._be_unavailable()
        return job_requests

    # ---------------------------------------------------------------------------------------------------------------- asking

    def get_job_status(self, current_request: "Any", poll_timeout: "Optional[float]" = None) -> "Any":
        """Ask the server of a request how far its job is; return the request: `status` is a dict, or `timed_out` is True."""
        return unlist(self.get_job_statuses([current_request], poll_timeout=poll_timeout))

    def get_job_statuses(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any":
        """The same for several requests.  Raises ServerUnavailable, and InvalidClientState for a request without a handle."""
        _several(job_requests, "job requests")
        for request in job_requests:
            request.status["last_time_received"] = request.status.get("time_received")
            connection, handle = request.job.connection, request.job.handle
            if connection not in self.connection_list or not handle:
                raise InvalidClientState("%r has no %s, so no server can be asked for its status" % (
                    request, "handle" if connection in self.connection_list else "connection of this client"))
            try:
                self.establish_connection(connection)
                self._questions[request] = self._carry().ask(request, self._on_wire(handle), self._link(connection))
            except ConnectionError as error:
                raise ServerUnavailable("Found no valid connections: %s" % error) from None
            except (ValueError, TypeError) as error:
                raise ProtocolError("%r cannot be asked for: %s" % (handle, error)) from None
        return self.wait_until_job_statuses_received(job_requests, poll_timeout=poll_timeout)

    def wait_until_job_statuses_received(self, job_requests: "Any", poll_timeout: "Optional[float]" = None) -> "Any":
        """Wait until the questions of get_job_statuses are answered, or their servers are lost."""
        _several(job_requests, "job requests")

        def missing(request: "Any") -> bool:
            return bool(request.status.get("time_received") == request.status.get("last_time_received"))

        def go_on(any_activity: bool) -> bool:
            return any(missing(request) and request in self._questions and self._questions[request].error is None
                       for request in job_requests)
        self.poll_connections_until_stopped(self.connection_list, go_on, timeout=poll_timeout)
        for request in job_requests:
            request.timed_out = missing(request)
        return job_requests

    # ------------------------------------------------------------------------------------------------- what carries it all

    def shutdown(self) -> None:
        """Close all connections; the next call connects again."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.network.close()
            carrier.take_in(self._tell)

    def is_connected(self, connection: "Any") -> bool:
        return self._carrier is not None and self._link(connection).connection is not None

    def connect(self, connection: "Any") -> None:
        try:
            self._carry().network.reach(self._link(connection))
        except (NoServer, ClientBusy) as error:
            connection.throw_exception(str(error))

    def disconnect(self, connection: "Any") -> None:
        if self._carrier is not None:
            self._carrier.network.cut(self._link(connection))

    def descriptor(self, connection: "Any") -> "Optional[int]":
        live = self._link(connection).connection if self._carrier is not None else None
        return None if live is None else live.fileno()

    def _carry(self) -> Carrier:
        carrier = self._carrier
        if carrier is None:
            for connection in self.connection_list:
                connection.belong_to(self)
            if not self.connection_list:
                raise ServerUnavailable("Found no valid connections: connection_list is empty, no server was given")
            carrier = self._carrier = Carrier([connection.get_address() for connection in self.connection_list],
                                              self._make_context)
        return carrier

    def _link(self, connection: "Any") -> "Link":
        return self._carry().link(connection.get_address())

    def _make_context(self, address: "Address") -> "Any":
        for connection in self.connection_list:
            if connection.get_address() == address:
                return connection.make_context()
        return None

    def _trouble(self, connection: "Any") -> str:
        if self._carrier is None or self.is_connected(connection):
            return ""
        return str(self._link(connection).failure or self._losses.get(connection, ""))

    def _mark(self) -> int:
        carrier = self._carrier
        if carrier is None:
            return 0
        count = carrier.count
        carrier.take_in(self._tell)
        return count

    def _await(self, mark: int, timeout: "Optional[float]") -> "Tuple[bool, int]":
        carrier = self._carry()
        carrier.wait_for_more(mark, timeout)
        count = carrier.count
        return carrier.take_in(self._tell), count

    def _tell(self, request: "GearmanJobRequest", kind: int, value: "Any") -> None:
        """Change a request according to an event."""
        if kind == CREATED:
            request.job.handle = self._for_script(value)
            request.state = JOB_CREATED
        elif kind == STATUS:
            request.status = self._make_status(request, True, True, *value)
        elif kind == ANSWER:
            numbers = [read_number(word) for word in value[1:5]]
            request.status = self._make_status(request, numbers[0] == 1, numbers[1] == 1, *numbers[2:])
        elif kind == DATA:
            request.data_updates.append(self._decode(value))
        elif kind == COMPLETE:
            request.state = JOB_COMPLETE
            request.result = self._decode(value)
        elif kind == FAILED:
            request.state = JOB_FAILED
            request.exception = None if value is None else self._decode_text(value)
        elif kind == WARNING:
            request.warning_updates.append(self._decode(value))
        elif kind == REFUSED:
            request.state = JOB_UNKNOWN
            if isinstance(value, ServerError):
                request.state = JOB_FAILED
                request.exception = self._for_script(str(value).encode("utf-8"))
            else:
                self._losses[request.job.connection] = str(value)
        if isinstance(value, ServerError):
            self.on_gearman_error(value.code, value.text)

    def _decode_text(self, value: bytes) -> "Any":
        """The text of an exception, decoded if the script's encoder can, as not every worker encodes it."""
        try:
            return self._decode(value)
        except Exception as error:  # of that encoder
            gearman_logger.info("the data_encoder cannot decode the text of an exception: %r", error)
            return self._for_script(value)

    def _make_status(self, request: "Any", known: bool, running: bool, numerator: int, denominator: int) -> "Any":
        return {"handle": request.job.handle, "known": known, "running": running, "numerator": numerator,
                "denominator": denominator, "time_received": time.time()}


def _several(requests: "Any", what: str) -> None:
    """Raise AssertionError if one thing was given where several are expected."""
    assert type(requests) in (list, tuple, set), "Expected multiple %s, received 1? It is %r" % (what, type(requests))
