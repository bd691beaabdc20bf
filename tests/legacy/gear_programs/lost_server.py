"""A client and a worker whose server ends and comes back."""
import threading
import time

import gear


class Client(gear.Client):
    def __init__(self):
        super().__init__("resubmitter")
        self.lost = []

    def handleDisconnect(self, job):
        self.lost.append(job)


def until(condition):
    end = time.time() + 30
    while not condition():
        assert time.time() < end
        time.sleep(0.01)


server = gear.Server(0)
client, worker = Client(), gear.TextWorker("steady")
for one in (client, worker):
    one.addServer("127.0.0.1", server.port)
    one.waitForServer()
worker.registerFunction("steady")
job = gear.TextJob("nobody", "to be lost")
client.submitJob(job)
answers = []


def work():
    for _ in range(2):
        job = worker.getJob()
        answers.append(job.arguments)
        job.sendWorkComplete(job.arguments.upper())


thread = threading.Thread(target=work)
thread.start()
first = gear.TextJob("steady", "before")
client.submitJob(first)
until(lambda: first.complete)
print(first.data)
server.shutdown()
until(lambda: client.lost)
print("lost", client.lost[0] is job, job.complete)
until(lambda: not client.active_connections)
try:
    client.getConnection()
except gear.NoConnectedServersError:
    print("no server")
try:
    client.submitJob(gear.TextJob("steady", "x"))
except gear.GearmanError:
    print("not submitted")
port = server.port
while True:
    try:
        server = gear.Server(port)
        break
    except Exception:
        time.sleep(0.1)
client.waitForServer()
second = gear.TextJob("steady", "after")
client.submitJob(second)
until(lambda: second.complete)
thread.join()
print(second.data, answers)
client.shutdown()
worker.shutdown()
server.shutdown()
