"""Put a trained model into the package: `uv run python benchmarks/ship_weights.py RUN/best NAME`.

The weights are stored in float16; the card of the shipped model stays as it is.
"""

import sys
from pathlib import Path

import torch

from recurra.speech.models.load import load_any

SHIPPED = Path(__file__).parents[1] / "packages/speech/src/recurra/speech/weights"


def main(source: str, name: str) -> None:
    model = load_any(source)
    model.save_pretrained(SHIPPED / name, dtype=torch.float16)
    size = (SHIPPED / name / "model.safetensors").stat().st_size
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"wrote {SHIPPED / name}: {parameters} parameters, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
