"""Rights are looked at in one place."""
from gearman_std.core.rights import ADMIN, STEER, permitted


def test_what_takes_a_right_that_a_peer_lacks_is_forbidden_to_it():
    table = {1: ("", "echo"), 2: (ADMIN, "status"), 3: (STEER, "drop")}
    assert permitted(table, frozenset(), "no") == {1: "echo", 2: "no", 3: "no"}
    assert permitted(table, frozenset((ADMIN,)), "no") == {1: "echo", 2: "status", 3: "no"}
    assert permitted(table, frozenset((ADMIN, STEER)), "no") == {1: "echo", 2: "status", 3: "drop"}
