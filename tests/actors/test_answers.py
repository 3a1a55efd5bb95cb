from pathlib import Path

import pytest

from mien.actors.answers import Answers, content_hash, keyless


def test_an_answer_comes_back(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers")
    digest = content_hash({"text": "wie geht's, Jürgen? 好"})
    assert answers.get(digest) is None
    answers.put(digest, {"answer": {"summary": "好"}, "dollars": 0.25})
    assert Answers(tmp_path / "answers").get(digest) == {
        "answer": {"summary": "好"},
        "dollars": 0.25,
    }


def test_the_hash_is_of_the_content_not_of_its_order() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"b": [1, 2]}) != content_hash({"b": [2, 1]})
    assert content_hash("ab") != content_hash("a")
    assert len(content_hash("")) == 64  # as long as the API lets the name of a request be


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(tmp_path)
    answers.put("ab01", {"answer": 1})

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    for digest in ("ab01", "ab02"):
        with pytest.raises(OSError, match="disk full"):
            answers.put(digest, {"answer": 2})
    assert answers.get("ab01") == {"answer": 1}
    assert answers.get("ab02") is None
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["ab01.json"]


@pytest.mark.parametrize(
    "url", ["https://me:key@host/v1", "https://key@host", "http://host/v1?key=abc"]
)
def test_an_address_with_a_key_in_it_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        keyless(url)
    keyless("http://127.0.0.1:8000/v1")
    keyless(None)
