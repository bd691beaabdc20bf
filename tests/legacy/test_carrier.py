"""How requests travel over gearman_std's client."""
import pytest

from gearman_std.errors import NoServer
from gearman_std.legacy import GearmanJob, GearmanJobRequest
from gearman_std.legacy.carrier import ANSWER, CREATED, NO_ANSWER, REFUSED, Carrier
from gearman_std.net.addresses import split_address

from worker_tools import WAIT


@pytest.fixture
def carrier(server):
    carrier = Carrier([server], lambda address: None)
    yield carrier
    carrier.network.close()


def request_of(task, background=True):
    return GearmanJobRequest(GearmanJob(None, None, task, "u-" + task, b""), None, background)


def events_of(carrier, count=0):
    """The events that have come when `count` has changed."""
    events = []
    carrier.wait_for_more(count, WAIT)
    carrier.take_in(lambda *event: events.append(event))
    return events


def test_what_happens_to_a_request_is_an_event(carrier, server):
    request, link = request_of("carried"), carrier.link(server)
    carrier.send(request, b"data", link)
    [(told, kind, handle)] = events_of(carrier)
    assert told is request and kind == CREATED and handle.startswith(b"H:")
    count = carrier.count
    carrier.ask(request, handle, link)
    [(told, kind, answer)] = events_of(carrier, count)
    assert told is request and kind == ANSWER and [bytes(part) for part in answer][:3] == [handle, b"1", b"0"]
    assert not carrier.take_in(lambda *event: None)


def test_the_loss_of_a_server_is_an_event_for_all_that_wait(carrier, server, fake):
    address = split_address(fake.address)
    link = carrier.link(address)
    assert carrier.link(address) is link and len(carrier.network.links) == 2
    request = request_of("lost")
    carrier.send(request, b"", link)
    carrier.network.send_all()
    fake.accept()
    question = carrier.ask(request, b"H:1", link)
    count = carrier.count
    carrier.network.cut(link)
    assert carrier.count > count and question.error is not None
    assert {kind for _, kind, _ in events_of(carrier)} == {NO_ANSWER, REFUSED}
    assert link.connection is None


def test_a_server_that_cannot_be_reached(carrier):
    with pytest.raises(NoServer):
        carrier.network.reach(carrier.link(("127.0.0.1", 1)))


def test_waiting_ends_in_time(carrier):
    count = carrier.count
    carrier.wait_for_more(count, 0.01)
    assert carrier.count == count
