"""Which jobs a worker may ask for now: how many, of which functions, and which server is asked next."""
from collections import deque

from .link import Lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque, List, Optional
    from .job import Ability
    from .link import WorkerLink

HELD_PER_THREAD = 16     # jobs of a function to be tried again, for each thread, after which no more of it are grabbed


class Slots:
    """The slots for jobs, the lanes of functions, and the connections in the order in which they are asked.

    A slot is free as long as it has neither a job nor a grab that is without an answer.

    Owner: the shift's lock.
    """

    __slots__ = ("free", "quota", "links", "lanes", "open_lane", "most_held", "_count")

    def __init__(self, count: int, quota: "Optional[int]") -> None:
        self.free = count
        self.quota = quota     # jobs that may still be grabbed, None for any number
        self.links = deque()   # type: Deque[WorkerLink] # the one to be asked next is the first
        self.lanes = []        # type: List[Lane]
        self.open_lane = Lane(None)  # of the functions without a limit
        self.most_held = HELD_PER_THREAD * count  # jobs of one function that wait to be tried again
        self._count = count

    def __repr__(self) -> str:
        return "<Slots: %d of %d free, %d lanes, %d connections>" % (
            self.free, self._count, len(self.lanes), len(self.links))

    # --- Lanes.

    def learn(self, ability: "Ability") -> Lane:
        """Put a function into the lane that all share, or into its own if it has a limit below the number of slots."""
        limited = ability.limit is not None and ability.limit < self._count
        lane = Lane(ability.limit) if limited else self.open_lane
        lane.abilities[ability.name] = ability
        if lane not in self.lanes:
            self.lanes.append(lane)
        return lane

    def part(self, lane: Lane, function: bytes) -> Lane:
        """Keep one function in its lane; return a new lane, of the others."""
        others = lane.part(function)
        if others.abilities:
            self.lanes.append(others)
        if lane is self.open_lane:
            self.open_lane = others
        return others

    def forget(self, function: bytes) -> Lane:
        """Take a function out of `lanes`; return its lane, which has nothing else then."""
        [lane] = [lane for lane in self.lanes if function in lane.abilities]
        self.part(lane, function)
        self.lanes.remove(lane)
        return lane

    def links_of(self, lane: Lane) -> "List[WorkerLink]":
        """The connections of a lane."""
        return [link for link in self.links if link.lane is lane]

    # --- Slots.

    def grab(self, now: float, send: "Callable[[WorkerLink], None]", about_to_send: "Optional[WorkerLink]" = None) -> None:
        """Ask for as many jobs as there are free slots, of each server in its turn."""
        links = self.links
        tries = len(links)
        while tries and self.free and self.quota != 0:
            link = links[0]
            links.rotate(-1)
            session, lane = link.session, link.lane
            if (session.can_grab and (lane.limit is None or lane.taken < lane.limit) and not link.connection.unsent
                    and link.rest_until <= now and not (lane.held and max(lane.held.values()) >= self.most_held)):
                if not session.grabs:
                    link.moved = now
                session.grab()
                self.free -= 1
                lane.taken += 1
                if self.quota is not None:
                    self.quota -= 1
                tries = len(links)
                if link is not about_to_send:
                    send(link)
            else:
                tries -= 1

    def give_back(self, lane: Lane, count: int) -> None:
        """Take back so many grabs, which have brought no job."""
        self.free += count
        lane.taken -= count
        if self.quota is not None:
            self.quota += count

    def end(self, lane: Lane) -> None:
        """Free the slot of a job that has ended, or waits to be tried again."""
        self.free += 1
        lane.taken -= 1

    def resume(self, lane: Lane) -> bool:
        """Take a slot for a job that is to be tried again; return False if the limit of its lane is reached."""
        if lane.limit is not None and lane.taken >= lane.limit:
            return False
        self.free -= 1
        lane.taken += 1
        return True

    @property
    def used_up(self) -> bool:
        """Whether no more jobs may be grabbed, and none is on its way."""
        return self.quota == 0 and not any(link.session.grabs for link in self.links)
