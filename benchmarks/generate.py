"""Answers to alpaca instructions, SmolLM2-135M: weitiao beside transformers' generate at several batch sizes, in turn, in one run.

    python benchmarks/generate.py [--prompts 64 --tokens 128] [--batches 16 32 64] [--repeats 2] [--profile]

The most probable token each time, fp32, two threads. transformers gets prompts sorted by length, padded at the left.
tokens/s counts the tokens of answers up to their end, the same on every side but for ties: `same` says how many answers
are, and for the others how far apart the two best logits are where they part. `GB` is the memory that generating takes
above what stood before. --profile says where the time of ours goes. Keep the machine idle: only ratios carry over.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch

from weitiao.core.contracts import Generation, Head
from weitiao.core.rows import Turn
from weitiao.models import convert, decode, dialogue, incremental, load
from weitiao.models.locate import locate
from weitiao.models.sampling import Chooser
from weitiao.models.tokens import Tokenizer, positions

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="smollm2-135m")
parser.add_argument("--rows", type=Path, default=Path(__file__).parent / "../../shared/data/alpaca_demo/alpaca_en_demo.json")
parser.add_argument("--prompts", type=int, default=64)
parser.add_argument("--tokens", type=int, default=128)
parser.add_argument("--batches", type=int, nargs="*", default=[16, 32, 64])
parser.add_argument("--repeats", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu")
parser.add_argument("--dtype", default="float32")
parser.add_argument("--profile", action="store_true")
asked = parser.parse_args()

torch.set_num_threads(asked.threads)
device = torch.device(asked.device)
located = convert.ready(locate(asked.model))
head = Head("AutoModelForCausalLM", {})
model = load.weights(located, load.configuration(located, head), head, seed=0).model.eval().to(device, getattr(torch, asked.dtype))
tokenizer = Tokenizer(located, positions(model.config))
tokenizer.use_template("auto")
rows = json.loads(asked.rows.read_text(encoding="utf-8"))
rows = rows[:: max(1, len(rows) // asked.prompts)][: asked.prompts]
prompts = [dialogue.prompt([Turn("user", f"{row['instruction']}\n{row['input']}".strip())], tokenizer) for row in rows]
ends = tokenizer.ends


def up_to_end(ids: list[int]) -> list[int]:
    return ids[: next((n + 1 for n, token in enumerate(ids) if token in ends), None)]


def ours() -> list[list[int]]:
    made: list[list[int]] = [[] for _ in prompts]
    with incremental.continuing(model):
        choose = Chooser(prompts, Generation(asked.tokens), seed=0)
        decoding = decode.Decoding(model, prompts, [asked.tokens] * len(prompts), choose=choose, ended=lambda ids: ids[-1] in ends, device=device)
        while decoding.busy:
            for number, token, _ in decoding.step():
                made[number].append(token)
    return made


def theirs(batch: int) -> list[list[int]]:
    made: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda n: -len(prompts[n]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        longest = max(len(prompts[n]) for n in chosen)
        ids = torch.tensor([[tokenizer.pad_id] * (longest - len(prompts[n])) + list(prompts[n]) for n in chosen], device=device)
        mask = torch.tensor([[0] * (longest - len(prompts[n])) + [1] * len(prompts[n]) for n in chosen], device=device)
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=asked.tokens, do_sample=False, eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_id
            )
        for n, row in zip(chosen, found[:, longest:].tolist(), strict=True):
            made[n] = up_to_end(row)
    return made


@contextlib.contextmanager
def peak_memory(found: list[float]) -> Iterator[None]:
    """Append the GB that were in use at most, above those in use before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        found.append((torch.cuda.max_memory_allocated() - before) / 1e9)
        return

    def resident(name: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))

    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # from now on the peak is counted anew
    yield
    found.append((resident("VmHWM") - before) * 1024 / 1e9)


def parted(one: list[int], two: list[int], prompt: list[int]) -> float | None:
    """Return how far the two best logits are apart where two answers part, in the plain forward; None where they do not."""
    if one == two:
        return None
    place = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    with torch.inference_mode():
        best = model(torch.tensor([[*prompt, *one[:place]]], device=device)).logits[0, -1].float().topk(2).values
    return float(best[0] - best[1])


sides: dict[str, Callable[[], list[list[int]]]] = {"weitiao": ours, **{f"transformers, batch {size}": lambda size=size: theirs(size) for size in asked.batches}}
said: dict[str, list[list[int]]] = {}
seconds: dict[str, list[float]] = {side: [] for side in sides}
worked: dict[str, list[float]] = {side: [] for side in sides}
memory: dict[str, list[float]] = {side: [] for side in sides}
incremental.proof(model)  # tried once per model
for _ in range(asked.repeats):
    for side, measure in sides.items():
        with peak_memory(memory[side]):
            start, begun = time.perf_counter(), time.process_time()
            said[side] = measure()
            seconds[side].append(time.perf_counter() - start)
            worked[side].append(time.process_time() - begun)
        print(f"{side}: {seconds[side][-1]:.1f} s, {worked[side][-1]:.1f} s of processors", file=sys.stderr, flush=True)

lengths = [len(prompt) for prompt in prompts]
print(f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, {sum(map(len, said['weitiao']))} tokens said, at most {asked.tokens} each\n")
print(f"| side | seconds | processor seconds | tokens/s | weitiao / side | same | GB |\n|{'---|' * 7}")
for side in sides:
    took = median(seconds[side])
    gaps = [gap for one, two, prompt in zip(said["weitiao"], said[side], prompts, strict=True) if (gap := parted(one, two, prompt)) is not None]
    same = f"{len(prompts) - len(gaps)} of {len(prompts)}" + (f" (the others part at gaps up to {max(gaps):.1g})" if gaps else "")
    rate, ratio = sum(map(len, said[side])) / took, took / median(seconds["weitiao"])
    cells = [f"{took:.1f}", f"{median(worked[side]):.1f}", f"{rate:.0f}", f"{ratio:.2f}", same, f"{median(memory[side]):.2f}"]
    print(f"| {' | '.join([side, *cells])} |", flush=True)

if asked.profile:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]) as seen:
        ours()
    shares = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in shares)
    print(f"\nours under the profiler: {whole / 1e6:.1f} s of processor time in operators")
    for row in shares[:16]:
        print(f"  {row.self_cpu_time_total / whole:6.1%}  {row.count:7d}  {row.key}")
