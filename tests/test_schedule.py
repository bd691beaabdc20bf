"""The five fields of cron: when a recurring job is due."""
import os
import random
import time
from datetime import datetime, timedelta

import pytest

from gearman_std.schedule import Schedule
from samples import few


@pytest.fixture
def zone():
    """zone(name) sets the local time zone for the test."""
    before = os.environ.get("TZ")

    def zone(name):
        if not hasattr(time, "tzset"):
            pytest.skip("this system's time zone cannot be set")
        os.environ["TZ"] = name
        time.tzset()
    zone("UTC")
    yield zone
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def stamp(text):
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").timestamp()


def following(fields, after, count=1):
    """The next times after one, as text."""
    schedule, moment, times = Schedule(fields), stamp(after), []
    for _ in range(count):
        following = schedule.next_time(moment)
        assert following > moment
        moment = following
        times.append(datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M"))
    return times


@pytest.mark.parametrize("fields, after, wanted", (
    (b"* * * * *", "2026-03-05 10:20:00", ["2026-03-05 10:21", "2026-03-05 10:22"]),
    (b"* * * * *", "2026-03-05 10:20:59", ["2026-03-05 10:21"]),
    (b"30 * * * *", "2026-03-05 10:30:00", ["2026-03-05 11:30"]),
    (b"*/20 * * * *", "2026-03-05 10:20:00", ["2026-03-05 10:40", "2026-03-05 11:00"]),
    (b"5/20 * * * *", "2026-03-05 10:20:00", ["2026-03-05 10:25", "2026-03-05 10:45", "2026-03-05 11:05"]),
    (b"10-30/10 * * * *", "2026-03-05 10:20:00", ["2026-03-05 10:30", "2026-03-05 11:10"]),
    (b"1,3,2 * * * *", "2026-03-05 10:01:00", ["2026-03-05 10:02", "2026-03-05 10:03", "2026-03-05 11:01"]),
    (b"0 0 * * *", "2026-12-31 23:59:59", ["2027-01-01 00:00"]),
    (b"0 0 31 * *", "2026-01-31 00:00:00", ["2026-03-31 00:00", "2026-05-31 00:00"]),
    (b"0 0 1 * *", "2026-02-28 12:00:00", ["2026-03-01 00:00"]),
    (b"0 12 29 2 *", "2026-01-01 00:00:00", ["2028-02-29 12:00", "2032-02-29 12:00"]),
    (b"0 12 29 2 *", "2096-03-01 00:00:00", ["2104-02-29 12:00"]),
    (b"15 6 * 4 *", "2026-04-30 06:15:00", ["2027-04-01 06:15"]),
    (b"59 23 31 12 *", "2026-12-31 23:59:00", ["2027-12-31 23:59"])))
def test_times(zone, fields, after, wanted):
    assert following(fields, after, len(wanted)) == wanted


def test_monday_is_day_0_of_the_week(zone):
    """2026-03-09 is a Monday."""
    assert following(b"0 9 * * 0", "2026-03-05 00:00:00") == ["2026-03-09 09:00"]
    assert following(b"0 9 * * 6", "2026-03-05 00:00:00") == ["2026-03-08 09:00"]
    assert following(b"0 9 * * 5,6", "2026-03-05 00:00:00", 3) == ["2026-03-07 09:00", "2026-03-08 09:00", "2026-03-14 09:00"]


def test_either_day_field_matches_when_both_are_given(zone):
    assert following(b"0 0 13 * 4", "2026-03-05 12:00:00", 3) == ["2026-03-06 00:00", "2026-03-13 00:00", "2026-03-20 00:00"]


def test_a_year_of_every_quarter_of_an_hour_without_daylight_saving_has_no_gap(zone):
    schedule, moment = Schedule(b"*/15 * * * *"), stamp("2028-01-01 00:00:00")
    for _ in range(366 * 24 * 4):
        assert schedule.next_time(moment) == moment + 900
        moment += 900


@pytest.fixture
def moving_zone(zone):
    """moving_zone(name) sets a time zone whose clock jumps twice a year, if this system knows it."""
    def moving_zone(name):
        zone(name)
        if len({time.localtime(1767225600 + day * 86400).tm_gmtoff for day in range(366)}) != 2:
            pytest.skip("this system knows no time zones")
    return moving_zone


def test_in_spring_a_fixed_time_that_does_not_exist_is_due_when_the_clock_has_jumped(moving_zone):
    """In Berlin 2026-03-29 02:00 is followed by 03:00."""
    moving_zone("Europe/Berlin")
    assert following(b"30 2 * * *", "2026-03-28 12:00:00", 2) == ["2026-03-29 03:00", "2026-03-30 02:30"]
    assert following(b"10,30 2,3 * * *", "2026-03-29 01:59:59", 3) == [
        "2026-03-29 03:00", "2026-03-29 03:10", "2026-03-29 03:30"]
    assert following(b"*/30 * * * *", "2026-03-29 01:00:00", 4) == [
        "2026-03-29 01:30", "2026-03-29 03:00", "2026-03-29 03:30", "2026-03-29 04:00"]


def test_in_autumn_a_fixed_time_that_comes_twice_is_due_once(moving_zone):
    """In Berlin 2026-10-25 03:00 is followed by 02:00."""
    moving_zone("Europe/Berlin")
    assert following(b"30 2 * * *", "2026-10-24 12:00:00", 2) == ["2026-10-25 02:30", "2026-10-26 02:30"]
    assert Schedule(b"30 2 * * *").next_time(1792890000 - 60) == stamp("2026-10-26 02:30:00"), "nor in the hour's second half"


@pytest.mark.parametrize("name, change", (("Europe/Berlin", 1792890000), ("Australia/Lord_Howe", 1775314800)))
def test_in_autumn_an_interval_goes_on(moving_zone, name, change):
    """The clock is set back at `change`, by an hour or by half of one."""
    moving_zone(name)
    for fields, minutes in ((b"* * * * *", 1), (b"*/5 * * * *", 5), (b"0-59 0-23 * * *", 1)):
        schedule, moment = Schedule(fields), change - 7200
        while moment < change + 7200:
            assert schedule.next_time(moment) == moment + minutes * 60
            moment += minutes * 60


def due_times(fields, first, last):
    """When cron would run it: each minute looked at, fixed times by a clock that is never set back."""
    schedule, latest = Schedule(fields), None
    interval = b"*" in b"".join(fields.split()[:2])
    for moment in range(first, last, 60):
        clock = datetime.fromtimestamp(moment)
        shown = [clock]
        if not interval:
            if latest is None:
                latest = clock - timedelta(minutes=1)
            shown = [latest + timedelta(minutes=minute + 1) for minute in range(int((clock - latest).total_seconds()) // 60)]
            latest = max(latest, clock)
        if any(one.minute in schedule._minutes and one.hour in schedule._hours and one.day in schedule._days
               and one.month in schedule._months and one.weekday() in schedule._weekdays for one in shown):
            yield moment


@pytest.mark.parametrize("place", few((
    ("Europe/Berlin", (1774746000, 1792890000)), ("Australia/Lord_Howe", (1775314800, 1791041400)),
    ("America/Havana", (1772946000, 1793509200)), ("Antarctica/Troll", (1774746000, 1792890000)),
    ("America/New_York", (1772953200, 1793512800)))), ids=lambda place: place[0])
def test_around_the_nights_when_the_clock_jumps_all_is_due_as_by_cron(moving_zone, place):
    name, changes = place
    moving_zone(name)
    chance = random.Random(name)
    for change in changes:
        assert datetime.fromtimestamp(change) - datetime.fromtimestamp(change - 60) != timedelta(minutes=1), "the clock jumps"
        for _ in range(12):
            minute = chance.choice((b"*", b"*/10", b"0", b"15", b"15,45", b"30", b"1-59/2"))
            hour = chance.choice((b"*", b"*/2", b"0", b"1", b"2", b"1,2,3", b"23", b"2-3"))
            day = chance.choice((b"*", b"*", b"*", b"%d" % datetime.fromtimestamp(change).day))
            fields = b"%s %s %s * *" % (minute, hour, day)
            first, last = change - 86400, change + 2 * 86400
            wanted = list(due_times(fields, first, last))
            schedule, moment, found = Schedule(fields), first - 1.0, []
            while moment < last:
                moment = schedule.next_time(moment)
                found.append(moment)
            assert found[:-1] == wanted, (fields, change)


@pytest.mark.parametrize("fields, due, wall, corrected", (
    (b"* * * * *", "2036-03-05 10:21:00", "2026-03-05 10:20:10", "2026-03-05 10:21:00"),
    (b"30 4 * * *", "2036-03-05 04:30:00", "2026-03-05 10:20:00", "2026-03-06 04:30:00"),
    (b"30 4 * * *", "2026-03-06 04:30:00", "2026-03-05 03:40:00", "2026-03-06 04:30:00"),
    (b"30 4 * * *", "2026-03-06 04:30:00", "2026-03-05 01:20:00", "2026-03-05 04:30:00"),
    (b"30 4 * * *", "2026-03-06 04:30:00", "2026-03-05 10:20:00", "2026-03-06 04:30:00"),
    (b"*/10 * * * *", "2026-03-05 10:30:00", "2026-03-05 09:41:00", "2026-03-05 09:50:00"),
    (b"*/10 * * * *", "2026-03-05 10:30:00", "2026-03-05 12:41:00", "2026-03-05 10:30:00")))
def test_after_the_clock_was_set_back(zone, fields, due, wall, corrected):
    """Fixed times do not come twice for less than three hours; a time that has passed is left as it is."""
    assert Schedule(fields).corrected(stamp(due), stamp(wall)) == stamp(corrected)


@pytest.mark.parametrize("fields", (
    b"", b"* * * *", b"* * * * * *", b"60 * * * *", b"* 24 * * *", b"* * 0 * *", b"* * 32 * *", b"* * * 0 *", b"* * * 13 *",
    b"* * * * 7", b"-1 * * * *", b"5- * * * *", b"-5 * * * *", b"*-5 * * * *", b"30-10 * * * *", b"*/0 * * * *", b"*/ * * * *",
    b"/5 * * * *", b", * * * *", b"1,,2 * * * *", b"1, * * * *", b"+5 * * * *", b"1_0 * * * *", b"\xb2 * * * *", b"a * * * *",
    b"1.5 * * * *", b",".join(b"%d" % number for number in range(60)) + b",00 * * * *",
    b"0-999999999999 * * * *", b"9" * 8000 + b" * * * *", b"* * * * *\xff", b"*/99999999999999999999 * * * *"))
def test_fields_that_mean_nothing_are_a_value_error(fields):
    with pytest.raises(ValueError):
        Schedule(fields)


@pytest.mark.parametrize("fields", (b"0 0 30 2 *", b"0 0 31 2,4,6,9,11 *"))
def test_a_date_that_never_is_is_refused_when_it_is_read(fields):
    with pytest.raises(ValueError, match="never comes due"):
        Schedule(fields)


def test_a_list_is_a_set(zone):
    schedule = Schedule(b"5," * 2000 + b"5 " + b"*/4 31,30,30 " + b"1,2," * 1000 + b"2 *")
    assert len(schedule._minutes) == 1 and schedule._days == (30, 31) and schedule._months == (1, 2)


def test_no_time_is_searched_for_long(zone):
    """However rare it is, what is looked at is some months and a day's hours, never a day after the other."""
    looked = []
    for fields in (b"0 0 29 2 *", b"59 23 29 2 *", b"*/7 3 29 2 *", b"0 0 31 12 *", b"0 0 29 2 3"):
        schedule = Schedule(fields)
        before = Schedule._day_of_month
        try:
            Schedule._day_of_month = lambda *arguments: looked.append(1) or before(*arguments)
            schedule.next_time(stamp("2096-03-01 00:00:00"))
        finally:
            Schedule._day_of_month = before
        assert len(looked) < 120, fields
        looked.clear()


@pytest.mark.parametrize("after", (253402300741.0, 1e15, 1e300, float("inf"), -1e300))
def test_a_time_beyond_the_calendar_is_a_value_error(after):
    with pytest.raises(ValueError, match="never comes due"):
        Schedule(b"* * * * *").next_time(after)


def test_repr_and_text_are_the_fields_in_one_form():
    schedule = Schedule(b" */5  1-3 *\t* 0 ")
    assert schedule.text == b"*/5 1-3 * * 0" and repr(schedule) == "<Schedule */5 1-3 * * 0>"
