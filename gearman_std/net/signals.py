"""Signals: they call functions and wake a thread that waits in a selector; what this program inherits of them is reset."""
import os
import signal
import sys
import threading

from .forks import leave_in_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# The signals that stop or steer a program.  They are held back until it is ready, so that early ones have the same effect.
STEERING = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def begin_with_signals() -> None:
    """Reset all signals to their defaults, whatever the parent process ignores or blocks, and hold STEERING back.

    An ignored SIGHUP stays ignored, for nohup.  Must be called in the main thread.
    """
    left_alone = {getattr(signal, name, None) for name in ("SIGHUP", "SIGPIPE", "SIGXFSZ")}  # the interpreter's, but for SIGHUP
    # PyPy takes a signal that was ignored when it started for one with the default.
    ignored = (signal.SIG_IGN,) if sys.implementation.name == "cpython" else (signal.SIG_IGN, signal.SIG_DFL)
    for number in set(signal.Signals) - left_alone - {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}:
        if signal.getsignal(number) in ignored:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, STEERING)


def hold_signals() -> "Any":
    """Hold STEERING back in this thread and those that it starts; return the argument for `release_signals`."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, STEERING) if hasattr(signal, "pthread_sigmask") else None


def release_signals(before: "Any" = None) -> None:
    """Let the signals through that were held back."""
    if hasattr(signal, "pthread_sigmask"):
        if before is None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STEERING)
        else:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
