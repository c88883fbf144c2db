import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.models.frcrn_step import FrcrnStep

SIZES = {"win_length": 64, "hop_length": 32, "order": 5, "causal": True, "squeeze_frames": 7}


def build(**fields):
    """Make a network in float64 whose norms have seen something and whose biases are not zero."""
    torch.manual_seed(0)
    model = Frcrn(FrcrnConfig(**SIZES | fields)).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            model(torch.randn(2, 800, dtype=torch.float64))
    return model.eval()


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": (8, 6, 8), "reduction": 1},
        {"channels": (4, 8), "reduction": 4, "compression": 0.5, "n_unets": 1},
        # 65 bins and then 31, 14, 5, 1: the kernels along frequency of the decoder are 6, 5 and 2.
        {"channels": (4, 3, 5, 6), "reduction": 2, "win_length": 128, "hop_length": 64},
    ],
)
@torch.no_grad()
def test_steps_give_the_masked_spectrum_of_the_network(fields):
    model = build(**fields)
    spectrum = torch.randn(2, 12, model.config.win_length // 2 + 1, dtype=torch.complex128)
    whole, _ = model.enhance_spectrum(spectrum)
    step = FrcrnStep(model)
    state, frames = step.initial_state(2), []
    assert [tuple(s.shape[1:]) for s in state] == step.state_shapes()
    for t in range(spectrum.shape[1]):
        frame, state = step(torch.view_as_real(spectrum[:, t]), state)
        frames.append(torch.view_as_complex(frame))
    torch.testing.assert_close(torch.stack(frames, 1), whole, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_step_leaves_the_state_that_it_was_given():
    step = FrcrnStep(build(channels=(8, 6, 8), reduction=1))
    _, state = step(torch.randn(1, 33, 2, dtype=torch.float64), step.initial_state(1))
    before = [s.clone() for s in state]
    step(torch.randn(1, 33, 2, dtype=torch.float64), state)
    assert all(torch.equal(a, b) for a, b in zip(state, before, strict=True))


def test_a_network_that_sees_the_future_is_refused():
    with pytest.raises(RecurraError, match="causal"):
        FrcrnStep(Frcrn(FrcrnConfig(**SIZES | {"causal": False, "channels": (4, 8)})))
