"""The reference: transformers' Trainer on tagged words, as its token-classification example (run_ner) is written. Prints one JSON line.

Reads the sentences that weitiao trains on and proves itself on, as words and IOB2 tags: the first piece of a word has its tag, the
others have none, and what is longer than the limit is cut, its words said to be outside. A model that transformers has no
class with tags for gets a linear layer on its hidden states, as that class would have.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train and proof, lists of words and tags")
parser.add_argument("--max-length", type=int, default=128)
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--rate", type=float, default=5e-5)
parser.add_argument("--decay", type=float, default=0.0)
parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--group-by-length", action="store_true")
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--r", type=int, help="rank of LoRA on every linear layer of the body; default: every weight trains")
parser.add_argument("--alpha", type=float, default=16)
asked = parser.parse_args()

set_seed(asked.seed)
tokenizer = AutoTokenizer.from_pretrained(asked.model, add_prefix_space=True)
tokenizer.backend_tokenizer.no_padding()  # some files prescribe a padding of their own
rows = json.loads(asked.rows.read_text(encoding="utf-8"))
tags = ["O", *sorted({tag for row in rows["train"] for tag in row["tags"]} - {"O"})]


def encoded(row: dict) -> dict:
    found = tokenizer(row["words"], is_split_into_words=True, truncation=True, max_length=asked.max_length, padding=False)
    words, labels, before = found.word_ids(), [], None
    for word in words:
        labels.append(-100 if word is None or word == before else tags.index(row["tags"][word]) if row["tags"][word] in tags else 0)
        before = word
    return {**found, "labels": labels}


examples = {split: [encoded(row) for row in found] for split, found in rows.items()}


class Tagger(torch.nn.Module):
    """A body and a linear layer on its hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.body = AutoModel.from_pretrained(asked.model, dtype=torch.float32)
        self.score = torch.nn.Linear(self.body.config.hidden_size, len(tags))
        torch.nn.init.normal_(self.score.weight, std=0.02)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None) -> dict:
        logits = self.score(self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


if type(AutoConfig.from_pretrained(asked.model)) in AutoModelForTokenClassification._model_mapping:
    model = AutoModelForTokenClassification.from_pretrained(asked.model, num_labels=len(tags))
else:
    model = Tagger()
if asked.r:
    from peft import LoraConfig, get_peft_model

    head = next(name for name in ("score", "classifier") if hasattr(model, name))
    model = get_peft_model(model, LoraConfig(r=asked.r, lora_alpha=asked.alpha, target_modules="all-linear", modules_to_save=[head], exclude_modules=[head]))
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
    bf16=asked.bf16,
    use_cpu=not torch.cuda.is_available(),
    disable_tqdm=True,
    **({"train_sampling_strategy": "group_by_length"} if asked.group_by_length else {}),
)
trainer = Trainer(model=model, args=arguments, train_dataset=examples["train"], data_collator=DataCollatorForTokenClassification(tokenizer))
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
found = trainer.predict(examples["proof"])
predictions = []
for row, best, labels in zip(rows["proof"], found.predictions.argmax(-1), found.label_ids, strict=True):
    said = [tags[tag] for tag, label in zip(best, labels, strict=True) if label != -100]
    predictions.append(said + ["O"] * (len(row["words"]) - len(said)))
rate = len(rows["train"]) * asked.epochs / seconds
print(json.dumps({"predictions": predictions, "train_seconds": round(seconds, 1), "examples_per_second": round(rate, 1), "peak_memory_gb": round(peak, 2)}))
