"""The way of `train`: plan, folder, before, steps, after, artifact, report."""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weitiao.core import environment, files, rundir
from weitiao.core.contracts import Prediction, Strategy
from weitiao.core.events import Begun, Ended, Evaluated, Event, Phase, Recorder, Saved, Stepped
from weitiao.core.plan import Plan
from weitiao.core.recipe import Recipe
from weitiao.core.version import __version__
from weitiao.errors import Diverged, Interrupted, ResumeMismatch, TrainingError, WeitiaoError
from weitiao.evaluation import baseline, limits
from weitiao.inspect import rows as inspect_rows
from weitiao.inspect.machine import machine
from weitiao.models import allocator, attention, load, precision
from weitiao.models.frozen import FrozenStates
from weitiao.parallel.single import Single
from weitiao.record import jsonl
from weitiao.training import loop, memory, optim, probe, state
from weitiao.training.build import trainable
from weitiao.training.judge import Judge
from weitiao.training.levers import Levers
from weitiao.training.loader import Loader
from weitiao.training.plan import Facts, facts, make_plan, shown
from weitiao.training.prepare import encode, prepare
from weitiao.training.seal import seal, write_predictions
from weitiao.training.stopping import Stopping
from weitiao.training.summary import Outcome, summarise

CHECKED_ROWS = 8
"""Proof rows on which a written artifact must say what the model in memory said."""
_TOLD = 200
"""Progress events of a run, about: reading a loss waits for the device, so it is not read at every step."""


def plan(recipe: Recipe, *, probed: bool = False) -> Plan:
    """Return what a run of this recipe would do here, without a folder; and without weights, unless time and memory are to be `probed`."""
    return probe.plan(recipe) if probed else make_plan(recipe, facts(recipe, *encode(prepare(recipe))))


def run(
    recipe: Recipe, *, stem: str, out: Path | None = None, again: bool = False, root: Path = Path(rundir.ROOT), recorders: Sequence[Recorder] = ()
) -> dict[str, Any]:
    """Train a recipe to a sealed artifact and return the report; go on with an unfinished run; point to a finished one.

    stem: how the folder's name begins. The returned report has `already_finished` true where nothing was done.
    Raises WeitiaoError; Interrupted where a signal asked to stop: the same call goes on from there.
    """
    folder = rundir.choose(recipe, stem=stem, out=out, again=again, root=root)
    if folder.status() == "finished":
        _same_data(folder.plan(), inspect_rows.read(recipe), f"{folder.path} holds a finished run of this recipe")
        return {**files.read_json(folder.report_json), "already_finished": True}
    began = time.monotonic()
    created = not folder.path.exists()
    try:
        with folder.held(), Stopping() as stopping, allocator.keeping(recipe.train.keep_memory):
            try:
                return _Run(recipe, folder, recorders, stopping, began).go()
            except KeyboardInterrupt:
                raise _interrupted(folder) from None
            except Interrupted:
                raise
            except BaseException as error:
                found = memory.in_words(error)
                _write_failure(folder, found)
                if found is not error:
                    raise found from None
                raise
    finally:
        if created and folder.status() == "new" and folder.path.is_dir():
            _remove_if_bare(folder.path)


