"""Which records are wanted."""
import pytest

from gearman_std.trace.tracer import Sieve
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, SET_CLIENT_ID, SUBMIT_JOB, WORK_COMPLETE,
                                       pack_request, pack_response)
from trace_tools import Talk

ALL = ["connects", "SUBMIT_JOB", "JOB_CREATED", "connects", "SET_CLIENT_ID", "CAN_DO", "GRAB_JOB", "JOB_ASSIGN",
       "WORK_COMPLETE", "WORK_COMPLETE", "connects", "status", "status", "SUBMIT_JOB"]
OF_JOB = ["SUBMIT_JOB", "JOB_CREATED", "JOB_ASSIGN", "WORK_COMPLETE", "WORK_COMPLETE"]


@pytest.mark.parametrize("sieve, names", [
    (Sieve(), ALL),
    (Sieve(jobs=["1"]), OF_JOB), (Sieve(jobs=["H:1"]), OF_JOB[1:]), (Sieve(jobs=["u"]), OF_JOB), (Sieve(jobs=["3"]), []),
    (Sieve(functions=["f"]), OF_JOB[:2] + ["CAN_DO"] + OF_JOB[2:]), (Sieve(functions=["f", "g"]), OF_JOB[:2] + [
        "CAN_DO"] + OF_JOB[2:] + ["SUBMIT_JOB"]),
    (Sieve(packets=["grab_job", "11"]), ["GRAB_JOB", "JOB_ASSIGN"]), (Sieve(packets=["status"]), ["status"] * 2),
    (Sieve(peers=["client"]), ["SUBMIT_JOB", "JOB_CREATED", "WORK_COMPLETE", "SUBMIT_JOB"]),
    (Sieve(peers=["admin 3"]), ["status"] * 2), (Sieve(peers=["2"]), ALL[3:9]), (Sieve(peers=["mailer"]), ALL[4:9]),
    (Sieve(peers=["worker"], packets=["WORK_COMPLETE"]), ["WORK_COMPLETE"]),
])
def test_what_passes(sieve, names):
    talk = Talk(sieve)
    talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b""))
    talk.answer(1, pack_response(JOB_CREATED, b"H:1"))
    talk.ask(2, pack_request(SET_CLIENT_ID, b"mailer"), pack_request(CAN_DO, b"f"), pack_request(GRAB_JOB))
    talk.answer(2, pack_response(JOB_ASSIGN, b"H:1", b"f", b""))
    talk.ask(2, pack_request(WORK_COMPLETE, b"H:1", b""))
    talk.answer(1, pack_response(WORK_COMPLETE, b"H:1", b""))
    talk.ask(3, b"status\n")
    talk.answer(3, b".\n")
    talk.ask(1, pack_request(SUBMIT_JOB, b"g", b"", b""))
    assert [record.name for record in talk.records] == names
