"""Markup: how data becomes a page that holds everything and runs nothing foreign.

Transcripts, file names and labels are hostile input. Three walls stand between them and the
reader: Jinja escapes what goes into HTML; data for scripts travels as JSON in a block that is not
executed; and the page's content security policy runs no script but ours, named by its hash, and
opens no connection.
"""

import hashlib
import json
import math
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
URL_SCHEMES = ("http://", "https://", "file://")


def asset(name: str) -> Markup:
    """Read a style sheet or a script of ours, to be put into a page as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


@cache
def bokeh_script() -> Markup:
    """The charting library, without the parts that the page does not use."""
    library = Resources(mode="inline", components=["bokeh"], minified=True).js_raw[0]
    return Markup(library.replace("\r\n", "\n"))


def clean(value: Any) -> Any:  # noqa: ANN401
    """Make plain data safe to write: finite numbers, text that UTF-8 can hold.

    Args:
        value: Dicts, lists, tuples, arrays, text, numbers, None.

    Returns:
        The same; floats rounded to 3 digits, NaN and infinity as None, halves of surrogate pairs
        (a file name that is not UTF-8) as the replacement character.

    Example:
        >>> clean({"confidence": float("nan"), "time": (0.12345, 2)})
        {'confidence': None, 'time': [0.123, 2]}
    """
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case bool() | None | int():
            return value
        case dict():
            return {clean(str(key)): clean(item) for key, item in value.items()}
        case np.ndarray():
            return clean(value.tolist())
        case list() | tuple():
            return [clean(item) for item in value]
        case _:
            number = float(value)
            return round(number, 3) if math.isfinite(number) else None


def script_json(value: Any) -> Markup:  # noqa: ANN401
    r"""JSON for a `<script type="application/json">`, which no text inside can end.

    Example:
        >>> print(script_json("</script>"))
        "\u003c/script\u003e"
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def data_uri(jpeg: bytes) -> str:
    """A JPEG as the address of itself."""
    return "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")


def href(address: str) -> str:
    """A path or a URL as an attribute's address: a path can never become a script.

    Example:
        >>> href("my clips/a#1.mp4"), href("javascript:alert(1)")
        ('my%20clips/a%231.mp4', 'javascript%3Aalert%281%29')
    """
    if address.lower().startswith(URL_SCHEMES):
        return clean(address)
    return quote(address.encode("utf-8", "surrogateescape"), safe="/")


def policy(scripts: Iterable[str]) -> str:
    """The content security policy of a page that runs these scripts and no other."""
    hashes = (b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; media-src * file: data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def clock(time_s: float | None) -> str:
    """Seconds as people read them.

    Example:
        >>> clock(75.4), clock(3661), clock(None)
        ('1:15', '1:01:01', 'unknown')
    """
    if time_s is None:
        return "unknown"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def words(name: str) -> str:
    """An identifier as words.

    Example:
        >>> words("gaze_aversion")
        'gaze aversion'
    """
    return str(name).replace("_", " ")


@cache
def environment() -> Environment:
    """Jinja over this folder, escaping everything that is not said to be safe."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(clock=clock, words=words)
    return made


def page(template: str, *, scripts: dict[str, str], **context: Any) -> str:  # noqa: ANN401
    """Fill a template.

    Args:
        template: Its file in this folder.
        scripts: What the page runs, by the name that the template calls it.
        context: What else the template shows.
    """
    filled = environment().get_template(template)
    return filled.render(policy=policy(scripts.values()), **scripts, **context)
