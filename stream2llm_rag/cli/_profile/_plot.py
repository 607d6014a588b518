"""The grid as a picture."""

from pathlib import Path
from textwrap import fill
from typing import Any

from stream2llm_profiles import HardwareProfile
from stream2llm_rag.cli._profile._fit import StepFit
from stream2llm_rag.cli._profile._measure import Measured

__all__ = ["save_plot"]

_TITLE_WIDTH = 90


def save_plot(profile: HardwareProfile, measured: Measured, fit: StepFit, path: Path) -> None:
    """Draws measured prefills with their spread, and the fit as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis: Any = figure.subplots()
    prefills = [timing for timing in measured.steps if timing.whole_request]
    for number, context in enumerate(sorted({timing.context for timing in prefills})):
        line = [timing for timing in prefills if timing.context == context]
        tokens = [timing.tokens for timing in line]
        typical = [timing.typical_s for timing in line]
        spread = [
            [timing.typical_s - min(timing.seconds) for timing in line],
            [max(timing.seconds) - timing.typical_s for timing in line],
        ]
        colour = f"C{number}"
        axis.errorbar(
            tokens, typical, yerr=spread, fmt="o", color=colour, label=f"{context} tokens before"
        )
        axis.plot(tokens, [fit.seconds(timing) for timing in line], color=colour)
    title = f"{fill(profile.model, _TITLE_WIDTH)}\n{profile.hardware}"
    axis.set_title(title, loc="left", fontsize="medium")
    axis.set(xscale="log", yscale="log", xlabel="new tokens", ylabel="seconds to the first token")
    axis.grid(which="both", alpha=0.3)
    axis.legend(title=f"{measured.settings.statistic} and range; line: fit")
    figure.savefig(path, dpi=120)
