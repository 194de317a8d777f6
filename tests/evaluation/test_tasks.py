"""Declarations, formats of local files, the hub, few-shot draws and what is said of bad input."""

from __future__ import annotations

import csv
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from groundup.errors import UserError
from groundup.evaluation.tasks import TASK_NAMES, TASKS, Question, find_task, find_tasks, load_questions, read_task

DOCUMENTED = [
    "winogrande",
    "hellaswag",
    "arc_easy",
    "mmlu",
    "blimp",
    "truthful_qa",
    "piqa",
    "race_middle",
    "race_high",
    "boolq",
    "openbook_qa_closed",
    "openbook_qa_open",
    "copa",
    "commonsense_qa",
    "stlm_eval_arc_easy",
    "stlm_eval_hellaswag",
    "stlm_eval_truthful_qa",
    "stlm_eval_winogrande",
]
"""What `mcq_benchmarks` may list by the project's documents."""
SAMPLES = "eval/original_format_samples"


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def content(questions: list[Question]) -> list[tuple[Any, ...]]:
    return [(q.requests, q.choices, q.gold, q.group) for q in questions]


# Names


def test_every_documented_name_is_a_task() -> None:
    assert {*DOCUMENTED, "arc_challenge"} <= set(TASK_NAMES)
    assert find_tasks(TASK_NAMES) == list(TASKS.values())


def test_names() -> None:
    assert [task.name for task in find_tasks(["truthful_qa", "piqa", "truthful_qa_mc1"])] == [
        "truthful_qa_mc1",
        "truthful_qa_mc2",
        "piqa",
    ]
    assert find_task("openbookqa") is TASKS["openbook_qa_closed"]
    assert find_task("race") is TASKS["race_high"]
    assert find_task("blimp_wh_island").only == "wh_island"
    with pytest.raises(UserError, match=r"no task 'helaswag'\. Did you mean 'hellaswag'"):
        find_task("helaswag")
    with pytest.raises(UserError, match="several tasks: name one of truthful_qa_mc1, truthful_qa_mc2"):
        find_task("truthful_qa")


def test_declarations_are_whole() -> None:
    from groundup.evaluation.tasks.formats import FORMATS

    for task in TASKS.values():
        assert task.format in FORMATS
        assert set(task.metrics) <= {"acc", "acc_norm", "acc_bytes", "mc2"}
        assert task.n_shot == 0 or task.hub.shots


# The publishers' formats: the same questions as from the hub's rows

