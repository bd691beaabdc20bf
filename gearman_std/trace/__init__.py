"""The proxy that `trace` puts between Gearman programs; what passes is recorded, explained, drawn and played again.

Imports wire, net and errors.
"""
