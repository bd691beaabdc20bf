"""Exceptions and calls at every point of the package, as from the handler of a signal."""
import os
import sys

from gearman_std.client import guard

# The package's folder, or the single file.
FOLDER = guard.__file__
if os.path.basename(FOLDER) == "guard.py":
    FOLDER = os.path.dirname(os.path.dirname(FOLDER))
# Where exceptions are raised: a sample of all lines; with SWEEP=lines all of them, with SWEEP=opcodes every instruction.
SWEEP = os.environ.get("SWEEP", "")
STEP = 1 if SWEEP else 7


class Interrupt(KeyboardInterrupt):
    """What a signal's handler raises."""


class InterruptAt:
    """Raises, or calls a function, at the n-th line, or instruction, that this thread runs of the package."""

    def __init__(self, count, call=None):
        self.left = count
        self._call = call
        self.place = None
        self._before = sys.gettrace()  # that of a debugger, or of what measures the tests

    def run(self, function, *arguments):
        """Call a function; return what it returns.

        When a trace function raises just where another exception was caught, CPython 3.13 keeps that one in hand, the context
        of all that is raised later.  What a generator has in hand goes with it.
        """
        def in_generator():
            yield function(*arguments)

        sys.settrace(self.trace)
        try:
            return next(in_generator())
        finally:
            sys.settrace(self._before)

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if SWEEP == "opcodes":
            frame.f_trace_opcodes = True
        return self.step

    def step(self, frame, event, argument):
        if event == ("opcode" if SWEEP == "opcodes" else "line") and frame.f_lineno is not None:
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.place = "%s:%d" % (os.path.basename(frame.f_code.co_filename), frame.f_lineno)
                if self._call is None:
                    raise Interrupt
                self._call()
        return self.step
