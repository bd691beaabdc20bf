"""Which jobs may be asked for: slots, lanes of functions, servers in turn; without sockets or threads."""
from gearman_std.worker.job import Ability
from gearman_std.worker.link import Lane
from gearman_std.worker.slots import HELD_PER_THREAD, Slots


class Session:
    """As much of a session as is asked: any number of grabs."""

    can_grab = True

    def __init__(self):
        self.grabs = 0

    def grab(self):
        self.grabs += 1


class Link:
    """As much of a connection as slots look at."""

    rest_until = moved = 0.0
    unsent = False

    def __init__(self, lane):
        self.lane = lane
        self.session = Session()
        self.connection = self


def make_slots(count, quota=None, lanes=(None,)):
    """Slots, and a connection for each of the lanes with these limits."""
    slots = Slots(count, quota)
    for number, limit in enumerate(lanes):
        slots.links.append(Link(slots.learn(Ability(b"f%d" % number, bool, None, limit, None))))
    return slots, list(slots.links)


def grabs(slots, now=0.0):
    """Ask; return the connections on which something is to be sent."""
    sent = []
    slots.grab(now, sent.append)
    return sent


def test_a_grab_for_each_free_slot_and_each_server_in_its_turn():
    slots, (one,) = make_slots(3)
    two = Link(one.lane)
    slots.links.append(two)
    assert grabs(slots) == [one, two, one] and grabs(slots) == []
    slots.give_back(one.lane, 1)
    assert grabs(slots) == [two], "whose turn it is"
    assert repr(slots) == "<Slots: 0 of 3 free, 1 lanes, 2 connections>"


def test_what_a_grab_is_sent_together_with():
    slots, (one,) = make_slots(2)
    sent = []
    slots.grab(5.0, sent.append, one)
    assert one.session.grabs == 2 and sent == [] and one.moved == 5.0


def test_a_server_that_cannot_be_asked_is_passed_over():
    slots, (one,) = make_slots(5)
    two = Link(one.lane)
    slots.links.append(two)
    for name, value, usual in (("rest_until", 9.0, 0.0), ("unsent", True, False)):
        setattr(one, name, value)
        assert grabs(slots, now=3.0) == [two] * 5
        setattr(one, name, usual)
        slots.give_back(two.lane, 5)
    one.session.can_grab = two.session.can_grab = False
    assert grabs(slots) == []


def test_no_more_than_the_quota():
    slots, (one,) = make_slots(5, quota=2)
    assert grabs(slots) == [one, one] and not slots.used_up, "a job may still come"
    slots.give_back(one.lane, 1)
    one.session.grabs = 1
    assert slots.quota == 1 and grabs(slots) == [one]
    one.session.grabs = 0
    assert slots.used_up


def test_no_more_than_the_limit_of_a_lane():
    slots, (free, limited) = make_slots(4, lanes=(None, 1))
    assert free.lane is not limited.lane
    assert sorted(map([free, limited].index, grabs(slots))) == [0, 0, 0, 1]
    slots.end(limited.lane)
    assert slots.resume(limited.lane) and not slots.resume(limited.lane), "the job that was tried again has the only place"
    assert slots.free == 0


def test_a_limit_that_the_slots_keep_anyway_is_none():
    slots, links = make_slots(2, lanes=(None, 2, 7))
    assert [link.lane for link in links] == [slots.open_lane] * 3 and slots.lanes == [slots.open_lane]


def test_a_lane_that_holds_many_jobs_of_a_function_asks_for_no_more():
    slots, (one,) = make_slots(2)
    for _ in range(2 * HELD_PER_THREAD):
        one.lane.hold(b"f0")
    assert grabs(slots) == []
    one.lane.let_go(b"f0")
    assert grabs(slots) == [one, one]


def test_functions_part_and_are_forgotten():
    slots, (one, _) = make_slots(2, lanes=(None, None))
    lane = one.lane
    others = slots.part(lane, b"f0")
    assert (list(lane.abilities), list(others.abilities)) == ([b"f0"], [b"f1"])
    assert slots.lanes == [lane, others] and slots.open_lane is others, "where functions go that are registered from now on"
    assert slots.links_of(lane) == list(slots.links)
    assert slots.forget(b"f0") is lane and slots.lanes == [others]
    assert slots.forget(b"f1") is others and slots.lanes == []
    assert isinstance(slots.open_lane, Lane) and not slots.open_lane.abilities
