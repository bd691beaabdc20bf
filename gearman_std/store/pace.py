"""How often the disk is asked: while foreground jobs come, less often than it could be, as each time costs their clients.

What that costs does not depend on how much is written: the two threads wake each other and wait for each other, and the system
works for the disk, which holds up two or three round trips by as long as they take.  If there are a hundred of them from one
commit to the next, 99 percent of them are hardly slower than without.  Nothing is lost but some milliseconds of those who wait
for the disk.
"""

PACE = 0.025  # seconds from one batch to the next
STREAM = 10   # foreground jobs from one batch to the next, after which more of them are expected


class Pace:
    """Decides when what gathers for the store is to be handed over.

    Owner: the StoreKeeper.
    """

    def __init__(self) -> None:
        self._handed_over_at = -float("inf")  # the last batch
        self._stream = False                  # so many foreground jobs had come that more are expected

    def __repr__(self) -> str:
        return "<Pace%s>" % (", a stream of foreground jobs" if self._stream else "")

    def hand_over(self, now: float, foreground: int) -> None:
        """A batch is handed over; since the one before so many `foreground` jobs have come."""
        self._handed_over_at = now
        self._stream = foreground >= STREAM  # a disk may be so fast that the next one comes only after it has answered

    def gathers_until(self, foreground: int, patient: bool) -> float:
        """When what gathers is to be handed over; since the last batch so many `foreground` jobs have come.

        `patient` are those who wait for what gathers if they can as well wait a little longer.
        """
        waits = patient and (foreground > 0 or self._stream)
        return self._handed_over_at + PACE if waits else self._handed_over_at
