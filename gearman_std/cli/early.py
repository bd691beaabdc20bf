"""Signals that come early: they are held back from a program's first moment until it is ready; what it inherits is reset.

What this imports is loaded while no signal is held back yet: as little as possible.
"""
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
