from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from typing import Any

import pytest

from weitiao.core.report import digits_of
from weitiao.evaluation import page
from weitiao.evaluation.page import words

VOID = {"meta", "link", "br", "img", "input", "hr", "col"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def estimate(value: float, half: float = 0.02, n: int = 222) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def scores(*f1: float) -> list[dict[str, float]]:
    return [{"precision": x, "recall": x, "f1": x} for x in f1]


def example(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a1",
        "place": "corpus/1.txt:1",
        "text": "The film opens on Friday.",
        "target": "tech",
        "before": "sport",
        "after": "tech",
        "score": 0.91,
    } | changes


@pytest.fixture
def report() -> dict[str, Any]:
    metric = {
        "before": estimate(0.928),
        "after": estimate(0.973),
        "difference": {"value": 0.045, "low": 0.013, "high": 0.078},
        "p_value": 0.013,
        "test": "McNemar, exact",
        "higher_is_better": True,
    }
    return {
        "format": 1,
        "name": "quickstart-layers-7f3a21",
        "created": "2026-11-21T22:00:00Z",
        "weitiao": "0.1.0",
        "model": "minilm",
        "task": "text_classification",
        "method": "layers",
        "run": "/runs/x",
        "artifact": "/runs/x/artifact",
        "report": "/runs/x/report.html",
        "verdict": {"level": "better", "sentence": "Accuracy rose from 0.928 to 0.973 on 222 held-out rows."},
        "split": "test",
        "split_said": "test: 10 % of the train split.",
        "selected_on_same_rows": False,
        "before_is": "head_only",
        "metrics": {"macro_f1": {**metric, "p_value": 0.0002, "test": "paired permutation"}, "accuracy": metric},
        "main_metric": "accuracy",
        "baselines": {"majority": {"accuracy": estimate(0.23)}, "head_only": {"accuracy": estimate(0.928)}},
        "per_class": [
            {"label": label, "n": 111, "before": before, "after": after}
            for label, before, after in zip(["sport", "tech"], scores(0.9, 0.95), scores(0.96, 0.94), strict=True)
        ],
        "confusion": {"labels": ["sport", "tech"], "before": [[100, 11], [5, 106]], "after": [[108, 3], [3, 108]]},
        "changes": {
            "better": 12,
            "worse": 2,
            "both_right": 204,
            "both_wrong": 4,
            "examples_better": [example(), example(text="x" * 400)],
            "examples_worse": [example(target="sport", before="sport")],
            "examples_still_wrong": [example(after="sport")],
        },
        "curves": {
            "train_loss": [[step, 2 / step] for step in range(1, 101)],
            "dev_loss": [[50, 0.3], [100, 0.2]],
            "dev_metric": {"name": "accuracy", "points": [[50, 0.9], [100, 0.97]], "best_step": 100},
            "learning_rate": [[step, 1e-4 * step] for step in range(1, 101)],
            "gradient_norm": [[step, 1.0] for step in range(1, 101)],
        },
        "rows": {"train": 1780, "dev": 222, "test": 222},
        "skipped": {"train": {"count": 3, "reasons": ["corpus/199.txt:1: byte 0xa3 is not utf-8 text"]}},
        "cut": {"train": {"rows": 900, "share": 0.5, "tokens": 12345}},
        "stopped_early": False,
        "best_step": 100,
        "steps": 100,
        "epochs": 3.0,
        "train_seconds": 75.2,
        "tokens_seen": 600000,
        "examples_seen": 5340,
        "tokens_per_second": 8000.1,
        "examples_per_second": 71.0,
        "peak_memory_gb": 1.3,
        "total_seconds": 110.0,
        "forecast": {"minutes": 1.4, "memory_gb": 1.1},
        "parameters": {"total": 22_700_000, "trainable": 3_700_000},
        "machine": {"cpu": "Intel Xeon", "cores": 2, "memory_gb": 23.4, "device": "cpu", "gpu": None, "dtype": "fp32", "python": "3.11.7"},
        "notes": ["Half of the rows were cut."],
        "recipe": {"model": "minilm", "method": {"name": "layers"}},
        "recipe_yaml": "model: minilm\n",
        "next": ["weitiao predict /runs/x/artifact new.csv"],
        "hashes": {"artifact": "9f" * 32, "proof_rows": "41" * 32},
    }


def likely(**changes: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "place": "chat.json:7",
        "text": "Name two rivers.",
        "target": "1. Rhine\n2. Elbe",
        "before": "The rivers are",
        "after": "- Rhine\n    - Elbe",
        "score": None,
        "before_loss": 2.25,
        "after_loss": 1.5,
        "tokens": 9,
        "before_stopped": False,
        "after_stopped": True,
        "turns": [{"role": "user", "content": "Name two rivers."}],
        "turns_before": 0,
    } | changes


@pytest.fixture
def chat_report(report: dict[str, Any]) -> dict[str, Any]:
    """A report graded by likelihood: no classes, no baseline, six metrics, answers generated for some rows."""

    def metric(before: float, after: float, *, better: bool | None, n: int = 80) -> dict[str, Any]:
        change = {"value": after - before, "low": after - before - 0.01, "high": after - before + 0.01}
        return {
            "before": estimate(before, n=n),
            "after": estimate(after, n=n),
            "difference": change,
            "p_value": 0.0002,
            "test": "paired permutation",
            "higher_is_better": better,
        }

    flat = {"value": 0.0, "low": 0.0, "high": 0.0}
    return {key: copy.deepcopy(value) for key, value in report.items() if key not in ("per_class", "confusion")} | {
        "task": "chat",
        "method": "lora",
        "before_is": "model",
        "split": "test",
        "main_metric": "loss",
        "baselines": {},
        "metrics": {
            "loss": metric(1.859, 1.772, better=False),
            "perplexity": metric(6.42, 5.88, better=False),
            "rougeL": metric(0.25, 0.27, better=True, n=8),
            "stop_rate": {**metric(0, 0, better=True, n=8), "before": {**flat, "n": 8}, "after": {**flat, "n": 8}, "difference": flat},
            "distinct_2": metric(0.91, 0.92, better=True, n=8),
            "answer_length": metric(64.0, 51.5, better=None, n=8),
        },
        "changes": {
            "graded": "likelihood",
            "better": 76,
            "worse": 4,
            "unchanged": 0,
            "generated": 8,
            "examples_better": [likely(), likely(turns=[{"role": r, "content": f"{r} says"} for r in ("system", "user", "assistant", "user")], turns_before=3)],
            "examples_worse": [likely(before="Same.", after="Same."), likely(before=None, after=None)],
        },
        "rows": {"train": 640, "dev": 72, "test": 80, "proof": 80},
        "skipped": {},
        "cut": {},
        "left_out": {
            "train": {"rows": 7, "places": ["/data/chat.json:3", "/data/chat.json:9", "/data/chat.json:11"]},
            "proof (test)": {"rows": 1, "places": ["a:1"]},
        },
        "divided": {"train": {"rows": 5, "windows": 655}, "proof (test)": {"rows": 2, "windows": 83}},
        "curves": {**report["curves"], "dev_metric": {"name": "loss", "points": [[50, 1.9], [100, 1.8]], "best_step": 100}},
    }


class Reader(HTMLParser):
    """Collects tags, texts and ids, and checks that what opens is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self) -> list[str]:
        return [attributes["id"] or "" for tag, attributes in self.tags if tag == "section"]

    def looks(self) -> set[str]:
        return {word for _, attributes in self.tags for word in (attributes.get("class") or "").split()}


SECTIONS = ["scores", "measured", "curves", "classes", "confusion", "changes", "data", "notes", "cost", "settings", "machine", "traces", "next"]


def test_the_page_holds_every_section_in_order_and_is_well_formed(report):
    assert Reader(page.render(report)).sections == SECTIONS


def test_equal_reports_give_equal_bytes_also_in_another_process(report):
    first = page.render(report)
    assert page.render(copy.deepcopy(report)) == first
    code = "import json, sys; from weitiao.evaluation import page; sys.stdout.buffer.write(page.render(json.load(sys.stdin)).encode())"
    code += "; assert 'matplotlib.pyplot' not in sys.modules, 'drawing must not touch the global figures'"
    other = subprocess.run([sys.executable, "-c", code], input=json.dumps(report).encode(), capture_output=True, check=True)
    assert other.stdout == first.encode()


def test_drawing_leaves_matplotlib_and_the_report_as_they_were_and_warns_of_nothing(report):
    import matplotlib

    settings, before = set_in(matplotlib.rcParams), copy.deepcopy(report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page.render(report)
    assert set_in(matplotlib.rcParams) == settings
    assert report == before


def set_in(settings: Any) -> dict[str, str]:
    return {key: str(settings[key]) for key in settings if key != "backend"}  # reading that one imports pyplot


def test_the_table_shows_value_interval_p_value_test_and_n_main_metric_first(report):
    text = Reader(page.render(report)).text
    for phrase in ("0.973 0.953 to 0.993", "+0.045 +0.013 to +0.078", "0.013 McNemar, exact", "< 0.001 paired permutation", "222"):
        assert phrase in text
    assert text.index("Accuracy higher is better") < text.index("Macro F1 higher is better")


def test_the_head_only_baseline_is_not_drawn_twice(report):
    text = Reader(page.render(report)).text
    assert "Before, linear head" in text and "Frozen body, linear head" not in text
    assert "Always the largest class" in text
    report["before_is"] = "model"
    assert "Frozen body, linear head" in Reader(page.render(report)).text


@pytest.mark.parametrize(
    ("level", "look", "word"),
    [
        ("better", "better", "Better"),
        ("not proven", "unproven", "Not proven"),
        ("worse", "worse", "Worse"),
        ("splendid", "unproven", "Splendid"),
        (None, "unproven", "Not proven"),
    ],
)
def test_a_verdict_is_green_only_where_it_is_better(report, level, look, word):
    report["verdict"]["level"] = level
    page_read = Reader(page.render(report))
    boxes = [attributes["class"] for tag, attributes in page_read.tags if attributes.get("id") == "verdict"]
    assert boxes == [f"verdict {look}"]
    assert f"{word} {report['verdict']['sentence']}" in page_read.text


def test_selection_on_the_proof_rows_is_a_visible_warning(report):
    assert "warning" not in Reader(page.render(report)).looks()
    report["selected_on_same_rows"] = True
    read = Reader(page.render(report))
    assert {"warning", "caution"} <= read.looks()
    assert "They took no part" not in read.text


HOSTILE = "<script>alert(1)</script><img src='https://evil.example/x.png' onerror=alert(2)>\"'&{{ 7*7 }}</style></title></svg><!--"


def every_text(value: Any, text: str, keys: tuple[str, ...] = ()) -> Any:
    if isinstance(value, str) and keys[-1] not in ("level", "before_is", "split", "main_metric"):
        return text
    if isinstance(value, dict):
        return {key: every_text(item, text, (*keys, key)) for key, item in value.items()}
    return [every_text(item, text, keys) for item in value] if isinstance(value, list) else value


def test_hostile_text_anywhere_stays_text(report):
    hostile = every_text(report, HOSTILE)
    hostile["metrics"][HOSTILE] = hostile["metrics"]["accuracy"]
    hostile["machine"][HOSTILE] = hostile["hashes"][HOSTILE] = hostile["rows"][HOSTILE] = 1
    hostile["baselines"][HOSTILE] = {"accuracy": estimate(0.5)}
    html = page.render(hostile)
    read = Reader(html)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in read.tags}
    assert not any(name.startswith("on") or name == "src" for _, attributes in read.tags for name in attributes)
    assert {attributes["href"] for tag, attributes in read.tags if tag in ("a", "link")} == {"data:,"}
    assert "alert(1)" in read.text and "{{ 7*7 }}" in read.text
    assert read.sections == SECTIONS


def test_nothing_is_loaded_from_anywhere_and_the_page_says_so_to_the_browser(report):
    html = page.render(report)
    assert "default-src 'none'" in html
    assert not [part for part in ("http://", "https://", "@import", "<script", "url(") if part in html.replace("url(#", "")]


@pytest.mark.parametrize("text", ["字" * 5000, "word " * 1000, "مرحبا " * 200, "x" * 100_000, "\ud800 half a pair \x00\x1b[31m"])
def test_long_and_odd_texts_are_cut_with_the_rest_folded_and_can_be_written(report, text):
    report["changes"]["examples_better"] = [example(text=text)]
    html = page.render(report)
    html.encode("utf-8")
    assert "\x00" not in html
    read = Reader(html)
    if len(text) > 300:
        start = next(words for words in read.words if text[:20] in words)
        assert len(start.strip()) <= 302
        assert "more characters" in read.text
    assert len(html) < 150_000


@pytest.mark.parametrize("missing", [None, ..., [], {}, "text", 3, float("nan"), [None], {"a": None}, [{"label": None}]])
def test_any_part_may_be_missing_null_or_of_another_shape(report, missing):
    uncharted = {key: part for key, part in report.items() if key != "curves"}  # drawing takes most of the time
    for key in report:
        part = dict(uncharted)
        if missing is ...:
            part.pop(key, None)
        else:
            part[key] = missing
        Reader(page.render(part))


def test_parts_of_parts_may_be_missing_or_null(report):
    def thinned(value: Any) -> Any:
        """Yield copies with one inner key null or gone."""
        if isinstance(value, dict):
            for key, item in value.items():
                yield {**value, key: None}
                yield {other: value[other] for other in value if other != key}
                for thin in thinned(item):
                    yield {**value, key: thin}
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for thin in thinned(value[0]):
                yield [thin, *value[1:]]

    curves = {**report.pop("curves"), "train_loss": [[1, 0.5]], "learning_rate": [], "gradient_norm": None}
    report["metrics"].pop("macro_f1")
    for thin in thinned(report):
        page.render(thin)
    for thin in thinned(curves):
        page.render({"curves": thin})


def test_a_minimal_report_is_its_verdict_and_its_table():
    report = {
        "task": "text_classification",
        "model": "minilm",
        "method": "full",
        "verdict": {"level": "worse", "sentence": "It fell."},
        "metrics": {"accuracy": {"before": {"value": 0.9}, "after": {"value": 0.5}}},
    }
    read = Reader(page.render(report))
    assert read.sections == ["scores"]
    assert "minilm full" in read.text and "0.900" in read.text
    assert page.render({})


def test_metrics_that_fall_are_said_to_be_better_lower_and_numbers_are_not_called_wrong(report):
    metric = {
        "before": estimate(0.61),
        "after": estimate(0.59),
        "difference": {"value": -0.02, "low": -0.04, "high": 0.01},
        "p_value": 0.2,
        "higher_is_better": False,
    }
    for key in ("per_class", "confusion", "baselines"):
        del report[key]
    report |= {"metrics": {"mse": metric}, "main_metric": "mse", "baselines": {"mean": {"mse": estimate(2.2)}}}
    report["changes"] = {"better": 120, "worse": 102, "examples_worse": [example(target=3.6, before=3.1, after=-2.25, score=None)]}
    read = Reader(page.render(report))
    assert "Mean squared error lower is better" in read.text and "−0.020 −0.040 to +0.010" in read.text
    assert "Always the same answer" not in read.text and "Always the mean" in read.text and "closer to the target" in read.text and "−2.25" in read.text
    assert "off" not in read.looks()
    assert not {"classes", "confusion"} & set(read.sections)


@pytest.mark.parametrize("classes", [2, 15, 16, 77, 100])
def test_few_classes_are_a_matrix_and_many_a_list_of_pairs(report, classes):
    labels = [f"class_{n}" for n in range(classes)]
    table = [[40 if i == j else int((i + j) % 3 == 0) for j in range(classes)] for i in range(classes)]
    report["confusion"] = {"labels": labels, "before": table, "after": table}
    report["per_class"] = [{"label": label, "n": 40, "before": scores(0.5)[0], "after": scores(0.5 + n / 250)[0]} for n, label in enumerate(labels)]
    html = page.render(report)
    read = Reader(html)
    assert ("matrix" in read.looks()) == (classes <= 15)
    assert ("pairs" in read.looks()) == (classes > 15)
    if classes > 15:
        assert html.split('class="pairs"')[1].split("</table>")[0].count("<tr>") == 21
    assert all(label in read.text for label in labels)


def test_a_gain_and_a_loss_in_f1_carry_their_sign(report):
    text = Reader(page.render(report)).text
    assert "+0.060" in text and "−0.010" in text


@pytest.mark.parametrize(
    "points", [[[1, 0.5]], [[1, 0.0]], [[1, float("nan")], [2, 0.4]], [[step, 1 / step] for step in range(1, 20_001)], [[1, -2.0], [2, 3e7]]]
)
def test_a_curve_of_one_point_or_of_many_is_a_small_chart(report, points):
    report["curves"] = dict.fromkeys(["train_loss", "dev_loss", "learning_rate"], points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html = page.render(report)
    charts = html[html.index('id="curves"') : html.index('id="classes"')]
    assert charts.count("<svg") == 2
    assert len(charts) < 80_000


def test_charts_take_their_colours_from_the_page_and_ids_are_unique(report):
    read = Reader(page.render(report))
    drawn = [attributes.get("style") or "" for tag, attributes in read.tags if tag in ("path", "use", "text", "g")]
    assert drawn and not [style for style in drawn if "#" in style.replace("url(#", "")]
    ids = [attributes["id"] for _, attributes in read.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0004, "0.000400"), (0.04, "0.0400"), (0.97, "0.970"), (12.346, "12.35"), (123.4, "123.4"), (45678.9, "45,679")]
)
def test_decimals_follow_the_size_of_the_metric(value, shown):
    assert words.decimal(value, digits_of([value])) == shown


def test_proof_rows_that_are_part_of_a_split_have_a_line_of_their_own(report):
    report |= {"rows": {"train": 1000, "dev": 111, "proof": 112}, "split": "dev", "cut": {"proof (dev)": {"rows": 7, "share": 0.0625, "tokens": 70}}}
    text = Reader(page.render(report)).text
    assert "the same 112 rows of the dev split" in text and "proof 112 0 7 (6.2 %) 70" in text
    report |= {"rows": {"train": 1000, "test": 112, "proof": 112}, "split": "test", "cut": {"proof (test)": {"rows": 7, "share": 0.0625, "tokens": 70}}}
    text = Reader(page.render(report)).text
    assert "test 112 0 7 (6.2 %) 70" in text and "proof 112" not in text


def test_sets_of_labels_can_come_closer_without_being_right(report):
    report["changes"]["examples_better"] = [example(target=["sport", "tech"], before=[], after=["tech"], score=None)]
    text = Reader(page.render(report)).text
    assert "12 closer to the target" in text and "Target sport, tech Before (none) After tech" in text


def test_what_is_nested_in_the_machine_is_told_in_words(report):
    report["machine"] = {
        "gpus": [{"name": "H100", "memory_gb": 80.0}],
        "cpu_features": ["avx2", "amx"],
        "versions": {"torch": "2.13.0", "peft": None},
        "gpu_problem": None,
    }
    assert "GPU H100, 80.0 Cpu features avx2, amx PyTorch 2.13.0" in Reader(page.render(report)).text


# ---------------------------------------------------------------- reports graded by likelihood


def test_what_is_graded_by_likelihood_is_never_called_right_or_wrong(chat_report):
    read = Reader(page.render(chat_report))
    assert "76 more probable than before" in read.text and "4 less probable" in read.text and "as probable as before" not in read.text
    assert "The reference answer became more probable 2 of 76" in read.text
    for word in ("right after", "both times", "Still", "Changed for", "off both"):
        assert word not in read.text
    assert "none is right or wrong" in read.text and "off" not in read.looks()
    assert read.sections == [section for section in SECTIONS if section not in ("classes", "confusion")]
    chat_report["changes"]["unchanged"] = 2
    assert "2 as probable as before" in Reader(page.render(chat_report)).text


def test_metrics_have_names_that_people_know_and_a_direction_or_none(chat_report):
    text = Reader(page.render(chat_report)).text
    for said in (
        "Loss per token lower is better",
        "Perplexity lower is better",
        "ROUGE-L higher is better",
        "Share ended by itself higher is better",
        "Distinct word pairs higher is better",
        "Answer length (tokens) neither way is better",
    ):
        assert said in text
    assert (
        "Answers were generated for 8 of them" in text and "on these rest: ROUGE-L, Share ended by itself, Distinct word pairs, Answer length (tokens)." in text
    )


def test_an_example_shows_the_conversation_the_reference_and_both_answers_line_by_line(chat_report):
    html = page.render(chat_report)
    read = Reader(html)
    assert ">1. Rhine\n2. Elbe</dd>" in html and ">- Rhine\n    - Elbe</dd>" in html, "line breaks and indents are kept"
    assert "Reference 1. Rhine 2. Elbe Generated before, cut off The rivers are Generated after - Rhine - Elbe" in read.text
    assert "loss per token 2.250 → 1.500, 9 tokens · chat.json:7 · c1" in read.text
    assert "2 earlier turns 3 turns before this not on the page System system says User user says Assistant assistant says User user says" in read.text
    assert "Generated before and after alike Same." in read.text
    assert read.text.count("Generated after") == 2, "a row without generated answers shows none"


def test_plain_text_is_shown_with_its_losses_and_nothing_else(chat_report):
    bare = {key: value for key, value in likely(text="Once upon a time.", target=None, before=None, after=None).items() if not key.startswith("turns")}
    chat_report["changes"] |= {"generated": 0, "examples_better": [bare], "examples_worse": []}
    read = Reader(page.render(chat_report))
    assert "The text became more probable 1 of 76" in read.text
    assert "Once upon a time. loss per token 2.250 → 1.500, 9 tokens" in read.text
    assert "Reference" not in read.text and "Answers were generated" not in read.text


def test_of_many_metrics_the_main_one_is_drawn_and_the_others_unfold(chat_report, report):
    html = page.render(chat_report)
    scores = html[html.index('id="scores"') : html.index('id="measured"')]
    shown, _, folded = scores.partition("<details")
    assert shown.count('class="panel"') == 1 and "<b>Loss per token</b>" in shown
    assert folded.count('class="panel"') == 4, "what is 0 before and after is not drawn"
    assert "Draw the other 4" in Reader(html).text
    assert "<details" not in page.render(report).partition('id="scores"')[2].partition("</section>")[0]


def test_perplexities_of_very_different_size_keep_their_digits(chat_report):
    chat_report["metrics"]["perplexity"] |= {
        "before": {"value": 49873.2, "low": 48210.0, "high": 51002.0, "n": 80},
        "after": {"value": 6.123, "low": 5.9, "high": 6.4, "n": 80},
    }
    chat_report["metrics"]["perplexity_per_byte"] = {"before": {"value": 1e304}, "after": {"value": 12.5}}
    text = Reader(page.render(chat_report)).text
    assert "49,873 48,210 to 51,002 6.123 5.900 to 6.400" in text
    assert "Perplexity per byte" in text and "1.00e+304 12.50" in text


def test_a_small_difference_is_shown_to_two_digits_of_its_interval(chat_report):
    chat_report["metrics"]["loss"]["difference"] = {"value": -0.00936, "low": -0.01029, "high": -0.00855}
    assert "−0.0094 −0.0103 to −0.0086" in Reader(page.render(chat_report)).text


def test_a_score_that_is_the_loss_is_drawn_once(chat_report, report):
    html = page.render(chat_report)
    charts = html[html.index('id="curves"') : html.index('id="changes"')]
    assert charts.count("<svg") == 3 and "Loss per token" in charts and "on dev" not in charts and "best, step 100" in charts


def test_rows_that_do_not_fit_and_rows_in_windows_are_counted(chat_report):
    text = Reader(page.render(chat_report)).text
    assert "Split Rows Do not fit In several windows Windows in all train 640 7 5 655 dev 72 0 0 72 test 80 1 2 83" in text
    assert "Rows that do not fit train: data/chat.json:3, data/chat.json:9, data/chat.json:11 and 4 more test: a:1" in text


def test_hostile_text_in_a_conversation_stays_text(chat_report):
    hostile = every_text(chat_report, HOSTILE)
    hostile["changes"]["graded"] = "likelihood"
    read = Reader(page.render(hostile))
    assert not {"script", "img", "iframe"} & {tag for tag, _ in read.tags}
    assert "likely" in read.looks() and "alert(1)" in read.text


def test_parts_of_a_likelihood_report_may_be_missing_or_of_another_shape(chat_report):
    del chat_report["curves"]
    for section in ("changes", "left_out", "divided", "metrics"):
        for key in chat_report[section]:
            for odd in (
                None,
                [],
                {},
                "text",
                3,
                float("nan"),
                [None],
                [{"turns": [None, 3]}, {"turns": "x", "before": 3, "after": ["y"], "turns_before": "z"}],
            ):
                Reader(page.render({**chat_report, section: {**chat_report[section], key: odd}}))
    for key in likely():
        for odd in (None, [], {}, 3, float("nan")):
            chat_report["changes"]["examples_better"] = [likely(**{key: odd})]
            Reader(page.render(chat_report))


def test_the_page_of_a_real_chat_shows_what_was_said(tiny_chat_artifact):
    read = Reader((tiny_chat_artifact.parent / "report.html").read_text(encoding="utf-8"))
    assert "Loss per token fell from" in read.text and "(perplexity " in read.text
    assert "The reference answer became more probable" in read.text and "Generated after" in read.text and "In several windows" in read.text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("graded", ["right", "likelihood"])
def test_a_browser_shows_the_page_without_errors_requests_or_sideways_scrolling(report, chat_report, tmp_path, graded):
    sync_api = pytest.importorskip("playwright.sync_api")
    if graded == "likelihood":
        report = chat_report
        long = "x" * 2000 + HOSTILE + "\n" * 40
        report["changes"]["examples_worse"].append(likely(turns=[{"role": long, "content": long}] * 2, target=long, before=long, after="字" * 900, place=long))
    else:
        report = classified(report)
    file = tmp_path / "report.html"
    file.write_text(page.render(report), encoding="utf-8")
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for width, scheme in ((390, "light"), (1200, "dark")):
            tab = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
            tab.goto(file.as_uri())
            assert tab.locator("#verdict").is_visible()
            assert tab.locator("#verdict").bounding_box()["y"] < 300
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("#curves svg").count() == (4 if graded == "right" else 3)
            tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert said == []


def classified(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report of many classes with long names and long texts."""
    labels = ["a_rather_long_class_name_without_spaces_" * 2 + str(n) for n in range(15)]
    report["confusion"] = {"labels": labels, "before": [[1] * 15] * 15, "after": [[9] * 15] * 15}
    report["per_class"][0]["label"] = labels[0]
    report["changes"]["examples_worse"].append(example(text="x" * 2000 + HOSTILE, target=labels[0]))
    return report
