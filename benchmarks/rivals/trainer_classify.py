"""The rival: transformers' Trainer on SST-2, as its text-classification examples are written. Prints one JSON line.

Gradient accumulation stays at 1: the Trainer of transformers 5.23 scales the loss of this head by the accumulation count
(huggingface/transformers#47688).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--rows", type=int, default=None)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--group-by-length", action="store_true")
asked = parser.parse_args()

set_seed(1)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
model = AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=2)


def encoded(name: str, rows: int | None = None) -> list[dict]:
    pairs = [line.rsplit("\t", 1) for line in (asked.data / name).read_text(encoding="utf-8").splitlines()[1:]][:rows]
    ids = tokenizer([text for text, _ in pairs], truncation=True, max_length=128, padding=False)["input_ids"]
    return [{"input_ids": row, "attention_mask": [1] * len(row), "labels": int(label)} for row, (_, label) in zip(ids, pairs, strict=True)]


train, dev = encoded("train.tsv", asked.rows), encoded("dev.tsv")
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=32,
    per_device_eval_batch_size=64,
    num_train_epochs=asked.epochs,
    learning_rate=5e-5,
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    bf16=asked.bf16,
    disable_tqdm=True,
    **({"train_sampling_strategy": "group_by_length"} if asked.group_by_length else {}),
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=train,
    eval_dataset=dev,
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda said: {"accuracy": float((said.predictions.argmax(-1) == said.label_ids).mean())},
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
accuracy = trainer.evaluate()["eval_accuracy"]
print(
    json.dumps(
        {
            "examples_per_second": round(len(train) * asked.epochs / seconds, 1),
            "accuracy": round(accuracy, 4),
            "train_seconds": round(seconds, 1),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        }
    )
)
