"""What passes between Gearman programs, recorded, explained, drawn and played again; the proxy that it passes through.

Imports wire, net and errors.
"""
