"""The schedule of a recurring job: the five fields of cron, and when they are due."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Set, Tuple

# (name, lowest, highest).  As in the PROTOCOL document, Monday is day 0 of the week, and 7 is not used.
_SCHEDULE_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
_MONTH_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MOST_PARTS = 60      # of a list in a field; more of them would repeat each other
_YEARS_AHEAD = 9      # 29 February may be eight years away
_EPOCH_DAY = 719163   # 1970-01-01 as `date.toordinal` counts days
_DAY_SECONDS = 86400
_SMALL_CHANGE = 3 * 3600.0  # seconds: if the clock is set back by less, fixed times do not come again

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NICKNAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
              "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}


class Schedule:
    """Five fields: minute, hour, day of month, month, day of week (0 is Monday).  Each is ``*``, a number, a range ``1-5``, a
    list ``1,3``, or any of these with a step ``*/15``.  As in cron, if both day fields are given, a day matches if one of them
    does.

    Times are in the local time zone.  When the local clock jumps, they follow cron.  With ``*`` in the minute or the hour, the
    schedule is an interval, and goes on as if nothing had happened.  Other schedules have fixed times: a time that comes twice
    is due the first time, and a time that the clock skips is due right after the jump.

    Raises ValueError for fields that make no sense, or whose dates never come, such as 30 February.

    Owner: immutable.
    """

    __slots__ = ("text", "_minutes", "_hours", "_days", "_months", "_weekdays", "_either_day", "_is_interval")

    def __init__(self, text: bytes) -> None:
        words = text.decode("latin-1").split()
        if len(words) != len(_SCHEDULE_FIELDS):
            raise ValueError("A schedule has five fields")
        self.text = b" ".join(word.encode("latin-1") for word in words)
        self._minutes, self._hours, self._days, self._months, self._weekdays = [
            _parse_field(word, *field) for word, field in zip(words, _SCHEDULE_FIELDS)]
        self._either_day = words[2] != "*" and words[4] != "*"
        self._is_interval = "*" in words[0] + words[1] or len(self._minutes) == 60 or len(self._hours) == 24
        if not self._either_day and self._days[0] > max(_MONTH_LENGTHS[month - 1] for month in self._months):
            raise ValueError("The schedule never comes due")

    def __repr__(self) -> str:
        return "<Schedule %s>" % self.text.decode("latin-1")

    def next_time(self, after: float) -> float:
        """The first unix time after `after` that matches.

        Raises ValueError if there is none within eight years, or if `after` is beyond the calendar.
        """
        try:
            moment = self._next_interval(after) if self._is_interval else self._next_fixed(after)
        except (OverflowError, OSError, ValueError):  # of datetime
            moment = None
        if moment is None:
            raise ValueError("The schedule never comes due")
        return float(moment)

    def corrected(self, due: float, wall: float) -> float:
        """When a job is due that was due at `due`, now that the clock, which may have been set back, says `wall`.

        As in cron, fixed times do not come again after a change of less than three hours.
        """
        first = self.next_time(wall)
        if first < due and (self._is_interval or self.next_time(wall + _SMALL_CHANGE) < due):
            return first
        return due

    def _next_interval(self, after: float) -> "Optional[int]":
        moment = int(after // 1)
        moment += 60 - _local_seconds(moment) % 60
        limit = moment + 366 * _DAY_SECONDS * _YEARS_AHEAD
        while moment < limit:
            local = _local_seconds(moment)
            match = self._next_match(local)
            if match == local:
                return moment
            end = moment + _DAY_SECONDS
            if _local_seconds(end) - end != local - moment:
                end = _clock_change(moment, end)
            due = moment + match - local
            if due < end:
                return due
            # After this day, a clock that is set back repeats only times before the match.
            moment = max(end, due - 2 * _DAY_SECONDS) if end - moment == _DAY_SECONDS else end
        return None

    def _next_fixed(self, after: float) -> int:
        local = _local_seconds(int(after // 1)) // 60 * 60
        while True:
            local = self._next_match(local + 60)
            moment = _first_moment(local)
            if moment > after:
                return moment

    def _next_match(self, local: int) -> int:
        """The first minute from `local` on that matches; both are seconds of a clock that never jumps."""
        day, second = divmod(local, _DAY_SECONDS)
        if self._next_day(day) == day:
            hour, minute = second // 3600, second % 3600 // 60
            for match in self._hours:
                if match == hour:
                    for later in self._minutes:
                        if later >= minute:
                            return day * _DAY_SECONDS + hour * 3600 + later * 60
                elif match > hour:
                    return day * _DAY_SECONDS + match * 3600 + self._minutes[0] * 60
        return self._next_day(day + 1) * _DAY_SECONDS + self._hours[0] * 3600 + self._minutes[0] * 60

    def _next_day(self, day: int) -> int:
        """The first day from `day` on that matches; both are days since 1970."""
        from datetime import date
        first = date.fromordinal(_EPOCH_DAY + day)
        for year in range(first.year, first.year + _YEARS_AHEAD):
            for month in self._months:
                if year > first.year or month >= first.month:
                    start = first.day if (year, month) == (first.year, first.month) else 1
                    match = self._day_of_month(date(year, month, 1), start)
                    if match:
                        return date(year, month, match).toordinal() - _EPOCH_DAY
        raise ValueError("no such day")

    def _day_of_month(self, first: "Any", start: int) -> int:
        """The first day from `start` on that matches, in the month that begins with the date `first`; 0 if there is none."""
        weekday = first.weekday() - 1  # of the day before `first`
        length = _MONTH_LENGTHS[first.month - 1]
        if first.month == 2 and (first.year % 4 or first.year % 100 == 0 and first.year % 400):
            length = 28
        days, weekdays = self._days, self._weekdays
        for day in (range(start, length + 1) if self._either_day else days):
            if start <= day <= length:
                if (weekday + day) % 7 in weekdays or self._either_day and day in days:
                    return day
        return 0


def _parse_field(word: str, name: str, lowest: int, highest: int) -> "Tuple[int, ...]":
    mistake = "The %s field of a schedule cannot be %r" % (name, word)
    parts = set(word.split(","))
    if len(parts) > _MOST_PARTS:
        raise ValueError(mistake)
    values = set()  # type: Set[int]
    for part in parts:
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
            raise ValueError(mistake) from None
        if not lowest <= start <= end <= highest or not stride:
            raise ValueError(mistake)
        values.update(range(start, end + 1, stride))
    return tuple(sorted(values))


def _parse_number(text: str) -> int:
    if not 1 <= len(text) <= 4 or text.strip("0123456789"):
        raise ValueError("not a number: %r" % text)
    return int(text)


def _local_seconds(moment: int) -> int:
    """What the local clock shows at a unix time, in seconds; a clock in UTC shows the same at that unix time."""
    from datetime import datetime
    shown = datetime.fromtimestamp(moment)
    return ((shown.toordinal() - _EPOCH_DAY) * 24 + shown.hour) * 3600 + shown.minute * 60 + shown.second


def _clock_change(before: int, after: int) -> int:
    """The first full minute after `before`, and not after `after`, at which the local clock has jumped."""
    offset = _local_seconds(before) - before
    while after - before > 60:
        middle = before + (after - before) // 120 * 60
        if _local_seconds(middle) - middle == offset:
            before = middle
        else:
            after = middle
    return after


def _first_moment(local: int) -> int:
    """The unix time at which the local clock first shows a time, or at which it jumps over that time."""
    day_before, day_after = local - _DAY_SECONDS, local + _DAY_SECONDS
    offset, later_offset = _local_seconds(day_before) - day_before, _local_seconds(day_after) - day_after
    moment = local - offset
    if offset == later_offset or _local_seconds(moment) == local:
        return moment
    later = local - later_offset
    return later if _local_seconds(later) == local else _clock_change(later, moment)


def read_crontab(text: str) -> "Tuple[bytes, ...]":
    """The five fields of a SUBMIT_JOB_SCHED packet, from a schedule as people write it in a crontab.

    In a crontab, Sunday is day 0 and day 7 of the week.  Days and months have names; so have some schedules, such as `@daily`.

    Raises TypeError for what is not text, and ValueError for what is not a schedule or never comes due.
    """
    if not isinstance(text, str):
        raise TypeError("schedule is %r, not a text such as '*/5 * * * *'" % (text,))
    words = _NICKNAMES.get(text.strip().lower(), text).lower().split()
    if len(words) != len(_SCHEDULE_FIELDS):
        raise ValueError("schedule is %r, not five fields (minute, hour, day of month, month, day of week)" % text)
    for field, names, first in ((3, _MONTHS, 1), (4, _DAYS, 0)):
        for number, name in enumerate(names, first):
            words[field] = words[field].replace(name, str(number))
    try:
        if words[4] != "*":
            days = {(day - 1) % 7 for day in _parse_field(words[4], "day of week", 0, 7)}
            words[4] = ",".join(map(str, sorted(days)))
        fields = tuple(word.encode("latin-1") for word in words)
        Schedule(b" ".join(fields))
    except ValueError as error:  # also for a letter that is not in Latin-1
        raise ValueError("schedule is %r: %s" % (text, error)) from None
    return fields
