"""Processes that tests start, and the ports of those that cannot choose one themselves."""
import signal
import socket
import subprocess

from patience import until


class Processes:
    """Starts processes and ends each of them by its id."""

    def __init__(self):
        self._running = []

    def start(self, command, **options):
        process = subprocess.Popen(command, **dict({"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}, **options))
        self._running.append(process)
        return process

    def start_server(self, command, port, **options):
        """Start a server that does not say when it listens; return once it does, on 127.0.0.1."""
        process = self.start(command, **options)

        def listens():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                assert process.poll() is None, "%r ended with status %s" % (command, process.returncode)
                return False
        until(listens)
        return process

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
