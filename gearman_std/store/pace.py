"""How often the disk is asked: while foreground jobs come, less often than it could be, as each time costs their clients.

What that costs does not depend on how much is written: the two threads wake each other and wait for each other, and the system
works for the disk.  So less often is less of it, and nothing is lost but some milliseconds of those who wait for the disk.
"""

PACE = 0.01  # seconds from one batch to the next


def gathers_until(handed_over_at: float, foreground: int, patient: bool) -> float:
    """When what gathers for the store is to be handed over; `handed_over_at` is when that was done last.

    Since then so many `foreground` jobs have come.  `patient` are those who wait for what gathers if they can as well wait a
    little longer.
    """
    return handed_over_at + PACE if foreground > 0 and patient else handed_over_at
