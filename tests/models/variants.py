"""Every family with the settings under which the shared promises are tested, a row a variant."""

# name, settings, forms: "both", "causal" or "whole"
VARIANTS = [
    # convolutional
    ("textcnn", {"kernels": (2, 3, 5)}, "both"),
    ("textcnn", {"pool": "none"}, "causal"),
    ("textcnn", {"kernels": (1,)}, "causal"),
    ("tcn", {"depth": 2}, "both"),
    ("tcn", {"kernel": 1}, "both"),
    ("deepcnn", {"depth": 2}, "both"),
    ("deepcnn", {"kernel": 2}, "causal"),
    ("gatedconv", {"depth": 3}, "both"),
    ("gatedconv", {"kernel": 4, "depth": 2}, "causal"),
    ("hyena", {"horizon": 20}, "both"),
    ("hyena", {"depth": 1}, "causal"),
    # recurrent
    ("elman", {"h0": "learned", "depth": 2}, "both"),
    ("lstm", {"h0": "random", "depth": 2}, "both"),
    ("gru", {}, "both"),
    ("gru", {"h0": "learned", "depth": 2}, "causal"),
    ("elman", {"activation": "relu", "start": "identity"}, "both"),
    ("elman", {"norm": True, "recurrent_dropout": 0.5}, "both"),
    ("elman", {"bidirectional": True, "activation": "relu"}, "whole"),
    ("lstm", {"norm": True, "start": "chrono"}, "both"),
    ("lstm", {"bidirectional": True, "h0": "learned"}, "whole"),
    ("gru", {"norm": True, "h0": "learned"}, "both"),
    ("gru", {"bidirectional": True, "norm": True}, "whole"),
    ("indrnn", {}, "both"),
    ("indrnn", {"h0": "learned", "depth": 3, "horizon": 900}, "causal"),
    ("mingru", {}, "both"),
    ("mingru", {"h0": "learned", "depth": 1}, "causal"),
    ("minlstm", {}, "both"),
    ("minlstm", {"h0": "learned", "depth": 1}, "causal"),
    # attention
    ("transformer", {"heads": 3}, "both"),
    *(
        ("transformer", {"heads": 3, "positions": name}, "both")
        for name in ("none", "learned", "sinusoidal", "alibi", "relative")
    ),
    ("transformer", {"heads": 4, "kv_heads": 2}, "both"),
    ("transformer", {"window": 5}, "both"),
    ("transformer", {"window": 4, "sinks": 2}, "causal"),
    *(
        ("transformer", {"heads": 2, "kv_heads": 1, "positions": name, "window": 3}, "both")
        for name in ("sinusoidal", "alibi", "relative")
    ),
    *(
        ("transformer", {"heads": 3, "positions": name, "window": 1, "sinks": 3}, "causal")
        for name in ("learned", "alibi", "relative")
    ),
    # linear recurrences
    ("s4d", {"states": 8}, "both"),
    ("s4d", {"start": "inv"}, "causal"),
    ("lru", {}, "both"),
    ("lru", {"r_min": 0.0}, "causal"),
    ("mamba", {"state": 5}, "both"),
    ("mamba", {"expand": 1, "depth": 1}, "causal"),
    ("rglru", {}, "both"),
    ("rglru", {"blocks": 3}, "causal"),
    ("linear_attention", {}, "both"),
    ("retention", {"heads": 3}, "both"),
    ("gla", {"heads": 3}, "both"),
    ("mamba2", {"heads": 3, "state": 5}, "both"),
    ("deltanet", {}, "both"),
    ("gated_deltanet", {"heads": 3}, "both"),
    # hybrid
    ("hybrid", {"pattern": "attention:1,ssm:2"}, "both"),
    ("hybrid", {"pattern": "gru,tcn:2", "depth": 2}, "both"),
]

# finite reaches, measured to the token at more settings
EXACT = [
    *(("tcn", {"kernel": k, "depth": n}, "both") for k, n in [(1, 2), (3, 1), (3, 3), (5, 2)]),
    ("tcn", {"kernel": 2, "depth": 3}, "causal"),
    *(("textcnn", {"kernels": ks, "pool": "none"}, "causal") for ks in [(1,), (2, 7), (3, 4)]),
    # whole and deeper, the middle of a text is not the middle of a window: see test_deepcnn
    *(("deepcnn", {"kernel": k, "depth": n}, "both") for k, n in [(3, 1), (3, 2), (1, 2), (5, 1)]),
    *(("deepcnn", {"kernel": k, "depth": n}, "causal") for k, n in [(1, 3), (2, 3), (3, 3)]),
    *(("gatedconv", {"kernel": k, "depth": n}, "both") for k, n in [(1, 2), (3, 4), (5, 2)]),
    ("gatedconv", {"kernel": 4, "depth": 3}, "causal"),
    *(("transformer", {"window": w, "depth": n}, "both") for w, n in [(1, 2), (3, 1), (5, 3)]),
    ("transformer", {"window": 4, "depth": 2}, "causal"),
    ("transformer", {"window": 33, "depth": 1, "positions": "relative"}, "both"),
]


def cases(rows):
    """(name, settings, causal) and an id for each form of each row."""
    forms = {"both": (True, False), "causal": (True,), "whole": (False,)}
    found = {}
    for index, (name, settings, form) in enumerate(rows):
        for causal in forms[form]:
            words = ",".join(f"{key}={value}" for key, value in settings.items())
            label = f"{name}-{'causal' if causal else 'whole'}-{words or index}"
            found[label.replace(" ", "")] = (name, settings, causal)
    return found
