import re
import time
from pathlib import Path

import psutil
import pytest

from stream2llm_bench.measuring_process import MeasurementError, MeasuringProcess
from tests.support.homes import adder, counting, fragile, parent, refusing, waiting


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def has_ended(pid: int) -> bool:
    """Whether the process ends; what was killed may take a moment."""
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_two_processes_take_turns() -> None:
    with MeasuringProcess(adder, 10) as first, MeasuringProcess(adder, 20) as second:
        assert [first.ask(1), second.ask(1), first.ask(2)] == [11, 21, 12]


def test_a_home_that_cannot_start_says_why() -> None:
    with (
        MeasuringProcess(refusing) as process,
        pytest.raises(MeasurementError, match=re.compile("this home cannot start", re.DOTALL)),
    ):
        process.start()


def test_a_call_that_fails_says_why() -> None:
    with (
        MeasuringProcess(fragile) as process,
        pytest.raises(MeasurementError, match="ValueError: nonsense"),
    ):
        process.ask("nonsense")


def test_a_call_that_fails_loses_no_other() -> None:
    with MeasuringProcess(fragile) as process:
        for call in ("first", "second"):
            with pytest.raises(MeasurementError, match=f"ValueError: {call}"):
                process.ask(call)


def test_progress_is_heard_while_a_call_lasts() -> None:
    heard: list[int] = []
    with MeasuringProcess(counting) as process:
        assert process.ask(3, on_progress=heard.append) == "counted"
        assert process.ask(2) == "counted"
    assert heard == [0, 1, 2]


def test_a_call_that_nobody_waits_for_any_more_is_cancelled(tmp_path: Path) -> None:
    left = tmp_path / "left"
    with MeasuringProcess(waiting, str(left)) as process:
        with pytest.raises(MeasurementError, match="no answer within"):
            process.ask(None, timeout_s=0.0)
        assert not left.exists()
    assert left.exists()


def test_a_process_that_dies_is_an_error_with_its_last_words() -> None:
    with (
        MeasuringProcess(fragile) as process,
        pytest.raises(MeasurementError, match=r"exit code 3(.|\n)*these are my last words"),
    ):
        process.ask("die")


def test_a_process_that_takes_too_long_is_an_error() -> None:
    with (
        MeasuringProcess(adder, 10, timeout_s=0.0) as process,
        pytest.raises(MeasurementError, match="no answer within"),
    ):
        process.ask(1)


def test_leaving_the_block_ends_whatever_was_started() -> None:
    with MeasuringProcess(parent) as process:
        child = process.ask("which")
        assert is_running(child)
    assert has_ended(child)


def test_an_error_ends_whatever_was_started() -> None:
    children = []

    def fail() -> None:
        with MeasuringProcess(parent) as process:
            children.append(process.ask("which"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert has_ended(children[0])


def test_what_a_dead_process_left_behind_is_ended() -> None:
    with MeasuringProcess(parent) as process:
        child = process.ask("which")
        with pytest.raises(MeasurementError, match="died"):
            process.ask("die")
        assert is_running(child)
    assert has_ended(child)
