"""All connections of a client, and the threads that wait for them.

There is no thread behind it: who waits for something reads for all, with the lock released meanwhile, and the others wait until
they have what they wait for, or until it is their turn to read.
"""
import logging
import os
import random as _random_module
import socket
import threading
import time
from collections import deque

from ..errors import CommandTimeout, ConnectTimeout, GearmanError, NoServer, ProtocolError, ServerLost
from ..net.addresses import join_address
from ..net.connection import Deadline, make_waiter, open_connection
from .link import Link, Request
from .ring import Ring
from .task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple, Union
    from ..net.addresses import Address
    from ..net.connection import Connection
    from ..wire.protocol import Data

_logger_network = logging.getLogger("gearman_std.client")

_MAX_MOVES = 10         # how often a job is submitted again because a connection broke
_MAX_UNSENT = 4194304   # bytes that may wait to be sent to one server before a submit waits for them
_BATCH_SIZE = 512       # jobs collected before a batch of submits is sent
_IDLE = 0.01            # seconds without a word from a server after which its connection may have been closed unseen
_SHORT_WAIT = 0.0004    # seconds; after a wait as short as that, the next one begins with looking again and again,
_SPINS = 200            # so often, which takes about as long; waking from sleep costs as much as the answer (benchmark: serial)

_give_way = getattr(os, "sched_yield", int)

_fork_lock = threading.Lock()  # held while a network finds itself in another process


class Finished(deque):  # type: ignore[type-arg]
    """Tasks as they are done, for one who waits for them.

    `over` tells that nobody does any more.  No lock guards it: the garbage collector may end a wait anywhere, also where its
    thread has the lock.

    Owner: the network's lock, but for `over`.
    """

    over = False

    def __repr__(self) -> str:
        return "<Finished: %d tasks%s>" % (len(self), ", over" if self.over else "")


