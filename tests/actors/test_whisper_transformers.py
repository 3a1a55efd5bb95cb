import pytest

from mien.actors.whisper_transformers import Whisper, segmented
from mien.actors.whisperx import WhisperX

BEGIN = 100


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([100, 110, 110, 150], []),
        ([1, 2], [(0, 5, [1, 2])]),
        ([100, 1, 150], [(0, 1, [1])]),
        ([101, 1, 150, 150, 2, 3, 200], [(0.02, 1, [1]), (1, 2, [2, 3])]),
        ([100, 1, 150, 175, 2], [(0, 1, [1]), (1.5, 5, [2])]),  # cut off: nothing is lost
        ([100, 1, 999], [(0, 5, [1])]),  # no time beyond the chunk
        ([600, 1], [(5, 5, [1])]),
    ],
)
def test_tokens_are_cut_at_timestamps(tokens: list[int], expected: list) -> None:
    assert segmented(tokens, BEGIN, 5.0) == expected


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="`max_tokens` must be at least 1, but is 0"):
        Whisper(max_tokens=0)
    with pytest.raises(ValueError, match="`rule` must be one of any, whisper"):
        Whisper(rule="none")
    with pytest.raises(ValueError, match="`precision` must be one of"):
        Whisper(precision="int8")
    with pytest.raises(ValueError, match="`beam_size` must be at least 1, but is 0"):
        WhisperX(beam_size=0)
    with pytest.raises(ValueError, match="`max_no_speech` must be in 0-1"):
        WhisperX(max_no_speech=-1)
