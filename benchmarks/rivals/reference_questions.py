"""The reference: transformers' Trainer on questions about a text, as its question-answering example (run_qa) is written. Prints one JSON line.

Reads the questions that weitiao trains on and proves itself on. Contexts are cut into windows with a stride; a window that does not
hold the answer points to its first token; of all windows of a question the best pair of start and end is said. Windows are padded to
the longest of their batch (run_qa pads all of them to the limit where it is not told otherwise, which is slower still).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train and proof, lists of question, context and answers (text, start)")
parser.add_argument("--max-length", type=int, default=384)
parser.add_argument("--doc-stride", type=int, default=128)
parser.add_argument("--epochs", type=float, default=2)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--rate", type=float, default=5e-5)
parser.add_argument("--decay", type=float, default=0.0)
parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
parser.add_argument("--seed", type=int, default=1)
asked = parser.parse_args()
MOST_TOKENS, BEST = 30, 20

set_seed(asked.seed)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
tokenizer.backend_tokenizer.no_padding()  # some files prescribe a padding of their own
rows = json.loads(asked.rows.read_text(encoding="utf-8"))


def windows(found: list[dict]) -> tuple[list[dict], list[tuple[int, list]]]:
    """Return the features of all windows, and for each the question it belongs to and where its tokens stand in the context."""
    features, places = [], []
    for number, row in enumerate(found):
        cut = tokenizer(
            row["question"].strip(),
            row["context"],
            truncation="only_second",
            max_length=asked.max_length,
            stride=asked.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=False,
        )
        for n, ids in enumerate(cut["input_ids"]):
            inside = [offset if part == 1 else None for offset, part in zip(cut["offset_mapping"][n], cut.sequence_ids(n), strict=True)]
            start = end = 0
            if row["answers"]:
                text, begin = row["answers"][0]
                held = [at for at, offset in enumerate(inside) if offset is not None and offset[0] < begin + len(text) and offset[1] > begin]
                reaches = [offset for offset in inside if offset is not None]
                if held and reaches[0][0] <= begin and reaches[-1][1] >= begin + len(text):
                    start, end = held[0], held[-1]
            more = {name: cut[name][n] for name in ("attention_mask", "token_type_ids") if name in cut}
            features.append({"input_ids": ids, **more, "start_positions": start, "end_positions": end})
            places.append((number, inside))
    return features, places


examples = {split: windows(found) for split, found in rows.items()}
model = AutoModelForQuestionAnswering.from_pretrained(asked.model)
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=asked.batch,
    per_device_eval_batch_size=32,
    num_train_epochs=asked.epochs,
    learning_rate=asked.rate,
    weight_decay=asked.decay,
    warmup_steps=asked.warmup if asked.warmup < 1 else int(asked.warmup),
    seed=asked.seed,
    save_strategy="no",
    report_to=[],
    use_cpu=not torch.cuda.is_available(),
    disable_tqdm=True,
)
trainer = Trainer(model=model, args=arguments, train_dataset=examples["train"][0], data_collator=DataCollatorWithPadding(tokenizer))
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
starts, ends = trainer.predict(examples["proof"][0]).predictions
best: dict[int, tuple[float, str]] = {}
for n, (number, inside) in enumerate(examples["proof"][1]):
    for first in np.argsort(starts[n])[-BEST:]:
        for last in np.argsort(ends[n])[-BEST:]:
            if max(first, last) >= len(inside) or inside[first] is None or inside[last] is None or not first <= last < first + MOST_TOKENS:
                continue
            score = float(starts[n][first] + ends[n][last])
            if score > best.get(number, (-np.inf, ""))[0]:
                best[number] = (score, rows["proof"][number]["context"][inside[first][0] : inside[last][1]])
predictions = [best.get(number, (0.0, ""))[1] for number in range(len(rows["proof"]))]
print(json.dumps({"predictions": predictions, "train_seconds": round(seconds, 1), "peak_memory_gb": round(peak, 2)}))
