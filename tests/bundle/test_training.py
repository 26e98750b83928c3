"""From a corpus to a bundle: every aim ends, a run that stops goes on to the same bits."""

import numpy as np
import pytest
import torch
from tests.cli.conftest import BAD, GOOD, reviews

from howfar.bundle import training
from howfar.bundle.evaluate import evaluate, evaluate_asked
from howfar.bundle.examples import read_asked
from howfar.bundle.load import load
from howfar.bundle.place import Place, check_free
from howfar.bundle.recipe import Recipe
from howfar.bundle.room import check_memory, saying_memory
from howfar.bundle.training import Watching, keep, train
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError
from howfar.data.anything import Rows
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.train import Budget

ROWS = reviews(60)
AIMS = {
    "classification": lambda text, label: label,
    "multilabel": lambda text, label: sorted({label, text.split()[0]}),
    "tagging": lambda text, label: ["B" if w in GOOD + BAD else "O" for w in text.split()],
    "regression": lambda text, label: len(text) / 7,
    "seq2seq": lambda text, label: " ".join(reversed(text.split())),
    "lm": lambda text, label: label,
    "masked": lambda text, label: label,
}


def corpus(aim="classification", **options):
    columns = (
        [text.split() if aim == "tagging" else text for text, _ in ROWS],
        [AIMS[aim](*row) for row in ROWS],
    )
    rows = Rows(
        path="rows",
        names=("text", "label"),
        lines=range(2, len(ROWS) + 2),
        column=lambda place: columns[place],
        notes=(),
        kind="table",
    )
    return load_corpus(rows, aim, CorpusOptions(text="text", label="label", **options))


def recipe(**given):
    options = {"evaluations": 2} | given.pop("options", {})
    base = {"budget": Budget(6, "steps"), "width": 8, "embedding": 8, "rows": 8}
    return Recipe(**(base | given), options=options)


