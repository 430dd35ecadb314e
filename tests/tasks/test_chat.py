"""Chat: which formats are read, what is refused with which words, what becomes of conversations that are too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_language
from weitiao.core.calls import calls_in
from weitiao.core.contracts import IGNORED, Prediction
from weitiao.core.recipe import Recipe
from weitiao.core.rows import Record, Row, Turn
from weitiao.errors import BadRow, MissingColumn, TooLong
from weitiao.evaluation import score
from weitiao.inspect import rows as inspect_rows
from weitiao.inspect.rows import rows_of
from weitiao.models import dialogue
from weitiao.models.locate import Located
from weitiao.models.tokens import Tokenizer
from weitiao.sources.csv import Csv
from weitiao.sources.json import Json
from weitiao.sources.squad import Squad
from weitiao.tasks.chat import Chat


def read(values: dict[str, Any], *, labelled: bool = True, data: dict[str, Any] | None = None, **task: Any) -> Row:
    return Chat(**task).read(Record(values, "a.json", 7, "id"), Json(train="a.json", **(data or {})), labelled=labelled)


def said(row: Row) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in row.turns]


def messages(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    made = tiny_language.tokenizer()
    made.chat_template = tiny_language.CHATML
    made.save_pretrained(folder)
    return Tokenizer(Located("tiny", str(folder), True, "tiny"), 256)


# ------------------------------------------------------------ formats

QA = [("user", "why?"), ("assistant", "so.")]


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ({"messages": [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}]}, QA),
        (
            {"messages": [{"role": "developer", "content": "S"}, {"role": "User", "content": "why?"}, {"role": "assistant", "content": "so."}]},
            [("system", "S"), *QA],
        ),
        ({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}]}, QA),
        ({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}], "system": "S"}, [("system", "S"), *QA]),
        ({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}]}, [("system", "S"), *QA]),
        ({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}], "tools": "[f]"}, [("system", "Tools: [f]"), *QA]),
        ({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}], "tools": "", "system": ""}, QA),
        (
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}], "tools": "[f]"},
            [("system", "S\n\nTools: [f]"), *QA],
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "2+2?"},
                    {"from": "function_call", "value": "add"},
                    {"from": "observation", "value": "4"},
                    {"from": "gpt", "value": "four"},
                ]
            },
            [("user", "2+2?"), ("assistant", "add"), ("tool", "4"), ("assistant", "four")],
        ),
        ({"instruction": "why?", "output": "so."}, QA),
        ({"instruction": "why?", "input": "", "output": "so."}, QA),
        ({"instruction": "why?", "input": None, "output": "so."}, QA),
        ({"instruction": "Sort.", "input": "b a", "output": "a b"}, [("user", "Sort.\nb a"), ("assistant", "a b")]),
        (
            {"instruction": "why?", "input": "", "output": "so.", "history": [["hi", "hello"]], "system": "S"},
            [("system", "S"), ("user", "hi"), ("assistant", "hello"), *QA],
        ),
        ({"prompt": "why?", "completion": "so."}, QA),
        ({"prompt": "why?", "response": "so."}, QA),
        ({"question": "why?", "answer": "so.", "source": "x"}, QA),
        ({"input": "why?", "output": "so."}, QA),
    ],
)
def test_every_format_becomes_the_same_turns(values: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    row = read(values)
    assert said(row) == turns and row.target == turns[-1][1]


def test_columns_of_a_table_are_named_in_text_and_label(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("topic,frage,antwort\npay,How?,By card.\n")
    for text, asked in (("frage", "How?"), (["topic", "frage"], "pay\nHow?")):
        (row,) = rows_of(Chat(), Csv(train=str(path), text=text, label="antwort"), "train", labelled=True)[0]
        assert said(row) == [("user", asked), ("assistant", "By card.")]
    with pytest.raises(MissingColumn, match=r"faq\.csv:2: there is no column 'antwrt'\. Did you mean 'antwort'\?"):
        rows_of(Chat(), Csv(train=str(path), text="frage", label="antwrt"), "train", labelled=True)


def test_text_is_what_is_asked_and_the_whole_talk_where_it_is_longer() -> None:
    assert read({"prompt": "why?", "completion": "so."}).text == "why?"
    assert read(messages("user", "assistant", "user", "assistant")).text == "user: user 0\nassistant: assistant 1\nuser: user 2"


def test_a_system_prompt_of_the_task_serves_conversations_without_one() -> None:
    assert said(read({"prompt": "why?", "completion": "so."}, system="S")) == [("system", "S"), *QA]
    assert said(read(messages("system", "user", "assistant"), system="S"))[0] == ("system", "system 0")


def test_a_last_question_without_answer_teaches_nothing_and_is_dropped() -> None:
    assert [turn.role for turn in read(messages("user", "assistant", "user")).turns] == ["user", "assistant"]
    assert [turn.role for turn in read(messages("user", "assistant", "tool")).turns] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ({"prompt": "why?"}, QA[:1]),
        ({"prompt": "why?", "completion": "so."}, QA[:1]),
        ({"question": "why?"}, QA[:1]),
        ({"instruction": "Sort.", "input": "b a"}, [("user", "Sort.\nb a")]),
        ({"messages": [{"role": "user", "content": "why?"}]}, QA[:1]),
        ({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so."}, {"from": "human", "value": "and?"}]}, [*QA, ("user", "and?")]),
    ],
)
def test_without_answers_everything_said_is_the_question(values: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    row = read(values, labelled=False)
    assert said(row) == turns and row.target is None


# ------------------------------------------------------------ functions

SUM = {"name": "sum", "description": "adds", "parameters": {}}
CALL = {"name": "sum", "arguments": {"x": [2, 2]}}


def called(*, first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "2+2?"}, first, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}], **more}


@pytest.mark.parametrize(
    "values",
    [
        called(
            first={
                "role": "assistant",
                "content": None,
                "tool_calls": [{"type": "function", "function": {"name": "sum", "arguments": '{"x": [2, 2]}'}}],
            },
            more={"tools": [{"type": "function", "function": SUM}]},
        ),
        called(first={"role": "assistant", "function_call": CALL}, more={"functions": [SUM]}),
        called(first={"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])}, more={"tools": json.dumps([SUM])}),
        {
            "conversations": [
                {"from": "human", "value": "2+2?"},
                {"from": "function_call", "value": json.dumps(CALL)},
                {"from": "observation", "value": "4"},
                {"from": "gpt", "value": "four"},
            ],
            "tools": json.dumps([SUM]),
        },
    ],
    ids=["openai", "openai of old", "json in text", "sharegpt"],
)
def test_functions_and_calls_of_every_format_become_the_same_turns(values: dict[str, Any]) -> None:
    row = read(values)
    system, user, call, result, last = row.turns
    assert json.loads(system.tools) == [SUM] and system.content == "" and json.loads(call.calls) == [CALL] and call.content == ""
    assert (user.content, result, last.content) == ("2+2?", Turn("tool", "4"), "four") and row.target == "four"
    asked = read(values, answer="call")
    assert asked.target == json.dumps(CALL) and asked.asked == row.turns[:2] and asked.turns == row.turns


def test_what_is_said_before_a_call_and_calls_side_by_side_are_one_answer() -> None:
    calls = [{"from": "function_call", "value": json.dumps({"name": name, "arguments": {}})} for name in "ab"]
    talk = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Let me see."}, *calls, {"from": "observation", "value": "1"}]
    (_, turn) = read({"conversations": talk}).turns
    assert turn.content == "Let me see." and [call["name"] for call in json.loads(turn.calls)] == ["a", "b"]


def test_functions_in_words_of_their_own_stay_words_and_none_are_none() -> None:
    talk = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    assert read({**talk, "tools": "search(query)"}).turns[0] == Turn("system", "S\n\nTools: search(query)")
    assert read({**talk, "tools": "[]"}).turns[0] == Turn("system", "S")
    task = read({"messages": talk["messages"][1:], "tools": [SUM]}, system="T").turns[0]
    assert task.content == "T" and json.loads(task.tools) == [SUM]


def test_a_call_without_a_name_or_arguments_is_refused() -> None:
    for broken in ([{"function": {"name": "f"}}], ["f"], [{"name": "f", "arguments": "{x"}]):
        with pytest.raises(BadRow, match=r"a\.json:7: messages\[2\]: expected calls with a name and arguments"):
            read({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": broken}]})


def test_rows_that_differ_in_functions_or_calls_alone_are_other_rows(tmp_path: Path) -> None:
    def talks(call: dict[str, Any], **more: Any) -> str:
        said = [{"role": "assistant", "content": "x", "function_call": call}]
        return "\n".join(json.dumps({"id": n, "messages": [{"role": "user", "content": f"2+{n}?"}, *said], **more}) for n in range(40))

    found = set()
    for text in (talks(CALL), talks(CALL, tools=[SUM]), talks({**CALL, "name": "add"})):
        (tmp_path / "a.jsonl").write_text(text)
        recipe = Recipe.load({"model": "x", "data": {"name": "json", "train": str(tmp_path / "a.jsonl"), "id": "id"}, "task": "chat"})
        found.add(inspect_rows.read(recipe).fingerprint)
    assert len(found) == 3


def test_rows_with_functions_say_so_of_their_predictions() -> None:
    import torch

    with_tools, without = read(called(first={"role": "assistant", "function_call": CALL}, more={"tools": [SUM]})), read(messages("user", "assistant"))
    found = Chat().decode(torch.zeros(0, 2), [], [with_tools, without])
    assert [dict(prediction.measures) for prediction in found] == [{"functions": 1.0}, {}]


# ------------------------------------------------------------ knowledge

KDCONV = {
    "name": "Ulm",
    "messages": [
        {"message": "Know Ulm?"},
        {"message": "A city.", "attrs": [{"name": "Ulm", "attrname": "kind", "attrvalue": "city"}]},
        {"message": "Its river?", "attrs": [{"name": "Ulm", "attrname": "founded", "attrvalue": "854"}]},
        {
            "message": "The Danube.",
            "attrs": [{"name": "Ulm", "attrname": "river", "attrvalue": value} for value in ("Danube", "Iller")],
        },
        {"message": "Thanks."},
        {"message": "Bye."},
    ],
}


def test_knowledge_is_told_with_the_question_that_it_answers() -> None:
    row = read(KDCONV, knowledge_prompt="Known:\n{knowledge}")
    assert said(row) == [
        ("user", "Known:\nUlm | kind | city\n\nKnow Ulm?"),
        ("assistant", "A city."),
        ("user", "Known:\nUlm | river | Danube\nUlm | river | Iller\n\nIts river?"),
        ("assistant", "The Danube."),
        ("user", "Thanks."),
        ("assistant", "Bye."),
    ]
    assert row.target == "Bye." and read(KDCONV, answer="knowledge").target == "The Danube."


def test_knowledge_stands_in_the_system_prompt_or_nowhere_as_asked() -> None:
    whole = read(KDCONV, knowledge="dialogue", system="S")
    assert said(whole)[0] == ("system", "Knowledge:\nUlm | kind | city\nUlm | river | Danube\nUlm | river | Iller") and len(whole.turns) == 7
    closed = read(KDCONV, knowledge="none", answer="knowledge")
    assert [turn.content for turn in closed.turns] == [message["message"] for message in KDCONV["messages"]] and closed.target == "The Danube."
    assert [turn.content for turn in closed.asked] == ["Know Ulm?", "A city.", "Its river?"]


def test_knowledge_of_a_message_or_a_conversation_may_be_texts_or_triples() -> None:
    talk = {"messages": [{"role": "user", "content": "?", "knowledge": [["a", "b", "c"], "d"]}, {"role": "assistant", "content": "!", "knowledge": "e"}]}
    assert said(read({**talk, "knowledge": "of\nall"})) == [("system", "Knowledge:\nof all"), ("user", "Knowledge:\na | b | c\nd\ne\n\n?"), ("assistant", "!")]
    assert said(read({"messages": talk["messages"][:1]}, labelled=False)) == [("user", "Knowledge:\na | b | c\nd\n\n?")]
    with pytest.raises(BadRow, match=r"messages\[1\]: knowledge: expected texts or triples of texts, got 3"):
        read({"messages": [{"role": "user", "content": "?", "knowledge": [3]}]})
    odd = {"messages": [{"role": "user", "content": "?", "knowledge": [3]}, {"role": "assistant", "content": "!"}], "knowledge": {"x": 1}}
    assert said(read(odd, knowledge="none")) == [("user", "?"), ("assistant", "!")]


# ------------------------------------------------------------ questions about a text


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ({"answers": {"text": ["Ulm", "Ulm", "in Ulm"], "answer_start": [0, 0, 0]}}, ("Ulm", "in Ulm")),
        ({"answers": [{"text": "Ulm", "answer_start": 3}]}, ("Ulm",)),
        ({"answers": ["Ulm", "in Ulm"]}, ("Ulm", "in Ulm")),
        ({"answer": "Ulm"}, ("Ulm",)),
        ({"answers": {"text": [], "answer_start": []}}, ("no answer",)),
        ({"is_impossible": True}, ("no answer",)),
    ],
)
def test_a_question_about_a_text_is_answered_in_words_and_any_reference_is_right(values: dict[str, Any], target: tuple[str, ...]) -> None:
    row = read({"question": "Where?", "context": "In Ulm.", **values})
    assert said(row) == [("user", "In Ulm.\n\nWhere?"), ("assistant", target[0])] and row.target == target
    asked = read({"question": "Where?", "context": "In Ulm."}, labelled=False, question_prompt="{question} ({context})")
    assert said(asked) == [("user", "Where? (In Ulm.)")]
    code = read({"question": "What is {context}?", "context": "{question}"}, labelled=False)
    assert said(code) == [("user", "{question}\n\nWhat is {context}?")], "what is said is no place for more"


def test_answers_to_questions_are_scored_by_the_definitions_of_squad_and_other_answers_are_not() -> None:
    questions = [{"question": "Where?", "context": "x", "answers": answers} for answers in (["the old town"], ["Ulm", "Bonn"])]
    rows = [read(values) for values in (*questions, messages("user", "assistant"))]
    task = Chat().fitted(rows)
    scores = {metric.name: metric for metric in task.metrics()}
    predictions = [Prediction("a", "Old town!"), Prediction("b", "in Bonn"), Prediction("c", "x")]
    targets = [row.target for row in rows]
    found = {name: score.score(scores[name], predictions, targets) for name in ("exact_match", "f1", "rougeL")}
    assert found["exact_match"] is not None and (found["exact_match"]["value"], found["exact_match"]["n"]) == (0.5, 2)
    assert found["f1"] is not None and found["f1"]["value"] == pytest.approx((1 + 2 / 3) / 2) and found["rougeL"] is not None and found["rougeL"]["n"] == 3
    assert task.units == "words" and scores["f1"].needs_answer
    assert Chat().fitted([read({"question": "哪里？", "context": "x", "answer": "北京"})]).units == "characters"


@pytest.mark.parametrize("settings", [{"knowledge_prompt": "known"}, {"question_prompt": "{question}"}, {"question_prompt": "{context}{question}{question}"}])
def test_prompts_without_their_places_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Chat(**settings)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (messages("user"), "a.json:7: the conversation has no assistant turn, so there is nothing to learn."),
        ({"messages": []}, "a.json:7: the conversation has no assistant turn"),
        (messages("assistant"), "a.json:7: the conversation has no user turn."),
        (messages("user", "user", "assistant"), "a.json:7: roles out of order: turn 2 is user, after user; expected assistant."),
        (messages("assistant", "user", "assistant"), "roles out of order: turn 1 is assistant, first; expected system or user."),
        (messages("user", "assistant", "system", "user", "assistant"), "roles out of order: turn 3 is system, after assistant; expected user or tool."),
        (messages("user", "tool", "assistant"), "roles out of order: turn 2 is tool, after user; expected assistant."),
        (messages("user", "narrator"), "a.json:7: messages[2]: the role is 'narrator', expected system, user, assistant or tool"),
        ({"messages": [{"content": "x"}]}, "messages[1]: the role is missing"),
        ({"messages": ["hello"]}, "messages[1]: expected an object with role and content, got 'hello'."),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " \n"}]}, "messages[2]: the answer is empty."),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]}, "messages[1]: the message is empty."),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[1]: expected text, got 3."),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[1]: expected text, got"),
        ({"messages": [{"role": "user"}]}, "messages[1]: the text is missing."),
        ({"instruction": "x", "output": ""}, "a.json:7: output: the answer is empty."),
        ({"instruction": "x", "input": 3, "output": "y"}, "a.json:7: input: expected text, got 3."),
        ({"instruction": "x", "output": "y", "history": "z"}, "a.json:7: history: expected pairs of question and answer, got 'z'."),
        ({"instruction": "x", "output": "y", "history": [["a", "b", "c"]]}, "a.json:7: history: expected pairs"),
        ({"instruction": "x", "output": "y", "history": [["a", ""]]}, "a.json:7: history: the answer is empty."),
        ({"prompt": "x", "completion": None}, "a.json:7: completion: the text is missing."),
    ],
)
def test_what_is_no_conversation_is_refused_with_place_turn_and_reason(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(values)
    assert words in caught.value.message and "data.bad_rows=skip" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"message": []}, "no conversation is found in the columns message. Did you mean 'messages'?"),
        ({"question": "x", "context": "y", "anwers": []}, "there is no column 'answers' beside question and context. Did you mean 'anwers'?"),
        ({"text": "x", "label": "y"}, "no conversation is found in the columns text, label."),
        ({"instruction": "x", "ouput": "y"}, "there is no key 'output' beside instruction. Did you mean 'ouput'?"),
    ],
)
def test_columns_of_another_task_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(MissingColumn) as caught:
        read(values)
    assert words in caught.value.message and caught.value.hint


def test_a_reference_answer_at_the_end_is_not_part_of_the_question() -> None:
    assert [turn.role for turn in read(messages("user", "assistant"), labelled=False).turns] == ["user"]
    with pytest.raises(BadRow, match="the conversation has no user turn"):
        read(messages("assistant"), labelled=False)


# ------------------------------------------------------------ features


def long(count: int, words: int) -> Row:
    turns = [turn for n in range(count) for turn in (Turn("user", f"q{n}"), Turn("assistant", " ".join([f"a{n}"] * words)))]
    return Row("r", "q", turns[-1].content, "a.json:7", tuple(turns))


def test_a_feature_asks_for_the_answers_and_their_ends_alone(tokens: Tokenizer) -> None:
    row = read(messages("system", "user", "assistant", "user", "assistant"))
    (feature,) = Chat().encode([row], tokens)
    expected = dialogue.encode(row.turns, tokens)
    assert list(feature.input_ids) == expected.ids and feature.cut == 0
    learnt = tokens.decode([token for token in feature.target if token != IGNORED], special=True)
    assert learnt == "assistant 2<|im_end|>assistant 4<|im_end|>"
    assert Chat().trained_tokens(feature) == expected.trained
    (everything,) = Chat(train_on="all").encode([row], tokens)
    assert list(everything.target) == [*expected.ids[1:], IGNORED]


def test_a_long_conversation_is_split_dropped_or_refused_as_asked(tokens: Tokenizer) -> None:
    row = long(8, 4)
    features = Chat(max_length=64).encode([row], tokens)
    assert len(features) > 1 and all(len(feature) <= 64 and feature.row == "r" for feature in features)
    learnt = [tokens.decode([token for token in f.target if token != IGNORED], special=True) for f in features]
    assert "".join(learnt) == "".join(f"{turn.content}<|im_end|>" for turn in row.turns if turn.role == "assistant")
    assert Chat(max_length=64, too_long="drop").encode([row, long(1, 2)], tokens) == Chat(max_length=64).encode([long(1, 2)], tokens)
    with pytest.raises(TooLong, match=r"a\.json:7: the conversation has \d+ tokens, task\.max_length is 64\."):
        Chat(max_length=64, too_long="error").encode([row], tokens)


def test_an_exchange_longer_than_the_context_is_counted(tokens: Tokenizer) -> None:
    row = Row("r", "q", "x", "", (*long(1, 2).turns, *long(1, 80).turns))
    (feature,) = Chat(max_length=64).encode([row], tokens)
    assert feature.cut == len(dialogue.encode(row.turns[2:], tokens))
    assert Chat(max_length=64).encode([long(1, 80)], tokens) == []


def test_the_prompt_is_what_stands_before_the_answer_in_training(tokens: Tokenizer) -> None:
    labelled = read(messages("system", "user", "assistant", "user", "assistant"))
    asked = read({"messages": messages("system", "user", "assistant", "user")["messages"]}, labelled=False)
    (feature,) = Chat().encode([labelled], tokens)
    first, second = Chat().prompts([labelled, asked], tokens)
    assert first == second == list(feature.input_ids[: len(first)])
    assert Chat().trained_tokens(feature)[len(first)] and not Chat().trained_tokens(feature)[len(first) - 1]


def test_a_prompt_leaves_room_for_the_answer(tokens: Tokenizer) -> None:
    asked = Row("r", "", None, "", (*long(20, 3).turns, Turn("user", "and?")))
    (prompt,) = Chat(max_new_tokens=100).prompts([asked], tokens)
    assert len(prompt) <= 156 and tokens.decode(prompt).endswith("user\nand?\nassistant\n")
    assert tokens.decode(prompt).startswith("user\nq")


# ------------------------------------------------------------ real data

REAL = {
    # file: (rows, rows that are truly bad)
    "alpaca_demo/alpaca_en_demo.json": (800, []),
    "alpaca_demo/alpaca_zh_demo.json": (500, []),
    "medical_sft_zh/medical_sft.jsonl": (500, []),
    "toolcall_glaive/glaive_toolcall_en_demo.json": (160, []),
    "toolcall_glaive/glaive_toolcall_zh_demo.json": (60, []),
    "sharegpt_multiturn/sharegpt_zh.jsonl": (199, [":59: conversations[3]: the message is empty"]),
    "gsm8k/train.jsonl": (1800, []),
    "kdconv_travel/train.json": (60, []),
}


@pytest.mark.field
@pytest.mark.parametrize("name", REAL)
def test_real_conversations_are_read_to_the_last_turn(shared_data: Path, name: str) -> None:
    count, bad = REAL[name]
    rows, skipped = rows_of(Chat(), Json(train=str(shared_data / name), bad_rows="skip"), "train", labelled=True)
    assert len(rows) == count and list(skipped.reasons) == [f"{shared_data / name}{sentence}" for sentence in bad]
    path = shared_data / name
    raw = json.loads(path.read_text()) if path.suffix == ".json" else [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    bad_lines = {int(sentence.split(":")[1]) for sentence in bad}
    kept = [record for line, record in enumerate(raw, 1) if line not in bad_lines]
    answers = sum(_answers(record) for record in kept)
    assert sum(turn.role == "assistant" for row in rows for turn in row.turns) == answers


def _answers(record: dict[str, Any]) -> int:
    if "messages" in record:  # two who take turns
        return len(record["messages"]) // 2
    return sum(m["from"] in ("gpt", "function_call") for m in record["conversations"]) if "conversations" in record else 1


@pytest.mark.field
@pytest.mark.parametrize(("language", "conversations", "calls"), [("en", 80, 112), ("zh", 32, 47)])
def test_every_call_of_glaive_is_read_and_the_last_one_is_what_is_compared(shared_data: Path, language: str, conversations: int, calls: int) -> None:
    file = shared_data / "toolcall_glaive" / f"glaive_toolcall_{language}_demo.json"
    rows, _ = rows_of(Chat(answer="call"), Json(train=str(file)), "train", labelled=True)
    assert sum(bool(turn.calls) for row in rows for turn in row.turns) == calls
    assert sum(bool(calls_in(row.target)) for row in rows) == conversations
    assert all(row.turns[0].tools for row in rows if calls_in(row.target)), "whoever calls functions was told of them"


@pytest.mark.field
def test_every_answer_of_kdconv_with_knowledge_is_told_it(shared_data: Path) -> None:
    file = shared_data / "kdconv_travel" / "train.json"
    raw = json.loads(file.read_text())
    rows, _ = rows_of(Chat(answer="knowledge", knowledge_prompt="<{knowledge}>"), Json(train=str(file)), "train", labelled=True)
    answered = sum(bool(message.get("attrs")) for dialogue in raw for message in dialogue["messages"][1::2])
    assert sum(turn.role == "user" and turn.content.startswith("<") for row in rows for turn in row.turns) == answered
    assert all(row.asked[-1].content.startswith("<") for row in rows if any(message.get("attrs") for message in raw[rows.index(row)]["messages"][1::2]))


@pytest.mark.field
def test_every_question_of_squad_is_read_with_its_references(shared_data: Path) -> None:
    rows, _ = rows_of(Chat(), Squad(train=str(shared_data / "squad_v1" / "train-v1.1.json")), "train", labelled=True)
    assert len(rows) == 2881 and all(row.target and row.turns[-1].content == row.target[0] for row in rows)
    none, _ = rows_of(Chat(), Squad(train=str(shared_data / "squad_v2" / "train-v2.0.json")), "train", labelled=True)
    assert sum(row.target == ("no answer",) for row in none) == 540
