"""The threads of a client that wait: one of them reads for all, and each calls the callbacks of its jobs.

The others wait until they have what they wait for, or until it is their turn to read.  Each also looks again after a moment, in
case that an exception kept another thread from waking it, or that the thread that is to read is within a signal's handler.  If
two threads read at a time, because one seemed to be gone, no harm is done.
"""
import os
import socket
import threading
from collections import deque

from ..errors import ClientBusy
from ..net.logs import own_logger
from .guard import Guarded, goes_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple
    from ..net.connection import Deadline
    from .submission import Callbacks, Submission

_logger_wait = own_logger("gearman_std.client")

LONGEST_READ = 1.0      # seconds of one wait for input
_SHORT_WAIT = 0.0004    # seconds; if a wait was as short as that, the next one begins with looking, without sleep,
_SPINS = 200            # so often, which takes as long: to wake from sleep costs as much as the answer (benchmark: serial)
_LOOK_AGAIN = 0.25      # seconds after which a thread that waits for the one that reads looks whether there still is one
_BUSY_LIMIT = 30        # times that a thread waits for its turn in vain before ClientBusy is raised

_give_way = getattr(os, "sched_yield", int)


class Reading:
    """One thread's waiting for input, for all.

    Owner: that thread.
    """

    __slots__ = ("thread", "outer", "began", "until", "version", "waiter", "watched")

    def __init__(self) -> None:
        self.thread = 0
        self.outer = None     # type: Optional[Reading] # one of this thread's that a signal's handler has interrupted
        self.began = 0.0
        self.until = 0.0      # when its present wait ends
        self.version = -1     # of what it waits for,
        self.waiter = None    # type: Any # which is a function that waits,
        self.watched = ()     # type: Any # and (link, connection, fd, writing)

    def __repr__(self) -> str:
        return "<Reading of thread %d until %.3f>" % (self.thread, self.until)