HUB_ROWS: dict[str, dict[str, Any]] = {
    "arc_easy": {
        "id": "1",
        "question": "What melts?",
        "choices": {"text": ["ice", "rock", "air"], "label": ["1", "2", "3"]},
        "answerKey": "1",
    },
    "openbook_qa_open": {
        "id": "7",
        "question_stem": "Fire needs",
        "fact1": "burning takes oxygen",
        "choices": {"text": ["water", "air"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "commonsense_qa": {
        "id": "x",
        "question": " Where is milk kept?",
        "question_concept": "milk",
        "choices": {"text": ["fridge", "car", "hat", "sea", "sun"], "label": ["A", "B", "C", "D", "E"]},
        "answerKey": "A",
    },
}
RAW_ROWS: dict[str, dict[str, Any]] = {
    "arc_easy": {
        "id": "1",
        "question": {
            "stem": "What melts?",
            "choices": [
                {"text": "ice", "label": "1"},
                {"text": "rock", "label": "2"},
                {"text": "air", "label": "3"},
            ],
        },
        "answerKey": "1",
    },
    "openbook_qa_open": {
        "id": "7",
        "question": {"stem": "Fire needs", "choices": [{"text": "water", "label": "A"}, {"text": "air", "label": "B"}]},
        "fact1": "burning takes oxygen",
        "answerKey": "B",
    },
    "commonsense_qa": {
        "id": "x",
        "question": {
            "stem": " Where is milk kept?",
            "question_concept": "milk",
            "choices": [
                {"text": text, "label": label}
                for text, label in zip(["fridge", "car", "hat", "sea", "sun"], "ABCDE", strict=True)
            ],
        },
        "answerKey": "A",
    },
}


@pytest.mark.parametrize("name", HUB_ROWS)
def test_the_publisher_s_rows_are_the_hub_s(name: str, tmp_path: Path) -> None:
    hub = load_questions(TASKS[name], write(tmp_path / "hub.jsonl", HUB_ROWS[name]))
    raw = load_questions(TASKS[name], write(tmp_path / "raw.jsonl", RAW_ROWS[name]))
    assert content(hub) == content(raw)
    expected = {
        "arc_easy": ("Question: What melts?\nAnswer:", " ice", 0),
        "openbook_qa_open": ("burning takes oxygen Fire needs", " water", 1),
        "commonsense_qa": (
            "Question: Where is milk kept?\nA. fridge\nB. car\nC. hat\nD. sea\nE. sun\nAnswer:",
            " A",
            0,
        ),
    }[name]
    assert (*hub[0].requests[0], *hub[0].gold) == expected


def test_boolq_of_google_has_the_title_apart(shared: Path) -> None:
    google = load_questions(TASKS["boolq"], shared / SAMPLES / "boolq/dummy_data/dev.jsonl")
    super_glue = load_questions(TASKS["boolq"], shared / SAMPLES / "super_glue_boolq")
    assert content(google)[0] == content(super_glue)[0]


def test_race_in_four_forms(shared: Path, tmp_path: Path) -> None:
    """One .txt an article, those in a zip, rows of the hub with `problems` as text, rows of one question each."""
    task = TASKS["race_high"]
    folder = shared / SAMPLES / "race_high/dummy_data/RACE"
    from_txt = load_questions(task, folder)
    assert len(from_txt) == 2
    assert content(from_txt) == content(load_questions(task, next((shared / SAMPLES / "zips").glob("race*.zip"))))
    articles = [json.loads(file.read_text()) for file in sorted(folder.glob("test/high/*.txt"))]
    hub, single = [], []
    for article in articles:
        parts = zip(article["questions"], article["answers"], article["options"], strict=True)
        problems = [{"question": q, "answer": a, "options": o} for q, a, o in parts]
        hub.append({"article": article["article"], "problems": repr(problems)})
        single += [{"example_id": article["id"], "article": article["article"], **problem} for problem in problems]
    assert content(from_txt) == content(load_questions(task, write(tmp_path / "hub.jsonl", *hub)))
    assert content(from_txt) == content(load_questions(task, write(tmp_path / "single.jsonl", *single)))


def test_mmlu_as_csv_without_header(shared: Path, tmp_path: Path) -> None:
    with_rows = shared / "eval/mmlu"
    for split in ("dev", "test"):
        rows = [json.loads(line) for line in (with_rows / f"{split}.jsonl").read_text().split("\n") if line]
        for subject in ("anatomy", "astronomy"):
            file = tmp_path / split / f"{subject}_{split}.csv"
            file.parent.mkdir(exist_ok=True)
            with file.open("w", newline="") as out:
                csv.writer(out).writerows(
                    [row["question"], *row["choices"], "ABCD"[row["answer"]]]
                    for row in rows
                    if row["subject"] == subject
                )
    task = TASKS["mmlu"]
    both = content(load_questions(task, tmp_path))
    expected = [
        part
        for subject in ("anatomy", "astronomy")
        for part in content(load_questions(find_task(f"mmlu_{subject}"), with_rows))
    ]
    assert both == expected
    one = load_questions(task, tmp_path / "test/anatomy_test.csv")  # its examples: dev/anatomy_dev.csv
    assert content(one) == [part for part in both if part[3] == "anatomy"]
    bad = tmp_path / "test/virology_test.csv"
    bad.write_text("question,a,b,c,d,answer\n")
    with pytest.raises(UserError, match=r"virology_test\.csv:1 has the answer 'answer', and a letter from A to D"):
        load_questions(task, bad)


def test_copa_as_xml(tmp_path: Path) -> None:
    (tmp_path / "copa-test.xml").write_text(
        '<copa-corpus><item id="1" asks-for="cause" most-plausible-alternative="2">'
        "<p>The grass was cut.</p><a1>It rained.</a1><a2>I mowed.</a2></item></copa-corpus>"
    )
    (question,) = load_questions(TASKS["copa"], tmp_path / "copa-test.xml")
    assert question.requests == (
        ("The grass was cut because", "  it rained."),
        ("The grass was cut because", "  i mowed."),
    )
    assert question.gold == (1,)


def test_truthful_qa_in_both_forms(tmp_path: Path) -> None:
    raw = {"question": "Q?", "mc1_targets": {"yes": 1, "no": 0}, "mc2_targets": {"no": 0, "yes": 1, "sure": 1}}
    hub = {
        "question": "Q?",
        "mc1_targets": {"choices": ["yes", "no"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["no", "yes", "sure"], "labels": [0, 1, 1]},
    }
    (tmp_path / "mc_task.json").write_text(json.dumps([raw]))
    for name in ("truthful_qa_mc1", "truthful_qa_mc2", "stlm_eval_truthful_qa"):
        ours = content(load_questions(TASKS[name], tmp_path / "mc_task.json"))
        assert ours == content(load_questions(TASKS[name], write(tmp_path / "hub.jsonl", hub)))
    assert load_questions(TASKS["truthful_qa_mc2"], tmp_path / "hub.jsonl")[0].gold == (1, 2)


def test_the_plain_forms(shared: Path) -> None:
    """SuperTinyLanguageModels' own: nothing around the question, whole sentences for WinoGrande."""
    data = shared / "eval/winogrande/dev.derived.jsonl"
    (question,) = load_questions(TASKS["stlm_eval_winogrande"], data, 1)
    assert question.requests == (
        ("", " Sarah was a much better surgeon than Maria so Sarah always got the easier cases."),
        ("", " Sarah was a much better surgeon than Maria so Maria always got the easier cases."),
    )
    (question,) = load_questions(TASKS["stlm_eval_hellaswag"], shared / "eval/hellaswag", 1)
    assert question.requests[1] == ("A man is sitting on a roof. he", " is ripping level tiles off.")
    (question,) = load_questions(TASKS["stlm_eval_arc_easy"], shared / "eval/arc", 1)
    assert question.requests[0][0].startswith("Which statement best explains")


def test_hellaswag_of_the_publisher_has_its_capital_letter_and_no_markup(tmp_path: Path) -> None:
    row = {
        "activity_label": "Home",
        "ctx_a": "[header] How to sew [title] Cut.",
        "ctx_b": "then YOU",
        "ctx": "[header] How to sew [title] Cut. then YOU",
        "endings": ["go [substeps] on.", "stop."],
        "label": "1",
    }
    (question,) = load_questions(TASKS["hellaswag"], write(tmp_path / "val.jsonl", row))
    assert question.requests == (
        ("Home: How to sew. Cut. Then you", " go on."),
        ("Home: How to sew. Cut. Then you", " stop."),
    )
    assert question.choices == ("go on.", "stop.")


@pytest.mark.parametrize(
    ("name", "folder", "number"),
    [
        ("winogrande", "winogrande_winogrande_xl", 2),
        ("hellaswag", "hellaswag", 2),
        ("arc_easy", "ai2_arc_ARC-Easy", 2),
        ("arc_challenge", "ai2_arc_ARC-Challenge", 2),
        ("piqa", "piqa_plain_text", 5),
        ("commonsense_qa", "commonsense_qa", 2),
        ("openbook_qa_closed", "openbookqa_main", 2),
        ("copa", "super_glue_copa", 2),
    ],
)
def test_folders_as_they_are_downloaded(name: str, folder: str, number: int, shared: Path) -> None:
    """The evaluated split is found among the others, and its train split beside it."""
    data = shared / SAMPLES / folder
    questions = load_questions(TASKS[name], data)
    assert len(questions) == number
    with_one = load_questions(TASKS[name], data, n_shot=1)
    for question, longer in zip(questions, with_one, strict=True):
        for (context, continuation), (after, same) in zip(question.requests, longer.requests, strict=True):
            assert same == continuation
            assert after.endswith("\n\n" + context)


def test_a_table_or_a_zip(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"goal": f"g{i}", "sol1": "a", "sol2": "bb", "label": i % 2} for i in range(3)]
    jsonl = write(tmp_path / "a.jsonl", *rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "only").mkdir()
    for name, packed in (("a.zip", "a.csv"), ("only/b.zip", "a.parquet")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / packed, f"deep/valid{Path(packed).suffix}")
            archive.write(tmp_path / packed, f"__MACOSX/deep/._valid{Path(packed).suffix}")
    task = TASKS["piqa"]
    expected = content(load_questions(task, jsonl))
    assert [part[2] for part in expected] == [(0,), (1,), (0,)]
    for other in ("a.parquet", "a.csv", "a.zip", "only"):
        assert content(load_questions(task, tmp_path / other)) == expected
    found = read_task(task, tmp_path / "a.zip")
    assert found.questions[0].where == f"{tmp_path}/a.zip/deep/valid.csv:2"
    assert found.source["files"] == [f"{tmp_path}/a.zip/deep/valid.csv"]
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("dev.jsonl", '{"goal": 1, "sol1": "", "sol2": "", "label": 0}')
    with pytest.raises(UserError, match=r"/c\.zip/dev\.jsonl:1 is no row of piqa"):
        load_questions(task, tmp_path / "c.zip")


def test_the_shared_folders_as_they_are(shared: Path) -> None:
    """Of several files the one whose name is the split's and nothing else."""
    folder = shared / "eval"
    sizes = {"boolq": 3270, "copa": 100, "openbook_qa_closed": 500, "piqa": 1838, "arc_easy": 2376, "race_middle": 362}
    places = {"openbook_qa_closed": "openbookqa", "arc_easy": "arc", "race_middle": "race"}
    for name, size in sizes.items():
        assert len(load_questions(TASKS[name], folder / places.get(name, name))) == size
    assert len(load_questions(find_task("blimp_wh_island"), folder / "blimp")) == 1000
    assert len(load_questions(TASKS["truthful_qa_mc2"], folder / "truthfulqa")) == 790
    with pytest.raises(UserError, match="several files for arc_challenge"):
        load_questions(TASKS["arc_challenge"], folder / "arc")


# How many, which, and their examples


def pair(paradigm: str, i: int) -> dict[str, Any]:
    return {"sentence_good": f"good {paradigm} {i}", "sentence_bad": f"bad {i}", "UID": paradigm}


def test_the_first_so_many_of_each_group_in_turn(tmp_path: Path) -> None:
    for paradigm, number in (("b", 4), ("a", 1), ("c", 3)):
        write(tmp_path / f"{paradigm}.jsonl", *(pair(paradigm, i) for i in range(number)))
    task = TASKS["blimp"]
    assert [q.id for q in load_questions(task, tmp_path)] == ["a/0", "b/0", "b/1", "b/2", "b/3", "c/0", "c/1", "c/2"]
    assert [q.id for q in load_questions(task, tmp_path, 6)] == ["a/0", "b/0", "b/1", "b/2", "c/0", "c/1"]
    assert [q.id for q in load_questions(task, tmp_path, 2)] == ["a/0", "b/0"]
    assert [q.id for q in load_questions(find_task("blimp_c"), tmp_path, 2)] == ["c/0", "c/1"]
    with pytest.raises(UserError, match="no 'bb'"):
        load_questions(find_task("blimp_bb"), tmp_path)


def test_examples_depend_on_seed_and_place_alone(tmp_path: Path) -> None:
    rows = [{"goal": f"g{i}", "sol1": f"a{i}", "sol2": f"b{i}", "label": i % 2} for i in range(30)]
    data = write(tmp_path / "valid.jsonl", *rows[:10])
    write(tmp_path / "train.jsonl", *rows[10:])
    task = TASKS["piqa"]
    ten = load_questions(task, data, n_shot=2)
    assert content(load_questions(task, data, n_shot=2)) == content(ten)
    assert content(load_questions(task, data, 4, n_shot=2)) == content(ten)[:4]
    assert content(load_questions(task, data, n_shot=2, seed=7)) != content(ten)
    draw = random.Random(1234).sample(range(20), 3)[:2]  # one more is drawn than used, as the harness does
    expected = "".join(f"Question: g{10 + i}\nAnswer: {'ab'[i % 2]}{10 + i}\n\n" for i in draw)
    assert ten[0].requests[0] == (expected + "Question: g0\nAnswer:", " a0")


def test_a_question_is_no_example_of_itself(tmp_path: Path) -> None:
    articles = [
        {"article": f"t{i}.", "questions": [f"q{i}?"], "answers": ["B"], "options": [["a", "b", "c", "d"]]}
        for i in range(4)
    ]
    questions = load_questions(TASKS["race_high"], write(tmp_path / "a.jsonl", *articles), n_shot=3)
    for i, question in enumerate(questions):
        context = question.requests[0][0]
        assert [context.count(f"t{k}.") for k in range(4)] == [1] * 4
        assert context.endswith(f"Article: t{i}.\n\nq{i}?")


def test_what_is_recorded_of_a_file(tmp_path: Path) -> None:
    data = write(tmp_path / "valid.jsonl", {"goal": "g", "sol1": "a", "sol2": "b", "label": 0})
    source = read_task(TASKS["piqa"], data, seed=5).source
    assert source["files"] == [str(data)]
    assert len(source["sha256"]) == 64
    assert (source["n_shot"], source["seed"]) == (0, 5)


# The hub


def test_the_hub_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, *, split: str, revision: str) -> Any:
        calls.append((name, config, split, revision))
        part = datasets.Dataset.from_list([pair(str(config), 0), pair(str(config), 1)])
        part.info.download_checksums = {f"hf://datasets/{name}@{'ab' * 20}/{config}/train.parquet": {}}
        return part

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name, revision: ["x", "y"])
    found = read_task(TASKS["blimp"])
    assert calls == [("nyu-mll/blimp", "x", "train", "main"), ("nyu-mll/blimp", "y", "train", "main")]
    assert [q.id for q in found.questions] == ["x/0", "x/1", "y/0", "y/1"]
    assert found.questions[1].where == "row 2 of nyu-mll/blimp (x), train"
    assert found.source["revision"] == "ab" * 20
    assert found.source["dataset"] == "nyu-mll/blimp"


def test_race_of_the_hub_comes_a_question_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    problem = {"question": "q?", "answer": "B", "options": list("abcd")}
    rows = [{"example_id": name, "article": f"t{name}", **problem} for name in "xxy"]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    questions = load_questions(TASKS["race_middle"])
    assert [q.requests[0][0] for q in questions] == [
        "Article: tx\n\nQuestion: q?\nAnswer: b\nq?",
        "Article: ty\n\nq?",
    ]


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(UserError, match=r"arc_easy is the dataset allenai/ai2_arc .* cannot be reached.*\(--data\)"):
        load_questions(TASKS["arc_easy"])


# Bad input

GOOD: dict[str, dict[str, Any]] = {
    "piqa": {"goal": "g", "sol1": "a", "sol2": "b", "label": 0},
    "winogrande": {"sentence": "A _ b.", "option1": "x", "option2": "y", "answer": "1"},
    "arc_easy": HUB_ROWS["arc_easy"],
    "copa": {"premise": "P.", "choice1": "A", "choice2": "B", "question": "cause", "label": 0},
    "hellaswag": {"activity_label": "a", "ctx": "c", "endings": ["x", "y"], "label": 0},
    "mmlu": {"question": "q", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 0},
    "race_high": {"article": "a", "questions": ["q"], "answers": ["A"], "options": [["a", "b", "c", "d"]]},
    "truthful_qa_mc1": {"question": "q", "mc1_targets": {"a": 1, "b": 0}, "mc2_targets": {"a": 1, "b": 0}},
    "commonsense_qa": HUB_ROWS["commonsense_qa"],
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("piqa", {"label": 2}, "'label' holds 2, and a number from 0 to 1 is wanted"),
    ("piqa", {"sol2": None}, "'sol2' holds nothing, and text is wanted"),
    ("winogrande", {"answer": ""}, "'answer' holds '', and 1 or 2"),
    ("winogrande", {"sentence": "no gap"}, "has no gap"),
    ("arc_easy", {"answerKey": "9"}, "answerKey is '9', and the choices are 1, 2, 3"),
    ("arc_easy", {"choices": ["a", "b"]}, "texts and labels are wanted"),
    ("copa", {"question": "why"}, "cause or effect"),
    ("copa", {"choice1": ""}, "a choice is empty"),
    ("hellaswag", {"label": ""}, "'label' holds '', and a number from 0 to 1"),
    ("hellaswag", {"endings": "x"}, "a list of texts is wanted"),
    ("mmlu", {"choices": ["a", "b"]}, "'choices' holds 2 texts, and 4 are wanted"),
    ("race_high", {"answers": ["E"]}, "a letter from A to D"),
    ("race_high", {"answers": ["A", "B"]}, "lists of the same length"),
    ("truthful_qa_mc1", {"mc1_targets": {"a": 1, "b": 1}}, "marks 2 choices as true"),
    ("truthful_qa_mc1", {"mc2_targets": {"a": 3, "b": 1}}, "with 0 and 1"),
    ("commonsense_qa", {"choices": HUB_ROWS["arc_easy"]["choices"]}, "answerKey is 'A'"),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD)
def test_a_bad_row_is_named(name: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", GOOD[name], {**GOOD[name], **change})
    with pytest.raises(UserError, match=r"rows\.jsonl:2 is no row of ") as error:
        load_questions(TASKS[name], data, n_shot=0)
    assert message in str(error.value)


def test_wrong_files(tmp_path: Path) -> None:
    task = TASKS["piqa"]
    with pytest.raises(UserError, match="does not exist"):
        load_questions(task, tmp_path / "none")
    with pytest.raises(UserError, match=r"x\.jsonl:1 has the columns a, and piqa wants goal, sol1, sol2, label"):
        load_questions(task, write(tmp_path / "x.jsonl", {"a": 1}))
    for name in ("y.txt", "z.zip"):
        (tmp_path / name).write_text("text")
    write(tmp_path / "two/dev1.jsonl", GOOD["piqa"])
    write(tmp_path / "two/dev2.jsonl", GOOD["piqa"])
    write(tmp_path / "other/test.jsonl", GOOD["piqa"])
    with pytest.raises(UserError, match=r"y\.txt has none of the names that tables have"):
        load_questions(task, tmp_path / "y.txt")
    with pytest.raises(UserError, match="is no whole zip"):
        load_questions(task, tmp_path / "z.zip")
    with pytest.raises(UserError, match="holds no rows"):
        load_questions(task, write(tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match=r"several files for piqa, validation: dev1\.jsonl, dev2\.jsonl; name one"):
        load_questions(task, tmp_path / "two")
    with pytest.raises(UserError, match="holds no validation split of piqa"):
        load_questions(task, tmp_path / "other")


def test_labels_in_a_file_of_their_own(tmp_path: Path) -> None:
    task = TASKS["piqa"]
    bare = {"goal": "g", "sol1": "a", "sol2": "b"}
    data = write(tmp_path / "valid.jsonl", bare, bare)
    with pytest.raises(UserError, match=r"valid\.jsonl:1 has no label: .* wanted in .*valid-labels\.lst"):
        load_questions(task, data)
    (tmp_path / "valid-labels.lst").write_text("1\n0\n")
    assert [q.gold for q in load_questions(task, data)] == [(1,), (0,)]
    for wrong in ("1\n", "1\n0\n1\n"):
        (tmp_path / "valid-labels.lst").write_text(wrong)
        with pytest.raises(UserError, match=r"holds \d labels"):
            load_questions(task, data)


def test_examples_that_cannot_be_had(tmp_path: Path) -> None:
    data = write(tmp_path / "valid.jsonl", GOOD["piqa"])
    with pytest.raises(UserError, match=r"come from its train split, and beside .* none: put a file named train"):
        load_questions(TASKS["piqa"], data, n_shot=1)
    write(tmp_path / "train.jsonl", GOOD["piqa"])
    with pytest.raises(UserError, match=r"3 few-shot examples are wanted, and piqa \(train\) has 1 rows"):
        load_questions(TASKS["piqa"], data, n_shot=3)
    with pytest.raises(UserError, match="takes no few-shot examples"):
        load_questions(TASKS["truthful_qa_mc1"], data, n_shot=1)
    with pytest.raises(UserError, match="-1 few-shot examples"):
        load_questions(TASKS["piqa"], data, n_shot=-1)
    with pytest.raises(UserError, match="0 questions"):
        load_questions(TASKS["piqa"], data, 0)


# The page


def test_the_table_of_the_page_is_the_declarations(root: Path) -> None:
    lines = (root / "docs/multiple-choice.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    table = {row[0]: row[1:] for row in rows if row and row[0] in TASKS}
    assert list(table) == list(TASKS)
    for name, task in TASKS.items():
        config = {None: "", "*": ", each paradigm"}.get(task.hub.config, f", {task.hub.config}")
        drawn = "the first of" if task.shots == "first" else "drawn from"
        shots = "none" if task.shots == "none" else f"{task.n_shot}, {drawn} {task.hub.shots or task.hub.split}"
        source, split, prompt, metrics, examples, harness = table[name]
        assert (source, split) == (task.hub.dataset + config, task.hub.split)
        assert (metrics, examples, harness) == (", ".join(task.metrics), shots, task.harness or "–")
        assert prompt
