"""A moment as a request to Claude: its pictures within the API's limits, and their tokens."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .answers import content_hash
from .prices import image_tokens
from .prompts import Prompt, prompt_for

MOST_PICTURES = 100
MOST_PX = 8000
MANY, MOST_PX_OF_MANY = 20, 2000
"""With more pictures than the first, each may have at most the second on a side."""
MOST_BYTES = 30_000_000
"""Of pictures in one request, as base64: of the 32 MB that it may have, the rest is words."""
QUALITY = 85
BYTES_PER_TOKEN = 2
"""Of text, at the least: English has about 4, other scripts and JSON fewer."""
OVERHEAD_TOKENS = 400
"""What the API itself adds, at the most: roles, and its own words on the schema."""


@dataclass(frozen=True)
class Picture:
    """A JPEG as it is sent; `width` and `height` in pixels."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of one moment.

    Attributes:
        digest: Of all that the answer depends on.
        row: Id of the moment, for the ledger.
        prompt: Of its kind.
        params: Of the SDK's `messages.create`.
        tokens: Of the prompt, as estimated here: rather too many.
        size: Of the request, in bytes, about.
    """

    digest: str
    row: str | None
    prompt: Prompt
    params: dict[str, Any]
    tokens: int
    size: int


def question(
    row: Mapping[str, Any],
    *,
    model: str,
    max_tokens: int,
    thinking: str | None,
    picture_px: int,
    ttl: str | None,
    rule: str,
) -> Question:
    """Make a request of a moment.

    Args:
        row: A moment with its pictures; see `Prompt.text`.
        model: As the API names it.
        max_tokens: Of the answer.
        thinking: Its kind; `None`: the model's default.
        picture_px: Longest side of a picture that is sent; larger ones are made smaller.
        ttl: How long the system prompt is kept in the API's cache; `None`: it is not.
        rule: How pictures are counted; see `image_tokens`.

    Raises:
        ValueError: An unknown kind, or a picture that is no picture.
    """
    from anthropic import transform_schema

    prompt = prompt_for(row["kind"])
    kept = thinned([p for p in row["pictures"] or () if p["jpeg"]])
    text = prompt.text({**row, "pictures": kept})
    pictures = fitted([p["jpeg"] for p in kept], picture_px)
    content = [_image(picture) for picture in pictures]
    system: dict[str, Any] = {"type": "text", "text": prompt.system}
    if ttl is not None:
        system["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    schema = transform_schema(dict(prompt.schema))
    params: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "system": [system],
        "messages": [{"role": "user", "content": [*content, {"type": "text", "text": text}]}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    if thinking is not None:
        params["thinking"] = {"type": thinking}
    asked = {
        "model": model,
        "max_tokens": max_tokens,
        "thinking": thinking,
        "prompt": prompt.title,
        "text": text,
        "picture_px": picture_px,
        "pictures": [hashlib.sha256(p["jpeg"]).hexdigest() for p in kept],
    }
    words = len((prompt.system + text + str(schema)).encode())
    return Question(
        digest=content_hash(asked),
        row=row.get("id"),
        prompt=prompt,
        params=params,
        tokens=words // BYTES_PER_TOKEN
        + OVERHEAD_TOKENS
        + sum(image_tokens(p.width, p.height, rule) for p in pictures),
        size=words + sum(len(c["source"]["data"]) for c in content) + 1000,
    )


def thinned(pictures: Sequence[dict]) -> list[dict]:
    """As many pictures as a request may have, spread evenly, the first and the last among them."""
    if len(pictures) <= MOST_PICTURES:
        return list(pictures)
    at = np.linspace(0, len(pictures) - 1, MOST_PICTURES).round().astype(int)
    return [pictures[i] for i in at]


def fitted(jpegs: Sequence[bytes], picture_px: int) -> list[Picture]:
    """Pictures within the API's limits, as they are where they already fit.

    Args:
        jpegs: At most `MOST_PICTURES`.
        picture_px: Longest side that is wanted; none is made larger.

    Raises:
        ValueError: One of them cannot be read.
    """
    edge = min(picture_px, MOST_PX_OF_MANY if len(jpegs) > MANY else MOST_PX)
    while True:
        pictures = [_shrunk(jpeg, edge, i) for i, jpeg in enumerate(jpegs, 1)]
        if sum(_base64_size(p.jpeg) for p in pictures) <= MOST_BYTES:
            return pictures
        edge = int(min(edge, max(max(p.width, p.height) for p in pictures)) * 0.8)


def _shrunk(jpeg: bytes, edge: int, number: int) -> Picture:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"picture {number} of the moment is no JPEG that can be read.")
    height, width = image.shape[:2]
    if max(height, width) <= edge:
        return Picture(jpeg, width, height)
    scale = edge / max(height, width)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Picture(content.tobytes(), width, height)


def _base64_size(content: bytes) -> int:
    return -(-len(content) // 3) * 4


def _image(picture: Picture) -> dict[str, Any]:
    data = base64.b64encode(picture.jpeg).decode()
    source = {"type": "base64", "media_type": "image/jpeg", "data": data}
    return {"type": "image", "source": source}
