"""HTTP for people and monitors: the page, the metrics for Prometheus, and the JSON API.

Imports core, which it reads, and which it changes only with text commands; wire and errors.
"""
