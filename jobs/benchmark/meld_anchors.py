"""Published numbers on MELD's test split: weighted F1 over the seven emotions.

Those with the note `MEMORY` were written down from memory and not checked against the paper; the
others were collected on 2026-11-20. Authors and years are from memory where no arXiv number stands.
Where the source is `LIST` not even the paper is known, and the date is that of the list. None was
measured here, and hardly any says how often the test split was looked at.
"""

from ..evaluation.results import Anchor

COLLECTED = "as collected on 2026-11-20"
LIST = "mien's own list of published numbers, which names no paper"
LISTED = "2026-11-20"
MEMORY = "from memory, not checked against the paper"
CONTESTED = f"contested; {MEMORY}"

COUNTED = "follows from the release's counts of test: 1256 of 2610 are neutral"

_PUBLISHED = (  # system, weighted F1, inputs, source, date, note
    ("always neutral", 0.3127, "none", "declare-lab/MELD", "2019", COUNTED),
    ("bc-LSTM", 0.56, "T+A", "Poria et al., ACL", "2019", f"about; {MEMORY}"),
    ("DialogueRNN", 0.570, "T+A", "Majumder et al., AAAI", "2019", MEMORY),
    ("MMGCN", 0.5865, "T+A+V", "Hu et al., ACL", "2021", COLLECTED),
    ("DER-GCN", 0.6610, "T+A+V", "Ai et al.", "2023", COLLECTED),
    ("COSMIC", 0.6521, "T", "Ghosal et al., EMNLP Findings", "2020", MEMORY),
    ("SPCL", 0.6725, "T", "Song et al., EMNLP", "2022", MEMORY),
    ("FacialMMT", 0.6658, "T+A+V", "Zheng et al., ACL", "2023", MEMORY),
    ("TelME", 0.6737, "T+A+V", "Yun et al., arXiv 2401.12987", "2024", MEMORY),
    ("SALM", 0.6713, "T+A+V", LIST, LISTED, COLLECTED),
    ("MiSTER-E", 0.679, "T+A", "arXiv 2602.23300", "2026", f"{COLLECTED}; its abstract has 0.695"),
    ("SpeechCueLLM", 0.680, "T + words on A", "Wu et al.", "2024", "0.671 to 0.680, by the base"),
    ("SALMONN, tuned", 0.6796, "T+A", LIST, LISTED, "0.6725 to 0.6796"),
    ("InstructERC", 0.6915, "T", "Lei et al.", "2023", COLLECTED),
    ("LaERC-S", 0.6927, "T", "Fu et al.", "2024", COLLECTED),
    ("BiosERC", 0.6983, "T", "Xue et al.", "2024", COLLECTED),
    ("VowelPrompt", 0.7012, "T + words on A", "arXiv 2602.06270", "2026", COLLECTED),
    ("PRC-Emo", 0.7044, "T", "arXiv 2511.07061", "2025", "a reproduction gave 0.6856"),
    ("DialogueLLM", 0.7196, "T + words on V", "Zhang et al.", "2023", CONTESTED),
    ("GPT-4o zero-shot", 0.6092, "T", LIST, LISTED, COLLECTED),
    ("GPT-4o zero-shot, context", 0.6357, "T", LIST, LISTED, COLLECTED),
)

ANCHORS = tuple(
    Anchor(
        system=system,
        metric="weighted_f1",
        value=value,
        inputs=inputs,
        source=source,
        date=date,
        note=note,
    )
    for system, value, inputs, source, date, note in _PUBLISHED
)
