"""The list of sound packages: what is used, from where, under which licence, for which split."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal

from recurra.core.errors import RecurraError

Split = Literal["train", "validation", "test"]
Role = Literal["speech", "noise"]


@dataclass(frozen=True)
class Voice:
    """One person: every clip of a voice lies in one split."""

    name: str
    languages: tuple[str, ...]
    sex: str | None
    split: Split
    person: str | None


@dataclass(frozen=True)
class Package:
    """One Debian package, pinned to a version and a hash.

    `rules` are (glob, label) pairs tried in order: the label is a voice (role speech), or a kind of
    noise or a voice (role noise, where people may speak too); None, or no match, leaves the file
    out.
    """

    name: str
    version: str
    file: str
    pool: str
    size: int
    sha256: str
    licence: str
    copyright: str
    role: Role
    splits: tuple[Split, ...]
    rules: tuple[tuple[str, str | None], ...]

    def label_of(self, path: str) -> str | None:
        """The voice or the kind of noise of a file, by its path inside the package."""
        for glob, label in self.rules:
            if fnmatchcase(path, glob):
                return label
        return None


@dataclass(frozen=True)
class Manifest:
    """All voices and packages, by name."""

    voices: Mapping[str, Voice]
    packages: Mapping[str, Package]

    def role_of(self, label: str) -> Role:
        """Whether a label is of somebody who speaks or of a kind of noise."""
        return "speech" if label in self.voices else "noise"

    @cached_property
    def noise_splits(self) -> dict[str, Split]:
        """The split of every noise package."""
        return {p.name: p.splits[0] for p in self.packages.values() if p.role == "noise"}

    def select(self, names: list[str] | None) -> list[Package]:
        """The packages named, or all.

        Raises:
            RecurraError: a name is not in the manifest.
        """
        if names is None:
            return list(self.packages.values())
        unknown = [name for name in names if name not in self.packages]
        if unknown:
            raise RecurraError(
                f"unknown package {', '.join(unknown)}; known: {', '.join(self.packages)}"
            )
        return [self.packages[name] for name in names]


def load_manifest(path: Path | None = None) -> Manifest:
    """Read a manifest, by default the one that ships with this package.

    Raises:
        RecurraError: it cannot be read, or a package names a voice or split that is not there.
    """
    source = path or resources.files(__package__).joinpath("manifest.json")
    try:
        raw = json.loads(source.read_text(encoding="utf-8"))
        voices = {name: _voice(name, fields) for name, fields in raw["voices"].items()}
        packages = {fields["name"]: _package(fields) for fields in raw["packages"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecurraError(f"{source}: not a manifest of sound packages: {error!r}") from error
    manifest = Manifest(voices, packages)
    for package in packages.values():
        _check(package, manifest)
    return manifest


def _voice(name: str, fields: dict) -> Voice:
    """One row of the table of voices."""
    return Voice(name, tuple(fields["language"]), fields["sex"], fields["split"], fields["name"])


def _package(fields: dict) -> Package:
    """One row of the table of packages."""
    fields = dict(fields)
    rules = fields.pop("voices" if fields["role"] == "speech" else "kinds")
    return Package(
        **{**fields, "splits": tuple(fields["splits"])},
        rules=tuple((glob, label) for glob, label in rules),
    )


def _check(package: Package, manifest: Manifest) -> None:
    """Refuse a package whose splits contradict its voices, or noise that is in two splits."""
    labels = {label for _, label in package.rules if label is not None}
    unknown = labels - set(manifest.voices)
    found = {manifest.voices[label].split for label in labels - unknown}
    if package.role == "noise":
        if len(package.splits) != 1:
            raise RecurraError(f"{package.name}: a noise package belongs to exactly one split")
        found |= set(package.splits)
    elif unknown:
        raise RecurraError(f"{package.name}: voices that are not listed: {sorted(unknown)}")
    if found != set(package.splits):
        raise RecurraError(
            f"{package.name}: its voices are in {sorted(found)}, not in {sorted(package.splits)}"
        )
