"""Pictures of states and arrows, as SVG, made from the tables that the code uses; only the places are laid out here.

A picture has each state and each arrow of its table, once; otherwise making it fails.
"""
import collections
import math
from html import escape

# A frame around several states: an event that leads from each of them to the same state on the right is drawn as one arrow from
# the frame.  The numbers are its sides.
Frame = collections.namedtuple("Frame", "members left top right bottom")

# A picture.  `places`: where each state stands.  `frames`: pairs of a frame and its events.  `bends`: by (start, end) of an
# arrow, how much it is bent, one number or one for each half; if it leads back to its own state, its side (1 is below).
# `words`: by (start, end), where on the arrow its words stand, from 0 to 1.
Layout = collections.namedtuple("Layout", "title width height places frames bends words")

STYLE = """
    .paper { fill: #ffffff; stroke: #d0d7de; }
    .frame { fill: none; stroke: #8c959f; stroke-dasharray: 5 4; }
    .box { fill: #ddf4ff; stroke: #0969da; }
    .last { fill: #eaeef2; stroke: #57606a; }
    .name { fill: #1f2328; font: 14px sans-serif; text-anchor: middle; }
    .arrow { fill: none; stroke: #57606a; stroke-width: 1.3; }
    .head { fill: #57606a; }
    .word { fill: #1a5c34; font: 12px sans-serif; text-anchor: middle; stroke: #ffffff; stroke-width: 4px;
      paint-order: stroke; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117; stroke: #30363d; }
      .frame { stroke: #6e7681; }
      .box { fill: #122d4b; stroke: #58a6ff; }
      .last { fill: #21262d; stroke: #8b949e; }
      .name { fill: #e6edf3; }
      .arrow { stroke: #9aa4af; }
      .head { fill: #9aa4af; }
      .word { fill: #7ee2a0; stroke: #0d1117; }
    }"""

NEW = "(new)"
HEIGHT = 34  # of a box


