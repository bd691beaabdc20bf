"""What a peer may be allowed to do, and the one place where it is looked at."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, FrozenSet

SUBMIT, WORK, ADMIN, STEER = "submit", "work", "admin", "steer"
ALL_RIGHTS = frozenset((SUBMIT, WORK, ADMIN, STEER))


def permitted(table: "Dict[Any, Any]", rights: "FrozenSet[str]", forbidden: "Any") -> "Dict[Any, Any]":
    """What obeys whom, for a peer with these rights, out of a table of a right, or nothing, and what obeys who has it."""
    return {key: handler if not right or right in rights else forbidden for key, (right, handler) in table.items()}
