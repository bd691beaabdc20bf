"""Tables, bars and durations as text for people, of a given width, and without control characters for the terminal."""
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence

_GAP = "  "
_LEAST_WIDTH = 8  # of a column whose contents have to be cut


def printable(text: str) -> str:
    """Text with a question mark in place of each letter that would move the cursor or control the terminal."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def _columns(text: str) -> int:
    """How many columns a text takes on a terminal, where some letters take two."""
    if len(text) == len(text.encode("utf-8", "replace")):
        return len(text)
    from unicodedata import combining, east_asian_width
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def fit(text: str, width: int) -> str:
    """Text of a width on a terminal, cut with a ~ if it is longer."""
    text = printable(text)
    rest = width - _columns(text)
    if rest >= 0:
        return text + " " * rest
    while text and rest < 1:
        rest += _columns(text[-1])
        text = text[:-1]
    return (text + "~" + " " * (rest - 1))[:width] if width > 0 else ""


def make_table(headings: "Sequence[str]", rows: "Sequence[Sequence[str]]", width: "Optional[int]" = None) -> "List[str]":
    """Lines: the headings, then the rows; empty columns are left out.

    With a width, the widest columns are cut until all fit.  Columns of figures are aligned to the right.
    """
    shown = [index for index in range(len(headings)) if any(row[index] for row in rows)] or list(range(len(headings)))
    columns = [[headings[index]] + [printable(row[index]) for row in rows] for index in shown]
    widths = [max(map(_columns, column)) for column in columns]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths) > _LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
    figures = [len(column) > 1 and all(not cell or cell[:1].isdigit() for cell in column[1:]) for column in columns]
    lines = []  # type: List[str]
    for number in range(len(rows) + 1):
        cells = [" " * (size - _columns(column[number])) + column[number] if right and _columns(column[number]) < size else
                 fit(column[number], size) for column, size, right in zip(columns, widths, figures)]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def make_bar(done: float, width: int) -> str:
    """A bar of a given width; `done`, from 0 to 1, is how much of it is filled."""
    filled = int(max(0.0, min(1.0, done)) * (width - 2))
    return "[%s]" % ("#" * filled).ljust(width - 2, "-")


def show_duration(seconds: float) -> str:
    """A duration in at most six characters."""
    if seconds < 100:
        return "%.1fs" % seconds
    for unit, size in (("m", 60.0), ("h", 3600.0)):
        if seconds < 100 * size:
            return "%d%s" % (seconds / size, unit)
    return "%dd" % (seconds / 86400.0)


def terminal_width(stream: "Any") -> "Optional[int]":
    """How many columns the terminal has at the end of a stream, None if the stream is not a terminal."""
    try:
        if not stream.isatty():
            return None
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):
        return None
