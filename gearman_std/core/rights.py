"""What a peer may be allowed to do, and the one place where that is checked."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, FrozenSet

SUBMIT, WORK, ADMIN, STEER = "submit", "work", "admin", "steer"
ALL_RIGHTS = frozenset((SUBMIT, WORK, ADMIN, STEER))


def permitted(table: "Dict[Any, Any]", rights: "FrozenSet[str]", forbidden: "Any") -> "Dict[Any, Any]":
    """The handlers for a peer with these rights.  `table` has, for each key, the right that is needed, or nothing, and the
    handler for those who have it."""
    return {key: handler if not right or right in rights else forbidden for key, (right, handler) in table.items()}
