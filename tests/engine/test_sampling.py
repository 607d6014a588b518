"""Sampling features on streams give what stock vLLM gives for the complete prompt."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from stream2llm_engine import InvalidRequestError, SamplingParams, UnsupportedFeatureError

if TYPE_CHECKING:
    from stream2llm_engine import StreamEngine, StreamOutput
    from tests.support.reference import Reference

pytestmark = pytest.mark.engine

# Ids of whole words: vLLM detokenizes a broken character before an answer as part of it.
PROMPT = [270 + (i * 37) % 130 for i in range(120)]
# The engine computes 256 tokens a step, the reference all at once.
SEVERAL_STEPS = [270 + (i * 41) % 130 for i in range(700)]


def stream(engine: StreamEngine, **params: Any) -> list[StreamOutput]:
    async def scenario() -> list[StreamOutput]:
        session = await engine.open_session(PROMPT[:70])
        await session.wait_prefilled()
        await session.append(PROMPT[70:110])
        deltas = session.finalize(PROMPT[110:], SamplingParams(**params))
        return [out async for out in deltas]

    return engine.run(scenario())


def text_of(deltas: list[StreamOutput]) -> str:
    return "".join(out.text for out in deltas)


def ids_of(deltas: list[StreamOutput]) -> list[int]:
    return [token for out in deltas for token in out.token_ids]


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.0},
        {"temperature": 0.8, "seed": 11},
        {"temperature": 1.0, "top_p": 0.7, "seed": 3},
        {"temperature": 1.0, "top_k": 5, "seed": 4},
        {"temperature": 0.0, "repetition_penalty": 1.5},
        {"temperature": 0.0, "presence_penalty": 1.0, "frequency_penalty": 0.5},
        {"temperature": 0.0, "logit_bias": {17: 100.0}},
        {"temperature": 0.0, "min_tokens": 5},
    ],
    ids="+".join,
)
def test_same_answer_as_one_shot(
    engine: StreamEngine, reference: Reference, params: dict[str, Any]
) -> None:
    params = {**params, "max_tokens": 12}
    (expected,) = reference.answer([PROMPT], **{**params, "logprobs": 0})
    deltas = stream(engine, **params)
    assert ids_of(deltas) == expected["token_ids"]
    assert text_of(deltas) == expected["text"]


def test_logprobs(engine: StreamEngine, reference: Reference) -> None:
    params = {"temperature": 0.0, "max_tokens": 6, "logprobs": 3, "ignore_eos": True}
    (expected,) = reference.answer([PROMPT], **params)
    deltas = stream(engine, **params)
    got = [out.logprobs[0][out.token_ids[0]].logprob for out in deltas if out.logprobs]
    assert got == pytest.approx(expected["logprobs"], abs=1e-4)
    assert all(len(out.logprobs[0]) >= 3 for out in deltas if out.logprobs)
    assert deltas[-1].cumulative_logprob == pytest.approx(sum(got), abs=1e-3)


def test_stop_token(engine: StreamEngine) -> None:
    free = ids_of(stream(engine, temperature=1.0, seed=5, max_tokens=12, ignore_eos=True))
    stop = free[6]
    deltas = stream(
        engine, temperature=1.0, seed=5, max_tokens=12, ignore_eos=True, stop_token_ids=[stop]
    )
    assert ids_of(deltas) == free[: free.index(stop) + 1]
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].stop_reason == stop


def test_stop_string_across_deltas(engine: StreamEngine) -> None:
    params: dict[str, Any] = {"temperature": 1.0, "seed": 5, "max_tokens": 12, "ignore_eos": True}
    free = text_of(stream(engine, **params))
    middle = len(free) // 2
    stop = free[middle : middle + 3]
    deltas = stream(engine, **params, stop=[stop])
    assert text_of(deltas) == free[: free.index(stop)]
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].stop_reason == stop


def test_max_tokens(engine: StreamEngine) -> None:
    deltas = stream(engine, temperature=0.0, max_tokens=3, ignore_eos=True)
    assert len(ids_of(deltas)) == 3
    assert deltas[-1].finish_reason == "length"


def test_an_answer_ends_where_the_model_length_does(engine: StreamEngine) -> None:
    async def scenario() -> int:
        session = await engine.open_session([5 + i % 300 for i in range(1000)])
        params = SamplingParams(temperature=0.0, max_tokens=500, ignore_eos=True)
        return sum([len(out.token_ids) async for out in session.finalize((), params)])

    assert engine.run(scenario()) == 24


def test_what_streams_do_not_have_is_refused_at_the_call(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session(PROMPT) as session:
            with pytest.raises(UnsupportedFeatureError, match="prompt_logprobs"):
                session.finalize((), SamplingParams(prompt_logprobs=1))
            assert session.state == "open"

    engine.run(scenario())


def test_several_answers(engine: StreamEngine, reference: Reference) -> None:
    params: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 6, "ignore_eos": True}
    deltas = stream(engine, **params, n=3)
    answers: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for out in deltas:
        answers[out.index] += out.token_ids
    for index, answer in answers.items():
        # vLLM seeds the answers one apart.
        (expected,) = reference.answer([PROMPT], **{**params, "seed": 7 + index})
        assert answer == expected["token_ids"]

    async def ordinary() -> list[StreamOutput]:
        return [out async for out in engine.generate(PROMPT, SamplingParams(**params, n=3))]

    again: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for out in engine.run(ordinary()):
        again[out.index] += out.token_ids
    assert again == answers


async def ask(engine: StreamEngine, how: str, params: dict[str, Any]) -> list[StreamOutput]:
    """Ask ``SEVERAL_STEPS`` in one of the ways there are."""
    sampling = SamplingParams(**params)
    match how:
        case "request":
            deltas: Any = engine.generate(SEVERAL_STEPS, sampling)
        case "at once":
            session = await engine.open_session()
            deltas = session.finalize(SEVERAL_STEPS, sampling)
        case "append":
            session = await engine.open_session(SEVERAL_STEPS[:100])
            await session.wait_prefilled()
            deltas = session.finalize(SEVERAL_STEPS[100:], sampling)
        case _:
            session = await engine.open_session([*SEVERAL_STEPS[:300], *PROMPT])
            await session.wait_prefilled()
            await session.update(SEVERAL_STEPS[:-1])
            deltas = session.finalize(SEVERAL_STEPS[-1:], sampling)
    return [out async for out in deltas]


@pytest.mark.parametrize("how", ["request", "at once", "append", "update"])
def test_a_seed_holds_for_prompts_of_several_steps(
    engine: StreamEngine, reference: Reference, how: str
) -> None:
    params: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 8, "ignore_eos": True}
    answers: dict[int, list[int]] = {0: [], 1: []}
    for out in engine.run(ask(engine, how, {**params, "n": 2})):
        answers[out.index] += out.token_ids
    for index, answer in answers.items():
        (expected,) = reference.answer([SEVERAL_STEPS], **{**params, "seed": 7 + index})
        assert answer == expected["token_ids"]


def test_a_seed_is_the_requests_own_beside_others(
    engine: StreamEngine, reference: Reference
) -> None:
    """Some answer while the prompts of others go on, and rows change their places."""
    params: dict[str, Any] = {"temperature": 1.0, "max_tokens": 30, "ignore_eos": True}
    prompts = [PROMPT, SEVERAL_STEPS, PROMPT[::-1], PROMPT[1:]]

    async def one(seed: int, prompt: list[int]) -> list[int]:
        sampling = SamplingParams(**{**params, "seed": seed, "max_tokens": 30 - 5 * seed})
        return ids_of([out async for out in engine.generate(prompt, sampling)])

    async def scenario() -> list[list[int]]:
        return await asyncio.gather(*(one(*pair) for pair in enumerate(prompts)))

    for seed, answer in enumerate(engine.run(scenario())):
        (expected,) = reference.answer(
            [prompts[seed]], **{**params, "seed": seed, "max_tokens": 30 - 5 * seed}
        )
        assert answer == expected["token_ids"]


def test_a_seed_survives_that_everything_is_computed_again(
    engine: StreamEngine, reference: Reference
) -> None:
    params: dict[str, Any] = {"temperature": 1.0, "seed": 9, "max_tokens": 60, "ignore_eos": True}

    async def scenario() -> tuple[list[int], int]:
        session = await engine.open_session(SEVERAL_STEPS[:100])
        answer: list[int] = []
        async for out in session.finalize(SEVERAL_STEPS[100:], SamplingParams(**params)):
            if not answer:
                assert await engine.reset_prefix_cache()
            answer += out.token_ids
        return answer, session.stats.recomputed_tokens

    answer, recomputed = engine.run(scenario())
    (expected,) = reference.answer([SEVERAL_STEPS], **params)
    assert answer == expected["token_ids"]
    assert recomputed >= len(SEVERAL_STEPS) - 32


def test_several_answers_left_early_are_all_aborted(engine: StreamEngine) -> None:
    async def scenario() -> None:
        session = await engine.open_session(PROMPT)
        params = SamplingParams(temperature=1.0, max_tokens=500, n=3, ignore_eos=True)
        answers = session.finalize((), params)
        for _ in range(9):
            await anext(answers)
        await answers.aclose()
        await engine.stats()
        stats = await engine.stats()
        assert stats.running == stats.waiting == 0

    engine.run(scenario())


def test_what_vllm_refuses_is_refused_at_the_call(engine: StreamEngine) -> None:
    async def scenario() -> None:
        async with await engine.open_session(PROMPT) as session:
            with pytest.raises(InvalidRequestError, match="vLLM refused"):
                session.finalize((), SamplingParams(logprobs=10_000))
            with pytest.raises(InvalidRequestError, match="SamplingParams"):
                session.finalize((), {"temperature": 0})
            assert session.state == "open"

    engine.run(scenario())


@pytest.mark.parametrize(
    "constraint",
    [
        {"choice": ["Mirapol", "Tessin"]},
        {"regex": r"[0-9]{3}-[a-f]{2}"},
        {
            "json": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Mirapol"]}},
                "required": ["city"],
                "additionalProperties": False,
            }
        },
    ],
    ids="+".join,
)
def test_structured_output(engine: StreamEngine, constraint: dict[str, Any]) -> None:
    """Random weights know no JSON: what comes out has its shape from the grammar alone."""
    from vllm.sampling_params import StructuredOutputsParams

    text = text_of(
        stream(
            engine,
            temperature=0.0,
            max_tokens=60,
            structured_outputs=StructuredOutputsParams(**constraint),
        )
    )
    if "choice" in constraint:
        assert text in constraint["choice"]
    elif "regex" in constraint:
        assert re.fullmatch(constraint["regex"], text)
    else:
        assert json.loads(text) == {"city": "Mirapol"}


def test_bad_words(engine: StreamEngine) -> None:
    (wanted,) = engine.tokenizer("Zorland", add_special_tokens=False)["input_ids"][:1]
    word = engine.tokenizer.decode([wanted])
    params: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "logit_bias": {wanted: 100.0}}
    assert ids_of(stream(engine, **params)) == [wanted]
    assert ids_of(stream(engine, **params, bad_words=[word])) != [wanted]
