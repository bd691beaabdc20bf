"""Small functions that scripts import from python-gearman."""
import time

from ..net.addresses import split_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Tuple


class Stopwatch:
    """How many of `time_remaining` seconds are left; None means no limit.

    Owner: the thread that made it.
    """

    _clock = staticmethod(time.monotonic)  # type: Callable[[], float]

    def __init__(self, time_remaining: "Optional[float]") -> None:
        self.stop_time = None if time_remaining is None else self._clock() + time_remaining

    def __repr__(self) -> str:
        return "<Stopwatch with %s s left>" % self.get_time_remaining()

    def get_time_remaining(self) -> "Optional[float]":
        """The seconds that are left, not less than 0; None without a limit."""
        return None if self.stop_time is None else max(0.0, self.stop_time - self._clock())

    def has_time_remaining(self, time_comparison: "Optional[float]" = None) -> bool:
        """Whether time is left, now or at `time_comparison`, a time of the clock `time.monotonic`."""
        now = self._clock() if time_comparison is None else time_comparison
        return self.stop_time is None or now < self.stop_time


def disambiguate_server_parameter(hostport_tuple: "Any") -> "Tuple[str, int]":
    """The host and the port of `host`, `host:port`, `[::1]:port`, `unix:/path`, or a (host, port) pair; its port may be text.

    Raises ValueError or TypeError for anything else.
    """
    return split_address(hostport_tuple)


def unlist(given_list: "Sequence[Any]") -> "Any":
    """The only item of a list, None if it is empty.  Raises ValueError if there are several."""
    if len(given_list) > 1:
        raise ValueError("%d items, where there may be one" % len(given_list))
    return given_list[0] if given_list else None
