"""The profile as tables."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream2llm_profiles import HardwareProfile
from stream2llm_rag.cli._profile._fit import StepFit
from stream2llm_rag.cli._profile._measure import Measured

__all__ = ["print_profile"]

_DOUBTFUL_ERROR = 0.2


def print_profile(
    console: Console, profile: HardwareProfile, measured: Measured, fit: StepFit
) -> None:
    """Prints the grid with its fit, the copies and the costs."""
    console.print(_steps(profile, measured, fit))
    console.print(_copies(profile, measured))
    cost, error = profile.prefill, profile.fit_error or 0.0
    console.print(
        f"Request {profile.request_overhead_s * 1e3:.2f} ms, step {cost.step_overhead_s * 1e3:.2f}"
        f" ms, token {cost.token_s * 1e6:.2f} us, token and context token"
        f" {cost.token_context_s * 1e9:.3f} ns; median error of the fit {error:.1%}"
    )
    if error > _DOUBTFUL_ERROR:
        console.print(
            "[yellow]The fit is poor, so something else was probably running: stop it and measure"
            " again, without --quick, or with --statistic lowest.[/]"
        )


def _steps(profile: HardwareProfile, measured: Measured, fit: StepFit) -> Table:
    table = _table(
        f"Engine steps of {escape(profile.model)}, ms",
        ("New tokens", "Context", "Measured", "Lowest-highest", "Fitted", "Error"),
    )
    for timing in measured.steps:
        table.add_row(
            f"{timing.tokens}" if timing.whole_request else "1 (decoding)",
            f"{timing.context}",
            f"{timing.typical_s * 1e3:.1f}",
            f"{min(timing.seconds) * 1e3:.1f}-{max(timing.seconds) * 1e3:.1f}",
            f"{fit.seconds(timing) * 1e3:.1f}",
            f"{fit.error(timing):+.0%}",
        )
    return table


def _copies(profile: HardwareProfile, measured: Measured) -> Table:
    table = _table(
        f"KV copies of blocks of {measured.block_tokens} tokens, ms",
        ("Blocks", "Out", "Fitted", "In", "Fitted"),
    )
    swap = profile.swap
    assert swap is not None
    for timing in measured.copies:
        sample = timing.sample()
        table.add_row(
            f"{timing.blocks}",
            f"{sample['out_s'] * 1e3:.3f}",
            f"{swap.out_s(timing.blocks) * 1e3:.3f}",
            f"{sample['in_s'] * 1e3:.3f}",
            f"{swap.in_s(timing.blocks) * 1e3:.3f}",
        )
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right")
    return table
