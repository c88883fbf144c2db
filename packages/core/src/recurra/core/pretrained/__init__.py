"""Models as folders: config.json beside model.safetensors, found by name, loaded without pickle."""

from recurra.core.pretrained.folder import add_file, check_replaceable, read_config
from recurra.core.pretrained.foreign import read_foreign
from recurra.core.pretrained.module import Pretrained
from recurra.core.pretrained.resolve import download, is_hub_id, resolve, shipped_names
from recurra.core.pretrained.tensors import load_tensors

__all__ = [
    "Pretrained",
    "add_file",
    "check_replaceable",
    "download",
    "is_hub_id",
    "load_tensors",
    "read_config",
    "read_foreign",
    "resolve",
    "shipped_names",
]
