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
from tiny import BAD, GOOD, build_tiny, sentences, write_csv
from weitiao.core.rows import Record, Turn
from weitiao.evaluation.predict import outputs

TRAIN = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": "cpu"}
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
    masked = tiny_language.build(root / "masked", "bert")
    write_csv(root / "labels.csv", sentences(60))
    write_csv(root / "several.csv", [(text, f'"{label},odd"' if n % 3 else label) for n, (text, label) in enumerate(sentences(60))])
    write_csv(root / "numbers.csv", [(text, f"{n % 7}.5") for n, (text, _) in enumerate(sentences(60))])
    (root / "chat.json").write_text(json.dumps(tiny_language.dialogues(40)))
    (root / "texts.json").write_text(json.dumps([{"text": text} for text in tiny_language.texts(60)]))
    tagged = [{"tokens": text.split(), "tags": ["B-X" if word in {*GOOD, *BAD} else "O" for word in text.split()]} for text, _ in sentences(60)]
    (root / "entities.json").write_text(json.dumps(tagged))
    tag = {"name": "token_classification", "max_length": 32}
    gemma = build_tiny(root / "gemma", "gemma3")
    classify = {"name": "text_classification", "max_length": 32}
    chat = {"name": "chat", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "system": 'Say "yes", or\nno.'}

    def made(name: str, model: Path, data: str, task: dict[str, Any], method: Any, *, steps: int = 3) -> Path:
        source = {"name": "csv" if data.endswith("csv") else "json", "train": str(root / data)}
        train, judged = {**TRAIN, "steps": steps}, {"best": None if steps == 3 else False}
        report = weitiao.train(model=str(model), data=source, task=task, method=method, train=train, evaluate=judged, out=root / name.replace(" ", "-"))
        assert report["opens_with"]["folder"] == name.split()[0]
        return Path(report["artifact"])

    return {
        "model for conversations": tiny_chat_artifact,
        "adapter for conversations": made("adapter for conversations", llama, "chat.json", chat, LORA),
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
        "adapter for a number": made("adapter for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, LORA),
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
    assert said["adapter for one label"] == own("adapter for one label")
    assert said["adapter for several labels"] == str(own("adapter for several labels"))
    assert float(said["adapter for a number"]) == pytest.approx(own("adapter for a number"), abs=1e-4)
    assert str(own("model for a number"))[:6] in said["model for a number"]
    found = weitiao.load(artifacts["model for words"]).predict(WORDS)[0].value
    assert found and [line.split()[:2] for line in said["model for words"].splitlines()] == [[entity["text"], entity["type"]] for entity in found]
    for name in artifacts:
        if "for words" in name and name != "model for words":
            assert [line.split()[1] for line in said[name].splitlines()] == best_tags(artifacts[name])
    question = Turn("user", "What can you do for me?")
    for name, turns in (("model for conversations", [question]), ("adapter for conversations", [Turn("system", 'Say "yes", or\nno.'), question])):
        assert said[name] == weitiao.load(artifacts[name]).converse(turns, on_text=lambda piece: None).text


def test_a_card_shows_scores_under_names_that_people_know(tiny_chat_artifact: Path) -> None:
    card = (tiny_chat_artifact / "README.md").read_text(encoding="utf-8")
    for name in ("| Loss per token | ", "| Perplexity | ", "| ROUGE-L | ", "| Share ended by itself | "):
        assert name in card
    assert "library_name: transformers" in card and "adapter" not in card


def test_an_artifact_of_a_method_that_keeps_the_whole_model_says_so(artifacts: dict[str, Path], cli: Callable[..., Any]) -> None:
    for name, folder in artifacts.items():
        opens = json.loads((folder / "report.json").read_text(encoding="utf-8"))["opens_with"]
        assert (folder / opens["folder"]).is_dir() and opens["folder"] == name.split()[0]
        assert opens["takes"] == ("conversations" if "conversations" in name else "texts")
