"""Which of its servers a client gives a job to, decided without a connection."""
import pytest

from gearman_std.client.link import Link
from gearman_std.client.plan import Sharing, plan_job
from gearman_std.client.servers import Servers
from gearman_std.errors import NoServer
from gearman_std.net.system import REAL_SYSTEM

from client_tools import Clock

ADDRESSES = [("a", 1), ("b", 2), ("c", 3)]
SHARING = Sharing(REAL_SYSTEM, None, None)


@pytest.fixture
def servers():
    servers = Servers(ADDRESSES, 0.0, Clock())
    assert repr(servers) == "<Servers: <Link to a:1, apart>, <Link to b:2, apart>, <Link to c:3, apart>>"
    return servers


def choose(servers, unique=None, workload=b"", settle=True):
    plan = plan_job(SHARING, "f", unique)
    return "".join(link.address[0] for link in servers.choose(plan, workload, settle))


def connect(link):
    class Connection:
        def put(self, *pieces):
            """Nothing is sent."""

    link.claimed(1)
    link.reached(Connection(), 0.0)


def fail(servers, number):
    link = servers.links[number]
    link.claimed(1)
    link.failed(NoServer("no"), 1, servers._clock(), 0.5)


def test_jobs_without_a_unique_take_turns(servers):
    assert [choose(servers) for _ in range(4)] == ["bca", "cab", "abc", "bca"]
    assert choose(Servers(ADDRESSES, 0.99, Clock())) == "abc"


def test_one_server_needs_no_ring():
    servers = Servers(ADDRESSES[:1], 0.5, Clock())
    assert servers.ring is None and [choose(servers), choose(servers, "u")] == ["a", "a"]
    servers.add(Link(("b", 2)))
    assert sorted({choose(servers, "%d" % number) for number in range(20)}) == ["ab", "ba"]


def test_equal_jobs_meet_whatever_took_turns_before(servers):
    order = choose(servers, "u")
    assert sorted(order) == ["a", "b", "c"]
    for number in range(5):
        choose(servers)
        assert choose(servers, "u") == order
    assert len({choose(servers, "%d" % number)[0] for number in range(30)}) == 3
    assert len({choose(servers, "-", b"%d" % number)[0] for number in range(30)}) == 3
    assert choose(servers, "-", b"same") == choose(servers, "-", b"same")


def test_the_first_is_enough_if_it_is_connected(servers):
    connect(servers.links[1])
    assert choose(servers) == "b"
    assert [choose(servers), choose(servers)] == ["cab", "abc"]
    assert choose(servers, settle=False) == "bca"


def test_those_that_failed_lately_come_last_until_it_is_time_to_try_them(servers):
    fail(servers, 1)
    assert choose(servers) == "cab", "it would be its turn"
    servers._clock.now += 0.5
    assert [choose(servers), choose(servers), choose(servers)] == ["cab", "abc", "bca"]


def test_one_more_server_changes_where_some_jobs_go_and_not_the_list_that_others_look_through(servers):
    links, before = servers.links, [choose(servers, "%d" % number)[0] for number in range(200)]
    servers.add(Link(("d", 4)))
    after = [choose(servers, "%d" % number)[0] for number in range(200)]
    assert len(links) == 3 and len(servers.links) == 4
    moved = [number for number in range(200) if before[number] != after[number]]
    assert moved and {after[number] for number in moved} == {"d"} and len(moved) < 100
