"""The worker's half of the protocol: bytes in, bytes out."""
import pytest

from gearman_std.errors import ProtocolError, ServerError
from gearman_std.wire.protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, EXCEPTION_ENDS_JOB, GRAB_JOB,
                                       GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, JOB_CREATED,
                                       NO_JOB, NOOP, OPTION_REQ, OPTION_RES, PRE_SLEEP, RESPONSE_MAGIC, SET_CLIENT_ID,
                                       TOO_FEW_ARGUMENTS, TOO_LARGE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       WORK_STATUS, WORK_WARNING, WRONG_MAGIC, PacketReader, pack_request)
from gearman_std.wire.worker_session import (DRY, RETIRING, SESSION_ARROWS, SESSION_ASLEEP, SESSION_AWAKE, SESSION_STATES,
                                             Assignment, WorkerSession)

from pictures import drawn
from worker_tools import World


class Story:
    """A session whose every byte must be asked for."""

    def __init__(self, abilities=((b"f", 0),), knows_option=True, **options):
        self.session = WorkerSession(abilities, **options)
        option = self.session.outgoing.pop(0)
        assert option == pack_request(OPTION_REQ, EXCEPTION_ENDS_JOB)
        if knows_option:
            assert self.gets(OPTION_RES, EXCEPTION_ENDS_JOB) is None

    def sends(self, *packets):
        sent = b"".join(bytes(piece) for piece in self.session.outgoing)
        self.session.outgoing = []
        assert sent == b"".join(pack_request(*packet) for packet in packets)

    def gets(self, packet_type, *arguments):
        return self.session.receive(packet_type, arguments)


@pytest.fixture
def story():
    """A session that has said what it can do."""
    story = Story()
    story.sends((CAN_DO, b"f"))
    yield story
    story.sends()


@pytest.fixture
def proven(story):
    """A session with one job, whose server knows GRAB_JOB_ALL."""
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    story.job = story.gets(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"u", b"work")
    return story


def test_introduces_itself_and_its_functions():
    story = Story([(b"f", 0), (b"g", 1500)], client_id=b"me")
    story.sends((SET_CLIENT_ID, b"me"), (CAN_DO, b"f"), (CAN_DO_TIMEOUT, b"g", b"1500"))


def test_sleeps_only_when_there_is_no_job(story):
    session = story.session
    assert session.can_grab
    session.grab()
    story.sends((GRAB_JOB_ALL,))
    assert not session.can_grab
    assert story.gets(NO_JOB) is None
    story.sends((PRE_SLEEP,))
    assert session.state is SESSION_ASLEEP and not session.can_grab
    assert story.gets(NOOP) is None
    assert session.can_grab
    session.grab()
    story.sends((GRAB_JOB_ALL,))
    assert session.grabs == 1


def test_every_kind_of_assignment(proven):
    assert proven.job == (b"H:1", b"f", b"u", b"", b"work")
    for arguments, job in (((JOB_ASSIGN, b"H:2", b"f", b"w"), (b"H:2", b"f", b"", b"", b"w")),
                           ((JOB_ASSIGN_ALL, b"H:3", b"f", b"u", b"r", b"w"), (b"H:3", b"f", b"u", b"r", b"w"))):
        proven.session.grab()
        proven.sends((GRAB_JOB_ALL,))
        assert proven.gets(*arguments) == job


def test_grabs_grow_with_jobs_and_fall_back_without(proven):
    session = proven.session
    session.grab()
    assert session.can_grab
    session.grab()
    assert not session.can_grab
    proven.sends((GRAB_JOB_ALL,), (GRAB_JOB_ALL,))
    proven.gets(NO_JOB)
    assert not session.can_grab, "others are unanswered"
    proven.gets(NO_JOB)
    proven.sends((PRE_SLEEP,))
    proven.gets(NOOP)
    session.grab()
    proven.sends((GRAB_JOB_ALL,))
    assert not session.can_grab, "one at first"