class Network:
    """The servers of a client, the jobs on their way, and who waits for what.

    Owner: its own lock, but for the settings, which nobody changes.
    """

    def __init__(self, addresses: "Sequence[Address]", connect_timeout: "Optional[float]", command_timeout: "Optional[float]",
                 tls: "Any" = None, clock: "Callable[[], float]" = time.monotonic, random: "Any" = _random_module) -> None:
        self.clock = clock
        self.links = [Link(address) for address in addresses]
        self.callbacks = deque()   # type: Deque[Tuple[Callable[..., None], Tuple[Any, ...]]] # to be called without the lock
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._tls = tls
        self._random = random
        self._next = random.randrange(len(self.links))
        self._ring = Ring([join_address(address) for address in addresses]) if len(addresses) > 1 else None
        self._homeless = deque()   # type: Deque[Task] # to be submitted again
        self._spins = 0
        self._most_spins = _SPINS if (os.cpu_count() or 1) > 1 else 0
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connected = threading.Condition(self._lock)  # notified when an attempt to connect is over
        self._poller = None        # type: Optional[int] # the thread that waits for input just now
        self._others = []          # type: List[Tuple[Callable[[], bool], Any]] # who waits for it: for what, and a lock to open
        self._waker = None         # type: Optional[Tuple[socket.socket, socket.socket]]
        self._waiter = None        # type: Optional[Callable[[Optional[float]], List[int]]] # None when what to wait for changed
        self._watched = []         # type: List[Tuple[Link, Connection, int, bool]] # what it waits for

    def __repr__(self) -> str:
        return "<Network of %s>" % ", ".join(
            "%s%s" % (join_address(link.address), "" if link.connection else " (not connected)") for link in self.links)

    # ------------------------------------------------------------------------------------------ called by any thread

    def open(self, address: "Address", timeout: "Optional[float]") -> "Connection":
        """Connect to a server.  Raises NoServer, ConnectTimeout."""
        return open_connection(address, timeout, self._tls)

    def locked(self) -> "Any":
        """The lock, to be entered; after a fork the child begins anew, as the connections are the parent's."""
        if self._process != os.getpid():
            with _fork_lock:
                if self._process != os.getpid():
                    self._leave_to_parent()
        return self._lock

    def close(self) -> None:
        """Close all connections; who still waits gets ServerLost."""
        with self.locked():
            self._closed = True
            closed = ServerLost("the client was closed")
            for link in self.links:
                if link.connection is not None:
                    self._lose(link, closed)
            while self._homeless:
                self._refuse_homeless(self._homeless.popleft(), closed)
            self._settle()
            self._close_waker()

    def submit(self, task: Task, limit: Deadline, links: "Optional[List[Link]]" = None) -> None:
        """Send a task to the first of these links, or of those it may go to, that can be reached within the limit.

        Raises NoServer, ConnectTimeout.
        """
        with self.locked():
            try:
                link = self._place(task, self.connect_deadline(limit), links)
                self._send(link)
            except BaseException as error:
                self._interrupted(task._link, error, task)
                raise
        self._ease(link, limit)

    def submit_quietly(self, task: Task) -> None:
        """Place a task without sending it yet, unless much is waiting to be sent.

        Raises NoServer, ConnectTimeout.
        """
        with self.locked():
            try:
                link = self._place(task, self._new_deadline(self._connect_timeout))
                connection = link.connection
                assert connection is not None
                waiting = connection.queued - connection.sent
                if connection.pieces >= _BATCH_SIZE or waiting > _MAX_UNSENT:
                    self._send(link)
            except BaseException as error:
                self._interrupted(task._link, error, task)
                raise
        if waiting > _MAX_UNSENT:
            self._ease(link, self._new_deadline(None))

    def send_all(self) -> None:
        """Send what was placed quietly."""
        with self.locked():
            for link in self.links:
                if link.connection is not None and link.connection.unsent:
                    self._send(link)

    def candidates(self, task: Task) -> "List[Link]":
        """The links in the order in which a task may go to them."""
        with self.locked():
            return self._candidates(task, False)

    def confirm(self, task: Task) -> None:
        """Wait until the server has answered the submit; raise the error if it refused it."""
        deadline = self._new_deadline(self._command_timeout)
        if not self.wait(lambda: task._handle is not None or task._error is not None, deadline):
            self._give_up(task._link, task)
        if task._handle is None and task._error is not None:
            raise task._error

    def best_first(self, links: "List[Link]") -> "List[Link]":
        """The links in their order, but those that lately failed last."""
        now = self.clock()
        return sorted(links, key=lambda link: link.connection is None and link.retry_at > now)

    def connect_deadline(self, limit: Deadline, shares: int = 1) -> Deadline:
        """The end of the time to connect, which ends with the limit at the latest; of so many shares of it."""
        choices = [left / shares for left in (self._connect_timeout, limit.left()) if left is not None]
        return self._new_deadline(min(choices) if choices else None)

    def ask(self, link: Link, ask_one: "Callable[[Link, Request], None]", connect_by: Deadline) -> "Sequence[Data]":
        """Ask a server something and wait for the answer.

        Raises NoServer, ConnectTimeout, CommandTimeout, ServerLost, ServerError, ProtocolError.
        """
        request = Request()
        with self.locked():
            try:
                self._notice_end(link)
                self._connect(link, connect_by)
                ask_one(link, request)
                self._send(link)
            except BaseException as error:
                self._interrupted(link, error)
                raise
        if not self.wait(request._is_done, self._new_deadline(self._command_timeout)):
            self._give_up(link, request)
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def listen(self, tasks: "Sequence[Task]") -> Finished:
        """A queue to which the tasks are added as they are done, until it is over.  Raises ValueError for another's tasks."""
        if not all(task._network is self for task in tasks):
            raise ValueError("a task of another client, which nobody here would hear of")
        finished = Finished()
        with self.locked():
            for task in tasks:
                if task._is_done():
                    finished.append(task)
                else:
                    task._listeners = [listener for listener in task._listeners if not listener.over] + [finished]
        return finished

    def wait(self, done: "Callable[[], bool]", deadline: Deadline) -> bool:
        """Wait until something is done, reading for everybody while nobody else does; return whether it is."""
        me = threading.get_ident()
        with self.locked():
            while not done():
                if self._homeless and not self._closed:
                    self._rehouse(self._homeless.popleft())
                    continue
                outer = self._poller
                if outer is not None and outer != me:
                    if deadline.over:
                        return False
                    self._wait_for_reader(done, deadline.left())
                    continue
                self._poller = me
                try:
                    while True:
                        self._poll(deadline.left())
                        if done() or self._homeless or deadline.over:
                            break
                finally:
                    self._poller = outer
                    if outer is None:
                        self._hand_over()
                if deadline.over:
                    return done()
        return True

    def _give_up(self, link: "Optional[Link]", waiting: "Union[Task, Request]") -> None:
        """A command was not answered in time, so later answers could not be told apart: end the connection."""
        with self.locked():
            if isinstance(waiting, Task) and waiting in self._homeless:
                self._homeless.remove(waiting)
                self._refuse_homeless(waiting, CommandTimeout("no server accepted the job within %s s" % self._command_timeout))
            elif link is not None and link.connection is not None and not waiting._is_done():
                self._lose(link, self._too_late(link))
            self._settle()

    def _ease(self, link: Link, limit: Deadline) -> None:
        """Wait while much is waiting to be sent to a server, but not beyond the limit."""
        connection = link.connection
        if connection is not None and connection.queued - connection.sent > _MAX_UNSENT:
            self.wait(lambda: link.connection is not connection or connection.queued - connection.sent <= _MAX_UNSENT, limit)

    def _new_deadline(self, timeout: "Optional[float]") -> Deadline:
        return Deadline(timeout, self.clock)

    # ------------------------------------------------------------------------------- called with the lock: who reads

    def _wait_for_reader(self, done: "Callable[[], bool]", timeout: "Optional[float]") -> None:
        """Wait, with the lock released, until that which is waited for is done, or there is nobody else who reads."""
        gate = threading.Lock()
        gate.acquire()
        entry = (done, gate)
        self._others.append(entry)
        interrupted = True
        self._lock.release()
        try:
            gate.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            interrupted = False
        finally:
            self._lock.acquire()
            if entry in self._others:
                self._others.remove(entry)
            elif self._poller is None and (interrupted or done()):
                self._hand_over()  # it was this thread's turn to read, but it is leaving

    def _wake_others(self) -> None:
        """Wake the threads that got what they wait for."""
        for entry in [entry for entry in self._others if entry[0]()]:
            self._others.remove(entry)
            entry[1].release()

    def _settle(self) -> None:
        """Wake all threads that got what they wait for, the one that reads too."""
        self._wake_others()
        self._poke()

    def _hand_over(self) -> None:
        """This thread reads no more: have another do it."""
        if self._closed:
            self._close_waker()
        self._wake_others()
        if self._others:
            self._others.pop(0)[1].release()

    def _watch(self) -> None:
        """Note what to wait for."""
        if self._waker is None:
            self._waker = socket.socketpair()
            for end in self._waker:
                end.setblocking(False)
        self._watched = [(link, link.connection, link.connection.fileno(), link.connection.unsent)
                         for link in self.links if link.connection is not None]
        self._waiter = make_waiter([(connection, writing) for _, connection, _, writing in self._watched]
                                   + [(self._waker[0], False)])

    def _close_waker(self) -> None:
        if self._waker is not None and self._poller is None:
            for end in self._waker:
                end.close()
            self._waker = self._waiter = None

    def _poll(self, timeout: "Optional[float]") -> None:
        """Wait for input with the lock released, then take it in; callbacks run with the lock released."""
        if self._waiter is None:
            self._watch()
        waiter, watched, spins = self._waiter, self._watched, 0 if self._others else self._spins
        assert waiter is not None
        now = self.clock()
        for link, _, _, _ in watched:
            if link.due is not None and (timeout is None or link.due - now < timeout):
                timeout = max(0.0, link.due - now)
        self._lock.release()
        try:
            ready = waiter(0) if spins else None
            while spins and not ready:
                _give_way()  # to whoever is to answer, if this core is all that it has
                ready = waiter(0)
                spins -= 1
            if not ready:
                ready = waiter(timeout)
        finally:
            self._lock.acquire()
        before, now = now, self.clock()
        self._spins = self._most_spins if now - before < _SHORT_WAIT else 0
        for link, connection, descriptor, writing in watched:
            if link.connection is not connection:
                continue
            if descriptor in ready:
                self._transfer(link)
                if writing and not connection.unsent:
                    self._waiter = None
            elif link.due is not None and link.due <= now:
                self._lose(link, self._too_late(link))
        if self._waker is not None and self._waker[0].fileno() in ready:
            self._waker[0].recv(4096)
        if self._others:
            self._wake_others()
        while self.callbacks:
            callback, arguments = self.callbacks.popleft()
            self._lock.release()
            try:
                callback(*arguments)
            except Exception:
                _logger_network.exception("a callback failed")
            finally:
                self._lock.acquire()

    def _transfer(self, link: Link) -> None:
        """Send and receive what is possible without waiting."""
        connection, session, reader = link.connection, link.session, link.reader
        assert connection is not None
        before = session.answered + connection.sent
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
        except BaseException as error:
            self._interrupted(link, error)
            raise
        link.heard = self.clock()
        if session.answered + connection.sent != before:
            link.failures = 0
            link.due = None
            self._expect_answer(link)

    def _expect_answer(self, link: Link) -> None:
        """Have the command time-out begin, unless it has begun or nothing was asked."""
        if link.due is None and self._command_timeout is not None and link.session.unanswered:
            link.due = self.clock() + self._command_timeout

    def _send(self, link: Link) -> None:
        """Send what is to be sent to a server, as far as that goes without waiting."""
        connection = link.connection
        if connection is None:
            return
        link.hand_on()
        self._expect_answer(link)
        try:
            complete = connection.flush()
        except ServerLost as error:
            self._lose(link, error)
            return
        if not complete:
            self._waiter = None
            self._poke()

    def _poke(self) -> None:
        """Have the thread that waits for input look again at what it waits for."""
        if self._waker is not None and self._poller not in (None, threading.get_ident()):
            try:
                self._waker[1].send(b"\0")
            except BlockingIOError:
                return  # it is about to look

    # ------------------------------------------------------------------------ called with the lock: which server, and its loss

    def _candidates(self, task: Task, settle: bool = True) -> "List[Link]":
        """The links in the order in which a task may go to them, those that lately failed last; with `settle`, only the first
        if that is connected."""
        links = self.links
        if self._ring is None:
            return links
        key = (task.function, task.unique) if task.unique != b"-" else (task.function, task.unique, task._workload)
        if task.unique:
            nearest = links[self._ring.nearest(*key)]
        else:
            self._next = (self._next + 1) % len(links)
            nearest = links[self._next]
        if settle and nearest.connection is not None:
            return [nearest]
        if task.unique:
            links = [links[index] for index in self._ring.walk(*key)]
        else:
            links = links[self._next:] + links[:self._next]
        return self.best_first(links)

    def _place(self, task: Task, deadline: Deadline, links: "Optional[List[Link]]" = None) -> Link:
        """Give a task to the first server that can be reached, not yet to send it; each server has its share of the time.

        Raises NoServer.
        """
        for link in links or self.links:
            self._notice_end(link)
        if links is None:
            links = self._candidates(task)
        for index, link in enumerate(links):
            if link.connection is None:
                left = deadline.left()
                try:
                    self._connect(link, Deadline(None if left is None else left / (len(links) - index), self.clock))
                except NoServer:
                    if index == len(links) - 1:
                        raise
                    continue
            task._link = link
            leading = (task.function, task.unique) + task._middle
            link.session.submit(task, task._packet_type, leading, task._workload, task.background)
            link.hand_on()
            assert link.connection is not None
            task._end = link.connection.queued
            break
        return link

    def _notice_end(self, link: Link) -> None:
        """Look whether a server has closed a connection while nobody read from it: a job sent there would be in doubt."""
        if link.connection is not None and self._poller is None and self.clock() - link.heard > _IDLE:
            self._transfer(link)
            if self._others:
                self._wake_others()

    def _connect(self, link: Link, deadline: Deadline) -> None:
        """See that a link is connected, with the lock released meanwhile.

        Raises NoServer, ConnectTimeout.
        """
        tried = link.connecting
        while link.connecting:
            if deadline.over:
                raise ConnectTimeout("cannot connect to %s in time" % join_address(link.address))
            self._connected.wait(deadline.left())
        if self._closed:
            raise NoServer("the client was closed")
        if link.connection is not None:
            return
        if tried:
            raise NoServer("cannot connect to %s, as another thread found" % join_address(link.address))
        link.connecting = True
        connection = None
        self._lock.release()
        try:
            connection = self.open(link.address, deadline.left())
        finally:
            self._lock.acquire()
            link.connecting = False
            self._connected.notify_all()
            if connection is None:
                link.back_off(self.clock(), self._random.random())
        if self._closed:
            connection.close()
            raise NoServer("the client was closed")
        link.connected(connection)
        self._waiter = None
        self._poke()

    def _lose(self, link: Link, error: "Union[ServerLost, ProtocolError]") -> None:
        """A connection is of no more use: tell everybody who waits, or find another server for what may be sent again."""
        connection, session = link.connection, link.session
        assert connection is not None
        self.callbacks.append((_logger_network.info, ("%s", error)))  # a logging handler may be anybody's code
        sent = connection.sent
        connection.close()
        link.connection = link.due = self._waiter = None
        if isinstance(error, (CommandTimeout, ProtocolError)):
            link.back_off(self.clock(), self._random.random())
        for waiting, confirmed in session.waiting():
            if waiting._is_done():
                continue  # it was told just before an interrupt
            if not isinstance(waiting, Task):
                waiting.refused(error)
            elif isinstance(error, ProtocolError):
                waiting.refused(error)
            elif confirmed:
                waiting.refused(ServerLost(str(error), "confirmed"))
            else:
                self._submit_again(waiting, type(error)(str(error), "never" if sent < waiting._end else "unconfirmed"))
        self._settle()

    def _interrupted(self, link: "Optional[Link]", error: BaseException, task: "Optional[Task]" = None) -> None:
        """A thread was stopped (by Ctrl-C, say) halfway through something: a connection that may be out of step is ended."""
        if isinstance(error, GearmanError) or link is None or link.connection is None:
            return
        if task is not None:
            task._moves = _MAX_MOVES  # nobody will have it
        self._lose(link, ServerLost("gave up the connection to %s: %r" % (join_address(link.address), error)))

    def _leave_to_parent(self) -> None:
        """Begin anew in a child process; what was under way is the parent's."""
        waiting = [waiting for link in self.links if link.connection is not None for waiting in link.session.waiting()]
        waiting += [(task, False) for task in self._homeless]
        self._homeless.clear()
        self.callbacks.clear()
        for link in self.links:
            if link.connection is not None:
                link.connection.leave()
                link.connection = None
            link.connecting = False
        for end in self._waker or ():
            end.close()
        for one, confirmed in [(one, confirmed) for one, confirmed in waiting if not one._is_done()]:
            sent = "confirmed" if confirmed else "unconfirmed"
            one.refused(ServerLost("the process was forked, and this is the parent's", sent))
        self._begin()

    def _submit_again(self, task: Task, error: ServerLost) -> None:
        """The connection broke before the server accepted a job: have it submitted again if that cannot run it twice."""
        if error.sent == "unconfirmed":
            task._loss = error
        safe = task._loss is None or bool(task.unique)
        if safe and task._moves < _MAX_MOVES and not self._closed and not isinstance(error, CommandTimeout):
            task._moves += 1
            self._homeless.append(task)
        else:
            self._refuse_homeless(task, error)

    @staticmethod
    def _refuse_homeless(task: Task, error: GearmanError) -> None:
        """End a job that no server accepted; if one may have done so before it was lost, the error says it."""
        if task._loss is not None and not (isinstance(error, ServerLost) and error.sent == "unconfirmed"):
            kind = type(error) if isinstance(error, ServerLost) else ServerLost
            error = kind("%s; before that, %s" % (error, task._loss), "unconfirmed")
        task.refused(error)

    def _rehouse(self, task: Task) -> None:
        """Submit a task again whose connection broke."""
        try:
            self._send(self._place(task, Deadline(self._connect_timeout, self.clock)))
        except NoServer as error:
            self._refuse_homeless(task, error)
            self._settle()
        except BaseException:
            self._homeless.appendleft(task)
            raise

    def _too_late(self, link: Link) -> CommandTimeout:
        text = "%s did not answer within %s s" % (join_address(link.address), self._command_timeout)
        return CommandTimeout(text, "unconfirmed")
