"""A time-out is told, not raised."""
from __future__ import print_function
import sys

import gearman


def check_request_status(job_request):
    if job_request.complete:
        return "Job finished!  Result: %s" % job_request.state
    elif job_request.timed_out:
        return "Job timed out!"
    elif job_request.state == gearman.JOB_UNKNOWN:
        return "Job connection failed!"


client = gearman.GearmanClient(["127.0.0.1:" + sys.argv[1]])
request = client.submit_job("timeout_task", "x", poll_timeout=0.2)
print(check_request_status(request), request.state, request.result)
client.wait_until_jobs_completed([request], poll_timeout=0.1)
print(check_request_status(request))
