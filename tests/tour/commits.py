#!/usr/bin/env python3
"""Group commit: the server waits for the disk once for all jobs that have come meanwhile.

    python3 tests/tour/commits.py [FOLDER]

A server with a store in FOLDER, or in a temporary folder, takes the same number of background jobs three times: from one client
that waits for each JOB_CREATED before it sends the next job, from many clients at a time, and from one client that sends all at
once.  Each JOB_CREATED is sent when its job is on disk.
"""
import os
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from gearman_std.server.server import Server  # noqa: E402
from gearman_std.store.sqlite import JobStore  # noqa: E402
from gearman_std.wire.protocol import RESPONSE_MAGIC, SUBMIT_JOB_BG, PacketReader, pack_request  # noqa: E402

JOBS, CLIENTS = 400, 40
SUBMIT = pack_request(SUBMIT_JOB_BG, b"f", b"", b"x")


class CountingStore(JobStore):
    """A store that counts how often it waits for the disk.

    Owner: the server.
    """

    commits = 0

    def write(self, records, number, flush=True):
        super().write(records, number, flush)
        self.commits += flush


def submit(address, batches):
    """Send a batch of submits at once, wait until all are acknowledged, send the next batch, and so on."""
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = PacketReader(RESPONSE_MAGIC)
        for count in batches:
            connection.sendall(SUBMIT * count)
            while count:
                count -= len(reader.feed(connection.recv(65536)))


def measure(folder, clients, batches):
    """Let several clients submit such batches; return how often the server waited for the disk, and the seconds it took."""
    store = CountingStore(os.path.join(folder, "jobs-%d-%d" % (clients, len(batches))))
    with Server(port=0, store=store) as server:
        before, began = store.commits, time.perf_counter()
        threads = [threading.Thread(target=submit, args=(server.address, batches)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return store.commits - before, time.perf_counter() - began


def main(folder):
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for what, clients, batches in (
                ("one client, one after the other:", 1, [1] * JOBS),
                ("%d clients at a time:" % CLIENTS, CLIENTS, [1] * (JOBS // CLIENTS)),
                ("one client, all at once:", 1, [JOBS])):
            commits, seconds = measure(place, clients, batches)
            print("%-34s %d jobs, %4d waits for the disk, %7.1f ms" % (what, JOBS, commits, 1000 * seconds))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
