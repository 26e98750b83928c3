"""A Hugging Face model from a folder, or by its name where the network may be asked.

Idea     the class is the one the configuration names; the tokeniser is the folder's own; pooling
         and scaling of a sentence encoder are read from its files
Safety   safetensors alone, and no code of the model's (`trust_remote_code` stays off)
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import Any

from howfar.adapt.sentence import POOLINGS, Pooled
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError, shown

HINT = "pip install 'howfar[hf]'"
WAIT = 10.0  # seconds for the network to answer
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.h5", "*.ckpt", "*.msgpack")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, its tokeniser as a function, the special ids around a row, and notes."""

    model: Any
    encode: Callable[[str], list[int]] | None
    before: tuple[int, ...]
    after: tuple[int, ...]
    notes: tuple[str, ...]


def load_pretrained(name: str) -> Loaded:
    """Load a model of `transformers`.

    Args:
        name: a folder, or a name that is looked up in the cache, and on the network unless
            HF_HUB_OFFLINE is set.

    Raises:
        EnvironmentFault: E-EXTRA without `transformers`, E-OFFLINE. UsageError: E-MODEL.
        StoreError: E-WEIGHTS for a folder without safetensors or with broken files.
    """
    library = _library()
    folder = Path(name)
    local = bool(name) and folder.is_dir()
    if local:
        _check_folder(folder)
    elif not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        message = f"There is no folder {shown(name)}." if name else "hf: names no model."
        raise UsageError("E-MODEL", message, "hf:FOLDER, or hf:OWNER/NAME")
    where = {"local_files_only": local or _offline(), "trust_remote_code": False}
    with _still(library), _explained(name, local=local):
        try:  # what is in the cache needs no network
            model, info = _weights(library, name, where | {"local_files_only": True})
            where["local_files_only"] = True
        except HowfarError:
            raise
        except (OSError, ValueError) as error:
            if where["local_files_only"] or _needs_code(error):
                raise
            _found(name)
            model, info = _weights(library, name, where)
    notes = list(_missing(info))
    if getattr(model.config, "auto_map", None):
        notes.append("the folder brings code of its own, which is not used")
    model.eval()
    if local and (folder / "modules.json").is_file():
        model = _pooled(model, folder)
    with _still(library):
        encode, before, after, said = _tokeniser(library, name, where)
    return Loaded(model, encode, before, after, (*notes, *said))


