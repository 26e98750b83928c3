"""All families by name. A new one is a file of its own, a line here, and its tests."""

from howfar.core.errors import UsageError, closest, shown
from howfar.models import (
    deepcnn,
    deltanet,
    elman,
    gated_deltanet,
    gatedconv,
    gla,
    gru,
    hybrid,
    hyena,
    indrnn,
    linear_attention,
    lru,
    lstm,
    mamba,
    mamba2,
    mingru,
    minlstm,
    retention,
    rglru,
    s4d,
    tcn,
    textcnn,
    transformer,
)
from howfar.models.family import Family


def _one_a_kernel(settings: textcnn.TextCnnSettings) -> int:
    return len(settings.kernels)


MODELS: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "textcnn", "convolutional", textcnn, textcnn.TextCnnSettings, narrowest=_one_a_kernel
        ),
        Family("tcn", "convolutional", tcn, tcn.TcnSettings),
        Family("deepcnn", "convolutional", deepcnn, deepcnn.DeepCnnSettings),
        Family("gatedconv", "convolutional", gatedconv, gatedconv.GatedConvSettings),
        Family("hyena", "convolutional", hyena, hyena.HyenaSettings),
        Family("elman", "recurrent", elman, elman.ElmanSettings, narrowest=elman.narrowest),
        Family("lstm", "recurrent", lstm, lstm.LstmSettings, narrowest=lstm.narrowest),
        Family("gru", "recurrent", gru, gru.GruSettings, narrowest=gru.narrowest),
        Family("indrnn", "recurrent", indrnn, indrnn.IndRnnSettings),
        Family("mingru", "linear recurrence", mingru, mingru.MinGruSettings),
        Family("minlstm", "linear recurrence", minlstm, minlstm.MinLstmSettings),
        Family("transformer", "attention", transformer, transformer.TransformerSettings),
        Family("s4d", "linear recurrence", s4d, s4d.S4dSettings),
        Family("lru", "linear recurrence", lru, lru.LruSettings),
        Family("mamba", "linear recurrence", mamba, mamba.MambaSettings),
        Family("rglru", "linear recurrence", rglru, rglru.RgLruSettings),
        Family(
            "linear_attention",
            "linear recurrence",
            linear_attention,
            linear_attention.LinearAttentionSettings,
        ),
        Family("retention", "linear recurrence", retention, retention.RetentionSettings),
        Family("gla", "linear recurrence", gla, gla.GlaSettings),
        Family("mamba2", "linear recurrence", mamba2, mamba2.Mamba2Settings),
        Family("deltanet", "linear recurrence", deltanet, deltanet.DeltanetSettings),
        Family(
            "gated_deltanet",
            "linear recurrence",
            gated_deltanet,
            gated_deltanet.GatedDeltanetSettings,
        ),
        Family("hybrid", "hybrid", hybrid, hybrid.HybridSettings),
    )
}
# what a comparison takes unless told: one of each way the story tells, cheap enough for a laptop
USUAL = ("textcnn", "tcn", "elman", "lstm", "gru", "transformer")


def families() -> tuple[Family, ...]:
    """All families, in the order of `MODELS`."""
    return tuple(MODELS.values())


def named(name: str) -> Family:
    """The family of this name.

    Raises:
        UsageError: E-MODEL, with the nearest known name.
    """
    if name in MODELS:
        return MODELS[name]
    near, known = closest(str(name), MODELS), ", ".join(MODELS)
    raise UsageError(
        "E-MODEL",
        f"No model is called {shown(name)}. {near}Known: {known}.",
        "a known name, or package.module:attr for your own",
    )
