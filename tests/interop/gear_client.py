"""What the client of the library gear can do, one line of output for each thing that happened:

gear_client.py HOST PORT IDLE, a function that nobody can do
"""
import sys
import threading

import gear


class Client(gear.Client):
    """Tells what happens to one job at a time."""

    def __init__(self):
        super().__init__("gear")
        self.over = threading.Event()
        self.telling = False

    def tell(self, *words):
        if self.telling:
            print(*words, flush=True)

    def end(self, job, *words):
        self.tell(*words)
        if job.name != "reverse" or not self.telling:
            self.over.set()

    def handleWorkStatus(self, packet):
        job = super().handleWorkStatus(packet)
        self.tell("status %d/%d" % (int(job.numerator), int(job.denominator)))
        return job

    def handleWorkData(self, packet):
        job = super().handleWorkData(packet)
        self.tell("data", job.data[-1])
        return job

    def handleWorkWarning(self, packet):
        job = super().handleWorkWarning(packet)
        self.tell("warning", job.data[-1])
        return job

    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        self.end(job, "complete", "".join(job.data[-1:]))
        return job

    def handleWorkFail(self, packet):
        job = super().handleWorkFail(packet)
        self.end(job, "failed")
        return job

    def handleWorkException(self, packet):
        job = super().handleWorkException(packet)
        self.end(job, "exception", job.exception)
        return job


client = Client()
client.addServer(sys.argv[1], int(sys.argv[2]))
client.waitForServer()
client.setOption("exceptions")


def do(name, workload="", unique=None, precedence=gear.PRECEDENCE_NORMAL):
    job = gear.TextJob(name, workload, unique)
    client.over.clear()
    client.submitJob(job, precedence=precedence)
    assert client.over.wait(20), name
    return "".join(job.data)


for size in (0, 1, 65535, 65536, 65537, 1048576):
    workload = ("1234567890" * (size // 10 + 1))[:size]
    print("echo", size, "same" if do("echo", workload) == workload else "other")
print("nothing", repr(do("nothing")))
print("reverse", do("reverse", "hello"), do("reverse", "high", precedence=gear.PRECEDENCE_HIGH),
      do("reverse", "low", precedence=gear.PRECEDENCE_LOW))
client.telling = True
for function in ("tell", "fail", "raise"):
    do(function)
client.telling = False

first, second = gear.TextJob(sys.argv[3], "x", "once"), gear.TextJob(sys.argv[3], "y", "once")
client.submitJob(first, background=True)
client.submitJob(second, background=True)
connection = client.active_connections[0]
listing = gear.ShowJobsAdminRequest()
connection.sendAdminRequest(listing)
print("background", "joined" if first.handle == second.handle else "apart", int(first.handle + b"\t" in listing.response))
for request, wanted in ((gear.StatusAdminRequest(), sys.argv[3].encode() + b"\t1\t0\t0\n"),
                        (gear.VersionAdminRequest(), b"OK "),
                        (gear.WorkersAdminRequest(), b" 127.0.0.1 - :"), (gear.ShowUniqueJobsAdminRequest(), b"once\n"),
                        (gear.CancelJobAdminRequest(first.handle), b"OK"), (gear.CancelJobAdminRequest(first.handle), b"ERR")):
    connection.sendAdminRequest(request)
    print(type(request).__name__, int(wanted in request.response))
client.shutdown()
