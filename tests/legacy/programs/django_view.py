"""A view that submits a job in the background and answers at once."""
from __future__ import print_function
import json
import sys

import gearman

GEARMAN_SERVERS = ["127.0.0.1:" + sys.argv[1]]


class HttpResponse(object):
    def __init__(self, content, status=200):
        self.content = content
        self.status = status


def thumbnail(request):
    client = gearman.GearmanClient(GEARMAN_SERVERS)
    job = client.submit_job("thumbnail", json.dumps({"path": request["path"], "size": 64}), background=True,
                            wait_until_complete=False)
    if job.state == gearman.JOB_UNKNOWN:
        return HttpResponse("no queue", 503)
    return HttpResponse("queued %s, priority %s" % (job.job.task, job.priority), 202)


response = thumbnail({"path": "/photos/17.jpg"})
print(response.status, response.content)
GEARMAN_SERVERS = ["127.0.0.1:1"]
try:
    thumbnail({"path": "/photos/18.jpg"})
except gearman.errors.ServerUnavailable:
    print("no queue")
