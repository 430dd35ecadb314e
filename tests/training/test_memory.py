"""Too little memory: what the plan says, what `batch_size: auto` chooses, and what happens when it runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_loop import FACTS

import weitiao
from tiny import DEVICE
from weitiao.core import files
from weitiao.core.events import Stepped
from weitiao.core.recipe import Recipe
from weitiao.errors import Conflict, OutOfMemory
from weitiao.objectives.cross_entropy import CrossEntropy
from weitiao.training import memory
from weitiao.training.plan import make_plan
from weitiao.training.workload import Division


def plan(free_gb: float | None, *, packing: bool = False, method: str = "full", **train: Any) -> Any:
    recipe = {"model": "m", "data": {"name": "csv", "train": "a.csv"}, "task": "text_classification", "method": method, "train": {"bucketing": False, **train}}
    return make_plan(Recipe.load(recipe), replace(FACTS, free_gb=free_gb, packing=packing))


def note(made: Any) -> str:
    return next((note for note in made.notes if "than the" in note), "")


def test_enough_memory_is_not_spoken_of() -> None:
    made = plan(100.0)
    assert made.forecast["change"] is None and made.forecast["free_gb"] == 100.0 and not note(made)
    assert plan(None).forecast["change"] is None, "where the system does not tell, nothing is said"


def test_the_plan_says_which_setting_to_change_and_the_forecast_then() -> None:
    need = plan(None, batch_size=256).forecast["memory_gb"]
    made = plan(need - 0.3, batch_size=256)
    assert made.batch_size == 256, "what is asked for is not changed"
    assert made.forecast["change"] == "train.batch_size=128 train.gradient_accumulation=2" and made.forecast["change"] in note(made)
    assert made.forecast["memory_gb_then"] * memory.MARGIN <= need - 0.3
    settings = dict(part.removeprefix("train.").split("=") for part in made.forecast["change"].split())
    changed = plan(None, **{key: int(value) for key, value in settings.items()})
    assert changed.forecast["memory_gb"] == pytest.approx(made.forecast["memory_gb_then"], rel=0.01), "the setting does what is said of it"
    assert changed.rows_per_step == made.rows_per_step


def test_where_no_micro_batch_is_small_enough_the_method_is_named() -> None:
    made = plan(plan(None, batch_size=1).forecast["memory_gb"] * 0.9, batch_size=1)
    assert made.forecast["change"].startswith(("train.gradient_checkpointing=true", "method=lora"))
    hopeless = plan(0.1, batch_size=1)
    assert hopeless.forecast["change"], "what helps most is named even where it is not enough"


def test_packs_become_smaller_before_anything_else() -> None:
    need = plan(None, packing=True, batch_size=256, pack_tokens=4096).forecast["memory_gb"]
    made = plan(need - 0.3, packing=True, batch_size=256, pack_tokens=4096)
    assert made.forecast["change"].startswith("train.pack_tokens=")


def test_auto_takes_the_largest_micro_batch_that_fits_and_keeps_the_rows_of_a_step() -> None:
    sizes = {rows: plan(None, batch_size=rows, gradient_accumulation=256 // rows).forecast["memory_gb"] for rows in (256, 128, 64, 32)}
    assert plan(100.0, batch_size="auto", rows_per_step=256).batch_size == 256
    for rows in (128, 64, 32):
        made = plan(sizes[rows] * memory.MARGIN + 0.001, batch_size="auto", rows_per_step=256)
        assert (made.batch_size, made.rows_per_step) == (rows, 256)
    assert plan(0.1, batch_size="auto", rows_per_step=24).batch_size == 1, "the smallest, if nothing fits"
    assert plan(None, batch_size="auto").batch_size == 32, "32 rows where nothing is said"


def test_auto_makes_packs_smaller_too() -> None:
    whole = plan(None, packing=True, batch_size="auto", rows_per_step=512, pack_tokens=4096)
    small = plan(whole.forecast["memory_gb"] * 0.9, packing=True, batch_size="auto", rows_per_step=512, pack_tokens=4096)
    assert whole.pack_tokens == 4096 > small.pack_tokens and small.rows_per_step == 512


@pytest.mark.parametrize(
    ("division", "half"),
    [((32, 32, None), 16), ((24, 3, None), 1), ((7, 7, None), 1), ((8, 1, None), None), ((32, 32, 2048), 1024), ((32, 32, 128), None)],
)
def test_half_a_micro_batch_divides_the_rows_of_a_step(division: tuple[int, int, int | None], half: int | None) -> None:
    rows, together, packed = division
    found = memory.halved(Division(rows, together, packed, True, 1, 64))
    assert (None if found is None else found.pack_tokens or found.batch_size) == half


def test_a_pack_is_not_made_smaller_than_the_longest_row() -> None:
    found = memory.halved(Division(32, 32, 2048, False, 1, 64), longest=1500)
    assert found is not None and found.pack_tokens == 1500
    assert memory.halved(found, longest=1500) is None


@pytest.mark.parametrize(("unpads", "half"), [(True, 160), (False, 320)])
def test_half_is_half_of_what_a_forward_can_hold(unpads: bool, half: int) -> None:
    found = memory.halved(Division(32, 16, 1024, True, 1, 64, unpads=unpads), longest=20)
    assert found is not None and found.pack_tokens == half and found.batch_size == 16


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"batch_size": "auto", "gradient_accumulation": 2}, "gradient_accumulation follows from memory where batch_size is auto"),
        ({"batch_size": 8, "rows_per_step": 16}, "rows_per_step goes with batch_size: auto"),
    ],
)
def test_a_step_has_one_size(train: dict[str, Any], said: str) -> None:
    with pytest.raises(Conflict, match=said):
        Recipe.load({"model": "m", "data": {"name": "csv", "train": "a.csv"}, "task": "text_classification", "train": train})


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_out_of_memory(real.value), str(real.value)
    assert memory.is_out_of_memory(MemoryError()) and memory.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) and not memory.is_out_of_memory(ValueError("out of memory"))


# ------------------------------------------------------------ runs


@pytest.fixture
def small(recipe_dict: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    recipe_dict["train"] = {
        "epochs": 1,
        "learning_rate": 1e-3,
        "dropout": 0.0,
        "dtype": "fp32",
        "device": str(DEVICE),
        "batch_size": "auto",
        "rows_per_step": 32,
        "bucketing": False,  # with it forwards are smaller than a micro-batch may be
        "packing": False,  # and without padding tokens are halved, not rows
    }
    return {**recipe_dict, "evaluate": {"best": False}}


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return a function after which a forward in training of more rows than a limit finds no memory; it returns the sizes of those that did."""
    plain = CrossEntropy.__call__

    def put(most: int, *, after: int = 0) -> list[int]:
        seen: list[int] = []

        def limited(self: Any, model: Any, batch: Any) -> Any:
            if torch.is_grad_enabled():
                if len(batch.rows) > most and len(seen) >= after:
                    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate")
                seen.append(len(batch.rows))
            return plain(self, model, batch)

        monkeypatch.setattr(CrossEntropy, "__call__", limited)
        return seen

    return put


