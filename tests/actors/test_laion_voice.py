"""What the actor for voices needs no torch for: its parameters and its identity."""

import json
from pathlib import Path

import pytest

from mien.actors.laion_voice import LaionVoice
from mien.datasets.laion import LAION_VOICE_NAMES


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shards": 0}, "`shards` must be at least 1, but is 0"),
        ({"min_s": 0}, "`min_s` must be greater than 0 and at most 30, but is 0"),
        ({"min_s": 31}, "`min_s` must be greater than 0 and at most 30, but is 31"),
        ({"neutral_std": True}, "`neutral_std` needs `neutral`"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LaionVoice(**parameters)


def test_shards_change_the_memory_and_not_the_answer() -> None:
    assert LaionVoice(shards=5, micro_batch=1).identity() == LaionVoice().identity()
    assert LaionVoice(min_s=2).identity() != LaionVoice().identity()


def test_neutral_statistics_are_known_by_what_they_hold(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for path, mean in zip(paths, (1, 1, 2), strict=True):
        path.write_text(json.dumps(dict.fromkeys(LAION_VOICE_NAMES, mean)))
    one, same, other = (LaionVoice(neutral=str(path)).identity() for path in paths)
    assert one == same != other
    assert one != LaionVoice().identity()


def test_statistics_that_are_not_there_are_missed(tmp_path: Path) -> None:
    absent = LaionVoice(neutral=str(tmp_path / "none.json")).missing()
    assert absent is not None
    assert "`neutral` must be a JSON file, but " in absent
    assert "`neutral`" not in (LaionVoice().missing() or "")


def test_a_segment_keeps_its_times_and_gets_no_text() -> None:
    assert not {"start_s", "stop_s", "text", "words"} & {*LaionVoice.adds.names}
    assert LaionVoice.adds.names[0] == "laion_voice"
