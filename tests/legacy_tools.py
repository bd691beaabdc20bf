"""What the tests of legacy/ share: a worker at work in a thread of its own."""
import threading

WAIT = 10  # seconds until something that must happen is given up


class Working:
    """Runs a worker's `work` in a thread until the `with` block ends; what it raised is in `error`."""

    def __init__(self, worker, **options):
        self.worker = worker
        self.error = None
        self.thread = threading.Thread(target=self._run, kwargs=options, daemon=True)

    def _run(self, **options):
        try:
            self.worker.work(**options)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the worker goes on"

    def __exit__(self, kind, *_):
        self.worker.shutdown()
        self.join()
        if kind is None and self.error is not None:
            raise self.error
