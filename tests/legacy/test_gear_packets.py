"""Packets and administrative requests of the library gear."""
import pytest

from gearman_std.legacy import gear_constants as constants
from gearman_std.legacy.gear_packets import (AdminRequest, CancelJobAdminRequest, InvalidDataError, Packet, StatusAdminRequest,
                                             UnknownJobError, VersionAdminRequest, request)


def test_arguments_are_separated_by_nuls_and_the_last_one_may_have_some():
    packet = Packet(constants.RES, constants.WORK_DATA, b"H:1\0a\0b")
    assert (packet.getArgument(0), packet.getArgument(1), packet.getArgument(1, True)) == (b"H:1", b"a", b"a\0b")
    assert packet.getArgument(7, True) == b""
    with pytest.raises(IndexError):
        packet.getArgument(3)


def test_a_packet_as_it_is_sent_and_shown():
    packet = request(constants.SUBMIT_JOB, b"f", b"u", b"data")
    assert packet.toBinary() == b"\0REQ\0\0\0\x07\0\0\0\x08f\0u\0data"
    assert repr(packet).endswith("type: SUBMIT_JOB function: b'f' unique: b'u'>")
    assert packet == Packet(constants.REQ, constants.SUBMIT_JOB, b"f\0u\0data")
    assert packet != Packet(constants.RES, constants.SUBMIT_JOB, b"f\0u\0data")
    assert packet != "f"


@pytest.mark.parametrize("arguments, error, text", [
    (("REQ", 1, b""), TypeError, "code must be of type bytes or bytearray, not 'REQ'"),
    ((b"REQ", 1, b""), InvalidDataError, "begins with a NUL byte, and b'REQ' does not"),
    ((b"\0REQ", 1, "x"), TypeError, "data must be of type bytes or bytearray, not 'x'"),
])
def test_what_makes_no_packet(arguments, error, text):
    with pytest.raises(error, match=text):
        Packet(*arguments)


def test_a_job_that_nobody_waits_for():
    class Connection:
        related_jobs = {b"H:1": "job"}
    assert Packet(constants.RES, constants.WORK_FAIL, b"H:1", Connection).getJob() == "job"
    with pytest.raises(UnknownJobError, match="WORK_FAIL for b'H:2'"):
        Packet(constants.RES, constants.WORK_FAIL, b"H:2", Connection).getJob()


@pytest.mark.parametrize("answer, rest", [
    (b".\n", b""), (b".\r\n", b""), (b"f\t0\t0\t0\n.\n", b""), (b"f\r\n.\r\n", b"more"), (b"f.\n.\n", b"more"),
    (b"ERR PERMISSION_DENIED no\r\n", b""),
])
def test_a_listing_ends_with_a_dot_and_a_refusal_with_its_line(answer, rest):
    asked = StatusAdminRequest()
    for end in range(len(answer)):
        assert asked.isComplete(answer[:end]) == (False, None), answer[:end]
    assert asked.isComplete(answer + rest) == (True, rest)
    assert asked.response == answer


def test_one_line_is_the_answer_to_some():
    for asked in (VersionAdminRequest(), CancelJobAdminRequest("H:1")):
        assert asked.isComplete(b"OK") == (False, None)
        assert asked.isComplete(b"OK\nmore") == (True, b"more") and asked.response == b"OK\n"
    assert CancelJobAdminRequest("H:1").getCommand() == b"cancel job H:1\n"
    assert not asked.waitForResponse(0)
    asked.setComplete()
    assert asked.waitForResponse(0)


def test_a_request_without_a_command_is_refused():
    with pytest.raises(NotImplementedError, match="must be subclassed"):
        AdminRequest()
