"""Our FRCRN gives the official network's numbers (`vectors/README.md` says where they are from)."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recurra.core.errors import CheckpointError
from recurra.core.layers import Fsmn
from recurra.core.pretrained import load_tensors
from recurra.speech.losses import si_sdr
from recurra.speech.models.complex_layers import ComplexConvBlock, ComplexFsmn
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.models.frcrn_official import from_official
from recurra.speech.models.fused_layers import FusedConv, FusedMemory, FusedTransposedConv
from recurra.speech.models.stft import istft, stft

VECTORS = Path(__file__).parent / "vectors"


def vectors(name):
    tensors = load_file(VECTORS / f"{name}.safetensors")
    weights = {key[2:]: value for key, value in tensors.items() if key.startswith("w.")}
    return weights, tensors


def load(module, weights, official_prefix, our_prefix):
    """Load the weights of one part, renamed as that part of a whole network."""
    ours = from_official({official_prefix + name: value for name, value in weights.items()})
    load_tensors(module, {name.removeprefix(our_prefix): value for name, value in ours.items()})
    return module.eval()


def channels_last(x):
    """Bring official (B, C, F, T, 2) into ours, (B, T, F, 2 * C)."""
    return x.permute(0, 3, 2, 4, 1).flatten(3)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "transposed", "official", "ours"),
    [
        ("frcrn_Encoder", False, "unet.encoder1.", "unets.0.encoders.1."),
        ("frcrn_Decoder", True, "unet.decoder1.", "unets.0.decoders.1."),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_convolution_blocks(name, transposed, official, ours, fused):
    weights, tensors = vectors(name)
    x, y = tensors["in.0"], tensors["out.0"]
    block = ComplexConvBlock(x.shape[1], y.shape[1], 5, transposed=transposed)
    block = load(block, weights, official, ours)
    if fused:
        block = FusedTransposedConv(block) if transposed else FusedConv(block)
    close(block([channels_last(x)], None, "")[0], channels_last(y))


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_memory_along_frequency(fused):
    weights, tensors = vectors("frcrn_ComplexUniDeepFsmn_L1")
    memory = load(
        ComplexFsmn(8, order=20), weights, "unet.fsmn_enc1.", "unets.0.encoder_memories.0."
    )
    memory = FusedMemory(memory) if fused else memory
    close(memory.along_frequency(channels_last(tensors["in.0"])), channels_last(tensors["out.0"]))


def test_one_real_memory():
    weights, tensors = vectors("frcrn_UniDeepFsmn")
    weights["taps"] = weights.pop("conv1.weight")[:, 0, :, 0].t()[..., None]
    memory = Fsmn(12, order=20)
    load_tensors(memory, weights)
    close(memory.eval()(tensors["in.0"])[0], tensors["out.0"])


def test_memory_along_time():
    weights, tensors = vectors("frcrn_ComplexUniDeepFsmn")
    x = channels_last(tensors["in.0"])
    for level in (0, 1):
        of_level = {key: value for key, value in weights.items() if f"_L{level + 1}." in key}
        memory = ComplexFsmn(12, order=20)
        load(memory, of_level, "unet.fsmn.", f"unets.0.bottleneck.{level}.")
        x, _ = memory.along_time(x, None, "")
    close(x, channels_last(tensors["out.0"]))


def test_transform_and_its_inverse():
    _, tensors = vectors("frcrn_stft")
    spectrum = stft(tensors["in.wav"], 640, 320)
    close(torch.cat([spectrum.real, spectrum.imag], -1).transpose(1, 2), tensors["out.spec"])
    # The outermost samples are divided by next to no window energy, so only their middle is exact.
    inner = slice(64, -64)
    close(istft(spectrum, 640, 320)[:, inner], tensors["out.rec"][:, 0, inner])


def check_whole(model, tensors, atol):
    spectrum = stft(tensors["in.0"], 640, 320)
    first, _ = model.unets[0](torch.view_as_real(spectrum), None, "")
    second, _ = model.unets[1](first, None, "")
    for actual, expected in ((first, tensors["mid.unet1"]), (second, tensors["mid.unet2"])):
        torch.testing.assert_close(actual, channels_last(expected), rtol=1e-4, atol=atol)
    mask, _ = model.mask(spectrum)
    mask = torch.cat([mask.real, mask.imag], -1).transpose(1, 2)
    torch.testing.assert_close(mask, tensors["out.est_mask"], rtol=1e-4, atol=atol)
    inner = slice(64, -64)
    audio = model(tensors["in.0"])[:, inner]
    torch.testing.assert_close(audio, tensors["out.est_wav"][:, inner], rtol=1e-4, atol=atol)


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_small_whole_network(fused):
    weights, tensors = vectors("frcrn_small_full")
    model = Frcrn(FrcrnConfig(channels=(8,) * 7)).eval()
    load_tensors(model, from_official(weights))
    check_whole(model.fuse() if fused else model, tensors, atol=1e-5)


def recipe(key, shape):
    """Make the weights that the full-size numbers were computed with."""
    values = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    a = values.standard_normal(shape, dtype=np.float32)
    if key.endswith("running_var"):
        return 1 + 0.25 * np.tanh(a)
    if key.endswith("running_mean"):
        return 0.1 * a
    if len(shape) <= 1 or a.size == max(shape):
        return (1 if key.endswith("weight") else 0) + 0.05 * a
    return 0.35 * a / np.sqrt(np.prod(shape[1:]))


def full_size_checkpoint():
    """Return the official checkpoint's layout, with both names of each layer, from the recipe."""
    keys = json.loads((VECTORS / "FRCRN_SE_16K.json").read_text())
    first_name, tensors = {}, {}
    for key, spec in keys.items():
        if "stft" in key:
            continue
        if spec["dtype"] == "int64":
            tensors[key] = torch.zeros(spec["shape"], dtype=torch.int64)
            continue
        plain = plain_name(key)
        first_name.setdefault(plain, key)
        tensors[key] = torch.from_numpy(recipe(first_name[plain], tuple(spec["shape"])))
    return tensors


