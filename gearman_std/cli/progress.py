"""What `client` tells about many jobs: how many are done, which inputs failed; and a file of these, to run them again."""
import os
import stat
import time

from .console import Console, is_terminal
from .options import UsageError
from .tables import make_bar, show_duration, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, Optional

_REDRAW = 0.2         # seconds between two bars on a terminal
_LINE_EVERY = 10.0    # seconds between two lines where there is no terminal
_SHOWN_OF_INPUT = 60  # letters of an input that failed
_BAR_COLUMNS = 22


class Progress:
    """Tells on standard error how many jobs have ended; `total` is None if nobody knows how many there will be.

    Owner: the thread that runs the command.
    """

    def __init__(self, console: Console, total: "Optional[int]", clock: "Callable[[], float]" = time.monotonic) -> None:
        self.done = 0
        self.failed = 0
        self._console = console
        self._total = total
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._terminal = is_terminal(console.stderr)
        self._drawn = False

    def __repr__(self) -> str:
        return "<Progress: %d done, %d failed>" % (self.done, self.failed)

    def note(self, failed: bool) -> None:
        """Note that a job has ended."""
        self.failed += failed
        self.done += not failed
        if self._clock() - self._told >= (_REDRAW if self._terminal else _LINE_EVERY):
            self._tell()

    def end(self) -> None:
        """Tell it for the last time."""
        self._tell()
        if self._terminal:
            self._console.warn("\n")
            self._drawn = False

    def hide(self) -> None:
        """Make room on the terminal for something else that is to be written."""
        if self._drawn:
            self._console.warn("\r\x1b[K")
            self._drawn = False

    def _tell(self) -> None:
        self._told = self._clock()
        if not self._terminal:
            self._console.complain(self.text())
            return
        width = terminal_width(self._console.stderr) or 80
        self._console.warn("\r%s\x1b[K" % self.text()[:width - 1])
        self._drawn = True

    def text(self) -> str:
        """What there is to tell, in one line."""
        ended, passed = self.done + self.failed, self._clock() - self._began
        rate = ended / passed if passed > 0 else 0.0
        parts = ["%d done, %d failed" % (self.done, self.failed)]
        if self._total is not None:
            parts.append("%d left" % (self._total - ended))
        parts.append("%.1f a second" % rate)
        if self._total is not None and rate:
            parts.append("%s to go" % show_duration((self._total - ended) / rate))
        bar = make_bar(ended / float(self._total), _BAR_COLUMNS) + " " if self._terminal and self._total else ""
        return bar + ", ".join(parts)


class Inputs:
    """The inputs that are not done yet.  Each one that fails is named on standard error, and written to a file if there is one.

    At the end the file has all inputs that are not done; if standard input is a file, also those that were not submitted yet.

    Owner: the thread that runs the command.
    """

    def __init__(self, console: Console, path: "Optional[str]", stripped: bool, jobs: int = 1) -> None:
        self.last = 0  # the number of the newest input
        self._console = console
        self._stripped = stripped
        self._jobs = jobs   # of each input
        self._pending = {}  # type: Dict[int, bytes] # by number
        self._left = {}     # type: Dict[int, int] # how many jobs of an input have not ended
        self._file = None   # type: Any
        if path is not None:
            there = _status_of_stream(console.stdin)
            if there is not None and os.path.exists(path) and os.path.samestat(os.stat(path), there):
                raise UsageError("--failed would write over standard input, which is the same file")
            self._file = open(path, "wb", 0)

    def __repr__(self) -> str:
        return "<Inputs: %d not done>" % len(self._pending)

    def count(self, workloads: "Iterable[bytes]") -> "Iterator[bytes]":
        """The inputs, one by one; from the moment at which one is taken, it counts as not done."""
        for workload in workloads:
            self.last += 1
            self._pending[self.last] = workload
            self._left[self.last] = self._jobs
            yield workload

    def done(self, number: int) -> None:
        """Note that a job of an input is done."""
        self._left[number] -= 1
        if not self._left[number]:
            self._pending.pop(number, None)
            del self._left[number]

    def fail(self, number: int) -> None:
        """Note that a job of an input failed, and tell of it."""
        workload = self._pending.pop(number, None)
        if workload is None:  # another function's job for this input has failed already
            self.done(number)
            return
        shown = workload[:4 * _SHOWN_OF_INPUT].decode("utf-8", "backslashreplace").rstrip("\r\n")
        self._console.complain("input %d failed: %s" % (number, ascii(shown[:_SHOWN_OF_INPUT])[1:-1]))
        self._write(workload)
        self.done(number)

    def close(self, rest: "Iterator[bytes]") -> None:
        """Write the inputs that are not done; `rest` gives those that were not read yet."""
        if self._file is None:
            return
        try:
            for number in sorted(self._pending):
                self._write(self._pending[number])
            if is_file(self._console.stdin):
                for workload in rest:
                    self._write(workload)
        finally:
            self._file.close()

    def _write(self, workload: bytes) -> None:
        if self._file is not None:
            self._file.write(workload + b"\n" if self._stripped else workload)


def is_file(stream: "Any") -> bool:
    """Whether a stream is a file, so that all that can be read of it is there already."""
    there = _status_of_stream(stream)
    return there is not None and stat.S_ISREG(there.st_mode)


def _status_of_stream(stream: "Any") -> "Optional[os.stat_result]":
    try:
        return os.fstat(stream.fileno())
    except (OSError, AttributeError, ValueError):
        return None
