from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError

import tiny_language
import weitiao
from tiny import DEVICE, FAMILIES, choices
from weitiao.core.contracts import Features, Layout
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, MissingColumn, TooLong, WrongHead
from weitiao.models import linear_head, load, locate, options
from weitiao.models.tokens import Tokenizer
from weitiao.sources.json import Json
from weitiao.tasks.multiple_choice import MultipleChoice

STEM = {"stem": "Where?", "choices": [{"label": "A", "text": "here"}, {"label": "B", "text": "there"}]}


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return MultipleChoice(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


COLUMNS = {"options": ["o1", "o2"], "answer": "gold", "count_from": 1}


# ------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("values", "task", "options", "names", "target"),
    [
        ({"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}, "answerKey": "B"}, {}, "here there", "AB", "B"),
        ({"question": STEM, "answerKey": "A"}, {}, "here there", "AB", "A"),
        ({"question": "Where?", "choices": [{"label": "1", "text": "4"}, {"label": "2", "text": "1"}], "answerKey": "1"}, {}, "4 1", "12", "1"),
        ({"question": "Where?", "choices": ["here", "there"], "answer": 1}, {}, "here there", None, "there"),
        ({"question": "Where?", "choices": ["here", "there"], "answer": "there"}, {}, "here there", None, "there"),
        ({"question": "Where?", "options": ["here", "there"], "answer": "B"}, {}, "here there", None, "there"),
        ({"question": "Where?", "endings": ["here", "there"], "label": "0"}, {}, "here there", None, "here"),
        ({"question": "Where?", "options": {"A": "here", "B": "there"}, "answer": "B"}, {}, "here there", "AB", "B"),
        ({"question": "Where?", "o1": "here", "o2": "there", "gold": "2"}, COLUMNS, "here there", None, "there"),
        ({"question": "Where?", "answer": True}, {"same_options": {"false": "no", "true": "yes"}}, "no yes", ["false", "true"], "true"),
        ({"question": "Where?", "answer": "no"}, {"same_options": ["no", "yes"]}, "no yes", None, "no"),
        ({"text": "Where?\nA: here\nB: there", "label": "B"}, {"pattern": r"(?s)(?P<question>.*)\nA: (?P<A>.*)\nB: (?P<B>.*)"}, "here there", "AB", "B"),
        ({"text": "q: Where?", "label": "no"}, {"pattern": "q: (?P<question>.*)", "same_options": ["no", "yes"]}, "no yes", None, "no"),
    ],
)  # fmt: skip
def test_every_form_of_options_is_read(values: dict[str, Any], task: dict[str, Any], options: str, names: Any, target: str) -> None:
    row = read(values, **task)
    assert row.parts == ("Where?", *options.split(), *(names or options.split())) and row.target == target
    assert read({k: v for k, v in values.items() if k not in ("answerKey", "answer", "gold", "label")}, labelled=False, **task).target is None
    assert row.text.startswith("Where?\n") and options.split()[1] in row.text


def test_several_columns_make_one_question_and_a_row_reads_well() -> None:
    row = read({"p": "It rained.", "q": "effect?", "choices": {"label": ["A", "B"], "text": ["wet", "dry"]}, "answerKey": "A"}, question=["p", "q"])
    assert row.text == "It rained.\neffect?\nA: wet\nB: dry"


GOOD = {"question": "Where?", "choices": ["here", "there"], "answer": 0}


@pytest.mark.parametrize(
    ("changes", "task", "words"),
    [
        ({"choices": ["here", " "]}, {}, "a.json:7: option 2 of 2 is empty."),
        ({"choices": ["here", None]}, {}, "a.json:7: option 2 of 2 is empty."),
        ({"choices": ["here", 5]}, {}, "a.json:7: option 2 of 2 is 5, expected text."),
        ({"choices": ["here"]}, {}, "two options at least, got 1"),
        ({"choices": "here"}, {}, "expected a list of options, got 'here'."),
        ({"choices": ["here", "here"]}, {}, "two options are both 'here'"),
        ({"choices": {"label": ["A"], "text": ["here", "there"]}}, {}, "as many labels as texts"),
        ({"answer": 2}, {}, "a.json:7: answer: the answer 2 is none of the options 'here', 'there'."),
        ({"answer": "nowhere"}, {}, "the answer 'nowhere' is none of the options"),
        ({"answer": "C"}, {}, "the answer 'C' is none of the options"),
        ({"answer": None}, {}, "a.json:7: answer: the answer is empty."),
        ({"answer": 0.5}, {}, "the answer is 0.5, expected a label, a text or a number"),
        ({"choices": ["1", "2"], "answer": "1"}, {}, "'1' is the text of one option and the number of another"),
        ({"question": ""}, {}, "a.json:7: question: the question is empty."),
        ({"question": 5}, {}, "a.json:7: question: the question is 5, expected text."),
        ({"text": "Where"}, {"pattern": "(?P<question>.*)\n(?P<A>.*)(?P<B>.*)"}, "task.pattern does not fit the text 'Where'."),
    ],
)
def test_rows_that_cannot_be_are_refused_with_their_place(changes: dict[str, Any], task: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRow) as caught:
        read({**GOOD, **changes}, **task)
    assert words in caught.value.message and caught.value.message.startswith("a.json:7: ") and caught.value.hint


def test_what_is_missing_is_named_and_a_number_counted_from_one_is_suspected() -> None:
    with pytest.raises(BadRow) as caught:
        read({**GOOD, "answer": 2})
    assert "task.count_from=1" in caught.value.hint
    with pytest.raises(MissingColumn, match=r"there is no column 'question'\. Did you mean 'questions'\?"):
        read({"questions": "Where?", "choices": ["a", "b"]})
    with pytest.raises(MissingColumn, match="there is no column with options: choices, options or endings"):
        read({"question": "Where?"})
    with pytest.raises(MissingColumn, match="there is no column 'answer'"):
        read({"question": "Where?", "choices": ["a", "b"]})
    with pytest.raises(BadRow, match="expected a question and its options, got a text only") as caught:
        read({"text": "Where?"}, labelled=False)
    assert '"choices"' in caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "{question}"},
        {"prompt": "{option} {question}"},
        {"pattern": "("},
        {"pattern": "(?P<A>.*)"},
        {"pattern": "(?P<question>.*)"},
        {"options": ["a", "b"], "same_options": ["yes", "no"]},
        {"pattern": "(?P<question>.*)(?P<A>.*)", "same_options": ["yes", "no"]},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MultipleChoice(**wrong)


# ------------------------------------------------------------ features


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return Tokenizer(locate.locate(str(tiny_bert)), 66, token_types=True)


def row(question: str, *texts: str, target: str | None = None) -> Row:
    return Row("r", question, target, "a.json:7", parts=(question, *texts, *texts))


def test_lines_are_those_of_the_tokenizer_itself_and_only_the_question_is_cut(tokenizer: Tokenizer) -> None:
    texts = ("good", "very good story", "the film")
    (whole,) = MultipleChoice(max_length=32).encode([row("the film was", *texts, target="the film")], tokenizer)
    batch = MultipleChoice().collate([whole], tokenizer.layout())
    expected = tokenizer.tokenizer(["the film was"] * 3, list(texts), padding=True, return_tensors="pt", return_token_type_ids=True)
    assert all(torch.equal(batch.inputs[name], expected[name]) for name in ("input_ids", "attention_mask"))
    assert torch.equal(batch.inputs["token_type_ids"] * batch.inputs["attention_mask"], expected["token_type_ids"])
    assert (whole.cut, whole.target, batch.targets.tolist(), batch.lines, batch.weights) == (0, 2, [2], (3,), None)
    (cut,) = MultipleChoice(max_length=8).encode([row("the film was", *texts)], tokenizer)
    assert cut.cut == 1 and list(cut.places[::3]) == [6, 8, 7] and cut.target is None
    with pytest.raises(TooLong, match="a.json:7: an option leaves no room for the question at task.max_length=6"):
        MultipleChoice(max_length=6).encode([row("the film was", *texts)], tokenizer)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.build(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.mark.parametrize("normalize", ["none", "tokens", "bytes"])
@pytest.mark.parametrize("prompt", ["{question}\nAnswer: {option}", "Q: {question} A:{option}", "{question}的{option}"])
def test_an_option_is_scored_by_the_log_likelihood_of_its_tokens(llama: Path, normalize: Any, prompt: str) -> None:
    """The oracle is the model's own logits, one unpadded text at a time; a tokenizer of bytes keeps a prompt's tokens apart from the option's."""
    tokens = Tokenizer(locate.locate(str(llama)), 256)
    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()
    task = MultipleChoice(score="likelihood", normalize=normalize, prompt=prompt, max_length=128)
    rows = [row("capital of france", "paris", "seven dogs and a moon", "色"), row("number of", "seven", "blue")]
    batch = task.collate(task.encode(rows, tokens), tokens.layout())
    with torch.inference_mode():
        said = task.predict(model, batch).values
        for found, asked in zip(said, rows, strict=True):
            for score, text in zip(found.tolist(), asked.parts[1 : len(asked.parts) // 2 + 1], strict=True):
                stem = prompt.removesuffix("{option}").replace("{question}", asked.parts[0])
                whole, ahead = tokens.plain([stem + text, stem.rstrip()])
                assert whole[: len(ahead)] == ahead
                each = model(torch.tensor([whole])).logits[0].log_softmax(-1)
                total = sum(float(each[n - 1, whole[n]]) for n in range(len(ahead), len(whole)))
                units = {"none": 1, "tokens": len(whole) - len(ahead), "bytes": len(text.encode())}[normalize]
                assert score == pytest.approx(total / units, rel=1e-4)


def test_a_long_prompt_loses_the_end_of_its_question_and_nothing_else(llama: Path) -> None:
    tokens = Tokenizer(locate.locate(str(llama)), 256)
    task = MultipleChoice(score="likelihood", max_length=30)
    (feature,) = task.encode([row("capital of france and of the sea " * 5, "paris", "deep")], tokens)
    assert feature.cut > 0
    first = list(feature.input_ids[: feature.places[0]])
    text = tokens.decode(first)
    assert text.startswith("capital of france") and text.endswith("\nAnswer: paris") and max(feature.places[::3]) == 30
    assert tokens.decode(first[feature.places[1] :]).strip() == "paris"
    with pytest.raises(TooLong):
        MultipleChoice(score="likelihood", max_length=8).encode([row("capital", "paris", "deep" * 9)], tokens)


def test_gradients_reach_the_weights_as_through_full_logits(llama: Path) -> None:
    """Plain torch on full logits is the oracle: a softmax over the options' mean log-likelihoods."""
    tokens = Tokenizer(locate.locate(str(llama)), 256)
    task = MultipleChoice(score="likelihood", normalize="tokens")
    rows = [row("capital of france", "paris", "seven dogs", target="paris"), row("number of", "blue", "seven", "white sea", target="seven")]
    batch = task.collate(task.encode(rows, tokens), tokens.layout())
    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()
    objective = task.objective()
    objective(model, batch).value().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    each = model(**batch.inputs).logits[:, :-1].log_softmax(-1).gather(2, batch.inputs["input_ids"][:, 1:, None])[..., 0]
    scores = (each * batch.weights[:, :-1]).sum(1)
    loss = (torch.nn.functional.cross_entropy(scores[None, :2], torch.tensor([0])) + torch.nn.functional.cross_entropy(scores[None, 2:], torch.tensor([1]))) / 2
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_an_option_that_a_row_lacks_has_no_part_in_anything() -> None:
    items = [options.feature(f"r{n}", [options.Line([5, 6 + n], 1)] * count, 0, 0, second=0) for n, count in enumerate((2, 3))]
    batch = options.batch(items, Layout(0))
    scores = options._by_row(torch.arange(5.0), batch)
    assert scores.tolist() == [[0.0, 1.0, options.ABSENT], [2.0, 3.0, 4.0]]
    from weitiao.objectives.cross_entropy import CrossEntropy

    scores.requires_grad_(True)
    CrossEntropy(lambda model, batch: scores)(None, batch).value().backward()
    assert torch.isfinite(scores.grad).all() and scores.grad[0, 2] == 0


# ------------------------------------------------------------ predictions and baselines


def test_predictions_are_named_as_the_data_name_options() -> None:
    rows = [Row("a", "", None, "", parts=("q", "x", "y", "A", "B")), row("q", "x", "y", "z")]
    features = [Features("a", [1]), Features("r", [1])]
    first, second = MultipleChoice().decode([torch.tensor([0.0, 2.0]), torch.tensor([3.0, 1.0, 0.0])], features, rows)
    assert first.value == "B" and list(first.scores) == ["A", "B"] and sum(first.scores.values()) == pytest.approx(1)
    assert second.value == "x" and second.scores["x"] == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(1) + 1))


def test_the_blind_choice_is_the_better_of_length_and_place() -> None:
    train = [row("q", "long one", "b", target="long one"), row("q", "a", "long two", target="long two"), row("q", "a", "long three", target="a")]
    train.append(row("q", "a", "long four", target="long four"))
    asked = [row("q", "a", "the longest", "c"), row("q", "aa", "b")]
    assert MultipleChoice().trivial(train, asked) == ["the longest", "aa"]
    train = [row("q", "a", "b", "c", target="c")] * 2 + train[:1]
    assert MultipleChoice().trivial(train, asked) == ["c", "b"]


def test_the_linear_scorer_is_the_optimum_of_a_conditional_logit() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=6)
    seen = [rng.normal(size=(rng.integers(2, 5), 6)) for _ in range(200)]
    targets = np.array([int((states @ truth).argmax()) for states in seen])
    fresh = [rng.normal(size=(rng.integers(2, 5), 6)) for _ in range(100)]
    said = linear_head.chosen(seen, targets, fresh)
    assert [len(scores) for scores in said] == [len(states) for states in fresh]
    assert np.mean([scores.argmax() == (states @ truth).argmax() for scores, states in zip(said, fresh, strict=True)]) > 0.9
    # torch finds the same optimum from elsewhere
    center, scale = np.concatenate(seen).mean(0), np.concatenate(seen).std(0) + 1e-6
    weights = torch.ones(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = [torch.from_numpy((states - center) / scale) @ weights for states in seen]
        total = sum(torch.nn.functional.cross_entropy(s[None], torch.tensor([t])) for s, t in zip(scores, targets.tolist(), strict=True))
        total = total + 5.0 * (weights @ weights)
        total.backward()
        return total

    optimizer.step(loss)
    for scores, states in zip(said, fresh, strict=True):
        np.testing.assert_allclose(scores, (states - center) / scale @ weights.detach().numpy(), atol=1e-3)


# ------------------------------------------------------------ runs


def recipe(model: Path, folder: Path, records: list[dict[str, Any]] | None = None, **sections: Any) -> dict[str, Any]:
    (folder / "choices.json").write_text(json.dumps(records or choices(200)))
    return {
        "model": str(model),
        "data": {"name": "json", "train": str(folder / "choices.json"), "id": "id", "test_share": 0.3},
        "task": {"name": "multiple_choice", "max_length": 32, **sections.pop("task", {})},
        "method": "full",
        "train": {"steps": 4, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)},
        **sections,
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "layers", "lora"])
def test_every_method_trains_a_head_and_its_artifact_says_the_same(tiny: Callable[[str], Path], family: str, method: str, tmp_path: Path) -> None:
    report = weitiao.train(recipe(tiny(family), tmp_path, method=method), out=tmp_path / "run")
    assert report["before_is"] == "head_only" and set(report["baselines"]) == {"head_only", "blind_choice"}
    assert list(report["metrics"]) == ["accuracy"] and not any("cache_features" in note for note in report["notes"])
    said_again(tmp_path)


