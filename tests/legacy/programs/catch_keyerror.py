"""A poller that takes a KeyError for a job that is over."""
from __future__ import print_function
import sys

import gearman

client = gearman.GearmanClient(["127.0.0.1:" + sys.argv[1]])


def is_finished(request):
    try:
        return not client.get_job_status(request, poll_timeout=5.0).status["running"]
    except KeyError:
        return True


request = client.submit_job("keyerror_task", "x", background=True)
print(is_finished(request))
lost = gearman.job.GearmanJobRequest(gearman.job.GearmanJob(request.job.connection, b"H:elsewhere:1", None, None, None))
lost.state = "CREATED"
print(is_finished(lost))
