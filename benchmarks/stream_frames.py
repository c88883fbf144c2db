"""Thread CPU time of every frame of a live stream, against the hop that it has to keep up with.

    uv run python benchmarks/stream_frames.py [MODEL] [--seconds 60] [--rate 16000]

Without MODEL an untrained network of the size of frcrn-live is timed: the time does not depend on
the weights.
"""

import argparse
import time

import numpy as np
import torch

from recurra.speech.models.frcrn import FRCRN_LIVE, Frcrn
from recurra.speech.stream import EnhancerStream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=16000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Frcrn.from_pretrained(arguments.model) if arguments.model else Frcrn(FRCRN_LIVE).eval()
    start = time.thread_time()
    stream = EnhancerStream(model, arguments.rate, 1)
    started = time.thread_time() - start
    hop = model.config.hop_length / model.config.sample_rate
    size = round(hop * arguments.rate)
    frames = int(arguments.seconds / hop)
    sound = np.random.default_rng(0).normal(0, 0.1, (1, frames * size)).astype(np.float32)
    sound[:, sound.shape[1] // 2 :] *= 1e-3  # quiet and loud cost the same, or the maximum shows it
    times = np.empty(frames)
    for i in range(frames):
        start = time.thread_time()
        stream.push(sound[:, i * size : (i + 1) * size])
        times[i] = time.thread_time() - start
    p50, p99, most = (1000 * np.quantile(times, q) for q in (0.5, 0.99, 1.0))
    print(f"{frames} frames of {1000 * hop:g} ms at {arguments.rate} Hz, one thread")
    print(f"latency    {1000 * stream.latency_seconds:.1f} ms   start-up {started:.2f} s of CPU")
    for name, value in (("p50", p50), ("p99", p99), ("maximum", most)):
        print(f"{name:10s} {value:6.2f} ms of CPU = {value / (1000 * hop):.3f} of the hop")


if __name__ == "__main__":
    main()
