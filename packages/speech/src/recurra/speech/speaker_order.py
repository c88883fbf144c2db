"""Which stream is whose: voices of windows that follow each other, in one order.

A separator gives its voices in any order, another one in each window. Two windows overlap, and a
voice in the one is most alike to itself in the other there; where both are silent, voices are told
apart by their long-term spectra.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recurra.speech.models.filter_bank import log_mel

# The overlap decides by a correlation near 1 against one near 0, spectra what it leaves open.
_WEIGHT_OF_SPECTRA = 0.2
# An overlap this far below the voices so far, in power, is half silence.
_SILENCE = 1e-4
_FRAME_SECONDS = 0.064  # long enough to resolve the pitch
_N_MELS = 64
_AUDIBLE = 1e-3  # of the loudest frame's power


class SpeakerOrder:
    """Puts the voices of each window in the order of the windows before: an `Arrange`.

    The order of a window is that of the highest sum of two scores. One is the correlation with what
    the windows before gave, over the overlap, in each channel: the sum of the products of voices
    that are put together, by the root of the energies of both windows; it counts less the quieter
    the overlap is. The other is minus the distance of the voices' long-term spectra from those of
    all windows before, a fifth as strong: spectra are means of log-mel frames of 64 ms, each
    without its own mean, weighted by the voice's share of the power of all voices, so that what
    leaks from another voice counts little.

    Args:
        n_voices: S.
        channels: C of the recording.
        sample_rate: of the windows, in Hz.
    """

    def __init__(self, n_voices: int, channels: int, sample_rate: int) -> None:
        self._shape = (n_voices, channels)
        self._sample_rate = sample_rate
        self._orders = list(permutations(range(n_voices)))
        self._spectra = torch.zeros(n_voices, _N_MELS, dtype=torch.float64)
        self._weights = torch.zeros(n_voices, 1, dtype=torch.float64)
        self._power = 0.0  # the mean of a sample of all voices together, in the loudest window

    def __call__(self, before: np.ndarray | None, piece: np.ndarray) -> np.ndarray:
        """Reorder the first S * C rows of piece (D, n), and rows that belong to them at its end.

        Args:
            before: (D, m), the first m samples of the piece as the window before has them, in
                order; None if there is none.
            piece: (D, n): S * C rows of voices, and where D is larger as many at the end that go
                where their voices go.
        """
        n_rows = self._shape[0] * self._shape[1]
        voices = torch.from_numpy(piece[:n_rows]).unflatten(0, self._shape)
        spectra, weights = _long_term_spectra(voices, self._sample_rate)
        order: Sequence[int] = self._orders[0]
        if before is not None:
            last = torch.from_numpy(before[:n_rows]).unflatten(0, self._shape)
            score = self._correlations(last, voices[..., : before.shape[1]])
            score = score + _WEIGHT_OF_SPECTRA * self._likeness(spectra, weights)
            order = best_order(score)
        self._spectra += (spectra * weights)[list(order)]
        self._weights += weights[list(order)]
        self._power = max(self._power, voices.double().square().sum((0, 1)).mean().item())
        rows = np.arange(n_rows).reshape(self._shape)[list(order)].reshape(-1)
        tail = np.arange(n_rows, piece.shape[0])
        if piece.shape[0] > n_rows:
            tail[-n_rows:] = piece.shape[0] - n_rows + rows
        return piece[np.concatenate([rows, tail])]

    def _correlations(self, last: Tensor, first: Tensor) -> Tensor:
        """Return the score (S, S) of each voice before with each now, over (S, C, m)."""
        last, first = last.double(), first.double()
        products = torch.einsum("icm,jcm->ij", last, first)
        energy = (last.square().sum() * first.square().sum()).sqrt()
        if energy == 0:
            return torch.zeros_like(products)
        silence = _SILENCE * self._power * last.shape[2]
        return products / (energy + silence)

    def _likeness(self, spectra: Tensor, weights: Tensor) -> Tensor:
        """Return minus the distance (S, S) of each spectrum so far from each now, around -1.

        A voice that was not heard is as near to all.
        """
        so_far = self._spectra / self._weights.clamp(min=1e-9)
        distances = torch.cdist(so_far, spectra).square()
        heard = (self._weights > 1) & (weights.t() > 1)
        if not heard.any():
            return torch.zeros_like(distances)
        mean = distances[heard].mean().clamp(min=1e-9)
        return -torch.where(heard, distances / mean, 1.0)


def best_order(score: Tensor) -> tuple[int, ...]:
    """Return the order of the columns of score (S, S) whose diagonal then has the largest sum."""
    rows = range(score.shape[0])
    return max(permutations(rows), key=lambda order: score[rows, order].sum().item())


def _long_term_spectra(voices: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return the spectrum of each voice of (S, C, n), (S, 64), and how many frames it has (S, 1).

    Channels are mixed, as a voice is the same in all.
    """
    mixed = voices.mean(dim=1).double()  # (S, n)
    win = round(_FRAME_SECONDS * sample_rate)
    if mixed.shape[1] < win:
        mixed = functional.pad(mixed, (0, win - mixed.shape[1]))
    frames = log_mel(
        mixed * 32768, sample_rate, win_length=win, hop_length=win // 2, n_mels=_N_MELS
    )
    power = mixed.unfold(-1, win, win // 2).square().mean(dim=-1)  # (S, T)
    total = power.sum(dim=0)
    audible = power > _AUDIBLE * total.max()
    weights = torch.where(audible, power / total.clamp(min=1e-30), 0.0)
    shapes = frames - frames.mean(dim=-1, keepdim=True)
    count = weights.sum(dim=1, keepdim=True)
    return torch.einsum("st,stm->sm", weights, shapes) / count.clamp(min=1e-9), count
