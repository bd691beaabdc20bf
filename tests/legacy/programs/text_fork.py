"""The fork whose data are text."""
import sys
import threading

import python3_gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(python3_gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


def upper(worker, job):
    print(type(job.task).__name__, type(job.data).__name__, type(job.handle).__name__)
    return job.data.upper()


worker = Worker(SERVERS)
worker.register_task("text_upper", upper)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = python3_gearman.GearmanClient(SERVERS)
request = client.submit_job("text_upper", "hello")
print(repr(request.result), type(request.job.handle).__name__, request.state)
worker.running = False
thread.join()
