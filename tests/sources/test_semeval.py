"""SemEval-2010 task 8: entities as spans of the plain sentence, and markers that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny import SHARED as DATA
from weitiao.core.contracts import Split
from weitiao.core.rows import Record
from weitiao.errors import WeitiaoError
from weitiao.sources.semeval import Semeval

FIRST = '8\t"The <e1>child</e1> was wrapped into the <e2>warm cradle</e2>."'
BLOCKS = f'{FIRST}\r\nEntity-Destination(e1,e2)\r\nComment: so\r\n\r\n9\t"<e1>Tea</e1> and <e2>milk</e2>"\r\nOther\r\nComment:\r\n\r\n'


def read(path: Path, text: str, *, split: Split = "train", bad: list[str] | None = None) -> list[Record]:
    path.write_bytes(text.encode())
    problems: list[str] = [] if bad is None else bad
    found = list(Semeval.model_validate({split: str(path)}).records(split, problems.append))
    if bad is None:
        assert problems == []
    return found


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("comment", [True, False])
def test_blocks_become_plain_sentences_with_spans(tmp_path: Path, end: str, comment: bool) -> None:
    text = "\r\n".join(line for line in BLOCKS.split("\r\n") if comment or not line.startswith("Comment"))
    first, second = read(tmp_path / "a", text.replace("\r\n", end))
    assert first.values["text"] == "The child was wrapped into the warm cradle." and first.values["label"] == "Entity-Destination(e1,e2)"
    assert [first.values["text"][slice(*first.values[name])] for name in ("head", "tail")] == ["child", "warm cradle"]
    assert (second.values["text"], second.values["head"], second.values["tail"], second.values["label"]) == ("Tea and milk", [0, 3], [8, 12], "Other")
    assert (first.id, first.line, second.id, second.line) == ("8", 1, "9", 5 if comment else 4)


def test_the_second_entity_may_stand_first(tmp_path: Path) -> None:
    found = read(tmp_path / "a", '1\t"A <e2>b</e2> of <e1>c</e1>"\nOther\n')
    assert (found[0].values["head"], found[0].values["tail"]) == ([7, 8], [2, 3])


def test_a_test_file_may_hold_sentences_alone(tmp_path: Path) -> None:
    text = f"{FIRST}\n9{FIRST[1:]}\n\n"
    found = read(tmp_path / "a", text, split="test")
    assert [(r.id, r.line, "label" in r.values) for r in found] == [("8", 1, False), ("9", 2, False)]
    bad: list[str] = []
    assert read(tmp_path / "a", text, bad=bad) == []
    assert bad[0] == f"{tmp_path}/a:1: sentence 8: expected one line with the relation below the sentence, got 0"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (FIRST.replace("<e2>", "") + "\nOther\n", "a:7: sentence 8: expected <e2> once, got it 0 times"),
        (FIRST.replace("</e1>", "</e1></e1>") + "\nOther\n", "a:7: sentence 8: expected </e1> once, got it 2 times"),
        (FIRST.replace("<e1>child</e1>", "</e1>child<e1>") + "\nOther\n", "a:7: sentence 8: <e1> marks nothing"),
        (FIRST.replace("child", "") + "\nOther\n", "a:7: sentence 8: <e1> marks nothing"),
        (FIRST + "\nOther\nCause-Effect(e1,e2)\n", "a:7: sentence 8: expected one line with the relation below the sentence, got 2"),
        (FIRST.removeprefix("8\t") + "\nOther\n", "a:7: expected a number, a tab and a quoted sentence, got '\"The <e1>child"),
    ],
)
def test_a_damaged_block_is_named_and_the_others_are_read(tmp_path: Path, block: str, said: str) -> None:
    good = BLOCKS.split("\r\n\r\n")[1].replace("\r\n", "\n") + "\n\n"
    bad: list[str] = []
    found = read(tmp_path / "a", good.replace("Comment:\n", "Comment:\nComment: more\n") + "\n" + block + "\n" + good, bad=bad)
    assert len(found) == 2 and len(bad) == 1 and said in bad[0]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.lists(st.sampled_from(["<e1>", "</e1>", "<e2>", "</e2>", "a", " ", "\n", "1\t", '"', "Other", "Comment", "\r", "科"]), max_size=16).map("".join))
def test_no_file_ever_causes_anything_but_spans_inside_the_sentence_or_a_clear_error(tmp_path: Path, text: str) -> None:
    try:
        for record in read(tmp_path / "a", text, bad=[]):
            for name in ("head", "tail"):
                start, end = record.values[name]
                assert 0 <= start < end <= len(record.values["text"])
            assert "<e" not in record.values["text"]
    except WeitiaoError as error:
        assert error.hint and "\n" not in error.message


@pytest.mark.field
@pytest.mark.skipif(not DATA.is_dir(), reason="the development data (shared/data) is not on this machine")
@pytest.mark.parametrize(("file", "count"), [("TRAIN_FILE.TXT", 8000), ("TEST_FILE_FULL.TXT", 2717)])
def test_real_files_are_read_whole(file: str, count: int) -> None:
    bad: list[str] = []
    path = DATA / "semeval2010_task8" / file
    found = list(Semeval(train=str(path)).records("train", bad.append))
    assert (len(found), bad) == (count, []) and len({r.values["label"] for r in found}) == 19
    lines = path.read_text(encoding="utf-8").splitlines()
    for record in found:
        text, head, tail = (record.values[key] for key in ("text", "head", "tail"))
        marked = f"{text[: head[0]]}<e1>{text[slice(*head)]}</e1>{text[head[1] : tail[0]]}<e2>{text[slice(*tail)]}</e2>{text[tail[1] :]}"
        assert lines[(record.line or 0) - 1] == f'{record.id}\t"{marked}"'
