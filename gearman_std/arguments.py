"""Checks of a call's arguments: each raises a ValueError or TypeError that names the argument."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


ENDLESS = 1e9  # seconds, 31 years: so much time is no limit, and the system would refuse some that are longer
_HUGE = 2.0 ** 1000


def as_float(value: "Any") -> "Any":
    """A number of any kind that can be added to seconds: itself, or a float, an infinite one for what is too large.

    Raises TypeError for what is no number.
    """
    if isinstance(value, (int, float)) and -_HUGE < value < _HUGE:
        return value
    try:
        positive = value > 0  # which the texts and bytes that `float` takes cannot tell
    except ArithmeticError:
        return float("nan")  # a decimal one
    try:
        return float(value)
    except OverflowError:
        return float("inf") if positive else -float("inf")


def check_number(name: str, value: "Any", least: float = 0, whole: bool = False, most: "Optional[int]" = None) -> "Any":
    """The number, see `as_float`.  Raises TypeError for a value that is not a number, or not a whole one; ValueError for NaN,
    or a number out of bounds."""
    try:
        number = value.__index__() if whole else as_float(value)
        enough = number >= least
    except (TypeError, AttributeError):
        raise TypeError("%s is %.80r, not a %snumber" % (name, value, "whole " if whole else "")) from None
    if not enough:
        raise ValueError("%s is %r, less than %s" % (name, value, least))
    if most is not None and number > most:
        raise ValueError("%s is %r, more than %s" % (name, value, most))
    return number


def check_numbers(values: "Any", *names: str) -> None:
    """Check that entries of a dict are whole numbers, not less than 0.  Raises as `check_number`."""
    for name in names:
        check_number(name, values[name], whole=True)


def check_kind(name: str, value: "Any", kind: "Any", what: str) -> None:
    """Raises TypeError for a value that is not an instance of `kind`, which the text calls `what`."""
    if not isinstance(value, kind):
        raise TypeError("%s is %.80r, not %s" % (name, value, what))


def check_path(name: str, value: "Any") -> None:
    """Raises TypeError for a value that is not a path, and ValueError for an empty one."""
    if not isinstance(value, (str, bytes)) and not hasattr(type(value), "__fspath__"):
        raise TypeError("%s is %.80r, not a path" % (name, value))
    if not value:
        raise ValueError("%s is %r, which names no file" % (name, value))


def check_callable(name: str, value: "Any") -> None:
    """Raises TypeError for a value that cannot be called."""
    if not callable(value):
        raise TypeError("%s is %.80r, which cannot be called" % (name, value))
