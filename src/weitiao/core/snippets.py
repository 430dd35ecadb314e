"""Python that uses an artifact without weitiao: what its card shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def snippet(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    """Return lines of Python that use an artifact with plain transformers or PEFT, run in its folder.

    opens: `opens_with` of a report. task: the settings of the task.
    """
    ways = {
        "AutoModelForSequenceClassification": _classifies,
        "AutoModelForCausalLM": _answers if opens["takes"] in ("conversations", "prompts") else _continues,
        "AutoModelForSeq2SeqLM": _rewrites,
        "AutoModelForMaskedLM": _fills,
        "AutoModel": _embeds,
    }
    of_tasks = {"question_answering": _finds, "multiple_choice": _chooses, "token_classification": _tags, "code_generation": _completes}
    return of_tasks.get(task["name"], ways.get(opens["auto_class"], _opened))(opens, task)


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
    if opens.get("needs") == "weitiao":
        return [
            "import weitiao",
            "from transformers import AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained("tokenizer")',
            'model = weitiao.load(".").model  # a model of transformers with something of weitiao in it',
        ]
    if opens["folder"] == "delta":
        return _with_delta(opens, name)
    kind = "AutoPeftModelForFeatureExtraction" if name == "AutoModel" else name.replace("AutoModel", "AutoPeftModel")
    labels = f"num_labels={opens['num_labels']}, " if "num_labels" in opens else ""
    return [
        f"from peft import {kind}",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("tokenizer")',
        f'model = {kind}.from_pretrained("adapter", {labels}dtype="float32")  # the precision it was measured in',
    ]


def _in_peft(opens: Mapping[str, Any]) -> bool:
    """Tell whether the model comes inside an object of PEFT."""
    return bool(opens["folder"] == "adapter") and "needs" not in opens


def _with_delta(opens: Mapping[str, Any], name: str) -> list[str]:
    """Return the lines that put what was trained onto the base model."""
    labels = f", num_labels={opens['num_labels']}" if "num_labels" in opens else ""
    put = ['model.load_state_dict(load_file("delta/delta.safetensors"), strict=False)']
    if opens["delta"] == "entries":
        put = [
            'changed = load_file("delta/delta.safetensors")',
            "for key, tensor in changed.items():",
            '    name, _, axis = key.rpartition(".at.")  # entries of a tensor, chosen along one of its axes or as in a flat list',
            "    if name:",
            '        whole = model.get_parameter(name).data.view(-1) if axis == "flat" else model.get_parameter(name).data',
            '        whole.index_copy_(0 if axis == "flat" else int(axis), tensor.long(), changed[f"{name}.values"])',
            '    elif not key.endswith(".values"):',
            "        model.get_parameter(key).data.copy_(tensor)",
        ]
    return [
        "import json",
        "",
        "from safetensors.torch import load_file",
        f"from transformers import {name}, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("tokenizer")',
        'base = json.load(open("delta/delta.json"))["base"]',
        f'model = {name}.from_pretrained(base{labels}, dtype="float32")',
        *put,
    ]


def _classifies(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    several = opens.get("problem_type") == "multi_label_classification"
    text = _marked(task) if opens["takes"] == "relations" else "A text."
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


def _marked(task: Mapping[str, Any]) -> str:
    """Return a text whose two entities are marked as the task marks them."""
    opening, closing, second, end = task["markers"]
    types = ("* person * ", "^ vehicle ^ ") if task["entity_types"] else ("", "")
    return f"The {opening} {types[0]}pilot {closing} flew the {second} {types[1]}plane {end} ."


def _asked(texts: str, *, token_types: bool) -> str:
    return f'inputs = tokenizer({texts}, truncation=True, return_tensors="pt", return_token_type_ids={token_types})'


def _paired(opens: Mapping[str, Any]) -> list[str]:
    """Return the lines that turn two texts into the inputs of a model: its tokenizer's own form of a pair, or a line break between them."""
    pair = opens["pair"]
    if pair["own"]:
        return [_asked('"A text.", "Another text."', token_types=pair["token_types"])]
    ids = _joined(pair["before"], "*first", pair["between"], "*second", pair["after"])
    return [
        'first, second = tokenizer(["A text.", "Another text."], add_special_tokens=False)["input_ids"]',
        f'inputs = {{"input_ids": torch.tensor([{ids}])}}',
    ]


