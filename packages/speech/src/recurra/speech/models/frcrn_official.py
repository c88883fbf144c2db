"""Read the official FRCRN checkpoint into ours.

The official network registers each layer under two names (`encoder0` and `encoders.0`), so a file
holds most tensors twice, and builds three layers a U-Net that it never calls. The names are those
of ClearerVoice-Studio (`frcrn_se_16k/{frcrn,unet,complex_nn,se_layer}.py`).
"""

import re

import torch
from torch import Tensor

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import load_tensors
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig

_ALIASES = {
    "encoders": "encoder",
    "decoders": "decoder",
    "fsmn_enc.": "fsmn_enc",
    "fsmn_dec.": "fsmn_dec",
    "se_layers_enc": "se_layer_enc",
    "se_layers_dec": "se_layer_dec",
}
# The analysis and synthesis kernels are computed; the rest is built but never called.
_NOT_USED = re.compile(r"i?stft\.|unet2?\.(fsmn_enc0|fsmn_dec6|se_layer_dec5|se_layer_enc6)\.")
_WIDTH = "unets.0.encoders.0.weight_re"
COMPUTED = "transforms, which are computed"
NEVER_CALLED = "layers that are never called"


def network(tensors: dict[str, Tensor]) -> tuple[Frcrn, dict[str, list[str]]]:
    """Build a network of any width from official tensors.

    Returns:
        the network, in eval mode, and the official names that have no place in it, by reason.

    Raises:
        CheckpointError: as `from_official`, or tensors are missing or of another shape.
    """
    ours = from_official(tensors)
    if _WIDTH not in ours:
        raise CheckpointError("not an FRCRN_SE_16K checkpoint: it has no first encoder")
    # All levels are of one width, 128 in the official network.
    width = ours[_WIDTH].shape[0]
    model = Frcrn(FrcrnConfig(channels=(width,) * len(FrcrnConfig().channels)))
    load_tensors(model, ours)
    left: dict[str, list[str]] = {}
    for name in tensors:
        if unused := _NOT_USED.match(next(iter(_one_name_each({name: tensors[name]})))):
            reason = COMPUTED if "stft" in unused[0] else NEVER_CALLED
            left.setdefault(reason, []).append(name)
    return model.eval(), left


def from_official(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape official tensors (prefixes `module.` and `model.` removed or not).

    Returns:
        a state dict for `Frcrn(FrcrnConfig())`, or for a network of another width.

    Raises:
        CheckpointError: two names of one layer disagree, or a name or a shape is unknown.
    """
    plain = _one_name_each(tensors)
    renamed: dict[str, Tensor] = {}
    unknown = []
    for name, value in plain.items():
        if _NOT_USED.match(name):
            continue
        ours = _our_name(name)
        if ours is None:
            unknown.append(name)
        else:
            renamed[ours] = value
    if unknown:
        raise CheckpointError(
            f"not an FRCRN_SE_16K checkpoint: {len(unknown)} unknown tensors, first {unknown[:10]}"
        )
    return _assemble(renamed)


def _one_name_each(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    plain: dict[str, Tensor] = {}
    for name, value in tensors.items():
        name = re.sub(r"^(module\.)?(model\.)?", "", name)
        name = re.sub(
            r"\.(encoders|decoders|fsmn_enc|fsmn_dec|se_layers_enc|se_layers_dec)\.(\d+)\.",
            lambda m: (
                "."
                + m[1]
                .replace("encoders", "encoder")
                .replace("decoders", "decoder")
                .replace("layers", "layer")
                + m[2]
                + "."
            ),
            name,
        )
        if name in plain and not torch.equal(plain[name], value):
            raise CheckpointError(f"the two names of {name} hold different values: a damaged file")
        plain[name] = value
    return plain


def _our_name(name: str) -> str | None:
    """Return our name of an official tensor; parts that must be joined share a marked name."""
    match = re.match(r"(unet2?)\.(.+)", name)
    if match is None:
        return None
    unet = f"unets.{0 if match[1] == 'unet' else 1}."
    for pattern, replacement in _RULES:
        renamed, count = re.subn(f"^{pattern}$", replacement, match[2])
        if count:
            return unet + _shift(renamed)
    return None


_PART = {"re": "real", "im": "imag"}
_RULES: list[tuple[str, str]] = [
    (r"encoder(\d)\.conv\.conv_(re|im)\.(weight|bias)", r"encoders.\1.\3_\2"),
    (r"decoder(\d)\.transconv\.tconv_(re|im)\.(weight|bias)", r"decoders.\1.\3_\2"),
    (r"(en|de)coder(\d)\.bn\.bn_(re|im)\.(\w+)", r"\1coders.\2.norm.\4|\3"),
    (r"fsmn_enc(\d)\.fsmn_(re|im)_L1\.(.+)", r"encoder_memories.\1-1.<\2>.\3"),
    (r"fsmn_dec(\d)\.fsmn_(re|im)_L1\.(.+)", r"decoder_memories.\1.<\2>.\3"),
    (r"fsmn\.fsmn_(re|im)_L([12])\.(.+)", r"bottleneck.\2-1.<\1>.\3"),
    (r"se_layer_enc(\d)\.fc_([ri])\.(.+)", r"skip_gates.\1.<\2>.\3"),
    (r"se_layer_dec(\d)\.fc_([ri])\.(.+)", r"decoder_gates.\1.<\2>.\3"),
    (r"linear\.conv_(re|im)\.(weight|bias)", r"output_\1|\2"),
]


def _shift(name: str) -> str:
    name = re.sub(r"(\d)-1", lambda m: str(int(m[1]) - 1), name)
    name = re.sub(r"<(re|r)>", "real", name)
    name = re.sub(r"<(im|i)>", "imag", name)
    return name.replace("conv1.weight", "taps")


def _assemble(renamed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join real and imaginary norms and the output's weight and bias; reorder axes."""
    out: dict[str, Tensor] = {}
    for name, value in renamed.items():
        if "|" in name:
            base, part = name.split("|")
            first, second = ("weight", "bias") if "output_" in base else ("re", "im")
            if part == first:
                other = renamed.get(f"{base}|{second}")
                if other is None:
                    raise CheckpointError(f"{base} has no {second} part")
                count = base.endswith("num_batches_tracked")
                out[base] = value if count else torch.cat([value.reshape(-1), other.reshape(-1)])
        elif value.dim() != 4 and (name.endswith(".taps") or ".weight_" in name):
            raise CheckpointError(f"{name} has the shape {tuple(value.shape)}, not one of four")
        elif name.endswith(".taps"):
            out[name] = value[:, 0, :, 0].t()[..., None]  # (C, 1, K, 1) -> (K, C, 1)
        elif ".weight_" in name:
            value = value.transpose(2, 3)  # (..., F, T) -> (..., T, F)
            out[name] = value.transpose(0, 1) if ".decoders." in name else value
        else:
            out[name] = value
    return {name: value.contiguous() for name, value in out.items()}
