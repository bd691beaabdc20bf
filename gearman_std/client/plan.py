"""What the arguments of a call that submits say of a job, whatever its workload."""
from collections import namedtuple
from math import ceil

from ..arguments import as_float, check_callable
from ..schedule import read_crontab
from ..wire.protocol import (SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW,
                             SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, encode_data,
                             encode_function, encode_reducer, encode_unique)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union
    from ..net.system import System
    from ..wire.protocol import Data
    Text = Union[str, bytes]

HIGH, NORMAL, LOW = "high", "normal", "low"
_SUBMIT_TYPES = {(HIGH, False): SUBMIT_JOB_HIGH, (NORMAL, False): SUBMIT_JOB, (LOW, False): SUBMIT_JOB_LOW,
                 (HIGH, True): SUBMIT_JOB_HIGH_BG, (NORMAL, True): SUBMIT_JOB_BG, (LOW, True): SUBMIT_JOB_LOW_BG}
_LARGEST_WORKLOAD = 0xFFFFFFFF - 65536

# The options that every call that submits takes, in the order of `plan_job`.
JOB_OPTIONS = ("unique", "priority", "background", "at", "delay", "schedule", "reducer", "idempotent", "tag", "pass_task",
               "on_status", "on_data", "on_warning")


class Sharing(namedtuple("Sharing", "system serializer job_timeout")):
    """What a client has in common with its tasks."""

    __slots__ = ()
    system: "System"
    serializer: "Any"
    job_timeout: "Optional[float]"


class Plan(namedtuple("Plan", "function unique priority background packet_type leading idempotent tag pass_task "
                      "on_status on_data on_warning sharing")):
    """How jobs are submitted; `leading` is what their packets have before the workload."""

    __slots__ = ()
    function: "bytes"
    unique: "bytes"
    priority: "str"
    background: "bool"
    packet_type: "int"
    leading: "Tuple[bytes, ...]"
    idempotent: "bool"
    tag: "Any"
    pass_task: "Any"
    on_status: "Optional[Callable[..., Any]]"
    on_data: "Optional[Callable[..., Any]]"
    on_warning: "Optional[Callable[..., Any]]"
    sharing: "Sharing"


def plan_job(sharing: Sharing, function: "Text", unique: "Optional[Text]" = None, priority: str = NORMAL,
             background: bool = False, at: "Optional[float]" = None, delay: "Optional[float]" = None,
             schedule: "Optional[str]" = None, reducer: "Optional[Text]" = None, idempotent: bool = False, tag: "Any" = None,
             pass_task: bool = False, on_status: "Optional[Callable[..., Any]]" = None,
             on_data: "Optional[Callable[..., Any]]" = None, on_warning: "Optional[Callable[..., Any]]" = None) -> Plan:
    """What these arguments of `Client.submit` say of a job.

    Raises ValueError for what the protocol cannot carry, TypeError for what is of a wrong type.
    """
    name = encode_function(function)
    key = b"" if unique is None or isinstance(unique, (str, bytes, bytearray)) and not unique else encode_unique(unique)
    if on_status is not None or on_data is not None or on_warning is not None:
        for what, callback in (("on_status", on_status), ("on_data", on_data), ("on_warning", on_warning)):
            if callback is not None:
                check_callable(what, callback)
    if priority not in (HIGH, NORMAL, LOW):
        raise ValueError("a priority is high, normal or low, not %r" % (priority,))
    background = bool(background)
    packet_type = _SUBMIT_TYPES[priority, background]
    leading = (name, key)  # type: Tuple[bytes, ...]
    if at is not None or delay is not None or schedule is not None:
        starts = [what for what, when in (("at", at), ("delay", delay), ("schedule", schedule)) if when is not None]
        if not background or priority != NORMAL or reducer is not None:
            raise ValueError("%s is only for a background job of normal priority without a reducer" % starts[0])
        if len(starts) > 1:
            raise ValueError("a job has one of at, delay and schedule, not %s" % " and ".join(starts))
        packet_type, leading = SUBMIT_JOB_EPOCH, leading + (_read_start(sharing.system, at, delay),)
        if schedule is not None:
            packet_type, leading = SUBMIT_JOB_SCHED, (name, key) + read_crontab(schedule)
    elif reducer is not None:
        if priority != NORMAL:
            raise ValueError("a job with a reducer has normal priority")
        packet_type = SUBMIT_REDUCE_JOB_BACKGROUND if background else SUBMIT_REDUCE_JOB
        leading += (encode_reducer(reducer), b"0")
    return Plan(name, key, priority, background, packet_type, leading, bool(idempotent), tag, pass_task,
                on_status, on_data, on_warning, sharing)


def _read_start(system: "System", at: "Optional[float]", delay: "Optional[float]") -> bytes:
    """The unix time of `at` or `delay`, as SUBMIT_JOB_EPOCH carries it."""
    what, value = ("delay", delay) if delay is not None else ("at", at)
    try:
        if delay is not None and as_float(delay) < 0:
            raise ValueError("delay is %r, less than 0" % (delay,))
        when = system.wall_clock() + as_float(delay) if delay is not None else 0.0 if at is None else as_float(at)
        if not 0 <= when < 2 ** 63:
            raise ValueError("%s is %r, a time at which no job can start" % (what, value))
    except (TypeError, OverflowError):
        raise TypeError("%s is %r, not %s" % (what, value, "a number of seconds" if delay is not None else
                                              "a unix time, which is a number of seconds")) from None
    return b"%d" % ceil(when)


def dump_workload(plan: Plan, workload: "Any") -> "Data":
    """A workload as its packet carries it.  Raises TypeError, ValueError, and what the serializer raises."""
    try:
        data = encode_data(plan.sharing.serializer.dumps(workload))
    except TypeError as error:
        raise TypeError("a workload of type %s does not go through the serializer: %s" % (
            type(workload).__name__, error)) from None
    if len(data) > _LARGEST_WORKLOAD:
        raise ValueError("a workload of %d bytes does not fit into a packet" % len(data))
    return data


def check_options(call: str, options: "Mapping[Any, Any]", *known: str) -> None:
    """Raises TypeError for what is none of the options of a job, nor one of those also `known`."""
    names = JOB_OPTIONS + known  # type: Sequence[str]
    for name in options:
        if name not in names:
            from difflib import get_close_matches
            close = get_close_matches(str(name), names, 1)
            raise TypeError("%s has no argument %s%s" % (call, name, "; is it %s?" % close[0] if close else ""))
