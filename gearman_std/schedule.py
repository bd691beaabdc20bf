"""When a recurring job is due: the five fields of cron."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

# (name, lowest, highest); as in the PROTOCOL document Monday is day 0 of the week, and 7 is not used.
_SCHEDULE_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))


class Schedule:
    """Five fields: minute, hour, day of month, month, day of week (0 is Monday), each ``*``, a number, a range ``1-5``, a list
    ``1,3``, or any of these with a step ``*/15``.  As in cron, a day matches if either day field does, when both are given.

    Times are in the local time zone.  Raises ValueError for fields that mean nothing.

    Owner: immutable.
    """

    __slots__ = ("text", "_fields", "_any_day")

    def __init__(self, text: bytes) -> None:
        words = text.decode("latin-1").split()
        if len(words) != len(_SCHEDULE_FIELDS):
            raise ValueError("A schedule has five fields")
        self.text = b" ".join(word.encode("latin-1") for word in words)
        self._fields = [_parse_field(word, *field) for word, field in zip(words, _SCHEDULE_FIELDS)]
        self._any_day = words[2] == "*", words[4] == "*"

    def __repr__(self) -> str:
        return "<Schedule %s>" % self.text.decode("latin-1")

    def next_time(self, after: float) -> float:
        """The first unix time after `after` that matches.

        Raises ValueError if there is none within eight years, as for 30 February, or if `after` is beyond the calendar.
        """
        try:
            moment = self._search(after)
        except (OverflowError, OSError, ValueError):  # of datetime
            moment = None
        if moment is None:
            raise ValueError("The schedule never comes due")
        return moment

    def _search(self, after: float) -> "Optional[float]":
        from datetime import datetime, timedelta
        minutes, hours, _, months, _ = self._fields
        moment = datetime.fromtimestamp(int(after) // 60 * 60) + timedelta(minutes=1)
        limit = moment + timedelta(days=366 * 8)
        while moment < limit:
            if moment.month not in months:
                moment = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1)
            elif not self._day_matches(moment.day, moment.weekday()):
                moment = datetime(moment.year, moment.month, moment.day) + timedelta(days=1)
            elif moment.hour not in hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in minutes or moment.timestamp() <= after:
                moment += timedelta(minutes=1)
            else:
                return moment.timestamp()
        return None

    def _day_matches(self, day: int, weekday: int) -> bool:
        by_month, by_week = day in self._fields[2], weekday in self._fields[4]
        if self._any_day[0] or self._any_day[1]:
            return by_month and by_week
        return by_month or by_week


def _parse_field(word: str, name: str, lowest: int, highest: int) -> "List[int]":
    values = []  # type: List[int]
    for part in word.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            if span == "*":
                start, end = lowest, highest
            elif dash:
                start, end = _parse_number(first), _parse_number(last)
            else:
                start = _parse_number(first)
                end = highest if slash else start
            stride = _parse_number(step) if slash else 1
        except ValueError:
            raise ValueError("The %s field of a schedule cannot be %r" % (name, word)) from None
        if not lowest <= start <= end <= highest or not stride:
            raise ValueError("The %s field of a schedule cannot be %r" % (name, word))
        values += range(start, end + 1, stride)
    return values


def _parse_number(text: str) -> int:
    if not 1 <= len(text) <= 4 or text.strip("0123456789"):
        raise ValueError("not a number: %r" % text)
    return int(text)
