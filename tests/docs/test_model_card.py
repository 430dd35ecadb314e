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
from tiny import build_tiny, sentences, write_csv
from weitiao.core.rows import Turn

TRAIN = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "dtype": "fp32", "device": "cpu"}
LORA = {"name": "lora", "r": 2}
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
    (root / "pairs.json").write_text(json.dumps([{"query": text, "positive": f"the {text.split()[-1]} day"} for text, _ in sentences(60)]))
    vectors = {"name": "embedding", "max_length": 32}
    classify = {"name": "text_classification", "max_length": 32}
    chat = {"name": "chat", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "system": 'Say "yes", or\nno.'}

    def made(name: str, model: Path, data: str, task: dict[str, Any], method: Any) -> Path:
        source = {"name": "csv" if data.endswith("csv") else "json", "train": str(root / data)}
        report = weitiao.train(model=str(model), data=source, task=task, method=method, train=TRAIN, out=root / name.replace(" ", "-"))
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
        "adapter for a number": made("adapter for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, LORA),
        "model for vectors": made("model for vectors", llama, "pairs.json", {**vectors, "query_prefix": 'ask "it": '}, "full"),
        "adapter for vectors": made("adapter for vectors", bert, "pairs.json", {**vectors, "pooling": "cls"}, LORA),
        "model for a number": made("model for a number", bert, "numbers.csv", {**classify, "problem_type": "regression"}, "full"),
    }


def code_of(artifact: Path) -> str:
    (block,) = [block for block in documents.blocks((artifact / "README.md").read_text(encoding="utf-8")) if block.language == "python"]
    return block.text


def test_the_python_of_every_card_runs_in_its_folder_and_says_what_weitiao_says(artifacts: dict[str, Path]) -> None:
    asked = {name: (str(folder), code_of(folder)) for name, folder in artifacts.items()}
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
    for name in ("model for vectors", "adapter for vectors"):
        query, passage = (row.value for row in weitiao.load(artifacts[name]).predict([{"query": "A text."}, {"positive": "Another text."}]))
        assert json.loads(said[name])[0][1] == pytest.approx(sum(a * b for a, b in zip(query, passage, strict=True)), abs=1e-4)
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
