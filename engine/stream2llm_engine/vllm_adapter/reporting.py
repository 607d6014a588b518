"""How the scheduler's news reach the facade.

In-process the facade's core thread takes them between two steps. Across processes vLLM has no way
back for what its output processor does not know, so they travel as one extra output, under an id
that no request has.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs

from stream2llm_engine.vllm_adapter.questions import answer
from stream2llm_engine.wire import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream2llm_engine.wire import OperationKind, Progress

__all__ = ["ReportingMixin", "take_report"]

_logger = logging.getLogger(__name__)

_REPORT_ID = "stream2llm-report"
# Reports go to the client that started the engine: only it has the secret, so only it has sessions.
_CLIENT = 0


class ReportingMixin(Scheduler):
    """Collects what the facade should know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._remote = False
        self.progress_sink: Callable[[list[Progress]], None] | None = None
        self._reports: dict[str, Progress] = {}
        self._answers: dict[str, Any] = {}

    def take_progress(self) -> list[Progress]:
        """Return and forget what changed for sessions since the last call."""
        if not self._reports:
            return []
        reports = list(self._reports.values())
        self._reports = {}
        return reports

    def _answer(self, request_id: str, question: OperationKind) -> None:
        try:
            self._answers[request_id] = {"value": answer(self, question)}
        except Exception as error:
            _logger.exception("%s failed", question)
            self._answers[request_id] = {"error": f"{type(error).__name__}: {error}"}

    def _report_due(self) -> bool:
        """Whether a step is needed because something has to be sent."""
        return self._remote and bool(self._reports or self._answers)

    def _publish(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        """Hand over what is due before or with the outputs of a step, never after.

        Whoever gets the last output of a session may read its counters at once.
        """
        if self.progress_sink is not None and self._reports:
            self.progress_sink(self.take_progress())
        if self._report_due():
            self._add_report(outputs)

    def _add_report(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        report = Report(progress=self.take_progress(), answers=self._answers)
        batch = outputs.setdefault(_CLIENT, EngineCoreOutputs())
        batch.outputs.append(
            EngineCoreOutput(
                request_id=_REPORT_ID, new_token_ids=[], kv_transfer_params=report.encode()
            )
        )
        if self.finished_req_ids_dict is not None:
            # A data-parallel client counts what it sent as in flight until it reads this.
            batch.finished_requests = (batch.finished_requests or set()) | self._answers.keys()
        self._answers = {}


def take_report(outputs: EngineCoreOutputs) -> Report | None:
    """Remove the report from a step's outputs and return it, if there is one."""
    for index, output in enumerate(outputs.outputs):
        if output.request_id == _REPORT_ID:
            del outputs.outputs[index]
            return Report.decode(output.kv_transfer_params)
    return None
