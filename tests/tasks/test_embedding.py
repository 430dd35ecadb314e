from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import weitiao
from tiny import BAD, DEVICE, FAMILIES, FILLER, GOOD
from weitiao.core.contracts import Traits
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record
from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn, RecipeError, WrongHead
from weitiao.models import load, locate, sentence
from weitiao.sources.csv import Csv
from weitiao.sources.json import Json
from weitiao.tasks.embedding import Embedding

GIVEN, LABELS, SCORED = Embedding(), Embedding(pairs="same_label"), Embedding(pairs="scored")
SOURCE = Json(train="a.jsonl")


def read(values: dict[str, Any], task: Embedding = GIVEN, source: Any = SOURCE, *, labelled: bool = True) -> Any:
    return task.read(Record(values, "a.jsonl", 3, "id"), source, labelled=labelled)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("values", "parts", "target"),
    [
        ({"query": " q ", "positive": "p"}, ("q", "p"), ("p",)),
        ({"anchor": "q", "positive": "p", "negative": "n"}, ("q", "p", "n"), ("p",)),
        ({"question": "q", "answer": "p"}, ("q", "p"), ("p",)),
        ({"query": "q", "pos": ["p", "o", "p"], "neg": ["n", "m"]}, ("q", "p", "o", "n", "m"), ("p", "o")),
        ({"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m"}, ("q", "p", "n", "m"), ("p",)),
        ({"query": "q", "positive": "p", "negative": None}, ("q", "p"), ("p",)),
        ({"query": "q", "positive": "p", "negative": ["", "n"]}, ("q", "p", "n"), ("p",)),
    ],
)
def test_pairs_are_read_as_their_files_have_them(values: dict[str, Any], parts: tuple[str, ...], target: tuple[str, ...]) -> None:
    row = read(values)
    assert (row.text, row.parts, row.target) == (parts[0], parts, target)