def test_a_job_after_no_job_keeps_it_awake(proven):
    session = proven.session
    session.grab()
    session.grab()
    proven.sends((GRAB_JOB_ALL,), (GRAB_JOB_ALL,))
    proven.gets(NO_JOB)
    assert proven.gets(JOB_ASSIGN_UNIQ, b"H:2", b"f", b"", b"").handle == b"H:2"
    assert session.can_grab and session.state is SESSION_AWAKE


@pytest.mark.parametrize("code", [b"INVALID_COMMAND", b"server_error", b"unknown_command"])
def test_falls_back_when_the_server_does_not_know_the_grab(story, code):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    assert story.gets(ERROR, code, b"what?") is None
    story.sends((GRAB_JOB_UNIQ,))
    assert story.gets(ERROR, code, b"what?") is None
    story.sends((GRAB_JOB,))
    assert story.session.grabs == 1
    with pytest.raises(ProtocolError):
        story.gets(ERROR, code, b"what?")


def test_other_errors_are_reported_and_change_nothing(proven):
    for code, text in ((b"JOB_NOT_FOUND", b"Job given in work result not found"), (b"INVALID_COMMAND", b"what?")):
        error = proven.gets(ERROR, code, text)
        assert isinstance(error, ServerError) and error.code == code.decode()
    proven.session.grab()
    proven.sends((GRAB_JOB_ALL,))
    assert isinstance(proven.gets(ERROR, b"JOB_NOT_FOUND", b"gone"), ServerError)
    assert proven.session.grabs == 1


def test_an_error_about_something_else_is_not_taken_for_the_grabs(story):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    assert isinstance(story.gets(ERROR, b"TOO_MANY", b"functions"), ServerError)
    story.gets(NO_JOB)
    story.sends((PRE_SLEEP,))


def test_results(proven):
    session, job = proven.session, proven.job
    session.status(job, b"1", b"2")
    session.data(job, b"part")
    session.warning(job, b"oh")
    session.complete(job, b"all\0of it")
    proven.sends((WORK_STATUS, b"H:1", b"1", b"2"), (WORK_DATA, b"H:1", b"part"), (WORK_WARNING, b"H:1", b"oh"),
                 (WORK_COMPLETE, b"H:1", b"all\0of it"))


def test_failures(proven):
    """A server that knows the option ends a job at WORK_EXCEPTION; a WORK_FAIL after it would be an error."""
    proven.session.exception(proven.job, b"boom")
    proven.session.fail(proven.job)
    proven.sends((WORK_EXCEPTION, b"H:1", b"boom"), (WORK_FAIL, b"H:1"))


@pytest.mark.parametrize("grab_type, first", [(GRAB_JOB_ALL, WORK_WARNING), (GRAB_JOB_UNIQ, WORK_WARNING),
                                              (GRAB_JOB, WORK_EXCEPTION)])
@pytest.mark.parametrize("answer", [None, (b"UNKNOWN_OPTION", b""), (b"unknown_option", b"?"), (b"INVALID_COMMAND", b"?")])
def test_a_server_without_the_option_is_sent_a_fail_with_the_text_before_it(grab_type, first, answer):
    """gearmand's and Perl's answer, one of a server that knows no options, and none."""
    story = Story(grab_type=grab_type, confirmed=True, knows_option=False)
    story.session.grab()
    story.sends((CAN_DO, b"f"), (grab_type,))
    if answer is not None:
        assert story.gets(ERROR, *answer) is None
        refusal = story.gets(ERROR, *answer)
        assert isinstance(refusal, ServerError), "one answer is enough"
    story.session.exception(story.gets(JOB_ASSIGN, b"H:1", b"f", b""), b"boom")
    story.sends((first, b"H:1", b"boom"), (WORK_FAIL, b"H:1"))
    assert story.session.can_grab


def test_large_results_are_not_copied(proven):
    large = memoryview(bytes(100000))
    proven.session.complete(proven.job, large)
    assert proven.session.outgoing[-1] is large
    proven.sends((WORK_COMPLETE, b"H:1", large))


