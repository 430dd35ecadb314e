"""Scores with n and interval, tied by hash to an artifact and to rows, and the sentence they add up to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

SIGNIFICANT = 0.05
"""A change counts as proven below this p-value."""
TITLES = {
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "loss": "Loss per token",
    "bleu": "BLEU",
    "chrf": "chrF2",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "length_ratio": "Length beside the reference",
    "stop_rate": "Share ended by itself",
    "distinct_2": "Distinct word pairs",
    "answer_length": "Answer length (tokens)",
}
"""Metric -> what it is called where its name says too little."""
UNITS = {
    "loss": "nats per token",
    "stop_rate": "of answers",
    "distinct_2": "of word pairs",
    "length_ratio": "of the reference's words",
    "answer_length": "tokens",
}
"""Metric -> what its numbers count, where a table shows the name as a recipe writes it."""


BEFORE = {
    "model": "the model as it came",
    "head_only": "a linear head on the untouched model",
    "majority": "the same answer for every row",
    "copy": "the text itself",
    "lead": "the first sentences of the text",
}
"""What a report's `before_is` and its baselines mean; a task may name others, which say what they are."""


def before_said(before_is: str) -> str:
    """Return in words what stands as before."""
    return BEFORE.get(before_is, before_is.replace("_", " "))


def verdict(metric: str, entry: Mapping[str, Any], *, before_is: str, split: str, majority: float | None = None) -> dict[str, str]:
    """Return level (better, worse, not proven) and one sentence for the main metric's entry."""
    before, after, change = entry["before"], entry["after"], entry["difference"]
    p = entry["p_value"]
    gained = change["value"] if entry["higher_is_better"] else -change["value"]
    level = "not proven" if p >= SIGNIFICANT or gained == 0 else "better" if gained > 0 else "worse"
    verb = "stayed at" if change["value"] == 0 else "rose" if change["value"] > 0 else "fell"
    both = (before["value"], after["value"])
    was, now = (number(value, digits_of([value], beside=both)) for value in both)
    start = f"{title(metric)} stayed at {was}" if verb == "stayed at" else f"{title(metric)} {verb} from {was} to {now}"
    if metric == "loss" and verb != "stayed at":
        start += f" (perplexity {' to '.join(number(v, digits_of([v])) for v in map(_exp, both))})"
    fine = digits_of_change(change, digits_of(both))
    moved, low, high = (number(change[key], fine, signed=True) for key in ("value", "low", "high"))
    baseline = "" if before_is == "model" else f" (before: {before_said(before_is)})"
    sentence = f"{start} on {after['n']} {split} rows{baseline}; change {moved}, 95\u00a0% interval {low} to {high}, {p_in_words(p)}."
    if level == "not proven":
        sentence += " That may be chance."
    if majority is not None:
        sentence += f" The same answer for every row would score {number(majority, digits_of([majority], beside=both))}."
    return {"level": level, "sentence": sentence}


