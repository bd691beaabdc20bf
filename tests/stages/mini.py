#!/usr/bin/env python3
"""A Gearman job server, small enough to be read in one sitting.

    python3 tests/stages/mini.py 4730                  the server, until it is interrupted
    gearman -p 4730 -w -f rev rev                      in another window, a worker: the program rev, for the function rev
    gearman -p 4730 -f rev hello                       in a third one, a client

It passes stages 1 to 9 of README.md, beside this file; comments name the stage of each part.  Stages 10 to 12 (priorities,
equal jobs, and jobs that outlive the server) are left to the reader; so are limits: it keeps whatever a peer sends.

The idea: deciding (`Jobs`) and sending and receiving (`Server`) are kept apart.  `Jobs` has no socket: it gets a peer and a
packet, and appends what it has to say to the `outgoing` of peers.  `Server` has one thread, which never waits for a single
peer: it asks the system which sockets have something to read or room to write, and serves just these.
"""
import collections
import selectors
import socket
import struct
import sys

# --- The wire.  A packet is a header of 12 bytes (a magic, a type, and the size of the rest), and then its arguments with a NUL
# between them; the last one ends with the packet, and may have NULs in it.

HEADER = struct.Struct(">4sII")
CAN_DO, CANT_DO, RESET_ABILITIES, PRE_SLEEP, SUBMIT_JOB, GRAB_JOB, WORK_STATUS, WORK_COMPLETE = 1, 2, 3, 4, 7, 9, 12, 13
WORK_FAIL, GET_STATUS, ECHO_REQ, SUBMIT_JOB_BG, SET_CLIENT_ID, WORK_DATA, WORK_WARNING = 14, 15, 16, 18, 22, 28, 29
GRAB_JOB_UNIQ, GRAB_JOB_ALL = 30, 39
NOOP, JOB_CREATED, NO_JOB, JOB_ASSIGN, ECHO_RES, ERROR, STATUS_RES, JOB_ASSIGN_UNIQ = 6, 8, 10, 11, 17, 19, 20, 31

# For each request, the method of `Jobs` that handles it, and how many arguments it has.
REQUESTS = {
    CAN_DO: ("on_can_do", 1), CANT_DO: ("on_cant_do", 1), RESET_ABILITIES: ("on_reset", 0), PRE_SLEEP: ("on_sleep", 0),
    SUBMIT_JOB: ("on_submit", 3), SUBMIT_JOB_BG: ("on_submit", 3), GRAB_JOB: ("on_grab", 0), GRAB_JOB_UNIQ: ("on_grab", 0),
    GRAB_JOB_ALL: ("on_grab", 0), WORK_DATA: ("on_work", 2), WORK_WARNING: ("on_work", 2), WORK_STATUS: ("on_work", 3),
    WORK_COMPLETE: ("on_work", 2), WORK_FAIL: ("on_work", 1), ECHO_REQ: ("on_echo", 1), GET_STATUS: ("on_get_status", 1),
    SET_CLIENT_ID: ("on_name", 1)}


def pack(packet_type, *arguments):
    """The bytes of a response."""
    body = b"\0".join(arguments)
    return HEADER.pack(b"\0RES", packet_type, len(body)) + body


# Stage 2: a stream is bytes, not packets.  One recv may bring half a packet, or three and a half.
def take(buffer):
    """Take the first packet or line from a buffer: (type, arguments), or (None, line); None if it is not whole yet."""
    if buffer and buffer[0]:  # a packet begins with NUL, so this is a line of text: stage 9
        end = buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(buffer[:end])
        del buffer[:end + 1]
        return None, line
    if len(buffer) < HEADER.size:
        return None
    magic, packet_type, size = HEADER.unpack_from(buffer)
    if magic != b"\0REQ":
        raise ValueError("not a packet, so nobody knows where the next one begins")
    if len(buffer) < HEADER.size + size:
        return None
    body = bytes(buffer[HEADER.size:HEADER.size + size])
    del buffer[:HEADER.size + size]
    _, count = REQUESTS.get(packet_type, ("", 0))
    return packet_type, body.split(b"\0", count - 1) if count else []


