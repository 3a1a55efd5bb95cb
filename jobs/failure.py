"""Errors that nobody foresaw: one line for the reader, the whole traceback in a file."""

import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..datasets.store import is_url

LOG = "error.log"


class UnexpectedError(Exception):
    """A fault of the program or the machine; says where its traceback stands."""


def debugging() -> bool:
    """Whether errors are raised as they are."""
    return os.environ.get("MIEN_DEBUG", "0") not in ("", "0")


def foreseen(error: BaseException) -> bool:
    """Whether an error was raised by our own code, in words meant for the user.

    Example:
        >>> foreseen(ValueError("from elsewhere"))
        False
    """
    if not isinstance(error, (ValueError, RuntimeError, OSError)):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("mien.")


@contextmanager
def recorded(run: str) -> Iterator[None]:
    """Turn an error that nobody foresaw into one line, and keep its traceback with the run.

    Args:
        run: The run's folder; where there is none, or it is in a store, the traceback goes to the
            temporary folder.

    Raises:
        UnexpectedError: Names the error and the file. With `MIEN_DEBUG=1` the error itself.
    """
    try:
        yield
    except BrokenPipeError:  # `mien status | head`: nobody reads on
        raise
    except Exception as error:
        if debugging() or foreseen(error):
            raise
        text = "".join(traceback.format_exception(error))
        raise UnexpectedError(
            f"{_cause(error)}. The traceback is in '{_kept(run, text)}'. What is done is kept; "
            "the same command takes up the rest."
        ) from error


def _cause(error: Exception) -> str:
    """The last line that says something: Ray's errors quote a whole remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    if name.startswith("RayTaskError") and lines:
        return lines[-1].rstrip(".")[:500]
    return f"{name}: {lines[0].rstrip('.')[:500]}" if lines else name


def _kept(run: str, text: str) -> Path:
    here = [] if is_url(run) else [Path(run) / LOG]
    for path in (*here, Path(tempfile.gettempdir()) / f"mien-{LOG}"):
        try:
            path.write_text(text)
        except OSError:
            continue
        return path
    return Path(os.devnull)
