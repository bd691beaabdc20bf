"""The picture: well-formed, with an arrow for each packet, and nothing in it that is not text."""
from xml.etree import ElementTree

from gearman_std.trace import drawing
from gearman_std.trace.drawing import Drawing
from gearman_std.wire.protocol import (CAN_DO, JOB_ASSIGN, JOB_CREATED, SUBMIT_JOB, pack_request, pack_response)
from trace_tools import Talk

SPACE = "{http://www.w3.org/2000/svg}"


def picture(talk):
    taken = Drawing()
    for record in talk.records:
        taken.take(record)
    return ElementTree.fromstring(taken.draw())


def words(tree):
    return [text.text for text in tree.iter(SPACE + "text")]


def test_an_arrow_for_each_packet_from_who_sends_to_who_gets():
    talk = Talk()
    talk.ask(1, pack_response(SUBMIT_JOB, b"f", b"<u>&", b"x"))  # which has the wrong magic
    talk.answer(1, pack_response(JOB_CREATED, b"H:1"))
    talk.ask(2, pack_request(CAN_DO, b"f"))
    talk.answer(2, pack_response(JOB_ASSIGN, b"H:1", b"f", b"x"))
    tree = picture(talk)
    arrows = [line for line in tree.iter(SPACE + "line") if line.get("class")]
    client, server, worker = 90, 420, 750
    assert [(int(arrow.get("x1")), int(arrow.get("x2"))) for arrow in arrows] == [
        (client, server), (server, client), (worker, server), (server, worker)]
    assert [arrow.get("class") for arrow in arrows] == ["b", "a", "a", "a"]
    assert [word for word in words(tree) if not word.endswith(" ms")] == [
        "server", "client 1", "worker 2", "SUBMIT_JOB f <u>&", "JOB_CREATED H:1", "CAN_DO f", "JOB_ASSIGN H:1 f"]


def test_hostile_bytes_are_text():
    talk = Talk()
    talk.ask(1, pack_request(SUBMIT_JOB, b"\x00</text><script>", b"\x1b\xff\x01", b""))
    talk.ask(1, b"\x1b[2J\n")
    assert picture(talk).findall(".//" + SPACE + "script") == []


def test_a_picture_of_nothing_and_of_too_much(monkeypatch):
    talk = Talk()
    assert words(picture(talk)) == ["server"]
    monkeypatch.setattr(drawing, "MOST_DRAWN", 3)
    for _ in range(5):
        talk.ask(1, b"status\n")
    assert words(picture(talk))[-1] == "2 more records are left out"
