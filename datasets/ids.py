"""Names of rows: the same source and span give the same name on every machine."""

from hashlib import sha1
from uuid import UUID

NAMESPACE = UUID("6d69656e-0000-5000-8000-6d69656e0001")
"""Root of every id of this project."""
_NAMED = sha1(NAMESPACE.bytes, usedforsecurity=False)


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
    text = "\x1f".join([f"{p:.6f}" if isinstance(p, float) else str(p) for p in parts])
    named = _NAMED.copy()  # `uuid5(NAMESPACE, text)`, without its detours: there are millions
    named.update(text.encode())
    digest = bytearray(named.digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    name = digest.hex()
    return f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
