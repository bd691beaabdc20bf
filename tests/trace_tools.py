"""What the tests of traces share: conversations that are told to a tracer, and the records that it makes of them."""
from gearman_std.trace.tracer import Sieve, Tracer


class Talk:
    """Tells a tracer about connections; a moment passes with each thing that is said."""

    def __init__(self, sieve=None, slow=0.1, keep=1 << 20, step=0.001):
        self.records = []
        self.tracer = Tracer([self.records.append], sieve or Sieve(), slow, keep)
        self.time = 1700000000.0
        self.step = step
        self.numbers = set()

    def wait(self, seconds):
        self.time += seconds

    def say(self, number, from_client, data):
        """Bytes pass on a connection, which is opened if it is new; return the records that come of them."""
        before = len(self.records)
        if number not in self.numbers:
            self.numbers.add(number)
            self.tracer.opened(number, self.time, "10.0.0.%d:5000" % number, "10.0.0.99:4730")
            before = len(self.records)
        self.time += self.step
        self.tracer.took(number, from_client, self.time, data)
        return self.records[before:]

    def ask(self, number, *packets):
        """The client's end sends packets."""
        return self.say(number, True, b"".join(packets))

    def answer(self, number, *packets):
        """The server sends packets."""
        return self.say(number, False, b"".join(packets))
