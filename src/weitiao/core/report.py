"""Scores with n and interval, tied by hash to an artifact and to rows, and the sentence they add up to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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
    "rouge_l": "ROUGE-L",
    "stop_rate": "Share ended by itself",
    "distinct_2": "Distinct word pairs",
    "answer_length": "Answer length (tokens)",
    "has_answer_exact_match": "Exact match where there is an answer",
    "has_answer_f1": "F1 where there is an answer",
    "no_answer_exact_match": "Exact match where there is none",
}
"""Metric -> what it is called where its name says too little."""
UNITS = {
    "loss": "nats per token",
    "stop_rate": "of answers",
    "distinct_2": "of word pairs",
    "answer_length": "tokens",
}
"""Metric -> what its numbers count, where a table shows the name as a recipe writes it."""


BEFORE = {
    "model": "the model as it came",
    "head_only": "the frozen model with a linear head fitted on its features",
    "majority": "the same answer for every row",
    "blind_choice": "always the longest option, or always the one that stands where the right one does most often, whichever is better on train",
    "first_sentence": "the first sentence of every text, or no answer where that is right more often on train",
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
    lines += [
        "",
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
        "AutoModelForCausalLM": _answers if opens["takes"] == "conversations" else _continues,
        "AutoModelForMaskedLM": _fills,
    }
    tasks = {"question_answering": _finds, "multiple_choice": _chooses}
    if task.get("name") in tasks:
        return tasks[task["name"]](opens, task)
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
    if opens["folder"] == "model":
        every = ", top_k=None" if several else ""
        return [
            "from transformers import pipeline",
            "",
            f'classify = pipeline("text-classification", model="model", truncation=True{every})  # this folder\'s `model/`',
            'print(classify("A text."))',
        ]
    said = [f"labels = {json.dumps(task['labels'], ensure_ascii=False)}"] if task.get("labels") else []
    if several:
        said.append(f"print([label for label, p in zip(labels, logits[0].sigmoid().tolist()) if p >= {task['threshold']}])")
    else:
        said.append("print(labels[int(logits.argmax())])" if said else "print(float(logits))")
    return [
        "import torch",
        *_opened(opens, task),
        'inputs = tokenizer("A text.", truncation=True, return_tensors="pt", return_token_type_ids=False)',
        "with torch.inference_mode():",
        "    logits = model.eval()(**inputs).logits",
        *said,
    ]


def _answers(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    told = [{"role": "system", "content": task["system"]}] if task.get("system") else []
    asked = {"role": "user", "content": "What can you do for me?"}
    return [
        *_opened(opens, task),
        f"turns = {json.dumps([*told, asked], ensure_ascii=False)}",
        'inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        *_generated(opens, int(task.get("max_new_tokens", 256))),
        'print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _continues(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    return [
        *_opened(opens, task),
        'inputs = tokenizer("The", return_tensors="pt")',
        *_generated(opens, 40),
        "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]


def _generated(opens: Mapping[str, Any], most: int) -> list[str]:
    ends = f", eos_token_id={opens['ends']}" if opens.get("ends") else ""
    return [
        "ids = model.generate(",
        f'    inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens={most}, do_sample=False{ends}',
        ")",
    ]


def _finds(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    pair = opens["pair"]
    merged = ["model = model.merge_and_unload()  # PEFT's own model for question answering drops token_type_ids"]
    asked = [
        "import torch",
        *_opened(opens, task),
        *(merged if opens["folder"] == "adapter" else []),
        'question, context = "Who wrote the first program?", "The first program was written by Ada Lovelace in 1843."',
    ]
    if pair["own"]:
        types = f", return_token_type_ids={pair['token_types']}"
        asked += [
            f'inputs = tokenizer(question, context, truncation="only_second", return_offsets_mapping=True{types}, return_tensors="pt")',
            'places = inputs.pop("offset_mapping")[0].tolist()',
            "own = [n for n, text in enumerate(inputs.sequence_ids(0)) if text == 1]",
        ]
        none = 0
    else:
        asked += [
            'asked = tokenizer(question, add_special_tokens=False)["input_ids"]',
            "text = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)",
            f"ahead = {_joined(pair['before'], '*asked', pair['between'])}",
            'places = [(0, 0)] * len(ahead) + text["offset_mapping"]',
            "own = range(len(ahead), len(places))",
            f"inputs = {{'input_ids': torch.tensor([{_joined('*ahead', '*text.input_ids', pair['closing'])}])}}",
        ]
        none = -1 if pair["closing"] else 0
    if opens["auto_class"] == "AutoModelForQuestionAnswering":
        said = ["    said = model.eval()(**inputs)", "start, end = said.start_logits[0].tolist(), said.end_logits[0].tolist()"]
    else:  # a text classifier asked at every token
        said = ["    start, end = model.score(model.eval().base_model(**inputs).last_hidden_state)[0].T.tolist()"]
    answer = "context[places[first][0] : places[last][1]].strip()"
    if task.get("no_answer"):
        ahead = f"start[{none}] + end[{none}] - score > {task.get('no_answer_threshold') or 0.0}"
        answer = f'"(no answer)" if {ahead} else {answer}'
    return [
        *asked,
        "with torch.inference_mode():",
        *said,
        f"score, first, last = max((start[i] + end[j], i, j) for i in own for j in own if i <= j < i + {task['max_answer_tokens']})",
        f"print({answer})",
    ]


def _chooses(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    pair = opens["pair"]
    asked = [
        "import torch",
        *_opened(opens, task),
        'question, options = "What do people wear on their feet?", ["shoes", "a hat", "soup for two"]',
        "scores = []",
        "with torch.inference_mode():",
        "    for option in options:",
    ]
    if task["score"] == "likelihood":
        divided = {"none": "", "tokens": " / int(own.sum())", "bytes": ' / len(option.encode("utf-8"))'}[task["normalize"]]
        asked += [
            f"        stem = {json.dumps(task['prompt'].removesuffix('{option}'), ensure_ascii=False)}.replace('{{question}}', question)",
            '        inputs = tokenizer(stem + option, return_offsets_mapping=True, return_tensors="pt")',
            '        own = inputs.pop("offset_mapping")[0, 1:, 1] > len(stem.rstrip())  # the tokens of the option',
            "        said = model.eval()(**inputs).logits[0, :-1].log_softmax(-1)",
            f"        scores.append(float(said.gather(1, inputs.input_ids[0, 1:, None])[own].sum()){divided})",
        ]
    elif pair["own"]:
        asked += [
            f'        inputs = tokenizer(question, option, return_token_type_ids={pair["token_types"]}, return_tensors="pt")',
            "        scores.append(float(model.eval()(**inputs).logits))",
        ]
    else:
        asked += [
            "        first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in (question, option))",
            f"        ids = torch.tensor([{_joined(pair['before'], '*first', pair['between'], '*second', pair['after'])}])",
            "        scores.append(float(model.eval()(input_ids=ids).logits))",
        ]
    return [*asked, "print(options[scores.index(max(scores))])"]


def _joined(*parts: str | Sequence[int]) -> str:
    """Return a list of token ids as Python writes it; texts are names in it."""
    return f"[{', '.join(piece for part in parts for piece in ([part] if isinstance(part, str) else map(str, part)))}]"


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