class Picture:
    """Draws one picture.

    `arrows` is the table, {(state, event): state}; the state None means that there was nothing before.
    """

    def __init__(self, layout, arrows):
        self._layout = layout
        self._arrows = {(start or NEW, event): end for (start, event), end in arrows.items()}
        states = {state for (start, _), end in self._arrows.items() for state in (start, end)}
        assert states == set(layout.places), states ^ set(layout.places)
        self._last = states - {start for start, _ in self._arrows}
        self._framed = [(frame, event, self._end_of(frame, event)) for frame, events in layout.frames for event in events]

    def _end_of(self, frame, event):
        ends = {self._arrows[member, event] for member in frame.members}
        assert len(ends) == 1, (frame, event)
        return ends.pop()

    def svg(self):
        layout = self._layout
        lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">' % (
            layout.width, layout.height, layout.width, layout.height), "  <title>%s</title>" % escape(layout.title)]
        lines.append("  <desc>%s</desc>" % escape("; ".join(
            "%s, %s: %s" % (start, event, end) for (start, event), end in sorted(self._arrows.items()))))
        lines += ["  <style>%s\n  </style>" % STYLE]
        lines.append('  <rect class="paper" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>' % (
            layout.width - 1, layout.height - 1))
        for frame, _ in layout.frames:
            lines.append('  <rect class="frame" x="%d" y="%d" width="%d" height="%d" rx="10"/>' % (
                frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top))
        words = []
        for start, end, events in self._lines():
            lines += self._arrow(start, end, events, words)
        for state, (x, y) in sorted(layout.places.items()):
            if state != NEW:
                width = self._width(state)
                lines.append('  <rect class="%s" x="%.1f" y="%d" width="%d" height="%d" rx="8"/>' % (
                    "last" if state in self._last else "box", x - width / 2, y - HEIGHT // 2, width, HEIGHT))
            lines.append('  <text class="name" x="%d" y="%d">%s</text>' % (x, y + 5, escape(state)))
        return "\n".join(lines + words + ["</svg>", ""])

    def _lines(self):
        """What is drawn as one arrow: the start, which is a state or a frame; the end; the events."""
        framed = {(member, event) for frame, event, _ in self._framed for member in frame.members}
        lines = collections.OrderedDict()
        for (start, event), end in sorted(self._arrows.items()):
            if (start, event) not in framed:
                lines.setdefault((start, end), []).append(event)
        result = [(start, end, events) for (start, end), events in lines.items()]
        return result + [(frame, end, [event]) for frame, event, end in self._framed]

    @staticmethod
    def _width(state):
        return 9 * len(state) + 26

    def _arrow(self, start, end, events, words):
        """The lines of SVG for one arrow; its words are appended to `words`."""
        if start == end:
            x, y = self._layout.places[start]
            side = self._layout.bends.get((start, end), -1)  # above the box, or below
            words.append(self._word(x, y + side * 47 + (12 if side > 0 else 0), events))
            y += side * HEIGHT / 2
            return self._path([(x - 22, y), (x - 34, y + side * 38), (x + 34, y + side * 38), (x + 22, y)])
        x2, y2 = self._layout.places[end]
        x1, y1 = self._layout.places[start] if isinstance(start, str) else (start.right, y2)
        length = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
        bend = self._layout.bends.get((start, end), 0)
        curve = [(x1, y1)] + [(x1 + (x2 - x1) * place / 3 - (y2 - y1) / length * bend,
                               y1 + (y2 - y1) * place / 3 + (x2 - x1) / length * bend)
                              for place, bend in enumerate(bend if isinstance(bend, tuple) else (bend, bend), 1)] + [(x2, y2)]
        begin = self._leaves(curve, start) if isinstance(start, str) else 0.0
        arrive = 1.0 - self._leaves(curve[::-1], end)
        x, y = point(curve, begin + (arrive - begin) * self._layout.words.get((start, end), 0.5))
        words.append(self._word(x, y + 4, events))
        return self._path(part(curve, begin, arrive))

    def _leaves(self, curve, state):
        """Where a curve that begins in the middle of a state leaves the state's box, from 0 to 1."""
        x0, y0 = self._layout.places[state]
        width = self._width(state) if state != NEW else 44
        step = 0
        while step < 1000:
            x, y = point(curve, step / 1000)
            if abs(x - x0) > width / 2 + 2 or abs(y - y0) > HEIGHT / 2 + 2:
                break
            step += 1
        return step / 1000

    @staticmethod
    def _word(x, y, events):
        return '  <text class="word" x="%.1f" y="%.1f">%s</text>' % (x, y, escape(", ".join(events)))

    @staticmethod
    def _path(curve):
        (x3, y3), (x4, y4) = curve[2:]
        length = math.sqrt((x4 - x3) ** 2 + (y4 - y3) ** 2) or 1.0
        along = ((x4 - x3) / length, (y4 - y3) / length)
        base = (x4 - along[0] * 9, y4 - along[1] * 9)
        corners = [(x4, y4), (base[0] - along[1] * 4, base[1] + along[0] * 4), (base[0] + along[1] * 4, base[1] - along[0] * 4)]
        return ['  <path class="arrow" d="M %.1f %.1f C %.1f %.1f, %.1f %.1f, %.1f %.1f"/>' % tuple(
            number for place in curve[:3] + [base] for number in place),
            '  <path class="head" d="M %.1f %.1f L %.1f %.1f L %.1f %.1f Z"/>' % tuple(
                number for place in corners for number in place)]


def point(curve, where):
    """A point of a Bézier curve."""
    rest = 1 - where
    weights = (rest ** 3, 3 * rest * rest * where, 3 * rest * where * where, where ** 3)
    return tuple(sum(weight * place[axis] for weight, place in zip(weights, curve)) for axis in (0, 1))


def part(curve, begin, end):
    """The part of a curve between two of its points, as a curve."""
    def cut(points, where):
        rows = [list(points)]
        while len(rows[-1]) > 1:
            rows.append([tuple(a[axis] + (b[axis] - a[axis]) * where for axis in (0, 1))
                         for a, b in zip(rows[-1], rows[-1][1:])])
        return [row[0] for row in rows], [row[-1] for row in rows][::-1]
    first, _ = cut(curve, end)
    _, rest = cut(first, begin / end)
    return rest


_LIVING = Frame(("storing", "waiting", "running", "delayed", "held back"), 140, 60, 670, 430)
JOB = Layout("The states of a job", 900, 450, {
    NEW: (60, 235), "storing": (210, 120), "held back": (210, 350), "waiting": (430, 120), "delayed": (430, 350),
    "running": (590, 235), "set aside": (800, 120), "gone": (800, 350)}, [(_LIVING, ["end", "set_aside"])],
    {("waiting", "running"): -16, ("running", "waiting"): -16, ("delayed", "delayed"): 1, (NEW, "set aside"): (-340, -110)},
    {(NEW, "waiting"): 0.3, (NEW, "delayed"): 0.3, ("storing", "delayed"): 0.3, ("held back", "waiting"): 0.3})

_CONNECTED = Frame(("shaking hands", "open", "held up", "closing", "finishing", "lingering"), 20, 20, 690, 310)
CONNECTION = Layout("The states of a connection of the server", 860, 330, {
    "shaking hands": (110, 170), "open": (300, 170), "held up": (300, 60), "closing": (450, 170), "lingering": (590, 170),
    "finishing": (590, 260), "closed": (790, 90)}, [(_CONNECTED, ["lost"])],
    {("open", "held up"): -34, ("held up", "open"): -34}, {("open", "held up"): 0.62, ("held up", "open"): 0.62})

_AT_WORK = Frame(("awake", "dry", "asleep"), 20, 30, 420, 260)
WORKER = Layout("The states of a worker's session with a server", 640, 290, {
    "awake": (90, 80), "dry": (220, 195), "asleep": (350, 80), "retiring": (550, 140)}, [(_AT_WORK, ["retires"])],
    {("awake", "asleep"): -18, ("asleep", "awake"): -18, ("awake", "dry"): -18, ("dry", "awake"): -18, ("dry", "dry"): 1},
    {("awake", "dry"): 0.4, ("dry", "awake"): 0.4})

_OPEN_JOBS = Frame(("unplaced", "submitted", "created"), 20, 30, 570, 190)
CLIENT = Layout("The states of a job as its client sees it", 800, 280, {
    "unplaced": (100, 90), "submitted": (300, 90), "created": (490, 90), "accepted": (300, 245), "done": (710, 60),
    "failed": (710, 165)}, [(_OPEN_JOBS, ["refused"])],
    {("unplaced", "submitted"): -20, ("submitted", "unplaced"): -20}, {})

LINK = Layout("The states of a client's connection to a server", 740, 210, {
    "apart": (80, 90), "connecting": (350, 90), "connected": (640, 90)}, [],
    {("apart", "connecting"): -26, ("connecting", "apart"): -26, ("connected", "apart"): -130}, {})

SERVERS = Layout("The states of a server as a worker sees it", 680, 340, {
    "unknown": (80, 170), "up": (300, 80), "down": (300, 260), "doubtful": (540, 170)}, [],
    {("up", "down"): -36, ("down", "up"): -36, ("up", "doubtful"): -18, ("doubtful", "up"): -18, ("down", "down"): 1},
    {("up", "down"): 0.6, ("down", "up"): 0.6})
