"""The reference numbers copied into this tree are those of the shared folder, byte for byte."""

from pathlib import Path

import pytest

VECTORS = Path(__file__).parent / "vectors"
OF_LAYERS = Path(__file__).parents[2] / "core" / "layers" / "vectors"
RECORDED_HERE = {"full_MossFormer2_SR_48K.safetensors"}
COPIES = sorted(
    path for path in VECTORS.iterdir() if path.suffix != ".md" and path.name not in RECORDED_HERE
)


@pytest.mark.shared
@pytest.mark.parametrize("copy", COPIES, ids=lambda path: path.name)
def test_a_copied_vector_equals_the_shared_one(copy, shared):
    folder = shared / "vectors" / "speech"
    original = folder / "keys" / copy.name if copy.suffix == ".json" else folder / copy.name
    assert copy.read_bytes() == original.read_bytes()


@pytest.mark.shared
def test_every_shared_vector_is_copied_and_so_tested_everywhere(shared):
    names = {path.name for path in (shared / "vectors" / "speech").glob("*.safetensors")}
    of_layers = {path.name for path in OF_LAYERS.glob("*.safetensors")}
    # One is read where it is: it weighs as much as the others together.
    large = {"ss_small_ctor.safetensors"}
    assert names <= {path.name for path in COPIES} | of_layers | large
