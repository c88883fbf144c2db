"""Named tensors into a module, all or none."""

from collections.abc import Mapping

from torch import Tensor, nn

from recurra.core.errors import CheckpointError

_SHOWN = 10


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` into the parameters and buffers of `module`; nothing is copied on an error.

    Values are cast to the dtype and moved to the device of what they fill.

    Args:
        module: whose `state_dict` names what is expected.
        tensors: one tensor of the same shape for each of those names.

    Raises:
        CheckpointError: names that are unknown, missing or of another shape: the count of each and
            the first ten.
    """
    expected: dict[str, Tensor] = module.state_dict()
    unknown = [name for name in tensors if name not in expected]
    missing = [name for name in expected if name not in tensors]
    misshaped = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(own.shape)}"
        for name, own in expected.items()
        if name in tensors and tensors[name].shape != own.shape
    ]
    problems = [
        _listing(found, what)
        for found, what in ((unknown, "unknown"), (missing, "missing"), (misshaped, "mis-shaped"))
        if found
    ]
    if problems:
        raise CheckpointError(
            f"the weights do not fit {type(module).__name__}: " + "; ".join(problems)
        )
    module.load_state_dict(dict(tensors))


def _listing(found: list[str], what: str) -> str:
    shown = ", ".join(found[:_SHOWN])
    rest = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{len(found)} {what} ({shown}{rest})"
