"""Recordings played again: with a server that answers the same, with one that does not, and with one that leaves."""
import socket
import threading

import pytest

from client_tools import LONG
from gearman_std.errors import ProtocolError
from gearman_std.net.connection import open_connection
from gearman_std.server.server import Server
from gearman_std.trace.replaying import ReplayedHandles, Replay
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NO_JOB, NOOP,
                                       PRE_SLEEP, STATUS_RES, SUBMIT_JOB, WORK_COMPLETE, pack_request, pack_response)
from trace_tools import Talk


def conversation(result=b"RESULT"):
    """A job from its submit to its result, and a text command that names it, as recorded at a server."""
    talk = Talk()
    talk.ask(2, pack_request(CAN_DO, b"f"), pack_request(PRE_SLEEP))
    talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b"data"))
    talk.answer(1, pack_response(JOB_CREATED, b"H:old:1"))
    talk.answer(2, pack_response(NOOP))
    talk.ask(2, pack_request(GRAB_JOB))
    talk.answer(2, pack_response(JOB_ASSIGN, b"H:old:1", b"f", b"data"))
    talk.ask(1, pack_request(GET_STATUS, b"H:old:1"))
    talk.answer(1, pack_response(STATUS_RES, b"H:old:1", b"1", b"1", b"0", b"0"))
    talk.ask(2, pack_request(WORK_COMPLETE, b"H:old:1", b"RESULT"))
    talk.answer(1, pack_response(WORK_COMPLETE, b"H:old:1", result))
    talk.ask(3, b"cancel job H:old:1\n")
    talk.answer(3, b"ERR UNKNOWN_JOB\r\n")
    talk.ask(2, pack_request(GRAB_JOB))
    talk.answer(2, pack_response(NO_JOB))
    for number in (1, 2, 3):
        talk.tracer.ended(number, True, talk.time, False)
        talk.tracer.closed(number, talk.time)
    return talk.records


def play(records, address, patience=LONG):
    told = []
    replay = Replay(lambda: open_connection(address, LONG), told.append, threading.Event().wait, patience)
    replay.play(records)
    assert replay.differences == len(told)
    return told


@pytest.fixture
def server():
    with Server(port=0, listen=["127.0.0.1"]) as server:
        yield server


def test_a_server_that_answers_the_same(server):
    assert play(conversation(), server.address) == []


def many_echoes():
    talk, data = Talk(), bytes(1 << 19)
    for packet_type, say, pack in ((ECHO_REQ, talk.ask, pack_request), (ECHO_RES, talk.answer, pack_response)):
        for _ in range(48):
            say(1, pack(packet_type, data))
    return talk.records


def test_a_server_that_reads_on_only_when_its_answers_are_read():
    def answer():
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"".join(record.data for record in records if not record.from_client))
            while peer.recv(1 << 20):
                continue
    records = many_echoes()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        thread = threading.Thread(target=answer)
        thread.start()
        assert play(records, listener.getsockname()) == []
        thread.join()


def test_a_server_that_takes_nothing_is_told():
    requests = [record for record in many_echoes() if record.from_client]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        told = play(requests, listener.getsockname(), patience=0.01)
    assert told and all(words.endswith("ECHO_REQ cannot be sent: the server took nothing for 0.01 s") for words in told)


def test_an_answer_that_differs_is_told_with_todays_handle(server):
    told = play(conversation(b"ANOTHER"), server.address)
    assert len(told) == 1
    assert "expected WORK_COMPLETE H:" in told[0] and "H:old" not in told[0]
    assert told[0].endswith(" RESULT") and " ANOTHER, came " in told[0]


def test_an_answer_that_does_not_come(server):
    talk = Talk()
    talk.ask(1, pack_request(CAN_DO, b"f"))
    talk.answer(1, pack_response(ECHO_RES, b"x"))
    assert play(talk.records, server.address, 0.01) == ["record 3: expected ECHO_RES x, came nothing in 0.01 s"]


def test_wake_ups_more_or_less_and_answers_that_nobody_expects(server):
    talk = Talk()
    talk.ask(1, pack_request(ECHO_REQ, b"x"))
    talk.answer(1, pack_response(NOOP), pack_response(ECHO_RES, b"x"))
    assert play(talk.records, server.address) == ["record 3: no NOOP"]
    talk = Talk()
    talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b""), pack_request(CAN_DO, b"f"), pack_request(PRE_SLEEP),
             pack_request(ECHO_REQ, b"x"))
    talk.answer(1, pack_response(JOB_CREATED, b"H:1"), pack_response(ECHO_RES, b"x"))
    assert play(talk.records, server.address) == ["record 7: one more NOOP, before ECHO_RES"]
    talk = Talk()
    talk.ask(1, pack_request(ECHO_REQ, b"x"), pack_request(ECHO_REQ, b"y"))
    talk.answer(1, pack_response(ECHO_RES, b"x"))
    assert all(words.startswith("connection 1, at its end: expected nothing, ") for words in play(talk.records, server.address))


def test_a_server_that_leaves():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        thread = threading.Thread(target=lambda: listening.accept()[0].close())
        thread.start()
        talk = Talk()
        talk.ask(1, pack_request(ECHO_REQ, b"x"))
        talk.answer(1, pack_response(ECHO_RES, b"x"))
        told = play(talk.records, listening.getsockname())
        thread.join(LONG)
    assert told[-1] == "record 3: expected ECHO_RES x, came the end"


def test_a_record_without_all_its_bytes_is_refused(server):
    talk = Talk(keep=20)
    talk.ask(1, pack_request(ECHO_REQ, b"x" * 100))
    with pytest.raises(ProtocolError, match="record 2 has 20 bytes of 112; record with a larger --keep"):
        play(talk.records, server.address)


def test_handles_are_changed_where_they_stand():
    handles = ReplayedHandles()
    handles.learn(pack_response(JOB_CREATED, b"H:1"), pack_response(JOB_CREATED, b"H:other:77"))
    handles.learn(pack_response(JOB_CREATED, b"H:2"), pack_response(NOOP))
    assert handles.translate(pack_request(WORK_COMPLETE, b"H:1", b"H:1")) == pack_request(WORK_COMPLETE, b"H:other:77", b"H:1")
    assert handles.translate(pack_request(WORK_COMPLETE, b"H:2", b"")) == pack_request(WORK_COMPLETE, b"H:2", b"")
    assert handles.translate(pack_request(SUBMIT_JOB, b"H:1", b"", b"")) == pack_request(SUBMIT_JOB, b"H:1", b"", b"")
    assert handles.translate(b"cancel job H:1\n") == b"cancel job H:other:77\n"
