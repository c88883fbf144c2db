"""What a MossFormer2 promises beside the official numbers."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.speech.models.mossformer2_vectors import SMALL_SE, SMALL_SS

from recurra.speech.losses import si_sdr
from recurra.speech.models.filter_bank import log_mel
from recurra.speech.models.mossformer2_se import MossFormer2Se
from recurra.speech.models.mossformer2_ss import MossFormer2Ss


def build(kind, config, seed=0):
    torch.manual_seed(seed)
    return kind(config).eval()


def noise(*shape, seed=1):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SEPARATOR, ENHANCER = build(MossFormer2Ss, SMALL_SS), build(MossFormer2Se, SMALL_SE)
FAST_SEPARATOR = build(MossFormer2Ss, SMALL_SS).fuse()
FAST_ENHANCER = build(MossFormer2Se, SMALL_SE).fuse()


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 700))
@torch.inference_mode()
def test_any_length_comes_back_as_long_and_fast_is_the_same(n):
    audio = noise(2, n)
    voices, fast = SEPARATOR.separate(audio), FAST_SEPARATOR.separate(audio)
    assert voices.shape == (2, 2, n)
    torch.testing.assert_close(fast, voices, rtol=1e-4, atol=1e-6)
    enhanced, fast = ENHANCER.enhance(audio), FAST_ENHANCER.enhance(audio)
    assert enhanced.shape == (2, n)
    torch.testing.assert_close(fast, enhanced, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_a_sample_after_the_last_whole_frame_is_heard_too():
    audio = noise(1, 16 + 8 * 20 + 5)
    voices = SEPARATOR.separate(audio)
    assert voices[..., -5:].abs().min() > 0


@pytest.mark.parametrize("model", [SEPARATOR.separate, ENHANCER.enhance, FAST_SEPARATOR.separate])
@torch.inference_mode()
def test_rows_of_a_batch_equal_the_row_alone(model):
    audio = noise(3, 500)
    together = model(audio)
    for row in range(3):
        torch.testing.assert_close(model(audio[row : row + 1])[0], together[row], atol=1e-6, rtol=0)


@torch.inference_mode()
def test_an_enhancer_gives_the_same_twice_and_silence_for_silence():
    audio = noise(1, 500)
    assert torch.equal(ENHANCER.enhance(audio), ENHANCER.enhance(audio))
    assert not ENHANCER.enhance(torch.zeros(1, 500)).any()
    assert not SEPARATOR.separate(torch.zeros(1, 500)).any()


@torch.inference_mode()
def test_a_mask_of_ones_gives_the_recording_back(monkeypatch):
    audio = noise(2, 777)
    ones = torch.ones(2, 200, 21)
    monkeypatch.setattr(ENHANCER, "mask", lambda features: ones[:, : features.shape[1]])
    torch.testing.assert_close(ENHANCER.enhance(audio), audio, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_fourier_filters_and_masks_of_one_give_the_recording_back(monkeypatch):
    sizes = {"n_filters": 64, "win_length": 32, "hop_length": 16}
    model = MossFormer2Ss(replace(SMALL_SS, **sizes)).eval()
    model.use_fourier_filters()
    monkeypatch.setattr(model.stack, "forward", lambda x: torch.ones_like(x)[:, None])
    audio = torch.randn(2, 16 * 40, generator=torch.Generator().manual_seed(0))
    back = model(audio)[:, 0]
    torch.testing.assert_close(back[:, 16:-16], audio[:, 16:-16], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="n_filters = 2 win_length"):
        MossFormer2Ss(replace(SMALL_SS, **{**sizes, "hop_length": 8})).use_fourier_filters()


def test_without_masking_the_stacks_outputs_are_the_filtered_voices():
    audio = noise(1, 400)
    direct = MossFormer2Ss(replace(SMALL_SS, masking=False)).eval()
    direct.load_state_dict(SEPARATOR.state_dict())
    frames = audio.unfold(-1, 16, 8)
    outputs = direct.stack(torch.relu(direct.analysis(frames)))
    expected = direct.synthesis(outputs)[:, :, 5, :8] + direct.synthesis(outputs)[:, :, 4, 8:]
    torch.testing.assert_close(direct(audio)[..., 40:48], expected)


@pytest.mark.parametrize(
    "model", [build(MossFormer2Ss, SMALL_SS), build(MossFormer2Se, SMALL_SE)], ids=["ss", "se"]
)
def test_gradients_reach_every_weight(model):
    model.train()(noise(2, 700)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("model", [FAST_SEPARATOR.separate, FAST_ENHANCER.enhance])
@torch.inference_mode()
def test_bf16_autocast_stays_near_f32(model):
    audio = noise(1, 1000)
    exact = model(audio)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(audio).float()
    assert not torch.equal(rough, exact)
    assert si_sdr(reference=exact, estimate=rough).min() > 20


@pytest.mark.parametrize("model", [SEPARATOR, ENHANCER], ids=["ss", "se"])
def test_saved_and_loaded_again_is_the_same_network(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    assert again.config == model.config
    audio = noise(1, 640)
    with torch.no_grad():
        assert torch.equal(model(audio), again(audio))


def test_a_tone_lands_in_the_band_of_its_frequency():
    t = torch.arange(4800) / 48000
    bands = log_mel(
        torch.sin(2 * torch.pi * 1000 * t)[None] * 32768,
        48000,
        win_length=1920,
        hop_length=384,
        n_mels=60,
    )
    # 1000 Hz is 1000 mel; 60 triangles lie 3864.3 - 31.7 mel over 61 steps: the 15th holds it.
    assert set(bands[0].argmax(dim=1).tolist()) <= {14, 15}


def test_on_a_gpu_the_layers_stay_which_have_kernels_for_it():
    model = build(MossFormer2Ss, SMALL_SS).to("meta")
    names = list(model.fuse().state_dict())
    assert names == list(SEPARATOR.state_dict())


@torch.inference_mode()
def test_to_make_a_fast_one_fast_changes_nothing():
    fast = build(MossFormer2Ss, SMALL_SS).fuse()
    before = fast.separate(noise(1, 300))
    torch.testing.assert_close(fast.fuse().separate(noise(1, 300)), before, rtol=0, atol=0)
