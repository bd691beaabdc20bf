"""Which version of the package this is."""

VERSION = "1.1.0"
