"""What each packet does, and what the ones do that should not have come."""
import pytest

from gearman_std.core.handlers import _HANDLERS, handler_table, obeyed_early
from gearman_std.core.rights import ADMIN, ALL_RIGHTS, STEER, SUBMIT, WORK
from gearman_std.core.turns import ASK
from gearman_std.wire.protocol import (BOTH, CANT_DO, CAN_DO, ECHO_REQ, ECHO_RES, GET_STATUS, GET_STATUS_UNIQUE, GRAB_JOB,
                                       JOB_CREATED, NO_JOB, OPTION_REQ, OPTION_RES, PACKETS, PRE_SLEEP, REQUEST,
                                       RESET_ABILITIES, SET_CLIENT_ID, STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB, TEXT_LINE,
                                       WORK_COMPLETE, WORK_STATUS, pack_request, pack_response, packet_name)

RESPONSES = sorted(number for number, (_, direction, _) in PACKETS.items() if direction == "response")


@pytest.mark.parametrize("packet_type", RESPONSES)
def test_a_packet_that_only_servers_send_is_not_expected(world, packet_type):
    count = len(PACKETS[packet_type][2])
    client = world.connects()
    client.says(packet_type, *[b"x"] * count).hears_error(b"INVALID_COMMAND", b"Command not expected")
    client.says(ECHO_REQ, b"still here").hears((ECHO_RES, b"still here"))


@pytest.mark.parametrize("packet_type", sorted(PACKETS))
def test_a_packet_with_the_magic_of_responses_is_refused_and_not_obeyed(world, packet_type):
    client = world.connects()
    client.sends(pack_response(packet_type, *[b"1"] * len(PACKETS[packet_type][2])))
    client.hears_error(b"INVALID_MAGIC", b"Request magic expected")
    assert world.core.jobs == {} and world.core.functions == {}


@pytest.mark.parametrize("packet_type", sorted(number for number in PACKETS
                                               if len(PACKETS[number][2]) > 1 and PACKETS[number][2] != ("handle", "data")
                                               and number not in RESPONSES))
def test_too_few_arguments_are_an_error_and_the_declared_size_is_the_boundary(world, packet_type):
    client = world.connects()
    missing = 2 if "aggregator" in PACKETS[packet_type][2] else 1  # which may be left out
    packet = pack_request(packet_type, *[b"1"] * (len(PACKETS[packet_type][2]) - missing))
    client.sends(packet + pack_request(ECHO_REQ, b"next"))
    data = client.takes()
    name = PACKETS[packet_type][0].encode()
    assert data == (pack_response(19, b"INVALID_ARGUMENTS", b"Too few arguments for " + name)
                    + pack_response(ECHO_RES, b"next"))
    assert world.core.jobs == {} and world.core.functions == {}


@pytest.mark.parametrize("packet_type", (0, max(PACKETS) + 1, 999, 0x7fffffff, 0x80000000, 0xffffffff))
def test_an_unknown_type_ends_the_connection_and_no_other(world, packet_type):
    client, other = world.connects(), world.connects()
    client.sends(b"\0REQ" + packet_type.to_bytes(4, "big") + b"\0\0\0\0")
    client.takes()
    assert client.peer.closing
    other.says(ECHO_REQ, b"").hears((ECHO_RES, b""))


@pytest.mark.parametrize("packet_type", (PRE_SLEEP, RESET_ABILITIES))
def test_superfluous_bytes_of_a_packet_without_arguments_are_dropped(world, packet_type):
    client = world.connects()
    client.sends(pack_request(packet_type, b"too much") + pack_request(ECHO_REQ, b"x")).hears((ECHO_RES, b"x"))
    client.sends(pack_request(GRAB_JOB, b"too much")).hears((NO_JOB,))


@pytest.mark.parametrize("data", (b"", b"x", b"a\0b", bytes(range(256)), bytes(200000)))
def test_echo_returns_the_same_bytes(world, data):
    world.connects().says(ECHO_REQ, data).hears((ECHO_RES, data))


@pytest.mark.parametrize("name", (b"", b"a\0b", b"a\tb\nc", b"\xff\xfe", b"n" * 8191))
def test_any_bytes_are_a_function_name(world, name):
    worker, client = world.worker(name), world.connects()
    assert list(world.core.functions) == [name]
    if b"\0" not in name:
        handle = client.submits(name)
        assert worker.grabs() == handle
    worker.says(CANT_DO, name).hears()
    assert worker.peer.abilities == {}


def test_the_option_exceptions_is_known_in_any_case_and_no_other(world):
    client = world.connects()
    client.says(OPTION_REQ, b"eXceptions").hears((OPTION_RES, b"eXceptions"))
    client.says(OPTION_REQ, b"exceptions2").hears_error(b"UNKNOWN_OPTION", b"Server does not recognize given option")
    assert client.peer.exceptions


def test_a_worker_may_ask_whether_an_exception_ends_its_job_for_everybody(world):
    worker = world.connects()
    worker.says(OPTION_REQ, b"exception-ends-job").hears((OPTION_RES, b"exception-ends-job"))
    assert not worker.peer.exceptions


def test_a_nul_at_the_end_of_an_option_is_no_part_of_it(world):
    client = world.connects()
    client.says(OPTION_REQ, b"exceptions\0").hears((OPTION_RES, b"exceptions\0"))
    assert client.peer.exceptions
    client.says(OPTION_REQ, b"\0exceptions").hears_error(b"UNKNOWN_OPTION", b"Server does not recognize given option")


