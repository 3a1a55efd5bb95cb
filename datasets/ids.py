"""Names of rows: the same source and span give the same name on every machine."""

from uuid import UUID, uuid5

NAMESPACE = UUID("6d69656e-0000-5000-8000-6d69656e0001")
"""Root of every id of this project."""


def row_id(*parts: object) -> str:
    """Name a row by what it is made from.

    Args:
        parts: Source, fingerprint, span and the like; floats are taken to the microsecond, so
            that a span survives a round trip through text.

    Returns:
        A uuid5, as text.

    Example:
        >>> row_id("a.mp4", 0.0, 60.0) == row_id("a.mp4", 0, 60.0000000001)
        False
        >>> row_id("a.mp4", 0.0, 60.0) == row_id("a.mp4", 0.0, 60.0000000001)
        True
    """
    text = "\x1f".join(f"{part:.6f}" if isinstance(part, float) else str(part) for part in parts)
    return str(uuid5(NAMESPACE, text))
