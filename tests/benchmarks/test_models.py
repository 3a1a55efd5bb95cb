"""What `benchmarks/models.py --declare` writes into an actor's configuration."""

import pytest

from models import declared


def test_only_the_memory_changes() -> None:
    text = "gpus: 0.25\nmemory_gb: 5.0 # declared\nbatch_size: 8\n"
    made = declared(text, 3.02, "a GPU")
    assert made.splitlines()[0::2] == ["gpus: 0.25", "batch_size: 8"]
    assert made.splitlines()[1].startswith("memory_gb: 3.4 # measured on a GPU")


def test_a_configuration_without_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_gb"):
        declared("gpus: 1\n", 3.0, "a GPU")
