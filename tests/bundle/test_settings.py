"""`config.json` is read strictly: what is wrong is named by a JSON pointer."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from tests.bundle.making import AIMS, settings

from howfar.bundle.settings import SCHEMA, Settings, parse_settings, settings_text
from howfar.core.errors import StoreError


def parsed(text):
    return parse_settings(text if isinstance(text, bytes) else text.encode(), "config.json")


def changed(**fields):
    return json.dumps(json.loads(settings_text(settings())) | fields)


@pytest.mark.parametrize("aim", AIMS)
def test_round_trip(aim):
    made = settings(aim)
    assert parsed(settings_text(made)) == made
    assert settings_text(parsed(settings_text(made))) == settings_text(made)


def test_round_trip_of_extras():
    extras = {"kernels": (2, 3), "pool": "max", "bidirectional": True, "share": 0.5, "heads": 4}
    found = parsed(settings_text(settings(extras=extras))).extras
    assert found == extras
    assert [type(value) for value in found.values()] == [type(value) for value in extras.values()]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
@profile(derandomize=True, max_examples=60, deadline=None)
def test_round_trip_of_any_names(names):
    made = settings(names=tuple(names)) if names else settings("regression")
    assert parsed(settings_text(made)) == made


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (changed(colour=1), r"/colour.*unknown key"),
        (changed(widht=1), r"/widht.*Did you mean 'width'"),
        (changed(**{"a/b~c": 1}), r"/a~1b~0c"),
        (changed(width="8"), r"/width.*a whole number, found text"),
        (changed(width=True), r"/width.*a whole number, found true or false"),
        (changed(width=8.0), r"/width.*a whole number, found a number"),
        (changed(width=None), r"/width.*found null"),
        (changed(width=0), r"/width.*not from 1"),
        (changed(width=-3), r"/width.*not from 1"),
        (changed(width=2**31), r"/width.*not from 1"),
        (changed(depth=100_000), r"/depth.*not from 1"),
        (changed(depth="2"), r"/depth.*cannot be text"),
        (changed(causal=1), r"/causal.*true or false"),
        (changed(dropout=1.0), r"/dropout"),
        (changed(dropout=-0.1), r"/dropout"),
        (changed(names=["a", 1, "c"]), r"/names/1.*text"),
        (changed(names={"a": 1}), r"/names.*a list"),
        (changed(names=["a", "a", "b"]), r"/names.*twice"),
        (changed(names=["a"]), r"/names.*1 names for 3 outputs"),
        (changed(extras=[1]), r"/extras.*an object"),
        (changed(extras={"kernels": [1, "x"]}), r"/extras/kernels/1"),
        (changed(extras={"kernels": [1.5]}), r"/extras/kernels/0"),
        (changed(extras={"k": {"deep": 1}}), r"/extras/k.*an object"),
        (changed(extras={"k": None}), r"/extras/k.*null"),
        (changed(extras={"k": 2**40}), r"/extras/k.*larger"),
        (changed(extras={"k": [1] * 20_000}), r"/extras/k.*larger"),
        (changed(keep="middle"), r"/keep"),
        (changed(end=10**6), r"/end"),
        (changed(mask=-1), r"/mask"),
        (changed(scale=[1.0]), r"/scale"),
        (changed(scale=[1.0, 0.0]), r"/scale"),
        (changed(schema=SCHEMA + 1), r"/schema.*up to 1"),
        (changed(schema=0), r"/schema"),
        (changed(schema="1"), r"/schema"),
        (changed(family="\ud800"), r"/family.*surrogate"),
        ("[]", "an object, found a list"),
        ("3", "an object, found a whole number"),
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 200_000, "nested too deeply|no JSON"),
        ('{"dropout": NaN}', "NaN"),
        ('{"dropout": Infinity}', "Infinity"),
        ('{"dropout": -Infinity}', "-Infinity"),
        ('{"dropout": 1e999}', "1e999"),
        ('{"aim": "lm", "aim": "lm"}', "/aim.*twice"),
        ('{"extras": {"k": 1, "k": 2}}', "/k.*twice"),
        ('{"width": ' + "9" * 5000 + "}", "digits|limit"),
        (b"\xff\xfe", "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
    ],
)
def test_what_is_refused(text, what):
    with pytest.raises(StoreError, match=what) as caught:
        parsed(text)
    assert caught.value.code == "E-CONFIG"
    assert caught.value.exit_code == 5
    assert "config.json" in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("field", ["aim", "family", "tokens", "vocabulary", "width", "length"])
def test_a_missing_field(field):
    data = json.loads(settings_text(settings()))
    del data[field]
    with pytest.raises(StoreError, match=f"/{field}.*missing"):
        parsed(json.dumps(data))


def test_seq2seq_needs_its_end():
    data = json.loads(settings_text(settings("seq2seq")))
    for field in ("end", "source_vocabulary"):
        with pytest.raises(StoreError, match=f"/{field}"):
            parsed(json.dumps({key: value for key, value in data.items() if key != field}))


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda s: s.encode("utf-8", "replace")))
@profile(derandomize=True, max_examples=200, deadline=None)
def test_any_bytes_give_settings_or_a_clear_error(data):
    with pytest.raises(StoreError):
        parsed(data)


@given(
    st.sampled_from(sorted(Settings.__dataclass_fields__)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
)
@profile(derandomize=True, max_examples=300, deadline=None)
def test_any_value_of_any_field_gives_settings_or_a_clear_error(field, value):
    try:
        found = parsed(changed(**{field: value}))
    except StoreError as error:
        assert error.code == "E-CONFIG"  # noqa: PT017 - either outcome is right
    else:
        assert parsed(settings_text(found)) == found
