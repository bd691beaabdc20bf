"""Processes that tests start, and the ports of those that cannot choose one themselves."""
import signal
import socket
import subprocess
import time


class Processes:
    """Starts processes and ends each of them by its id."""

    def __init__(self):
        self._running = []

    def start(self, command, **options):
        process = subprocess.Popen(command, **dict({"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}, **options))
        self._running.append(process)
        return process

    def start_server(self, command, port, **options):
        """Start a server and return once it listens on 127.0.0.1."""
        process = self.start(command, **options)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process
            except OSError:
                assert process.poll() is None, "%r ended with status %s" % (command, process.returncode)
                time.sleep(0.01)
        raise AssertionError("%r does not listen on port %d" % (command, port))

    def end(self):
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._running = []


def free_port():
    """A port on 127.0.0.1 that nobody listened on a moment ago, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