# --- The data: peers, each of which may be a client and a worker at once, and jobs.

class Peer:
    """One connection."""

    def __init__(self, address):
        self.address = address
        self.name = b"-"
        self.incoming = bytearray()  # what has come, and is not a whole packet yet
        self.outgoing = bytearray()  # what is to be sent
        self.can_do = set()          # functions
        self.sleeping = False
        self.jobs = {}               # by handle, the jobs that it runs


class Job:
    """One job, from its submit to its end."""

    def __init__(self, handle, function, unique, workload, client):
        self.handle, self.function, self.unique, self.workload = handle, function, unique, workload
        self.client = client  # who waits for the result; None for a background job
        self.worker = None    # the peer that runs it; None while it waits
        self.progress = (b"0", b"0")


# --- Deciding.

class Jobs:
    """All jobs, and what happens to them.  There is no socket here."""

    def __init__(self):
        self.peers = []
        self.jobs = {}    # by handle
        self.queues = {}  # by function, the jobs that wait, the next one first; only functions that have such jobs
        self.count = 0

    def on_packet(self, peer, packet_type, arguments):
        """Handle a packet of a peer."""
        name, count = REQUESTS.get(packet_type, ("", 0))
        if not name or len(arguments) != count:
            peer.outgoing += pack(ERROR, b"INVALID_COMMAND", b"packet %d is not known here, or lacks arguments" % packet_type)
        else:
            getattr(self, name)(peer, packet_type, *arguments)

    # Stage 1: a request is answered.
    def on_echo(self, peer, _, data):
        peer.outgoing += pack(ECHO_RES, data)

    # Stage 3: a job is taken.  JOB_CREATED is a promise, so it is sent when everything about the job is in its place.
    def on_submit(self, peer, packet_type, function, unique, workload):
        self.count += 1
        client = peer if packet_type == SUBMIT_JOB else None  # stage 8: nobody waits for a background job
        job = Job(b"H:mini:%d" % self.count, function, unique, workload, client)
        self.jobs[job.handle] = job
        self.put(job)
        peer.outgoing += pack(JOB_CREATED, job.handle)

    def put(self, job):
        """Put a job at the end of its queue, and wake the sleeping workers that can do it."""
        self.queues.setdefault(job.function, collections.deque()).append(job)
        for peer in self.peers:
            if peer.sleeping and job.function in peer.can_do:
                self.wake(peer)

    # Stage 4: a worker says what it can do, and asks for a job.
    def on_can_do(self, peer, _, function):
        peer.can_do.add(function)

    def on_cant_do(self, peer, _, function):
        peer.can_do.discard(function)

    def on_reset(self, peer, _):
        peer.can_do.clear()

    def on_grab(self, peer, packet_type):
        peer.sleeping = False
        for function in peer.can_do:
            if function in self.queues:
                job = self.queues[function][0]
                self.unqueue(job)
                job.worker = peer
                peer.jobs[job.handle] = job
                unique = () if packet_type == GRAB_JOB else (job.unique,)  # newer workers ask for it
                peer.outgoing += pack(JOB_ASSIGN_UNIQ if unique else JOB_ASSIGN, job.handle, function, *unique, job.workload)
                return
        peer.outgoing += pack(NO_JOB)

    def unqueue(self, job):
        self.queues[job.function].remove(job)  # fast if it is the first
        if not self.queues[job.function]:
            del self.queues[job.function]

    # Stage 5: what a worker says about its job goes to the client.  A peer that does not have the job may say nothing about it.
    def on_work(self, peer, packet_type, handle, *rest):
        job = peer.jobs.get(handle)
        if not job:
            peer.outgoing += pack(ERROR, b"JOB_NOT_FOUND", b"you have no job with this handle")
            return
        if job.client:
            job.client.outgoing += pack(packet_type, handle, *rest)
        if packet_type == WORK_STATUS:
            job.progress = rest
        elif packet_type in (WORK_COMPLETE, WORK_FAIL):
            del peer.jobs[handle]
            del self.jobs[handle]

    # Stage 6: a worker sleeps until there is something to do.  If a job has come after the worker asked for one, and before it
    # says that it sleeps, it is woken at once; otherwise that job would wait until another one comes.
    def on_sleep(self, peer, _):
        peer.sleeping = True
        if any(function in self.queues for function in peer.can_do):
            self.wake(peer)

    def wake(self, peer):
        """Send NOOP, "ask again", once for each sleep.  It promises no job, because another worker may be faster."""
        peer.sleeping = False
        peer.outgoing += pack(NOOP)

    # Stage 7: a peer is gone.
    def on_gone(self, peer):
        self.peers.remove(peer)
        for job in peer.jobs.values():  # it ran these; another worker must run them now
            job.worker, job.progress = None, (b"0", b"0")
            self.put(job)
        for job in [job for job in self.jobs.values() if job.client is peer]:
            if job.worker:
                job.client = None  # it goes on running, but nobody will get its result
            else:
                self.unqueue(job)
                del self.jobs[job.handle]

    # Stage 8: anybody may ask for the status of a job.
    def on_get_status(self, peer, _, handle):
        job = self.jobs.get(handle)
        known = (b"1", b"1" if job.worker else b"0", *job.progress) if job else (b"0", b"0", b"0", b"0")
        peer.outgoing += pack(STATUS_RES, handle, *known)

    # Stage 9: people ask in lines of text.
    def on_name(self, peer, _, name):
        peer.name = name

    def on_line(self, peer, line):
        command = {b"status": self.status, b"workers": self.workers, b"version": lambda: b"OK mini\n"}.get(line.strip())
        peer.outgoing += command() if command else b"ERR UNKNOWN_COMMAND Unknown+server+command\n"

    def status(self):
        figures = {}  # by function: jobs, those of them that run, workers
        for function in [function for peer in self.peers for function in peer.can_do]:
            figures.setdefault(function, [0, 0, 0])[2] += 1
        for job in self.jobs.values():
            figures.setdefault(job.function, [0, 0, 0])[0] += 1
            figures[job.function][1] += job.worker is not None
        return b"".join(b"%s\t%d\t%d\t%d\n" % (function, *figures[function]) for function in sorted(figures)) + b".\n"

    def workers(self):
        return b"".join(b"%d %s %s : %s\n" % (number, peer.address.encode(), peer.name, b" ".join(sorted(peer.can_do)))
                        for number, peer in enumerate(self.peers, 1)) + b".\n"


