"""What a call says about an argument that cannot be: a ValueError or TypeError that names it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


def check_number(name: str, value: "Any", least: float = 0, whole: bool = False, most: "Optional[int]" = None) -> None:
    """Raises TypeError for what is no number, or no whole one; ValueError for one out of bounds, or NaN."""
    try:
        number = value.__index__() if whole else value
        enough = number >= least
    except (TypeError, AttributeError):
        raise TypeError("%s is %.80r, not a %snumber" % (name, value, "whole " if whole else "")) from None
    if not enough:
        raise ValueError("%s is %r, less than %s" % (name, value, least))
    if most is not None and number > most:
        raise ValueError("%s is %r, more than %s" % (name, value, most))


def check_numbers(values: "Any", *names: str) -> None:
    """The same for whole numbers from 0 of these names in a dict."""
    for name in names:
        check_number(name, values[name], whole=True)


def check_kind(name: str, value: "Any", kind: "Any", what: str) -> None:
    """Raises TypeError for what is not of a class."""
    if not isinstance(value, kind):
        raise TypeError("%s is %.80r, not %s" % (name, value, what))


def check_path(name: str, value: "Any") -> None:
    """Raises TypeError for what is no path, and ValueError for an empty one."""
    if not isinstance(value, (str, bytes)) and not hasattr(type(value), "__fspath__"):
        raise TypeError("%s is %.80r, not a path" % (name, value))
    if not value:
        raise ValueError("%s is %r, which names no file" % (name, value))


def check_callable(name: str, value: "Any") -> None:
    """Raises TypeError for what cannot be called."""
    if not callable(value):
        raise TypeError("%s is %.80r, which cannot be called" % (name, value))
