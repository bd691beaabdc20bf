"""What the tests of states as data share: the picture in a docstring as a table."""
import re


def drawn(documented):
    """The arrows of the picture in a docstring, {(state, event): state}; what is drawn twice fails the test."""
    arrows = {}
    for line in documented.__doc__.split("\n"):
        words = re.split(r" ─([a-z ]+)─> ", line.strip())
        for start, event, end in zip(words[::2], words[1::2], words[2::2]):
            assert (start, event) not in arrows, "%s ─%s─> is drawn twice" % (start, event)
            arrows[start, event] = end
    return arrows
