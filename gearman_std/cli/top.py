"""The command `top`: what the functions of one or several job servers do, on a full screen, or once as a table.

It shows what gearmand tells, and more if the server is gearman_std's.  It measures rates itself, between two looks.
"""
import os
import sys
import time

from ..client.admin import AdminClient
from ..errors import GearmanError
from ..net.addresses import join_address
from .common import address_options, ask_figures, find_servers, find_tls, need_module, terminate
from .console import DONE, UNREACHABLE, Console
from .daemon import SignalHandlers
from .options import CommandLine, OneOf, Option, UsageError, read_seconds
from .tables import fit, show_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple
    Row = Dict[str, Any]  # the figures of one function of one server

_TOP_ABOUT = """
Show what functions do: jobs that wait and run, the oldest of them, how many end in a second, workers.  On a terminal the screen
is renewed until q is pressed; elsewhere, and with --once, one table is printed.
"""
_TOP_KEYS = """
q  quit
w r o a f n  sort by jobs waiting, running, the oldest, the rate, failures, by name
/  show only functions with a text in their name; an empty one ends that
p  pause, and go on
arrows  scroll
"""
_TOP_STATUSES = """
0  it was ended with q, or the table was printed
1  there is no screen on this terminal
2  the command line makes no sense
3  a server cannot be reached, and --once or no terminal wants one table
130  interrupted by Ctrl-C; 143 terminated
"""
_TOP_EXAMPLES = """
gearman-std top
gearman-std top -h queue1,queue2 --sort oldest
gearman-std top --once | head
"""

# Columns: key of the row, heading, width, and how a figure is shown; the name of the function takes what is left.
_TOP_COLUMNS = (("waiting", "WAITING", 9), ("running", "RUNNING", 9), ("oldest", "OLDEST", 8), ("rate", "PER S", 8),
                ("failed", "FAILED", 8), ("aside", "ASIDE", 7), ("workers", "WORKERS", 8))
# The figures that gearmand does not tell.
_NOTHING_TOLD = dict.fromkeys(("oldest", "completed", "failed", "aside", "paused"))  # type: Row
_SORTS = {"w": "waiting", "r": "running", "o": "oldest", "a": "rate", "f": "failed", "n": "name"}
_SORT_NAMES = tuple(_SORTS.values())


def make_top_line() -> CommandLine:
    """The options of `top`."""
    return CommandLine("top", ["top [-h HOST] [-p PORT] [OPTIONS]"], _TOP_ABOUT, [
        address_options(),
        ("Other options", [
            Option("--sort", "WHAT", "%s (default: waiting)" % ", ".join(_SORT_NAMES), OneOf(*_SORT_NAMES),
                   default="waiting"),
            Option("--filter", "TEXT", "only functions with this in their name", default=""),
            Option("--interval", "SECONDS", "how often to look (default: 2)", read_seconds, default=2.0),
            Option("--once", "", "print one table"),
            Option("--timeout", "SECONDS", "how long a server may take to answer (default: 5)", read_seconds, default=5.0),
        ]),
    ], [("Keys", _TOP_KEYS), ("Exit status", _TOP_STATUSES), ("Examples", _TOP_EXAMPLES)])


class Watch:
    """The figures of several servers, asked again and again.

    `clock` tells the time in monotonic seconds.

    Owner: whoever runs the command.
    """

    def __init__(self, admins: "Sequence[Any]", clock: "Any" = time.monotonic) -> None:
        self.trouble = {}  # type: Dict[str, str] # by server
        self.rows = []     # type: List[Row]
        self._admins = admins
        self._clock = clock
        self._ended = {}   # type: Dict[Tuple[str, str], Tuple[float, int]] # when, and how many jobs had ended

    def __repr__(self) -> str:
        return "<Watch of %d functions>" % len(self.rows)

    def look(self) -> None:
        """Ask all servers."""
        self.rows = []
        self.trouble = {}
        for admin in self._admins:
            server = join_address(admin.address)
            try:
                for figures in ask_figures(admin)[0]:
                    row = dict(_NOTHING_TOLD, **figures)
                    row["server"] = server
                    row["rate"] = self._rate(server, row)
                    self.rows.append(row)
            except GearmanError as error:
                self.trouble[server] = str(error)

    def _rate(self, server: str, row: "Row") -> "Optional[float]":
        """How many jobs ended in a second since the last look."""
        if row["completed"] is None:
            return None
        key, now, ended = (server, row["function"]), self._clock(), row["completed"] + row["failed"]
        before = self._ended.get(key)
        self._ended[key] = now, ended
        if before is None or now <= before[0] or ended < before[1]:
            return None
        return float((ended - before[1]) / (now - before[0]))

    def table(self, sort: str, text: str, width: int) -> "List[str]":
        """Lines: a heading, then a row for each function, those with most first."""
        several = len(self._admins) > 1
        rows = [row for row in self.rows if text.lower() in row["function"].lower()]
        if sort == "name":
            rows.sort(key=lambda row: (row["function"], row["server"]))
        else:
            rows.sort(key=lambda row: (-(row[sort] or 0), row["function"], row["server"]))
        known = [column for column in _TOP_COLUMNS if not rows or any(row[column[0]] is not None for row in rows)
                 or column[0] == "rate"]
        room = max(10, width - sum(size for _, _, size in known) - 1)
        lines = [fit("FUNCTION", room) + "".join(title.rjust(size) for _, title, size in known)]
        for row in rows:
            name = row["function"] + (" at " + row["server"] if several else "") + (" (paused)" if row["paused"] else "")
            lines.append(fit(name, room) + "".join(_show(key, row[key]).rjust(size) for key, _, size in known))
        return lines

    def summary(self) -> "List[str]":
        """Lines about all functions, and about servers that do not answer."""
        sums = {name: sum(row[name] or 0 for row in self.rows) for name in ("waiting", "running", "rate")}
        lines = ["%d waiting, %d running, %.1f a second, %d functions, %d servers" % (
            sums["waiting"], sums["running"], sums["rate"], len({row["function"] for row in self.rows}), len(self._admins))]
        return lines + ["%s: %s" % pair for pair in sorted(self.trouble.items())]


