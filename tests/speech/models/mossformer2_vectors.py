"""Official MossFormer2 weights and numbers (`vectors/README.md`), and small configs for them."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from recurra.speech.models.mossformer2 import MossFormer2StackConfig
from recurra.speech.models.mossformer2_se import MossFormer2SeConfig
from recurra.speech.models.mossformer2_ss import MossFormer2SsConfig

VECTORS = Path(__file__).parent / "vectors"
SIZES = {"n_blocks": 3, "d_model": 24, "d_inner": 16, "d_key": 24, "group": 32, "rotary_dim": 24}
SMALL_SS = MossFormer2SsConfig(
    n_filters=24, stack=MossFormer2StackConfig(**SIZES, memory="dense", dropout=0.0)
)
SMALL_SE = MossFormer2SeConfig(
    n_mels=6, win_length=40, hop_length=8, stack=MossFormer2StackConfig(**SIZES, dropout=0.0)
)


def vectors(name):
    """Return the weights under their official names, and all tensors of a file."""
    tensors = load_file(VECTORS / f"{name}.safetensors")
    # The vectors of the enhancer's network leave its name out.
    prefix = "mossformer." if name.startswith("se_small") else ""
    weights = {prefix + k[2:]: value for k, value in tensors.items() if k.startswith("w.")}
    return weights, tensors


def recipe_checkpoint(name):
    """Return the official checkpoint's layout with the weights of the full-size numbers."""
    specs = json.loads((VECTORS / f"{name}.json").read_text())
    return {key: torch.from_numpy(recipe(key, spec["shape"])) for key, spec in specs.items()}


def recipe(key, shape):
    """Draw a tensor from a generator seeded with the CRC-32 of its name."""
    if key.endswith(("freqs", "inv_freq")):
        return (10_000.0 ** (-np.arange(shape[0]) / shape[0])).astype(np.float32)
    values = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    a = values.standard_normal(shape, dtype=np.float32)
    if key.endswith((".weight_g", ".alpha")):  # of the generator of super-resolution
        return np.float32(0.1 if key == "conv_post.weight_g" else 1) + np.float32(0.05) * a
    if len(shape) <= 1 or a.size == max(shape):
        if "prelu" in key or key.endswith("conv1.1.weight"):
            return np.float32(0.25) + np.float32(0.05) * a
        return np.float32(key.endswith(("weight", ".g", ".scale"))) + np.float32(0.05) * a
    if "gamma" in key:
        return 1 + np.float32(0.1) * a
    if "beta" in key:
        return np.float32(0.05) * a
    return (a / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