# --- Sending and receiving.

class Server:
    """The sockets, in one thread."""

    def __init__(self, port):
        self.jobs = Jobs()
        self.sockets = {}  # by peer
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that it can be started again at once
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(100)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                else:  # also if there is only room to write: receiving then does no harm
                    self.receive(key.fileobj, key.data)
            for peer in [peer for peer in self.sockets if peer.outgoing]:
                self.send(self.sockets[peer], peer)

    def accept(self):
        try:
            connection, address = self.listener.accept()
        except OSError:
            return  # the client is gone already
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise small answers may wait for 40 ms
        peer = Peer(address[0])
        self.jobs.peers.append(peer)
        self.sockets[peer] = connection
        self.selector.register(connection, selectors.EVENT_READ, peer)

    def receive(self, connection, peer):
        try:
            data = connection.recv(65536)
            peer.incoming += data
            for packet_type, what in iter(lambda: take(peer.incoming), None):
                if packet_type is None:
                    self.jobs.on_line(peer, what)
                else:
                    self.jobs.on_packet(peer, packet_type, what)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data = b""
        if not data:  # this is how recv tells that the peer is gone
            self.selector.unregister(connection)
            connection.close()
            del self.sockets[peer]
            self.jobs.on_gone(peer)

    def send(self, connection, peer):
        """Send as much as there is room for; the selector tells when there is room for the rest."""
        try:
            del peer.outgoing[:connection.send(peer.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            peer.outgoing.clear()  # the peer is gone; the next recv will tell
        self.selector.modify(connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0), peer)


if __name__ == "__main__":
    try:
        Server(int(sys.argv[1])).run()
    except KeyboardInterrupt:
        pass
