"""The networks of a client: when a spare one is taken, and which servers are asked."""
import pytest

from client_tools import Clock, client_of
from gearman_std.client.network import Network
from gearman_std.client.plan import Sharing, plan_job
from gearman_std.client.pool import NetworkPool
from gearman_std.client.submission import Finished, Submission
from gearman_std.errors import ClientBusy, NoServer
from gearman_std.net.connection import Deadline
from gearman_std.net.system import REAL_SYSTEM, System


def make_pool():
    system = System(clock=Clock())
    return NetworkPool(lambda: Network([("one", 1), ("two", 2)], 1.0, 1.0, None, system))


def submission():
    return Submission(plan_job(Sharing(REAL_SYSTEM, None, None), "f"), b"w")


def test_a_spare_network_is_made_when_it_is_needed_and_kept():
    pool, moved, busy = make_pool(), [], []
    placed = []

    def submit_to(network):
        def submit(submission, limit, links, send=True):
            if network in busy:
                raise ClientBusy("within", True)
            placed.append(network)
        return submit

    pool.first.submit = submit_to(pool.first)
    pool.submit(submission(), Deadline(None), False, moved.append)
    assert (placed, moved, pool.spares) == ([pool.first], [], [])
    busy.append(pool.first)
    spare = pool._spare(0)
    spare.submit = submit_to(spare)
    one = submission()
    one.abandoned()  # as the network that was busy does it
    pool.submit(one, Deadline(None), False, moved.append)
    assert (placed, moved, one.moves, pool.spares) == ([pool.first, spare], [spare], 0, [spare])
    assert repr(pool) == "<NetworkPool of %r and 1 spares>" % pool.first


def test_there_is_an_end_to_spare_networks(monkeypatch):
    pool, moved = make_pool(), []

    def busy(*_):
        raise ClientBusy("within", True)

    monkeypatch.setattr(Network, "submit", busy)
    with pytest.raises(ClientBusy):
        pool.submit(submission(), Deadline(None), False, moved.append)
    assert len(moved) == len(pool.spares) == 8


def test_a_spare_of_a_closed_client_is_closed_too():
    pool = make_pool()
    pool.close()
    with pytest.raises(NoServer, match="the client was closed"):
        pool._spare(0).submit(submission(), Deadline(None))
    pool.close()


def test_the_links_to_a_server_that_is_named():
    pool = make_pool()
    assert pool.links(None) == pool.first.links
    assert pool.links("two:2") == pool.first.links[1:]
    with pytest.raises(ValueError, match="server is 'three', none of this client's servers"):
        pool.links("three")


def test_the_servers_are_asked_in_turn_until_one_knows():
    pool = make_pool()
    answers = {("one", 1): NoServer("down"), ("two", 2): [b"H:1", b"1", b"1", b"3", b"4"]}

    def ask(link, ask_one, connect_by):
        if isinstance(answers[link.address], Exception):
            raise answers[link.address]
        return answers[link.address]

    pool.first.ask = ask
    assert pool.status(b"H:1", None) == (True, True, 3, 4, None)
    with pytest.raises(NoServer, match="down"):
        pool.status(b"H:1", "one:1")
    answers["two", 2] = [b"H:1", b"0", b"0", b"0", b"0"]
    assert pool.status(b"H:1", "two:2") == (False, False, 0, 0, None)
    with pytest.raises(NoServer, match="down"):
        pool.status(b"H:1", None)  # who is down may know it


def test_a_wait_over_several_networks_goes_from_one_to_the_other():
    pool, waits, clocks = make_pool(), [], []
    for network in (pool.first, pool._spare(0)):
        network.wait = lambda done, deadline, mine, network=network: waits.append(network) or clocks.append(deadline._clock)
    networks = [pool.first, pool.spares[0]]
    assert not pool.wait(networks, lambda: False, Deadline(0), Finished([]))
    assert waits == networks
    assert pool.wait(networks, lambda: len(waits) > 5, Deadline(None), Finished([]))
    assert waits == networks * 3 and set(clocks) == {pool.first.clock}


def test_a_client_has_one_pool():
    with client_of("one:1,two:2") as client:
        assert [link.address for link in client._pool.links(None)] == [("one", 1), ("two", 2)]
