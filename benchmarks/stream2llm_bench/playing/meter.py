"""Progress of a run, with an estimate of the time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

__all__ = ["Meter"]


class Meter:
    """A progress bar over the estimated seconds of all steps.

    Args:
        console: Where it is shown.
        total_s: Estimated seconds of everything. What steps really take corrects the rest.
    """

    def __init__(self, console: Console, total_s: float) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=total_s, left="")
        self._total_s = total_s
        self._done_s = 0.0
        self._step = ""
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        self._show_time_left()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def describe(self, step: str) -> None:
        """Say what is being measured."""
        self._step = step
        self._progress.update(self._task, description=step)

    def answered(self, count: int) -> None:
        """Show how many queries of the step are answered."""
        self._progress.update(self._task, description=f"{self._step}, {count} answered")

    def finish(self, estimated_s: float) -> None:
        """End a step that was estimated at this many seconds."""
        self._done_s += estimated_s
        self._progress.update(self._task, completed=self._done_s)
        self._show_time_left()

    def _show_time_left(self) -> None:
        pace = 1.0
        if self._done_s:
            pace = (time.monotonic() - self._began_s) / self._done_s
        left_s = max(0.0, self._total_s - self._done_s) * pace
        text = f"about {left_s / 60:.0f} min left" if left_s >= 60 else "less than a minute left"
        self._progress.update(self._task, left=text)