def test_a_nul_at_the_end_of_a_handle_or_a_unique_in_a_question_is_no_part_of_it(world):
    client = world.connects()
    handle = client.submits_bg(b"f", b"u")
    client.says(GET_STATUS, handle + b"\0").hears((STATUS_RES, handle, b"1", b"0", b"0", b"0"))
    client.says(GET_STATUS_UNIQUE, b"u\0").hears((STATUS_RES_UNIQUE, b"u", b"1", b"0", b"0", b"0", b"0"))


@pytest.mark.parametrize("client_id, shown", ((b"me", b"me"), (b"", b""), (b"me\0", b"me"), (b"me\0or you", b"me"),
                                              (b"a b", b"a b"), (b"i" * 200, b"i" * 127)))
def test_the_client_id_is_shown_among_the_workers(world, client_id, shown):
    client = world.connects()
    client.says(SET_CLIENT_ID, client_id)
    assert client.asks(b"workers") == b"1 127.0.0.1 " + shown + b" :\n.\n"


def test_requests_of_one_read_are_answered_in_their_order_text_and_packets_mixed(world):
    client = world.connects()
    client.sends(pack_request(ECHO_REQ, b"1") + b"version\nstatus\r\n" + pack_request(SUBMIT_JOB, b"f", b"", b"")
                 + b"status\n")
    assert client.takes() == (pack_response(ECHO_RES, b"1") + b"OK gearman_std\n.\n" + pack_response(JOB_CREATED, b"H:x:1")
                              + b"f\t1\t0\t0\n.\n")


def test_requests_may_come_byte_by_byte(world):
    client = world.connects()
    for byte in pack_request(SUBMIT_JOB, b"f", b"", b"w") + b"status\n":
        client.sends(bytes([byte]))
    assert client.takes() == pack_response(JOB_CREATED, b"H:x:1") + b"f\t1\t0\t0\n.\n"


# --------------------------------------------------------------------------------------------------------------------- rights

WORKING = {"CAN_DO", "CAN_DO_TIMEOUT", "CANT_DO", "RESET_ABILITIES", "PRE_SLEEP", "ALL_YOURS", "GRAB_JOB", "GRAB_JOB_UNIQ",
           "GRAB_JOB_ALL", "WORK_STATUS", "WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION", "WORK_DATA", "WORK_WARNING"}


@pytest.mark.parametrize("packet_type", sorted(number for number in PACKETS if number not in RESPONSES))
def test_a_right_is_needed_to_submit_and_one_to_work_and_none_to_ask(world, packet_type):
    name, _, arguments = PACKETS[packet_type]
    right = SUBMIT if name.startswith("SUBMIT") else WORK if name in WORKING else ""
    forbidden = world.connects(rights=ALL_RIGHTS - {right})
    forbidden.says(packet_type, *[b"1"] * len(arguments))
    if right:
        forbidden.hears_error(b"FORBIDDEN", b"This connection may not do that")
        assert world.core.jobs == {} and world.core.functions == {}
    allowed = world.connects(rights=frozenset((right,)))
    allowed.says(packet_type, *[b"1"] * len(arguments))
    assert b"FORBIDDEN" not in forbidden.takes() + allowed.takes()


def test_rights_of_admin_are_for_lines_of_text_and_steering_for_those_that_change_something(world):
    nobody, reader = world.connects(rights=frozenset((SUBMIT, WORK))), world.connects(rights=frozenset((ADMIN,)))
    steerer = world.connects(rights=frozenset((STEER,)))
    denied = b"ERR PERMISSION_DENIED This+connection+may+not+do+that\r\n"
    assert nobody.asks(b"status") == nobody.asks(b"create function f") == denied
    assert reader.asks(b"status") == b".\n" and reader.asks(b"create function f") == denied
    assert steerer.asks(b"create function f") == b"OK\r\n" and steerer.asks(b"status") == denied
    assert reader.asks(b"status") == b"f\t0\t0\t0\n.\n"


def test_every_packet_that_peers_send_has_a_handler():
    sent = {number for number, (_, direction, _) in PACKETS.items() if direction in (REQUEST, BOTH)}
    assert sent == set(_HANDLERS), "not at both places: %s" % ", ".join(map(packet_name, sent ^ set(_HANDLERS)))


def test_there_is_a_handler_for_whatever_the_reader_reports():
    assert len(handler_table(ALL_RIGHTS)) == max(PACKETS) + 6


# -------------------------------------------------------------------------------------------------------------------- numbers

def test_a_status_of_large_numbers_is_kept_in_32_bits(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    worker.grabs()
    worker.says(12, handle, b"9" * 8000, b"%d" % (1 << 32 | 5)).hears()
    client.says(GET_STATUS, handle)
    assert client.takes() == pack_response(STATUS_RES, handle, b"1", b"1", b"%d" % (int("9" * 40) & 0xffffffff), b"5")
    worker.says(WORK_COMPLETE, handle, b"").hears()
    world.worker(b"f").says(CAN_DO, b"g").hears()


def test_questions_are_obeyed_before_the_jobs_of_the_store_are_known_and_orders_are_not():
    assert [obeyed_early((ASK, (None, is_order))) for is_order in (False, True)] == [True, False]
    assert [obeyed_early((TEXT_LINE, (line,))) for line in (b"status", b"pause function f", b"shutdown")] == [True, False, True]


def test_progress_goes_to_all_who_submitted_a_job(world):
    one, two, worker = world.connects(), world.connects(), world.worker(b"f")
    handle = one.submits(b"f", b"u")
    assert two.submits(b"f", b"u") == handle == worker.grabs()
    worker.says(WORK_STATUS, handle, b"1", b"2").hears()
    for client in (one, two):
        client.hears((WORK_STATUS, handle, b"1", b"2"))