class Waiters(Guarded):
    """Who waits for what.

    Owner: the thread that has its turn; what other threads do to its containers is one instruction each, as those are C.
    """

    longest_read = LONGEST_READ

    def __init__(self, clock: "Callable[[], float]") -> None:
        super().__init__()
        self.clock = clock
        self._spins = 0
        self._most_spins = _SPINS if (os.cpu_count() or 1) > 1 else 0
        self._begin()

    def _begin(self) -> None:
        self._with_calls = {}      # type: Dict[Submission, None] # those with callbacks that are to be called, in their order
        self._displaced = deque()  # type: Deque[Submission] # those to be submitted again, as their connection broke
        self._notes = deque()      # type: Deque[str] # what the log is to be told
        self._reading = None       # type: Optional[Reading] # who waits for input just now
        self._idle = []            # type: List[Reading] # to be used again: a waiter is for one thread at a time
        # The threads that wait for the one that reads: whether it is done, a lock that is opened to wake it, the thread, and
        # the jobs whose callbacks it calls.
        self._others = []          # type: List[Tuple[Callable[[], bool], Any, int, Any]]
        self._waker = None         # type: Optional[Tuple[socket.socket, socket.socket]]
        self._version = 0          # of what to wait for

    def __repr__(self) -> str:
        return "<Waiters: %r, %d others>" % (self._reading, len(self._others))

    # ------------------------------------------------------------------------------------------ between changes: waiting

    def wait(self, done: "Callable[[], bool]", deadline: "Deadline", mine: "Any" = (), placing: bool = True) -> bool:
        """Wait until something is done, reading for everybody while nobody else does; return whether it is.

        Callbacks are called meanwhile: those of `mine`, for which this thread waits, and of others that it submitted.  It
        finds servers for jobs whose connection broke, unless `placing` is false.
        """
        if self._forked:
            self.exclusively(bool)  # which begins anew
        me, tries, over = threading.get_ident(), 0, False
        reading = None  # type: Optional[Reading]
        try:
            while True:
                if self._with_calls or self._notes:
                    if reading is not None:
                        self._stop_reading(reading)
                        self._idle.append(reading)
                        reading = None
                    if self._call_back(me, mine):
                        continue
                if done():
                    return True
                if over:
                    return False
                try:
                    if placing and self._displaced:
                        if reading is not None:
                            self._stop_reading(reading)
                            self._idle.append(reading)
                            reading = None
                        self._place_again(deadline)
                        over = deadline.over
                        if over or done():
                            continue
                    if reading is None:
                        reading = self._start_reading(me)
                    if reading is None:
                        over = deadline.over
                        if not over:
                            self._wait_for_reader(done, deadline.left(), me, mine)
                        continue
                    ready = self._read(reading, deadline, done)
                    over = deadline.over
                    if not self.exclusively(self._take_in, reading, ready, over or done):
                        self._idle.append(reading)
                        reading = None
                except ClientBusy as error:
                    tries += 1
                    over = deadline.over
                    if error.reentrant or tries > _BUSY_LIMIT:
                        raise
        finally:
            if reading is not None:  # which is not used again, as it may be already
                self._stop_reading(reading)

    def _start_reading(self, me: int) -> "Optional[Reading]":
        """Begin to read, if nobody else does."""
        other = self._reading
        if other is not None and other.thread != me and self.clock() <= other.until:
            return None
        try:
            reading = self._idle.pop()
        except IndexError:
            reading = Reading()
        reading.thread = me
        if other is not None and other.thread == me and goes_on(me, Waiters.wait.__code__, "reading", other):
            reading.outer = other
        reading.until = self.clock() + 2 * LONGEST_READ
        self._reading = reading
        return reading

    def _read(self, reading: Reading, deadline: "Deadline", done: "Callable[[], bool]") -> "List[int]":
        """Wait for input; return the descriptors that can be read, or written where that is waited for."""
        if reading.version != self._version:
            self.exclusively(self._watch, reading)
        if done():
            return []  # another thread took it in before this one began to read
        timeout = deadline.left()
        if timeout is None or timeout > self.longest_read:
            timeout = self.longest_read
        reading.began = now = self.clock()
        for link, _, _, _ in reading.watched:
            due = link.due
            if due is not None and (timeout is None or due - now < timeout):
                timeout = max(0.0, due - now)
        reading.until = now + (timeout or 0.0) + 2 * LONGEST_READ
        waiter = reading.waiter
        if self._spins and not self._others:
            spins = self._spins
            ready = waiter(0)
            while spins and not ready:
                _give_way()  # to whoever is to answer, if this core is all that it has
                ready = waiter(0)
                spins -= 1
            if ready:
                return ready  # type: ignore[no-any-return]
        return waiter(timeout)  # type: ignore[no-any-return]

    def _wait_for_reader(self, done: "Callable[[], bool]", timeout: "Optional[float]", me: int, mine: "Any") -> None:
        """Wait until it is done or no other thread reads any more, but not for long."""
        gate = threading.Lock()
        gate.acquire()
        entry, interrupted = (done, gate, me, mine), True
        try:
            self._others.append(entry)
            if done() or self._reading is None:  # since it was looked for last
                interrupted = False
                return
            gate.acquire(True, _LOOK_AGAIN if timeout is None else min(timeout, _LOOK_AGAIN))
            interrupted = False
        finally:
            try:
                self._others.remove(entry)
            except ValueError:
                if self._reading is None and (interrupted or done()):
                    self._wake_one()  # it was this thread's turn to read, but it is leaving

    def _stop_reading(self, reading: Reading, woken: bool = False) -> None:
        """This thread reads no more, another does.  `woken` tells that those who have what they wait for were just woken."""
        if self._reading is reading:
            self._reading = reading.outer
        if reading.outer is not None:
            reading.outer = None
            self._poke(True)  # what it waits for may have been taken in
        if self._others:
            if not woken:
                self._wake_others(())
            if self._reading is None:
                self._wake_one()
        if self.closed:
            self.close()

    def _wake_one(self) -> None:
        """Let another thread read: the last that came, as of several waits of one thread only the innermost can go on."""
        try:
            self._others.pop()[1].release()
        except IndexError:
            return  # there is none

    def _wake_others(self, called: "Sequence[Submission]") -> None:
        """Wake the threads that got what they wait for, or whose jobs have callbacks to be called."""
        for entry in list(self._others):
            if entry[0]() or called and any(
                    one.callbacks.thread == entry[2] or one in entry[3] for one in called if one.callbacks is not None):
                try:
                    self._others.remove(entry)
                except ValueError:
                    continue  # somebody else did
                entry[1].release()

    def _settle(self) -> None:
        """Wake all threads that got what they wait for, the one that reads too."""
        if self._others:
            self._wake_others(())
        self._poke()

    def _poke(self, myself: bool = False) -> None:
        """Make the thread that waits for input look again at what it waits for."""
        reading, waker = self._reading, self._waker
        if waker is not None and (myself or reading is not None and reading.thread != threading.get_ident()):
            try:
                waker[1].send(b"\0")
            except OSError:
                return  # it is about to look, or all was closed

    def _spin_or_not(self, reading: Reading, now: float) -> None:
        self._spins = self._most_spins if now - reading.began < _SHORT_WAIT else 0

    # ------------------------------------------------------------------------------------------ between changes: callbacks

    def note_calls(self, submission: "Submission") -> None:
        """One has another callback that is to be called."""
        self._with_calls[submission] = None

    def calls_over(self, submission: "Submission", callbacks: "Callbacks") -> bool:
        """Whether all callbacks of what has ended have been called, as far as this thread can wait for that."""
        thread = callbacks.caller.get(0)
        if thread is None:
            return not callbacks.calls
        return thread == threading.get_ident() or not self._calls_back(submission, thread, 1) and not callbacks.calls

    @staticmethod
    def _calls_back(submission: "Submission", thread: int, times: int) -> bool:
        return goes_on(thread, Waiters._call_all.__code__, "submission", submission, times)

    def _call_back(self, me: int, mine: "Any") -> bool:
        """Make the calls that are this thread's, and write what waits for the log; return whether anything was called."""
        called = False
        within = None  # type: Optional[bool]
        for submission in list(self._with_calls):
            callbacks = submission.callbacks
            assert callbacks is not None
            if submission not in mine:
                if callbacks.thread != me:
                    continue
                if within is None:  # in a callback, others' would come one inside the other
                    within = self._is_called(me)
                if within:
                    continue
            called = self._call_all(submission, callbacks, me) or called
        if self._notes:
            self._tell_notes()
        return called

    def _call_all(self, submission: "Submission", callbacks: "Callbacks", me: int) -> bool:
        """Call its callbacks one after the other, unless somebody is at it; return whether there was one."""
        caller, calls, called = callbacks.caller, callbacks.calls, False
        thread = caller.get(0)
        if thread is not None:
            if self._calls_back(submission, thread, 2 if thread == me else 1):
                return False
            caller.pop(0, None)  # who was interrupted twice is not at it any more
        try:
            try:
                if caller.setdefault(0, me) != me:
                    return False
                while True:
                    self._with_calls.pop(submission, None)
                    if not calls:
                        return called
                    called = True
                    while calls:
                        self._call(*calls.popleft())
            finally:
                if caller.get(0) == me:
                    del caller[0]
        finally:  # once more, as the one above may have been interrupted
            if caller.get(0) == me:
                del caller[0]
            if calls:
                self._with_calls[submission] = None
            self._wake_others((submission,) if calls else ())
            self._poke()

    def _call(self, callback: "Callable[..., None]", arguments: "Tuple[Any, ...]") -> None:
        try:
            callback(*arguments)
        except Exception:
            self._callback_failed()

    def _is_called(self, thread: int) -> bool:
        """Whether a thread is within a callback."""
        return goes_on(thread, Waiters._call.__code__, "self", self)

    def _callback_failed(self) -> None:
        _logger_wait.exception("a callback failed")

    def _tell_notes(self) -> None:
        """Write what waits for the log; a handler of that may be anybody's code, and use this client."""
        if not self._is_called(threading.get_ident()):
            while self._notes:
                try:
                    note = self._notes.popleft()
                except IndexError:
                    return  # another thread has told it
                self._call(_logger_wait.info, ("%s", note))

    # --------------------------------------------------------------------------------------------------------- for subclasses

    def close(self) -> None:
        """End the waiting of everybody."""
        raise NotImplementedError

    def _place_again(self, deadline: "Deadline") -> None:
        """Find servers for the jobs that need another one."""
        raise NotImplementedError

    def _watch(self, reading: Reading) -> None:
        """Make what a thread waits for: all input that there can be."""
        raise NotImplementedError

    def _take_in(self, reading: Reading, ready: "List[int]", over: "Any") -> bool:
        """Take in what has arrived; return whether this thread reads on.  `over` is True, or tells whether it is done."""
        raise NotImplementedError
