"""The style and the script of the page."""
import re

from gearman_std.web.looks import STYLE
from web_tools import Browser


def test_style_and_script_load_nothing_from_elsewhere(world):
    browser = Browser(world)
    for path, kind in (("/page.css", "text/css"), ("/page.js", "text/javascript")):
        status, headers, body = browser.asks("GET " + path)
        assert status == 200 and headers["content-type"].startswith(kind)
        assert b"http:" not in body and b"https:" not in body and b"url(" not in body and b"import" not in body


def luminance(color):
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(color[index:index + 2], 16) / 255.0 for index in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """The ratio of two colours, as WCAG 2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_text_bars_and_lines_have_the_contrast_that_wcag_asks_for():
    """In both colour schemes, on the paper and on panels: 4.5 to 1 for text, 3 to 1 for lines and areas, also for the focus."""
    light, dark = [dict(re.findall(r"--(\w+): (#\w+)", part)) for part in STYLE.split("@media (prefers-color-scheme: dark)")]
    dark = {name: dark[name] for name in light if name in dark}
    assert set(dark) == set(light)
    for scheme in (light, dark):
        for text in ("ink", "faint", "wait", "run", "good", "bad"):
            for ground in ("paper", "panel"):
                assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
        for drawn in ("wait", "run", "good", "bad", "focus", "faint"):  # the last, around buttons and fields
            for ground in ("paper", "panel"):
                assert contrast(scheme[drawn], scheme[ground]) >= 3, (drawn, ground)
        for drawn in ("wait", "run"):  # in a bar
            assert contrast(scheme[drawn], scheme["line"]) >= 3, drawn
    assert "::placeholder { color: var(--faint); opacity: 1 }" in STYLE
    assert ":focus-visible { outline: 3px solid var(--focus)" in STYLE
