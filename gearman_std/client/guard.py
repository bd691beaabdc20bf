"""An object that one thread at a time changes, and that is mended when an exception has left it half changed.

Python can raise anywhere: a signal's handler between any two instructions, RecursionError at every call, MemoryError at every
allocation.  A lock that is taken by one instruction and released by another may then stay locked for ever.  So there is no lock
here: the thread whose turn it is is written down, and that counts only while the call goes on that wrote it.
"""
import gc
import os
import sys
import threading
from collections import deque

from ..errors import ClientBusy
from ..net.forks import TOLD_OF_FORKS, leave_in_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Optional
    from types import CodeType

_TURN_LOOK = 0.05     # seconds after which a thread that waits for its turn looks itself, lest nobody has woken it
# CPython 3.11 may collect garbage while it makes the dict of a frame's variables.  If a finalizer then lets the frame's thread
# go on, the frame can be gone, and the process crashes.
_COLLECTS_MEANWHILE = sys.version_info[:2] == (3, 11)


def goes_on(thread: int, code: "CodeType", name: str, value: "Any", times: int = 1) -> bool:
    """Whether a thread is inside so many calls of a function in which the local variable of that name is that value."""
    collects = _COLLECTS_MEANWHILE and thread != threading.get_ident() and gc.isenabled()
    try:
        if collects:
            gc.disable()
        frame = sys._current_frames().get(thread)
        while frame is not None:
            if frame.f_code is code and frame.f_locals.get(name) is value:
                times -= 1
                if not times:
                    return True
            frame = frame.f_back
        return False
    finally:
        if collects:
            gc.enable()


class Guarded:
    """An object whose parts are changed by `exclusively` only.

    While a change is under way that must not be left half done, `_changing` is what is changed; if an exception ends it,
    `_mend` is called before anybody else has a turn.

    Owner: whoever makes it; its parts are those of the thread that has the turn.
    """

    turn_patience = 1.0  # seconds for which a thread waits for its turn, as whoever has it may be within a signal's handler

    def __init__(self) -> None:
        self._changing = None       # type: Any
        self.closed = False
        self._process = os.getpid()
        self._forked = False
        self._start_turns()
        leave_in_children(self)

    def _start_turns(self) -> None:
        self._turn = {}             # type: Dict[int, int] # the thread that has the turn, under 0
        self._queue = deque()       # type: Deque[Any] # the locks of those who wait for it
        self._healing = threading.Lock()

    def __repr__(self) -> str:
        return "<Guarded, %s>" % ("free" if not self._turn else "taken")

    def leave(self) -> None:
        """This is the child of a fork; called before anything else there, if Python tells of forks."""
        self._forked = True

    def is_mine(self) -> bool:
        """Whether this thread has its turn, and so cannot have another one."""
        return self._turn.get(0) == threading.get_ident()

    def exclusively(self, act: "Callable[..., Any]", *arguments: "Any") -> "Any":
        """Call a function while no other thread has its turn; return its result.

        Raises ClientBusy if this thread has its turn already (it runs a signal's handler, or what the garbage collector calls),
        or another one for long.
        """
        if self._forked or not TOLD_OF_FORKS and self._process != os.getpid():
            self._leave_to_parent()
        turn, me, done = self._turn, threading.get_ident(), False
        if turn and turn.get(0) == me:
            self._come_again(turn, me)
        try:
            try:
                if turn.setdefault(0, me) != me:  # one instruction, as `dict` is C
                    self._wait_for_turn(turn, me)
                if self._changing is not None:
                    self._mend(None)  # twice interrupted
                result = act(*arguments)
                if self.closed:
                    self._shut()
            except BaseException as error:
                if self._changing is not None and turn.get(0) == me:
                    self._mend(error)
                raise
            finally:
                try:  # without a call, as none may be possible
                    if turn[0] == me:
                        del turn[0]
                except KeyError:
                    pass  # it never came to that
            done = True
            return result
        finally:  # once more, as the one above may have been interrupted
            if not done and turn.get(0) == me:
                del turn[0]
            if self._queue:
                self._wake_next()

    def _come_again(self, turn: "Dict[int, int]", me: int) -> None:
        """This thread has its turn, or had it and was interrupted twice."""
        if goes_on(me, Guarded.exclusively.__code__, "turn", turn, 2):
            raise ClientBusy("this thread was interrupted within the client, and cannot use it before it goes on there", True)
        turn.pop(0, None)

    def _wait_for_turn(self, turn: "Dict[int, int]", me: int) -> None:
        looks = int(self.turn_patience / _TURN_LOOK)
        while True:
            gate = threading.Lock()
            gate.acquire()
            self._queue.append(gate)
            if turn.setdefault(0, me) != me:
                opened = gate.acquire(True, _TURN_LOOK)
                if turn.setdefault(0, me) != me:
                    if not opened:
                        looks -= 1
                        self._forget(gate)
                        self._heal(turn)
                    if looks <= 0:
                        raise ClientBusy("another thread was interrupted within the client, and has not gone on for long")
                    continue
            self._forget(gate)
            return

    def _forget(self, gate: "Any") -> None:
        try:
            self._queue.remove(gate)
        except ValueError:
            return  # it was just opened

    def _heal(self, turn: "Dict[int, int]") -> None:
        """Take the turn from a thread that has gone on without giving it back."""
        if self._healing.acquire(False):
            try:
                thread = turn.get(0)
                if thread is not None and not goes_on(thread, Guarded.exclusively.__code__, "turn", turn):
                    if turn.get(0) == thread:
                        del turn[0]
            finally:
                self._healing.release()

    def _wake_next(self) -> None:
        try:
            self._queue.popleft().release()
        except IndexError:
            return  # another thread woke it

    # --------------------------------------------------------------------------------------------------------- for subclasses

    def _mend(self, error: "Optional[BaseException]") -> None:
        """End what an exception has left half changed."""
        self._changing = None

    def _shut(self) -> None:
        """Let go of everything; called after each change of what was closed."""

    def _leave_to_parent(self) -> None:
        """This is the child of a fork: what there was is the parent's."""
        self._start_turns()
        self._process = os.getpid()
        self._forked = False
        leave_in_children(self)