class Cut:
    """Says stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left <= 0


def weights(bundle):
    return bundle.model.state_dict()


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("aim", AIMS)
def test_every_aim_ends_in_a_bundle_that_loads_as_it_was(tmp_path, aim):
    done = train(corpus(aim), recipe(), Place(folder=tmp_path / "m"))
    assert done.training.status == "done"
    assert done.training.steps == 6
    kept = keep(done, Place(folder=tmp_path / "m"), (), ())
    again = load(tmp_path / "m")
    assert equal(weights(again), weights(kept))
    assert again.settings == done.bundle.settings
    assert again.training.points == done.training.points
    assert not again.model.training


def test_the_record_counts_the_classes_of_training_alone(tmp_path):
    train_file, test_file = tmp_path / "train.csv", tmp_path / "test.csv"
    train_file.write_text("text,label\n" + "".join(f"t {i},{'aab'[i % 3]}\n" for i in range(30)))
    test_file.write_text("text,label\n" + "".join(f"u {i},{'bbbba'[i % 5]}\n" for i in range(50)))
    options = CorpusOptions(text="text", label="label", test=test_file)
    data = load_corpus(train_file, "classification", options)
    bundle = train(data, recipe()).bundle
    assert sum(bundle.training.labels.values()) == len(data.train)
    asked = read_asked(bundle, test_file, CorpusOptions(text="text", label="label"))
    for found in (evaluate(bundle, data), evaluate_asked(bundle, asked)):
        (base,) = found.baselines
        assert base.score.value == pytest.approx(0.2)
        assert base.note == "always 'a', the commonest of training"
    assert train(corpus("regression"), recipe()).training.labels is None


def test_in_memory_alone_gives_the_same(tmp_path):
    one = train(corpus(), recipe()).bundle
    other = train(corpus(), recipe(), Place(folder=tmp_path / "m")).bundle
    assert equal(weights(one), weights(other))
    assert not equal(weights(one), weights(train(corpus(), recipe(seed=1)).bundle))


KINDS = {
    "classification": ("classification", {}),
    "pretrained on the next token": ("classification", {"pretrain": "next"}),
    "pretrained on hidden ones": ("multilabel", {"pretrain": "denoise", "family": "textcnn"}),
    "carried": ("lm", {"family": "lstm"}),
    "carried in two slots": ("lm", {"options": {"slots": 2}}),
    "packed": ("classification", {"pack": True, "family": "transformer"}),
    "dropout of pairs": ("seq2seq", {"dropout": 0.5}),
    "hidden tokens": ("masked", {"family": "transformer"}),
    "tokens in batches": ("tagging", {"batch_tokens": 40}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_cut_at_any_step_ends_with_the_same_bits(tmp_path, kind, steps):
    aim, given = KINDS[kind]
    whole = train(corpus(aim), recipe(**given))
    place = Place(folder=tmp_path / "m", resume=True)
    cuts = 0
    for _ in range(20):
        done = train(corpus(aim), recipe(**given), place, Watching(stop=Cut(steps)))
        if done.bundle is not None:
            break
        assert done.training.status == "stopped"
        cuts += 1
    else:
        done = train(corpus(aim), recipe(**given), place)
    assert cuts >= (2 if steps == 1 else 1)
    assert equal(weights(done.bundle), weights(whole.bundle))
    told = [(p.step, p.tokens, p.loss, p.validation, p.score) for p in done.training.points]
    assert told == [
        (p.step, p.tokens, p.loss, p.validation, p.score) for p in whole.training.points
    ]


def test_pretraining_that_was_stopped_gives_no_model(tmp_path):
    done = train(
        *(corpus(), recipe(pretrain="next"), Place(folder=tmp_path / "m")),
        Watching(stop=Cut(3)),
    )
    assert (done.training.status, done.training.steps, done.bundle) == ("stopped", 3, None)
    assert (tmp_path / "m" / "pretraining" / "ckpt-000000003").is_dir()
    assert not (tmp_path / "m" / "checkpoints").exists()


def test_pretraining_changes_what_is_learned():
    plain, early = (train(corpus(), recipe(pretrain=how)).bundle for how in (None, "denoise"))
    assert not equal(weights(plain), weights(early))
    assert weights(plain).keys() == weights(early).keys()
    assert early.settings.vocabulary == plain.settings.vocabulary


@pytest.mark.parametrize("how", ["next", "denoise"])
def test_training_begins_with_what_pretraining_left(monkeypatch, how):
    seen, real = [], training.fit

    def body(model):
        return {name: weight.clone() for name, weight in model.body.state_dict().items()}

    def fit(model, *given, **named):
        before = body(model)
        done = real(model, *given, **named)
        seen.append((before, body(model)))
        return done

    monkeypatch.setattr(training, "fit", fit)
    train(corpus(), recipe(pretrain=how))
    (_, left), (begun, _) = seen
    assert equal(begun, left)


@pytest.fixture
def cut(tmp_path):
    """A place with a run that was stopped."""
    place = Place(folder=tmp_path / "m", resume=True)
    train(corpus(), recipe(), place, Watching(stop=Cut(2)))
    return place


OTHERS = {
    "model.family": ({}, {"family": "lstm"}),
    "model.width": ({}, {"width": 9}),
    "model.dropout": ({}, {"dropout": 0.1}),
    "model.length": ({"length": 5}, {}),
    "model.tokens": ({"tokens": "char"}, {}),
    "options.seed": ({}, {"seed": 1}),
    "options.learning_rate": ({}, {"learning_rate": 0.1}),
    "options.weights": ({}, {"balanced": True}),
    "options.schedule": ({}, {"options": {"schedule": "linear"}}),
    "options.budget.unit": ({}, {"budget": Budget(6, "tokens")}),
    "batches": ({}, {"rows": 9}),
    "rows": ({"seed": 1}, {}),
    "tokeniser": ({"max_vocabulary": 10}, {}),
}


@pytest.mark.parametrize("field", OTHERS)
def test_a_run_of_another_identity_is_named(cut, field):
    reading, given = OTHERS[field]
    with pytest.raises(StoreError) as caught:
        train(corpus(**reading), recipe(**given), cut)
    assert caught.value.code == "E-OTHER-RUN"
    assert field in caught.value.message or "more" in caught.value.message


def test_pretraining_begins_a_run_of_its_own(cut):
    train(corpus(), recipe(pretrain="next"), cut, Watching(stop=Cut(2)))
    with pytest.raises(StoreError, match="pretrain"):
        train(corpus(), recipe(pretrain="next"), cut)


def test_the_same_file_split_otherwise_is_another_run(tmp_path):
    place = Place(folder=tmp_path / "m", resume=True)
    train(corpus(tokens="byte"), recipe(), place, Watching(stop=Cut(2)))
    with pytest.raises(StoreError, match="rows is"):
        train(corpus(tokens="byte", seed=3), recipe(), place)


def test_when_checkpoints_are_kept_does_not_matter(cut):
    done = train(corpus(), recipe(options={"checkpoint_every": 1}), cut)
    assert equal(weights(done.bundle), weights(train(corpus(), recipe()).bundle))


def test_other_software_needs_a_word(cut, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ABACUS")
    with pytest.raises(StoreError, match=r"software\.cpu") as caught:
        train(corpus(), recipe(), cut)
    assert caught.value.code == "E-INEXACT"
    inexact = Place(folder=cut.folder, resume=True, inexact=True)
    done = train(corpus(), recipe(), inexact)
    assert done.training.inexact
    assert equal(weights(done.bundle), weights(train(corpus(), recipe()).bundle))


def test_what_may_stand_in_the_folder(tmp_path, monkeypatch):
    place = Place(folder=tmp_path / "m")
    check_free(place)
    done = train(corpus(), recipe(), place)
    with pytest.raises(StoreError, match="was begun"):
        check_free(place)
    keep(done, place, (), ())
    with pytest.raises(StoreError, match="finished model"):
        check_free(place)
    check_free(Place(folder=place.folder, overwrite=True))
    (place.folder / "notes").write_text("mine")
    with pytest.raises(UsageError, match="notes"):
        check_free(Place(folder=place.folder, overwrite=True))
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    with pytest.raises(UsageError, match="current folder"):
        check_free(Place(folder=tmp_path / "here"))


def test_a_model_that_memory_does_not_hold(tmp_path):
    settings = recipe().settings(corpus())
    floats = sum(p.numel() for p in train(corpus(), recipe()).bundle.model.parameters())
    check_memory(settings, 5 * 4 * floats)
    with pytest.raises(EnvironmentFault) as caught:
        check_memory(settings, 5 * 4 * floats - 1)
    assert (caught.value.code, caught.value.exit_code) == ("E-MEMORY", 4)
    with pytest.raises(UsageError, match="4,000 at most"):
        train(corpus(), recipe(depth=1000), Place(folder=tmp_path / "m"))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 9 bytes")])
def test_memory_that_ran_out_is_said(error):
    with pytest.raises(EnvironmentFault, match="Memory ran out"), saying_memory():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes"), StoreError("E-CKPT", "x"), ValueError()])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, saying_memory():
        raise error
    assert caught.value is error


WRONG = {
    "pretraining of lm": ("lm", {"pretrain": "next"}, "E-OPTION"),
    "carried rows": ("classification", {"carry": True}, "E-OPTION"),
    "balanced numbers": ("regression", {"balanced": True}, "E-OPTION"),
    "packed gru": ("classification", {"pack": True}, "E-PACK"),
    "packed pairs": ("seq2seq", {"pack": True}, "E-PACK"),
    "width as a setting": ("classification", {"extras": {"width": 3}}, "E-OPTION"),
    "unknown setting": ("classification", {"extras": {"foo": 3}}, "E-SETTING"),
    "unknown family": ("classification", {"family": "foo"}, "E-MODEL"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_leaves_nothing(tmp_path, case):
    aim, given, code = WRONG[case]
    with pytest.raises(HowfarError) as caught:
        train(corpus(aim), recipe(**given), Place(folder=tmp_path / "m"))
    assert caught.value.code == code
    assert not (tmp_path / "m").exists()


def test_classes_weigh_alike_where_balanced():
    rare = corpus()
    labels = np.asarray([0] * 36 + [1] * 12)
    object.__setattr__(rare.train, "targets", labels)
    plan = recipe(balanced=True).training(rare, 1000)
    assert plan.weights == pytest.approx((48 / 72, 48 / 24))


@pytest.mark.parametrize("kind", ["next", "denoise"])
def test_what_pretraining_took_is_recorded(kind):
    run = train(corpus(), recipe(pretrain=kind)).training
    early, both = run.pretraining, run.total
    assert (early.kind, run.settings["pretrain"]) == (kind, kind)
    assert (early.steps, run.steps, both.steps) == (6, 6, 12)
    for name in ("tokens", "flops", "seconds"):
        first, second = getattr(early, name), getattr(run, name)
        assert min(first, second) > 0
        assert getattr(both, name) == first + second
    alone = train(corpus(), recipe()).training
    assert (alone.pretraining, alone.total, "pretrain" in alone.settings) == (None, None, False)
    assert (run.steps, run.tokens) == (alone.steps, alone.tokens)


def test_a_run_that_ends_while_it_is_pretrained_says_so():
    run = train(corpus(), recipe(pretrain="next"), None, Watching(stop=Cut(2))).training
    assert (run.status, run.ended_in, run.steps, run.pretraining) == (
        "stopped",
        "pretraining",
        2,
        None,
    )


def test_a_name_that_no_model_could_be_written_beside_is_found_before_training(tmp_path):
    place = Place(folder=tmp_path / ("x" * 250))
    with pytest.raises(EnvironmentFault, match="name too long") as caught:
        train(corpus(), recipe(), place, Watching(stop=lambda: pytest.fail("trained")))
    assert caught.value.code == "E-WRITE"
