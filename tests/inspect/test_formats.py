"""What files of one kind are guessed to be. Where a task is not there yet, a stand-in that reads any record takes its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiny import SHARED as DATA
from weitiao.core import registry
from weitiao.core.contracts import Source, Task
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row
from weitiao.errors import BadRow, EmptySplit, MissingFile, WeitiaoError
from weitiao.inspect.guess import Guess, guess

NAMES = ("token_classification", "question_answering", "relation_extraction", "text_pair", "multiple_choice", "embedding")
ABSENT = sorted({*NAMES} - {*registry.names("task")})


class StandIn(Task):
    """Reads what the task of that name would read."""

    problem_type: str = "single_label_classification"

    def read(self, record: Record, data: Source, *, labelled: bool) -> Row:
        columns = data.text if isinstance(data.text, list) else [data.text] if data.text else list(record.values)
        target = record.values.get(data.label) if isinstance(data.label, str) else None
        return Row(record.id, "\n".join(str(record.values[column]) for column in columns), target, record.place)


StandIn.__abstractmethods__ = frozenset()  # what recognising needs is above


@pytest.fixture(autouse=True)
def every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    find, names = registry.find, registry.names

    def found(kind: str, name: str) -> Any:
        return type(name, (StandIn,), {"name": name, "__module__": __name__}) if kind == "task" and name in ABSENT else find(kind, name)

    monkeypatch.setattr(registry, "find", found)
    monkeypatch.setattr(registry, "names", lambda kind: sorted([*names(kind), *(ABSENT if kind == "task" else [])]))


def why(found: Guess, what: str) -> str:
    return next(reason.why for reason in found.reasons if reason.what == what)


def sentences(count: int = 30, *, kind: str = "PER", between: str = " ", end: str = "\n") -> str:
    return "".join(f"Ann{n}{between}B-{kind}{end}Lee{between}I-{kind}{end}ran{between}O{end}{end}" for n in range(count))


def lines(path: Path, objects: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, objects)))
    return path


# ---------------------------------------------------------------- tagged tokens


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "train.char.bmes", "a.txt", "a.tsv", "ner"])
@pytest.mark.parametrize("between", ["\t", " "])
def test_tagged_tokens_are_seen_whatever_the_ending(tmp_path: Path, name: str, between: str) -> None:
    (tmp_path / name).write_text(sentences(between=between))
    found = guess(tmp_path / name)
    assert found.data == {"name": "conll", "train": str(tmp_path / name)}
    assert found.task == {"name": "token_classification", "max_length": 64} and found.method == {"name": "full"}
    assert found.records == 30 and found.size == "30 sentences" and "B-PER" in why(found, "data.tag_column")


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("eng.train", "eng.testa", "eng.testb"),
        ("weibo.train", "weibo.dev", "weibo.test"),
        ("train.char.bmes", "dev.char.bmes", "test.char.bmes"),
        ("wnut_train.conll", "wnut_valid.conll", "wnut_test.conll"),
        ("train", "dev", "test"),
    ],
)
def test_dev_and_test_beside_tagged_tokens_are_found_wherever_train_stands_in_the_name(tmp_path: Path, train: str, dev: str, test: str) -> None:
    for name in (train, dev, test):
        (tmp_path / name).write_text(sentences())
    (tmp_path / "notes.txt").write_text("nothing")
    found = guess(tmp_path / train)
    assert (found.data["dev"], found.data["test"]) == (str(tmp_path / dev), str(tmp_path / test))


def test_characters_with_digits_and_other_encodings_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.train").write_bytes("".join(f"科{n % 2}\tB-ORG\n技1\tI-ORG\n\n" for n in range(20)).encode("gb18030"))
    found = guess(tmp_path / "a.train")
    assert found.data["encoding"] == "gb18030" and found.foreign and "place in a word" in why(found, "data.strip_digit")


@pytest.mark.parametrize("text", ["".join("word O\nother B-X\n" for _ in range(30)), "Ann O\nran O\n\n" * 9, "a b\nc d\n\n" * 30])
def test_tokens_without_sentences_or_tags_are_not_taken_for_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.conll").write_text(text)
    with pytest.raises(WeitiaoError) as caught:
        guess(tmp_path / "a.conll")
    assert caught.value.hint


def test_a_damaged_sentence_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(sentences() + "Ann\n")
    assert f"{tmp_path}/a.conll:121: expected 2 columns, got 1" in why(guess(tmp_path / "a.conll"), "data.bad_rows")


# ---------------------------------------------------------------- questions, relations


def squad(count: int = 20, **more: Any) -> dict[str, Any]:
    qas = [{"id": f"q{n}", "question": f"Who is number {n}?", "answers": [{"text": "Ann", "answer_start": 0}], **more} for n in range(count)]
    return {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "Ann ran home.", "qas": qas}]}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_squad_is_seen_with_its_dev_file(tmp_path: Path, indent: int | None) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v1.1.json").write_text(json.dumps(squad(), indent=indent))
    found = guess(tmp_path / "train-v1.1.json")
    assert found.data == {"name": "squad", "train": str(tmp_path / "train-v1.1.json"), "dev": str(tmp_path / "dev-v1.1.json")}
    assert found.task == {"name": "question_answering", "max_length": 384} and found.size == "20 questions"


def test_broken_squad_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(squad(), indent=1)[:-3])
    with pytest.raises(BadRow, match=r"a.json:\d+: broken JSON"):
        guess(tmp_path / "a.json")


def test_a_file_without_a_question_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(squad(0)))
    with pytest.raises(EmptySplit, match="holds no records"):
        guess(tmp_path / "a.json")


def test_semevals_blocks_are_seen_with_the_test_file(tmp_path: Path) -> None:
    block = '{}\t"The <e1>child</e1> ran to the <e2>house</e2>."\r\n{}\r\nComment:\r\n\r\n'
    for name in ("TRAIN_FILE.TXT", "TEST_FILE_FULL.TXT"):
        (tmp_path / name).write_text("".join(block.format(n, ["Other", "Cause-Effect(e1,e2)"][n % 2]) for n in range(20)))
    found = guess(tmp_path / "TRAIN_FILE.TXT")
    assert found.data == {"name": "semeval", "train": str(tmp_path / "TRAIN_FILE.TXT"), "test": str(tmp_path / "TEST_FILE_FULL.TXT")}
    assert found.task["name"] == "relation_extraction"


# ---------------------------------------------------------------- folders


def texts(top: Path, *labels: str, ending: str = ".txt", count: int = 12) -> Path:
    for label in labels:
        (top / label).mkdir(parents=True)
        for n in range(count):
            (top / label / f"{n}{ending}").write_text(f"a text of {label}, number {n}")
    return top


def test_a_folder_of_texts_per_label_is_a_classification(tmp_path: Path) -> None:
    found = guess(texts(tmp_path / "news", "sport", "trade", ending=""))
    assert found.data == {"name": "folder", "train": str(tmp_path / "news")}
    assert found.task == {"name": "text_classification", "max_length": 64} and "sport, trade" in why(found, "task.name") and found.size == "24 texts"


@pytest.mark.parametrize("start", ["top", "train"])
def test_train_and_test_folders_are_found_from_above_and_from_beside(tmp_path: Path, start: str) -> None:
    top = tmp_path / "aclImdb"
    texts(top / "train", "neg", "pos", "unsup")
    texts(top / "test", "neg", "pos")
    if start == "train":
        (top / "docs").mkdir()
    (top / "train" / "labeledBow.feat").write_text("0 9:1")
    found = guess(top if start == "top" else top / "train")
    assert found.data == {"name": "folder", "train": str(top / "train"), "test": str(top / "test"), "leave_out": ["unsup"]}
    assert found.given == {"train", "test"}


def test_a_test_folder_with_other_labels_is_left_out_and_said_so(tmp_path: Path) -> None:
    texts(tmp_path / "train", "neg", "pos")
    texts(tmp_path / "test", "bad", "good")
    found = guess(tmp_path)
    assert "test" not in found.data and "the label 'bad', which no training row has" in why(found, "data.test")


def test_texts_in_another_encoding_are_read(tmp_path: Path) -> None:
    for label in ("好", "坏"):
        (tmp_path / label).mkdir()
        for n in range(9):
            (tmp_path / label / f"{n}.txt").write_bytes(f"这家酒店很{label}，第{n}次".encode("gb18030"))
    assert guess(tmp_path).data["encoding"] == "gb18030"


@pytest.mark.parametrize("inside", [[], ["one/1.txt"], ["a.bin", "b.csv"], ["a/", "b/"]])
def test_any_other_folder_is_refused(tmp_path: Path, inside: list[str]) -> None:
    for name in inside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("x")
    with pytest.raises(MissingFile, match="is a folder, and holds no folders of texts") as caught:
        guess(tmp_path)
    assert "LABEL/anything.txt" in caught.value.hint


# ---------------------------------------------------------------- tables and objects


def test_parquet_is_read_like_json_and_its_parts_together(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"review": f"a {'good' if n % 2 else 'poor'} film, number {n}", "label": "np"[n % 2]} for n in range(40)]
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet", "alone.parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    found = guess(tmp_path / "train-00000-of-00002.parquet")
    assert found.data["train"] == str(tmp_path / "train-*-of-00002.parquet") and found.records == 80
    assert found.data["test"] == str(tmp_path / "test-00000-of-00001.parquet")
    assert (found.data["name"], found.data["text"], found.data["label"]) == ("parquet", "review", "label")
    assert guess(tmp_path / "alone.parquet").data["train"] == str(tmp_path / "alone.parquet")
    talk = [{"messages": [{"role": "user", "content": f"Why {n}?"}, {"role": "assistant", "content": f"Because of {n}."}]} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(talk), tmp_path / "talk.parquet")
    assert guess(tmp_path / "talk.parquet").task["name"] == "chat"


@pytest.mark.parametrize(
    "names", [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"), ("question", "passage")]
)
def test_two_texts_of_one_kind_are_a_pair(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [{"idx": n, names[0]: f"a first text of number {n}", names[1]: f"and another, {n * 7}", "label": n % 2} for n in range(40)]
    found = guess(lines(tmp_path / "a.jsonl", rows))
    assert found.task["name"] == "text_pair" and found.data["text"] == list(names) and found.data["label"] == "label"


def test_a_title_and_a_description_are_one_text(tmp_path: Path) -> None:
    rows = [{"title": f"headline number {n}", "description": f"what happened then, and more of it: {n}", "label": n % 3} for n in range(40)]
    assert guess(lines(tmp_path / "a.jsonl", rows)).task["name"] == "text_classification"


OPTIONS = {
    "commonsenseqa": lambda n: {
        "id": n,
        "question": f"Where is thing {n}?",
        "choices": {"label": ["A", "B"], "text": ["here", "there"]},
        "answerKey": "AB"[n % 2],
    },
    "options": lambda n: {"question": f"Where is thing {n}?", "options": ["here", "there", "nowhere"], "answer": n % 3},
    "endings": lambda n: {"ctx": f"A man goes to place {n}.", "endings": ["He sits.", "He runs."], "label": n % 2},
    "columns": lambda n: {"question": f"Where is thing {n}?", "A": "here", "B": "there", "C": "nowhere", "D": "home", "answer": "ABCD"[n % 4]},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_questions_with_options_and_an_answer_are_multiple_choice(tmp_path: Path, kind: str) -> None:
    path = lines(tmp_path / "a.jsonl", [OPTIONS[kind](n) for n in range(40)])
    found = guess(path)
    assert found.data == {"name": "json", "train": str(path)} and found.task["name"] == "multiple_choice"
    assert "each holds" in why(found, "task.name")


def test_a_table_of_options_is_multiple_choice(tmp_path: Path) -> None:
    rows = "".join(f"Where is thing {n} of them?,here {n},there,nowhere,home,{'ABCD'[n % 4]}\n" for n in range(40))
    (tmp_path / "a.csv").write_text("question,A,B,C,D,answer\n" + rows)
    assert guess(tmp_path / "a.csv").task["name"] == "multiple_choice"


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({"question": "Who?", "context": "Ann ran.", "answers": {"text": ["Ann"], "answer_start": [0]}}, "question_answering"),
        ({"tokens": ["Ann", "ran"], "tags": ["B-PER", "O"]}, "token_classification"),
        ({"text": "Ann ran home", "head": [0, 3], "tail": [8, 12], "label": "Other"}, "relation_extraction"),
        ({"query": "what Ann saw", "positive": "a film", "user": "1"}, "embedding"),
    ],
)
def test_objects_of_the_shapes_that_sources_yield_are_seen_by_their_keys(tmp_path: Path, values: dict[str, Any], task: str) -> None:
    other = {"label": "Cause"} if "label" in values else {"positive": "a book"} if "positive" in values else {}
    path = lines(tmp_path / "a.jsonl", [{**values, **(other if n % 2 else {}), "n": n} for n in range(20)])
    assert guess(path).task["name"] == task


def test_texts_in_columns_that_are_called_like_lists_stay_texts(tmp_path: Path) -> None:
    rows = [{"text": f"a text about number {n}", "head": "x", "tail": "y", "tags": "z", "tokens": "w", "label": "ab"[n % 2]} for n in range(40)]
    assert guess(lines(tmp_path / "a.jsonl", rows)).task["name"] == "text_classification"


def test_ratings_are_pairs_of_past_and_next_with_the_table_of_items_beside(tmp_path: Path) -> None:
    rows = [f"{n // 8},{n % 8},4.0,{n}\n" for n in range(80)]
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows))
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,1,funny film,7\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "".join(f"{n},Movie {n},Comedy\n" for n in range(8)))
    found = guess(tmp_path / "ratings.csv")
    assert found.data == {"name": "ratings", "train": str(tmp_path / "ratings.csv"), "items": str(tmp_path / "movies.csv")}
    assert found.task["name"] == "embedding" and found.given == {"train", "dev", "test"} and found.size == "50 next items"
    assert "last item is a test row" in why(found, "data.train")
    (tmp_path / "movies.csv").unlink()
    assert "items" not in guess(tmp_path / "ratings.csv").data


def test_reviews_with_users_stay_a_classification(tmp_path: Path) -> None:
    rows = [f"{n},user{n % 9},item{n % 7},{n % 2 + 4},a review of some words number {n}\n" for n in range(60)]
    (tmp_path / "a.csv").write_text("Time,UserId,ProductId,Score,Text\n" + "".join(rows))
    assert guess(tmp_path / "a.csv").task["name"] == "text_classification"


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize("kind", ["tokens", "folder", "ratings"])
def test_the_recipe_that_init_writes_reads_the_rows(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from weitiao.cli.init import init

    monkeypatch.chdir(tmp_path)
    if kind == "tokens":
        (tmp_path / "a.conll").write_text(sentences())
        file, task = Path("a.conll"), "token_classification"
    elif kind == "folder":
        file, task = texts(tmp_path / "news", "sport", "trade").relative_to(tmp_path), "text_classification"
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "r.csv").write_text("user,item,time\n" + "".join(f"{n // 8},{n % 8},{n}\n" for n in range(80)))
        (tmp_path / "data" / "i.csv").write_text("item,title\n" + "".join(f"{n},Thing {n}\n" for n in range(8)))
        file, task = Path("data/r.csv"), "embedding"
    if task in ABSENT:
        pytest.skip(f"there is no task {task} yet")
    init(file, Path("r.yaml"), None, False, True)
    text, recipe = Path("r.yaml").read_text(), Recipe.load("r.yaml")
    assert recipe.task.name == task and recipe.model == "minilm" and str(tmp_path) not in text
    assert (kind == "ratings") == ("split off" not in text)
    assert list(recipe.data.records("train", pytest.fail))


REAL: dict[str, tuple[str, str, bool, str | None, str | None]] = {
    # file: (source, task, foreign, dev, test)
    "conll2003/eng.train": ("conll", "token_classification", False, "eng.testa", "eng.testb"),
    "wnut17/wnut17train.conll": ("conll", "token_classification", False, None, None),
    "weibo_ner/weiboNER_2nd_conll.train": ("conll", "token_classification", True, "weiboNER_2nd_conll.dev", "weiboNER_2nd_conll.test"),
    "resume_ner/train.char.bmes": ("conll", "token_classification", True, "dev.char.bmes", "test.char.bmes"),
    "squad_v1/train-v1.1.json": ("squad", "question_answering", False, "dev-v1.1.json", "test-v1.1.json"),
    "squad_v2/train-v2.0.json": ("squad", "question_answering", False, "dev-v2.0.json", None),
    "cmrc2018/train.json": ("squad", "question_answering", True, "dev.json", "test.json"),
    "xquad/xquad.zh.json": ("squad", "question_answering", True, None, None),
    "semeval2010_task8/TRAIN_FILE.TXT": ("semeval", "relation_extraction", False, None, "TEST_FILE_FULL.TXT"),
    "commonsenseqa/dev_rand_split.jsonl": ("json", "multiple_choice", False, None, None),
    "movielens_small/ratings.csv": ("ratings", "embedding", False, None, None),
}


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_guessed_right(name: str) -> None:
    source, task, foreign, dev, test = REAL[name]
    found = guess(DATA / name)
    assert (found.data["name"], found.task["name"], found.foreign) == (source, task, foreign)
    assert [Path(found.data[split]).name if split in found.data else None for split in ("dev", "test")] == [dev, test]
    assert ("movies.csv" in found.data.get("items", "")) == (source == "ratings")