def test_columns_are_named_in_the_order_of_their_roles() -> None:
    values = {"a": "q", "b": "p", "c": "n", "d": "m", "negative": "x"}
    assert read(values, source=Json(text=["a", "b"])).parts == ("q", "p"), "who names columns names all of them"
    assert read(values, source=Json(text=["a", "b", "c", "d"])).parts == ("q", "p", "n", "m")
    assert read({"a": "q", "positive": "p"}, source=Json(text="a")).parts == ("q", "p")
    row = read({"x": "s", "y": "t", "z": "0.5"}, SCORED, Csv(text=["x", "y"], label="z"))
    assert (row.parts, row.target) == (("s", "t"), 0.5)
    assert read({"sentence1": "s", "sentence2": "t", "label": 4}, SCORED).target == 4.0
    row = read({"text": "s", "label": 3}, LABELS)
    assert (row.text, row.target, row.parts) == ("s", "3", ())


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        (GIVEN, {"query": "q", "positive": ""}, "a.jsonl:3: positive: the positive is empty."),
        (GIVEN, {"query": "q", "positive": None}, "a.jsonl:3: positive: expected text, got None."),
        (GIVEN, {"query": "q", "positive": []}, "a.jsonl:3: positive: there is no positive."),
        (GIVEN, {"query": "", "positive": "p"}, "a.jsonl:3: query: the query is empty."),
        (GIVEN, {"query": 3, "positive": "p"}, "a.jsonl:3: query: expected text, got 3."),
        (GIVEN, {"query": ["q"], "positive": "p"}, "a.jsonl:3: query: expected text, got ['q']."),
        (GIVEN, {"query": "same", "positive": " same"}, "a.jsonl:3: positive: the same text as the query, 'same'."),
        (GIVEN, {"query": "q", "positive": "p", "negative": "q"}, "a.jsonl:3: negative: the same text as the query, 'q'."),
        (GIVEN, {"query": "q", "positive": "p", "negative": ["n", "p"]}, "a.jsonl:3: negative: a positive of the same row is a negative, too: 'p'."),
        (LABELS, {"text": "a", "label": None}, "a.jsonl:3: label: the label is empty."),
        (LABELS, {"text": "a", "label": 0.5}, "a.jsonl:3: label: expected the name of a class, got 0.5."),
        (SCORED, {"sentence1": "a", "sentence2": "b", "score": "high"}, "a.jsonl:3: score: expected a number, got 'high'."),
        (SCORED, {"sentence1": "a", "sentence2": "b", "score": float("nan")}, "a.jsonl:3: score: expected a number, got nan."),
        (SCORED, {"sentence1": "a", "sentence2": " ", "score": 1}, "a.jsonl:3: sentence2: the second text is empty."),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_field(task: Embedding, values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(values, task)
    assert caught.value.message == said and caught.value.hint


@pytest.mark.parametrize(
    ("task", "values", "source", "said"),
    [
        (GIVEN, {"query": "q", "passages": "p"}, SOURCE, r"a.jsonl:3: there is no column 'positive' for the positive\."),
        (GIVEN, {"question": "q"}, Json(text=["question", "answer"]), r"no column 'answer' for the positive\."),
        (GIVEN, {"q": "q", "p": "p"}, Json(text=["q", "p", "n"]), r"no column 'n' for the negative\."),
        (LABELS, {"text": "q", "kind": "p"}, SOURCE, r"no column 'label' for the label\."),
        (SCORED, {"sentence1": "q", "sentence2": "p"}, SOURCE, r"no column 'score' for the score\."),
    ],
)
def test_a_column_that_is_not_there_is_named(task: Embedding, values: dict[str, Any], source: Any, said: str) -> None:
    with pytest.raises(MissingColumn, match=said) as caught:
        read(values, task, source)
    assert "The columns are: " in caught.value.hint and "data." in caught.value.hint


def test_too_many_columns_and_settings_without_meaning_are_refused() -> None:
    with pytest.raises(BadValue, match=r"data.text: 3 columns are named, expected 2\."):
        read({"a": "x", "b": "y", "c": "z"}, SCORED, Json(text=["a", "b", "c"]))
    for settings in ({"pairs": "scored", "symmetric": True}, {"pairs": "same_label", "passage_prefix": "x"}, {"temperature": 0}, {"score_range": [1, 1]}):
        with pytest.raises(RecipeError, match="task"):
            Recipe.load({"model": "m", "data": {"name": "csv", "train": "a.csv"}, "task": {"name": "embedding", **settings}})


def test_rows_that_leave_nothing_to_tell_apart_are_refused() -> None:
    for task, values, said in (
        (GIVEN, [{"query": "a", "positive": "p"}, {"query": "b", "positive": "p"}], "all 2 training rows have the same positive"),
        (LABELS, [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "all 2 training rows have the same label"),
        (LABELS, [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "no two texts belong together"),
        (SCORED, [{"sentence1": "a", "sentence2": "b", "score": 1}] * 2, "every training row has the same score"),
    ):
        with pytest.raises(EmptySplit, match=said):
            task.fitted([read(one, task) for one in values])


def test_a_split_in_which_nothing_can_be_found_is_refused() -> None:
    def rows(*pairs: tuple[str, str]) -> list[Any]:
        return [read({"text": text, "label": label}, LABELS) for text, label in pairs]

    LABELS.check(rows(("a", "x"), ("b", "x")), "dev")
    for some in (rows(("a", "x"), ("b", "y")), rows(("a", "x"), ("a", "x"))):
        with pytest.raises(EmptySplit, match="no two different texts of the dev rows have the same label"):
            LABELS.check(some, "dev")


def test_texts_without_a_word_have_no_comparison_by_words() -> None:
    for task, values in ((GIVEN, {"query": "?!", "positive": "..."}), (SCORED, {"sentence1": "?!", "sentence2": "...", "score": 1})):
        assert task.trivial([], [read(values, task)]) is None


def test_a_text_that_the_tokenizer_drops_whole_is_one_token() -> None:
    class Dropping:
        pad_id = 7

        def encode(self, texts: list[str], max_length: int) -> list[tuple[list[int], int]]:
            return [([] if text == "dropped" else [1, 2], 0) for text in texts]

    [feature] = GIVEN.encode([read({"query": "dropped", "positive": "p"})], Dropping())  # type: ignore[arg-type]
    assert feature.input_ids == [7, 1, 2] and feature.places[::4] == [1, 2]


# ---------------------------------------------------------------- what the checkpoint says


def test_pooling_and_prompts_are_those_of_the_recipe_else_of_the_checkpoint_else_usual() -> None:
    own = Traits(causal=False, pooling="cls", prompts={"query": "query: ", "passage": "passage: "})
    task = GIVEN.suited(own)
    assert (task.pooling, task.query_prefix, task.passage_prefix) == ("cls", "query: ", "passage: ")
    task = Embedding(pooling="mean", query_prefix="").suited(own)
    assert (task.pooling, task.query_prefix, task.passage_prefix) == ("mean", "", "passage: ")
    assert GIVEN.suited(Traits(causal=True)).pooling == "last" and GIVEN.suited(Traits(causal=False)).pooling == "mean"
    assert SCORED.suited(own).passage_prefix == ""


def test_what_is_written_for_sentence_transformers_is_read_back_and_the_rest_is_told(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    sentence.write(folder, pooling="last", width=32, max_length=64, prompts={"query": "query: ", "passage": "passage: "})
    located = locate.locate(str(folder))
    config = load.configuration(located, GIVEN.head)
    found = sentence.traits(located, config)
    assert found == Traits(False, "last", {"query": "query: ", "passage": "passage: "})
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({**pooling, "pooling_mode_lasttoken": False, "pooling_mode_max_tokens": True}))
    found = sentence.traits(located, config)
    assert found.pooling is None and [note.split(",")[0] for note in found.notes] == [
        "The checkpoint puts a Dense layer behind its pooling",
        "The checkpoint makes one vector of a text in a way that is not known here: task.pooling is used instead.",
    ]


def test_an_encoder_decoder_is_refused(tmp_path: Path, pairs: Path) -> None:
    import transformers

    config = transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    config.save_pretrained(tmp_path / "t5")
    with pytest.raises(WrongHead, match="t5 is an encoder and a decoder"):
        load.check_head(config, GIVEN.head, asked="t5")


# ---------------------------------------------------------------- the whole way


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Queries and passages that share a telling word of another form: no word of a query stands in its passage."""
    rng = random.Random(0)
    partner = dict(zip(GOOD + BAD, BAD + GOOD, strict=True))
    rows = []
    for n in range(200):
        word, other = rng.sample(GOOD + BAD, 2)
        query, positive = f"{word} {rng.choice(FILLER[:6])} {n % 100}", f"{partner[word]} {rng.choice(FILLER[6:])}"
        rows.append({"query": query, "positive": positive, "negative": f"{other} its night"})
    return lines(tmp_path / "pairs.jsonl", rows)


@pytest.fixture
def trained(tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function (data file, settings...) -> report of a run."""
    monkeypatch.chdir(tmp_path)

    def go(file: Path, *, family: str = "bert", method: Any = "full", train: Any = None, **task: Any) -> dict[str, Any]:
        return weitiao.train(
            model=str(tiny(family)),
            data={"name": "json", "train": str(file), "test_share": 0.3},
            task={"name": "embedding", "max_length": 32, **task},
            method=method,
            train={"epochs": 8, "batch_size": 8, "gradient_accumulation": 4, "learning_rate": 3e-3, "dtype": "fp32", "device": str(DEVICE), **(train or {})},
            evaluate={"patience": None},
            out="run",
            again=True,
        )

    return go


def test_pairs_are_found_better_than_before_and_than_by_words(trained: Callable[..., dict[str, Any]], pairs: Path) -> None:
    report = trained(pairs)
    main = report["metrics"]["ndcg@10"]
    assert report["main_metric"] == "ndcg@10" and report["before_is"] == "model" and report["verdict"]["level"] == "better"
    by_words = report["baselines"]["tf_idf"]["ndcg@10"]["value"]
    assert main["after"]["value"] > 2 * main["before"]["value"] and main["after"]["value"] > 2 * by_words
    assert f"A comparison by words (TF-IDF) would score {by_words:.3f}." in report["verdict"]["sentence"]
    assert report["metrics"]["recall@1"]["test"] == "McNemar, exact"
    n, texts = report["rows"]["proof"], {text for row in map(json.loads, pairs.read_text().splitlines()) for text in (row["positive"], row["negative"])}
    assert any(note.startswith(f"Each of {n} proof rows searches ") for note in report["notes"])
    curve = report["curves"]["dev_loss"]
    assert curve[-1][1] < curve[0][1]
    [line, *_] = map(json.loads, Path("run/predictions/after.jsonl").read_text().splitlines())
    assert line["prediction"] in texts and isinstance(line["target"], list) and line["measures"]["rank"] >= 1
    changed = report["changes"]
    assert changed["graded"] == "closeness" and changed["better"] > changed["worse"]
    page = Path(report["report"]).read_text()
    assert "nDCG@10" in page and "TF-IDF" in page
    assert weitiao.evaluate(report["artifact"])["metrics"]["ndcg@10"] == main["after"]


def test_texts_of_one_label_come_together(trained: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [{"text": f"{rng.choice((GOOD, BAD)[n % 2])} {rng.choice(FILLER)} {rng.choice(FILLER)}", "label": n % 2} for n in range(160)]
    report = trained(lines(tmp_path / "labels.jsonl", rows), pairs="same_label", train={"epochs": 8, "dropout": 0.0})
    first = report["metrics"]["recall@1"]
    assert first["after"]["value"] >= 0.9 and first["after"]["value"] > first["before"]["value"]
    assert report["changes"]["graded"] == "right" and report["changes"]["both_wrong"] <= 0.1 * report["rows"]["proof"]
    assert any("the other proof texts" in note for note in report["notes"])


def test_scores_are_followed(trained: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = []
    for n in range(160):
        alike = n % 2
        first, second = rng.choice(GOOD), rng.choice(GOOD if alike else BAD)
        rows.append({"sentence1": f"{first} {rng.choice(FILLER)}", "sentence2": f"{second} {n % 90}", "score": 4.0 * alike + 0.5})
    report = trained(lines(tmp_path / "scores.jsonl", rows), pairs="scored", train={"epochs": 20, "dropout": 0.0})
    after = report["metrics"]["spearman"]["after"]["value"]
    assert after >= 0.7 > report["baselines"]["tf_idf"]["spearman"]["value"] and after > report["metrics"]["spearman"]["before"]["value"]
    assert report["recipe"]["task"]["score_range"] == [0.5, 4.5]
    predictor = weitiao.load(report["artifact"])
    [alike, apart] = predictor.predict([{"sentence1": "good film", "sentence2": "great 5"}, {"sentence1": "good film", "sentence2": "awful 5"}])
    assert isinstance(alike.value, float) and alike.value > apart.value
    [one, two] = (torch.tensor(prediction.value) for prediction in predictor.predict(["good film", {"sentence2": "great 5"}]))
    assert float(one @ two) == pytest.approx(alike.value, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_transformers_files_say_what_plain_transformers_must_do_to_get_our_vectors(
    trained: Callable[..., dict[str, Any]], pairs: Path, family: str
) -> None:
    from transformers import AutoModel, AutoTokenizer

    report = trained(pairs, family=family, train={"steps": 3}, query_prefix="one more ", passage_prefix="this day ")
    folder = Path(report["artifact"]) / "model"
    kinds = [(entry["path"], entry["type"]) for entry in json.loads((folder / "modules.json").read_text())]
    assert kinds == [
        (path, f"sentence_transformers.models.{kind}") for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    ]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    limits = json.loads((folder / "sentence_bert_config.json").read_text())
    chosen = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value]
    assert chosen == ["pooling_mode_lasttoken" if family in ("llama", "gemma3") else "pooling_mode_mean_tokens"]
    assert pooling["word_embedding_dimension"] == 32 and (folder / "2_Normalize").is_dir() and settings["similarity_fn_name"] == "cosine"
    texts = ["good film", "bad", "a very dull story with its night " * 9]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    predictor = weitiao.load(report["artifact"])
    for column, prompt in (("query", settings["prompts"]["query"]), ("positive", settings["prompts"]["document"])):
        asked = tokenizer([prompt + text for text in texts], padding=True, truncation=True, max_length=limits["max_seq_length"], return_tensors="pt")
        asked = {name: asked[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            states = model(**asked).last_hidden_state
        mask = asked["attention_mask"].unsqueeze(-1).float()
        vectors = states[range(3), asked["attention_mask"].sum(1) - 1] if pooling["pooling_mode_lasttoken"] else (states * mask).sum(1) / mask.sum(1)
        said = predictor.predict([{column: text} for text in texts])
        torch.testing.assert_close(torch.tensor([one.value for one in said]), torch.nn.functional.normalize(vectors), rtol=1e-4, atol=1e-5)
    assert [one.value for one in predictor.predict(texts)] == [one.value for one in predictor.predict([{"query": text} for text in texts])]


def test_an_artifact_tuned_again_begins_where_it_ended_with_its_own_pooling_and_prompts(trained: Callable[..., dict[str, Any]], pairs: Path) -> None:
    first = trained(pairs, pooling="cls", query_prefix="one ", train={"steps": 20})
    Path("run").rename("first")
    model = Path("first/artifact/model").resolve()
    second = weitiao.train({**first["recipe"], "model": str(model), "task": {"name": "embedding", "max_length": 32}}, train={"steps": 2}, out="second")
    assert (second["recipe"]["task"]["pooling"], second["recipe"]["task"]["query_prefix"]) == ("cls", "one ")
    for name, entry in second["metrics"].items():
        assert entry["before"]["value"] == pytest.approx(first["metrics"][name]["after"]["value"], abs=1e-6)


def test_a_vector_is_predicted_in_json_for_every_line_of_a_file(
    trained: Callable[..., dict[str, Any]], pairs: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    report = trained(pairs, method={"name": "lora", "r": 2}, train={"steps": 2})
    assert report["opens_with"] == {"auto_class": "AutoModel", "folder": "adapter", "takes": "texts"}
    lines(tmp_path / "asked.jsonl", [{"query": "good film"}, {"positive": "good film"}, {"query": "bad day", "positive": "not asked"}])
    said = cli("predict", report["artifact"], tmp_path / "asked.jsonl")
    assert said.code == 0, said.err
    vectors = torch.tensor([json.loads(line)["prediction"] for line in said.out.splitlines()])
    assert vectors.shape == (3, 32) and torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    typed = cli("predict", report["artifact"], "-", stdin="good film\n")
    assert json.loads(typed.out)["prediction"] == pytest.approx(vectors[0].tolist(), abs=1e-6)
    refused = cli("predict", report["artifact"], lines(tmp_path / "wrong.jsonl", [{"words": "good"}]))
    assert refused.code == 3 and "there is no column 'query' for the query" in refused.err and "Traceback" not in refused.err


def test_a_file_with_bad_pairs_stops_training_with_every_line_named(
    pairs: Path, tiny_bert: Path, cli: Callable[..., Any], write_recipe: Callable[..., Path]
) -> None:
    rows = list(map(json.loads, pairs.read_text().splitlines()))
    rows[4]["positive"], rows[9]["positive"] = "", rows[9]["query"]
    lines(pairs, rows)
    recipe = write_recipe({"model": str(tiny_bert), "data": {"name": "json", "train": str(pairs)}, "task": "embedding"})
    said = cli("train", recipe)
    assert said.code == 3 and "2 rows cannot be used" in said.err and "Traceback" not in said.err
    assert "pairs.jsonl:5: positive: the positive is empty" in said.err and "pairs.jsonl:10: positive: the same text as the query" in said.err
