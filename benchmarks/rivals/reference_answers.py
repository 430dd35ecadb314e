"""The reference for generated answers: supervised fine-tuning as transformers' and PEFT's examples do it (Trainer with LoRA), answers by `generate`.

    python benchmarks/rivals/reference_answers.py --model PLACE --rows rows.json [settings]

Rows come as token ids: for train with the label of every position, for proof as the prompts that answers follow. Greedy, in batches
of 16 padded on the left. Prints one JSON line with a text for every prompt. Called by `benchmarks/quality.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--rows", type=Path, required=True, help="JSON: train (input_ids, labels) and proof (prompt)")
parser.add_argument("--r", type=int, default=8)
parser.add_argument("--alpha", type=float, default=16)
parser.add_argument("--max-new-tokens", type=int, default=64)
parser.add_argument("--ends", default="", help="ids that end an answer, with commas between them")
parser.add_argument("--epochs", type=float, default=1)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--rate", type=float, default=2e-4)
parser.add_argument("--decay", type=float, default=0.0)
parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
parser.add_argument("--seed", type=int, default=1)
asked = parser.parse_args()

set_seed(asked.seed)
tokenizer = AutoTokenizer.from_pretrained(asked.model)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
rows = json.loads(asked.rows.read_text(encoding="utf-8"))
model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=asked.r, lora_alpha=asked.alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=asked.batch,
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
examples = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows["train"]]
trainer = Trainer(model=model, args=arguments, train_dataset=examples, data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True))
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
model.eval()
tokenizer.padding_side = "left"
ends = [int(end) for end in asked.ends.split(",") if end] or None
said = []
for first in range(0, len(rows["proof"]), 16):
    prompts = [row["prompt"] for row in rows["proof"][first : first + 16]]
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        found = model.generate(**batch, max_new_tokens=asked.max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    said += [text.strip() for text in tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)]
print(json.dumps({"predictions": said, "train_seconds": round(seconds, 1), "peak_memory_gb": round(peak, 2)}))
