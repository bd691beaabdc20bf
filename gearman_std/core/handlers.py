"""What the core does for each packet: one function for each packet type, called with the core, the peer and the arguments.

A peer's mistake is answered with an ERROR packet and changes nothing.  Where packet types differ in a detail only, one function
makes the functions for all of them.
"""
from ..schedule import Schedule
from ..wire.protocol import (ALL_YOURS, CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, EXCEPTION_ENDS_JOB, GET_STATUS,
                             GET_STATUS_UNIQUE, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, LARGE_BODY, NO_JOB,
                             OPTION_REQ, OPTION_RES, PACKETS, PRE_SLEEP, RESET_ABILITIES, RESPONSE_MAGIC, SET_CLIENT_ID,
                             STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH,
                             SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB,
                             SUBMIT_REDUCE_JOB_BACKGROUND, TEXT_LINE, TOO_FEW_ARGUMENTS, WORK_COMPLETE, WORK_DATA,
                             WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING, WRONG_MAGIC, pack_header, pack_response,
                             parse_number)
from .abilities import register_ability, unregister_ability, unregister_all
from .attempts import assign, attempt_failed, finish, joins_in_turns
from .jobs import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL, RUNNING
from .results import collect, keep_end
from .rights import SUBMIT, WORK, permitted
from .statistics import END_COMPLETED
from .submits import submit
from .text import answer, is_order, needs_no_jobs, permitted_commands
from .turns import ASK, GO_ON, MANY
from .watchers import count_watchers, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple
    from ..wire.protocol import Data, Packet
    from .jobs import Job
    from .peers import Peer
    from .state import CoreState
    Arguments = Sequence[Any]  # those that protocol.PACKETS names: bytes, but for a large last one, which is a memoryview
    Handler = Callable[["CoreState", Peer, Arguments], None]

MAX_CLIENT_ID_SIZE = 127
MAX_REDUCER_SIZE = 64

_EARLY_PACKETS = frozenset((ECHO_REQ, OPTION_REQ, SET_CLIENT_ID, WRONG_MAGIC, TOO_FEW_ARGUMENTS, GO_ON))
_NO_JOB_PACKET = pack_response(NO_JOB)


# -------------------------------------------------------------------------------------------------------- packets from clients

