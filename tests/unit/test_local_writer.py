"""A language model that writes here: batches, seeds and endings change nothing that they should not."""

import pytest

from answer_helpers import save_answerer
from ragdistill.local_writer import LocalWriter
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill.writing import Messages, Written


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return resolve(str(save_answerer(tmp_path_factory.mktemp("writer") / "model")))


def asking(*questions: str) -> list[Messages]:
    return [[{"role": "user", "content": question}] for question in questions]


def replies(writer: LocalWriter, requests: list[Messages]) -> list[str]:
    said = [""] * len(requests)
    for places, texts, tokens in writer.write(requests):
        assert tokens > 0
        for place, text in zip(places, texts, strict=True):
            said[place] = text
    return said


def made(model: ResolvedModel, new_tokens: int = 6, **more: float) -> LocalWriter:
    return LocalWriter(
        model,
        "cpu",
        "float32",
        template="t",
        new_tokens=new_tokens,
        **more,  # type: ignore[arg-type]
    )


def test_a_reply_is_that_of_its_request_alone(model: ResolvedModel) -> None:
    asked = asking("is the river red?", "the old tree", "who sings in the long night of the year?")
    together = replies(made(model), asked)
    assert together == [replies(made(model), [each])[0] for each in asked]


def test_what_is_cut_off_is_told_from_what_ended(model: ResolvedModel) -> None:
    asked = asking(*(f"{word} runs" for word in ("red", "blue", "old", "new", "river", "day")))
    told = [Written.of(text) for text in replies(made(model, new_tokens=40), asked)]
    assert {"stop"} == {each.ended for each in told}
    short = [Written.of(text) for text in replies(made(model, new_tokens=1), asked)]
    assert "length" in {each.ended for each in short}


def test_what_is_drawn_for_a_request_does_not_depend_on_the_others(model: ResolvedModel) -> None:
    asked = asking(*(f"{word} falls in the night" for word in ("red", "blue", "old", "new")))
    writer = made(model, temperature=2.0, new_tokens=12)
    together = replies(writer, asked)
    assert len(set(together)) > 1
    # As of a run that was cut off after the first, and goes on.
    assert together == [*replies(writer, asked[:1]), *replies(writer, asked[1:])]
    assert together == replies(writer, asked[::-1])[::-1]


def test_what_is_drawn_depends_on_the_seed_alone(model: ResolvedModel) -> None:
    asked = asking(*(f"{word} falls" for word in ("red", "blue", "old", "new")))
    drawn = [
        replies(made(model, temperature=2.0, seed=seed, new_tokens=12), asked) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    prints = {made(model, temperature=2.0, seed=seed).fingerprint().id for seed in (0, 1)}
    assert len(prints | {made(model).fingerprint().id}) == 3
    told = made(model, temperature=2.0).fingerprint().parameters
    assert told["draws"] == "inversion"
    assert "draws" not in made(model).fingerprint().parameters
