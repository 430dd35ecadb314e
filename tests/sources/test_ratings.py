"""Ratings: who sees what in which split, how columns are found, and tables with holes."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny import SHARED as DATA
from weitiao.core.contracts import Split
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record
from weitiao.errors import EmptySplit, MissingColumn, MissingFile, WeitiaoError
from weitiao.sources.ratings import Ratings

EVERY: tuple[Split, ...] = ("train", "dev", "test")
MOVIES = "Id,title,genres\n" + "".join(f"{n},Movie {n},Comedy\n" for n in range(20))


def write(folder: Path, rows: list[tuple[Any, ...]], header: str = "userId,Id,rating,timestamp", name: str = "ratings.csv") -> Path:
    (folder / "movies.csv").write_text(MOVIES)
    (folder / name).write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return folder / name


def read(source: Ratings, split: Split = "train", bad: list[str] | None = None) -> list[Record]:
    problems: list[str] = [] if bad is None else bad
    found = list(source.records(split, problems.append))
    if bad is None:
        assert problems == []
    return found


def told(records: list[Record]) -> list[tuple[str, str, str]]:
    return [(r.values["user"], r.values["query"], r.values["positive"]) for r in records]


def test_the_last_item_is_test_the_one_before_dev_and_earlier_ones_train(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", n, 5, 100 - n) for n in range(5)])  # backwards in time
    source = Ratings(train=str(path), items=str(tmp_path / "movies.csv"))
    assert told(read(source, "train")) == [("u", "Movie 4", "Movie 3"), ("u", "Movie 4; Movie 3", "Movie 2")]
    assert told(read(source, "dev")) == [("u", "Movie 4; Movie 3; Movie 2", "Movie 1")]
    assert told(read(source, "test")) == [("u", "Movie 4; Movie 3; Movie 2; Movie 1", "Movie 0")]
    test = read(source, "test")[0]
    assert (test.place, test.id, test.values["item"]) == (f"{path}:2", "u 5", "0")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 5), st.integers(0, 6)), min_size=8, max_size=40), st.integers(1, 4))
def test_no_row_knows_its_users_future_and_every_next_item_is_in_one_split(tmp_path: Path, rows: list[tuple[str, int, int, int]], history: int) -> None:
    path = write(tmp_path, rows)
    lines = {n + 2: row for n, row in enumerate(rows)}
    seen: dict[str, list[int]] = defaultdict(list)
    latest: dict[tuple[str, str], int] = {}
    for split in EVERY:
        try:
            found = read(Ratings(train=str(path), items=str(tmp_path / "movies.csv"), history=history), split)
        except EmptySplit:
            continue
        for record in found:
            user, _, _, time = lines[record.line or 0]
            before = sorted(row[3] for row in rows if row[0] == user)
            assert record.values["user"] == user and len(record.values["query"].split("; ")) <= history
            assert time >= before[min(len(before) - 1, len(record.values["query"].split("; ")) - 1)]
            latest[user, split] = max(latest.get((user, split), -1), time)
            seen[user].append(record.line or 0)
    for user, positions in seen.items():
        assert len(set(positions)) == len(positions) == sum(row[0] == user for row in rows) - 1, "all but the first item"
        ends = [latest[user, split] for split in EVERY if (user, split) in latest]
        assert ends == sorted(ends)


def test_low_ratings_are_neither_history_nor_next(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", n, 5 if n != 2 else 1.5, n) for n in range(5)])
    source = Ratings(train=str(path), items=str(tmp_path / "movies.csv"), minimum_rating=4)
    assert told(read(source, "test")) == [("u", "Movie 0; Movie 1; Movie 3", "Movie 4")]


def test_equal_times_stay_in_the_order_of_the_table(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", n, 5, 7) for n in (3, 1, 2)])
    assert told(read(Ratings(train=str(path), items=str(tmp_path / "movies.csv")), "test")) == [("u", "Movie 3; Movie 1", "Movie 2")]


def test_items_of_the_same_table_are_called_by_their_first_row(tmp_path: Path) -> None:
    rows = [("u", "x", "good tea"), ("u", "y", "fine rice"), ("v", "x", "bad tea"), ("u", "x", "again")]
    (tmp_path / "a.csv").write_text("UserId,ProductId,Summary,Time\n" + "".join(f"{u},{i},{s},{n}\n" for n, (u, i, s) in enumerate(rows)))
    assert told(read(Ratings(train=str(tmp_path / "a.csv")), "test")) == [("u", "good tea; fine rice", "good tea")]
    (tmp_path / "b.csv").write_text("user,item,time\nu,x,1\nu,y,2\n")
    assert told(read(Ratings(train=str(tmp_path / "b.csv")), "test")) == [("u", "x", "y")], "nothing is called like a text: the item's own name"


def test_json_lines_and_dates_and_named_columns_are_read(tmp_path: Path) -> None:
    days = ["2024-03-01", "2024-03-01T10:00:00", "2024-02-28T23:59:59+00:00"]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"who": 7, "asin": "{n}", "when": "{day}"}}\n' for n, day in enumerate(days)))
    (tmp_path / "items.jsonl").write_text("".join(f'{{"key": "{n}", "brand": "B{n}", "name": "N{n}"}}\n' for n in range(3)))
    names = {"user": "who", "time": "when", "item_key": "key", "item_text": ["brand", "name"], "separator": " > "}
    source = Ratings(train=str(tmp_path / "a.jsonl"), items=str(tmp_path / "items.jsonl"), **names)  # type: ignore[arg-type]
    assert told(read(source, "test")) == [("7", "B2 N2 > B0 N0", "B1 N1")]


def test_a_table_of_its_own_is_used_whole_and_nothing_is_held_out_for_it(tmp_path: Path) -> None:
    rows = [("u", n, 5, n) for n in range(4)]
    train, dev = write(tmp_path, rows), write(tmp_path, rows, name="dev.csv")
    items = str(tmp_path / "movies.csv")
    both = Ratings(train=str(train), dev=str(dev), test=str(dev), items=items)
    assert [len(read(both, split)) for split in EVERY] == [3, 3, 3]
    one = Ratings(train=str(train), test=str(dev), items=items)
    assert [len(read(one, split)) for split in EVERY] == [2, 1, 3] and told(read(one, "dev"))[0][2] == "Movie 3"
    alone = Ratings(train=str(train), items=items).for_file(str(dev))
    assert alone.given("test") and not alone.given("train") and not alone.given("dev")
    assert len(list(alone.records("test", pytest.fail))) == 3


def test_headerless_tables_and_paths_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("".join(f"9\t{n}\t4\t{n}\n" for n in range(4)))
    (tmp_path / "movies.csv").write_text(MOVIES)
    data = 'name: ratings, train: u.data, items: movies.csv, header: false, columns: [user, Id, rating, time], delimiter: "\\t"'
    (tmp_path / "r.yaml").write_text(f"model: x\ntask: text_classification\ndata: {{{data}}}\n")
    source = Recipe.load(tmp_path / "r.yaml").data
    assert isinstance(source, Ratings) and told(read(source)) == [("9", "Movie 0", "Movie 1")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((" ", 1, 5, 3), "ratings.csv:6: userId: the user is empty"),
        (("u", "", 5, 3), "ratings.csv:6: Id: the item is empty"),
        (("u", 1, 5, ""), "ratings.csv:6: timestamp: the time is empty"),
        (("u", 1, 5, "soon"), "ratings.csv:6: timestamp: expected a number or a date such as 2024-03-01, got 'soon'"),
        (("u", 1, 5, "nan"), "ratings.csv:6: timestamp: expected a number or a date"),
        (("u", 1, "", 3), "ratings.csv:6: rating: expected a rating, got ''"),
        (("u", 77, 5, 3), "ratings.csv:6: Id: there is no item '77' in "),
    ],
)
def test_a_rating_that_lacks_something_is_named_once(tmp_path: Path, row: tuple[Any, ...], said: str) -> None:
    path = write(tmp_path, [*(("u", n, 5, n) for n in range(4)), row])
    source = Ratings(train=str(path), items=str(tmp_path / "movies.csv"), minimum_rating=1)
    bad: list[str] = []
    assert [len(read(source, split, bad)) for split in EVERY] == [1, 1, 1]
    assert len(bad) == 1 and said in bad[0] and bad[0].startswith(str(path))


def test_items_without_a_name_or_a_text_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", n, 5, n) for n in range(4)])
    with (tmp_path / "movies.csv").open("a") as file:
        file.write(",Nothing,x\n99,,x\n1,Another title,x\n")
    bad: list[str] = []
    found = read(Ratings(train=str(path), items=str(tmp_path / "movies.csv")), "train", bad)
    assert bad == [f"{tmp_path}/movies.csv:22: Id: the item is empty", f"{tmp_path}/movies.csv:23: title: the item has no text"]
    assert told(found) == [("u", "Movie 0", "Movie 1")], "of two rows for an item the first counts"


@pytest.mark.parametrize(
    ("header", "fields", "error", "said"),
    [
        ("who,Id,rating,timestamp", {}, MissingColumn, "ratings.csv:2: no column is called like the user."),
        ("userId,Id,rating,x", {}, MissingColumn, "no column is called like the time."),
        ("userId,Id,x,timestamp", {"minimum_rating": 3}, MissingColumn, "no column is called like the rating."),
        ("userId,Id,rating,timestamp", {"user": "userid"}, MissingColumn, "there is no column 'userid' for the user. Did you mean 'userId'?"),
        (
            "userId,Id,rating,timestamp",
            {"item_text": "titel"},
            MissingColumn,
            "movies.csv:2: there is no column 'titel' for the item_text. Did you mean 'title'?",
        ),
        ("userId,Id,rating,timestamp", {"item_key": "no"}, MissingColumn, "there is no column 'no' for the item_key."),
        ("userId,Id,rating,timestamp", {"items": "nothing.csv"}, MissingFile, "there is no file"),
        ("userId,Id,rating,timestamp", {"minimum_rating": 6}, EmptySplit, "no user has as many items rated 6 or better as they take; the most is 0"),
    ],
)
def test_what_the_tables_lack_is_one_sentence(tmp_path: Path, header: str, fields: dict[str, Any], error: type[WeitiaoError], said: str) -> None:
    path = write(tmp_path, [("u", n, 5, n) for n in range(5)], header)
    with pytest.raises(error) as caught:
        read(Ratings.model_validate({"train": str(path), "items": str(tmp_path / "movies.csv"), **fields}))
    assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message


def test_users_with_too_few_items_leave_a_split_empty_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, [("u", n, 5, n) for n in range(3)])
    with pytest.raises(EmptySplit, match=r"ratings.csv: no train rows: .* the most is 3\.") as caught:
        read(Ratings(train=str(path), items=str(tmp_path / "movies.csv")))
    assert "one each for dev and test" in caught.value.hint


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet='u1,\n" t;é.-', max_size=80), split=st.sampled_from(EVERY))
def test_no_table_ever_causes_anything_but_pairs_or_a_clear_error(tmp_path: Path, text: str, split: Split) -> None:
    (tmp_path / "a.csv").write_text("user,item,time\n" + text)
    try:
        for record in read(Ratings(train=str(tmp_path / "a.csv")), split, []):
            assert all(record.values[key] for key in ("query", "positive", "user", "item"))
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
def test_real_tables_are_read_without_columns() -> None:
    folder = DATA / "movielens_small"
    source = Ratings(train=str(folder / "ratings.csv"), items=str(folder / "movies.csv"))
    assert [len(read(source, split)) for split in EVERY] == [22_303 - 3 * 150, 150, 150]
    some = random.Random(0).sample(read(source, "train"), 100)
    lines = (folder / "ratings.csv").read_text().splitlines()
    assert all(lines[(r.line or 0) - 1].startswith(f"{r.values['user']},{r.values['item']},") for r in some)
    reviews = Ratings(train=str(DATA / "fine_food_reviews" / "fine_food_reviews_1k.csv"), minimum_rating=4)
    assert len(read(reviews, "test")) > 50 and len(read(reviews, "train")) > 50
