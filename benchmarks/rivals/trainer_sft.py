"""The rival: transformers' Trainer with PEFT on encoded conversations, as its users write it. Prints one JSON line.

Reads the token ids and labels that weitiao trains on, so that rows, template and labels are the same. The loss is the mean
negative log-likelihood per labelled token of `proof`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train and proof, lists of input_ids and labels")
parser.add_argument("--method", choices=["lora", "full"], default="lora")
parser.add_argument("--epochs", type=float, default=1)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--accumulation", type=int, default=1)
parser.add_argument("--rate", type=float, default=2e-4)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--bf16-weights", action="store_true")
parser.add_argument("--group-by-length", action="store_true")
asked = parser.parse_args()

set_seed(1)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.bfloat16 if asked.bf16_weights else torch.float32)
if asked.method == "lora":
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
rows = json.loads(asked.rows.read_text())


class Counting(Trainer):
    tokens = 0

    def training_step(self, model, inputs, *rest, **more):
        self.tokens += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, *rest, **more)


arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=asked.batch,
    num_train_epochs=asked.epochs,
    gradient_accumulation_steps=asked.accumulation,
    learning_rate=asked.rate,
    save_strategy="no",
    report_to=[],
    use_cpu=not torch.cuda.is_available(),
    bf16=asked.bf16,
    disable_tqdm=True,
    logging_steps=1000,
    **({"train_sampling_strategy": "group_by_length"} if asked.group_by_length else {}),
)
examples = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows["train"]]
trainer = Counting(model=model, args=arguments, train_dataset=examples, data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True))
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
found = {"tokens_per_second": round(trainer.tokens / seconds, 1), "train_seconds": round(seconds, 1), "peak_memory_gb": round(peak, 2)}
model.eval().float()
total, count = 0.0, 0
with torch.inference_mode():
    for row in rows["proof"]:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"][1:])
        logits = model(input_ids=ids).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
print(json.dumps({**found, "score": round(total / count, 4)}))
