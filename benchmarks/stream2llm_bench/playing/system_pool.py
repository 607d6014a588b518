"""The measuring processes of the systems that are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from stream2llm_bench.measuring_process import MeasuringProcess
from stream2llm_bench.playing.system import system

if TYPE_CHECKING:
    from types import TracebackType

    from stream2llm_bench.playing.system import EngineSpec

__all__ = ["SystemPool"]

_START_S = 180.0


class SystemPool:
    """Running systems by what they run; an idle one uses no CPU, so several can take turns."""

    def __init__(self) -> None:
        self._processes: dict[EngineSpec, MeasuringProcess] = {}

    def keep_only(self, specs: set[EngineSpec]) -> None:
        """End those that run anything else."""
        for spec in self._processes.keys() - specs:
            self.drop(spec)

    def get(self, spec: EngineSpec) -> MeasuringProcess:
        """Return the process that runs ``spec``, started where there is none.

        Raises:
            MeasurementError: It did not start.
        """
        if spec not in self._processes:
            self._processes[spec] = MeasuringProcess(system, spec, timeout_s=_START_S)
        try:
            self._processes[spec].start()
        except BaseException:
            self.drop(spec)
            raise
        return self._processes[spec]

    def drop(self, spec: EngineSpec) -> None:
        """End the process that runs ``spec``, for instance because it hangs."""
        process = self._processes.pop(spec, None)
        if process is not None:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keep_only(set())
