"""Asks for the status of a job whose handle was written down by another program."""
from __future__ import print_function
import sys

import gearman
from gearman.job import GearmanJob, GearmanJobRequest

client = gearman.GearmanClient(["127.0.0.1:" + sys.argv[1]])
handle = client.submit_job("handmade_task", "x", background=True, priority=gearman.PRIORITY_LOW).job.handle

other = gearman.GearmanClient(["127.0.0.1:" + sys.argv[1]])
other.establish_connection(other.connection_list[0])
request = GearmanJobRequest(GearmanJob(other.connection_list[0], handle, None, None, None))
request.state = "CREATED"
status = other.get_job_status(request, poll_timeout=5.0).status
print(status["handle"] == handle, status["numerator"], status["denominator"], request.timed_out)