def said_again(folder: Path) -> None:
    kept = [json.loads(line) for line in (folder / "run" / "predictions" / "after.jsonl").read_text().splitlines()]
    asked = {record["id"]: record for record in choices(200)}
    said = weitiao.load(folder / "run").predict([{k: asked[line["id"]][k] for k in ("question", "choices")} for line in kept])
    assert [p.value for p in said] == [line["prediction"] for line in kept]
    assert all(p.scores == pytest.approx(line["scores"], abs=1e-4) for p, line in zip(said, kept, strict=True))
    assert [line["target"] for line in kept] == [asked[line["id"]]["answerKey"] for line in kept]


@pytest.mark.parametrize("method", ["full", "layers", "lora"])
def test_every_method_trains_a_likelihood_and_before_is_the_model_as_it_came(llama: Path, method: str, tmp_path: Path) -> None:
    report = weitiao.train(recipe(llama, tmp_path, method=method, task={"score": "likelihood", "max_length": 96}), out=tmp_path / "run")
    assert report["before_is"] == "model" and report["changes"]["graded"] == "right"
    said_again(tmp_path)


def test_kept_states_of_frozen_layers_change_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    losses = []
    for cached in (True, False):
        train = {"steps": 6, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE), "cache_features": cached}
        weitiao.train(recipe(tiny_bert, tmp_path, method={"name": "layers", "last": 1}, train=train), out=tmp_path / str(cached))
        events = [json.loads(line) for line in (tmp_path / str(cached) / "log.jsonl").read_text().splitlines()]
        losses.append([event["loss"] for event in events if event["event"] == "step"])
        assert (json.loads((tmp_path / str(cached) / "plan.json").read_text())["cached_layers"] > 0) == cached
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_run_learns_to_choose_and_shows_it(tiny_bert: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    train = {"steps": 150, "batch_size": 16, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE)}
    records = [record for record in choices(500) if "warm" in record["question"]]
    report = weitiao.train(recipe(tiny_bert, tmp_path, records, train=train, evaluate={"every": 50}), out=tmp_path / "run")
    assert report["metrics"]["accuracy"]["after"]["value"] > 0.8
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Blind choice" in page and "A: " in page
    again = cli("evaluate", tmp_path / "run", "--json").json()
    assert again["metrics"]["accuracy"]["value"] == pytest.approx(report["metrics"]["accuracy"]["after"]["value"])
    line = '{"question": "which is warm", "choices": {"label": ["A", "B"], "text": ["the dull film", "the nice film"]}}\n'
    said = json.loads(cli("predict", tmp_path / "run", "-", stdin=line).out)
    assert said["prediction"] == "B" and set(said["scores"]) == {"A", "B"}
    refused = cli("predict", tmp_path / "run", "-", stdin="which is warm\n")
    assert refused.code == 3 and "stdin:1: expected a question and its options, got a text only." in refused.err and "Traceback" not in refused.err


def test_an_encoder_has_no_likelihood_of_options(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongHead, match="is an encoder"):
        weitiao.train(recipe(tiny_bert, tmp_path, task={"score": "likelihood"}), out=tmp_path / "run")


def test_a_new_head_has_one_output(tiny_bert: Path) -> None:
    located, head = locate.locate(str(tiny_bert)), MultipleChoice().head
    found = load.weights(located, load.configuration(located, head), head, seed=1)
    assert found.head_is_new and found.model.classifier.out_features == 1


@pytest.mark.field
def test_the_shared_files_are_read_whole(shared_data: Path) -> None:
    from weitiao.core.recipe import Recipe
    from weitiao.inspect.rows import rows_of

    counts = {"copa": (400, 2), "commonsenseqa": (1221, 5), "boolq": (1200, 2)}
    for name, (count, most) in counts.items():
        made = Recipe.load(Path(__file__).parents[2] / "recipes" / f"{name}.yaml")
        rows, _ = rows_of(made.task, made.data, "train", labelled=True)
        assert len(rows) == count and {len(row.parts) for row in rows} == {2 * most + 1}
        assert all(row.target in row.parts for row in rows)
