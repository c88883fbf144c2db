"""Which device work runs on."""

import torch

from recurra.core.errors import RecurraError


def choose_device(name: str) -> torch.device:
    """Find a device by the name that a person gave, such as "cpu", "cuda" or "cuda:1".

    Raises:
        RecurraError: this machine has no such device; the message lists those it has.
    """
    kinds = {"cpu": 1}
    if (accelerator := torch.accelerator.current_accelerator(check_available=True)) is not None:
        kinds[accelerator.type] = torch.accelerator.device_count()
    try:
        device = torch.device(name)
    except RuntimeError:  # no name of any device that torch knows
        device = None
    if device is None or (device.index or 0) >= kinds.get(device.type, 0):
        indexed = (f"{kind}:{i}" for kind, count in kinds.items() for i in range(count))
        there = ", ".join("cpu" if known == "cpu:0" else known for known in indexed)
        raise RecurraError(f"no device {name!r} on this machine; there is {there}")
    return device
