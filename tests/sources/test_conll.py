"""CoNLL files: columns found by looking, and every way in which such files are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tiny import SHARED
from weitiao.core.contracts import Split
from weitiao.core.rows import Record
from weitiao.errors import BadRow, BadValue, EmptySplit, MissingColumn, MissingFile, WeitiaoError
from weitiao.sources.conll import Conll

NEWS = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP I-PER\nBlackburn NNP I-NP I-PER\n"
DATA = SHARED


def read(path: Path, text: str | bytes, *, split: Split = "train", bad: list[str] | None = None, **fields: Any) -> list[Record]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    problems: list[str] = [] if bad is None else bad
    found = list(Conll.model_validate({split: str(path), **fields}).records(split, problems.append))
    if bad is None:
        assert problems == []
    return found


def pairs(records: list[Record]) -> list[list[tuple[str, str]]]:
    return [list(zip(r.values["tokens"], r.values["tags"], strict=True)) for r in records]


def test_four_columns_with_document_lines_give_the_first_and_the_last_column(tmp_path: Path) -> None:
    found = read(tmp_path / "eng.train", NEWS)
    assert pairs(found) == [[("EU", "I-ORG"), ("rejects", "O")], [("Peter", "I-PER"), ("Blackburn", "I-PER")]]
    assert [r.line for r in found] == [3, 6] and found[0].place == f"{tmp_path}/eng.train:3"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("between", "blank"), [("\t", "\t"), ("\t", ""), (" ", " "), ("   ", "")])
def test_separators_line_ends_and_blank_lines_do_not_matter(tmp_path: Path, end: str, mark: str, between: str, blank: str) -> None:
    lines = [f"Ann{between}B-person", f"ran{between}O", blank, blank, f"home{between}O"]
    assert pairs(read(tmp_path / "a", mark + end.join(lines))) == [[("Ann", "B-person"), ("ran", "O")], [("home", "O")]]


def test_the_digit_behind_every_character_is_taken_off_and_no_other_digit(tmp_path: Path) -> None:
    text = "科0\tO\n技1\tO\n20\tO\n😀0\tO\n\n李0\tB-PER.NAM\n"
    assert [r.values["tokens"] for r in read(tmp_path / "a", text)] == [["科", "技", "2", "😀"], ["李"]]
    assert read(tmp_path / "a", text, strip_digit=False)[1].values["tokens"] == ["李0"]
    assert read(tmp_path / "a", "a1\tO\nb2\tB-X\n")[0].values["tokens"] == ["a1", "b2"], "names, not segmented characters"
    assert read(tmp_path / "a", "科 O\n技1 O\n")[0].values["tokens"] == ["科", "技1"]


def test_tags_of_every_scheme_stay_as_they_are(tmp_path: Path) -> None:
    for tags in (["B-A", "M-A", "E-A", "S-B"], ["B_A", "I_A", "O", "O"], ["I-A", "L-A", "U-B", "O"]):
        assert read(tmp_path / "a", "".join(f"字 {tag}\n" for tag in tags))[0].values["tags"] == tags


def test_a_token_may_be_a_space_that_is_no_ascii_space(tmp_path: Path) -> None:
    found = read(tmp_path / "a", "\u3000 O\n\u00a0 O\n甲 S-X\n")
    assert found[0].values["tokens"] == ["\u3000", "\u00a0", "甲"]


def test_comments_above_a_sentence_are_left_out_and_a_token_of_the_same_sign_is_not(tmp_path: Path) -> None:
    found = read(tmp_path / "a", "# id 7 domain=en\n# _ _ O\nx _ _ B-A\n\n# _ _ O\n")
    assert [r.values["tokens"] for r in found] == [["#", "x"], ["#"]]


def test_columns_can_be_named_and_then_hold_any_tags(tmp_path: Path) -> None:
    text = "1 The DET\n2 cat NOUN\n"
    with pytest.raises(MissingColumn, match=r"a: no column holds tags such as O, B-PER or I-PER; a line has 3 columns\.") as caught:
        read(tmp_path / "a", text)
    assert "data.tag_column" in caught.value.hint
    found = read(tmp_path / "a", text, token_column=2, tag_column=3)
    assert pairs(found) == [[("The", "DET"), ("cat", "NOUN")]]
    with pytest.raises(BadValue, match=r"data.tag_column: .*a has 3 columns, and 4 is none of them"):
        read(tmp_path / "a", text, tag_column=4)
    assert dict(read(tmp_path / "a", "The\ncat\n", tag_column=3, split="test")[0].values) == {"tokens": ["The", "cat"]}
    with pytest.raises(BadValue, match="data.token_column"):
        read(tmp_path / "a", text, token_column=4)


def test_a_test_file_may_hold_tokens_alone_and_train_may_not(tmp_path: Path) -> None:
    assert [dict(r.values) for r in read(tmp_path / "a", "one\ntwo\n\nthree\n", split="test")] == [{"tokens": ["one", "two"]}, {"tokens": ["three"]}]
    with pytest.raises(MissingColumn, match="no column holds tags .* a line has one column"):
        read(tmp_path / "a", "one\ntwo\n")


def test_a_test_file_without_the_last_column_does_not_take_chunks_for_tags(tmp_path: Path) -> None:
    (tmp_path / "train").write_text(NEWS)
    found = read(tmp_path / "test", "EU NNP I-NP\nrejects VBZ I-VP\n", split="test", train=str(tmp_path / "train"))
    assert dict(found[0].values) == {"tokens": ["EU", "rejects"]}


def test_other_encodings_are_read_when_named(tmp_path: Path) -> None:
    assert read(tmp_path / "a", "科 B-X\n".encode("gb18030"), encoding="gb18030")[0].values["tokens"] == ["科"]


GOOD = "a O\nb B-X\n\n" * 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "c\nd O\n", "a:61: expected 2 columns, got 1: is one missing?"),
        (GOOD + "c O\nd e O\n", "a:62: expected 2 columns, got 3: a token with a space in it?"),
        (GOOD + "c O\nd PERSON\n", "a:62: expected a tag such as O or B-PER in column 2, got 'PERSON'"),
        (GOOD.replace(" ", "\t") + "c\tO\n\tO\n", "a:62: the token is empty"),
        (GOOD.replace(" ", "\t") + "c\t\n", "a:61: expected a tag such as O or B-PER in column 2, got ''"),
    ],
)
def test_a_damaged_sentence_is_named_by_its_line_and_the_others_are_read(tmp_path: Path, text: str, said: str) -> None:
    bad: list[str] = []
    assert len(read(tmp_path / "a", text + "\nlast O\n".replace(" ", text[1]), bad=bad)) == 21
    assert bad == [f"{tmp_path}/{said}"]


def test_a_file_without_empty_lines_is_refused_and_a_longer_limit_reads_it(tmp_path: Path) -> None:
    text = "word O\n" * 50_000
    with pytest.raises(BadRow, match=r"a:1: a sentence of more than 20,000 lines begins here") as caught:
        read(tmp_path / "a", text)
    assert "empty line between sentences" in caught.value.hint
    assert len(read(tmp_path / "a", text, longest=50_000)[0].values["tokens"]) == 50_000


@pytest.mark.parametrize(
    ("raw", "error", "said"),
    [(b"", EmptySplit, "is empty"), (b"a O\nb\0 O\n", BadRow, "a:2: a NUL byte"), (b"a O\n\xff O\n", BadRow, "a:2: byte 0xff at column 1 is not utf-8")],
)
def test_what_is_no_text_is_named(tmp_path: Path, raw: bytes, error: type[WeitiaoError], said: str) -> None:
    with pytest.raises(error, match=said):
        read(tmp_path / "a", raw)
    with pytest.raises(MissingFile):
        list(Conll(train=str(tmp_path / "none")).records("train", print))


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.one_of(st.binary(max_size=80), st.text(alphabet="aOB-X \t\r\n#1科", max_size=80).map(str.encode)), split=st.sampled_from(["train", "test"]))
@example(raw=b"\n \n\t\n", split="train")
def test_no_file_ever_causes_anything_but_sentences_or_a_clear_error(tmp_path: Path, raw: bytes, split: Split) -> None:
    try:
        for record in read(tmp_path / "fuzz", raw, split=split, bad=[]):
            values = json.loads(json.dumps(dict(record.values)))
            assert values["tokens"] and all(values["tokens"])
            assert len(values.get("tags", values["tokens"])) == len(values["tokens"])
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize(
    ("file", "sentences", "kinds"),
    [  # sentences as the data's README counts them; kinds of entities as the data sets' papers list them
        ("conll2003/eng.train", 6582, 4),
        ("conll2003/eng.testa", 1693, 4),
        ("conll2003/eng.testb", 3453, 4),
        ("wnut17/wnut17train.conll", 3394, 6),
        ("wnut17/emerging.test.annotated", 1287, 6),
        ("weibo_ner/weiboNER_2nd_conll.train", 1350, 8),
        ("weibo_ner/weiboNER_2nd_conll.test", 270, 8),
        ("resume_ner/train.char.bmes", 3821, 8),
        ("resume_ner/dev.char.bmes", 463, 8),
    ],
)
def test_real_files_are_read_without_settings(file: str, sentences: int, kinds: int) -> None:
    bad: list[str] = []
    found = list(Conll(train=str(DATA / file)).records("train", bad.append))
    assert (len(found), bad) == (sentences, [])
    assert len({tag[2:] for r in found for tag in r.values["tags"]} - {""}) == kinds
    if file.startswith("weibo"):
        assert max(len(token) for r in found for token in r.values["tokens"]) <= 2 and not found[0].values["tokens"][0].endswith("0")
