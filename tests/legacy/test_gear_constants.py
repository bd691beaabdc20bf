"""The constants of the library gear."""
from gearman_std.legacy import gear_constants as constants


def test_packets_have_their_numbers():
    assert (constants.REQ, constants.RES) == (b"\0REQ", b"\0RES")
    assert (constants.CAN_DO, constants.SUBMIT_JOB, constants.JOB_ASSIGN_UNIQ, constants.SUBMIT_JOB_EPOCH) == (1, 7, 31, 36)
    assert sorted(constants.types) == list(range(1, 5)) + list(range(6, 37))
    assert all(getattr(constants, name) == number for number, name in constants.types.items())


def test_precedences():
    assert (constants.PRECEDENCE_NORMAL, constants.PRECEDENCE_LOW, constants.PRECEDENCE_HIGH) == (0, 1, 2)
