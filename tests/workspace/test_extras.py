"""The extra that the root project leaves out: it is built by a C compiler."""

import numpy as np
import pytest
import soundfile


@pytest.mark.pesq
def test_pesq_scores_the_example_against_itself_at_the_top(root) -> None:
    from pesq import pesq

    clean, rate = soundfile.read(root / "examples" / "clean.wav")
    noisy, _ = soundfile.read(root / "examples" / "noisy.wav")
    assert pesq(rate, clean, clean, "wb") == pytest.approx(4.644, abs=1e-3)
    assert pesq(rate, clean, noisy, "wb") < 3
    assert np.isfinite(pesq(rate, clean, noisy, "wb"))
