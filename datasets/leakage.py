"""Leakage: text of one split that stands in another, too."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pyarrow as pa

LONG_WORDS = 5
"""A line with fewer words is one that people always say."""
SCENE_LINES = 2
"""Dialogues with as many long lines in common are one scene."""
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What two splits have in common.

    Attributes:
        utterances: Of the second, how many say word for word what an utterance of the first says.
        long: Those of them with at least `LONG_WORDS` words.
        scenes: Pairs of dialogues, one of each split, with at least `SCENE_LINES` long lines in
            common.
        dialogues: Of the second, how many come from an episode that the first has parts of.
    """

    utterances: int
    long: int
    scenes: list[tuple[str, str]]
    dialogues: int


def shared(rows: pa.Table, first: str, second: str) -> Shared:
    """Look for what a system could have learnt by heart; case and punctuation do not count.

    Args:
        rows: Of both splits: `split`, `group`, `text`, `season` and `episode`.
        first: The split that is trained on.
        second: The split that is judged.

    Raises:
        ValueError: A group stands in both splits.
    """
    learnt, held = (
        [row for row in rows.to_pylist() if row["split"] == split] for split in (first, second)
    )
    both = {row["group"] for row in learnt} & {row["group"] for row in held}
    if both:
        raise ValueError(
            f"a dialogue must stand in one split, but {min(both)!r} stands in {first} and {second}."
        )
    known = defaultdict(set)
    for row in learnt:
        known[_words(row["text"])].add(row["group"])
    found = [(row["group"], line) for row in held if (line := _words(row["text"])) in known]
    long = [(group, line) for group, line in found if len(line) >= LONG_WORDS]
    pairs = Counter((other, group) for group, line in set(long) for other in known[line])
    episodes = {(row["season"], row["episode"]) for row in learnt}
    return Shared(
        utterances=len(found),
        long=len(long),
        scenes=sorted(pair for pair, count in pairs.items() if count >= SCENE_LINES),
        dialogues=len({r["group"] for r in held if (r["season"], r["episode"]) in episodes}),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