def test_large_workloads_are_not_copied(story):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    large = memoryview(bytes(100000))
    assert story.gets(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", large).workload is large


def test_retiring_withdraws_no_function_whose_job_runs():
    """gearmand puts the running jobs of a function back when it is withdrawn."""
    story = Story([(b"f", 0), (b"g", 0)])
    session = story.session
    session.grab()
    session.outgoing = []
    job = story.gets(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"")
    session.retire()
    story.sends((CANT_DO, b"g"))
    assert not session.can_grab
    session.complete(job, b"")
    story.sends((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"))


def test_retiring_waits_for_unanswered_grabs():
    """The server would answer the grab with a job and then take it away."""
    story = Story([(b"f", 0), (b"g", 0)])
    session = story.session
    session.grab()
    session.outgoing = []
    session.retire()
    story.sends()
    job = story.gets(JOB_ASSIGN_UNIQ, b"H:1", b"g", b"", b"")
    story.sends((CANT_DO, b"f"))
    session.fail(job)
    story.sends((WORK_FAIL, b"H:1"), (CANT_DO, b"g"))


def test_retiring_with_no_job_for_the_last_grab(story):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    story.session.retire()
    story.gets(NO_JOB)
    story.sends((CANT_DO, b"f"))


def test_who_retires_does_not_ask_again_in_a_way_that_the_server_understands(story):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    story.session.retire()
    assert story.gets(ERROR, b"INVALID_COMMAND", b"") is None
    story.sends((CANT_DO, b"f"))


def test_retiring_with_two_jobs_of_a_function(proven):
    session = proven.session
    session.grab()
    other = proven.gets(JOB_ASSIGN_UNIQ, b"H:2", b"f", b"", b"")
    session.retire()
    session.complete(other, b"")
    proven.sends((GRAB_JOB_ALL,), (WORK_COMPLETE, b"H:2", b""))
    session.release(proven.job)
    proven.sends((CANT_DO, b"f"))


def test_farewell_is_confirmed_by_an_echo(story):
    story.session.farewell()
    story.sends((ECHO_REQ, b"bye"))
    assert story.session.farewells == 1
    story.gets(ECHO_RES, b"bye")
    assert story.session.farewells == 0


def test_learning_a_function_ends_sleep(story):
    """gearmand says nothing to a sleeper that can suddenly do what waits."""
    story.session.grab()
    story.gets(NO_JOB)
    story.session.can_do(b"g")
    story.sends((GRAB_JOB_ALL,), (PRE_SLEEP,), (CAN_DO, b"g"))
    assert story.session.can_grab


def test_a_function_is_taken_no_more_until_its_jobs_have_ended_while_others_are(proven):
    session = proven.session
    session.can_do(b"g")
    session.can_do(b"g")  # once more, as its time limit may be another
    session.withdraw([b"f"])
    proven.sends((CAN_DO, b"g"), (CAN_DO, b"g"))
    assert session.busy and session.can_grab
    session.complete(proven.job, b"")
    proven.sends((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"))
    assert not session.busy


@pytest.mark.parametrize("packet_type, fields, found", [
    (JOB_ASSIGN, (b"H:1", b"f"), (b"H:1", b"f", b"", b"")), (JOB_ASSIGN_UNIQ, (b"H:1", b"f", b"u"), (b"H:1", b"f", b"u", b"")),
    (JOB_ASSIGN_ALL, (b"H:1", b"f", b"u", b"r"), (b"H:1", b"f", b"u", b"r"))])
def test_a_job_whose_data_was_passed_over_can_be_failed(story, packet_type, fields, found):
    session = story.session
    session.grab()
    story.sends((GRAB_JOB_ALL,))
    job = story.gets(TOO_LARGE, b"%d" % packet_type, b"300000", *fields)
    assert (job.handle, job.function, job.unique, job.reducer, job.workload) == found + (None,)
    session.fail(job)
    story.sends((WORK_FAIL, b"H:1"))


@pytest.mark.parametrize("packet", [(b"%d" % ECHO_RES, b"300000"), (b"%d" % JOB_ASSIGN, b"300000", b"H:1"),
                                    (b"%d" % JOB_ASSIGN_UNIQ, b"300000", b"H:1", b"f", b"u", b"r")])
def test_what_else_is_too_large_is_a_protocol_error(story, packet):
    story.session.grab()
    story.sends((GRAB_JOB_ALL,))
    with pytest.raises(ProtocolError, match="that is too large"):
        story.gets(TOO_LARGE, *packet)


@pytest.mark.parametrize("packet", [
    (NO_JOB,), (JOB_ASSIGN, b"H:1", b"f", b""), (JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b""), (ECHO_RES, b"x"),
    (JOB_CREATED, b"H:1"), (WORK_COMPLETE, b"H:1", b""), (TOO_FEW_ARGUMENTS, b"JOB_ASSIGN"), (WRONG_MAGIC,)])
def test_what_makes_no_sense_is_a_protocol_error(story, packet):
    with pytest.raises(ProtocolError):
        story.gets(*packet)


def test_a_packet_that_answers_nothing_is_a_protocol_error(story):
    """An echo before the farewell, and a second answer about the option; the first may come at any time."""
    for packet in ((ECHO_RES, b"bye"), (OPTION_RES, EXCEPTION_ENDS_JOB), (JOB_CREATED, b"H:1")):
        with pytest.raises(ProtocolError):
            story.gets(*packet)
    early = Story(knows_option=False)
    early.sends((CAN_DO, b"f"))
    with pytest.raises(ProtocolError):
        early.gets(JOB_CREATED, b"H:1")
    assert early.gets(OPTION_RES, EXCEPTION_ENDS_JOB) is None
    early.session.farewell()
    early.sends((ECHO_REQ, b"bye"))
    with pytest.raises(ProtocolError):
        early.gets(JOB_CREATED, b"H:1")


@pytest.mark.parametrize("answer", [(NO_JOB,), (JOB_ASSIGN, b"H:1", b"f", b"")])
def test_any_answer_tells_that_the_server_knows_the_grab(story, answer):
    session = story.session
    session.grab()
    assert not session.confirmed
    story.gets(*answer)
    assert session.confirmed
    session.outgoing.clear()


def test_it_is_busy_while_an_answer_or_the_end_of_a_job_is_outstanding(story):
    session = story.session
    assert not session.busy
    session.grab()
    assert session.busy
    job = story.gets(JOB_ASSIGN, b"H:1", b"f", b"")
    assert session.busy
    session.exception(job, b"why")
    assert not session.busy
    session.outgoing.clear()


def test_all_jobs_of_a_function_have_to_end_before_it_is_withdrawn(story):
    session = story.session
    jobs = []
    for handle in (b"H:1", b"H:2", b"H:3"):
        session.grab()
        jobs.append(story.gets(JOB_ASSIGN, handle, b"f", b""))
    session.outgoing.clear()
    session.withdraw([b"f"])
    session.fail(jobs[0])
    session.fail(jobs[1])
    story.sends((WORK_FAIL, b"H:1"), (WORK_FAIL, b"H:2"))
    session.fail(jobs[2])
    story.sends((WORK_FAIL, b"H:3"), (CANT_DO, b"f"))
    assert not session.busy


def test_a_job_does_not_make_it_ask_again_while_another_answer_is_missing_after_there_was_no_job(proven):
    session = proven.session
    session.grab()
    proven.gets(JOB_ASSIGN, b"H:2", b"f", b"")
    for _ in range(3):
        session.grab()
    proven.gets(NO_JOB)
    proven.gets(JOB_ASSIGN, b"H:3", b"f", b"")
    assert session.grabs == 1 and session.state is DRY
    proven.gets(JOB_ASSIGN, b"H:4", b"f", b"")
    assert session.state is SESSION_AWAKE
    session.outgoing.clear()


def test_an_error_about_something_else_is_no_answer_about_the_option():
    story = Story(knows_option=False)
    story.sends((CAN_DO, b"f"))
    assert isinstance(story.gets(ERROR, b"TOO_MANY", b"functions"), ServerError)
    assert story.gets(ERROR, b"UNKNOWN_OPTION", b"what") is None


def test_a_function_without_jobs_is_withdrawn_at_once():
    story = Story([(b"f", 0), (b"g", 0)])
    story.sends((CAN_DO, b"f"), (CAN_DO, b"g"))
    story.session.withdraw([b"f"])
    story.sends((CANT_DO, b"f"))
    assert story.session.can_grab, "for jobs of the other"


def test_a_function_is_withdrawn_when_the_open_grab_has_its_answer():
    """Until then no more are sent, which could bring more of its jobs."""
    story = Story([(b"f", 0), (b"g", 0)])
    story.sends((CAN_DO, b"f"), (CAN_DO, b"g"))
    session = story.session
    session.grab()
    story.gets(JOB_ASSIGN, b"H:1", b"g", b"")  # from now on two grabs may be open
    session.grab()
    session.outgoing.clear()
    session.withdraw([b"f"])
    story.sends()
    assert session.grabs == 1 and not session.can_grab
    story.gets(JOB_ASSIGN, b"H:2", b"g", b"")
    story.sends((CANT_DO, b"f"))
    assert session.can_grab


def test_a_function_that_is_registered_again_before_its_jobs_have_ended_stays(proven):
    session = proven.session
    session.withdraw([b"f"])
    session.can_do(b"f")
    session.complete(proven.job, b"")
    proven.sends((CAN_DO, b"f"), (WORK_COMPLETE, b"H:1", b""))
    assert session.can_grab


def test_a_server_that_does_not_understand_something_else_is_not_asked_anew(story):
    error = story.gets(ERROR, b"UNKNOWN_COMMAND", b"what")
    assert isinstance(error, ServerError) and story.session.grab_type == GRAB_JOB_ALL and not story.session.grabs


def test_repr_tells_the_state(proven):
    assert repr(proven.session) == "<WorkerSession: awake, 0 grabs unanswered, 1 jobs>"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_server_sends_is_taken_or_refused(seed):
    """A reader and a session, fed with bytes that are nearly right: a ProtocolError, or no error at all."""
    world = World(seed, ["a"])
    refused = 0
    for _ in range(200):
        reader, session = PacketReader(RESPONSE_MAGIC, text=False), WorkerSession([(b"f", 0)])
        try:
            for _ in range(world.random.randrange(1, 5)):
                if session.can_grab:
                    session.grab()
                for packet_type, arguments in reader.feed(world.garbage()):
                    outcome = session.receive(packet_type, arguments)
                    if isinstance(outcome, Assignment):
                        assert outcome.handle
                        session.complete(outcome, b"")
                if reader.error is not None:
                    raise reader.error
        except ProtocolError as error:
            refused += 1
            assert str(error)
        assert session.grabs >= 0 and not (session.state is SESSION_ASLEEP and session.grabs)
    assert refused > 20


# --- States.

def test_the_picture_shows_the_states_and_the_arrows():
    assert drawn(WorkerSession) == SESSION_ARROWS
    assert set(SESSION_STATES) == {start for start, _ in SESSION_ARROWS} | {RETIRING} == set(SESSION_ARROWS.values())


@pytest.mark.parametrize("before", ["awake", "dry", "asleep"])
def test_who_retires_never_asks_again(before):
    story = Story(grab_type=GRAB_JOB_ALL, confirmed=True)
    session = story.session
    session.grab()
    if before == "dry":
        story.gets(JOB_ASSIGN_UNIQ, b"H:1", b"f", b"", b"")
        session.grab()
        session.grab()
        story.gets(NO_JOB)
    elif before == "asleep":
        story.gets(NO_JOB)
    assert session.state == before
    session.retire()
    session.retire()
    story.gets(NOOP)
    session.rouse()
    session.can_do(b"g")
    assert session.state is RETIRING and not session.can_grab


def test_what_is_told_again_is_withdrawn_once():
    story = Story()
    story.sends((CAN_DO, b"f"))
    story.session.can_do(b"f")
    story.session.retire()
    story.sends((CAN_DO, b"f"), (CANT_DO, b"f"))
