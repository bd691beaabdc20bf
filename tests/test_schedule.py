"""The five fields of cron: when a recurring job is due."""
import os
import time
from datetime import datetime

import pytest

from gearman_std.schedule import Schedule


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


def test_in_spring_a_time_that_does_not_exist_comes_an_hour_later_and_once(zone):
    """In Berlin 2026-03-29 02:00 is followed by 03:00."""
    zone("Europe/Berlin")
    if time.localtime(1782000000).tm_gmtoff != 7200:
        pytest.skip("this system knows no time zones")
    assert following(b"30 2 * * *", "2026-03-28 12:00:00", 2) == ["2026-03-29 03:30", "2026-03-30 02:30"]
    assert following(b"*/30 * * * *", "2026-03-29 01:00:00", 4) == [
        "2026-03-29 01:30", "2026-03-29 03:00", "2026-03-29 03:30", "2026-03-29 04:00"]


def test_in_autumn_a_time_that_comes_twice_is_due_once(zone):
    """In Berlin 2026-10-25 03:00 is followed by 02:00."""
    zone("Europe/Berlin")
    assert following(b"30 2 * * *", "2026-10-24 12:00:00", 2) == ["2026-10-25 02:30", "2026-10-26 02:30"]


@pytest.mark.parametrize("fields", (
    b"", b"* * * *", b"* * * * * *", b"60 * * * *", b"* 24 * * *", b"* * 0 * *", b"* * 32 * *", b"* * * 0 *", b"* * * 13 *",
    b"* * * * 7", b"-1 * * * *", b"5- * * * *", b"-5 * * * *", b"*-5 * * * *", b"30-10 * * * *", b"*/0 * * * *", b"*/ * * * *",
    b"/5 * * * *", b", * * * *", b"1,,2 * * * *", b"1, * * * *", b"+5 * * * *", b"1_0 * * * *", b"\xb2 * * * *", b"a * * * *",
    b"1.5 * * * *", b"0-999999999999 * * * *", b"9" * 8000 + b" * * * *", b"* * * * *\xff", b"*/99999999999999999999 * * * *"))
def test_fields_that_mean_nothing_are_a_value_error(fields):
    with pytest.raises(ValueError):
        Schedule(fields)


@pytest.mark.parametrize("fields", (b"0 0 30 2 *", b"0 0 31 2,4,6,9,11 *"))
def test_a_date_that_never_is_is_a_value_error(zone, fields):
    with pytest.raises(ValueError, match="never comes due"):
        Schedule(fields).next_time(stamp("2026-01-01 00:00:00"))


@pytest.mark.parametrize("after", (253402300000.0, 1e15, 1e300, float("inf"), -1e300))
def test_a_time_beyond_the_calendar_is_a_value_error(after):
    with pytest.raises(ValueError, match="never comes due"):
        Schedule(b"* * * * *").next_time(after)


def test_repr_and_text_are_the_fields_in_one_form():
    schedule = Schedule(b" */5  1-3 *\t* 0 ")
    assert schedule.text == b"*/5 1-3 * * 0" and repr(schedule) == "<Schedule */5 1-3 * * 0>"
