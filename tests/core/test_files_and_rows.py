from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.core import files, fingerprint
from weitiao.core.rows import Record, Row, with_ids
from weitiao.inspect.splits import take_share


def test_a_folder_counts_only_when_it_was_written_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.folder_being_written(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with files.folder_being_written(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert files.is_complete(tmp_path / "out") and (tmp_path / "out" / "whole").read_text() == "x"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(tmp_path / "a", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".artifact.x1").mkdir()
    (tmp_path / ".plan.json.x2").write_text("")
    (tmp_path / ".lock").write_text("")
    (tmp_path / "log.jsonl").write_text("")
    files.remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "log.jsonl"]


def rows(texts: list[str], labels: list[str]) -> list[Row]:
    return [Row(f"{n}", text, label) for n, (text, label) in enumerate(zip(texts, labels, strict=True))]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.sampled_from("ab")), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_split_is_a_partition_that_keeps_equal_texts_together_in_any_order(pairs: list[tuple[str, str]], random: object) -> None:
    given_rows = rows([text for text, _ in pairs], [label for _, label in pairs])
    rest, taken = take_share(given_rows, 0.3, salt="s", stratum=lambda row: row.target)
    assert sorted(r.id for r in rest + taken) == sorted(r.id for r in given_rows)
    assert not {r.text for r in rest} & {r.text for r in taken}
    shuffled = list(given_rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again, _ = take_share(shuffled, 0.3, salt="s", stratum=lambda row: row.target)
    assert {r.id for r in again} == {r.id for r in rest}


def test_a_split_is_stratified() -> None:
    given_rows = rows([f"t{n}" for n in range(1000)], ["rare" if n % 10 == 0 else "common" for n in range(1000)])
    _, taken = take_share(given_rows, 0.2, salt="s", stratum=lambda row: row.target)
    assert len(taken) in (200, 201)
    assert sum(row.target == "rare" for row in taken) in (20, 21)


def test_many_small_strata_give_their_share_together() -> None:
    given_rows = rows([f"t{n}" for n in range(400)], [f"label {n % 100}" for n in range(400)])
    _, taken = take_share(given_rows, 0.1, salt="s", stratum=lambda row: row.target)
    assert 20 <= len(taken) <= 60


def test_ids_are_stable_and_repeats_are_told_apart() -> None:
    records = [Record({"text": t}, "f", n) for n, t in enumerate(["a", "b", "a"])]
    ids = [r.id for r in with_ids(records, lambda r: None)]
    assert ids[2] == f"{ids[0]}-2" and ids[0] != ids[1]
    assert [r.id for r in with_ids(records[::-1], lambda r: None)][1] == ids[1]
    assert [r.id for r in with_ids(records, lambda r: "x")] == ["x", "x-2", "x-3"]


def test_fingerprints_keep_boundaries_apart() -> None:
    assert fingerprint.of_texts(["ab", "c"]) != fingerprint.of_texts(["a", "bc"])
    assert fingerprint.of_json({"a": 1, "b": 2}) == fingerprint.of_json({"b": 2, "a": 1})
