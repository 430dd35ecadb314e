"""What a data file is guessed to be: formats, columns, kinds of task, and files that nothing can be said about."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn, MissingFile, WeitiaoError
from weitiao.inspect import reading
from weitiao.inspect.guess import Guess, guess
from weitiao.sources.csv import Csv

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GOOD = ["a warm and funny film", "moving, gentle and wise", "the best acting this year", "I would watch it again", "great fun for everyone"]
POOR = ["dull from start to end", "badly written, badly shot", "a waste of two hours", "I left before the end", "nobody needs this film"]
PAIRS = [pair for n in range(4) for good, poor in zip(GOOD, POOR, strict=True) for pair in ((f"{good} {n}", "pos"), (f"{poor} {n}", "neg"))]


def write(path: Path, rows: list[Any], *, sep: str = ",", end: str = "\n", encoding: str = "utf-8") -> Path:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if sep != "\t" and (sep in cell or '"' in cell or "\n" in cell) else cell

    path.write_bytes("".join(sep.join(quoted(str(cell)) for cell in row) + end for row in rows).encode(encoding))
    return path


def why(found: Guess, what: str) -> str:
    return next(reason.why for reason in found.reasons if reason.what == what)


# ---------------------------------------------------------------- how the file is read


def test_a_plain_csv_needs_no_settings_but_text_and_label(tmp_path: Path) -> None:
    path = write(tmp_path / "reviews.csv", [("sentence", "mood"), *PAIRS])
    found = guess(path)
    assert found.data == {"name": "csv", "train": str(path), "text": "sentence", "label": "mood"}
    assert found.task == {"name": "text_classification", "problem_type": "single_label_classification", "max_length": 64}
    assert found.train == {"epochs": 10, "batch_size": 32, "seed": 1}
    assert found.records == 40 and not found.foreign
    assert all(reason.why for reason in found.reasons)


@pytest.mark.parametrize("sep", [";", "|", "\t"])
def test_other_delimiters_are_found(tmp_path: Path, sep: str) -> None:
    found = guess(write(tmp_path / "reviews.csv", [("text", "label"), *PAIRS], sep=sep))
    assert found.data["delimiter"] == ("\\t" if sep == "\t" else sep)
    assert (found.data["text"], found.data["label"]) == ("text", "label")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030", "latin-1"])
def test_encodings_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path, encoding: str) -> None:
    words = ("schön", "übel") if encoding == "latin-1" else ("这家酒店很好", "房间太小了，很吵")
    rows = [(f"{words[n % 2]} {n}", n % 2) for n in range(30)]
    found = guess(write(tmp_path / "train.tsv", [("text_a", "label"), *rows], sep="\t", end="\r\n", encoding=encoding))
    assert (found.data["text"], found.data["label"]) == ("text_a", "label")
    assert found.data.get("encoding", "utf-8-sig") == encoding
    assert found.foreign == (encoding != "latin-1")


def test_a_headerless_news_csv_gets_names_for_its_columns(tmp_path: Path) -> None:
    rows = [(n % 4 + 1, f"Headline number {n} of the day", f"Reuters - this is what happened at place {n}, and more of it follows.") for n in range(40)]
    path = tmp_path / "news.csv"
    path.write_text("".join(f'"{a}","{b}","{c}"\n' for a, b, c in rows))
    found = guess(path)
    assert found.data["header"] is False and found.data["columns"] == ["label", "title", "description"]
    assert (found.data["text"], found.data["label"]) == (["title", "description"], "label")
    assert "'1' is a number among numbers" in why(found, "data.header")


def test_titles_and_class_numbers_without_header_are_read(tmp_path: Path) -> None:
    rows = [(f"体验2D巅峰 倚天屠龙记十大创新概览{n}", n % 10) for n in range(60)]
    found = guess(write(tmp_path / "train.txt", rows, sep="\t"))
    assert found.data["columns"] == ["text", "label"] and found.data["header"] is False and found.foreign


def test_words_as_classes_without_header_are_seen_to_come_again(tmp_path: Path) -> None:
    found = guess(write(tmp_path / "reviews.csv", PAIRS))
    assert found.data["header"] is False and "'pos' comes again below" in why(found, "data.header")


def test_an_unnamed_index_column_is_left_alone(tmp_path: Path) -> None:
    rows = [(n, f"2024-01-{n % 28 + 1:02d}", *pair) for n, pair in enumerate(PAIRS)]
    found = guess(write(tmp_path / "frame.csv", [("", "day", "text", "label"), *rows]))
    assert (found.data["text"], found.data["label"]) == ("text", "label") and "header" not in found.data


def test_a_header_that_counts_the_columns_is_a_header(tmp_path: Path) -> None:
    found = guess(write(tmp_path / "frame.csv", [("0", "1"), *PAIRS]))
    assert (found.data["text"], found.data["label"]) == ("0", "1") and "header" not in found.data


def test_quotes_are_plain_characters_in_glue_files_and_quotes_elsewhere(tmp_path: Path) -> None:
    plain = write(tmp_path / "glue.tsv", [("sentence", "label"), ('"so it goes', 1), ('the "best', 0), *PAIRS], sep="\t")
    assert "quote" not in guess(plain).data
    quoted = tmp_path / "pandas.tsv"
    quoted.write_text("sentence\tlabel\n" + "".join(f'"he said ""{text}""\tthere"\t{label}\n' for text, label in PAIRS))
    assert guess(quoted).data["quote"] == '"'
    unclosed = tmp_path / "unquoted.csv"
    unclosed.write_text("text;label\n" + "".join(f'{text};{label}\n"{text} {n};{label}\n' for n, (text, label) in enumerate(PAIRS)))
    found = guess(unclosed)
    assert found.data["quote"] == "" and found.data["delimiter"] == ";"


def test_a_stray_quote_beyond_the_first_thousand_rows_is_still_seen(tmp_path: Path) -> None:
    rows = [(f"text number {n} is here", n % 2) for n in range(1500)]
    path = write(tmp_path / "long.csv", [("text", "label"), *rows])
    with path.open("a") as file:
        file.write('"this quote never closes,1\n')
    found = guess(path)
    assert found.data["quote"] == "" and found.records == 1501


@pytest.mark.parametrize("style", ["array", "lines"])
def test_json_arrays_and_lines_are_read(tmp_path: Path, style: str) -> None:
    objects = [{"id": n, "review_body": text, "stars": n % 5 + 1} for n, (text, _) in enumerate(PAIRS)]
    path = tmp_path / ("a.json" if style == "array" else "a.data")
    path.write_text(json.dumps(objects, indent=1) if style == "array" else "\n".join(map(json.dumps, objects)))
    found = guess(path)
    assert found.data == {"name": "json", "train": str(path.resolve()), "text": "review_body", "label": "stars"}


def test_guesses_are_made_from_all_over_a_sorted_file(tmp_path: Path) -> None:
    rows = [(f"text {n} of class {n // 5000}", "ab"[n // 5000]) for n in range(10_000)]
    found = guess(write(tmp_path / "sorted.csv", [("text", "label"), *rows]))
    assert found.records == 10_000 and "2 classes" in why(found, "task.problem_type")
    sample = reading.sampled(Csv(train=str(tmp_path / "sorted.csv")), keep=100, read=9_000)
    lines = [record.line for record in sample.records]
    assert len(lines) == 100 and lines == sorted(lines) and sample.count == 9_000


# ---------------------------------------------------------------- which column is what


def test_the_name_decides_between_columns_that_could_both_be_the_label(tmp_path: Path) -> None:
    rows = [(text, f"intent_{n % 8}", f"{n % 3}", "en", f"kind_{n % 4}") for n, (text, _) in enumerate(PAIRS)]
    found = guess(write(tmp_path / "a.csv", [("utterance", "intent", "fold", "language", "category"), *rows]))
    assert found.data["label"] == "intent"


def test_the_question_is_the_text_and_the_longer_answer_is_not(tmp_path: Path) -> None:
    rows = [(text, f"We are sorry to hear that. {text} " * 4, label) for text, label in PAIRS]
    assert guess(write(tmp_path / "a.csv", [("instruction", "response", "intent"), *rows])).data["text"] == "instruction"


@pytest.mark.parametrize("names", [["sentence1", "sentence2"], ["#1 String", "#2 String"], ["premise", "hypothesis"], ["phrase_a", "phrase_b"]])
def test_two_sentences_are_joined(tmp_path: Path, names: list[str]) -> None:
    rows = [(n, text, f"{text} indeed", n % 2) for n, (text, _) in enumerate(PAIRS)]
    assert guess(write(tmp_path / "a.tsv", [("index", *names, "label"), *rows], sep="\t")).data["text"] == names


def test_a_column_whose_name_says_otherwise_is_the_label_where_nothing_else_can_be(tmp_path: Path) -> None:
    rows = [(n, text, ["English", "French", "Tamil"][n % 3]) for n, (text, _) in enumerate(PAIRS)]
    assert guess(write(tmp_path / "a.csv", [("id", "Text", "Language"), *rows])).data["label"] == "Language"


def test_single_words_can_be_the_text(tmp_path: Path) -> None:
    names = [("".join(random.Random(n).choices("abcdefgh", k=7)), "fm"[n % 2]) for n in range(40)]
    assert guess(write(tmp_path / "names.csv", [("person", "gender"), *names])).data["text"] == "person"


def test_numbers_with_decimals_make_a_regression(tmp_path: Path) -> None:
    rows = [(n % 3, text, text + " too", f"{n % 11 / 2}") for n, (text, _) in enumerate(PAIRS)]
    found = guess(write(tmp_path / "sts.tsv", [("genre", "sentence1", "sentence2", "score"), *rows], sep="\t"))
    assert found.data["label"] == "score" and found.task["problem_type"] == "regression"
    assert "from 0.0 to 5.0" in why(found, "data.label")


def test_whole_numbers_are_classes_unless_they_are_many_and_scattered(tmp_path: Path) -> None:
    codes = [(f"{text} {n}", n % 60) for n, (text, _) in enumerate(PAIRS * 10)]
    assert guess(write(tmp_path / "codes.csv", [("text", "label"), *codes])).task["problem_type"] == "single_label_classification"
    for many, name in ((5000, "label"), (100, "score")):
        scores = [(f"{text} {n}", (n * 7919) % many) for n, (text, _) in enumerate(PAIRS * 5)]
        assert guess(write(tmp_path / "scores.csv", [("text", name), *scores])).task["problem_type"] == "regression"


@pytest.mark.parametrize("sep", [",", ";", "|"])
def test_cells_of_several_labels_are_multi_label(tmp_path: Path, sep: str) -> None:
    draw = random.Random(1)
    kinds = ["action", "comedy", "drama", "horror", "romance"]
    rows = [(text, sep.join(sorted(draw.sample(kinds, draw.randint(1, 3))))) for text, _ in PAIRS]
    found = guess(write(tmp_path / "a.tsv", [("plot", "genres"), *rows], sep="\t"))
    assert found.task["problem_type"] == "multi_label_classification" and found.data["label"] == "genres"
    assert found.task.get("label_separator", ",") == sep


def test_a_comma_inside_the_name_of_a_class_is_not_a_separator(tmp_path: Path) -> None:
    rows = [(text, ["arts, culture", "sports", "trade, industry"][n % 3]) for n, (text, _) in enumerate(PAIRS)]
    assert guess(write(tmp_path / "a.csv", [("text", "topic"), *rows])).task["problem_type"] == "single_label_classification"


def test_json_lists_are_multi_label_even_where_most_are_empty(tmp_path: Path) -> None:
    objects = [{"text": text, "tags": [["x"], ["x", "y"], ["z"]][n % 3] if n % 4 == 0 else []} for n, (text, _) in enumerate(PAIRS)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, objects)))
    found = guess(path)
    assert found.task["problem_type"] == "multi_label_classification" and found.data["label"] == "tags"


def test_columns_of_0_and_1_are_one_label_each(tmp_path: Path) -> None:
    rows = [(n, text, n % 2, int(n % 5 == 0), int(n % 7 == 0), 0) for n, (text, _) in enumerate(PAIRS)]
    found = guess(write(tmp_path / "a.csv", [("id", "comment_text", "toxic", "obscene", "insult", "threat"), *rows]))
    assert found.data["label"] == ["toxic", "obscene", "insult", "threat"] and found.task["problem_type"] == "multi_label_classification"
    headerless = guess(write(tmp_path / "b.csv", [row[1:] for row in rows]))
    assert headerless.data["columns"] == ["text", "label_1", "label_2", "label_3", "label_4"] and headerless.data["label"] == headerless.data["columns"][1:]


@pytest.mark.parametrize(("words", "length"), [(10, 64), (80, 128), (180, 256), (300, 512), (900, 512)])
def test_max_length_holds_nearly_all_texts(tmp_path: Path, words: int, length: int) -> None:
    rows = [(f"{text} " + "word " * words, label) for text, label in PAIRS]
    found = guess(write(tmp_path / "a.csv", [("text", "label"), *rows]))
    assert found.task["max_length"] == length
    assert ("100 % of the texts are longer" in why(found, "task.max_length")) == (words == 900)


def test_a_chinese_character_counts_as_a_token(tmp_path: Path) -> None:
    rows = [("好" * 100 + str(n), n % 2) for n in range(40)]
    assert guess(write(tmp_path / "a.csv", [("text", "label"), *rows])).task["max_length"] == 128


# ---------------------------------------------------------------- conversations and plain text


def objects(path: Path, rows: list[dict[str, Any]], *, lines: bool) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=1))
    return path


def talk(question: str, answer: str, role: str = "role", content: str = "content") -> list[dict[str, str]]:
    asks, says = ("user", "assistant") if role == "role" else ("human", "gpt")
    return [{role: asks, content: question}, {role: says, content: answer}]


ASKED = [(f"What is thing {n} good for?", f"Thing {n} is good for {n} uses, and more of them.") for n in range(30)]
TALKS = {
    "messages": [{"id": n, "messages": talk(*pair)} for n, pair in enumerate(ASKED)],
    "sharegpt": [{"conversations": talk(*pair, "from", "value"), "system": "", "tools": ""} for pair in ASKED],
    "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in ASKED],
    "alpaca of one instruction": [{"instruction": "Answer.", "input": q, "output": a} for q, a in ASKED],
    "completion": [{"prompt": q, "completion": a} for q, a in ASKED],
    "response": [{"prompt": q, "response": a, "source": "x"} for q, a in ASKED],
    "answer": [{"question": q, "answer": a} for q, a in ASKED],
    "two who take turns": [{"name": "x", "messages": [{"message": q}, {"message": a, "attrs": []}]} for q, a in ASKED],
}


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "array"])
@pytest.mark.parametrize("kind", TALKS)
def test_conversations_become_a_chat(tmp_path: Path, kind: str, lines: bool) -> None:
    path = objects(tmp_path / "talk.json", TALKS[kind], lines=lines)
    found = guess(path)
    assert found.data == {"name": "json", "train": str(path)}
    assert found.task == {"name": "chat", "max_length": 256} and found.method == {"name": "lora"}
    assert found.train == {"epochs": 3, "batch_size": 16, "seed": 1}
    assert found.records == 30 and not found.foreign and "each holds" in why(found, "task.name")


def test_of_conversations_with_calls_the_last_call_is_compared(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    rows = [{"messages": [{"role": "user", "content": q}, call, {"role": "tool", "content": "1"}, *talk(q, a)[1:]]} for q, a in ASKED]
    found = guess(objects(tmp_path / "a.json", rows, lines=True))
    assert found.task == {"name": "chat", "max_length": 256, "answer": "call"} and "in 30 conversations" in why(found, "task.answer")


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("math_reasoning", [{"question": q, "answer": f"{a}\n#### {n}"} for n, (q, a) in enumerate(ASKED)]),
        ("math_reasoning", [{"problem": q, "solution": f"{a} $\\boxed{{{n}}}$", "level": 3} for n, (q, a) in enumerate(ASKED)]),
        (
            "code_generation",
            [{"prompt": f"def f{n}(x):\n", "canonical_solution": f"    return {n}\n", "test": "def check(c): pass", "entry_point": f"f{n}"} for n in range(30)],
        ),
        ("code_generation", [{"text": q, "code": f"def f{n}(x):\n    return {n}", "test_list": [f"assert f{n}(1) == {n}"]} for n, (q, _) in enumerate(ASKED)]),
    ],
)
def test_worked_answers_and_code_with_tests_are_no_chat(tmp_path: Path, task: str, rows: list[dict[str, Any]]) -> None:
    found = guess(objects(tmp_path / "rows.jsonl", rows, lines=True))
    assert (found.task["name"], found.method, found.train["epochs"]) == (task, {"name": "lora"}, 3)
    assert not any(reason.what == "data.bad_rows" for reason in found.reasons)


def test_an_instruction_with_a_class_as_its_output_stays_a_classification(tmp_path: Path) -> None:
    rows = [{"instruction": "Judge the film.", "input": text, "output": label} for text, label in PAIRS]
    found = guess(objects(tmp_path / "a.json", rows, lines=True))
    assert found.task["name"] == "text_classification" and found.data["label"] == "output"


def test_a_label_beside_question_and_answer_is_the_label(tmp_path: Path) -> None:
    rows = [{"prompt": q, "response": a, "category": "abc"[n % 3]} for n, (q, a) in enumerate(ASKED)]
    assert guess(objects(tmp_path / "a.json", rows, lines=True)).data["label"] == "category"


@pytest.mark.parametrize("extra", [{"chosen": "a", "rejected": "b"}, {"label": True}])
def test_answers_that_are_judged_are_no_chat(tmp_path: Path, extra: dict[str, Any]) -> None:
    rows = [{"messages": talk(*pair), **extra} for pair in ASKED]
    with pytest.raises(WeitiaoError):
        guess(objects(tmp_path / "a.json", rows, lines=True))


def test_conversations_that_training_would_stop_at_are_pointed_out(tmp_path: Path) -> None:
    path = objects(tmp_path / "a.jsonl", [*TALKS["messages"], {"messages": talk("why?", "")}], lines=True)
    assert f"{path}:31: messages[2]: the answer is empty" in why(guess(path), "data.bad_rows")


def test_dev_and_test_of_conversations_lie_beside(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        objects(tmp_path / f"{name}.json", TALKS["alpaca"], lines=False)
    objects(tmp_path / "test.json", [{"text": "x"}], lines=False)
    found = guess(tmp_path / "train.json")
    assert found.data["dev"] == str(tmp_path / "dev.json") and "test" not in found.data
    assert "no conversation is found" in why(found, "data.test")


@pytest.mark.parametrize(("words", "length"), [(30, 256), (300, 512), (5000, 2048)])
def test_max_length_holds_nearly_all_conversations(tmp_path: Path, words: int, length: int) -> None:
    rows = [{"prompt": q, "completion": a + " word" * words} for q, a in ASKED]
    assert guess(objects(tmp_path / "a.json", rows, lines=True)).task["max_length"] == length


PROSE = "It was a dark night, and the rain fell in torrents; except at times, when it was checked by wind.\n\nThen he spoke.\n"


@pytest.mark.parametrize("name", ["book.txt", "book.md", "book"])
def test_prose_becomes_language_modeling(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(PROSE * 400)
    found = guess(path)
    assert found.data == {"name": "text", "train": str(path), "block_characters": 200}
    assert found.task == {"name": "language_modeling", "max_length": 512, "end_token": False} and found.method == {"name": "lora"}
    assert found.records >= 150 and found.size.endswith("blocks of text")


def test_chinese_prose_in_its_own_encoding_is_text_too(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(("夜色很深，雨下得很大。他站在门口，没有说话。\n" * 200).encode("gb18030"))
    found = guess(path)
    assert found.data["name"] == "text" and found.data["encoding"] == "gb18030" and found.foreign


@pytest.mark.parametrize(
    "content",
    ["word\n" * 500, "a short note, no more.\n", "".join(f"sentence number {n}\tSatz Nummer {n}\n" for n in range(200))],
    ids=["a list of words", "a note", "pairs of sentences"],
)
def test_what_is_no_prose_is_not_taken_for_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(WeitiaoError):
        guess(tmp_path / "a.txt")


def test_a_text_file_with_labels_stays_a_classification(tmp_path: Path) -> None:
    found = guess(write(tmp_path / "train.txt", PAIRS, sep="\t"))
    assert found.task["name"] == "text_classification"


# ---------------------------------------------------------------- dev and test beside it


@pytest.mark.parametrize(
    ("train", "dev", "test"), [("train.csv", "valid.csv", "test.csv"), ("Train.csv", "Dev.csv", "Test.csv"), ("x_train_2.csv", "x_val_2.csv", "x_test_2.csv")]
)
def test_dev_and_test_beside_the_file_are_taken(tmp_path: Path, train: str, dev: str, test: str) -> None:
    for name in (train, dev, test):
        write(tmp_path / name, [("text", "label"), *PAIRS])
    write(tmp_path / "latest.csv", [("text", "label"), *PAIRS])
    found = guess(tmp_path / train)
    assert (found.data["dev"], found.data["test"]) == (str(tmp_path / dev), str(tmp_path / test))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("index", "text"), *((n, text) for n, (text, _) in enumerate(PAIRS))], "no column 'label'"),
        ([("text", "label"), *((text, "") for text, _ in PAIRS)], "the label is empty"),
        ([("text", "label"), *((text, -1) for text, _ in PAIRS)], "the label '-1', which no training row has"),
        ([("text", "label")], "holds no record"),
        ([], "is empty"),
        ([("text", "label"), ("only one cell",)], "no record like those"),
    ],
)
def test_a_file_beside_it_without_labels_is_not_taken_and_said_so(tmp_path: Path, rows: list[Any], said: str) -> None:
    write(tmp_path / "train.csv", [("text", "label"), *PAIRS])
    write(tmp_path / "test.csv", rows)
    found = guess(tmp_path / "train.csv")
    assert "test" not in found.data
    assert said in why(found, "data.test") and next(r for r in found.reasons if r.what == "data.test").value is None
    write(tmp_path / "test-labeled.csv", [("text", "label"), *PAIRS], end="\r\n")
    assert guess(tmp_path / "train.csv").data["test"] == str(tmp_path / "test-labeled.csv")


def test_a_header_in_the_test_file_alone_keeps_it_out(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", PAIRS)
    write(tmp_path / "test.csv", [("text", "label"), *PAIRS])
    found = guess(tmp_path / "train.csv")
    assert "test" not in found.data and "names columns" in why(found, "data.test")


# ---------------------------------------------------------------- what cannot be guessed


def test_rows_that_training_would_stop_at_are_pointed_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "label"), *PAIRS, ("no label here", ""), ("", "pos")])
    with path.open("a") as file:
        file.write("a stray comma, here,pos\n")
    said = why(guess(path), "data.bad_rows")
    assert "3 records" in said and f"{path}:44: expected 2 cells" in said


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("missing.csv", None, MissingFile, "there is no file"),
        ("empty.csv", "", EmptySplit, "is empty"),
        ("header.csv", "text,label\n", EmptySplit, "too few records"),
        ("blank.jsonl", "\n\n", EmptySplit, "too few records"),
        ("words.csv", "one\ntwo\nthree\n", MissingColumn, "do not come apart into columns"),
        ("numbers.csv", "a,b\n1,2\n3,4\n5,6\n", MissingColumn, "no column looks like text"),
        ("only.csv", "text,n\n" + "".join(f"a text of words {n},{n}\n" for n in range(20)), MissingColumn, "no column looks like a label"),
        ("one.csv", "text,label\n" + "".join(f"a text of words {n},yes\n" for n in range(20)), EmptySplit, "one class only, 'yes'"),
        ("target.jsonl", "".join(f'{{"text": "long text {n}", "target": "summary {n}"}}\n' for n in range(30)), MissingColumn, "'target' (30 different in 30)"),
        ("tags.tsv", "".join(f"word{'abcdefgh'[n % 8]}\t{'O' if n % 3 else 'B-PER'}\n" for n in range(40)), MissingColumn, "no column looks like"),
        ("broken.json", '[{"text": "a b", "label": 1},\n {"text": "c d" "label": 2}]', BadRow, "broken.json:2: broken JSON"),
        ("broken.jsonl", '{"text": "a b", "label": 1}\n{"text": \n', BadRow, "broken.jsonl:2: this line is not JSON"),
        ("names.json", '["a", "b"]', EmptySplit, "expected an object"),
        ("nested.json", '{"data": [{"x": 1}]}', EmptySplit, "too few records"),
        ("table.xlsx", "PK", BadValue, "cannot read .xlsx files"),
        ("zeros.csv", "text,label\na b\0c,1\n", BadRow, "NUL byte"),
    ],
)
def test_a_file_that_cannot_be_guessed_gets_one_sentence_and_a_hint(
    tmp_path: Path, name: str, content: str | None, kind: type[WeitiaoError], said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(kind) as caught:
        guess(path)
    assert said in caught.value.message and str(path) in caught.value.message and caught.value.hint and "\n" not in caught.value.message


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="is a folder"):
        guess(tmp_path)


# ---------------------------------------------------------------- real data

SINGLE = "single_label_classification"
REAL: dict[str, tuple[str | list[str], str, list[str], int, str | None, str | None]] = {
    # file: (text, label, columns, classes, dev, test)
    "sst2/train.tsv": ("sentence", "label", [], 2, "dev.tsv", "test-labeled.tsv"),
    "financial_phrasebank/train.csv": ("Headline", "Sentiment", [], 3, "dev.csv", "test.csv"),
    "ag_news/train.csv": (["title", "description"], "label", ["label", "title", "description"], 4, "dev.csv", "test.csv"),
    "banking77/train.csv": ("text", "category", [], 77, None, "test.csv"),
    "bitext_customer_service/train.csv": ("utterance", "intent", [], 27, "dev.csv", "test.csv"),
    "chnsenticorp/train.tsv": ("text_a", "label", [], 2, "dev.tsv", "test.tsv"),
    "thucnews_titles/train.txt": ("text", "label", ["text", "label"], 10, "dev.txt", "test.txt"),
    "continual_zh_shopping/train.csv": ("review", "label", [], 2, "dev.csv", "test.csv"),
    "fine_food_reviews/fine_food_reviews_1k.csv": (["Summary", "Text"], "Score", [], 5, None, None),
    "boolq/train.json": ("sentence", "label", [], 2, "dev.json", "test.json"),
    "copa/train.json": ("sentence", "label", [], 2, None, "test.json"),
    "continual_5domains/1_yelp/train.json": ("sentence", "label", [], 5, "dev.json", "test.json"),
    "continual_5domains/2_amazon/train.json": ("sentence", "label", [], 5, "dev.json", "test.json"),
    "continual_5domains/3_dbpedia/train.json": ("sentence", "label", [], 14, "dev.json", "test.json"),
    "continual_5domains/4_agnews/train.json": ("sentence", "label", [], 4, "dev.json", "test.json"),
    "continual_5domains/5_imdb/train.json": ("sentence", "label", [], 2, "dev.json", "test.json"),
}


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize("name", REAL)
def test_real_classification_data_is_guessed_right(name: str) -> None:
    text, label, columns, classes, dev, test = REAL[name]
    found = guess(DATA / name)
    assert (found.data["text"], found.data["label"], found.data.get("columns") or []) == (text, label, columns)
    assert found.task["problem_type"] == SINGLE and f"one of {classes} classes" in why(found, "task.problem_type")
    assert [Path(found.data[split]).name if split in found.data else None for split in ("dev", "test")] == [dev, test]
    assert found.foreign == name.startswith(("chn", "thuc", "continual_zh")) and not any(reason.what == "data.bad_rows" for reason in found.reasons)


LANGUAGE: dict[str, tuple[str, bool, str | None, str | None]] = {
    # file: (task, foreign, dev, test)
    "alpaca_demo/alpaca_en_demo.json": ("chat", False, None, None),
    "alpaca_demo/alpaca_zh_demo.json": ("chat", True, None, None),
    "sharegpt_multiturn/sharegpt_zh.jsonl": ("chat", True, None, None),
    "medical_sft_zh/medical_sft.jsonl": ("chat", True, None, None),
    "toolcall_glaive/glaive_toolcall_en_demo.json": ("chat", False, None, None),
    "kdconv_travel/train.json": ("chat", True, "dev.json", "test.json"),
    "gsm8k/train.jsonl": ("math_reasoning", False, "dev.jsonl", "test.jsonl"),
    "ptb/ptb.valid.txt": ("language_modeling", False, None, None),
    "tinyshakespeare/input.txt": ("language_modeling", False, None, None),
    "wikitext2/valid.txt": ("language_modeling", False, None, None),
}


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize("name", LANGUAGE)
def test_real_conversations_and_texts_are_guessed_right(name: str) -> None:
    task, foreign, dev, test = LANGUAGE[name]
    found = guess(DATA / name)
    assert (found.task["name"], found.foreign, found.method) == (task, foreign, {"name": "lora"})
    assert [Path(found.data[split]).name if split in found.data else None for split in ("dev", "test")] == [dev, test]


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize(
    "name",
    [
        *(
            "preference_dpo/dpo_en_demo.json",
            "csl_title_zh/train.tsv",
            "tatoeba_en_zh/train.txt",
            "dialogsum/train.jsonl",
            "scitldr/train.jsonl",
        ),
        *(
            "sst2/test.tsv",
            "preference_kto/kto_en_demo.json",
            "multi30k_en_de/train.en.gz",
            "ag_news/classes.txt",
            "banking77/categories.json",
        ),
    ],
)
def test_real_data_of_other_tasks_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(WeitiaoError) as caught:
        guess(DATA / name)
    assert caught.value.hint and "\n" not in caught.value.message
