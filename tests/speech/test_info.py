import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.speech.cli import app
from recurra.speech.info import describe, licence_of, look_ahead, macs_per_second
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.models.hifi_gan import HifiGanConfig
from recurra.speech.models.mossformer2 import MossFormer2StackConfig
from recurra.speech.models.mossformer2_sr import MossFormer2Sr, MossFormer2SrConfig
from recurra.speech.models.mossformer2_ss import MossFormer2Ss, MossFormer2SsConfig

SIZES = {"win_length": 64, "hop_length": 32, "channels": (4, 8), "order": 5, "n_unets": 1}
CARD = "---\nlicense: cc-by-sa-4.0\ntags: [audio]\n---\n# A model\n"


def save(folder, card=CARD, **fields):
    model = Frcrn(FrcrnConfig(**SIZES | fields))
    model.save_pretrained(folder, dtype=torch.float16, card=card)
    return model


def test_a_causal_model_is_described_from_its_folder(tmp_path):
    model = save(tmp_path / "m", causal=True, level_db=None)
    info = describe(tmp_path / "m")
    assert (info.kind, info.sample_rate, info.window, info.hop) == ("frcrn", 16000, 64, 32)
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert info.stored_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size
    assert (info.causal, info.latency, info.licence) == (True, 64, "cc-by-sa-4.0")
    assert info.latency_text == "4 ms (64 samples)"
    assert (info.look_ahead, info.look_ahead_ms) == (63, 3.938)
    assert info.look_ahead_text == "at most 3.938 ms (63 samples)"
    small = describe("frcrn-small")  # seven levels, of which five have gates over 200 frames ahead
    assert small.look_ahead == (7 + 5 * 200) * 320 + 639
    assert small.look_ahead_text == "at most 20.18 s (322879 samples)"


def test_a_model_that_sees_the_future_says_that_it_needs_the_whole(tmp_path):
    save(tmp_path / "m")
    info = describe(tmp_path / "m")
    assert info.latency is None
    assert "whole" in info.latency_text
    assert (info.look_ahead, info.look_ahead_ms) == (None, None)
    assert info.look_ahead_text == "the whole recording (or window)"


SMALL = SIZES | {"win_length": 128, "hop_length": 64, "channels": (4, 4, 4, 4), "level_db": None}


@pytest.mark.parametrize(
    ("fields", "samples"),
    [({"causal": True}, 127), ({"squeeze_reach": 3}, 127 + 64 * (4 + 2 * 3))],
)
def test_the_look_ahead_is_as_far_as_a_change_of_the_input_reaches_back(fields, samples):
    torch.manual_seed(0)
    model = Frcrn(FrcrnConfig(**SMALL | fields)).double().eval()
    assert look_ahead(model) == samples
    # A change at each place in a hop; where the window is zero nothing is seen.
    at = 1000 + torch.arange(64)
    audio = (0.1 * torch.randn(1, 1200)).double().repeat(64, 1)
    changed = audio.clone()
    changed[torch.arange(64), at] += 10
    with torch.inference_mode():
        first = (model.enhance(changed) != model.enhance(audio)).int().argmax(dim=1)
    assert int((at - first).max()) == samples - 1


def test_a_second_unet_looks_as_far_ahead_again():
    model = Frcrn(FrcrnConfig(**SMALL | {"squeeze_reach": 3, "n_unets": 2}))
    assert look_ahead(model) == 127 + 2 * 64 * (4 + 2 * 3)


@pytest.mark.parametrize("fields", [{}, {"level_db": None}, {"causal": True, "level_db": -25.0}])
def test_a_model_with_gates_or_a_level_of_the_whole_clip_looks_ahead_to_its_end(fields):
    assert look_ahead(Frcrn(FrcrnConfig(**SIZES | fields))) is None


