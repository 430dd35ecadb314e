"""The Python that a model card shows runs as it stands, in the folder of its artifact, and says what weitiao says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import documents
import pytest

import tiny_language
import weitiao
from tiny import BAD, DEVICE, GOOD, build_tiny, choices, questions, sentences, write_csv
from weitiao.core.rows import Record, Turn
from weitiao.evaluation.predict import outputs

TRAIN = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": str(DEVICE)}
LORA = {"name": "lora", "r": 2}
WORDS_OF_THE_CARD, WORDS = "Ada Lovelace was born in London.", "the good film was dull"
"""A sentence of the card, and one of words that the tiny models know."""
RUN_ALL = """
import contextlib, io, json, os, sys
said = {}
for name, (folder, code) in json.load(sys.stdin).items():
    os.chdir(folder)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, f"README.md of {name}", "exec"), {"__name__": "__main__"})
    said[name] = out.getvalue().strip()
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, tiny_chat_artifact: Path) -> dict[str, Path]:
    """Return one artifact of every kind: what it holds, and for what."""
    root = tmp_path_factory.mktemp("cards")
    bert, llama = build_tiny(root / "bert", "bert"), tiny_language.build(root / "llama", "llama")
    masked, t5 = tiny_language.build(root / "masked", "bert"), tiny_language.build(root / "t5", "t5")
    write_csv(root / "labels.csv", sentences(60))
    write_csv(root / "several.csv", [(text, f'"{label},odd"' if n % 3 else label) for n, (text, label) in enumerate(sentences(60))])
    write_csv(root / "numbers.csv", [(text, f"{n % 7}.5") for n, (text, _) in enumerate(sentences(60))])
    (root / "chat.json").write_text(json.dumps(tiny_language.dialogues(40)))
    (root / "pairs.json").write_text(
        json.dumps([{"premise": t, "hypothesis": "a day", "label": label, "score": n % 7} for n, (t, label) in enumerate(sentences(60))])
    )
    related = [{"text": t, "head": [0, t.index(" ")], "tail": [t.rindex(" ") + 1, len(t)], "label": label} for t, label in sentences(60)]
    (root / "relations.json").write_text(json.dumps(related))
    (root / "translations.json").write_text(json.dumps(tiny_language.pairs(40)))
    functions = [{"prompt": f"def f{n}(x):\n", "completion": f"    return x + {n}\n"} for n in range(40)]
    (root / "functions.json").write_text(json.dumps(functions))
    (root / "texts.json").write_text(json.dumps([{"text": text} for text in tiny_language.texts(60)]))
    tagged = [{"tokens": text.split(), "tags": ["B-X" if word in {*GOOD, *BAD} else "O" for word in text.split()]} for text, _ in sentences(60)]
    (root / "entities.json").write_text(json.dumps(tagged))
    tag = {"name": "token_classification", "max_length": 32}
    gemma = build_tiny(root / "gemma", "gemma3")
    (root / "questions.json").write_text(json.dumps(questions(120)))
    (root / "unanswered.json").write_text(json.dumps(questions(120, answerable=0.6)))
    (root / "choices.json").write_text(json.dumps(choices(120)))
    choose = {"name": "multiple_choice", "max_length": 64}
    likely = {**choose, "score": "likelihood", "prompt": 'Q: "{question}"\nA: {option}'}
    answer = {"name": "question_answering", "max_length": 64, "max_answer_tokens": 4}
    (root / "searches.json").write_text(json.dumps([{"query": text, "positive": f"the {text.split()[-1]} day"} for text, _ in sentences(60)]))
    vectors = {"name": "embedding", "max_length": 32}
    classify = {"name": "text_classification", "max_length": 32}
    pairs = {"name": "text_pair", "max_length": 32}
    relations = {"name": "relation_extraction", "max_length": 32, "markers": ["0", "1", "2", "3"]}
    chat = {"name": "chat", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "system": 'Say "yes", or\nno.'}

    code = {"name": "code_generation", "max_length": 240, "max_new_tokens": 12, "generate_rows": 2}
    translate = {"name": "translation", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "num_beams": 2}

    def made(name: str, model: Path, data: str, task: dict[str, Any], method: Any, *, steps: int = 3, **columns: str) -> Path:
        source = {"name": "csv" if data.endswith("csv") else "json", "train": str(root / data), **columns}
        train, judged = {**TRAIN, "steps": steps}, {"best": None if steps == 3 else False}
        report = weitiao.train(model=str(model), data=source, task=task, method=method, train=train, evaluate=judged, out=root / name.replace(" ", "-"))
        assert report["opens_with"]["folder"] == name.split()[0]
        return Path(report["artifact"])

    return {
        "model for conversations": tiny_chat_artifact,
        "adapter for conversations": made("adapter for conversations", llama, "chat.json", chat, LORA),
        "model for prompts": made("model for prompts", llama, "translations.json", {**translate, "target_language": 'Old "French"'}, "full"),
        "adapter for prompts": made("adapter for prompts", llama, "translations.json", {**translate, "num_beams": 1}, LORA),
        "model for prompts of an encoder-decoder": made("model for prompts of an encoder-decoder", t5, "translations.json", translate, "full"),
        "adapter for prompts of an encoder-decoder": made(
            "adapter for prompts of an encoder-decoder", t5, "translations.json", {**translate, "prompt": "translate: {text}"}, LORA
        ),
        "model for code prompts": made("model for code prompts", llama, "functions.json", {**code, "template": "plain"}, "full"),
        "adapter for code prompts": made("adapter for code prompts", llama, "functions.json", code, LORA),
        "model for texts": made("model for texts", llama, "texts.json", {"name": "language_modeling", "max_length": 32}, "full"),
        "model for hidden words": made("model for hidden words", masked, "texts.json", {"name": "language_modeling", "masked": True, "max_length": 32}, "full"),
        "adapter for hidden words": made("adapter for hidden words", masked, "texts.json", {"name": "language_modeling", "masked": True}, LORA),
        "model for one label": made("model for one label", bert, "labels.csv", classify, "full"),
        "adapter for one label": made("adapter for one label", llama, "labels.csv", classify, LORA),
        "adapter for several labels": made(
            "adapter for several labels", bert, "several.csv", {**classify, "problem_type": "multi_label_classification", "threshold": 0.3}, LORA
        ),
        "model for several labels": made("model for several labels", bert, "several.csv", {**classify, "problem_type": "multi_label_classification"}, "full"),
        "model for words": made("model for words", bert, "entities.json", tag, "full", steps=250),
        "adapter for words": made("adapter for words", llama, "entities.json", tag, LORA),
        "model for words without a head of its own": made("model for words without a head of its own", gemma, "entities.json", tag, "full"),
        "adapter for words without a head of its own": made("adapter for words without a head of its own", gemma, "entities.json", tag, LORA),
        "model for answers": made("model for answers", bert, "questions.json", answer, "full"),
        "adapter for answers": made("adapter for answers", bert, "questions.json", answer, LORA),
        "model for answers of a decoder": made("model for answers of a decoder", llama, "unanswered.json", answer, "full"),
        "adapter for answers of a decoder": made("adapter for answers of a decoder", llama, "questions.json", answer, LORA),
        "model for options": made("model for options", bert, "choices.json", choose, "full"),
        "adapter for options of a decoder": made("adapter for options of a decoder", llama, "choices.json", choose, LORA),
        "model for options by tokens": made("model for options by tokens", llama, "choices.json", {**likely, "normalize": "tokens"}, "full"),
        "adapter for options by bytes": made("adapter for options by bytes", llama, "choices.json", likely, LORA),
        "adapter for a number": made("adapter for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, LORA),
        "model for pairs": made("model for pairs", bert, "pairs.json", pairs, "full"),
        "adapter for pairs": made("adapter for pairs", llama, "pairs.json", pairs, LORA),
        "adapter for a number of pairs": made(
            "adapter for a number of pairs", bert, "pairs.json", {**pairs, "problem_type": "regression"}, LORA, label="score"
        ),
        "model for relations": made("model for relations", bert, "relations.json", relations, "full"),
        "adapter for relations": made("adapter for relations", llama, "relations.json", {**relations, "markers": ["<", ">", '"', '"']}, LORA),
        "model for vectors": made("model for vectors", llama, "searches.json", {**vectors, "query_prefix": 'ask "it": '}, "full"),
        "adapter for vectors": made("adapter for vectors", bert, "searches.json", {**vectors, "pooling": "cls"}, LORA),
        "delta for one label": made("delta for one label", bert, "labels.csv", classify, "bitfit"),
        "delta for hidden words": made(
            "delta for hidden words", masked, "texts.json", {"name": "language_modeling", "masked": True, "max_length": 32}, "subnetwork"
        ),
        "delta for words": made("delta for words", bert, "entities.json", tag, {"name": "attention_heads", "heads": [[0, 1]]}),
        "delta for a number": made("delta for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, "adapter"),
        "model for a number": made("model for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, "full"),
    }


def best_tags(artifact: Path) -> list[str]:
    """Return the most probable tag of each token of WORDS, whatever stands beside it."""
    predictor = weitiao.load(artifact)
    row = predictor.task.read(Record({"tokens": WORDS.split()}, "card", None, "row"), predictor.artifact.recipe.data, labelled=False)
    (features,) = predictor.task.encode([row], predictor.tokenizer)
    said = outputs(predictor.model, predictor.task, [features], layout=predictor.tokenizer.layout(), strategy=predictor.strategy, batch_size=1).values[0]
    return [predictor.task.labels[best] for best in said.argmax(-1).tolist()]


def code_of(artifact: Path) -> str:
    (block,) = [block for block in documents.blocks((artifact / "README.md").read_text(encoding="utf-8")) if block.language == "python"]
    return block.text


def test_the_python_of_every_card_runs_in_its_folder_and_says_what_weitiao_says(artifacts: dict[str, Path]) -> None:
    asked = {name: (str(folder), code_of(folder).replace(WORDS_OF_THE_CARD, WORDS)) for name, folder in artifacts.items()}
    done = subprocess.run([sys.executable, "-c", RUN_ALL], check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert set(said) == set(artifacts) and all(said.values())

    def own(name: str) -> Any:
        return weitiao.load(artifacts[name]).predict("A text.")[0].value

    assert f"'label': '{own('model for one label')}'" in said["model for one label"]
    for name in ("adapter for one label", "delta for one label"):
        assert said[name] == own(name)
    assert said["adapter for several labels"] == str(own("adapter for several labels"))
    for name in ("adapter for a number", "delta for a number"):
        assert float(said[name]) == pytest.approx(own(name), abs=1e-4)
    assert str(own("model for a number"))[:6] in said["model for a number"]
    pair = {"premise": "A text.", "hypothesis": "Another text."}
    for name in ("model for pairs", "adapter for pairs"):
        assert said[name] == weitiao.load(artifacts[name]).predict([pair])[0].value
    assert "tokenizer([" in code_of(artifacts["adapter for pairs"]), "where the tokenizer has no form for pairs the card shows ours"
    number = weitiao.load(artifacts["adapter for a number of pairs"]).predict([pair])[0].value
    assert float(said["adapter for a number of pairs"]) == pytest.approx(number, abs=1e-4)
    entities = [{"text": "The pilot flew the plane .", "head": [4, 9], "tail": [19, 24]}]
    assert f"'label': '{weitiao.load(artifacts['model for relations']).predict(entities)[0].value}'" in said["model for relations"]
    assert said["adapter for relations"] == weitiao.load(artifacts["adapter for relations"]).predict(entities)[0].value
    found = weitiao.load(artifacts["model for words"]).predict(WORDS)[0].value
    assert found and [line.split()[:2] for line in said["model for words"].splitlines()] == [[entity["text"], entity["type"]] for entity in found]
    for name in artifacts:
        if "for words" in name and name != "model for words":
            assert [line.split()[1] for line in said[name].splitlines()] == best_tags(artifacts[name])
    asked_about = {"question": "Who wrote the first program?", "context": "The first program was written by Ada Lovelace in 1843."}
    for name in (name for name in artifacts if "for answers" in name):
        assert said[name] == (weitiao.load(artifacts[name]).predict([asked_about])[0].value or "(no answer)")
    options = {"question": "What do people wear on their feet?", "choices": ["shoes", "a hat", "soup for two"]}
    for name in (name for name in artifacts if "for options" in name):
        assert said[name] == weitiao.load(artifacts[name]).predict([options])[0].value
    for name in ("model for vectors", "adapter for vectors"):
        query, passage = (row.value for row in weitiao.load(artifacts[name]).predict([{"query": "A text."}, {"positive": "Another text."}]))
        assert json.loads(said[name])[0][1] == pytest.approx(sum(a * b for a, b in zip(query, passage, strict=True)), abs=1e-4)
    begun = 'def add(a, b):\n    """Return the sum of two numbers."""'
    for name in ("model for code prompts", "adapter for code prompts"):
        assert said[name].startswith((begun + weitiao.load(artifacts[name]).predict([begun])[0].value).rstrip())
    question = Turn("user", "What can you do for me?")
    for name, turns in (("model for conversations", [question]), ("adapter for conversations", [Turn("system", 'Say "yes", or\nno.'), question])):
        assert said[name] == weitiao.load(artifacts[name]).converse(turns, on_text=lambda piece: None).text


def test_the_python_of_cards_for_prompts_says_what_weitiao_says(artifacts: dict[str, Path]) -> None:
    asked = {name: (str(folder), code_of(folder)) for name, folder in artifacts.items() if "for prompts" in name}
    done = subprocess.run([sys.executable, "-c", RUN_ALL], check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert len(said) == 4
    for name in said:
        assert said[name] == weitiao.load(artifacts[name]).predict(["A text."])[0].value
    assert "BLEU as sacrebleu counts it: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`." in (artifacts["model for prompts"] / "README.md").read_text()


def test_a_card_shows_scores_under_names_that_people_know(tiny_chat_artifact: Path) -> None:
    card = (tiny_chat_artifact / "README.md").read_text(encoding="utf-8")
    for name in ("| Loss per token | ", "| Perplexity | ", "| ROUGE-L | ", "| Share ended by itself | "):
        assert name in card
    assert "library_name: transformers" in card and "adapter" not in card


def test_an_artifact_of_a_method_that_keeps_the_whole_model_says_so(artifacts: dict[str, Path], cli: Callable[..., Any]) -> None:
    for name, folder in artifacts.items():
        opens = json.loads((folder / "report.json").read_text(encoding="utf-8"))["opens_with"]
        assert (folder / opens["folder"]).is_dir() and opens["folder"] == name.split()[0]
        assert opens["takes"] == next((kind for kind in ("conversations", "pairs", "relations", "prompts") if kind in name), "texts")
