"""Data, warnings and a status on the way."""
from __future__ import print_function
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


def chatty(worker, job):
    for number, word in enumerate(job.data.split()):
        worker.send_job_data(job, word)
        worker.send_job_status(job, number + 1, 3)
    worker.send_job_warning(job, "that was all")
    return "end"


worker = Worker(SERVERS)
worker.register_task(b"chatty", chatty)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
request = client.submit_job("chatty", "one two three")
while request.data_updates:
    print(request.data_updates.popleft().decode("ascii"))
print([update.decode("ascii") for update in request.warning_updates])
print(request.status["numerator"], request.status["denominator"], request.status["handle"] == request.job.handle)
print(request.result.decode("ascii"))
worker.running = False
thread.join()
