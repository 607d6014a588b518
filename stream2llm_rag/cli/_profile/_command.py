"""``stream2llm profile``: what prefill and KV copies cost on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream2llm_profiles import ProfileFileError, save_profile
from stream2llm_rag.cli._model import quiet_engine
from stream2llm_rag.cli._profile._settings import QUICK, ProfileSettings
from stream2llm_rag.cli._profile._target import check_target, target
from stream2llm_rag.cli.errors import CommandError, friendly_errors, require_extras
from stream2llm_rag.cli.options import checked, comma_list, command_line, writable

__all__ = ["profile"]

_DEFAULTS = ProfileSettings()


@friendly_errors
def profile(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="File for the profile; a picture goes beside it.")],
    model: Annotated[
        str | None, typer.Option(help="Directory or hub id of the model to measure.")
    ] = None,
    random_llama: Annotated[
        str | None,
        typer.Option(
            metavar="30m|8b", help="Measure a Llama of this size with random weights instead."
        ),
    ] = None,
    token_budget: Annotated[
        int | None, typer.Option(help="Tokens that one engine step may compute. Default: 2048.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="N[,...]", help="Numbers of new tokens to measure.")
    ] = None,
    contexts: Annotated[
        str | None,
        typer.Option(metavar="N[,...]", help="Numbers of tokens computed before them."),
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Prefills of each kind.")] = None,
    statistic: Annotated[
        str,
        typer.Option(
            metavar="median|lowest",
            help="What stands for the repeats; lowest where other processes disturb.",
        ),
    ] = _DEFAULTS.statistic,
    *,
    eager: Annotated[
        bool, typer.Option("--eager", help="Neither compile the model nor capture CUDA graphs.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A coarse profile from a few measurements.")
    ] = False,
) -> None:
    """Measure a hardware profile for the scheduler and for simulate.

    A real engine prefills random tokens over a grid of new tokens and context, and KV blocks are
    copied to host memory and back. Let nothing else run on the machine meanwhile.
    """
    require_extras("vllm", "matplotlib")
    quiet_engine()
    check_target(model, random_llama)
    picture = _checked_output(out)
    knobs = {
        "tokens": _numbers(tokens, "--tokens"),
        "contexts": _numbers(contexts, "--contexts"),
        "token_budget": token_budget,
        "repeats": repeats,
        "statistic": statistic,
        "eager": eager,
    }
    given = {name: value for name, value in knobs.items() if value is not None}
    settings = checked(ProfileSettings, {**(QUICK if quick else {}), **given})
    _measure(settings, model, random_llama, command_line(context), (out, picture))


def _measure(
    settings: ProfileSettings,
    model: str | None,
    random_llama: str | None,
    command: str,
    files: tuple[Path, Path],
) -> None:
    from stream2llm_rag.cli._profile._fit import fit_steps
    from stream2llm_rag.cli._profile._measure import engine_config, measure
    from stream2llm_rag.cli._profile._plot import save_plot
    from stream2llm_rag.cli._profile._result import make_profile
    from stream2llm_rag.cli._profile._tables import print_profile

    out, picture = files
    with target(model, random_llama) as chosen:
        config = engine_config(chosen.path, settings, **chosen.vllm)
        measured = measure(config, settings, Console(stderr=True, highlight=False))
    fit = fit_steps(measured.steps)
    result = make_profile(out.stem, chosen.label, command, measured, fit)
    console = Console(highlight=False)
    print_profile(console, result, measured, fit)
    try:
        save_profile(result, out)
        save_plot(result, measured, fit, picture)
    except (ProfileFileError, OSError) as error:
        raise CommandError(str(error)) from error
    console.print(f"Written: {out}, {picture}", soft_wrap=True)


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(sorted({int(entry) for entry in comma_list(text, option)}))
    except ValueError as error:
        msg = f"{option} takes whole numbers with commas between, got {text!r}"
        raise CommandError(msg) from error


def _checked_output(out: Path) -> Path:
    """Returns the path of the picture when both files can be written."""
    picture = out.with_suffix(".png")
    if picture == out:
        msg = f"{out} is where the picture goes: end --out in .json"
        raise CommandError(msg)
    for path in (writable(out, folder=False), picture):
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            msg = f"{path} cannot be written: permission denied; choose another --out"
            raise CommandError(msg)
    return picture
