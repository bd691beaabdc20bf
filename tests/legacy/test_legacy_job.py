"""A job, and a request."""
from collections import deque

import pytest

from gearman_std.legacy import GearmanJob, GearmanJobRequest


def test_a_job_is_what_was_said():
    job = GearmanJob("connection", "H:1", "task", "unique", "data")
    assert job.to_dict() == {"task": "task", "job_handle": "H:1", "unique": "unique", "data": "data"}
    assert repr(job) == "GearmanJob(connection='connection', handle='H:1', task='task', unique='unique', data='data')"


@pytest.mark.parametrize("state, background, complete", [
    ("UNKNOWN", False, False), ("PENDING", False, False), ("CREATED", False, False), ("FAILED", False, True),
    ("COMPLETE", False, True), ("UNKNOWN", True, False), ("PENDING", True, False), ("CREATED", True, True),
    ("FAILED", True, True)])
def test_when_a_request_is_complete(state, background, complete):
    request = GearmanJobRequest(GearmanJob(None, None, "t", "u", "d"), background=background)
    request.state = state
    assert request.complete is complete


def test_a_request_begins_with_nothing_and_shows_itself():
    request = GearmanJobRequest(GearmanJob(None, None, "t", "u", "d"), "HIGH", False, 3)
    assert (request.result, request.exception, request.state, request.timed_out, request.status) == (
        None, None, "UNKNOWN", False, {})
    assert request.data_updates == request.warning_updates == request.status_updates == deque()
    assert (request.priority, request.max_connection_attempts, request.connection_attempts) == ("HIGH", 3, 0)
    assert request.job is request.gearman_job and "task='t'" in repr(request)
