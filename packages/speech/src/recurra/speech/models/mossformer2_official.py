"""Read official MossFormer2 checkpoints into ours.

Names are those of ClearerVoice-Studio (`mossformer2.py` in `mossformer2_ss`, `mossformer2_se` and
`mossformer2_sr`) and of the paper's repository (alibabasglab/MossFormer2), whose separators come in
three files: `encoder.ckpt`, `decoder.ckpt` and `masknet.ckpt`.
"""

import re

import torch
from torch import Tensor

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import load_tensors
from recurra.speech.models.mossformer2 import MossFormer2StackConfig
from recurra.speech.models.mossformer2_se import MossFormer2Se, MossFormer2SeConfig
from recurra.speech.models.mossformer2_ss import MossFormer2Ss, MossFormer2SsConfig

COMPUTED = "positions, which are computed"
SECOND_MASK = "rows of a second mask, which the official enhancer never uses"
Left = dict[str, list[str]]  # by reason, the official names of what was not taken over

_TO_U = r"(?:gated_fsmn\.)?(to_hidden|to_qk|to_out|to_u|to_v)\.mdl\."
_BLOCK_RULES = [
    (_TO_U + r"0\.(g|weight|bias)", r"\1.norm.\2"),
    (_TO_U + r"1\.(weight|bias)", r"\1.linear.\2"),
    (_TO_U + r"3\.sequential\.1\.conv\.weight", r"\1.conv.weight"),
    (r"qk_offset_scale\.(gamma|beta)", r"\1"),
    (r"conv1\.0\.(weight|bias)", r"reduce.\1"),
    (r"conv1\.1\.weight", r"prelu.weight"),
    (r"norm1\.(weight|bias)", r"norm_in.\1"),
    (r"norm2\.(weight|bias)", r"norm_out.\1"),
    (r"conv2\.(weight|bias)", r"expand.\1"),
    (r"gated_fsmn\.fsmn\.(linear|project)\.(weight|bias)", r"memory.\1.\2"),
    (r"gated_fsmn\.fsmn\.conv1\.weight", r"memory.taps"),
    (r"gated_fsmn\.fsmn\.conv\.conv1\.weight", r"memory.filters.0.taps"),
    (r"gated_fsmn\.fsmn\.conv\.conv2\.weight", r"memory.filters.1.taps"),
    (r"gated_fsmn\.fsmn\.conv\.norm1\.(weight|bias)", r"memory.filters.0.norm.\1"),
    (r"gated_fsmn\.fsmn\.conv\.norm2\.(weight|bias)", r"memory.filters.1.norm.\1"),
    (r"gated_fsmn\.fsmn\.conv\.prelu1\.weight", r"memory.filters.0.prelu"),
    (r"gated_fsmn\.fsmn\.conv\.prelu2\.weight", r"memory.filters.1.prelu"),
]
# ClearerVoice-Studio names the blocks' home in the first way, the paper's repository in the second.
_HOME = r"(?:mdl|dual_mdl\.0)\."
_BLOCKS = _HOME + r"intra_mdl\.(?:mossformerM|mdl\.flashT)\.(layers|fsmn)\.(\d+)\.(.+)"
_STACK_RULES = [
    (r"norm\.(weight|bias)", r"norm_in.\1"),
    (r"conv1d_encoder\.weight", r"encode.weight"),
    (r"pos_enc\.scale", r"position_scale"),
    (_HOME + r"intra_mdl\.(?:mdl\.norm\.)?norm\.(weight|bias)", r"norm_blocks.\1"),
    (_HOME + r"intra_norm\.(weight|bias)", r"norm_out.\1"),
    (r"prelu\.weight", r"prelu.weight"),
    (r"conv1d_out\.(weight|bias)", r"split.\1"),
    (r"output\.0\.(weight|bias)", r"value.\1"),
    (r"output_gate\.0\.(weight|bias)", r"gate.\1"),
    (r"conv1_decoder\.weight", r"decode.weight"),
]
_FILTER_BANK = {
    "enc.conv1d.weight": "analysis.weight",
    "encoder.conv1d.weight": "analysis.weight",
    "dec.weight": "synthesis.weight",
    "decoder.weight": "synthesis.weight",
}


def separator(
    tensors: dict[str, Tensor], *, sample_rate: int, masking: bool
) -> tuple[MossFormer2Ss, Left]:
    """Build a separator of any size from official tensors.

    Args:
        tensors: see `from_official`.
        sample_rate: in Hz, at which the model was trained; its tensors do not tell.
        masking: see `MossFormer2SsConfig`; its tensors do not tell.

    Raises:
        CheckpointError: as `from_official`, or tensors are missing or of another shape.
    """
    ours, left = from_official(tensors)
    n_filters, length = matrix_shape(ours, "analysis.weight")
    stack = stack_config(ours)
    config = MossFormer2SsConfig(
        sample_rate=sample_rate,
        n_speakers=matrix_shape(ours, "stack.split.weight")[0] // stack.d_model,
        n_filters=n_filters,
        win_length=length,
        hop_length=length // 2,
        masking=masking,
        stack=stack,
    )
    model = MossFormer2Ss(config)
    load_tensors(model, ours)
    return model.eval(), left