def _weights(library: Any, name: str, where: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    config = library.AutoConfig.from_pretrained(name, **where)
    kind = _class(library, config, name)
    model, info = kind.from_pretrained(
        name, config=config, use_safetensors=True, output_loading_info=True, **where
    )
    return model, info


def _found(name: str) -> None:
    """Ask the network once; loading would ask again and again before it says no."""
    hub: Any = import_module("huggingface_hub")
    hub.HfApi().model_info(name, timeout=WAIT)


def _needs_code(error: BaseException) -> bool:
    return "trust_remote_code" in str(error)


def _library() -> Any:  # noqa: ANN401 - a package that may be missing
    try:
        return import_module("transformers")
    except ImportError as error:
        message = "Hugging Face models need the package transformers."
        raise EnvironmentFault("E-EXTRA", message, HINT) from error


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _check_folder(folder: Path) -> None:
    name = shown(str(folder))
    if not (folder / "config.json").is_file():
        message = f"{name} has no config.json: it is no folder of a Hugging Face model."
        raise UsageError("E-MODEL", message, "the folder that save_pretrained wrote")
    if any(folder.glob("*.safetensors")):
        return
    unsafe = sorted(path.name for pattern in UNSAFE for path in folder.glob(pattern))
    if unsafe:
        message = f"{name} has weights in {shown(unsafe[0])} alone, and opening that may run code."
        hint = "save it with save_pretrained(..., safe_serialization=True)"
        raise StoreError("E-WEIGHTS", message, hint)
    message = f"{name} has no weights: no .safetensors file is in it."
    raise StoreError("E-WEIGHTS", message, "the folder that save_pretrained wrote")


def _class(library: Any, config: Any, name: str) -> Any:  # noqa: ANN401
    """The class that the configuration names; without one, the bare model."""
    named = getattr(config, "architectures", None) or ()
    for architecture in named:
        found = getattr(library, str(architecture), None)
        if found is not None and hasattr(found, "from_pretrained"):
            return found
    if named:
        message = f"{shown(name)} is a {shown(named[0])}, which transformers does not have itself."
        raise UsageError("E-MODEL", message, "open it in Python, and pass the object")
    return library.AutoModel


@contextmanager
def _explained(name: str, *, local: bool) -> Iterator[None]:
    """One line for whatever loading raises."""
    try:
        yield
    except (HowfarError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        if _needs_code(error):
            message = f"{shown(name)} needs code of its own folder, which howfar never runs."
            raise UsageError("E-MODEL", message, "open it in Python, and pass the object") from (
                error
            )
        if local:
            message = f"{shown(name)} cannot be loaded: {type(error).__name__}: {shown(text, 300)}."
            raise StoreError("E-WEIGHTS", message, "is the folder whole?") from error
        if _offline():
            message = f"No folder is called {shown(name)}, and HF_HUB_OFFLINE forbids to look."
            raise UsageError("E-MODEL", message, "hf:FOLDER, or unset HF_HUB_OFFLINE") from error
        message = f"No model {shown(name)} could be loaded: {shown(text, 300)}."
        raise UsageError("E-MODEL", message, "hf:FOLDER, or hf:OWNER/NAME") from error


@contextmanager
def _still(library: Any) -> Iterator[None]:  # noqa: ANN401
    """No progress bars and advice on stderr while loading; put back afterwards."""
    logging = library.utils.logging
    # Of the hub's own package, whose retries are told as warnings.
    others = [getLogger(name) for name in ("huggingface_hub", "httpx")]
    levels = [other.level for other in others]
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        for other in others:
            other.setLevel(logging.CRITICAL)
        yield
    finally:
        for other, level in zip(others, levels, strict=True):
            other.setLevel(level)
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _missing(info: dict[str, Any]) -> Iterator[str]:
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        yield (
            f"{len(missing)} weights are not in the file and were drawn at random, such as "
            f"{shown(missing[0])}"
        )
    wrong = sorted(str(key) for key in info.get("mismatched_keys") or ())
    if wrong:
        yield f"{len(wrong)} weights do not fit the model, such as {shown(wrong[0])}"


def _pooled(model: Any, folder: Path) -> Any:  # noqa: ANN401
    """A sentence encoder's pooling and scaling, as the files of the folder say."""
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    unknown = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown or "Pooling" not in kinds:
        message = f"{shown(str(folder))} is a sentence encoder with {shown(', '.join(kinds))}."
        raise UsageError("E-MODEL", message, "open it in Python, and pass the SentenceTransformer")
    path = folder / str(modules[kinds.index("Pooling")]["path"]) / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    chosen = [key for key, on in settings.items() if key.startswith("pooling_mode") and on is True]
    named = [mode for mode in POOLINGS if any(f"_{mode}_token" in key for key in chosen)]
    mode = settings.get("pooling_mode")
    named = [mode] if mode in POOLINGS else named
    if len(named) != 1 or len(chosen) > 1:
        message = f"{shown(str(folder))} pools by {shown(', '.join(chosen) or str(mode))}."
        raise UsageError("E-MODEL", message, "open it in Python, and pass the SentenceTransformer")
    found = Pooled(model, pooling=named[0], scaled="Normalize" in kinds)
    limits = folder / "sentence_bert_config.json"
    if limits.is_file():
        found.trained_length = json.loads(limits.read_text("utf-8")).get("max_seq_length")
    return found


def _tokeniser(
    library: Any,  # noqa: ANN401
    name: str,
    where: dict[str, Any],
) -> tuple[Callable[[str], list[int]] | None, tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Text to ids, the special ids before and after a row, and what to say."""
    if Path(name).is_dir() and not any(_of_tokeniser(path.name) for path in Path(name).iterdir()):
        return None, (), (), ("no tokeniser could be read: the folder has none",)
    try:
        found = library.AutoTokenizer.from_pretrained(name, **where)
        plain = found("a", add_special_tokens=False)["input_ids"]
        whole = found("a")["input_ids"]
    except Exception as error:  # it raises whatever its file format makes it raise
        text = " ".join(str(error).split())
        return None, (), (), (f"no tokeniser could be read: {shown(text)}",)

    def encode(text: str) -> list[int]:
        # No length limit is meant for a text that is cut into windows afterwards.
        return list(found(text, add_special_tokens=False, verbose=False)["input_ids"])

    if not plain and not encode("the a 1"):
        return None, (), (), ("no tokeniser could be read: it has no vocabulary",)
    at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), None)
    if not plain or at is None:
        return encode, (), (), ()
    return encode, tuple(whole[:at]), tuple(whole[at + len(plain) :]), ()


def _of_tokeniser(file: str) -> bool:
    """Whether a file of a folder belongs to a tokeniser."""
    known = file.startswith(("tokenizer", "vocab", "merges", "spiece", "sentencepiece"))
    return known or file.endswith((".model", ".spm", ".bpe", ".tiktoken"))
