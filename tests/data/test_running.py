"""Running text: cut in order, tokeniser from the first stretch alone, short texts refused."""

import pytest

from howfar.core.errors import DataError, UsageError
from howfar.data.running import cut_text, load_running


def write(folder, text):
    path = folder / "play.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_cuts_are_in_order_and_lose_nothing():
    text = "".join(f"line {i}\n" for i in range(1000))
    parts = cut_text(text)
    assert "".join(parts) == text
    assert all(part.endswith("\n") for part in parts)
    shares = [len(part) / len(text) for part in parts]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.001)


def test_without_line_breaks_the_cut_is_exact():
    assert [len(part) for part in cut_text("x" * 1000)] == [800, 100, 100]


def test_the_nearest_line_break_wins():
    text = "x" * 795 + "\n" + "x" * 6 + "\n" + "x" * 197
    assert len(text) == 1000
    # Breaks end at 796 and 803: 803 is nearer to 800.
    assert len(cut_text(text)[0]) == 803


def test_counts_by_hand(tmp_path):
    text = "abcd" * 1000
    made = load_running(write(tmp_path, text), length=10)
    assert (made.data.train, made.data.validation, made.data.test) == (3200, 400, 400)
    assert made.data.vocabulary == 6
    assert made.characters_per_token == 1
    assert made.tokeniser.decode(made.test) == "abcd" * 100
    assert made.data.kind == "text"
    assert made.data.unit == "character"
    words = load_running(write(tmp_path, "abc " * 1000), tokens="word", length=10)
    assert words.characters_per_token == 4


def test_the_vocabulary_is_of_train_alone(tmp_path):
    before = load_running(write(tmp_path, "abcd" * 1000), length=10)
    after = load_running(write(tmp_path, "abcd" * 900 + "abxy" * 100), length=10)
    assert after.tokeniser.library.to_str() == before.tokeniser.library.to_str()
    assert after.data.unknown_tokens == 200
    assert (after.train == before.train).all()


def test_a_short_text_is_refused_with_what_is_needed(tmp_path):
    path = write(tmp_path, "abcd" * 200)  # 640, 80 and 80 characters
    with pytest.raises(
        DataError, match="640, 80 and 80 characters, and need 661, 133 and 133"
    ) as caught:
        load_running(path, length=33)
    assert caught.value.code == "E-TOO-SHORT"
    assert caught.value.hint == "--length 19"
    load_running(path, length=19)
    with pytest.raises(DataError):
        load_running(path, length=20)


def test_other_faults(tmp_path):
    with pytest.raises(UsageError):
        load_running(write(tmp_path, "abc"), length=1)
    with pytest.raises(DataError) as caught:
        load_running("movie_reviews")
    assert caught.value.code == "E-FORMAT"
    chinese = "\u6211\u4eec\u4f4f\u5728\u8fd9\u5bb6\u9152\u5e97\u5f88\u6ee1\u610f\u3002" * 300
    notes = load_running(write(tmp_path, chinese), tokens="word", length=2).data.notes
    assert any("W-SCRIPT" in note for note in notes)
