"""Failures that come again and again: which were told in full, and how often each has come since."""
import threading
from collections import OrderedDict, namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Tuple

MOST_KINDS = 100  # of failures that are remembered; for a new one, the one that came least recently is told and forgotten


class FailureKind(namedtuple("FailureKind", "what error place")):
    """What failed, such as a function's name, the name of the exception's type, and file and line where it was raised."""

    __slots__ = ()
    what: "str"
    error: "str"
    place: "str"


class Repeats:
    """How often each kind of failure has come, and how many of those nobody was told of.

    Owner: its lock.
    """

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._counts = OrderedDict()  # type: OrderedDict[FailureKind, List[int]] # how many came, and how many went untold
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<Repeats: %d kinds>" % len(self._counts)

    def note(self, kind: FailureKind) -> "Tuple[int, bool, List[Tuple[FailureKind, int]]]":
        """Count a failure; return how many of its kind have come by now, whether this one is worth a line in the log, and what
        is to be told of kinds that are forgotten for it.

        Worth a line are the second, so that one knows that there are more, the 10th, the 100th and so on.
        """
        with self._lock:
            counts = self._counts.setdefault(kind, [0, 0])
            self._counts.move_to_end(kind)
            counts[0] += 1
            told = counts[0] == 2 or str(counts[0]).rstrip("0") == "1"
            counts[1] = 0 if told else counts[1] + 1
            forgotten = []  # type: List[Tuple[FailureKind, int]]
            if len(self._counts) > MOST_KINDS:
                oldest, (_, untold) = self._counts.popitem(last=False)
                forgotten = [(oldest, untold)] if untold else []
            return counts[0], told, forgotten

    def untold(self) -> "List[Tuple[FailureKind, int]]":
        """How many failures of each kind nobody was told of; they count as told from now on."""
        with self._lock:
            found = [(kind, counts[1]) for kind, counts in self._counts.items() if counts[1]]
            for counts in self._counts.values():
                counts[1] = 0
            return found


def kind_of(what: str, error: "Any") -> FailureKind:
    """The kind of a failure: what failed, with which exception, and where that was raised."""
    place = getattr(error, "__traceback__", None)  # what python-gearman's scripts hand in may be no exception
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return FailureKind(what, type(error).__name__, "" if place is None else "%s, line %d" % (
        place.tb_frame.f_code.co_filename, place.tb_lineno))
