#!/usr/bin/env python3
"""Two small sends cost 44 milliseconds: TCP at one end waits for an acknowledgement before it sends the second piece, and TCP
at the other end waits before it acknowledges the first.

    python3 tests/tour/nagle.py

A client sends a packet and waits for the answer, again and again: header and rest in two sends with TCP's defaults, in two
sends with TCP_NODELAY, and in one send.  It uses no code of ours: it is about TCP (RFC 896 and RFC 1122, 4.2.3.2).
"""
import socket
import statistics
import threading
import time

HEADER, REST = b"\0REQ\0\0\0\x10\0\0\0\x05", b"hello"
ROUNDS = 20


def answer(connection):
    """Answer each request when it is whole."""
    while True:
        request = b""
        while len(request) < len(HEADER + REST):
            data = connection.recv(65536)
            if not data:
                return
            request += data
        connection.sendall(request)


def measure(pieces, at_once, rounds=ROUNDS):
    """The median time of a round trip, in milliseconds, if a request is sent in these pieces."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    thread = threading.Thread(target=answer, args=(server,))
    thread.start()
    with client, server:
        if at_once:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            for piece in pieces:
                client.sendall(piece)
            left = len(HEADER + REST)
            while left:
                left -= len(client.recv(65536))
            times.append(time.perf_counter() - began)
        client.shutdown(socket.SHUT_WR)
        thread.join()
    return 1000 * statistics.median(times)


def main():
    print("two sends:                    %6.2f ms" % measure([HEADER, REST], at_once=False))
    print("two sends with TCP_NODELAY:   %6.2f ms" % measure([HEADER, REST], at_once=True))
    print("one send:                     %6.2f ms" % measure([HEADER + REST], at_once=False))


if __name__ == "__main__":
    main()
