"""What separation is trained to minimise: the error in the best order of the voices."""

from itertools import permutations

import torch
from torch import Tensor

from recurra.speech.losses import si_sdr


def best_permutation(score: Tensor) -> tuple[Tensor, Tensor]:
    """Match voices and estimates so that the mean of their scores is highest.

    Source: utterance-level permutation invariant training, Kolbaek et al. 2017, "Multitalker speech
    separation with utterance-level permutation invariant training of deep recurrent neural
    networks" (arXiv 1703.06284, section 5). All S! orders are tried.

    Args:
        score: (B, S, S), at [b, i, j] of voice i with estimate j, higher is better.

    Returns:
        the mean scores (B,), with gradients, and the estimate of each voice, (B, S) integers.
    """
    n_voices = score.shape[-1]
    orders = torch.tensor(list(permutations(range(n_voices))), device=score.device)  # (S!, S)
    means = score[:, torch.arange(n_voices, device=score.device), orders].mean(-1)  # (B, S!)
    best, index = means.max(dim=1)
    return best, orders[index]


def separation_loss(
    estimates: Tensor, voices: Tensor, mixture: Tensor, *, limit_db: float = 30.0
) -> dict[str, Tensor]:
    """Negative SI-SDR in the best order of the voices, which levels off at a limit.

    Args:
        estimates: (B, S, n), what the model gives, in any order and at any levels.
        voices: (B, S, n), what it should give, none silent.
        mixture: (B, n), what it was given.
        limit_db: what a perfect estimate scores; beyond it nothing is gained, so that easy
            mixtures leave the gradient to the hard ones.

    Returns:
        scalars "loss" and "si_sdri": the improvement over the mixture in dB, mean over voices.
    """
    pairs = si_sdr(reference=voices[:, :, None], estimate=estimates[:, None])  # (B, S, S)
    limited = -10 * torch.log10(10 ** (-pairs / 10) + 10 ** (-limit_db / 10))
    best, orders = best_permutation(limited)
    with torch.no_grad():
        reached = pairs.gather(2, orders[..., None])[..., 0]
        before = si_sdr(reference=voices, estimate=mixture[:, None].expand_as(voices))
        improvement = (reached - before).mean()
    return {"loss": -best.mean(), "si_sdri": improvement}