def _tags(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    if opens["folder"] == "model" and opens["auto_class"] == "AutoModelForTokenClassification":
        whole = "" if task["scheme"] == "plain" else ', aggregation_strategy="first"'
        return [
            "from transformers import pipeline",
            "",
            f'tag = pipeline("token-classification", model="model"{whole})  # this folder\'s `model/`',
            'for found in tag("Ada Lovelace was born in London."):',
            '    print(found["word"], found.get("entity_group") or found["entity"], round(float(found["score"]), 3))',
        ]
    inside = "model.eval().get_base_model()" if _in_peft(opens) else "model.eval()"
    asked = ["    logits = model.eval()(**inputs).logits[0]"]
    if opens["auto_class"] == "AutoModelForSequenceClassification":
        asked = [
            f"    classifier = {inside}  # its architecture has no head for words: the one for texts is asked at every token",
            "    logits = classifier.score(classifier.base_model(**inputs).last_hidden_state)[0]",
        ]
    return [
        "import torch",
        *_opened(opens, task),
        f"labels = {json.dumps(task['labels'], ensure_ascii=False)}",
        'inputs = tokenizer("Ada Lovelace was born in London.", return_tensors="pt", return_token_type_ids=False)',
        "with torch.inference_mode():",
        *asked,
        'for token, best in zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), logits.argmax(-1).tolist()):',
        "    print(token, labels[best])  # the first token of a word has learnt the tag of the word",
    ]


def _answers(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    told = [{"role": "system", "content": task["system"]}] if task.get("system") else []
    asked = {"role": "user", "content": _prompted(task) if opens["takes"] == "prompts" else "What can you do for me?"}
    return [
        *_opened(opens, task),
        f"turns = {json.dumps([*told, asked], ensure_ascii=False)}",
        'inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        *_generated(opens, int(task.get("max_new_tokens", 256)), int(task.get("num_beams", 1)), task.get("stop", ())),
        'print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _completes(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    if opens["auto_class"] != "AutoModelForCausalLM":
        return _rewrites(opens, task)
    before, after = json.dumps(task["prompt"], ensure_ascii=False).split("{text}")
    whole = (f'{before}" + ' if len(before) > 1 else "") + "code" + (f' + "{after}' if len(after) > 1 else "")
    asked = [f'inputs = tokenizer({whole}, return_tensors="pt")']
    if task["template"] != "plain":
        asked = [
            f'turns = [{{"role": "user", "content": {whole}}}, {{"role": "assistant", "content": "```python\\n" + code}}]',
            'inputs = tokenizer.apply_chat_template(turns, continue_final_message=True, return_tensors="pt", return_dict=True)',
        ]
    return [
        *_opened(opens, task),
        'code = \'def add(a, b):\\n    """Return the sum of two numbers."""\'',
        *asked,
        *_generated(opens, int(task["max_new_tokens"]), int(task["num_beams"]), task["stop"]),
        'print(code + tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))  # the string at which it ends is shown too',
    ]


def _rewrites(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    return [
        *_opened(opens, task),
        f'inputs = tokenizer({json.dumps(_prompted(task), ensure_ascii=False)}, return_tensors="pt")',
        *_generated(opens, int(task["max_new_tokens"]), int(task["num_beams"]), task["stop"]),
        "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]


def _prompted(task: Mapping[str, Any]) -> str:
    said = str(task["prompt"]).replace("{text}", "A text.").replace("{begin}", "The")
    for place, known in (("{attribute}", (task.get("values") or {}).values()), ("{length}", task.get("lengths") or ())):
        said = said.replace(place, next(iter(known), ""))
    return said


def _continues(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    return [
        *_opened(opens, task),
        'inputs = tokenizer("The", return_tensors="pt")',
        *_generated(opens, 40),
        "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
    ]


def _generated(opens: Mapping[str, Any], most: int, beams: int = 1, stop: Sequence[str] = ()) -> list[str]:
    more = (f", num_beams={beams}" if beams > 1 else "") + (f", eos_token_id={opens['ends']}" if opens.get("ends") else "")
    more += f", stop_strings={json.dumps(list(stop), ensure_ascii=False)}, tokenizer=tokenizer" if stop else ""
    return [
        "ids = model.generate(",
        f'    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens={most}, do_sample=False{more}',
        ")",
    ]


def _finds(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    pair = opens["pair"]
    merged = ["model = model.merge_and_unload()  # PEFT's own model for question answering drops token_type_ids"]
    asked = [
        "import torch",
        *_opened(opens, task),
        *(merged if _in_peft(opens) else []),
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
    if not _in_peft(opens):
        return ["from transformers import pipeline", *_opened(opens, task), 'fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)', asked]
    return [
        "from peft import PeftConfig, PeftModel",
        "from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline",
        "",
        'base = AutoModelForMaskedLM.from_pretrained(PeftConfig.from_pretrained("adapter").base_model_name_or_path, dtype="float32")',
        'model = PeftModel.from_pretrained(base, "adapter").merge_and_unload()',
        'fill = pipeline("fill-mask", model=model, tokenizer=AutoTokenizer.from_pretrained("tokenizer"))',
        asked,
    ]


_POOLED = {
    "mean": ['mask = inputs["attention_mask"].unsqueeze(-1)', "vectors = (states * mask).sum(1) / mask.sum(1)"],
    "cls": ["vectors = states[:, 0]"],
    "last": ['vectors = states[torch.arange(len(states)), inputs["attention_mask"].sum(1) - 1]'],
}


def _embeds(opens: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    texts = [f"{task.get(f'{kind}_prefix') or ''}{text}" for kind, text in (("query", "A text."), ("passage", "Another text."))]
    also = ['# sentence-transformers opens the folder too: SentenceTransformer("model").encode(texts)'] if opens["folder"] == "model" else []
    return [
        *also,
        "import torch",
        *_opened(opens, task),
        f"texts = {json.dumps(texts, ensure_ascii=False)}",
        'inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
        "with torch.inference_mode():",
        "    states = model.eval()(**inputs).last_hidden_state",
        *_POOLED[task.get("pooling") or "mean"],
        "vectors = torch.nn.functional.normalize(vectors)",
        "print((vectors @ vectors.T).tolist())  # cosines",
    ]
