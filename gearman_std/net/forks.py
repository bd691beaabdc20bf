"""What a child of a fork does with its parent's connections, and how it ends."""
import os
import sys
import threading
from weakref import WeakSet

from .threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

TOLD_OF_FORKS = hasattr(os, "register_at_fork")  # Python can tell when a process forks
_left_in_children = None  # type: Optional[WeakSet[Any]] # None as long as Python was not asked to call _leave_all


def leave_in_children(thing: "Any") -> None:
    """Call `thing.leave()` in every child that a fork makes, before anything else runs there.

    `leave` closes what the thing holds without telling the other end.  The thing is remembered only as long as something else
    refers to it.
    """
    global _left_in_children
    if _left_in_children is None:
        _left_in_children = WeakSet()
        if TOLD_OF_FORKS:
            os.register_at_fork(after_in_child=_leave_all)
        else:
            _call_in_children(_leave_all)
    _left_in_children.add(thing)


def _call_in_children(call: "Callable[[], None]") -> None:
    """What os.register_at_fork does, for Python 3.6, which lacks it: there the module threading calls a function in each child.
    """
    put_right = threading._after_fork  # type: ignore[attr-defined]

    def after_fork() -> None:
        put_right()
        call()
    threading._after_fork = after_fork  # type: ignore[attr-defined]


def _leave_all() -> None:
    if _left_in_children is not None:
        things = list(_left_in_children)
        _left_in_children.clear()
        errors = []
        for thing in things:
            try:
                thing.leave()
            except Exception as error:  # the other things are left all the same
                errors.append(error)
        if errors:
            raise errors[0]  # Python writes it to standard error, and goes on


def end_child(parent: int, error: "Optional[BaseException]" = None) -> None:
    """If this process is not `parent` itself, but a child of it, end it as `error` would end a program.

    Functions that run at the end of a program belong to the parent, and do not run.
    """
    if os.getpid() != parent:
        status = 0
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            status = error.code or 0
        elif error is not None:
            from traceback import format_exception
            lines = ["%s\n" % (error.code,)] if isinstance(error, SystemExit) else format_exception(
                type(error), error, error.__traceback__)
            try:
                os.write(2, "".join(lines).encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # there is nobody to tell
            status = 1
        exit_at_once(status)


def exit_at_once(status: int, first: "Optional[Callable[[], Any]]" = None) -> None:
    """Call `first`, flush standard output and error, and end this process within a second, whatever runs in it."""
    def flush() -> None:
        if first is not None:
            first()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue  # closed, or nowhere to go
    # In a separate thread, because another one may be stuck in the middle of a write.
    try:
        start_thread(flush, "gearman_std flush").join(1.0)
    except OSError:  # there is none left
        flush()
    os._exit(status & 0xff)
