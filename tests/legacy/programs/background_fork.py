"""The fork whose jobs are in the background unless a call says otherwise."""
import sys

import py3gearman
from py3gearman.constants import JOB_CREATED

client = py3gearman.GearmanClient(["127.0.0.1:" + sys.argv[1]])
request = client.submit_job("background_task", "hello")
print(request.background, request.complete, request.state == JOB_CREATED, type(request.job.handle).__name__)
request = client.submit_job("background_task", "hello", background=False, poll_timeout=0.2)
print(request.background, request.timed_out)
