"""What others published on micro-expressions: UF1 and UAR, leaving one person out."""

from collections.abc import Iterator
from typing import NamedTuple

from ..evaluation.results import Anchor

TABLE = "See et al. 2019 (MEGC), table IV"
UNCHECKED = "quoted, not checked against the paper"
QUOTED = "as the user quotes it"
OWN = "user's own experiment with the code of Mimicking the Annotation Process, as reported"
LEAK = "the published code takes the best epoch on the held-out person"


class Published(NamedTuple):
    """One system's numbers on one set."""

    data: str
    system: str
    uf1: float | None
    uar: float | None
    date: str
    source: str
    note: str


PUBLISHED = (
    Published("composite", "LBP-TOP", 0.5882, 0.5785, "2019", TABLE, ""),
    Published("composite", "Bi-WOOF", 0.6296, 0.6227, "2019", TABLE, ""),
    Published("composite", "CapsuleNet", 0.6520, 0.6506, "2019", TABLE, ""),
    Published("composite", "OFF-ApexNet", 0.7196, 0.7096, "2019", TABLE, ""),
    Published("composite", "Dual-Inception", 0.7322, 0.7278, "2019", TABLE, ""),
    Published("composite", "STSTNet", 0.7353, 0.7605, "2019", TABLE, ""),
    Published("composite", "RCN-A", 0.7432, 0.7190, "2020", "its paper", UNCHECKED),
    Published("composite", "FeatRef", 0.7838, 0.7832, "2022", "its paper", UNCHECKED),
    Published("composite", "EMR", 0.7885, 0.7824, "2019", TABLE, ""),
    Published(
        "composite", "HTNet", 0.8603, 0.8475, "2023", "its paper", f"oracle epoch; {UNCHECKED}"
    ),
    Published("smic", "LBP-TOP", 0.2000, 0.5280, "2019", TABLE, UNCHECKED),
    Published("smic", "Bi-WOOF", 0.5727, 0.5829, "2019", TABLE, UNCHECKED),
    Published("smic", "CapsuleNet", 0.5820, 0.5877, "2019", TABLE, UNCHECKED),
    Published("smic", "OFF-ApexNet", 0.6817, 0.6695, "2019", TABLE, UNCHECKED),
    Published("smic", "Dual-Inception", 0.6645, 0.6726, "2019", TABLE, UNCHECKED),
    Published("smic", "STSTNet", 0.6801, 0.7013, "2019", "its README", "UAR checked, UF1 not"),
    Published("smic", "RCN-A", 0.6326, 0.6441, "2020", "its paper", UNCHECKED),
    Published("smic", "FeatRef", 0.7011, 0.7083, "2022", "its paper", UNCHECKED),
    Published("smic", "EMR", 0.7461, 0.7530, "2019", TABLE, UNCHECKED),
    Published("smic", "HTNet", 0.8049, 0.7905, "2023", "its paper", f"oracle epoch; {UNCHECKED}"),
    Published(
        "smic",
        "Micron-BERT",
        0.855,
        0.838,
        "2023",
        "its paper",
        f"about; the user quotes 0.80; {UNCHECKED}",
    ),
    Published("smic", "Micron-BERT, reproduced", 0.6290, None, "2026", "user's own run", ""),
    Published("smic", "JGULF", 0.8112, None, "2023", QUOTED, UNCHECKED),
    Published("smic", "Mimicking (user's)", 0.7151, 0.7025, "2026", OWN, LEAK),
    Published("smic", "MOL, reproduced", 0.2186, None, "2026", "user's own run", "one class only"),
    Published("4dme", "Mimicking (user's)", 0.6844, 0.6895, "2026", OWN, LEAK),
    Published("mmew", "Mimicking (user's)", 0.4838, 0.5284, "2026", OWN, LEAK),
    Published("mmew", "FAMNet", 0.4342, None, "2025", QUOTED, UNCHECKED),
    Published(
        "mmew",
        "TRDI+MIDI+AFN",
        0.5579,
        None,
        "2025",
        QUOTED,
        f"6 classes, without others: not comparable; {UNCHECKED}",
    ),
)


def published(data: str) -> Iterator[Anchor]:
    """The numbers of one set, an anchor for each metric."""
    for one in PUBLISHED:
        for metric, value in (("uf1", one.uf1), ("uar", one.uar)):
            if one.data == data and value is not None:
                yield Anchor(
                    system=one.system,
                    metric=metric,
                    value=value,
                    inputs="",
                    source=one.source,
                    date=one.date,
                    note=one.note,
                )
