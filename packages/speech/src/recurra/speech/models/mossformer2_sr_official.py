"""Read the two files of the official `MossFormer2_SR_48K` into ours.

Names of the generator are those of ClearerVoice-Studio (`mossformer2_sr/generator.py`); those of
the stack are in `mossformer2_official.py`.
"""

import re

from torch import Tensor

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import load_tensors
from recurra.speech.models.hifi_gan import HifiGanConfig
from recurra.speech.models.mossformer2_official import (
    Left,
    from_official,
    matrix_shape,
    stack_config,
)
from recurra.speech.models.mossformer2_sr import MossFormer2Sr, MossFormer2SrConfig

_OUTER_RULES = [
    (r"conv_pre\.", "first."),
    (r"conv_post\.", "last."),
    (r"snake_post\.", "snake."),
    (r"ups\.(\d+)\.", r"stages.\1.up."),
    (r"snakes\.(\d+)\.", r"stages.\1.snake."),
]
_IN_BLOCKS = r"resblocks\.(\d+)\.convs([12])(_activates)?\.(\d+)\.(.+)"


def is_generator(name: str) -> bool:
    """Tell whether an official name is one of the generator."""
    return bool(
        re.match(r"(module\.)?(conv_pre|conv_post|ups|snakes|snake_post|resblocks)\.", name)
    )


def upsampler(tensors: dict[str, Tensor]) -> tuple[MossFormer2Sr, Left]:
    """Build a model of any size from the tensors of both official files.

    Raises:
        CheckpointError: one of the files is not there, a name is unknown, or tensors are missing or
            of another shape.
    """
    ours, left = from_official({k: v for k, v in tensors.items() if not is_generator(k)})
    theirs = {k.removeprefix("module."): v for k, v in tensors.items() if is_generator(k)}
    for half, there in (("the generator (_g.pt)", theirs), ("the network before it (_m.pt)", ours)):
        if not there:
            raise CheckpointError(f"{half} of MossFormer2_SR_48K is missing; give both files")
    config = _generator_config(theirs)
    for name, value in _without_weight_norm(theirs).items():
        ours[f"generator.{_our_name(name, len(config.kernels))}"] = value
    n_mels, _ = matrix_shape(ours, "stack.decode.weight")
    model = MossFormer2Sr(
        MossFormer2SrConfig(n_mels=n_mels, stack=stack_config(ours), generator=config)
    )
    load_tensors(model, ours)
    return model.eval(), left


def _our_name(name: str, n_blocks: int) -> str:
    """Rename a tensor of the generator; what has no place stays, for `load_tensors` to name."""
    if block := re.fullmatch(_IN_BLOCKS, name):
        stage, place = divmod(int(block[1]), n_blocks)
        layer = ("snake" if block[3] else "conv") + block[2]
        return f"stages.{stage}.blocks.{place}.{block[4]}.{layer}.{block[5]}"
    for pattern, replacement in _OUTER_RULES:
        name = re.sub(rf"^{pattern}", replacement, name)
    return name


def _without_weight_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply lengths into directions: weight_g * weight_v / |weight_v| for each first index."""
    plain = {}
    for name, value in tensors.items():
        if name.endswith(".weight_v"):
            length = tensors.get(name[:-1] + "g")
            if length is None:
                raise CheckpointError(f"not a whole MossFormer2_SR_48K: {name[:-1]}g is missing")
            axes = tuple(range(1, value.dim()))
            plain[name[:-2]] = value * (length / value.norm(dim=axes, keepdim=True))
        elif name.endswith(".alpha"):
            plain[name] = value.flatten()
        elif not name.endswith(".weight_g"):
            plain[name] = value
    return plain


def _generator_config(tensors: dict[str, Tensor]) -> HifiGanConfig:
    """Read the sizes off the shapes; dilations are the official ones, 1, 3, 5, ..."""

    def taps(pattern: str) -> tuple[int, ...]:
        found = {}
        for name, value in tensors.items():
            if match := re.fullmatch(pattern, name):
                if value.dim() != 3:
                    raise CheckpointError(f"{name} has the shape {tuple(value.shape)}")
                found[int(match[1])] = value.shape[2]
        return tuple(found[i] for i in sorted(found))

    up_kernels = taps(r"ups\.(\d+)\.weight_v")
    kernels = taps(r"resblocks\.(\d+)\.convs1\.0\.weight_v")
    n_units = len(taps(r"resblocks\.0\.convs1\.(\d+)\.weight_v"))
    if not (up_kernels and kernels and n_units and "conv_pre.weight_v" in tensors):
        raise CheckpointError("not a whole MossFormer2_SR_48K: its generator has no stages")
    return HifiGanConfig(
        channels=tensors["conv_pre.weight_v"].shape[0],
        up_kernels=up_kernels,
        kernels=kernels[: len(kernels) // len(up_kernels)],
        dilations=tuple(range(1, 2 * n_units, 2)),
    )
