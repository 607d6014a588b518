from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream2llm_engine.wire import OPERATION_KEY, Operation, OperationKind


@given(
    kind=st.sampled_from(OperationKind),
    sequence=st.integers(1, 10**6),
    empty=st.booleans(),
    tenant=st.text(),
    priority=st.integers(-5, 5),
)
def test_round_trip(
    kind: OperationKind, sequence: int, tenant: str, priority: int, *, empty: bool
) -> None:
    operation = Operation(
        kind=kind, sequence=sequence, secret="s", empty=empty, tenant=tenant, priority=priority
    )
    assert Operation.decode({"other": 1, **operation.encode()}, "s") == operation


@pytest.mark.parametrize(
    "extra_args",
    [
        None,
        {},
        [],
        {"other": 1},
        {OPERATION_KEY: "open"},
        {OPERATION_KEY: {"kind": "open", "sequence": 1, "empty": False}},
        {OPERATION_KEY: {"kind": "open", "sequence": 1, "empty": False, "secret": "guess"}},
        {OPERATION_KEY: {"kind": "burn", "sequence": 1, "empty": False, "secret": "s"}},
        {OPERATION_KEY: {"kind": "open", "sequence": "x", "empty": False, "secret": "s"}},
        {OPERATION_KEY: {"secret": "s"}},
    ],
)
def test_anything_else_is_not_an_operation(extra_args: object) -> None:
    assert Operation.decode(extra_args, "s") is None


def test_without_a_secret_nothing_is_an_operation() -> None:
    operation = Operation(kind=OperationKind.OPEN, sequence=1, secret="")
    assert Operation.decode(operation.encode(), None) is None
