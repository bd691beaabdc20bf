"""A test suite that has a job server of its own for each test."""
import json
import sys
import threading
import time
import unittest

import gear


class Calculator(threading.Thread):
    """The program under test: a worker that adds."""

    def __init__(self, port):
        super().__init__()
        self.daemon = True
        self.worker = gear.TextWorker("calculator")
        self.worker.addServer("127.0.0.1", port)
        self.worker.waitForServer()
        self.worker.registerFunction("add")

    def run(self):
        while True:
            try:
                job = self.worker.getJob()
            except gear.InterruptedError:
                return
            try:
                numbers = json.loads(job.arguments)
                job.sendWorkStatus(1, 2)
                job.sendWorkData(json.dumps(sum(numbers)))
                job.sendWorkComplete()
            except ValueError:
                job.sendWorkException("not numbers")

    def stop(self):
        self.worker.shutdown()
        self.join()


class CalculatorTest(unittest.TestCase):
    def setUp(self):
        self.server = gear.Server(0)
        self.addCleanup(self.server.shutdown)
        self.calculator = Calculator(self.server.port)
        self.calculator.start()
        self.addCleanup(self.calculator.stop)
        self.client = gear.Client("tests")
        self.client.addServer("127.0.0.1", port=self.server.port)
        self.client.waitForServer(timeout=10)
        self.addCleanup(self.client.shutdown)

    def wait(self, job):
        end = time.time() + 20
        while not job.complete:
            self.assertLess(time.time(), end)
            time.sleep(0.001)

    def add(self, arguments):
        job = gear.TextJob("add", arguments)
        self.client.submitJob(job)
        self.wait(job)
        return job

    def test_sum(self):
        job = self.add("[1, 2, 3]")
        self.assertEqual(["6"], job.data)
        self.assertFalse(job.failure)
        self.assertEqual(0.5, job.fraction_complete)

    def test_bytes(self):
        job = gear.Job("add", b"[4, 5]")
        self.client.submitJob(job)
        self.wait(job)
        self.assertEqual([b"9"], job.data)

    def test_nonsense(self):
        job = self.add("x")
        self.assertTrue(job.failure)
        self.assertEqual("not numbers", job.exception)

    def test_many(self):
        jobs = [gear.TextJob("add", json.dumps([number, number])) for number in range(50)]
        for job in jobs:
            self.client.submitJob(job)
        for number, job in enumerate(jobs):
            self.wait(job)
            self.assertEqual([str(2 * number)], job.data)

    def test_queue(self):
        self.calculator.worker.unRegisterFunction("add")
        end = time.time() + 20
        for precedence in (gear.PRECEDENCE_LOW, gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_HIGH):
            self.client.submitJob(gear.TextJob("later", "x"), background=True, precedence=precedence)
        while len(self.server.getQueue()) < 3:
            self.assertLess(time.time(), end)
        self.assertEqual([1, 1, 1], [len(queue) for queue in (
            self.server.high_queue, self.server.normal_queue, self.server.low_queue)])


suite = unittest.defaultTestLoader.loadTestsFromTestCase(CalculatorTest)
result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
print("run", result.testsRun, "failures", len(result.failures), "errors", len(result.errors))