class _Run:
    """One run; its methods are the steps, in order."""

    def __init__(self, recipe: Recipe, folder: rundir.RunFolder, recorders: Sequence[Recorder], stopping: Stopping, began: float) -> None:
        self.asked, self.folder, self.recorders, self.stopping, self.began = recipe, folder, list(recorders), stopping, began

    def tell(self, event: Event) -> None:
        for recorder in self.recorders:
            recorder(event)

    def go(self) -> dict[str, Any]:
        self.tell(Phase("reading rows"))
        prepared = prepare(self.asked)
        self.tell(Phase("tokenizing and planning"))
        self.prepared, self.encoded = encode(prepared, self.tell)
        self.recipe = self.prepared.recipe
        known = facts(self.asked, self.prepared, self.encoded) if self.folder.status() == "new" else None
        self.tell(Phase(f"loading {self.recipe.model_name}"))
        loaded = load.weights(self.prepared.located, self.prepared.config, self.recipe.task.head, seed=self.recipe.train.seed)
        self.strategy: Strategy = Single(self.prepared.device)
        self.model = self.strategy.wrap(loaded.model)
        self.plan = self._plan(known)
        torch.set_num_threads(self.plan.threads)
        files.remove_leftovers(self.folder.path)
        files.remove_leftovers(self.folder.state)
        self.folder.failure.unlink(missing_ok=True)
        if self.plan.packing:
            attention.install(self.model)
        layout = self.prepared.tokenizer.layout(packed=self.plan.packing, most_tokens=self.plan.pack_tokens, shares=self.plan.share_prefix)
        self.judge = Judge(self.prepared, self.encoded, layout, self.strategy, self.tell)
        task = self.recipe.task
        rests_on = [*task.rests_on(self.prepared.data.proof), *limits.too_long(task, self.encoded.proof)]
        self.notes = [*self.plan.notes, *([loaded.note] if loaded.note else []), *rests_on]
        if loaded.head_is_new and self.recipe.task.probes and len(self.encoded.train) > baseline.MOST_ROWS:
            self.notes.append(
                f"The linear head of before was fitted on {baseline.MOST_ROWS} of the {len(self.encoded.train)} training rows, drawn by the seed."
            )
        if loaded.head_is_new and self.recipe.task.reads_out:
            self.notes.append("The checkpoint has no language-model head: a new one was drawn, and before is what the model says with it.")
        probed = loaded.head_is_new and not self.recipe.task.reads_out
        before_is, before, baselines = self.judge.before(self.model, head_is_new=probed, kept=self.folder.predictions / "before.json")
        progress = self._train()
        self._tune()
        return self._finish(progress, before_is, before, baselines)

    # -------------------------------------------------------- plan and data

    def _plan(self, known: Facts | None) -> Plan:
        """Return the plan: of this run so far, or made now, from facts and from what the loaded model shows of itself."""
        if known is not None:
            made = make_plan(self.asked, shown(known, self.recipe, self.model))
            self.folder.begin(self.asked, made, {**machine().as_dict(), "variables": environment.variables(("HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"))})
            return made
        held = self.folder.plan()
        _same_data(held, self.prepared.data, f"{self.folder.path} holds an unfinished run of this recipe")
        return held

    # -------------------------------------------------------- steps

    def _train(self) -> state.Progress:
        recipe, plan, method = self.recipe, self.plan, self.recipe.method
        objective = recipe.task.objective()
        for regularizer in recipe.regularize:
            objective = regularizer.wrap(objective)
        loader = self._loader()
        checkpoints = state.complete(self.folder.state)
        if checkpoints:
            method.settle(self.model, state.settled(checkpoints[-1], self.strategy))
        else:
            method.calibrate(self.model, objective, (batch for step in range(loader.steps_per_epoch) for batch in loader.step(step)))
        self.model, self.cast = trainable(self.model, method, plan)
        self._count()
        self.levers = Levers(recipe, plan, self.judge, self.strategy, self.tell, self.notes)
        self.levers.pull(self.model)
        allocator.trim()  # what measuring and preparing left has other shapes than what steps ask for
        optimizer = optim.optimizer(optim.by_layer(method.groups(self.model), self.model, recipe.train.layer_decay), recipe.train)
        self.schedule = loop.Schedule(plan.learning_rate, plan.warmup_steps, plan.steps, recipe.train.schedule)
        progress = state.Progress(train_seconds=self.levers.seconds)
        if checkpoints:
            progress = state.restore(checkpoints[-1], self.model, optimizer, self.strategy)
        log = jsonl.Jsonl(self.folder.log, keep_to_step=progress.step)
        self.recorders.append(log)
        try:
            self.tell(Begun(progress.step, plan.steps, str(self.folder.path)))
            if not progress.stopped_early:
                self._steps(objective, optimizer, progress)
            self.levers.stand(progress.best_step or progress.step, optimizer, self.schedule)
            if progress.best_step is not None:
                state.restore_best(self.folder.state, progress.best_step, self.model, self.strategy)
                self._check_best(progress)
            self.levers.release()
            precision.put_back(self.model, self.cast)
            self.tell(Ended(progress.step, progress.stopped_early, progress.best_step))
        finally:
            log.close()
            self.recorders.remove(log)
        return progress

    def _count(self) -> None:
        """Let the plan say how many parameters train, where that follows from what the method saw in the data."""
        trainable = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        if trainable != self.plan.parameters["trainable"]:
            self.plan = self.plan.revised(parameters={**self.plan.parameters, "trainable": trainable})
            self.folder.write_plan(self.plan)

    def _loader(self, known: FrozenStates | None = None) -> Loader:
        plan = self.plan
        return Loader(
            self.encoded.train,
            self.recipe.task,
            layout=self.judge.layout,
            batch_size=plan.batch_size,
            gradient_accumulation=plan.rows_per_step // plan.batch_size,
            seed=self.recipe.train.seed,
            bucketing=plan.bucketing,
            device=plan.device,
            known=known,
            unpadded_tokens=plan.pack_tokens if plan.unpadding else None,
        )

    def _taken(self, objective: Any, optimizer: torch.optim.Optimizer, progress: state.Progress) -> Iterator[loop.Done]:
        """Yield the steps. Where memory runs out and `batch_size` is auto, go on with micro-batches of half the size. Raises OutOfMemory."""
        plan, train = self.plan, self.recipe.train
        while True:
            loader = self._loader(self.levers.known)
            try:
                if train.batch_size == "auto" and progress.step == 0:
                    probe.longest_first(self.model, objective, loader, method=self.recipe.method, strategy=self.strategy, dtype=plan.dtype)
                yield from loop.steps(
                    self.model,
                    objective,
                    loader,
                    optimizer,
                    self.schedule,
                    method=self.recipe.method,
                    strategy=self.strategy,
                    start=progress.step,
                    seed=train.seed,
                    dtype=plan.dtype,
                    max_grad_norm=train.max_grad_norm,
                    regularizers=self.recipe.regularize,
                )
                return
            except (MemoryError, RuntimeError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            self._halve(optimizer, progress)  # outside of the handler: an error that is handled keeps the tensors of its frames alive

    def _halve(self, optimizer: torch.optim.Optimizer, progress: state.Progress) -> None:
        """Let micro-batches be half as large from here on, in the plan too. Raises OutOfMemory where that is not for us to choose, or no help."""
        optimizer.zero_grad(set_to_none=True)
        if progress.step == 0:
            optimizer.state.clear()  # memory may have run out while it was made
        if self.strategy.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = memory.smaller(self.plan) if self.recipe.train.batch_size == "auto" else None
        if smaller is None:
            checkpoints = state.complete(self.folder.state)
            saved = int(checkpoints[-1].name) if checkpoints else None
            raise memory.out_of_memory(progress.step, memory.next_setting(self.recipe, self.plan), saved)
        if progress.step:
            self._save(progress, optimizer)  # so that a resumed run is divided as this one was, at every step
        self.plan = smaller
        self.folder.write_plan(smaller)
        self.notes.append(smaller.notes[-1])
        self.judge = replace(self.judge, layout=replace(self.judge.layout, most_tokens=smaller.pack_tokens))

    def _steps(self, objective: Any, optimizer: torch.optim.Optimizer, progress: state.Progress) -> None:
        plan = self.plan
        every = max(1, min(25, plan.steps // _TOLD))
        pending: list[loop.Done] = []
        self.stopping.careful = True
        for done in self._taken(objective, optimizer, progress):
            progress.step = done.step
            progress.tokens_seen += done.tokens
            progress.examples_seen += done.examples
            progress.train_seconds += done.seconds
            pending.append(done)
            last = done.step == plan.steps
            if last or self.stopping.asked or done.step % every == 0:
                self._report(pending, progress)
            if plan.best is not None and (last or done.step % plan.evaluate_every == 0):
                self.levers.stand(done.step, optimizer, self.schedule)
                self._judge(progress, last)
            if last or progress.stopped_early or self.stopping.asked or done.step % plan.save_every == 0:
                self._save(progress, optimizer)
            if progress.stopped_early:
                break
            if self.stopping.asked and not last:
                raise _interrupted(self.folder)
        self.stopping.careful = False

    def _report(self, pending: list[loop.Done], progress: state.Progress) -> None:
        last = pending[-1]
        self.tell(
            Stepped(
                step=last.step,
                epoch=round(last.step / self.plan.steps_per_epoch, 4),
                loss=_mean([done.loss for done in pending]),
                gradient_norm=_mean([done.gradient_norm for done in pending]),
                learning_rate=last.learning_rate,
                tokens_seen=progress.tokens_seen,
                examples_seen=progress.examples_seen,
                train_seconds=progress.train_seconds,
            )
        )
        pending.clear()

    def _judge(self, progress: state.Progress, last: bool) -> None:
        """Score dev, keep the weights if they are the best so far, and decide whether to stop early."""
        assert self.plan.best is not None
        scores = self.judge.dev(self.model, dtype=self.plan.dtype, known=self.levers.known_dev)
        value = scores[self.plan.best]
        better = progress.best_value is None or (value > progress.best_value if self._higher_is_better() else value < progress.best_value)
        if better:
            state.save_best(self.folder.state, progress.step, self.model, self.strategy)
            progress.best_value, progress.best_step, progress.without_improvement = value, progress.step, 0
        else:
            progress.without_improvement += 1
        patience = self.recipe.evaluate.patience
        progress.stopped_early = not last and patience is not None and progress.without_improvement >= patience
        self.tell(Evaluated(progress.step, scores, better))

    def _higher_is_better(self) -> bool:
        return {metric.name: metric.higher_is_better for metric in self.recipe.task.metrics()}.get(self.plan.best or "") is True

    def _check_best(self, progress: state.Progress) -> None:
        """Measure the restored weights again: they must score what they scored when they were kept."""
        assert self.plan.best is not None and progress.best_value is not None
        value = self.judge.dev(self.model, dtype=self.plan.dtype, known=self.levers.known_dev)[self.plan.best]
        if abs(value - progress.best_value) > 1e-5 * max(1.0, abs(progress.best_value)):
            raise TrainingError(
                f"the best weights (step {progress.best_step}) scored {self.plan.best} {progress.best_value:.6f} and score {value:.6f} after being read back.",
                hint="The disk or the memory may be failing; run again with --again.",
            )

    def _save(self, progress: state.Progress, optimizer: torch.optim.Optimizer) -> None:
        progress.total_seconds += time.monotonic() - self.began
        self.began = time.monotonic()
        for recorder in self.recorders:
            if isinstance(recorder, jsonl.Jsonl):
                recorder.flush()
        path = state.save(self.folder.state, progress, self.model, optimizer, self.strategy, settled=self.recipe.method.settled(self.model))
        self.tell(Saved(progress.step, str(path)))

    # -------------------------------------------------------- after

    def _tune(self) -> None:
        """Let the task choose on dev what it left open, unless nothing may be chosen on dev."""
        task = self.recipe.task
        if not task.tunes or self.plan.best is None:
            return
        self.tell(Phase("choosing on dev what the task left open"))
        values = self.judge.say(self.model, self.encoded.dev, dtype="fp32").values
        self.recipe = self.recipe.with_task(task.tuned(values, self.encoded.dev, self.prepared.data.splits.dev))
        self.prepared = replace(self.prepared, recipe=self.recipe)
        self.judge = replace(self.judge, prepared=self.prepared)

    def _finish(self, progress: state.Progress, before_is: str, before: list[Prediction], baselines: dict[str, list[Any]]) -> dict[str, Any]:
        data, plan = self.prepared.data, self.plan
        peak = memory.peak_gb(self.strategy.device)  # before bootstraps and plots, which are not training
        self.tell(Phase("measuring after"))
        said, after = self.judge.proof(self.model)
        summary = summarise(
            self.asked,
            self.prepared,
            plan,
            self.folder,
            progress,
            outcome=Outcome(before_is, before, after, baselines),
            encoded=self.encoded,
            notes=self.notes,
            peak_memory_gb=peak,
            began=self.began,
        )
        self.tell(Phase("sealing the artifact and writing the report"))
        wanted = [self.recipe.task.wanted(row) for row in data.proof]
        write_predictions(self.folder.predictions / "before.jsonl", before, wanted)
        write_predictions(self.folder.predictions / "after.jsonl", after, wanted)
        few = self.encoded.proof[:CHECKED_ROWS]
        summary = seal(
            self.folder.artifact,
            self.prepared,
            self.model,
            strategy=self.strategy,
            features=few,
            said=said[: len(few)],
            summary=summary,
            version=__version__,
        )
        from weitiao.evaluation.page import render

        files.write_json(self.folder.report_json, summary)
        files.write_text(self.folder.report, render(summary))
        (self.folder.predictions / "before.json").unlink(missing_ok=True)
        _clear(self.folder.state)
        return summary


# ------------------------------------------------------------ measures and ends


def _same_data(held: Plan, data: inspect_rows.Data, what: str) -> None:
    """Raise ResumeMismatch where the rows are not those that the run began with."""
    if held.data != data.fingerprint:
        now = data.splits.sizes()
        change = "same number of rows, other content" if now == held.rows else f"{held.rows} rows then, {now} now"
        raise ResumeMismatch(f"{what}, but since it began the data changed ({change}).", hint="Put the data back, or start a new run with --again.")


def _mean(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.float() for tensor in tensors]).mean())


def _interrupted(folder: rundir.RunFolder) -> Interrupted:
    checkpoints = state.complete(folder.state)
    if not checkpoints:
        return Interrupted("stopped before the first checkpoint.", hint="The same command begins again.")
    return Interrupted(f"stopped; everything up to step {int(checkpoints[-1].name)} is saved in {folder.path}.", hint="The same command goes on from there.")


def _write_failure(folder: rundir.RunFolder, error: BaseException) -> None:
    if folder.status() != "unfinished":
        return
    document: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, WeitiaoError):
        document["hint"] = error.hint
    else:
        document["traceback"] = traceback.format_exc()
    if isinstance(error, Diverged):
        document |= {"step": error.step, "rows": list(error.rows)}
    with contextlib.suppress(OSError):
        files.write_json(folder.failure, document)


def _remove_if_bare(path: Path) -> None:
    """Remove a folder in which nothing but the lock was ever written."""
    if all(p.name == ".lock" for p in path.iterdir()):
        (path / ".lock").unlink(missing_ok=True)
        path.rmdir()


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
