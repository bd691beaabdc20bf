"""All connections of a client.

There is no thread behind it: see the module wait.  The network is changed within `exclusively` only, by one thread at a time.
What takes time comes between two changes: connecting, waiting for input, callbacks.  An exception within a change ends the
connection that was being changed.
"""
import os
import socket
import threading

from ..errors import (ClientBusy, CommandTimeout, ConnectTimeout, GearmanError, JobTimeout, NoServer, ProtocolError, ServerLost,
                      copy_error)
from ..net.addresses import join_address
from ..net.connection import Deadline
from ..net.forks import leave_in_children
from .guard import goes_on
from .link import APART, Link, Request
from .servers import Servers
from .submission import MAX_MOVES, SUBMITTED, UNPLACED, Finished, Submission
from .wait import LONGEST_READ, Reading, Waiters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence, Union
    from ..net.addresses import Address
    from ..net.connection import Connection
    from ..net.system import System
    from ..wire.protocol import Data
    from .plan import Plan

_MAX_UNSENT = 4194304   # bytes that may wait to be sent to one server before a submit waits for them
_BATCH_SIZE = 512       # jobs collected before a batch of submits is sent
_IDLE = 0.01            # seconds after which a connection that nobody has read from may have been closed unseen
_LEAST_CONNECT = 0.01   # seconds in which to connect where the caller does not wait at all


_fork_lock = threading.Lock()  # held while a network finds itself in another process


