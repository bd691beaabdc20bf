"""How often records are written to disk: while foreground jobs come, less often, because each write holds up their clients.

For how long does not depend on how much is written: the server's thread and the store's thread wait for each other, and the
system works for the disk.  Two or three round trips take twice as long then.  With a hundred round trips from one write to the
next, the others are hardly slower than without a store.  The price: whoever waits for the disk waits some milliseconds longer.
"""

PACE = 0.025  # seconds from one batch to the next
STREAM = 10   # foreground jobs from one batch to the next that make a stream, so that more are expected


class Pace:
    """Decides when the batch that gathers for the store is to be handed over.

    Owner: the StoreKeeper.
    """

    def __init__(self) -> None:
        self._handed_over_at = -float("inf")  # when the last batch was, monotonic seconds
        self._stream = False                  # a stream of foreground jobs came before that

    def __repr__(self) -> str:
        return "<Pace%s>" % (", a stream of foreground jobs" if self._stream else "")

    def hand_over(self, now: float, foreground: int) -> None:
        """Note that a batch is handed over, and how many `foreground` jobs have come since the one before."""
        self._handed_over_at = now
        self._stream = foreground >= STREAM  # a fast disk may answer before the next job of the stream comes

    def gathers_until(self, foreground: int, patient: bool) -> float:
        """When the batch that gathers is to be handed over, in monotonic seconds.

        `foreground` is how many foreground jobs have come since the last batch; `patient` says that all who wait for the batch
        can wait a little longer.
        """
        waits = patient and (foreground > 0 or self._stream)
        return self._handed_over_at + PACE if waits else self._handed_over_at