def weights(report: dict[str, Any]) -> dict[str, torch.Tensor]:
    return dict(load_file(Path(report["artifact"]) / "model" / "model.safetensors"))


def test_micro_batches_are_halved_until_they_fit_and_the_steps_stay_the_same(small: dict[str, Any], limit: Callable[..., list[int]]) -> None:
    small["train"] |= {"optimizer": "sgd", "learning_rate": 0.05}  # a step of AdamW is as long for a gradient of rounding as for any other
    whole = weitiao.train(small, out="whole")
    assert whole["plan"]["batch_size"] == 32
    seen = limit(8)
    report = weitiao.train(small, out="halved")
    assert max(seen) == 8 and files.read_json(Path("halved/plan.json"))["batch_size"] == 8 and report["plan"]["batch_size"] == 8
    assert report["plan"]["rows_per_step"] == 32 and report["steps"] == whole["steps"]
    assert any("it went on with 8 rows" in note for note in report["notes"])
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(report)[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_halving_on_the_way_stands_in_the_plan_and_a_resumed_run_obeys_it(small: dict[str, Any], limit: Callable[..., list[int]]) -> None:
    class PowerCut(BaseException):
        pass

    def cut(event: Any) -> None:
        if isinstance(event, Stepped) and event.step >= 4:
            raise PowerCut

    small["train"] |= {"save_every": 100}
    limit(16, after=3)  # one forward of the longest rows, and two steps
    whole = weitiao.train(small, out="whole")
    assert whole["plan"]["batch_size"] == 16
    limit(16, after=3)
    with pytest.raises(PowerCut):
        weitiao.train(small, out="cut", recorders=[cut])
    assert files.read_json(Path("cut/plan.json"))["batch_size"] == 16
    seen = limit(16)
    resumed = weitiao.train(small, out="cut")
    assert max(seen) == 16 and all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())