class Network(Waiters):
    """The servers of a client, the jobs on their way, and who waits for what.

    Owner: the thread that has its turn, but for the settings, which nobody changes.
    """

    def __init__(self, addresses: "Sequence[Address]", connect_timeout: "Optional[float]", command_timeout: "Optional[float]",
                 tls: "Any", system: "System") -> None:
        super().__init__(system.clock)
        self.servers = Servers(addresses, system.random(), system.clock)
        self._connect_timeout = connect_timeout
        self.command_timeout = command_timeout
        self._tls = tls
        self._system = system
        self._failures = 0         # attempts to connect that failed

    def __repr__(self) -> str:
        return "<Network of %s>" % ", ".join(
            "%s%s" % (join_address(link.address), "" if link.connection else " (not connected)") for link in self.links)

    # ------------------------------------------------------------------------------------------ called by any thread

    @property
    def links(self) -> "List[Link]":
        """The links to its servers."""
        return self.servers.links

    def open(self, address: "Address", timeout: "Optional[float]") -> "Connection":
        """Connect to a server.  Raises NoServer, ConnectTimeout."""
        return self._system.connect(address, timeout, self._tls)

    def is_mine(self) -> bool:
        """Whether a signal's handler, or the garbage collector, has interrupted this thread in the middle of a change here."""
        me = threading.get_ident()
        return super().is_mine() or any(self._connects(link, me) for link in self.links)

    def close(self) -> None:
        """Close all connections; who still waits gets ServerLost."""
        self.closed = True
        try:
            self.exclusively(self._shut)
        except ClientBusy:
            return  # whoever has its turn closes all at the end of that
        self._tell_notes()

    def submit(self, submission: Submission, limit: Deadline, links: "Optional[List[Link]]" = None, send: bool = True) -> None:
        """Give a submission to the first of these links, or of those it may go to, that can be reached within the limit;
        without `send` it is sent only when there is much to be sent.

        Raises NoServer, ConnectTimeout, ClientBusy.
        """
        try:
            if submission.callbacks is not None:
                submission.callbacks.note = self.note_calls
            choices = self.exclusively(self._place, submission, links, send)
            if choices is not None:
                self._connect_and_place(submission, limit, choices, send)
        except BaseException:
            submission.abandoned()
            raise
        finally:
            if self._notes:
                self._tell_notes()
        if send and submission.link is not None:
            connection = submission.link.connection
            if connection is not None and connection.queued - connection.sent > _MAX_UNSENT:
                self._ease(submission.link, connection, limit)

    def send_all(self) -> None:
        """Send what `submit` was told not to send."""
        try:
            self.exclusively(self._send_unsent)
        except ClientBusy:
            self._version += 1  # so that whoever reads next sends it
        if self._notes:
            self._tell_notes()

    def candidates(self, plan: "Plan", workload: "Data") -> "List[Link]":
        """The links in the order in which a job may go to them."""
        return self.exclusively(self.servers.choose, plan, workload, False)  # type: ignore[no-any-return]

    def confirm(self, submission: Submission, limit: Deadline) -> None:
        """Wait until the server has answered the submit; raise the error if it refused it, JobTimeout if the limit is over."""
        if not self.wait(lambda: submission.state is not SUBMITTED and submission.state is not UNPLACED, limit, (submission,)):
            raise JobTimeout("no server accepted %s in time" % submission.plan.function.decode("utf-8", "replace"))
        if submission.handle is None and submission.error is not None:
            raise submission.error.with_traceback(None)

    def connect_deadline(self, limit: Deadline, shares: int = 1) -> Deadline:
        """By when to be connected: within the connect time-out, or the limit if that is earlier; if that time is for several
        attempts, which have equal `shares` of it, by the end of the first."""
        choices = [left / shares for left in (self._connect_timeout, limit.left()) if left is not None]
        return self._new_deadline(min(choices) if choices else None)

    def ask(self, link: Link, ask_one: "Callable[[Link, Request], None]", connect_by: Deadline) -> "Sequence[Data]":
        """Ask a server something and wait for the answer.

        Raises NoServer, ConnectTimeout, CommandTimeout, ServerLost, ServerError, ProtocolError, ClientBusy.
        """
        request = Request()
        if not self.exclusively(self._ask_now, link, ask_one, request):
            self._connect(link, connect_by)
            if not self.exclusively(self._ask_now, link, ask_one, request):
                raise ServerLost("lost the connection to %s at once" % join_address(link.address))
        self.wait(lambda: request.ended, Deadline(None))
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def listen(self, submissions: "Sequence[Submission]", finished: Finished) -> None:
        """Tell a queue of submissions of this network as they end, until the queue is over."""
        self.exclusively(self._listen, submissions, finished)

    # -------------------------------------------------------------------------------- between changes: placing and connecting

    def _connect_and_place(self, submission: Submission, limit: Deadline, choices: "List[Link]", send: bool) -> None:
        """Give a submission to the first server that can be reached; each has its share of the time.  Raises NoServer."""
        deadline = self.connect_deadline(limit)
        for index, link in enumerate(choices):
            left = deadline.left()
            try:
                self._connect(link, Deadline(None if left is None else left / (len(choices) - index), self.clock))
            except NoServer:
                if index == len(choices) - 1:
                    raise
                continue
            if self.exclusively(self._put, submission, link, send):
                return
        raise NoServer("lost the connection to %s at once" % join_address(choices[-1].address))

    def _connect(self, link: Link, deadline: Deadline, counts: bool = True) -> None:
        """Connect a link unless it is connected.  Unless `counts` is false, a server that does not answer in time has failed.

        Raises NoServer, ConnectTimeout, ClientBusy.
        """
        me = threading.get_ident()
        while True:
            number = link.failure_number
            other = self.exclusively(self._claim, link, me)
            if other is None or other == me:
                break
            if not self.wait(lambda: not self._connects(link, other), deadline, (), False):
                raise ConnectTimeout("cannot connect to %s in time" % join_address(link.address))
            if link.failure_number != number:
                raise NoServer("cannot connect to %s, as another thread found" % join_address(link.address))
        if other == me:
            connection, failure = None, None
            try:
                connection = self.open(link.address, deadline.left())
            except NoServer as error:
                failure = error if counts or not isinstance(error, ConnectTimeout) else None
                raise
            finally:
                self.exclusively(self._connected, link, connection, failure)

    @staticmethod
    def _connects(link: Link, thread: int, times: int = 1) -> bool:
        """Whether a thread that has claimed a link is still connecting it."""
        return link.connecting == thread and goes_on(thread, Network._connect.__code__, "link", link, times)

    def _place_again(self, deadline: Deadline) -> None:
        """Place the jobs whose connection broke, as many as there is time for."""
        link = self.exclusively(self._place_displaced)
        if link is not None:
            left, patience = deadline.left(), self._connect_timeout
            limit = Deadline(None if left is None else max(left, _LEAST_CONNECT), self.clock)
            try:
                self._connect(link, self.connect_deadline(limit), left is None or patience is not None and left >= patience)
            except (NoServer, ClientBusy):
                return  # which is known here already

    def _ease(self, link: Link, connection: "Connection", limit: Deadline) -> None:
        """Wait until less is waiting to be sent to a server, but not beyond the limit."""
        try:
            self.wait(lambda: link.connection is not connection
                      or connection.queued - connection.sent <= _MAX_UNSENT, limit)
        except ClientBusy:
            return  # it is on its way all the same

    def _new_deadline(self, timeout: "Optional[float]") -> Deadline:
        return Deadline(timeout, self.clock)

    # ---------------------------------------------------------------------------------------- changes: reading

    def _watch(self, reading: Reading) -> None:
        """Make what a thread waits for: input of all connections, and being woken."""
        if self._waker is None:
            waker = socket.socketpair()
            for end in waker:
                end.setblocking(False)
            self._waker = waker
        reading.version = self._version
        reading.watched = [(link, link.connection, link.connection.fileno(), link.connection.unsent)
                           for link in self.links if link.connection is not None]
        reading.waiter = self._system.make_waiter([(connection, writing) for _, connection, _, writing in reading.watched]
                                                  + [(self._waker[0], False)])

    def _take_in(self, reading: Reading, ready: "List[int]", over: "Any") -> bool:
        """Take in what has arrived; return whether this thread reads on.  `over` is True, or tells whether it is done."""
        now = self.clock()
        self._spin_or_not(reading, now)
        for link, connection, descriptor, writing in reading.watched:
            if link.connection is not connection:
                continue
            if descriptor in ready:
                self._transfer(link)
                if writing and not connection.unsent:
                    self._version += 1
            elif link.due is not None and link.due <= now:
                self._lose(link, self._too_late(link))
        if self._waker is not None and self._waker[0].fileno() in ready:
            try:
                self._waker[0].recv(4096)
            except BlockingIOError:
                pass  # another one was quicker
        if self._others:
            self._wake_others(tuple(self._with_calls))
        if self._reading is reading and not (over is True or over() or self._with_calls or self._displaced or self._notes):
            return True
        self._stop_reading(reading, True)
        return False

    def _transfer(self, link: Link) -> None:
        """Send and receive what is possible without waiting."""
        connection, session, reader = link.connection, link.session, link.reader
        assert connection is not None
        before = session.answered + connection.sent
        self._changing = link
        try:
            if connection.unsent:
                connection.flush()
            while True:
                room = reader.room()
                received = connection.receive(room)
                if received is None:
                    break
                packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
                room = None
                session.receive(packets)
                if reader.error is not None:
                    raise reader.error
                if reader.held == 0 and not connection.pending:
                    break
        except (ServerLost, ProtocolError) as error:
            self._lose(link, error)
            return
        link.heard = self.clock()
        if session.answered + connection.sent != before:
            link.failures = 0
            link.due = None
            self._expect_answer(link)
        self._changing = None

    def _expect_answer(self, link: Link) -> None:
        """Begin the command time-out, unless it has begun or nothing was asked."""
        if link.due is None and self.command_timeout is not None and link.session.unanswered:
            link.due = self.clock() + self.command_timeout
            if self._reading is not None and link.due < self._reading.until - 2 * LONGEST_READ:
                self._poke()

    def _send(self, link: Link) -> None:
        """Send a server as much as goes without waiting."""
        connection = link.connection
        if connection is None:
            return
        self._expect_answer(link)
        try:
            complete = connection.flush()
        except ServerLost as error:
            self._lose(link, error)
            return
        if not complete:
            self._version += 1
            self._poke()

    def _send_unsent(self) -> None:
        for link in self.links:
            if link.connection is not None and link.connection.unsent:
                self._changing = link
                self._send(link)
                self._changing = None

    # ---------------------------------------------------------------------------------------- changes: placing

    def _place(self, submission: Submission, links: "Optional[List[Link]]", send: bool) -> "Optional[List[Link]]":
        """Give a submission to the server it should go to; if that is not connected, return those it may go to."""
        servers = self.servers
        if self._reading is None:
            for link in links or servers.links:
                if link.connection is not None:
                    self._notice_end(link)
        choices = links or (servers.links if servers.ring is None else servers.choose(submission.plan, submission.workload))
        return None if self._put(submission, choices[0], send) else choices

    def _put(self, submission: Submission, link: Link, send: bool) -> bool:
        """Give a submission to a server; return whether that is connected."""
        connection = link.connection
        if connection is None:
            return False
        self._changing = link
        plan = submission.plan
        link.session.submit(submission, plan.packet_type, plan.leading, submission.workload, plan.background)
        submission.placed(link)
        link.hand_on()
        submission.end = connection.queued
        if send or connection.pieces >= _BATCH_SIZE or connection.queued - connection.sent > _MAX_UNSENT:
            self._send(link)
        self._changing = None
        return True

    def _ask_now(self, link: Link, ask_one: "Callable[[Link, Request], None]", request: Request) -> bool:
        """Ask a server something; return whether it is connected."""
        self._notice_end(link)
        if link.connection is None:
            return False
        self._changing = link
        ask_one(link, request)
        link.hand_on()
        self._send(link)
        self._changing = None
        return True

    @staticmethod
    def _listen(submissions: "Sequence[Submission]", finished: Finished) -> None:
        for submission in submissions:
            if submission.ended:
                finished.told(submission)
            else:
                others = [listener for listener in submission.listeners or () if not listener.over]
                submission.listeners = others + [finished]

    def _notice_end(self, link: Link) -> None:
        """Notice that a server closed a connection while nobody read from it, before a job is sent there."""
        if link.connection is not None and self._reading is None and self.clock() - link.heard > _IDLE:
            self._transfer(link)
            if self._others:
                self._wake_others(tuple(self._with_calls))
            self._poke()  # a thread that has begun to read meanwhile

    def _claim(self, link: Link, me: int) -> "Optional[int]":
        """The thread that is to connect a link, which may be this one now; None if it is connected.

        Raises NoServer if the client was closed, ClientBusy if this thread is connecting it.
        """
        if self.closed:
            raise NoServer("the client was closed")
        if link.connection is not None:
            return None
        thread = link.connecting
        if thread is not None and self._connects(link, thread, 2 if thread == me else 1):
            if thread == me:
                raise ClientBusy("this thread was interrupted while it connected to %s" % join_address(link.address), True)
            return thread
        link.claimed(me)
        return me

    def _connected(self, link: Link, connection: "Optional[Connection]", failure: "Optional[NoServer]") -> None:
        """An attempt of this thread to connect is over."""
        if link.connecting != threading.get_ident():
            if connection is not None:
                connection.leave()
            raise ServerLost("the process was forked, and this is the parent's")
        if connection is None:
            if failure is None:
                link.given_up()
            else:
                self._failures += 1
                link.failed(failure, self._failures, self.clock(), self._system.random())
        elif self.closed:
            link.given_up()
            connection.close()
            raise NoServer("the client was closed")
        else:
            link.reached(connection, self.clock())
            self._version += 1
        self._settle()

    def _place_displaced(self) -> "Optional[Link]":
        """Give jobs whose connection broke to servers that are connected; return the next to be connected for that."""
        while self._displaced:
            submission = self._displaced[0]
            if submission.state is UNPLACED:
                failure = self._find_server(submission)
                if isinstance(failure, Link):
                    return failure
                if failure is not None:
                    self._refuse_displaced(submission, failure)
            self._displaced.popleft()  # only now: an exception before must not lose it
        self._settle()
        return None

    def _find_server(self, submission: Submission) -> "Optional[Union[Link, GearmanError]]":
        """Give a submission to a server; otherwise return which one to connect, or why there is none."""
        failure = None  # type: Optional[GearmanError]
        if submission.moves > MAX_MOVES:
            return submission.loss or NoServer("the call that submitted it was interrupted")
        for link in self.servers.choose(submission.plan, submission.workload):
            if self._put(submission, link, True):
                return None
            if link.failure_number <= submission.failures:  # it was not tried since
                if submission.place_by is not None and not submission.place_by.over:
                    return link
                failure = ConnectTimeout("%s did not answer in time" % join_address(link.address))
            else:
                failure = link.failure
        return failure

    # ---------------------------------------------------------------------------------------- changes: losses

    def _lose(self, link: Link, error: "Union[ServerLost, ProtocolError]", doubtful: bool = False) -> None:
        """A connection is of no more use: tell everybody who waits, or find another server for what may be sent again.

        When it is `doubtful`, how much was sent is not known.
        """
        connection, session = link.connection, link.session
        if connection is None:
            return
        self._changing = link
        sent = connection.sent
        if isinstance(error, (CommandTimeout, ProtocolError)):
            link.back_off(self.clock(), self._system.random())
        for waiting, confirmed in session.waiting():
            if not isinstance(waiting, Submission):
                if not waiting.ended:
                    waiting.refused(copy_error(error))
            elif waiting.ended:
                waiting.tell()  # it was told just before an interrupt
            elif isinstance(error, ProtocolError):
                waiting.refused(copy_error(error))
            elif confirmed:
                waiting.refused(ServerLost(str(error), "confirmed"))
            elif waiting.handle is not None:
                waiting.accepted(waiting.handle)  # a background job, also just before that
            elif waiting.state is SUBMITTED:  # it is not yet if an interrupt came first
                unsent = sent < waiting.end and not doubtful
                self._submit_again(waiting, type(error)(str(error), "never" if unsent else "unconfirmed"))
        self._version += 1
        self._notes.append(str(error))
        link.lost()
        self._changing = None
        self._settle()

    def _mend(self, error: "Optional[BaseException]") -> None:
        """End a connection on which something was interrupted, as it may be out of step."""
        reason = "interrupted" if error is None else type(error).__name__
        text = "gave up the connection to %s: %s" % (join_address(self._changing.address), reason)
        self._lose(self._changing, ServerLost(text), True)
        self._changing = None
        self._settle()

    def _shut(self) -> None:
        """Let go of everything."""
        for link in self.links:
            if link.connection is not None:
                self._lose(link, ServerLost("the client was closed"))
        while self._displaced:
            self._refuse_displaced(self._displaced[0], ServerLost("the client was closed"))
            self._displaced.popleft()
        self._settle()
        if self._waker is not None and self._reading is None:
            for end in self._waker:
                end.close()
            self._waker = None
            self._version += 1

    def _leave_to_parent(self) -> None:
        """Begin anew in a child process; what was under way is the parent's."""
        held = _fork_lock.acquire(True, LONGEST_READ)  # or it was forked, or interrupted, while locked
        try:
            if self._process == os.getpid():
                return  # another thread has done this
            leave_in_children(self)
            waiting = [waiting for link in self.links if link.connection is not None for waiting in link.session.waiting()]
            waiting += [(submission, False) for submission in self._displaced]
            for link in self.links:
                if link.state is not APART:
                    link.left()
            for end in self._waker or ():
                end.close()
            self._changing = None
            version = self._version + 1  # unlike that of any Reading
            self._begin()
            self._version = version
            self._start_turns()
            for one, confirmed in waiting:
                if not one.ended:
                    sent = "confirmed" if confirmed else "unconfirmed"
                    one.refused(ServerLost("the process was forked, and this is the parent's", sent))
            self._process = os.getpid()
            self._forked = False
        finally:
            if held:
                _fork_lock.release()

    def _submit_again(self, submission: Submission, error: ServerLost) -> None:
        """The connection broke before the server accepted a job: submit it again if it cannot run twice, or is allowed to."""
        if error.sent == "unconfirmed":
            submission.loss = error
        safe = submission.loss is None or submission.plan.idempotent
        if safe and submission.moves < MAX_MOVES and not self.closed and not isinstance(error, CommandTimeout):
            self._displaced.append(submission)
            submission.displaced(self._failures, self._new_deadline(self._connect_timeout))
        else:
            self._refuse_displaced(submission, error)

    @staticmethod
    def _refuse_displaced(submission: Submission, error: GearmanError) -> None:
        """End a job that no server accepted; if one may have done so before it was lost, the error says it."""
        loss = submission.loss
        if submission.ended:
            submission.tell()  # it was told just before an interrupt
        elif loss is not None and not (isinstance(error, ServerLost) and error.sent == "unconfirmed"):
            kind = type(error) if isinstance(error, ServerLost) else ServerLost
            submission.refused(kind("%s; before that, %s" % (error, loss), "unconfirmed"))
        else:
            submission.refused(copy_error(error))

    def _too_late(self, link: Link) -> CommandTimeout:
        text = "%s did not answer within %s s" % (join_address(link.address), self.command_timeout)
        return CommandTimeout(text, "unconfirmed")
