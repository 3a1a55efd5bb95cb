"""A process's share of a GPU's memory."""

from typing import Any

_GRANTED_GB: dict[int, float] = {}
"""By number of the device: what the actors of this process may take together."""


def grant(device: Any, memory_gb: float) -> None:  # noqa: ANN401
    """Allow this process so much of a device's memory, beside what it has been allowed before.

    From the first grant on, torch refuses what goes beyond with its own out-of-memory error, so
    that a process cannot take what another was promised. The CUDA context, about 0.5 GB, and
    libraries other than torch are not held to it. On anything but a CUDA device nothing happens.

    Args:
        device: A torch device.
        memory_gb: Added to the earlier grants.
    """
    if device.type != "cuda":
        return
    import torch

    number = torch.cuda.current_device() if device.index is None else device.index
    _GRANTED_GB[number] = _GRANTED_GB.get(number, 0.0) + memory_gb
    total_gb = torch.cuda.get_device_properties(number).total_memory / 1e9
    torch.cuda.set_per_process_memory_fraction(min(1.0, _GRANTED_GB[number] / total_gb), number)
