"""The words of `mien sweep`: some are its own, the others are of the job that it tunes."""

from collections.abc import Sequence

OWN = ("sweep", "cluster", "out")
SHARED = ("cluster", "out")
DEFAULT = "benchmark"


def divided(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Part them.

    Returns:
        The sweep's own words; the name of the job that it tunes; that job's words.

    Example:
        >>> divided(["job=train", "sweep=classifier", "model=tiny_vit", "out=x"])
        (['sweep=classifier', 'out=x'], 'train', ['model=tiny_vit', 'out=x'])
    """
    own: list[str] = []
    inner: list[str] = []
    job = DEFAULT
    for word in words:
        key, _, value = word.partition("=")
        head = key.lstrip("+~").partition(".")[0].partition("@")[0]
        if key == "job":
            job = value
            continue
        if head in OWN:
            own.append(word)
        if head not in OWN or head in SHARED:
            inner.append(word)
    return own, job, inner