def p_in_words(p: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def title(metric: str) -> str:
    """Return a metric's name as it begins a sentence."""
    return TITLES.get(metric) or metric.replace("_", " ").capitalize()


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


# ---------------------------------------------------------------- numbers


def digits_of(values: Iterable[float], *, beside: Iterable[float] = (), usual: int = 3) -> int:
    """Return how many decimals tell such values apart: `usual` for shares, fewer for large numbers, more for tiny ones.

    beside: values in the same line, whose decimals are taken unless they would hide these.
    """
    own, others = _digits(values, usual), list(beside)
    common = min(own, _digits(others, usual)) if others else own
    return own if own - common > 1 else common


def _digits(values: Iterable[float], usual: int) -> int:
    largest = max(map(abs, values), default=0.0)
    magnitude = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
    return max(0, usual - magnitude) if magnitude >= 1 else min(8, usual - 1 - magnitude) if magnitude < -1 else usual


def digits_of_change(change: Mapping[str, float], usual: int) -> int:
    """Return the decimals of a difference: as many as the scores have, or more where its interval is narrow."""
    width = abs(change.get("high", 0.0) - change.get("low", 0.0))
    return max(usual, min(8, 1 - math.floor(math.log10(width)))) if 0 < width < math.inf else usual


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Return a number with that many decimals, thousands apart; what no one would read in full as a power of ten."""
    if abs(value) >= 1e9:
        return f"{value:{'+' if signed else ''}.2e}"
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text if float(text.replace(",", "")) else text.lstrip("+-")


# ---------------------------------------------------------------- the model card


def card(report: Mapping[str, Any]) -> str:
    """Return the model card (README.md of an artifact), written from the report."""
    lines = [
        "---",
        "library_name: transformers" if report["opens_with"]["folder"] == "model" else "library_name: peft",
        "tags: [weitiao]",
        "---",
        "",
        f"# {report['name']}",
        "",
        f"{report['verdict']['sentence']}",
        "",
        "| metric | before | after | 95 % interval | p-value | n |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in report["metrics"].items():
        before, after = entry["before"], entry["after"]
        beside = [before["value"], *(after[key] for key in ("value", "low", "high"))]
        was, now, low, high = (number(value, digits_of([value], beside=beside, usual=4)) for value in beside)
        lines.append(f"| {title(name)} | {was} | {now} | {low} to {high} | {entry['p_value']:.4g} | {after['n']} |")
    signed = [f"{title(name)} as sacrebleu counts it: `{entry['signature']}`." for name, entry in report["metrics"].items() if entry.get("signature")]
    lines += [
        "",
        *([" ".join(signed), ""] if signed else []),
        f"Before is {before_said(report['before_is'])}. Proof rows: {report['split']} ({report['split_said']})."
        + (" The best weights were chosen on these same rows." if report["selected_on_same_rows"] else ""),
        "",
        f"Made from `{report['model']}` by {report['method']} on {report['rows']['train']} rows; "
        f"{report['parameters']['trainable']:,} of {report['parameters']['total']:,} parameters trained.",
        "",
        "In this folder:",
        "",
        "```python",
        *snippet(report["opens_with"], report["recipe"]["task"]),
        "```",
        "",
        f"The hash of this artifact is `{report['hashes']['artifact']}`; `recipe.yaml` says how it was made.",
        "",
    ]
    return "\n".join(lines)


def snippet(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    """Return lines of Python that use an artifact with plain transformers or PEFT, run in its folder.

    opens: `opens_with` of a report. task: the settings of the task.
    """
    ways = {
        "AutoModelForSequenceClassification": _classifies,
        "AutoModelForCausalLM": _answers if opens["takes"] in ("conversations", "prompts") else _continues,
        "AutoModelForSeq2SeqLM": _rewrites,
        "AutoModelForMaskedLM": _fills,
    }
    return ways.get(opens["auto_class"], _opened)(opens, task)


def _opened(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    """Return the lines that open tokenizer and model."""
    name = opens["auto_class"]
    if opens["folder"] == "model":
        return [
            f"from transformers import {name}, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained("model")',
            f'model = {name}.from_pretrained("model")',
        ]
    kind = name.replace("AutoModel", "AutoPeftModel")
    labels = f"num_labels={opens['num_labels']}, " if "num_labels" in opens else ""
    return [
        f"from peft import {kind}",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("tokenizer")',
        f'model = {kind}.from_pretrained("adapter", {labels}dtype="float32")  # the precision it was measured in',
    ]


def _classifies(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    several = opens.get("problem_type") == "multi_label_classification"
    text = "The {} pilot {} flew the {} plane {}.".format(*task["markers"]) if opens["takes"] == "relations" else "A text."
    if opens["folder"] == "model" and opens["takes"] != "pairs":
        every = ", top_k=None" if several else ""
        return [
            "from transformers import pipeline",
            "",
            f'classify = pipeline("text-classification", model="model", truncation=True{every})  # this folder\'s `model/`',
            f"print(classify({json.dumps(text, ensure_ascii=False)}))",
        ]
    said = [f"labels = {json.dumps(task['labels'], ensure_ascii=False)}"] if task.get("labels") else []
    if several:
        said.append(f"print([label for label, p in zip(labels, logits[0].sigmoid().tolist()) if p >= {task['threshold']}])")
    else:
        said.append("print(labels[int(logits.argmax())])" if said else "print(float(logits))")
    return [
        "import torch",
        *_opened(opens, task),
        *(_paired(opens) if opens["takes"] == "pairs" else [_asked(json.dumps(text, ensure_ascii=False), token_types=False)]),
        "with torch.inference_mode():",
        "    logits = model.eval()(**inputs).logits",
        *said,
    ]


def _asked(texts: str, *, token_types: bool) -> str:
    return f'inputs = tokenizer({texts}, truncation=True, return_tensors="pt", return_token_type_ids={token_types})'


def _paired(opens: Mapping[str, Any]) -> list[str]:
    """Return the lines that turn two texts into the inputs of a model: its tokenizer's own form of a pair, or a line break between them."""
    frame = opens["frame"]
    if frame is None:
        return [_asked('"A text.", "Another text."', token_types=opens["token_types"])]
    before, between, after = ("".join(f"{token}, " for token in frame[name]) for name in ("before", "between", "after"))
    return [
        'first, second = tokenizer(["A text.", "Another text."], add_special_tokens=False)["input_ids"]',
        f'inputs = {{"input_ids": torch.tensor([[{before}*first, {between}*second, {after}]])}}'.replace(", ]", "]"),
    ]


def _answers(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    told = [{"role": "system", "content": task["system"]}] if task.get("system") else []
    asked = {"role": "user", "content": _prompted(task) if opens["takes"] == "prompts" else "What can you do for me?"}
    return [
        *_opened(opens, task),
        f"turns = {json.dumps([*told, asked], ensure_ascii=False)}",
        'inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        *_generated(opens, int(task.get("max_new_tokens", 256)), int(task.get("num_beams", 1))),
        'print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _rewrites(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    return [
        *_opened(opens, task),
        f'inputs = tokenizer({json.dumps(_prompted(task), ensure_ascii=False)}, return_tensors="pt")',
        *_generated(opens, int(task["max_new_tokens"]), int(task["num_beams"])),
        "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]


def _prompted(task: Mapping[str, Any]) -> str:
    return str(task["prompt"]).replace("{text}", "A text.")


def _continues(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    return [
        *_opened(opens, task),
        'inputs = tokenizer("The", return_tensors="pt")',
        *_generated(opens, 40),
        "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]


def _generated(opens: Mapping[str, Any], most: int, beams: int = 1) -> list[str]:
    more = (f", num_beams={beams}" if beams > 1 else "") + (f", eos_token_id={opens['ends']}" if opens.get("ends") else "")
    return [
        "ids = model.generate(",
        f'    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens={most}, do_sample=False{more}',
        ")",
    ]


def _fills(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    asked = 'print(fill(f"The {fill.tokenizer.mask_token} is here.")[0]["sequence"])'
    if opens["folder"] == "model":
        return ["from transformers import pipeline", "", 'fill = pipeline("fill-mask", model="model")', asked]
    return [
        "from peft import PeftConfig, PeftModel",
        "from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline",
        "",
        'base = AutoModelForMaskedLM.from_pretrained(PeftConfig.from_pretrained("adapter").base_model_name_or_path, dtype="float32")',
        'model = PeftModel.from_pretrained(base, "adapter").merge_and_unload()',
        'fill = pipeline("fill-mask", model=model, tokenizer=AutoTokenizer.from_pretrained("tokenizer"))',
        asked,
    ]
