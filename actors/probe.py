"""Probing: what a file holds, before anything is decoded."""

from dataclasses import dataclass

import av
import pyarrow as pa

from ..datasets import media
from ..datasets.schema import PROBE
from .actor import Actor, answer


@dataclass(kw_only=True)
class Probe(Actor):
    """Facts of a video or audio file, with FFmpeg's libraries.

    A file that is not there, is no media, or has neither video nor sound is an error that names
    the file, the reason and the cure (`datasets.media.MediaError`).
    """

    reads = ("uri",)
    adds = PROBE
    model = "PyAV"
    revision = av.__version__
    licence = "BSD-3-Clause (FFmpeg: LGPL/GPL)"
    quality = "Read from the container; frame count and duration are checked while watching."

    def process(self, rows: pa.Table) -> pa.Table:
        """Probe each file."""
        facts = [media.probe(uri) for uri in rows["uri"].to_pylist()]
        return answer({name: [fact.get(name) for fact in facts] for name in PROBE.names}, PROBE)
