from pathlib import Path

import pytest

from mien.actors.diarize import COMMUNITY, Pyannote
from mien.datasets.schema import TURNS


def test_two_to_five_speakers_and_batches_of_32_are_the_default() -> None:
    actor = Pyannote()
    assert (actor.min_speakers, actor.max_speakers, actor.micro_batch) == (2, 5, 32)
    assert actor.adds == TURNS


@pytest.mark.parametrize("least", [0, 6])
def test_the_fewest_speakers_cannot_be_more_than_the_most(least: int) -> None:
    with pytest.raises(ValueError, match=rf"`min_speakers` must lie between 1 .* but is {least}"):
        Pyannote(min_speakers=least)


def test_a_precision_that_pyannote_does_not_work_in_is_refused() -> None:
    with pytest.raises(ValueError, match="`precision` must be float32"):
        Pyannote(precision="float16")


def test_missing_weights_are_named_with_the_page_of_their_terms(tmp_path: Path) -> None:
    reason = COMMUNITY.__class__(**{**vars(COMMUNITY), "dir": str(tmp_path)}).missing()
    assert reason is not None
    assert "https://huggingface.co/pyannote/speaker-diarization-community-1" in reason


def test_the_number_of_speakers_changes_the_answer_and_the_batch_does_not() -> None:
    assert Pyannote(max_speakers=3).identity() != Pyannote().identity()
    assert Pyannote(micro_batch=1).identity() == Pyannote().identity()
