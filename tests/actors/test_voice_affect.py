"""Voice affect: cutting, normalising and averaging, without the network."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from mien.actors.voice_affect import Audeering, averaged, cut, normalised, padded
from mien.datasets.audio import RATE_HZ
from mien.datasets.schema import VOICE_AFFECT

RNG = np.random.default_rng(0)


def sound(seconds: float) -> Any:  # noqa: ANN401
    return (0.1 * RNG.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def test_the_columns_stand_in_the_networks_own_order() -> None:
    assert VOICE_AFFECT.names == ["arousal", "dominance", "valence"]


def test_an_utterance_is_cut_into_equal_pieces_that_are_whole_together() -> None:
    samples = sound(31)
    pieces = cut(7, samples, 15.0)
    assert [piece.row for piece in pieces] == [7, 7, 7]
    lengths = [len(piece.samples) for piece in pieces]
    assert max(lengths) <= 15 * RATE_HZ
    assert max(lengths) - min(lengths) <= 1
    assert np.array_equal(np.concatenate([p.samples for p in pieces]), normalised(samples))


def test_fifteen_seconds_are_one_piece() -> None:
    assert len(cut(0, sound(15), 15.0)) == 1


@pytest.mark.parametrize(
    "samples",
    [None, np.zeros(0, np.float32), sound(0.09), np.zeros(RATE_HZ, np.float32), 5e-5 * sound(1)],
    ids=["no sound", "empty", "short", "silent", "as good as silent"],
)
def test_what_cannot_be_judged_gives_no_piece(samples: np.ndarray | None) -> None:
    assert cut(0, samples, 15.0) == []


def test_a_tenth_of_a_second_is_enough() -> None:
    assert len(cut(0, sound(0.1), 15.0)) == 1


def test_each_utterance_is_normalised_by_itself() -> None:
    loud, quiet = cut(0, sound(1) * 5 + 0.2, 15.0)[0], cut(1, sound(2) / 50, 15.0)[0]
    for piece in (loud, quiet):
        assert piece.samples.mean() == pytest.approx(0, abs=1e-5)
        assert piece.samples.std() == pytest.approx(1, abs=0.02)
    batch = padded([loud, quiet])
    assert batch.mask.sum(axis=1).tolist() == [RATE_HZ, 2 * RATE_HZ]
    assert not batch.sound[0, RATE_HZ:].any()


def test_pieces_are_averaged_by_their_length_and_clipped() -> None:
    pieces = [*cut(1, sound(3), 15.0), *cut(0, sound(1), 15.0), *cut(1, sound(1), 15.0)]
    found = [np.array(v, np.float32) for v in ([0.2, 0.4, 1.4], [-0.5, 0.5, 2], [0.6, 0.8, 1.0])]
    scores = averaged(pieces, found, 3)
    assert scores[0] == pytest.approx([0, 0.5, 1])
    assert scores[1] == pytest.approx([0.3, 0.5, 1])
    assert np.isnan(scores[2]).all()


def test_a_piece_under_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`chunk_s` must be at least 1, but is 0\.5"):
        Audeering(chunk_s=0.5)


def test_what_makes_it_fast_does_not_change_its_identity() -> None:
    assert Audeering(micro_batch=1).identity() == Audeering(micro_batch=64).identity()
    assert Audeering(chunk_s=10).identity() != Audeering().identity()
    assert {f.name for f in fields(Audeering)} >= {"chunk_s", "checkpoint", "precision"}
