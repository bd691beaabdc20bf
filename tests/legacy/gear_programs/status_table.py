"""What a monitoring script makes of the answers to text commands."""
import time

import gear

server = gear.Server(0)
client = gear.Client("monitor")
client.addServer("127.0.0.1", server.port)
client.waitForServer()
workers = []
for name, functions in (("first", ["build", "merge"]), ("second", ["build"])):
    worker = gear.TextWorker(name)
    worker.addServer("127.0.0.1", server.port)
    worker.waitForServer()
    for function in functions:
        worker.registerFunction(function)
    workers.append(worker)


def ask(request):
    connection = client.getConnection()
    connection.sendAdminRequest(request, timeout=20)
    return request.response.decode("utf8")


def status():
    table = {}
    for line in ask(gear.StatusAdminRequest()).splitlines():
        if line == ".":
            break
        name, total, running, workers = line.split("\t")
        table[name] = int(total), int(running), int(workers)
    return table


def show():
    for name, numbers in sorted(status().items()):
        print(name, *numbers)


while status().get("build", (0, 0, 0))[2] < 2 or status().get("merge", (0, 0, 0))[2] < 1:
    time.sleep(0.001)
show()
for number in range(3):
    client.submitJob(gear.TextJob("build", str(number)), background=True)
job = workers[0].getJob()
show()
names = []
for line in ask(gear.WorkersAdminRequest()).splitlines():
    if line != ".":
        head, _, functions = line.partition(":" if ": " not in line else " : ")
        names.append((line.split()[2], sorted(line.rpartition(" :")[2].split())))
print(sorted(names))
job.sendWorkComplete()
waiting = [one.handle for one in server.getQueue()]
print("waiting", len(waiting))
request = gear.CancelJobAdminRequest(waiting[0])
client.getConnection().sendAdminRequest(request)
print("cancel", request.response.split()[0].decode())
while status()["build"][0] != 1:
    time.sleep(0.001)
show()
for worker in workers:
    worker.shutdown()
client.shutdown()
server.shutdown()
