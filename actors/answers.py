"""Answers that were paid for, kept by the content of their question."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..datasets.store import replace


def content_hash(content: Any) -> str:  # noqa: ANN401
    """Digest of anything that JSON can hold, whatever the order of its keys.

    Example:
        >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
        True
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """A folder of answers, one JSON file each.

    A file appears whole, by rename, before the row that it is for is written: what was paid for
    once is never asked again, also when the run dies in between.

    Attributes:
        folder: Need not exist yet; all workers share it.
    """

    folder: Path

    def path(self, digest: str) -> Path:
        """Where the answer to a question stands."""
        return self.folder / digest[:2] / f"{digest}.json"

    def get(self, digest: str) -> dict[str, Any] | None:
        """The answer to a question; `None` where it has not been given."""
        try:
            return json.loads(self.path(digest).read_text())
        except FileNotFoundError:
            return None

    def put(self, digest: str, record: dict[str, Any]) -> None:
        """Keep an answer, whole or not at all."""
        replace(self.path(digest), json.dumps(record, ensure_ascii=False).encode())


def keyless(url: str | None) -> None:
    """Refuse an address that holds a key: addresses are written into the run.

    Raises:
        ValueError: It has a user, a password or a query.
    """
    parts = urlsplit(url or "")
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "`base_url` must hold no key, user or query, for it is written into the run: give the "
            "key in an environment variable."
        )
