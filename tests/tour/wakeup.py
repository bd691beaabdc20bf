#!/usr/bin/env python3
"""The wake-up cannot be lost: all orders in which packets can arrive are tried.

    python3 tests/tour/wakeup.py

Two workers ask for jobs and go to sleep when there is none; two clients submit one job each.  Packets on different connections
may arrive in any order, so there are some thousand orders in which the core may get them.  After each of them, both jobs must
have a worker.  Then the same is done with a core that does not look for waiting jobs when PRE_SLEEP comes.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from gearman_std.core.core import Core  # noqa: E402
from gearman_std.core.peers import ASLEEP, Peer  # noqa: E402
from gearman_std.core.roster import Roster  # noqa: E402
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, JOB_ASSIGN, NO_JOB, NOOP, PRE_SLEEP, RESPONSE_MAGIC,  # noqa: E402
                                       SUBMIT_JOB_BG, PacketReader, packet_name)

CONNECTIONS = ("client A", "client B", "worker A", "worker B")


class SleepsAtOnce(Roster):
    """A roster whose author has not thought of jobs that come before PRE_SLEEP."""

    def fall_asleep(self, peer):
        ability_set = peer.ability_set or self.join(peer)
        peer.sleep = ASLEEP
        ability_set.add_sleeper(peer)


class Play:
    """A core, two clients and two workers, and packets that are on their way to the core."""

    def __init__(self, roster):
        self.core = Core(wakeup=0)
        if roster is not None:
            self.core.roster = roster(self.core.functions, 0, self.core.turns)
        self.core.tick(0.0, 0.0)
        self.peers = {name: Peer(number, name.encode()) for number, name in enumerate(CONNECTIONS)}
        self.coming = {name: [(SUBMIT_JOB_BG, [b"f", b"", name.encode()])] if "client" in name else
                       [(CAN_DO, [b"f"]), (GRAB_JOB, ())] for name in CONNECTIONS}
        self.given = 0
        self.told = []  # what has arrived, in words
        for peer in self.peers.values():
            self.core.connect(peer)

    def arrive(self, name):
        """The next packet of a connection arrives at the core; the peers get the core's answers, and react, at once."""
        packet = self.coming[name].pop(0)
        self.told.append("%s of %s" % (packet_name(packet[0]), name))
        self.core.receive(self.peers[name], [packet])
        self.core.settle()
        for other, peer in self.peers.items():
            data, peer.outgoing[:] = b"".join(peer.outgoing), []
            for number, _ in PacketReader(RESPONSE_MAGIC).feed(data):
                if number == NO_JOB:
                    self.coming[other].append((PRE_SLEEP, ()))
                elif number == NOOP:
                    self.coming[other].append((GRAB_JOB, ()))
                elif number == JOB_ASSIGN:
                    self.given += 1  # the worker is busy, and says nothing more
        del self.core.unsent[:]


def orders(roster):
    """Play all orders; yield each in words, with how many jobs have got a worker."""
    ahead = [()]
    while ahead:
        order = ahead.pop()
        play = Play(roster)
        for name in order:
            play.arrive(name)
        while True:
            choices = [name for name in CONNECTIONS if play.coming[name]]
            if not choices:
                break
            ahead += [order + (name,) for name in choices[1:]]  # these are played later
            order += (choices[0],)
            play.arrive(choices[0])
        yield play.told, play.given


def count(roster):
    """How many orders there are, and those in which a job gets no worker."""
    lost, number = [], 0
    for order, given in orders(roster):
        number += 1
        if given < 2:
            lost.append(order)
    return number, lost


def main():
    number, lost = count(None)
    print("gearman_std: %d orders of packets, %d in which a job is left without a worker." % (number, len(lost)))
    number, lost = count(SleepsAtOnce)
    print("Where PRE_SLEEP does not look: %d orders, %d in which a job is left without a worker." % (number, len(lost)))
    print("One of these: %s." % ", ".join(min(lost, key=len)))


if __name__ == "__main__":
    main()