def test_the_macs_are_those_counted_by_hand():
    # One level, no memory or gate beside the bottleneck; 500 frames of 32 samples a second.
    config = FrcrnConfig(
        win_length=64, hop_length=32, channels=(4,), order=5, n_unets=1, causal=True
    )
    bins, width = 33, 4
    deep = (bins - 2) // 2 + 1
    encoder = deep * (2 * 2) * (2 * 1) * (2 * width)  # bins, taps, real channels in and out
    decoder = deep * (2 * config.decoder_kernels()[0]) * (2 * width) * (2 * 1)
    # Two memories, each a real and an imaginary layer on both parts: two products and the taps.
    memories = 2 * 2 * 2 * deep * (2 * width * width + 5 * width)
    # A transposed convolution is counted on its input, which has one frame before the first.
    assert macs_per_second(Frcrn(config)) == 500 * (encoder + decoder + memories)


def test_the_macs_of_a_group_are_those_of_many():
    stack = MossFormer2StackConfig(
        n_blocks=1, d_model=8, d_inner=8, d_key=8, group=16, rotary_dim=8, memory="dense"
    )
    model = MossFormer2Ss(MossFormer2SsConfig(n_filters=8, stack=stack)).eval()
    costs = []
    for seconds in (1, 2):  # 2000 and 4000 frames, both whole groups
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 16000 * seconds + 8))
        costs.append(counter.get_total_flops())
    assert macs_per_second(model) == (costs[1] - costs[0]) // 2


def test_the_macs_of_super_resolution_are_those_of_its_parts():
    stack = MossFormer2StackConfig(
        n_blocks=1, d_model=8, d_inner=8, d_key=8, group=16, rotary_dim=8, dropout=0.0
    )
    generator = HifiGanConfig(channels=8, up_kernels=(4, 4), kernels=(3,), dilations=(1, 3))
    config = MossFormer2SrConfig(
        sample_rate=16_000, win_length=64, n_mels=8, stack=stack, generator=generator
    )
    model = MossFormer2Sr(config).eval()
    costs = []
    for samples in (16_000, 32_000):  # 4000 and 8000 frames, both whole groups
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, samples))
        costs.append(counter.get_total_flops())
    assert macs_per_second(model) == pytest.approx((costs[1] - costs[0]) // 2, rel=1e-3)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, None),
        ("# No front matter\n", None),
        ("---\nlicense: apache-2.0\n", None),  # not closed
        ("---\ntags: [a]\n---\n", None),
        ("---\nlicence: mit\n---\n", "mit"),
    ],
)
def test_a_licence_is_what_the_card_says_or_nothing(tmp_path, card, licence):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence


def test_broken_front_matter_and_unknown_kinds_are_one_line(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(RecurraError, match="not YAML"):
        licence_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model": "other"}')
    with pytest.raises(RecurraError, match="kind 'other'; known are frcrn"):
        describe(tmp_path)


def test_a_separator_is_described_by_its_filter_bank(tmp_path):
    stack = MossFormer2StackConfig(n_blocks=1, d_model=8, d_inner=8, d_key=8, memory="dense")
    config = MossFormer2SsConfig(sample_rate=800, n_filters=8, level_db=None, stack=stack)
    MossFormer2Ss(config).save_pretrained(tmp_path / "ss")
    facts = describe(tmp_path / "ss")
    assert (facts.kind, facts.sample_rate, facts.window, facts.hop) == (
        "mossformer2-ss",
        800,
        16,
        8,
    )
    assert (facts.causal, facts.latency) == (False, None)
    assert facts.macs_per_second > 0


@pytest.mark.parametrize("speakers", [2, 3])
def test_a_separator_tells_its_number_of_speakers(tmp_path, capsys, speakers):
    stack = MossFormer2StackConfig(n_blocks=1, d_model=8, d_inner=8, d_key=8, memory="dense")
    config = MossFormer2SsConfig(n_filters=8, n_speakers=speakers, level_db=None, stack=stack)
    MossFormer2Ss(config).save_pretrained(tmp_path / "ss")
    assert run(app, "recurra-speech", ["info", str(tmp_path / "ss")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["speakers", str(speakers)] in rows
    assert run(app, "recurra-speech", ["info", str(tmp_path / "ss"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speakers"] == speakers


def test_a_model_that_cleans_has_no_number_of_speakers(tmp_path, capsys):
    save(tmp_path / "m")
    assert describe(tmp_path / "m").speakers is None
    assert run(app, "recurra-speech", ["info", str(tmp_path / "m")]) == 0
    assert "speakers" not in capsys.readouterr().out
