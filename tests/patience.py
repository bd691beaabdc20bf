"""The one place where tests look again and again, for what nothing tells them of.

That is: the end of a process that is nobody's child here, a file that another process writes or removes, whether a program
listens that does not say so, and what another thread or a server has come to in its own time.  All else waits for a line of
output, a packet, an event or a barrier.
"""
import time

LONG = 20.0  # seconds, until what is sure to happen is given up


def until(condition, seconds=LONG):
    """Return what a condition returns, once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.005)
