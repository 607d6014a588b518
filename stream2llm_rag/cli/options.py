"""Values of options, checked before any work is done."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from stream2llm_rag.cli.errors import CommandError

__all__ = ["checked", "chosen", "comma_list", "command_line", "writable"]

M = TypeVar("M", bound=BaseModel)

_OPTIONS = {
    "arrival_cv": "burstiness",
    "delay_multiplier": "delay",
    "documents_per_snapshot": "documents",
}


def comma_list(text: str, option: str) -> list[str]:
    """Returns the entries of a comma-separated list, each once.

    Raises:
        CommandError: There are none.
    """
    entries = [entry.strip() for entry in text.split(",")]
    names = list(dict.fromkeys(entry for entry in entries if entry))
    if not names:
        msg = f"{option} is empty: give one value or several with commas between"
        raise CommandError(msg)
    return names


def chosen(text: str, choices: Iterable[str], option: str) -> list[str]:
    """Returns the entries of a comma-separated list that may only hold ``choices``.

    Raises:
        CommandError: An entry is none of them.
    """
    allowed = list(choices)
    names = comma_list(text, option)
    for name in names:
        if name not in allowed:
            msg = f"{option} does not support {name!r}: choose from {', '.join(allowed)}"
            raise CommandError(msg)
    return names


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """Builds a model from the options that were given; ``None`` means: not given.

    Raises:
        CommandError: A value is out of range; the message names the option.
    """
    given = {field: value for field, value in values.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{_option(item['loc'])}: {item['msg']}, got {item['input']!r}"
            for item in error.errors()
        )
        raise CommandError(problems) from error


def writable(path: Path, *, folder: bool) -> Path:
    """Returns ``path`` when a result can be written there, and makes its folder.

    Raises:
        CommandError: It cannot.
    """
    try:
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be written: {error}; choose another path"
        raise CommandError(msg) from error
    if not folder and path.is_dir():
        msg = f"{path} is a folder: give the path of a file"
        raise CommandError(msg)
    return path


def command_line(context: typer.Context) -> str:
    """Returns the command as it would be typed, with the options that were given."""
    words = context.command_path.split()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        if isinstance(value, bool):
            words += [parameter.opts[0] if value else parameter.secondary_opts[0]]
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)


def _option(location: tuple[int | str, ...]) -> str:
    field = str(location[0]) if location else "options"
    return "--" + _OPTIONS.get(field, field).replace("_", "-")