def plain_name(key):
    for alias in ("encoders", "decoders", "fsmn_enc", "fsmn_dec", "se_layers_enc", "se_layers_dec"):
        singular = alias.replace("coders", "coder").replace("layers", "layer")
        key = key.replace(f".{alias}.", f".{singular}", 1)
    return key


@pytest.fixture(scope="module")
def full_size():
    model = Frcrn(FrcrnConfig()).eval()
    checkpoint = {f"module.model.{key}": value for key, value in full_size_checkpoint().items()}
    load_tensors(model, from_official(checkpoint))
    return model.fuse(), load_file(VECTORS / "full_FRCRN_SE_16K.safetensors")


@pytest.mark.slow
@torch.inference_mode()
def test_full_size_network_from_the_official_key_list(full_size):
    model, tensors = full_size
    check_whole(model, tensors, atol=1e-4)


@pytest.mark.slow
@torch.inference_mode()
def test_full_size_network_in_bf16_is_within_40_db_of_f32(full_size):
    model, tensors = full_size
    exact = model(tensors["in.0"])
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(tensors["in.0"])
    assert si_sdr(reference=exact.float(), estimate=rough.float()).min() >= 40


def test_names_that_disagree_and_unknown_names_are_refused():
    weights, _ = vectors("frcrn_small_full")
    name = "unet.encoder1.conv.conv_re.bias"
    alias = name.replace("encoder1", "encoders.1")
    from_official({**weights, alias: weights[name]})
    with pytest.raises(CheckpointError, match=r"two names of unet.encoder1.conv.conv_re.bias"):
        from_official({**weights, alias: weights[name] + 1})
    with pytest.raises(CheckpointError, match="1 unknown tensors"):
        from_official({**weights, "unet.attention.weight": weights[name]})
