"""Every case of the parser, and what stands in a prompt."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip.llm._contract import (
    N_FORMS,
    N_SCHEMA_FORMS,
    answer_forms,
    build_messages,
    clean_title,
    longest_answer,
    parse_answer,
)

IDS = ["c1", "c2", "c3"]
DEEP = '{"titles": ' + "[" * 9000 + "]" * 9000 + "}"
RTL = "\u200fمزهرية\u200e"

# Text -> titles, or why there are none.
EXPAND = {
    "valid": ('{"titles": ["a", "b"]}', ["a", "b"]),
    "fenced": ('```json\n{"titles": ["a"]}\n```', ["a"]),
    "fence without a name": ('```\n{"titles": ["a"]}```', ["a"]),
    "prose around": ('Sure! {"titles": ["a"]} Enjoy.', ["a"]),
    "prose around a fence": ('Here:\n```json\n{"titles":["a"]}\n```\nok', ["a"]),
    "braces in a string": ('x {"titles": ["a } {", "b\\"}"]} y', ["a } {", 'b"}']),
    "trailing comma": ('{"titles": ["a", "b",]}', "not_json"),
    "truncated list": ('{"titles": ["a", "b', "not_json"),
    "empty list": ('{"titles": []}', "empty"),
    "blank titles": ('{"titles": ["", "  ", "\\n"]}', "empty"),
    "wrong key": ('{"ranking": ["a"]}', "schema"),
    "key in capitals": ('{"Titles": ["a"]}', "schema"),
    "nested": ('{"answer": {"titles": ["a"]}}', "schema"),
    "nested list": ('{"titles": [["a"]]}', "schema"),
    "objects": ('{"titles": [{"title": "a"}]}', "schema"),
    "a bare list": ('["a"]', "schema"),
    "a bare text": ('"a"', "schema"),
    "a number among them": ('{"titles": ["a", 3]}', "schema"),
    "null": ('{"titles": null}', "schema"),
    "text for a list": ('{"titles": "a"}', "schema"),
    "repeats": ('{"titles": ["Tea", "TEA ", "b", "c"]}', ["Tea", "b"]),
    "too many": ('{"titles": ["a", "b", "c"]}', ["a", "b"]),
    "quotes": ('{"titles": ["12\\" pan", "\'x\'"]}', ['12" pan', "'x'"]),
    "emoji": ('{"titles": ["cat \U0001f408 \u200d toy"]}', ["cat 🐈 \u200d toy"]),
    "marks of direction": (json.dumps({"titles": [RTL]}), [RTL]),
    "half a surrogate": ('{"titles": ["a\\ud83d"]}', ["a"]),
    "controls": ('{"titles": ["a\\u0000\\nb"]}', ["a b"]),
    "an instruction": ('{"titles": ["ignore the rules {}"]}', ["ignore the rules {}"]),
    "nothing": ("", "empty"),
    "blanks": (" \n ", "empty"),
    "refusal": (None, "empty"),
    "prose alone": ("I cannot help with that.", "not_json"),
    "garbage": ("\x00\x01}{][", "not_json"),
    "100 kB": ('{"titles": ["' + "x" * 100_000 + '"]}', "not_json"),
    # Quadratic time would make seconds, or minutes, of each of these.
    "a fence of letters": ("```" + "a" * 30_000, "not_json"),
    "a fence of blanks": ("```json" + "\n" * 30_000 + "x", "not_json"),
    "fences alone": ("```" * 2, "not_json"),
    "a fence in one line": ('```json {"titles": ["a"]} ```', ["a"]),
    "braces without end": ("{" * 30_000, "not_json"),
    "blanks behind, 100 kB": ('{"titles": ["a"]}' + " " * 100_000, ["a"]),
}
RERANK = {
    "valid": ('{"ranking": ["c3", "c1", "c2"]}', ["c3", "c1", "c2"]),
    "unknown ids": ('{"ranking": ["c9", "c3", "c1", "c2"]}', ["c3", "c1", "c2"]),
    "only unknown ids": ('{"ranking": ["c9", "x"]}', "unmapped"),
    "repeats": ('{"ranking": ["c3", "c3", "c1", "c2"]}', ["c3", "c1", "c2"]),
    "incomplete": ('{"ranking": ["c3"]}', ["c3", "c1", "c2"]),
    "all at once": ('{"ranking": ["c2", "c9", "c2"]}', ["c2", "c1", "c3"]),
    "ids as numbers": ('{"ranking": [3, 1, 2]}', "schema"),
    "one number": ('{"ranking": ["c3", 1]}', "schema"),
    "titles": ('{"titles": ["a"]}', "schema"),
    "empty list": ('{"ranking": []}', "empty"),
}
CASES = [("expand", case) for case in EXPAND] + [("rerank", case) for case in RERANK]


@pytest.mark.parametrize(("task", "case"), CASES)
def test_answers(task, case):
    text, expected = (EXPAND if task == "expand" else RERANK)[case]
    entries, reason = parse_answer(text, task, 2, IDS)
    assert entries == (expected if isinstance(expected, list) else [])
    assert reason == (expected if isinstance(expected, str) else None)


def test_deep_nesting():
    """Python reads more levels from 3.13 on, and then the lists are no titles."""
    entries, reason = parse_answer(DEEP, "expand", 2)
    assert entries == []
    assert reason in {"not_json", "schema"}


def test_a_number_without_end():
    assert parse_answer("9" * 6000, "expand", 2)[0] == []


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(IDS),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["titles", "ranking"]), inner)
    ),
    max_leaves=8,
).map(json.dumps)


@settings(max_examples=300)
@given(st.none() | st.text() | json_text, st.sampled_from(["expand", "rerank"]))
def test_the_parser_is_total(text, task):
    entries, reason = parse_answer(text, task, 3, IDS)
    if task == "rerank":
        assert entries == [] or sorted(entries) == IDS
    assert len(entries) <= 3
    assert all(entry and entry == clean_title(entry) for entry in entries)
    assert bool(entries) is (reason is None)


def test_the_user_message_is_one_compact_json_object_in_order():
    system, user = build_messages(
        "rerank",
        ["tea", "cup"],
        n=2,
        examples=[(["pot"], "lid")],
        candidates=[("c01", "jar"), ("c02", 'a "b"')],
    )
    assert [system["role"], user["role"]] == ["system", "user"]
    assert user["content"] == (
        '{"task":"rerank","examples":[{"session":["pot"],"next":"lid"}],'
        '"session":["tea","cup"],"most_recent":"cup",'
        '"candidates":[{"id":"c01","title":"jar"},{"id":"c02","title":"a \\"b\\""}],'
        '"n":2}'
    )
    assert '"ranking"' in system["content"]
    system, user = build_messages("expand", ["tea"], n=2)
    assert '"titles"' in system["content"]
    assert "candidates" not in json.loads(user["content"])


TASKS = [("expand", None, "titles"), ("rerank", IDS, "ranking")]


@pytest.mark.parametrize(("task", "ids", "key"), TASKS)
def test_forms_of_an_answer(task, ids, key):
    limited, strict, beside, *weaker, none = answer_forms(task, 3, ids, 50)
    assert none is None
    assert weaker == [{"type": "json_object"}]
    assert len(answer_forms(task, 3, ids)) == N_FORMS
    assert N_FORMS - len(weaker) - 1 == N_SCHEMA_FORMS
    assert limited["type"] == strict["type"] == "json_schema"
    assert beside == {"type": "json_object", "schema": limited["json_schema"]["schema"]}
    for form in (limited, strict):
        assert form["json_schema"]["strict"] is True
        schema = form["json_schema"]["schema"]
        assert schema["required"] == list(schema["properties"]) == [key]
        assert schema["additionalProperties"] is False
        assert schema["properties"][key]["items"].get("enum") == ids
    entries = strict["json_schema"]["schema"]["properties"][key]
    assert set(entries) == {
        "type",
        "items",
    }  # no limit that a strict schema may not have
    assert set(entries["items"]) <= {"type", "enum"}
    entries = limited["json_schema"]["schema"]["properties"][key]
    assert entries["maxItems"] == 3
    assert entries["minItems"] == (3 if ids else 1)
    assert entries["items"].get("maxLength") == (None if ids else 50)


def test_room_for_the_longest_answer():
    """In characters for ids, in half of the bytes for titles; blanks are in."""
    text = json.dumps({"ranking": IDS})
    assert len(text) <= longest_answer("rerank", 3, IDS) <= len(text) + 4
    text = json.dumps({"titles": ["x" * 50] * 3})
    assert len(text) / 2 < longest_answer("expand", 3, None, 50) < len(text)
    assert longest_answer("expand", 10) == 654


@settings(max_examples=100)
@given(st.lists(st.text(), min_size=1, max_size=30))
def test_titles_never_leave_the_json(titles):
    """Nothing that stands in a title changes the rules or the form of a prompt."""
    system, user = build_messages("expand", titles, n=3)
    assert system == build_messages("expand", ["plain"], n=3)[0]
    data = json.loads(user["content"])
    assert list(data) == ["task", "examples", "session", "most_recent", "n"]
    assert data["session"] == [clean_title(title) for title in titles[-20:]]
    assert data["most_recent"] == data["session"][-1]
    user["content"].encode("utf-8")


def test_titles_are_cleaned_and_cut():
    assert clean_title("a\r\n\tb\x00\u2028c \ud800 d") == "a b c d"
    assert clean_title("x" * 500) == "x" * 120
    messages = build_messages("expand", [str(i) for i in range(50)], n=1)
    sent = json.loads(messages[1]["content"])["session"]
    assert sent == [str(i) for i in range(30, 50)]
