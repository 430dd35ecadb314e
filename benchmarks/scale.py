"""How time and memory grow with the work: charts over rows, length, model size, classes and vocabulary.

    python benchmarks/scale.py [rows length model classes vocabulary] [--kept FILE] [--draw PICTURE]

Every point is a run of weitiao in a fresh process, on random models and synthetic rows; it is appended to FILE, and a point
that FILE holds already is not run again. With --draw the charts are drawn from FILE. Times mean something only on an idle machine.

rows: rows that a plan reads, splits and tokenizes. length: tokens of a row, the same number of tokens in all; a Llama of six
layers as wide as SmolLM2-135M. model: parameters of a Llama, LoRA on rows of 256 tokens. classes: outputs of a BERT-shaped
classifier of 256 wide, each class with at least one row. vocabulary: of a Llama of four
layers, 640 wide as Gemma 3 270M, its output embedding tied; LoRA.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POINTS: dict[str, list[int]] = {
    "rows": [1_000, 10_000, 100_000, 1_000_000],
    "length": [256, 512, 1024, 2048, 4096, 8192],
    "model": [5, 25, 80, 135, 360],
    "classes": [2, 100, 1_000, 10_000],
    "vocabulary": [32_000, 65_000, 131_000, 262_000],
}
"""Chart -> where it is measured; `model` in millions of parameters, about."""
SIZES = {5: (192, 4), 25: (384, 8), 80: (512, 20), 135: (576, 30), 360: (960, 32)}
"""Millions of parameters -> width and layers; the last two are shaped as SmolLM2."""
ACROSS = {"rows": "training rows", "length": "tokens in a row", "model": "million parameters", "classes": "classes", "vocabulary": "words in the vocabulary"}


# ------------------------------------------------------------ one point, in its own process


def folder_of(top: Path, config: object, model: type, vocabulary: int) -> str:
    """Write a random model with a tokenizer of whole words, w0 w1 ..., and return its folder."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *map(_word, range(vocabulary - 4))])}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=8192, **names).save_pretrained(top / "model")
    torch.manual_seed(0)
    model(config).save_pretrained(top / "model")
    return str(top / "model")


def _word(n: int) -> str:
    return f"w{n}"


def decoder(top: Path, *, width: int, layers: int, vocabulary: int = 4096, **settings: object) -> str:
    import transformers

    heads = max(1, width // 64)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads if heads % 3 else heads // 3,
        intermediate_size=width * 8 // 3 // 8 * 8,
        max_position_embeddings=8192,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **settings,
    )
    return folder_of(top, config, transformers.LlamaForCausalLM, vocabulary)


def texts(top: Path, *, rows: int, words: int, vocabulary: int) -> dict:
    """Write plain texts and return the data section of their recipe."""
    draw = random.Random(0)
    lines = [json.dumps({"text": " ".join(_word(draw.randrange(vocabulary - 4)) for _ in range(words))}) for _ in range(rows + 2)]
    (top / "rows.jsonl").write_text("\n".join(lines[:rows]))
    (top / "dev.jsonl").write_text("\n".join(lines[rows:]))
    return {"name": "json", "train": str(top / "rows.jsonl"), "dev": str(top / "dev.jsonl")}


