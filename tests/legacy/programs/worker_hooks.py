"""A worker with all the hooks, and data that are pickled."""
from __future__ import print_function
import pickle
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class PickleDataEncoder(gearman.DataEncoder):
    @classmethod
    def encode(cls, encodable_object):
        return pickle.dumps(encodable_object, 2)

    @classmethod
    def decode(cls, decodable_string):
        return pickle.loads(decodable_string)


class Client(gearman.GearmanClient):
    data_encoder = PickleDataEncoder


class Worker(gearman.GearmanWorker):
    data_encoder = PickleDataEncoder
    stop = False

    def on_job_execute(self, current_job):
        print("execute", sorted(current_job.data))
        return super(Worker, self).on_job_execute(current_job)

    def on_job_exception(self, current_job, exc_info):
        print("exception", exc_info[0].__name__, exc_info[1])
        self.send_job_data(current_job, {"error": str(exc_info[1])})
        return super(Worker, self).on_job_exception(current_job, exc_info)

    def on_job_complete(self, current_job, job_result):
        print("complete", job_result)
        return super(Worker, self).send_job_complete(current_job, job_result)

    def after_poll(self, any_activity):
        return not self.stop


def divide(worker, job):
    return {"quotient": job.data["a"] // job.data["b"]}


worker = Worker(SERVERS)
worker.register_task(b"divide", divide)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = Client(SERVERS)
request = client.submit_job("divide", {"a": 7, "b": 2})
print(request.state, request.result)
request = client.submit_job("divide", {"a": 7, "b": 0})
print(request.state, request.result, [update["error"] for update in request.data_updates])
worker.stop = True
thread.join()
