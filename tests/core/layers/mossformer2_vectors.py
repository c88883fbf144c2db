"""Official weights of MossFormer2's layers under our names (`vectors/README.md`)."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "vectors"
CONV_MODULE = {
    "mdl.0.": "norm.",
    "mdl.1.": "linear.",
    "mdl.3.sequential.1.conv.": "conv.",
}
FILTERS = {  # of `DenseFsmn`
    "conv.conv1.weight": "filters.0.taps",
    "conv.norm1.": "filters.0.norm.",
    "conv.prelu1.weight": "filters.0.prelu",
    "conv.conv2.weight": "filters.1.taps",
    "conv.norm2.": "filters.1.norm.",
    "conv.prelu2.weight": "filters.1.prelu",
}


def load(
    name: str, layer: nn.Module, names: dict[str, str], more: dict[str, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Load the weights of a file into a layer and return its input and output, (B, T, C).

    `names` are replacements inside the official names, made in their order. Filters are
    (C, m, K, 1) there, and (K, C, m) where ours are named `taps`. `more` are weights of ours.
    """
    tensors = load_file(FOLDER / f"{name}.safetensors")
    weights = dict(more or {})
    for key, value in tensors.items():
        if not key.startswith("w.") or key.endswith("freqs"):
            continue
        key = key.removeprefix("w.")
        for official, ours in (names | CONV_MODULE).items():
            key = key.replace(official, ours)
        weights[key] = value.squeeze(-1).permute(2, 0, 1) if "taps" in key else value
    layer.load_state_dict(
        {k: v.reshape(layer.state_dict()[k].shape) for k, v in weights.items()}, strict=True
    )
    return tensors["in.0"], tensors["out.0"]
