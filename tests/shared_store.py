"""A database of several servers in memory, with a clock of its own, and servers that share it, without sockets."""
from gearman_std.core.handles import handle_number
from gearman_std.core.jobs import DELAYED, HANDLE_BLOCK, HELD, place_of
from gearman_std.core.ledger import ADD, CHANGE, FORGET, KEEP, ORDER, REMOVE, OrderRecord
from gearman_std.errors import Deposed, StoreInUse
from gearman_std.store.store import Neighbour, Store
from gearman_std.store.storekeeper import StoreKeeper

from core_world import World


class Row:
    """What the database knows of a server."""

    def __init__(self):
        self.epoch, self.seen, self.take_over, self.number = 0, 0.0, 0.0, 0
        self.ended, self.adopted_by, self.adopted_at = True, "", 0.0


class SharedDatabase:
    """Its transactions are atomic; its clock stands still until it is told to go on."""

    def __init__(self):
        self.now = 5000.0
        self.servers = {}  # Row by name
        self.jobs = {}     # by handle: the server's name and the record that adds the job
        self.results = {}  # the same of those that have ended
        self.orders = {}   # by the server's name, that of the order, and the function: the value

    def handles_of(self, server):
        return {handle for handle, (name, _) in self.jobs.items() if name == server}


class SharedStore(Store):
    """The jobs of one server in a SharedDatabase; when it is `cut` off, nothing works."""

    is_shared = True
    usable = True
    piece = 3  # jobs that are read at once

    def __init__(self, database, server, take_over=0.0, **settings):
        super().__init__("shared", **settings)
        self.database, self.server, self.take_over = database, server, take_over
        self.cut = False
        self.epoch, self.writes, self.looks, self.before_answer, self.adopted = 0, 0, 0, None, []
        self.loses_answer, self.done, self.open_question = False, None, False

    @property
    def uncertain(self):
        return self.open_question or not self.usable

    def _reach(self):
        if self.cut:
            raise self.error("cut off")

    def _prove(self):
        self._reach()
        row = self.database.servers[self.server]
        if row.epoch != self.epoch:
            raise Deposed("another server has the jobs of %s" % self.server)
        row.seen = self.database.now
        return row

    def open(self, handle_prefix, wall, numbers=None):
        self._reach()
        row = self.database.servers.setdefault(self.server, Row())
        if not row.ended and self.database.now - row.seen < 60 and not row.adopted_by:
            raise StoreInUse("in use")
        row.epoch += 1
        row.ended, row.adopted_by, row.seen, row.take_over = False, "", self.database.now, self.take_over
        self.epoch, self.number = row.epoch, row.number
        self.reserved = row.number = row.number + HANDLE_BLOCK

    def _order_of(self, name):
        def place(record):
            position = record.position or place_of(handle_number(record.handle))
            return {DELAYED: 1, HELD: 2}.get(record.state, 0), record.due if record.state is DELAYED else 0, position
        return ([record for server, record in self.database.results.values() if server == name]
                + sorted((record for server, record in self.database.jobs.values() if server == name), key=place))

    def load_records(self):
        yield [OrderRecord(ORDER, b"", name, function, value)
               for (server, name, function), value in self.database.orders.items() if server == self.server]
        for record in self._order_of(self.server):
            yield [record._replace(position=record.position or place_of(handle_number(record.handle)))
                   if record.kind == ADD else record]

    def write(self, records, number, flush=True):
        row = self._prove()
        self.writes += 1
        if self.wants(number):
            self.reserved = row.number = number + HANDLE_BLOCK
        for record in records:
            self._obey(record)
        if self.before_answer is not None:
            self.before_answer()

    def _obey(self, record):
        jobs, results = self.database.jobs, self.database.results
        if record.kind == ADD:
            jobs[record.handle] = self.server, record
        elif record.kind == REMOVE:
            jobs.pop(record.handle, None)
        elif record.kind == KEEP:
            results[record.handle] = self.server, record
        elif record.kind == FORGET:
            results.pop(record.handle, None)
        elif record.kind == ORDER:
            self.database.orders.pop((self.server, record.name, record.function), None)
            if record.value is not None:
                self.database.orders[self.server, record.name, record.function] = record.value
        elif record.handle in jobs:
            new = {record.column: record.value} if record.kind == CHANGE else dict(record._asdict(), kind=ADD)
            jobs[record.handle] = self.server, jobs[record.handle][1]._replace(**new)

    def look_around(self):
        self._prove()
        self.looks += 1
        return [Neighbour(name, row.epoch, self.database.now - row.seen, row.take_over, row.ended,
                          row.adopted_by, self.database.now - row.adopted_at)
                for name, row in sorted(self.database.servers.items())]

    def adopt(self, name, epoch):
        self._prove()
        self.open_question = False
        done, self.done = self.done, None
        if done == (name, epoch):
            return True
        database, row = self.database, self.database.servers[name]
        if row.epoch != epoch or row.adopted_by or database.now - row.seen <= max(self.take_over, row.take_over):
            return False
        paused = {function for server, order, function in database.orders if (server, order) == (name, "pause")}
        paused &= {record.function for server, record in database.jobs.values() if server == name}
        pauses = [OrderRecord(ORDER, b"", "pause", function, b"") for function in sorted(paused)
                  if (self.server, "pause", function) not in database.orders]
        for record in pauses:
            self._obey(record)
        self.adopted = pauses + self._order_of(name)
        row.epoch, row.adopted_by, row.adopted_at = row.epoch + 1, self.server, database.now
        for table in (database.jobs, database.results):
            table.update({handle: (self.server, record) for handle, (server, record) in table.items() if server == name})
        if self.loses_answer:
            self.done, self.open_question, self.cut = (name, epoch), True, True  # until it is mended
            raise self.error("cut off")
        return True

    def read_adopted(self):
        self._reach()
        some, self.adopted = self.adopted[:self.piece], self.adopted[self.piece:]
        return some

    def drop_connection(self):
        self.usable = False

    def begin_anew(self, number, is_empty):
        self._prove()
        self.anew = []

    def add_anew(self, records):
        self.anew += records

    def end_anew(self):
        self._prove()
        for table in (self.database.jobs, self.database.results):
            for handle in [handle for handle, (server, _) in table.items() if server == self.server]:
                del table[handle]
        for key in [key for key in self.database.orders if key[0] == self.server]:
            del self.database.orders[key]
        for record in self.anew:
            self._obey(record)
        self.usable = True

    def prove_room(self, size):
        self._prove()

    def close(self, number):
        self._prove().ended = True

    def abandon(self):
        self.adopted = []


