import pyarrow as pa
import pytest

from mien.actors.polarity import Polarity


def test_polarity_is_vaders_compound() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = ["What a lovely, wonderful day!", "I hate this awful mess.", "the chair is in a room"]
    actor = Polarity()
    actor.setup()
    table = actor.process(pa.table({"text": [*texts, None, "", "  "]}))
    assert table.schema == Polarity.adds
    found = table["text_polarity"].to_pylist()
    alone = SentimentIntensityAnalyzer()
    assert found[:3] == pytest.approx([alone.polarity_scores(t)["compound"] for t in texts])
    assert found[0] > 0.6
    assert found[1] < -0.6
    assert found[2] == 0.0
    assert found[3:] == [None, None, None]
    assert table["text_scores"].null_count == 6
