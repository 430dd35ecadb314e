"""The rival: transformers' Trainer on encoded rows with one label each, as its text-classification examples are written. Prints one JSON line.

Reads the token ids and labels that weitiao trains on. Gradient accumulation stays at 1: the Trainer of transformers 5.23
scales the loss of this head by the accumulation count (huggingface/transformers#47688).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train and proof, lists of input_ids and labels")
parser.add_argument("--train", default=".*", help="regular expression: the parameters that train")
parser.add_argument("--epochs", type=float, default=1)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--rate", type=float, default=5e-5)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--group-by-length", action="store_true")
asked = parser.parse_args()

set_seed(1)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
rows = {split: [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in found] for split, found in json.loads(asked.rows.read_text()).items()}
model = AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=1 + max(row["labels"] for row in rows["train"]))
for name, parameter in model.named_parameters():
    parameter.requires_grad_(bool(re.search(asked.train, name)))
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=asked.batch,
    per_device_eval_batch_size=64,
    num_train_epochs=asked.epochs,
    learning_rate=asked.rate,
    save_strategy="no",
    report_to=[],
    use_cpu=not torch.cuda.is_available(),
    bf16=asked.bf16,
    disable_tqdm=True,
    **({"train_sampling_strategy": "group_by_length"} if asked.group_by_length else {}),
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=rows["train"],
    eval_dataset=rows["proof"],
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda said: {"accuracy": float((said.predictions.argmax(-1) == said.label_ids).mean())},
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
found = {"examples_per_second": round(len(rows["train"]) * asked.epochs / seconds, 1), "train_seconds": round(seconds, 1), "peak_memory_gb": round(peak, 2)}
print(json.dumps({**found, "score": round(trainer.evaluate()["eval_accuracy"], 4)}))
