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
    masked, t5 = tiny_language.build(root / "masked", "bert"), tiny_language.build(root / "t5", "t5")
    write_csv(root / "labels.csv", sentences(60))
    write_csv(root / "several.csv", [(text, f'"{label},odd"' if n % 3 else label) for n, (text, label) in enumerate(sentences(60))])
    write_csv(root / "numbers.csv", [(text, f"{n % 7}.5") for n, (text, _) in enumerate(sentences(60))])
    (root / "chat.json").write_text(json.dumps(tiny_language.dialogues(40)))
    (root / "pairs.json").write_text(
        json.dumps([{"premise": t, "hypothesis": "a day", "label": label, "score": n % 7} for n, (t, label) in enumerate(sentences(60))])
    )
    (root / "translations.json").write_text(json.dumps(tiny_language.pairs(40)))
    (root / "texts.json").write_text(json.dumps([{"text": text} for text in tiny_language.texts(60)]))
    classify = {"name": "text_classification", "max_length": 32}
    pairs = {"name": "text_pair", "max_length": 32}
    chat = {"name": "chat", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "system": 'Say "yes", or\nno.'}

    translate = {"name": "translation", "max_length": 64, "max_new_tokens": 12, "generate_rows": 2, "num_beams": 2}

    def made(name: str, model: Path, data: str, task: dict[str, Any], method: Any, **columns: str) -> Path:
        source = {"name": "csv" if data.endswith("csv") else "json", "train": str(root / data), **columns}
        report = weitiao.train(model=str(model), data=source, task=task, method=method, train=TRAIN, out=root / name.replace(" ", "-"))
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
        "model for pairs": made("model for pairs", bert, "pairs.json", pairs, "full"),
        "adapter for pairs": made("adapter for pairs", llama, "pairs.json", pairs, LORA),
        "adapter for a number of pairs": made(
            "adapter for a number of pairs", bert, "pairs.json", {**pairs, "problem_type": "regression"}, LORA, label="score"
        ),
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
    pair = {"premise": "A text.", "hypothesis": "Another text."}
    for name in ("model for pairs", "adapter for pairs"):
        assert said[name] == weitiao.load(artifacts[name]).predict([pair])[0].value
    assert "tokenizer([" in code_of(artifacts["adapter for pairs"]), "where the tokenizer has no form for pairs the card shows ours"
    number = weitiao.load(artifacts["adapter for a number of pairs"]).predict([pair])[0].value
    assert float(said["adapter for a number of pairs"]) == pytest.approx(number, abs=1e-4)
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
        assert opens["takes"] == next((kind for kind in ("conversations", "pairs", "prompts") if kind in name), "texts")