def enhancer(tensors: dict[str, Tensor]) -> tuple[MossFormer2Se, Left]:
    """Build an enhancer of any size from official tensors.

    Raises:
        CheckpointError: as `from_official`, or tensors are missing or of another shape.
    """
    ours, left = from_official(tensors)
    n_bins, _ = matrix_shape(ours, "stack.decode.weight")
    _, n_features = matrix_shape(ours, "stack.encode.weight")
    config = MossFormer2SeConfig(
        win_length=2 * (n_bins - 1),
        hop_length=2 * (n_bins - 1) // 5,
        n_mels=n_features // 3,
        stack=stack_config(ours),
    )
    model = MossFormer2Se(config)
    load_tensors(model, ours)
    return model.eval(), left


def from_official(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Left]:
    """Rename and reshape official tensors, and name what is not taken over.

    Args:
        tensors: those of an enhancer (`mossformer.`) or of a separator (`enc.`, `mask_net.` and
            `dec.`, or what three files hold behind `encoder.`, `masknet.` and `decoder.`), with the
            prefixes `module.` and `model.` or without.

    Returns:
        a state dict of ours, and the official names that have no place in it, by reason.

    Raises:
        CheckpointError: a name is unknown, or positions are not those that are computed.
    """
    ours: dict[str, Tensor] = {}
    left: Left = {}
    unknown = []
    for name, value in tensors.items():
        plain = re.sub(r"^(module\.)?(model\.)?", "", name)
        if re.search(r"\.(inv_freq|freqs)$", plain):
            _check_positions(name, value)
            left.setdefault(COMPUTED, []).append(name)
        elif (renamed := _our_name(plain)) is None:
            unknown.append(name)
        else:
            ours[renamed] = _our_layout(renamed, value)
            n_rows = len(tensors.get(name.replace("conv1d_out", "output.0"), value))
            if plain.startswith("mossformer.conv1d_out.") and value.shape[0] > n_rows:
                ours[renamed] = ours[renamed][:n_rows]
                left.setdefault(SECOND_MASK, []).append(name)
    if unknown:
        raise CheckpointError(
            f"not a MossFormer2 checkpoint: {len(unknown)} unknown tensors, first {unknown[:10]}"
        )
    return ours, left


def _our_name(name: str) -> str | None:
    if name in _FILTER_BANK:
        return _FILTER_BANK[name]
    within = re.sub(r"^(mask_net|masknet|mossformer)\.", "", name)
    if within == name:
        return None
    if block := re.fullmatch(_BLOCKS, within):
        layer = "attention" if block[1] == "layers" else "memory"
        inner = _renamed(block[3], _BLOCK_RULES)
        return None if inner is None else f"stack.blocks.{block[2]}.{layer}.{inner}"
    outer = _renamed(within, _STACK_RULES)
    return None if outer is None else f"stack.{outer}"


def _renamed(name: str, rules: list[tuple[str, str]]) -> str | None:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def _our_layout(name: str, value: Tensor) -> Tensor:
    """Bring convolutions of one tap, filters and filter banks into the axes that ours have.

    What does not have the axes of the official network stays as it is, for `load_tensors` to name.
    """
    if name.endswith(".taps") and value.dim() == 4:
        return value[..., 0].permute(2, 0, 1).contiguous()  # (C, m, K, 1) -> (K, C, m)
    if value.dim() != 3 or name.endswith(".conv.weight"):
        return value
    if name == "analysis.weight":
        return value[:, 0]  # (C, 1, K) -> (C, K)
    if name == "synthesis.weight":
        return value[:, 0].t().contiguous()  # (C, 1, K) -> (K, C)
    return value[..., 0] if value.shape[2] == 1 else value


def _check_positions(name: str, value: Tensor) -> None:
    """Hold wavelengths that a checkpoint states against the only ones that are computed here."""
    expected = 10_000.0 ** (-torch.arange(value.numel()) / value.numel())
    if value.dim() != 1 or not torch.allclose(value.float(), expected, rtol=1e-4, atol=0):
        raise CheckpointError(f"{name} holds other positions than MossFormer2 has")


def stack_config(ours: dict[str, Tensor]) -> MossFormer2StackConfig:
    """Read the sizes off the shapes; groups and the turned channels are the official ones.

    Raises:
        CheckpointError: as `matrix_shape`.
    """
    d_model, _ = matrix_shape(ours, "stack.encode.weight")
    d_inner, _ = matrix_shape(ours, "stack.blocks.0.memory.reduce.weight")
    d_key, _ = matrix_shape(ours, "stack.blocks.0.attention.to_qk.linear.weight")
    blocks = [re.match(r"stack\.blocks\.(\d+)\.", name) for name in ours]
    return MossFormer2StackConfig(
        n_blocks=1 + max(int(block[1]) for block in blocks if block),
        d_model=d_model,
        d_inner=d_inner,
        d_key=d_key,
        memory="dense" if "stack.blocks.0.memory.memory.filters.0.taps" in ours else "plain",
    )


def matrix_shape(ours: dict[str, Tensor], name: str) -> tuple[int, int]:
    """Return the shape of a matrix that has to be there.

    Raises:
        CheckpointError: it is not there, or is not a matrix.
    """
    if name not in ours or ours[name].dim() != 2:
        found = f"the shape {tuple(ours[name].shape)}" if name in ours else "no place there"
        raise CheckpointError(f"not a whole MossFormer2 checkpoint: {name} has {found}")
    rows, columns = ours[name].shape
    return rows, columns
