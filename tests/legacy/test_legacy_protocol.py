"""The names of packets, packing and reading them."""
import array

import pytest

from gearman_std.legacy import protocol
from gearman_std.legacy.errors import ProtocolError
from gearman_std.wire.protocol import PACKETS


def test_every_packet_has_its_old_name():
    for number, (name, _, _) in PACKETS.items():
        if name != "UNUSED":
            assert getattr(protocol, "GEARMAN_COMMAND_" + name) == number
            assert protocol.get_command_name(number) == "GEARMAN_COMMAND_" + name
    assert protocol.get_command_name(1234) == 1234
    assert protocol.GEARMAN_PARAMS_FOR_COMMAND[protocol.GEARMAN_COMMAND_SUBMIT_JOB] == ["task", "unique", "data"]
    assert protocol.GEARMAN_PARAMS_FOR_COMMAND[protocol.GEARMAN_COMMAND_WORK_STATUS] == [
        "job_handle", "numerator", "denominator"]


def test_the_packet_for_a_priority():
    assert protocol.submit_cmd_for_background_priority(False, None) == protocol.GEARMAN_COMMAND_SUBMIT_JOB
    assert protocol.submit_cmd_for_background_priority(True, "LOW") == protocol.GEARMAN_COMMAND_SUBMIT_JOB_LOW_BG
    assert protocol.submit_cmd_for_background_priority(1, "HIGH") == protocol.GEARMAN_COMMAND_SUBMIT_JOB_HIGH_BG
    with pytest.raises(ProtocolError, match="not 'URGENT'"):
        protocol.submit_cmd_for_background_priority(True, "URGENT")


@pytest.mark.parametrize("kind, arguments", [
    ("SUBMIT_JOB", {"task": b"f", "unique": b"u", "data": b"a\0b"}), ("NO_JOB", {}), ("JOB_CREATED", {"job_handle": b"H:1"}),
    ("JOB_ASSIGN_UNIQ", {"job_handle": b"H", "task": b"f", "unique": b"u", "data": b"\0\0"}), ("ECHO_RES", {"data": b""})])
@pytest.mark.parametrize("is_response", [False, True])
def test_what_is_packed_is_read_again(kind, arguments, is_response):
    number = getattr(protocol, "GEARMAN_COMMAND_" + kind)
    packet = protocol.pack_binary_command(number, arguments, is_response)
    for form in (packet, array.array("b", packet + b"more")):
        assert protocol.parse_binary_command(form, is_response) == (number, arguments, len(packet))
    for part in range(len(packet)):
        assert protocol.parse_binary_command(packet[:part], is_response) == (None, None, 0)
    with pytest.raises(ProtocolError):
        protocol.parse_binary_command(packet, not is_response)


@pytest.mark.parametrize("number, arguments", [
    (1234, {}), (9999, {"raw_text": "status"}), (9, {"extra": b""}), (8, {}), (8, {"job_handle": 7}),
    (7, {"task": b"a\0", "unique": b"", "data": b""})])
def test_what_cannot_be_packed_is_told(number, arguments):
    with pytest.raises(ProtocolError):
        protocol.pack_binary_command(number, arguments)


@pytest.mark.parametrize("data", [
    b"DDDDAAAABBBBCCCC", b"\0RES\0\0\x04\xd2\0\0\0\0", b"\0RES\0\0\0\x06\0\0\0\x04abcd", b"\0RES\0\0\0\x07\0\0\0\0"])
def test_what_is_no_packet_is_told(data):
    with pytest.raises(ProtocolError):
        protocol.parse_binary_command(data)


def test_lines_of_text():
    assert protocol.parse_text_command(array.array("b", b"one\ntwo\n")) == (9999, {"raw_text": b"one"}, 4)
    assert protocol.parse_text_command(b"not whole") == (None, None, 0)
    assert protocol.pack_text_command(9999, {"raw_text": "status"}) == "status"
    with pytest.raises(ProtocolError, match="a NUL within a line"):
        protocol.parse_text_command(b"a\0b\n")
    for number, arguments in ((6, {"raw_text": "x"}), (9999, {}), (9999, {"text": "x"})):
        with pytest.raises(ProtocolError):
            protocol.pack_text_command(number, arguments)
