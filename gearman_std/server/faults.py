"""Exceptions that nobody expected: counted, logged, and kept from ending the server."""
import os

from ..net.logs import own_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

_logger_faults = own_logger("gearman_std.server")


class Faults:
    """The errors of ours that a server has met; they are counted in its counters.

    Owner: the dispatcher thread.
    """

    __slots__ = ("process", "_counters")

    def __init__(self, counters: "Dict[str, int]") -> None:
        self.process = os.getpid()  # the one that serves
        self._counters = counters

    def __repr__(self) -> str:
        return "<Faults: %d>" % self._counters["faults"]

    def note(self, text: str, *arguments: "Any") -> None:
        """Log the exception that is being handled, and go on.  In a child of a fork, raise it: it ends the child, so that there
        is no second server.
        """
        if os.getpid() != self.process:
            raise
        self._counters["faults"] += 1
        try:
            _logger_faults.exception(text, *arguments)
        except Exception:  # there is not even memory to log it; the counter has it
            return

    def surely(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Call a function, a second time if it fails; a failure does not keep the caller from what comes next."""
        for _ in range(2):
            try:
                function(*arguments)
                return
            except Exception:
                self.note("a fault of ours, going on")
