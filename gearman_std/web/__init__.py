"""What people and monitors look at: the page, metrics, JSON.

Imports core, which it asks and never changes but by the text commands, wire and errors.
"""
