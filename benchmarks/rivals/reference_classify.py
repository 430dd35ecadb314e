"""The reference: transformers' Trainer on texts with one label each, as its text-classification example (run_glue) is written. Prints one JSON line.

Reads the rows that weitiao trains on and proves itself on, as texts, and tokenizes them itself: a text, or two for a pair. Gradient
accumulation stays at 1: the Trainer scales the loss of this head by the accumulation count (huggingface/transformers#47688).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train and proof, lists of text (or two texts) and label (a number)")
parser.add_argument("--labels", type=int, required=True)
parser.add_argument("--max-length", type=int, default=128)
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--rate", type=float, default=5e-5)
parser.add_argument("--decay", type=float, default=0.0)
parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
parser.add_argument("--seed", type=int, default=1)
asked = parser.parse_args()

set_seed(asked.seed)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
tokenizer.backend_tokenizer.no_padding()  # some files prescribe a padding of their own


def encoded(row: dict) -> dict:
    texts = row["text"] if isinstance(row["text"], list) else [row["text"]]
    return {**tokenizer(*texts, truncation=True, max_length=asked.max_length, padding=False), "labels": row["label"]}


rows = {split: [encoded(row) for row in found] for split, found in json.loads(asked.rows.read_text(encoding="utf-8")).items()}
model = AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=asked.labels)
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=asked.batch,
    per_device_eval_batch_size=64,
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
trainer = Trainer(model=model, args=arguments, train_dataset=rows["train"], data_collator=DataCollatorWithPadding(tokenizer))
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
predictions = trainer.predict(rows["proof"]).predictions.argmax(-1).tolist()
print(json.dumps({"predictions": predictions, "train_seconds": round(seconds, 1), "peak_memory_gb": round(peak, 2)}))