class SharedWorld(World):
    """A World with a SharedStore; while it `sleeps`, as a process that was stopped, it does nothing."""

    has_store = True

    def __init__(self, database, server, take_over=5.0, now=1000.0, **settings):
        super().__init__(b"H:" + server.encode(), durable=True, **settings)
        self.database = database
        self.now = now
        self.core.tick(self.now, self.wall)
        self.sleeps = False
        self.store = SharedStore(database, server, take_over)
        self.keeper = StoreKeeper(self.core, self.store, lambda: self.now)
        self.keeper.open()

    @property
    def lives(self):
        """Whether it may say anything; a server closes all connections when it is deposed."""
        return self.keeper.deposed is None

    def after_step(self):
        if self.sleeps:
            return
        super().after_step()
        while self.lives and self.keeper.due():
            self.keeper.save()
            super().after_step()

    def goes_on(self, seconds):
        """Its time, and that of the others, goes on; the database's does so, too, once."""
        self.now += seconds
        self.wall += seconds
        if not self.sleeps:
            self.core.tick(self.now, self.wall)
            self.after_step()


def pass_time(database, worlds, seconds, step=0.5):
    """So much time passes for a database and servers."""
    while seconds > 0:
        database.now += step
        seconds -= step
        for world in worlds:
            if world.lives:
                world.goes_on(step)