def test_a_micro_batch_that_was_asked_for_is_not_changed_but_named(small: dict[str, Any], limit: Callable[..., list[int]]) -> None:
    small["train"] = {**small["train"], "batch_size": 32, "save_every": 2}
    del small["train"]["rows_per_step"]
    limit(16, after=3)
    with pytest.raises(OutOfMemory, match="step 4: the memory is not enough. Everything up to step 2 is saved") as caught:
        weitiao.train(small, out="run")
    assert caught.value.hint == "Set train.batch_size=16 train.gradient_accumulation=2." and caught.value.exit_code == 5
    assert files.read_json(Path("run/failure.json"))["error"] == "OutOfMemory"
    limit(32)
    assert weitiao.train(small, out="run")["steps"] >= 4, "with more memory the same command goes on"


def test_one_row_that_does_not_fit_ends_the_run_with_what_helps(small: dict[str, Any], limit: Callable[..., list[int]]) -> None:
    limit(0)
    with pytest.raises(OutOfMemory) as caught:
        weitiao.train(small, out="run")
    assert caught.value.hint == "Set train.gradient_checkpointing=true."


def test_memory_that_runs_out_elsewhere_is_one_sentence_too(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from weitiao.tasks.text_classification import TextClassification

    def no_memory(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(TextClassification, "predict", no_memory)
    with pytest.raises(OutOfMemory, match="the memory is not enough") as caught:
        weitiao.train(small, out="run")
    assert "evaluate.batch_size" in caught.value.hint


# ------------------------------------------------------------ probe


def test_a_probe_measures_and_leaves_no_folder(small: dict[str, Any]) -> None:
    from weitiao.training import probe
    from weitiao.training.run import plan as planned

    recipe = Recipe.load(small)
    found, promised = probe.plan(recipe).forecast, planned(recipe).forecast
    assert (found["from"], promised["from"]) == ("probe", "sizes")
    assert "other" in found["parts"] and "other" not in promised["parts"]
    assert found["seconds_per_step"] > 0 and found["seconds"]["loading"] == promised["seconds"]["loading"]
    assert sum(found["parts"].values()) == pytest.approx(found["memory_gb"], abs=0.01)
    assert not Path("runs").exists()


def test_a_probe_with_auto_finds_the_micro_batch(small: dict[str, Any], limit: Callable[..., list[int]]) -> None:
    from weitiao.training import probe

    limit(8)
    found = probe.plan(Recipe.load(small))
    assert found.batch_size == 8 and found.rows_per_step == 32


def test_a_probe_belongs_to_a_plan(small: dict[str, Any], cli: Callable[..., Any]) -> None:
    Path("r.yaml").write_text(Recipe.load(small).as_yaml(), encoding="utf-8")
    answer = cli("train", "r.yaml", "--probe")
    assert answer.code == 2 and "--probe has no meaning without --plan" in answer.err
    assert cli("train", "r.yaml", "--plan", "--probe", "--json").json()["forecast"]["from"] == "probe"
