import pytest
import torch

from recurra.core.errors import CheckpointError
from recurra.speech.losses import si_sdr
from recurra.speech.models.complex_layers import running_mean
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig

SIZES = {"win_length": 64, "hop_length": 32, "channels": (8, 6, 8), "order": 5, "reduction": 1}
SMALL = FrcrnConfig(**SIZES)
CAUSAL = FrcrnConfig(**SIZES, causal=True, squeeze_frames=7)


def build(config, seed=0):
    """Make a network in float64 whose norms have seen something."""
    torch.manual_seed(seed)
    model = Frcrn(config).double().train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 800, dtype=torch.float64))
    return model.eval()


def spectrum(rows=2, frames=30):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, frames, 33, dtype=torch.complex128, generator=generator)


@pytest.mark.parametrize("chunk", [1, 7, 30])
@pytest.mark.parametrize("fused", [False, True])
@torch.no_grad()
def test_a_causal_network_gives_the_same_in_steps_chunks_and_whole(chunk, fused):
    model = build(CAUSAL)
    model = model.fuse() if fused else model
    x = spectrum()
    whole, whole_state = model.mask(x)
    state, pieces = None, []
    for piece in x.split(chunk, dim=1):
        mask, state = model.mask(piece, state)
        pieces.append(mask)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-12)
    assert state.keys() == whole_state.keys()
    for name, value in whole_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)


@torch.no_grad()
def test_future_frames_do_not_change_past_masks_of_a_causal_network():
    model = build(CAUSAL)
    x = spectrum()
    changed = x.clone()
    changed[:, 20:] *= -2
    difference = (model.mask(x)[0] - model.mask(changed)[0]).abs().amax(dim=(0, 2))
    assert difference[:20].max() == 0
    assert difference[20] > 0


@torch.no_grad()
def test_rows_of_a_batch_equal_the_row_alone():
    model = build(SMALL)
    audio = torch.randn(3, 640, dtype=torch.float64)
    batch = model(audio)
    for row in range(3):
        torch.testing.assert_close(model(audio[row : row + 1])[0], batch[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [SMALL, CAUSAL], ids=["look_ahead", "causal"])
@pytest.mark.parametrize("tile", [1, 600, 10**6])
@torch.no_grad()
def test_the_fast_form_gives_the_same_in_tiles_of_any_size(config, tile, monkeypatch):
    monkeypatch.setattr("recurra.speech.models.fused_layers.TILE", tile)
    model = build(config)
    x = spectrum()
    before, state = model.mask(x)
    after, fast_state = model.fuse().mask(x)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    for name, value in state.items():
        torch.testing.assert_close(fast_state[name], value, rtol=0, atol=1e-12)


@torch.no_grad()
def test_bf16_autocast_stays_near_f32():
    model = build(SMALL).float().fuse()
    audio = torch.randn(1, 3200, generator=torch.Generator().manual_seed(2))
    exact = model(audio)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(audio)
    assert not torch.equal(rough, exact)
    assert si_sdr(reference=exact, estimate=rough.float()) > 35


def test_gradients_reach_every_weight():
    model = build(SMALL).train()
    model(torch.randn(2, 640, dtype=torch.float64)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_saved_and_loaded_again_is_the_same_network(tmp_path):
    model = build(SMALL).float()
    model.save_pretrained(tmp_path / "model")
    again = Frcrn.from_pretrained(tmp_path / "model")
    assert again.config == SMALL
    audio = torch.randn(1, 640)
    with torch.no_grad():
        assert torch.equal(model(audio), again(audio))


def test_a_config_with_an_unknown_field_is_refused(tmp_path):
    build(SMALL).float().save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"order"', '"ordre"'))
    with pytest.raises(CheckpointError, match="ordre"):
        Frcrn.from_pretrained(tmp_path / "model")


def test_the_running_mean_follows_its_recursion_over_many_pieces():
    x = torch.randn(2, 600, 3, dtype=torch.float64)
    before = torch.randn(2, 3, dtype=torch.float64)
    mean, expected = before, []
    for t in range(600):
        mean = mean + (x[:, t] - mean) / 20
        expected.append(mean)
    torch.testing.assert_close(running_mean(x, before, 20), torch.stack(expected, 1))