def _show(key: str, value: "Any") -> str:
    if value is None:
        return "-"
    if key == "oldest":
        return show_duration(value)
    return "%.1f" % value if key == "rate" else str(value)


def run_top(console: Console, arguments: "Sequence[str]") -> int:
    """Run `top`; return the exit status."""
    options = make_top_line().parse(arguments)
    if options.words:
        raise UsageError("an option begins with --, %r does not" % options.words[0])
    tls = find_tls(options, os.environ)
    admins = [AdminClient([server], options.timeout, tls=tls) for server in find_servers(options, os.environ)]
    watch = Watch(admins)
    try:
        if options.once or not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
            return _print_once(console, watch, options.sort, options.filter)
        need_module("curses", "a screen; --once does without")
        from curses import error, setupterm, wrapper
        try:
            setupterm()
        except error as trouble:
            raise GearmanError("no screen on a terminal of the type %r, --once does without: %s" % (
                os.environ.get("TERM", ""), trouble)) from None
        with SignalHandlers({"SIGTERM": terminate}):  # else curses would end the program with status 1
            wrapper(lambda screen: Screen(screen, watch, options.sort, options.filter, options.interval).run())
        return DONE
    finally:
        for admin in admins:
            admin.close()


def _print_once(console: Console, watch: Watch, sort: str, text: str) -> int:
    from shutil import get_terminal_size
    watch.look()
    lines = watch.table(sort, text, get_terminal_size().columns)
    console.write("\n".join(line.rstrip() for line in lines) + "\n")
    for server, trouble in sorted(watch.trouble.items()):
        console.complain("%s: %s" % (server, trouble))
    return UNREACHABLE if watch.trouble else DONE


class Screen:
    """The full screen, and what keys do; `screen` is a window of curses.

    Owner: whoever runs the command.
    """

    def __init__(self, screen: "Any", watch: Watch, sort: str, text: str, every: float) -> None:
        self._screen = screen
        self._watch = watch
        self._sort = sort
        self._text = text
        self._every = max(0.1, every)
        self._top = 0         # the first row that is shown
        self._paused = False
        self._typing = False  # the keys are letters of the filter
        self._begun = b""     # the first bytes of a letter of the filter: each byte comes as a key

    def __repr__(self) -> str:
        return "<Screen sorted by %s>" % self._sort

    def run(self) -> None:
        """Show the functions until the user has enough."""
        self._screen.timeout(int(self._every * 1000))
        self._watch.look()
        going = True
        while going:
            self.draw()
            key = self._screen.getch()
            if key < 0:
                if not self._paused:
                    self._watch.look()
            else:
                going = self.press(key)

    def press(self, key: int) -> bool:
        """Obey a key; return whether to go on."""
        letter = chr(key) if 0 < key < 256 else ""
        if self._typing:
            if letter in ("\n", "\r", "\x1b"):
                self._typing = False
            elif letter in ("\x7f", "\b") or key == 263:  # KEY_BACKSPACE
                self._text = self._text[:-1]
            elif 128 <= key < 256:
                self._begun += bytes([key])
                typed = self._begun.decode("utf-8", "ignore")
                if typed or len(self._begun) >= 4:
                    self._text, self._begun = self._text + typed, b""
            elif letter.isprintable():
                self._text, self._begun = self._text + letter, b""
        elif letter == "q":
            return False
        elif letter == "/":
            self._typing, self._text = True, ""
        elif letter == "p":
            self._paused = not self._paused
        elif letter in _SORTS and letter:
            self._sort, self._top = _SORTS[letter], 0
        elif key in (258, 338):  # KEY_DOWN, KEY_NPAGE
            self._top += 1 if key == 258 else 10
        elif key in (259, 339):  # KEY_UP, KEY_PPAGE
            self._top = max(0, self._top - (1 if key == 259 else 10))
        return True

    def draw(self) -> None:
        """Draw everything anew."""
        height, width = self._screen.getmaxyx()
        heading, *rows = self._watch.table(self._sort, self._text, width - 1)
        summary = self._watch.summary()
        status = "sorted by %s%s%s" % (self._sort, ", /%s" % self._text if self._text or self._typing else "",
                                       ", paused" if self._paused else "")
        lines = ["gearman-std top  %s" % status] + summary + ["", heading]
        self._top = min(self._top, max(0, len(rows) - 1))
        lines += rows[self._top:self._top + max(0, height - len(lines))]
        self._screen.erase()
        for number, line in enumerate(lines[:height]):
            bold = number == len(summary) + 2
            self._screen.addnstr(number, 0, fit(line, width - 1).rstrip(), width - 1,
                                 2097152 if bold else 0)  # A_BOLD
        self._screen.refresh()
