"""Signals: they call functions, and wake a thread that waits in a selector."""
import os
import signal
import threading

from .forks import leave_in_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def make_handler(call: "Callable[[], Any]") -> "Callable[[int, Any], None]":
    """A signal handler that calls a function in this process; in a child of a fork, the signal ends the child.

    Children that a worker's function forks, for example by multiprocessing, inherit the handlers, and would ignore a stop.
    """
    process = os.getpid()

    def handle(number: int, frame: "Any") -> None:
        if os.getpid() == process:
            call()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    return handle


class WokenBySignals:
    """While it is entered, in the main thread, every signal writes a byte to a descriptor.

    Otherwise a signal would be noticed only after the wait if it comes between the interpreter's last look for signals and the
    system call that waits, or if the system gives it to another thread.  If the program has set another descriptor for those
    bytes, as asyncio does, that stays.

    Owner: the thread that enters it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._set = False

    def __repr__(self) -> str:
        return "<WokenBySignals %d%s>" % (self._descriptor, ", set" if self._set else "")

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(self._descriptor)
            self._set = before == -1
            if self._set:
                leave_in_children(self)
            else:
                signal.set_wakeup_fd(before)

    def __exit__(self, *_: "Any") -> None:
        self.leave()

    def leave(self) -> None:
        """No longer write to the descriptor, in a child of a fork: it may soon belong to something else."""
        if self._set:
            signal.set_wakeup_fd(-1)
            self._set = False


class Urgent:
    """While it is entered in the main thread, other threads can call a function there, whatever the main thread is doing.

    It uses SIGURG, which the system ignores by default; it is not `entered` if the program uses SIGURG for something else, or
    where there is no such signal.

    Owner: the thread that enters it.
    """

    def __init__(self, function: "Callable[[], Any]") -> None:
        self._function = function
        self._number = getattr(signal, "SIGURG", None) if hasattr(signal, "pthread_kill") else None  # type: Any
        self.entered = False

    def __repr__(self) -> str:
        return "<Urgent%s>" % (", entered" if self.entered else "")

    def __enter__(self) -> None:
        if self._number is not None and signal.getsignal(self._number) == signal.SIG_DFL:
            signal.signal(self._number, make_handler(self._function))
            self.entered = True

    def __exit__(self, *_: "Any") -> None:
        if self.entered:
            self.entered = False
            signal.signal(self._number, signal.SIG_DFL)

    def call(self) -> None:
        """Call the function in the main thread, if it is entered."""
        if self.entered:
            signal.pthread_kill(threading.main_thread().ident or 0, self._number)
