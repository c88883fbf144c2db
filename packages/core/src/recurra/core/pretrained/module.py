"""`from_pretrained` and `save_pretrained` for every model."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from recurra.core.errors import CheckpointError
from recurra.core.pretrained.folder import FILES, read_config, read_weights, write_folder
from recurra.core.pretrained.resolve import resolve
from recurra.core.pretrained.tensors import load_tensors


class Pretrained(nn.Module):
    """A module that is built from one frozen dataclass and lives in a folder.

    A model derives from this class alone, names its config and kind, and keeps the config:

        class Frcrn(Pretrained):
            config_class = FrcrnConfig
            kind = "frcrn"
            shipped_in = "recurra.speech.weights"

            def __init__(self, config: FrcrnConfig) -> None:
                super().__init__()
                self.config = config

    Attributes:
        config_class: frozen dataclass of numbers, strings, tuples and further dataclasses; it has
            no field called `model` or `files`.
        kind: what config.json calls the architecture.
        shipped_in: package whose folders are the shipped models, or None.
        config: the config that this module was built from.
    """

    config_class: ClassVar[type[Any]]
    kind: ClassVar[str]
    shipped_in: ClassVar[str | None] = None
    config: Any

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Load a shipped model, a local folder or a Hugging Face Hub id, in eval mode on the CPU.

        Args:
            name_or_path: see `recurra.core.pretrained.resolve`.
            revision: branch, tag or commit on the Hub.
            dtype: of the floating-point parameters and buffers; None leaves them as the model makes
                them (float32), whatever the weights are stored in.

        Raises:
            RecurraError: there is no such model.
            CheckpointError: it is of another kind, its config is not one of this class, or its
                weights do not fit.
        """
        folder = resolve(name_or_path, shipped_in=cls.shipped_in, revision=revision)
        model = cls(cls._config_from(folder))
        tensors = read_weights(folder)
        try:
            load_tensors(model, tensors)
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
        if dtype is not None:
            model.to(dtype)
        return model.eval()

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        card: str | None = None,
        files: Mapping[str, Callable[[Path], object]] | None = None,
    ) -> None:
        """Write config.json, model.safetensors and the card into `folder`, whole or not at all.

        Args:
            folder: new, empty, or an earlier model folder, which is replaced.
            dtype: that floating-point tensors are stored in: torch.float32, or torch.float16, which
                halves the file.
            card: text of README.md; None keeps the card of the folder that is replaced.
            files: what else belongs to the model, such as a table of ids: names, each with a
                function that writes it to the path that it is given.

        Raises:
            RecurraError: `folder` holds something else.
            ValueError: another dtype, or a value that float16 cannot hold (over 65504).
        """
        if dtype not in (torch.float32, torch.float16):
            raise ValueError(f"weights are stored as float32 or float16, not {dtype}")
        fields = dataclasses.asdict(self.config)
        if "model" in fields:
            raise ValueError("a config has no field 'model': config.json keeps the kind there")
        tensors = {name: _stored(name, tensor, dtype) for name, tensor in self.state_dict().items()}
        write_folder(folder, {"model": self.kind, **fields}, tensors, card, files)

    @classmethod
    def _config_from(cls, folder: Path) -> Any:
        values = read_config(folder)
        kind = values.pop("model", None)
        values.pop(FILES, None)
        if kind != cls.kind:
            raise CheckpointError(f"{folder} holds a model of kind {kind!r}, not {cls.kind!r}")
        return _build(cls.config_class, values, folder)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
    tensor = tensor.detach().to("cpu", copy=True).contiguous()
    if not tensor.is_floating_point():
        return tensor
    stored = tensor.to(dtype)
    if not torch.equal(stored.isfinite(), tensor.isfinite()):
        raise ValueError(f"{name} goes up to {tensor.abs().max():.3g}, which {dtype} cannot hold")
    return stored


def _build(config_class: type[Any], values: dict[str, Any], folder: Path) -> Any:
    import pydantic

    # JSON has no tuples: pydantic turns lists back into what the fields say, and objects into their
    # dataclasses. A plain dataclass takes no config of its own, a list of one does.
    adapter = pydantic.TypeAdapter(
        list[config_class],  # type: ignore[valid-type]
        config=pydantic.ConfigDict(extra="forbid"),
    )
    try:
        return adapter.validate_python([values])[0]
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:])
        unknown = first["type"] == "unexpected_keyword_argument"
        reason = f"{config_class.__name__} has no such field" if unknown else first["msg"]
        raise CheckpointError(f"{folder}: config.json: {key}: {reason}") from error