def _submits(priority: int, background: bool) -> "Handler":
    def on_submit_job(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
        function, unique, workload = arguments
        submit(core, peer, function, unique, workload, priority, background)
    return on_submit_job


def on_submit_job_epoch(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    function, unique, epoch, workload = arguments
    due = parse_number(epoch)
    if due >= 1 << 63:
        peer.error(b"INVALID_ARGUMENTS", b"The time is out of range")
    else:
        # A time that has passed counts as no time: the job does not wait for it again if the clock is set back.
        submit(core, peer, function, unique, workload, PRIORITY_NORMAL, True, due=float(due) if due > core.wall else 0.0)


def on_submit_job_sched(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    function, unique = arguments[:2]
    workload = arguments[7]
    try:
        schedule = Schedule(b" ".join(field.strip() or b"*" for field in arguments[2:7]))  # an empty one means any
        due = schedule.next_time(core.wall)
    except ValueError as error:
        peer.error(b"INVALID_ARGUMENTS", str(error).encode())
    else:
        submit(core, peer, function, unique, workload, PRIORITY_NORMAL, True, due=due, schedule=schedule)


def _submits_reduce(background: bool) -> "Handler":
    def on_submit_reduce_job(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
        function, unique, reducer, _, workload = arguments
        if len(reducer) > MAX_REDUCER_SIZE:
            peer.error(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
        else:
            submit(core, peer, function, unique, workload, PRIORITY_NORMAL, background, reducer=reducer)
    return on_submit_reduce_job


def on_get_status(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (handle,) = arguments
    # For clients that wait, a job that was set aside is over, as it would be in gearmand.
    handle = handle.rstrip(b"\0")
    peer.send(pack_response(STATUS_RES, handle, *_status_of(core.jobs.get(handle))))


def on_get_status_unique(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (unique,) = arguments
    unique = _before_nul(unique)
    job = core.uniques.find(unique)
    watchers = count_watchers(job) if job is not None else 0
    if job is not None and len(job.watchers) > MANY:
        core.turns.enough()  # each of them was looked at
    peer.send(pack_response(STATUS_RES_UNIQUE, unique, *(_status_of(job) + (b"%d" % watchers,))))


def _before_nul(text: bytes) -> bytes:
    """A text up to its first NUL, as C reads it: some clients send the NUL at its end, too."""
    return text.partition(b"\0")[0]


def _status_of(job: "Optional[Job]") -> "Tuple[bytes, bytes, bytes, bytes]":
    """Whether a job is known and runs, numerator and denominator."""
    if job is None:
        return b"0", b"0", b"0", b"0"
    numerator, denominator = job.progress or (0, 0)
    return b"1", b"1" if job.state is RUNNING else b"0", b"%d" % numerator, b"%d" % denominator


def on_option_req(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (option,) = arguments
    if _before_nul(option).lower() == b"exceptions":
        peer.exceptions = True
        peer.send(pack_response(OPTION_RES, option))
    elif option == EXCEPTION_ENDS_JOB:
        peer.send(pack_response(OPTION_RES, option))
    else:
        peer.error(b"UNKNOWN_OPTION", b"Server does not recognize given option")


# -------------------------------------------------------------------------------------------------------- packets from workers

def on_can_do(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (function,) = arguments
    register_ability(core, peer, function, 0.0)


def on_can_do_timeout(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    function, timeout_ms = arguments
    milliseconds = parse_number(timeout_ms)
    if milliseconds >= 10 ** 20:
        peer.error(b"INVALID_ARGUMENTS", b"The time limit is out of range")
    else:
        # gearmand's floor of one second is kept: workers registered for it send smaller numbers meaning seconds.
        register_ability(core, peer, function, max(1.0, milliseconds / 1000.0) if milliseconds > 0 else 0.0)


def on_cant_do(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (function,) = arguments
    unregister_ability(core, peer, function)


def on_reset_abilities(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    unregister_all(core, peer)


def on_set_client_id(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (client_id,) = arguments
    peer.identify(_before_nul(client_id)[:MAX_CLIENT_ID_SIZE])


def _put_off(core: "CoreState", peer: "Peer", packet_type: int) -> None:
    """Answer this grab later: the peer waits for the store, and could not be told of a job before that."""
    core.turns.put_off(packet_type)
    peer.put_off = True


def on_all_yours(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    peer.all_yours = peer.all_yours or GRAB_JOB


def on_pre_sleep(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    if peer.holds:
        _put_off(core, peer, PRE_SLEEP)
    elif peer.ability_set is not None or not joins_in_turns(core, peer, PRE_SLEEP):
        core.roster.fall_asleep(peer)


def on_grab_job(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    if peer.holds:
        _put_off(core, peer, GRAB_JOB)
        return
    if peer.ability_set is None and joins_in_turns(core, peer, GRAB_JOB):
        return
    if peer.all_yours:
        peer.all_yours = GRAB_JOB
    job = assign(core, peer)
    if job is None:
        peer.send(_NO_JOB_PACKET)
    elif len(job.workload) < LARGE_BODY:
        # What `Peer.hand_over` does, with four calls less (benchmark: every round trip).
        body = b"\0".join((job.handle, job.function.name, job.workload))
        outgoing = peer.outgoing
        if not outgoing:
            core.unsent.append(peer)
        outgoing.append(pack_header(RESPONSE_MAGIC, JOB_ASSIGN, len(body)) + body)
    else:
        peer.hand_over(job, GRAB_JOB)


def _grabs(packet_type: int) -> "Handler":
    def on_grab(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
        if peer.holds:
            _put_off(core, peer, packet_type)
            return
        if peer.ability_set is None and joins_in_turns(core, peer, packet_type):
            return
        if peer.all_yours:
            peer.all_yours = packet_type
        job = assign(core, peer)
        if job is None:
            peer.send(_NO_JOB_PACKET)
        else:
            peer.hand_over(job, packet_type)
    return on_grab


def on_work_status(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    handle, numerator, denominator = arguments
    job = peer.running.get(handle)
    if job is None:
        peer.error(b"JOB_NOT_FOUND", b"Job given in work result not found")
        return
    job.progress = (parse_number(numerator) & 0xffffffff, parse_number(denominator) & 0xffffffff)
    if job.watchers:
        packet = pack_response(WORK_STATUS, handle, numerator, denominator)
        if job.extras.joins:
            tell(core.turns, job, lambda watcher: watcher.send(packet), peer)
        else:
            job.watchers[0].send(packet)


def _relays(packet_type: int) -> "Handler":
    def on_work_data(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
        handle, data = arguments
        job = peer.running.get(handle)
        if job is None:
            peer.error(b"JOB_NOT_FOUND", b"Job does not exist on server")
        else:
            if packet_type == WORK_DATA and job.background and job.function.policy.keep:
                collect(job, data)
            _relay(core, job, packet_type, handle, data, peer)
    return on_work_data


def _relay(core: "CoreState", job: "Job", packet_type: int, handle: bytes, data: "Data", worker: "Optional[Peer]") -> None:
    """Send a worker's packet to all who watch a job: the same bytes, as they may be many."""
    if not job.watchers:
        return
    if len(data) < LARGE_BODY and not job.extras.joins:
        job.watchers[0].send(pack_response(packet_type, handle, data))
        return
    if len(data) < LARGE_BODY:
        packet = pack_response(packet_type, handle, data)

    def send(watcher: "Peer") -> None:
        if len(data) < LARGE_BODY:
            watcher.send(packet)
        else:
            watcher.send_data(packet_type, data, handle)
    tell(core.turns, job, core.ledger.held(job, send) if worker is None else send, worker)


def _refuse_late(core: "CoreState", peer: "Peer", handle: bytes, text: bytes) -> None:
    """Answer a worker that ends a job which it does not have, or no longer has."""
    core.counters["late_results"] += 1
    function = peer.taken_away.pop(handle, None)
    if function is not None:
        function.count("late")
    peer.error(b"JOB_NOT_FOUND", text)


def on_work_complete(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    handle, data = arguments
    job = peer.running.get(handle)
    if job is None:
        _refuse_late(core, peer, handle, b"Job given in work result not found")
        return
    if job.background:
        if core.ledger.durable:
            # A stored job has ended only when the store knows of it.
            core.ledger.hold(peer)  # `_relay` holds its watchers, who have all joined it
        if job.function.policy.keep:
            keep_end(core, job, END_COMPLETED, core.now - job.since, b"", data)
    watchers = job.watchers
    if watchers:
        if job.extras.joins or len(data) >= LARGE_BODY:
            _relay(core, job, WORK_COMPLETE, handle, data, None)
        else:
            # What `_relay` does, with three calls less (benchmark: every round trip).
            (watcher,) = watchers
            outgoing = watcher.outgoing
            if not outgoing:
                core.unsent.append(watcher)
            body = b"\0".join(arguments)
            outgoing.append(pack_header(RESPONSE_MAGIC, WORK_COMPLETE, len(body)) + body)
    finish(core, peer, job)


def on_work_fail(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (handle,) = arguments
    job = peer.running.get(handle.rstrip(b"\0"))
    if job is None:
        _refuse_late(core, peer, handle.rstrip(b"\0"), b"Job given in work result not found")
    else:
        if job.background:
            core.ledger.hold(peer)
        attempt_failed(core, job, b"the worker failed it", None, handle)


def on_work_exception(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    handle, data = arguments
    job = peer.running.get(handle)
    if job is None:
        _refuse_late(core, peer, handle, b"An exception was received for a job that does not exist")
    else:
        if job.background:
            core.ledger.hold(peer)
        attempt_failed(core, job, bytes(data[:1024]), data, handle)


# -------------------------------------------------------------------------------------------------------- packets from anybody

def on_echo_req(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (data,) = arguments
    peer.send_data(ECHO_RES, data)


def _answers(rights: "FrozenSet[str]") -> "Handler":
    commands = permitted_commands(rights)

    def on_text_line(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
        (line,) = arguments
        if peer.closing:
            return  # an earlier line has ended the connection
        recorded = len(core.ledger.records)
        reply = answer(core, commands, line)
        if len(core.ledger.records) != recorded:
            core.ledger.hold(peer)  # because the answer says that something was done
        if reply is None:
            peer.closing = True
        elif isinstance(reply, bytes):
            peer.send(reply)
        else:
            core.turns.undertake(peer, reply, lasts=is_order(line))
    return on_text_line


def on_wrong_magic(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    peer.error(b"INVALID_MAGIC", b"Request magic expected")


def on_too_few_arguments(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    (name,) = arguments
    peer.error(b"INVALID_ARGUMENTS", b"Too few arguments for " + name)


def on_go_on(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    core.turns.go_on(peer)


def on_ask(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    question, is_order = arguments
    core.turns.undertake(peer, question(core, peer), lasts=bool(is_order))


def on_unexpected(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    peer.error(b"INVALID_COMMAND", b"Command not expected")


def on_forbidden(core: "CoreState", peer: "Peer", arguments: "Arguments") -> None:
    peer.error(b"FORBIDDEN", b"This connection may not do that")


# --------------------------------------------------------------------------------------------------------------------- rules

def obeyed_early(packet: "Packet") -> bool:
    """Whether a packet can be obeyed before all stored jobs are read, such as a question that is not about one job."""
    packet_type, arguments = packet
    if packet_type == ASK:
        return not arguments[1]
    return packet_type in _EARLY_PACKETS or packet_type == TEXT_LINE and needs_no_jobs(arguments[0])  # type: ignore[arg-type]


def handler_table(rights: "FrozenSet[str]") -> "List[Callable[..., None]]":
    """The handlers of a peer with these rights, by packet type."""
    handlers = permitted(_HANDLERS, rights, on_forbidden)
    return [handlers.get(number, on_unexpected) for number in range(max(PACKETS) + 1)] + [
        _answers(rights), on_wrong_magic, on_too_few_arguments, on_go_on, on_ask]


_HANDLERS = {
    SUBMIT_JOB: (SUBMIT, _submits(PRIORITY_NORMAL, False)),
    SUBMIT_JOB_HIGH: (SUBMIT, _submits(PRIORITY_HIGH, False)),
    SUBMIT_JOB_LOW: (SUBMIT, _submits(PRIORITY_LOW, False)),
    SUBMIT_JOB_BG: (SUBMIT, _submits(PRIORITY_NORMAL, True)),
    SUBMIT_JOB_HIGH_BG: (SUBMIT, _submits(PRIORITY_HIGH, True)),
    SUBMIT_JOB_LOW_BG: (SUBMIT, _submits(PRIORITY_LOW, True)),
    SUBMIT_JOB_EPOCH: (SUBMIT, on_submit_job_epoch),
    SUBMIT_JOB_SCHED: (SUBMIT, on_submit_job_sched),
    SUBMIT_REDUCE_JOB: (SUBMIT, _submits_reduce(False)),
    SUBMIT_REDUCE_JOB_BACKGROUND: (SUBMIT, _submits_reduce(True)),
    GET_STATUS: ("", on_get_status),
    GET_STATUS_UNIQUE: ("", on_get_status_unique),
    OPTION_REQ: ("", on_option_req),
    SET_CLIENT_ID: ("", on_set_client_id),
    ECHO_REQ: ("", on_echo_req),
    CAN_DO: (WORK, on_can_do),
    CAN_DO_TIMEOUT: (WORK, on_can_do_timeout),
    CANT_DO: (WORK, on_cant_do),
    RESET_ABILITIES: (WORK, on_reset_abilities),
    ALL_YOURS: (WORK, on_all_yours),
    PRE_SLEEP: (WORK, on_pre_sleep),
    GRAB_JOB: (WORK, on_grab_job),
    GRAB_JOB_UNIQ: (WORK, _grabs(GRAB_JOB_UNIQ)),
    GRAB_JOB_ALL: (WORK, _grabs(GRAB_JOB_ALL)),
    WORK_STATUS: (WORK, on_work_status),
    WORK_DATA: (WORK, _relays(WORK_DATA)),
    WORK_WARNING: (WORK, _relays(WORK_WARNING)),
    WORK_COMPLETE: (WORK, on_work_complete),
    WORK_FAIL: (WORK, on_work_fail),
    WORK_EXCEPTION: (WORK, on_work_exception),
}  # type: Dict[int, Tuple[str, Handler]] # by packet type: the right that it takes, if any, and who obeys it
