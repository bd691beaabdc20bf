"""Exceptions that nobody expected: counted, logged, and kept from ending the server."""
import logging
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

_logger_faults = logging.getLogger("gearman_std.server")


class Faults:
    """The faults of ours that a server has met, which it counts among its counters.

    Owner: the dispatcher thread.
    """

    __slots__ = ("process", "_counters")

    def __init__(self, counters: "Dict[str, int]") -> None:
        self.process = os.getpid()  # the one that serves
        self._counters = counters

    def __repr__(self) -> str:
        return "<Faults: %d>" % self._counters["faults"]

    def note(self, text: str, *arguments: "Any") -> None:
        """Log the exception that is being handled, and go on; but raise it in a child of a fork, which it is to end, so that
        there is no second server.
        """
        if os.getpid() != self.process:
            raise
        self._counters["faults"] += 1
        try:
            _logger_faults.exception(text, *arguments)
        except Exception:  # there is not even memory to say it, so that the count has to do
            return

    def surely(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Call a function, a second time if it fails, whose failure must not keep us from what comes after it."""
        for _ in range(2):
            try:
                function(*arguments)
                return
            except Exception:
                self.note("a fault of ours, going on")
