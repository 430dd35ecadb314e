"""Prediction speed: texts in, labels out, weitiao beside transformers' pipeline and Trainer.predict, in turn, in one process.

    python benchmarks/predict_speed.py [--repeats 3] [--rows 1800]

MiniLM tuned for a few steps on SST-2; every side opens the same weights and gets the same texts (the labelled test rows), so the
labels must agree. Tokenizing is included, loading is not. Data: the folder `shared/data` beside the project.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import transformers
from datasets import Dataset

import weitiao

ROOT = Path(__file__).parent.parent
TEXTS = ROOT.parent / "shared" / "data" / "sst2" / "test-labeled.tsv"

parser = argparse.ArgumentParser()
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--rows", type=int, default=1800)
asked = parser.parse_args()
transformers.utils.logging.set_verbosity_error()

with TEXTS.open(encoding="utf-8", newline="") as file:
    texts = [row["sentence"].strip() for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][: asked.rows]

with tempfile.TemporaryDirectory() as folder:
    report = weitiao.train(ROOT / "recipes" / "sst2.yaml", overrides=["data.train_rows=640", "train.epochs=1"], out=f"{folder}/run", recorders=[])
    ours = weitiao.load(f"{folder}/run/artifact")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(f"{folder}/run/artifact/model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{folder}/run/artifact/model")

    def by_pipeline(size: int) -> list[str]:
        classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        return [said["label"] for said in classify(texts, batch_size=size, truncation=True)]

    def by_trainer(size: int) -> list[str]:
        rows = Dataset.from_dict({"text": texts}).map(lambda row: tokenizer(row["text"], truncation=True), batched=True, remove_columns=["text"])
        arguments = transformers.TrainingArguments(folder, per_device_eval_batch_size=size, use_cpu=True, report_to=[], disable_tqdm=True)
        trainer = transformers.Trainer(model=model, args=arguments, data_collator=transformers.DataCollatorWithPadding(tokenizer))
        return [model.config.id2label[int(n)] for n in trainer.predict(rows).predictions.argmax(-1)]

    sides = {
        "weitiao": lambda: [prediction.value for prediction in ours.predict(texts)],
        "pipeline, defaults (one text at a time)": lambda: by_pipeline(1),
        "pipeline, batch 32": lambda: by_pipeline(32),
        "Trainer.predict, batch 8 (default)": lambda: by_trainer(8),
        "Trainer.predict, batch 32": lambda: by_trainer(32),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    labels: dict[str, list[str]] = {}
    for _ in range(asked.repeats):
        for side, say in sides.items():
            began = time.perf_counter()
            labels[side] = say()
            seconds[side].append(time.perf_counter() - began)

print(f"{len(texts)} texts; medians of {asked.repeats} runs in turn; {torch.get_num_threads()} threads\n\n| side | texts/s | weitiao / side | same labels |")
print("|---|---|---|---|")
first = median(seconds["weitiao"])
for side, took in seconds.items():
    same = sum(a == b for a, b in zip(labels[side], labels["weitiao"], strict=True))
    print(f"| {side} | {len(texts) / median(took):.0f} | {median(took) / first:.2f} | {same} of {len(texts)} |")
