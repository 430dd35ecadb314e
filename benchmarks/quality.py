"""Quality: recipes trained one after the other, measured before and after on the same rows, beside plain transformers where there is a script.

    python benchmarks/quality.py [NAMES] [--set KEY=VALUE ...] [--out FOLDER] [--no-reference] [--write docs/results.md]

NAMES: recipes of the folder `recipes`, such as banking77; default: all of SETS below. Each leaves FOLDER/NAME.json; one whose recipe
and settings are as they were is not run again, and one that was cut off goes on. --set lays settings over every recipe, such as
data.train_rows=64 train.epochs=1 for a look whether all of them run (choose another FOLDER then). --write puts the table of all
files in FOLDER between the markers in a document, or at its end.

A reference is a script of `rivals` that is given the same rows as texts and labels, tokenizes them itself, and trains with the
settings of the recipe; its predictions are scored by the same metric on the same rows. Data: the folder `shared/data` beside the project.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from weitiao.core import fingerprint, tagging
from weitiao.core.contracts import IGNORED, Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.report import before_said, digits_of, number, p_in_words, title
from weitiao.evaluation import score
from weitiao.training.prepare import prepare

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
SETS = {
    "quickstart": "BBC topics",
    "sst2": "SST-2, GLUE's settings",
    "sst2_recommended": "SST-2, as we would tune it",
    "financial_phrasebank": "Financial PhraseBank",
    "ag_news": "AG News (2,660 rows)",
    "banking77": "Banking77",
    "bitext_customer_service": "Bitext customer service",
    "chnsenticorp_gemma3": "ChnSentiCorp",
    "thucnews_titles": "THUCNews titles",
    "continual_zh_shopping": "Online shopping, five domains",
    "continual_1_yelp": "Yelp (600 rows)",
    "continual_2_amazon": "Amazon (600 rows)",
    "continual_3_dbpedia": "DBpedia (1,120 rows)",
    "continual_4_agnews": "AG News (600 rows)",
    "continual_5_imdb": "IMDB (400 rows)",
    "semeval2010_task8": "SemEval-2010 task 8",
    "conll2003": "CoNLL-2003",
    "wnut17": "WNUT 2017",
    "weibo_ner": "Weibo",
    "resume_ner": "Resumes",
    "squad_v1": "SQuAD 1.1 (2,881 questions)",
    "squad_v2": "SQuAD 2.0 (with 1.1)",
    "cmrc2018": "CMRC 2018",
    "boolq": "BoolQ (1,200 rows)",
    "copa": "COPA",
    "commonsenseqa": "CommonsenseQA",
    "banking77_embedding": "Banking77, retrieval",
    "movielens": "MovieLens, next film",
    "multi30k_en_de": "Multi30k",
    "tatoeba_en_zh": "Tatoeba",
    "dialogsum": "DialogSum",
    "scitldr": "SciTLDR",
    "csl_title_zh": "CSL titles",
    "gsm8k": "GSM8K (300 rows)",
    "humaneval": "HumanEval",
    "sst2_controlled": "SST-2, sentiment asked for",
    "squad_v1_generative": "SQuAD 1.1, answered in words",
    "toolcall_glaive": "Calls of functions (glaive)",
    "kdconv_travel": "KdConv, travel",
}
"""Recipe -> the set as the table names it, in the order of the table."""
REFERENCES = {
    "sst2": "reference_classify.py",
    "banking77": "reference_classify.py",
    "semeval2010_task8": "reference_classify.py",
    "conll2003": "reference_tokens.py",
    "weibo_ner": "reference_tokens.py",
    "squad_v1": "reference_questions.py",
    "multi30k_en_de": "reference_answers.py",
    "dialogsum": "reference_answers.py",
}
"""Recipe -> the script of `rivals` that does the same. These recipes name a learning rate and choose nothing on dev."""
KEPT = ("task", "model", "method", "split", "rows", "main_metric", "before_is", "steps", "train_seconds", "total_seconds", "peak_memory_gb", "weitiao")
BEFORE = {"model": "the model", "head_only": "linear head", "first_sentence": "first sentence or no answer"}
"""What before is, in the words of the table."""
BEGIN, END = "<!-- quality: written by benchmarks/quality.py -->", "<!-- end of quality -->"
HEADER = ("set", "task", "model", "method", "rows: train, proof", "metric", "before", "after", "p", "trivial", "minutes", "GB", "transformers alone")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAMES")
    parser.add_argument("--set", nargs="+", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=HERE / "quality", metavar="FOLDER")
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if not (RECIPES / f"{name}.yaml").is_file()]:
        parser.error(f"there is no recipe {unknown[0]}; known: {', '.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))}")
    asked.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in asked.names or SETS:
        try:
            measure(name, asked.overrides, asked.out, reference=not asked.no_reference)
        except Failed as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    lines = table(sorted(asked.out.glob("*.json"), key=lambda path: order(path.stem)))
    print("\n".join(lines))
    if asked.write is not None:
        write(asked.write, lines)
    return 1 if failed else 0


class Failed(Exception):
    """A run ended with an error; the others go on."""


def measure(name: str, overrides: Sequence[str], out: Path, *, reference: bool) -> None:
    """Write what is missing in the file of a recipe; begin it anew where recipe or settings are others."""
    file, recipe = out / f"{name}.json", RECIPES / f"{name}.yaml"
    asked = {"recipe": yaml.safe_load(recipe.read_text(encoding="utf-8")), "overrides": list(overrides)}
    hashed = fingerprint.of_json(asked)
    row = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if row.get("hash") != hashed:
        row = {"name": name, "hash": hashed, **asked}
    trains = "train" in asked["recipe"]["data"] or "sources" in asked["recipe"]["data"]
    steps = {"ours": lambda: ours(recipe, overrides, out / "runs" / f"{name}-{hashed[:8]}") if trains else as_it_is(recipe, overrides)}
    if reference and name in REFERENCES:
        steps["reference"] = lambda: by_reference(recipe, overrides, HERE / "rivals" / REFERENCES[name])
    for side, run in steps.items():
        if side in row:
            print(f"{name}: {side} is there", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {side} ...", file=sys.stderr, flush=True)
        row[side] = run()
        file.write_text(json.dumps(row, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def as_it_is(recipe: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return how good the model of a recipe without training rows is; in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "weitiao", "evaluate", recipe, *overrides, "--json"], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr[-2000:])
    report = json.loads(done.stdout)
    main, scores = next(iter(report["metrics"].items()))
    return {"task": report["task"], "model": report["model"], "main_metric": main, "scores": {"before": scores}, "rows": {"proof": scores["n"]}}


def ours(recipe: Path, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return what a run's report says; in a process of its own, whose memory is the run's."""
    done = subprocess.run(
        [sys.executable, "-m", "weitiao", "train", recipe, *overrides, "--out", folder, "--json"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(done.stderr[-2000:])
    report = json.loads(done.stdout)
    main = report["main_metric"]
    return {
        **{key: report[key] for key in KEPT},
        "scores": report["metrics"][main],
        "baselines": {name: scores[main] for name, scores in report["baselines"].items() if main in scores},
        "machine": report["machine"],
        "hashes": report["hashes"],
    }


def by_reference(recipe: Path, overrides: Sequence[str], script: Path) -> dict[str, Any]:
    """Return the score of a script on the same rows, and what it took."""
    prepared = prepare(Recipe.load(recipe, overrides=overrides))
    task, train, proof = prepared.recipe.task, prepared.data.splits.train, prepared.data.proof
    settings = prepared.recipe.train
    if task.generation:
        chosen = sorted(range(len(proof)), key=lambda n: fingerprint.of_text(proof[n].id))[: task.generated_rows]  # those that weitiao answers
        proof = [proof[n] for n in sorted(chosen)]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        given = answering(prepared, train, proof) if task.generation else {name: plain(task, part) for name, part in (("train", train), ("proof", proof))}
        rows.write_text(json.dumps(given), encoding="utf-8")
        options = {
            "model": prepared.located.place,
            "rows": rows,
            **({} if task.generation else {"max-length": task.max_length}),
            **(of_lora(prepared.recipe.method) if prepared.recipe.method.name == "lora" else {}),
            **(of_answers(prepared) if task.generation else {}),
            **({"labels": len(task.labels)} if script.name == "reference_classify.py" else {}),
            **({"doc-stride": task.doc_stride} if script.name == "reference_questions.py" else {}),
            "epochs": settings.epochs,
            "batch": settings.batch_size,
            "rate": settings.learning_rate,
            "decay": settings.weight_decay,
            "warmup": settings.warmup_ratio,
            "seed": settings.seed,
        }
        command = [sys.executable, str(script), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    said = [Prediction(row.id, value if task.generation else value_of(task, value)) for row, value in zip(proof, found.pop("predictions"), strict=True)]
    metric = task.metrics()[0]
    return {**found, "metric": metric.name, "score": score.score(metric, said, [row.target for row in proof])}


def answering(prepared: Any, train: Sequence[Any], proof: Sequence[Any]) -> dict[str, Any]:
    """Return rows as token ids: what is read and what is learnt at each position, and the prompts that answers follow."""
    task, tokenizer = prepared.recipe.task, prepared.tokenizer
    learnt = [{"input_ids": list(item.input_ids), "labels": [IGNORED, *item.target[:-1]]} for item in task.encode(train, tokenizer)]
    return {"train": learnt, "proof": [{"prompt": list(prompt)} for prompt in task.prompts(proof, tokenizer)]}


def of_answers(prepared: Any) -> dict[str, Any]:
    """Return the settings of generation for a script."""
    ends = ",".join(map(str, sorted(prepared.tokenizer.ends)))
    return {"max-new-tokens": prepared.recipe.task.generation.max_new_tokens, "ends": ends}


def of_lora(method: Any) -> dict[str, Any]:
    """Return the settings of LoRA for a script."""
    return {"r": method.r, "alpha": method.lora_alpha}


def value_of(task: Any, said: Any) -> Any:
    """Return what a script says of a row as a prediction of the task: a label by its number, entities by their tags, an answer as it is."""
    if isinstance(said, list):
        return [{"type": kind, "start": start, "end": end} for kind, start, end in tagging.entities_of(said)]
    return task.labels[said] if isinstance(said, int) else said


def plain(task: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return rows as texts and labels, two texts for a pair, or as words and tags, or as questions and answers: what a script of transformers begins with."""
    if task.name == "token_classification":
        return [{"words": row.parts, "tags": tagging.tags_of(tagging.entities_of(row.target), len(row.parts))} for row in rows]
    if task.name == "question_answering":
        return [{"question": row.parts[0], "context": row.parts[1], "answers": row.target} for row in rows]
    return [
        {"text": list(row.parts) if task.takes == "pairs" else row.text, "label": label} for row, label in zip(rows, task.encoded_targets(rows), strict=True)
    ]


# ---------------------------------------------------------------- the table


def order(name: str) -> tuple[int, str]:
    names = list(SETS)
    return (names.index(name) if name in names else len(names), name)


def table(files: Sequence[Path]) -> list[str]:
    """Return the lines of the table of all files that hold a run."""
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    lines = [" | ".join(cells(row)) for row in rows if "ours" in row]
    return [f"| {line} |" for line in (" | ".join(HEADER), " | ".join(["---"] * len(HEADER)), *lines)]


def cells(row: dict[str, Any]) -> list[str]:
    found = row["ours"]
    if "after" not in found["scores"]:
        before = found["scores"]["before"]
        was, low, high = (number(before[key], 4) for key in ("value", "low", "high"))
        shown = [
            SETS.get(row["name"], row["name"]),
            found["task"],
            found["model"],
            "none",
            f"0, {found['rows']['proof']:,} (test)",
            title(found["main_metric"]),
        ]
        return [*shown, f"{was} ({low} to {high})", *[""] * 6]
    scores, before_is = found["scores"], found["before_is"]
    trivial = next((value["value"] for name, value in found["baselines"].items() if name != "head_only"), None)
    reference = row.get("reference")
    beside = [scores["before"]["value"], *(scores["after"][key] for key in ("value", "low", "high"))]
    digits = digits_of(beside, usual=4)
    was, now, low, high = (number(value, digits) for value in beside)
    return [
        SETS.get(row["name"], row["name"]),
        found["task"],
        found["model"],
        found["method"],
        f"{found['rows']['train']:,}, {found['rows']['proof']:,} ({found['split']})",
        title(found["main_metric"]),
        f"{was} ({BEFORE.get(before_is, before_said(before_is))})",
        f"**{now}** ({low} to {high})",
        p_in_words(scores["p_value"]).removeprefix("p ").removeprefix("= "),
        "" if trivial is None else number(trivial, digits),
        f"{found['train_seconds'] / 60:.1f}",
        f"{found['peak_memory_gb']:.2f}",
        "" if reference is None else told(reference, digits),
    ]


def told(reference: dict[str, Any], digits: int) -> str:
    value, low, high = (number(reference["score"][key], digits) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high}), {reference['train_seconds'] / 60:.1f} minutes"


def write(document: Path, lines: Sequence[str]) -> None:
    """Put the table between the markers of a document; at its end where it has none."""
    text = document.read_text(encoding="utf-8")
    block = "\n".join([BEGIN, *lines, END])
    if BEGIN in text and END in text:
        text = text[: text.index(BEGIN)] + block + text[text.index(END) + len(END) :]
    else:
        text = f"{text.rstrip()}\n\n## Set by set\n\n{block}\n"
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
