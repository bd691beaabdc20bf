#!/usr/bin/env python3
"""The core has no clock: a day passes when the program says so.

    python3 tests/tour/clock.py

A core without a server gets a job that is due tomorrow, and a worker that sleeps.  Then the program tells the core that a day
has passed.  All this is done twice, and the core sends the same bytes both times.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from gearman_std.core.core import Core  # noqa: E402
from gearman_std.core.peers import Peer  # noqa: E402
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, PRE_SLEEP, REQUEST_MAGIC, RESPONSE_MAGIC,  # noqa: E402
                                       SUBMIT_JOB_EPOCH, PacketReader, pack_request, packet_name)

DAY = 86400
NOON = 1700000000  # the unix time that the core is told at the begin


def play(say):
    """Play a day; return all bytes that the core has sent to its peers."""
    core = Core()
    client, worker = Peer(1, b"client"), Peer(2, b"worker")
    spoken = b""

    def tell(peer, name, *packets):
        nonlocal spoken
        if packets:
            core.receive(peer, PacketReader(REQUEST_MAGIC).feed(b"".join(packets)))
        core.settle()
        data = b"".join(peer.outgoing)
        peer.outgoing.clear()
        del core.unsent[:]
        spoken += data
        answers = [packet_name(number) for number, _ in PacketReader(RESPONSE_MAGIC).feed(data)]
        say("  the %s hears: %s" % (name, ", ".join(answers) or "nothing"))

    core.tick(now=0.0, wall=NOON)
    core.connect(client)
    core.connect(worker)
    say("It is noon.  A worker goes to sleep.")
    tell(worker, "worker", pack_request(CAN_DO, b"f"), pack_request(PRE_SLEEP))
    say("A client submits a job for tomorrow at noon.")
    tell(client, "client", pack_request(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (NOON + DAY), b"wake up"))
    say("That wakes the worker, as it does with gearmand; it finds that there is nothing to do yet.")
    tell(worker, "worker", pack_request(GRAB_JOB), pack_request(PRE_SLEEP))
    say("The core would like to be told the time again in %d seconds." % core.wait_time())
    core.tick(now=float(DAY), wall=NOON + DAY)
    say("It is told: tomorrow, noon.")
    tell(worker, "worker")
    tell(worker, "worker", pack_request(GRAB_JOB))
    return spoken


def main():
    began = time.perf_counter()
    first = play(print)
    took = time.perf_counter() - began
    second = play(lambda text: None)
    print("That day took %.1f milliseconds.  The next one had %s." % (
        1000 * took, "the same %d bytes" % len(first) if first == second else "other bytes"))


if __name__ == "__main__":
    main()
