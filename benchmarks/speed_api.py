"""Claude against a local server that thinks for a while: questions under way at once, or not."""

import atexit
import itertools
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

import claude_server
from models import Contest

DELAY_S = 0.25
RUNNING = ExitStack()
atexit.register(RUNNING.close)


def moments(texts: list[str], kind: str = "flag", side: int = 448) -> pa.Table:
    """Moments with two pictures each, as the actor reads them."""
    count, flat = len(texts), np.full((side, side, 3), 127, np.uint8)
    jpeg = cv2.imencode(".jpg", flat)[1].tobytes()
    pictures = [{"time_s": t, "jpeg": jpeg} for t in (1.0, 1.5)]
    return pa.table(
        {
            "id": texts,
            "kind": [kind] * count,
            "reason": ["incongruence"] * count,
            "speaker": ["SPEAKER_00"] * count,
            "text": texts,
            "context": ["{}"] * count,
            "start_s": [1.0] * count,
            "stop_s": [2.0] * count,
            "pictures": [pictures] * count,
        }
    )


def contests(size: str) -> list[Contest]:
    """One: the API is the same at every size."""
    count = 16 if size == "small" else 64

    def build(folder: Path) -> tuple[Callable[[], object], Callable[[], object]]:
        import anthropic

        from mien.actors.claude import Claude
        from mien.actors.prompts import parsed, prompt_for

        os.environ.setdefault("ANTHROPIC_API_KEY", "key")
        server = RUNNING.enter_context(claude_server.serving())
        server.delay_s = DELAY_S
        actor = Claude(folder=str(folder), base_url=server.url, budget_usd=100, parallel=8)
        actor.setup()
        client = anthropic.Anthropic(api_key="key", base_url=server.url)
        rounds = itertools.count()

        def fresh() -> pa.Table:
            return moments([f"moment {i} of round {next(rounds)}" for i in range(count)])

        def naive() -> object:
            for row in fresh().to_pylist():
                prompt = prompt_for(row["kind"])
                message = client.messages.create(
                    model=actor.name,
                    max_tokens=actor.max_tokens,
                    system=[{"type": "text", "text": prompt.system}],
                    messages=[{"role": "user", "content": _content(row, prompt.text(row))}],
                )
                block = message.content[0]
                json.dumps(parsed(prompt, block.text if block.type == "text" else ""))
            return None

        return lambda: actor.process(fresh()), naive

    note = f"8 under way, each counted, budgeted and kept; the server takes {DELAY_S:g} s"
    return [Contest(actor="claude", items=count, unit="moment", build=build, note=note)]


def _content(row: dict, text: str) -> list:
    import base64

    pictures = [base64.b64encode(p["jpeg"]).decode() for p in row["pictures"]]
    source = {"type": "base64", "media_type": "image/jpeg"}
    images = [{"type": "image", "source": {**source, "data": data}} for data in pictures]
    return [*images, {"type": "text", "text": text}]