def recipe_of(chart: str, point: int, top: Path) -> dict:
    train = {"steps": 3, "batch_size": 8, "dtype": "fp32", "device": "cpu", "learning_rate": 1e-4}
    reading = {"name": "language_modeling", "end_token": False}
    if chart == "length":
        data = texts(top, rows=max(1, 3 * 8192 // point), words=point - 1, vocabulary=4096)
        train |= {"batch_size": max(1, 8192 // point)}
        return {"model": decoder(top, width=576, layers=6), "data": data, "task": {**reading, "max_length": point}, "method": "full", "train": train}
    if chart == "model":
        width, layers = SIZES[point]
        data = texts(top, rows=24, words=255, vocabulary=49_152 if point > 100 else 4096)
        made = decoder(top, width=width, layers=layers, vocabulary=49_152 if point > 100 else 4096, tie_word_embeddings=True)
        return {"model": made, "data": data, "task": {**reading, "max_length": 256}, "method": "lora", "train": train}
    if chart == "vocabulary":
        made = decoder(top, width=640, layers=4, vocabulary=point, tie_word_embeddings=True)
        return {
            "model": made,
            "data": texts(top, rows=24, words=255, vocabulary=point),
            "task": {**reading, "max_length": 256},
            "method": "lora",
            "train": train,
        }
    import transformers

    draw = random.Random(0)
    rows = [{"text": " ".join(_word(draw.randrange(4092)) for _ in range(24)), "label": f"class {n % point}"} for n in range(max(2000, point))]
    for name, some in (("rows", rows), ("dev", rows[:200])):
        (top / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in some))
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024, "pad_token_id": 0}
    made = folder_of(top, transformers.BertConfig(vocab_size=4096, **shape), transformers.BertModel, 4096)
    data = {"name": "json", "train": str(top / "rows.jsonl"), "dev": str(top / "dev.jsonl")}
    return {
        "model": made,
        "data": data,
        "task": {"name": "text_classification", "max_length": 32},
        "method": "full",
        "train": {**train, "steps": 20, "batch_size": 32},
    }


def child(chart: str, point: int) -> None:
    """Run one point and print what it took."""
    import weitiao

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        recipe = {**recipe_of(chart, point, Path(folder)), "evaluate": {"best": False}}
        report = weitiao.train(recipe, out=f"{folder}/run", recorders=[])
    found = {"tokens_per_second": report["tokens_seen"] / report["train_seconds"], "gb": report["peak_memory_gb"], "parameters": report["parameters"]["total"]}
    print(json.dumps(found))


def planned(point: int) -> dict:
    """Return seconds and memory of a plan over so many rows; the cache begins empty."""
    from scale_rows import planned, write

    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        write(top / "rows.csv", point)
        (top / "recipe.yaml").write_text("model: minilm\ndata: {name: csv, train: rows.csv}\ntask: text_classification\n", encoding="utf-8")
        began = time.monotonic()
        _, peak = planned(top / "recipe.yaml", top / "home")
        return {"seconds": time.monotonic() - began, "gb": peak}


# ------------------------------------------------------------ all points, and their picture


def measured(kept: Path, chart: str, point: int) -> dict:
    known = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.is_file() else []
    for line in known:
        if (line["chart"], line["at"]) == (chart, point):
            return line
    if chart == "rows":
        found = planned(point)
    else:
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "HF_HOME": home, "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, "-W", "ignore", __file__, "--child", chart, str(point)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{chart} {point}: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout.splitlines()[-1])
    line = {"chart": chart, "at": point, **found}
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return line


def draw(lines: list[dict], picture: Path) -> None:
    """Draw one column per chart: time above, memory below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    charts = [chart for chart in POINTS if any(line["chart"] == chart for line in lines)]
    figure, axes = pyplot.subplots(2, len(charts), figsize=(3.1 * len(charts), 5.2), squeeze=False, layout="constrained")
    for column, chart in enumerate(charts):
        some = sorted((line for line in lines if line["chart"] == chart), key=lambda line: line["at"])
        at = [round(line["parameters"] / 1e6) if chart == "model" else line["at"] for line in some]
        time_said = "seconds to the plan" if chart == "rows" else "tokens a second"
        values = [line["seconds"] if chart == "rows" else line["tokens_per_second"] for line in some]
        for axis, drawn, said, colour in (
            (axes[0][column], values, time_said, "#0072b2"),
            (axes[1][column], [line["gb"] for line in some], "peak GB", "#d55e00"),
        ):
            axis.plot(at, drawn, marker="o", color=colour)
            axis.set(xscale="log", ylim=(0, max(drawn) * 1.15), ylabel=said)
            axis.set_xticks(at, [f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:.0f}k" if n >= 1000 else f"{n:g}" for n in at], rotation=45)
            axis.minorticks_off()
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0][column].set_title(chart)
        axes[1][column].set_xlabel(ACROSS[chart])
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("charts", nargs="*", default=list(POINTS), help="which charts; all of them where none is named")
    parser.add_argument("--kept", type=Path, default=Path("scale.jsonl"))
    parser.add_argument("--draw", type=Path, default=None)
    asked = parser.parse_args()
    lines = []
    for chart in asked.charts:
        for point in POINTS[chart]:
            lines.append(measured(asked.kept, chart, point))
            print(lines[-1], flush=True)
    if asked.draw:
        draw(lines, asked.draw)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
