"""How every network is trained: what the phases of a model do not say."""

from dataclasses import dataclass, field

from .augment import Augment

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimiser, rates over time, and when to stop.

    Attributes:
        weight_decay: Of AdamW (Loshchilov & Hutter 2019).
        restart_epochs: Length of the first cosine of SGDR (Loshchilov & Hutter 2017), in epochs.
        restart_factor: Each further cosine is so many times longer.
        least_rate: Where each cosine ends.
        accumulation: Batches whose gradients make one step.
        clip_norm: Gradients longer than this are scaled down to it; 0: none are.
        patience: A phase ends after so many epochs without a better validation loss.
        min_delta: By how much a loss must be lower to be better.
        smoothing: Share of the truth that is spread over all labels (0-1).
        balanced: Whether rare labels weigh more, so that all labels weigh the same.
        amp: Mixed precision: `None`: on a GPU; float16 there, bfloat16 on a CPU.
        device: As torch names it; `auto`: a GPU where there is one.
        workers: Processes that prepare batches; 0: none.
        seed: Of weights, order, dropout and augmentation.
        augment: Alters the training rows.
    """

    weight_decay: float = 0.01
    restart_epochs: int = 10
    restart_factor: int = 2
    least_rate: float = 1e-6
    accumulation: int = 1
    clip_norm: float = 1.0
    patience: int = 7
    min_delta: float = 1e-3
    smoothing: float = 0.0
    balanced: bool = True
    amp: bool | None = None
    device: str = "auto"
    workers: int = 0
    seed: int = 0
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        least = {"restart_epochs": 1, "restart_factor": 1, "accumulation": 1, "patience": 1}
        zero = ("weight_decay", "least_rate", "clip_norm", "min_delta", "workers", "seed")
        for name, limit in {**least, **dict.fromkeys(zero, 0)}.items():
            if getattr(self, name) < limit:
                raise ValueError(
                    f"`schedule.{name}` must be at least {limit}, but is {getattr(self, name):g}."
                )
        if not 0 <= self.smoothing < 1:
            raise ValueError(
                f"`schedule.smoothing` must be from 0 to below 1, but is {self.smoothing:g}."
            )
        if self.device.partition(":")[0] not in DEVICES:
            raise ValueError(
                f"`schedule.device` must be one of {', '.join(DEVICES)}, but is {self.device!r}."
            )
