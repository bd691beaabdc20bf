"""A worker that is shared by a pool of threads, which are told to stop."""
import hashlib
import threading

import gear

server = gear.Server(0)
worker = gear.Worker("pool")
worker.addServer("127.0.0.1", server.port)
worker.waitForServer()
worker.registerFunction("digest")
done = []
lock = threading.Lock()


def work():
    count = 0
    while True:
        try:
            job = worker.getJob()
        except gear.InterruptedError:
            break
        job.sendWorkComplete(hashlib.md5(job.arguments).hexdigest().encode())
        count += 1
    with lock:
        done.append(count)


threads = [threading.Thread(target=work) for _ in range(5)]
for thread in threads:
    thread.start()

client = gear.Client("submitter")
client.addServer("127.0.0.1", server.port)
client.waitForServer()
everybody = threading.Event()
left = {number: None for number in range(60)}
jobs = []


class Counting(gear.BinaryJob):
    """A job that takes note of its end."""

    @property
    def complete(self):
        return self.__dict__["complete"]

    @complete.setter
    def complete(self, value):
        self.__dict__["complete"] = value
        if value:
            with lock:
                left.pop(self.number, None)
                if not left:
                    everybody.set()


for number in range(60):
    job = Counting(b"digest", b"workload %d" % number)
    job.number = number
    jobs.append(job)
    client.submitJob(job)
print("all done", everybody.wait(30))
for job in jobs[::20]:
    print(job.name, job.arguments, job.data[0].decode())
worker.stopWaitingForJobs()
for thread in threads:
    thread.join()
print("threads", len(done), "jobs", sum(done), "waiting", worker.waiting_for_jobs)
worker.shutdown()
try:
    worker.getJob()
except gear.InterruptedError:
    print("no job after shutdown")
client.shutdown()
server.shutdown()
