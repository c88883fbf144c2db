"""A corpus of two voices a split, laid out as `data fetch` leaves it."""

import json

import numpy as np


def write_corpus(folder, splits=("train", "validation", "test")):
    """Write it and return its folder."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in splits:
        for name in ("ann", "ben"):
            package = f"{split}-{name}"
            np.save(clips / f"{package}.npy", (3000 * rng.standard_normal(48000)).astype(np.int16))
            clip = {
                "path": "a.wav",
                "package": package,
                "role": "speech",
                "label": package,
                "split": split,
                "start": 0,
                "length": 48000,
                "level_db": -20.0,
            }
            index = {"key": "made", "clips": [clip], "left_out": {}}
            (clips / f"{package}.json").write_text(json.dumps(index))
    return folder
