"""A core with its store, without sockets: what the tests of stores are told in."""
from gearman_std.store.files import connect_sqlite
from gearman_std.store.sqlite import JobStore
from gearman_std.store.store import EVERY
from gearman_std.store.storekeeper import StoreKeeper

from core_world import World


class StoredWorld(World):
    """A World with a store in a file, which can crash or stop and start again."""

    has_store = True

    def __init__(self, worlds, path, durability=EVERY, wall=None, **settings):
        super().__init__(durable=True, **settings)
        worlds.append(self)
        self.worlds = worlds
        if wall is not None:
            self.wall = wall
            self.core.tick(self.now, wall)
        self.path, self.durability, self.settings = path, durability, settings
        self.broken = ""  # what every COMMIT says
        self.commits = 0
        self.store = JobStore(path, durability, _connect=lambda path: Connection(path, self))
        self.keeper = StoreKeeper(self.core, self.store)
        self.keeper.open()

    def after_step(self):
        super().after_step()
        while self.keeper.due():
            self.keeper.save()
            super().after_step()

    def crashes(self):
        """Kill it, and start again; the new one."""
        self.store.abandon()
        return StoredWorld(self.worlds, self.path, self.durability, self.wall, **self.settings)

    def stops(self):
        """Stop it in peace, and start again; the new one."""
        self.ends()
        self.keeper.close()
        return StoredWorld(self.worlds, self.path, self.durability, self.wall, **self.settings)

    def handles(self):
        return list(self.core.jobs)

    def drained(self, *functions, **options):
        """The handles of all jobs that a worker of the functions gets, in their order."""
        worker = self.worker(*functions)
        return list(iter(worker.grabs, None))


class Stepped:
    """For a World with a keeper: its store does something when the test says so."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.keeper._thread.waits_for_test = True

    def writes(self):
        """The store does what it was told, and the server notices."""
        assert self.keeper._thread.busy and not self.keeper._thread.over
        self.keeper._thread.run_one()
        self.after_step()

    def settles(self):
        """The store does all there is to do."""
        while self.keeper._thread.busy:
            self.writes()


class Connection:
    """An SQLite connection whose COMMIT fails when the world says so."""

    def __init__(self, path, world):
        self._real, self._world = connect_sqlite(path), world
        self.executemany, self.close = self._real.executemany, self._real.close

    @property
    def text_factory(self):
        return self._real.text_factory

    @text_factory.setter
    def text_factory(self, value):
        self._real.text_factory = value

    def execute(self, statement, *arguments):
        if statement == "COMMIT":
            self._world.commits += 1
            if self._world.broken:
                raise OSError(self._world.broken)
        return self._real.execute(statement, *arguments)
