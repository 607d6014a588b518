"""Profiles as JSON files, shipped and the user's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from stream2llm_profiles._profile import HardwareProfile

__all__ = ["ProfileFileError", "load_profile", "profile_names", "save_profile"]

_PACKAGE = "stream2llm_profiles"
_SUFFIX = ".json"


class ProfileFileError(Exception):
    """A profile file is missing, unreadable or malformed."""


def profile_names() -> list[str]:
    """Return the names of the shipped profiles, sorted."""
    names = (entry.name for entry in files(_PACKAGE).iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """Read a profile.

    Args:
        name_or_path: Name of a shipped profile, or the path of a JSON file.

    Raises:
        ProfileFileError: There is no such profile, or the file is not one.
    """
    name = str(name_or_path)
    shipped = isinstance(name_or_path, str) and name in profile_names()
    try:
        text = (
            files(_PACKAGE).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
            if shipped
            else Path(name_or_path).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        msg = (
            f"no hardware profile can be read from {name!r}: {error}; give the path "
            f"of a profile's JSON file or a shipped name: {', '.join(profile_names())}"
        )
        raise ProfileFileError(msg) from error
    try:
        return HardwareProfile.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()
        )
        msg = (
            f"{name!r} is not a hardware profile: {problems}; correct the file, "
            f"or take a shipped profile: {', '.join(profile_names())}"
        )
        raise ProfileFileError(msg) from error


def save_profile(profile: HardwareProfile, path: str | Path) -> None:
    """Write a profile as JSON, for ``load_profile`` and for the eye."""
    try:
        Path(path).write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"the hardware profile cannot be written to {path}: {error}; choose another path"
        raise ProfileFileError(msg) from error
