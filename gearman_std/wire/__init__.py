"""Bytes and packets, without a socket: the wire format, and what each end of a connection has to say.

Imports errors, and of the standard library nothing that could act.
"""
