"""A builder whose functions come and go, and whose jobs are told apart by the function's name."""
import json
import threading
import time

import gear

server = gear.Server(0)


class Builder:
    def __init__(self):
        self.running = True
        self.worker = gear.TextWorker("Image Builder")
        self.worker.addServer("127.0.0.1", server.port)
        self.worker.waitForServer()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def register(self, images):
        self.worker.setFunctions([gear.FunctionRecord(("image-build:%s" % image).encode()) for image in images])

    def run(self):
        while self.running:
            try:
                self.handle(self.worker.getJob())
            except gear.InterruptedError:
                pass

    def handle(self, job):
        kind, _, image = job.name.partition(":")
        if kind == "image-build":
            arguments = json.loads(job.arguments)
            for step in range(1, 4):
                job.sendWorkStatus(step, 3)
            job.sendWorkWarning("old kernel")
            job.sendWorkComplete(json.dumps({"image": image, "id": arguments["image-id"]}))
        else:
            job.sendWorkFail()

    def stop(self):
        self.running = False
        self.worker.stopWaitingForJobs()
        self.thread.join()
        self.worker.shutdown()


def functions(wanted):
    end = time.time() + 20
    while True:
        request = gear.StatusAdminRequest()
        client.getConnection().sendAdminRequest(request)
        rows = [line.split("\t") for line in request.response.decode().splitlines() if "\t" in line]
        names = sorted(row[0] for row in rows if row[3] != "0")
        if names == wanted:
            return names
        assert time.time() < end, names


def build(name, **arguments):
    job = gear.TextJob(name, json.dumps(arguments))
    client.submitJob(job)
    end = time.time() + 20
    while not job.complete:
        assert time.time() < end
        time.sleep(0.001)
    print(name, job.failure, job.warning, job.data, job.numerator, job.denominator, job.fraction_complete)


client = gear.Client("launcher")
client.addServer("127.0.0.1", server.port)
client.waitForServer()
builder = Builder()
builder.register(["trusty", "centos7"])
print(functions(["image-build:centos7", "image-build:trusty"]))
build("image-build:trusty", **{"image-id": 7})
builder.worker.registerFunction("other")
build("other")
builder.register(["xenial"])
print(functions(["image-build:xenial"]))
build("image-build:xenial", **{"image-id": 8})
builder.worker.unRegisterFunction("image-build:xenial")
print(functions([]))
builder.stop()
client.shutdown()
server.shutdown()
