"""What a child of a fork lets go of: the connections that are its parent's."""
import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_left_in_children = None  # type: Optional[WeakSet[Any]] # None as long as Python was not asked to call _leave_all


def leave_in_children(thing: "Any") -> None:
    """Have `thing.leave()` called in every child that a fork makes, before anything else runs there.

    That is to close what it holds without a word to whoever is at the other end.  It is not called in Python 3.6, which does
    not tell when a process forks.  The thing is remembered only as long as somebody else holds it.
    """
    global _left_in_children
    if _left_in_children is None:
        _left_in_children = WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_leave_all)
    _left_in_children.add(thing)


def _leave_all() -> None:
    if _left_in_children is not None:
        things = list(_left_in_children)
        _left_in_children.clear()
        for thing in things:
            thing.leave()
