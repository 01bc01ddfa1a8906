"""A local folder of pretrained weights: its config, tokenizer, pooling, and Python code that the recipe must allow.

Imports no torch.
"""

import json
from pathlib import Path
from typing import Any, Literal

from danlu.core.console import info
from danlu.core.imports import patch_torchvision, require_extra
from danlu.data.descriptors import DataRequirements, TokenizerFile
from danlu.data.text.preprocessor import load_tokenizer
from danlu.data.text.stray_tokens import named_tokens, without_tokens
from danlu.errors import DataError

Pooling = Literal["mean", "cls"]
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
TOKENS_SHOWN = 6  # tokens in an error message
CONFIG_FILES = ("config.json", "tokenizer_config.json")  # their `auto_map` names classes defined in the folder


def folder_config(folder: Path, allow_code: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the architecture's name and all settings of the folder's config.json, defaults included.

    A default that was left out would be filled in from the data, or be another in a later version. The labels' names
    are left out, since they belong to the task.
    """
    require_extra("text", f"hf:{folder}")
    patch_torchvision()
    from transformers import AutoConfig

    require_folder(folder)
    trusted = requires_remote_code(folder, allow_code)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted).to_dict()
    leave = ("model_type", "transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id")
    kept = {key: value for key, value in config.items() if key not in leave and not key.startswith("_")}
    return config["model_type"], kept


def folder_requirements(folder: Path, allow_code: bool = False, adds_rows: bool = False) -> DataRequirements:
    """Return the tokenizer and the maximum input length of a pretrained model.

    Args:
        folder: holds the model.
        allow_code: whether Python code from the folder may run.
        adds_rows: whether the embeddings get rows for tokens that have none.

    Raises:
        DataError: there is no tokenizer, or one with tokens that the embeddings have no rows for.
    """
    require_extra("text", f"hf:{folder}")
    patch_torchvision()
    from transformers import AutoConfig

    require_folder(folder)
    trusted = requires_remote_code(folder, allow_code)
    tokenizer = load_tokenizer(folder, trusted)
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    beyond = tokens_without_rows(tokenizer, getattr(config, "vocab_size", None))
    if beyond and not adds_rows:
        tokenizer, beyond = _without_strays(folder, tokenizer, beyond)
    if beyond and not adds_rows:
        named = ", ".join(repr(token) for token in beyond[:TOKENS_SHOWN]) + (" …" if len(beyond) > TOKENS_SHOWN else "")
        raise DataError(
            f"{folder}: the tokenizer has {len(beyond)} tokens beyond the {config.vocab_size} rows of the embeddings: "
            f"{named}; set model.resize_embeddings: true to add rows, which training has to fill with meaning, or take "
            "the tokenizer that the weights were trained with",
            code="DL242",
        )
    positions = getattr(config, "max_position_embeddings", None)
    taken = _taken_positions(config.model_type, getattr(config, "pad_token_id", None))  # CodeGen has none
    return DataRequirements(tokenizer=tokenizer, longest=None if positions is None else positions - taken)


def _without_strays(folder: Path, tokenizer: TokenizerFile, beyond: list[str]) -> tuple[TokenizerFile, list[str]]:
    """Leave out the tokens without rows that only transformers added; return what is beyond then."""
    strays = set(beyond) - named_tokens(folder, beyond)
    found = without_tokens(tokenizer, strays) if strays else None
    if found is None:
        return tokenizer, beyond
    info(
        f"{folder}: {', '.join(sorted(strays))}, which transformers adds to the tokenizer, is named by no file of the "
        "folder and has no row in the weights; it is left out, and a text that holds it is read as words"
    )
    return found, [token for token in beyond if token not in strays]


def requirements_by_files(folder: Path) -> DataRequirements | None:
    """Return the tokenizer and the maximum input length that a folder's JSON files say.

    Without transformers, whose import loads torch; so BOS, templates and stops are left out, and whoever trains asks
    `folder_requirements`. None where the folder has no tokenizers' file.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    text = file.read_text(encoding="utf-8")
    names = {**_json_object(folder / "tokenizer_config.json"), **_json_object(folder / "special_tokens_map.json")}
    special = {name: token for name, said in names.items() if name.endswith("_token") and (token := _content(said))}
    config = _json_object(folder / "config.json")
    reader = Tokenizer.from_str(text)
    pad, end = (reader.token_to_id(special.get(name, "")) or 0 for name in ("pad_token", "eos_token"))
    tokenizer = TokenizerFile(json_text=text, pad=pad, end=end, vocabulary=reader.get_vocab_size(), special=special)
    positions = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    taken = _taken_positions(str(config.get("model_type")), config.get("pad_token_id"))
    return DataRequirements(tokenizer=tokenizer, longest=None if positions is None else positions - taken)


def _taken_positions(model_type: str, pad: int | None) -> int:
    """Return how many positions RoBERTa-like models use up, counting from the padding id."""
    return (pad or 0) + 1 if "roberta" in model_type or model_type == "camembert" else 0


def _content(said: Any) -> str | None:
    """Return a token that is said by name or with its flags."""
    found = said.get("content") if isinstance(said, dict) else said
    return found if isinstance(found, str) else None


def _json_object(file: Path) -> dict[str, Any]:
    """Return the object in a file; empty if there is no file."""
    try:
        held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        held = {}
    return held if isinstance(held, dict) else {}


def tokens_without_rows(tokenizer: TokenizerFile, rows: int | None) -> list[str]:
    """Return the tokens whose ids are beyond the rows of the embeddings, by id."""
    ids = tokenizer.open().get_vocab(with_added_tokens=True)
    return [] if rows is None else sorted((token for token, at in ids.items() if at >= rows), key=ids.__getitem__)


def rows_for_tokens(folder: Path, allow_code: bool = False) -> int:
    """Return how many rows the embeddings need for every token of the folder's tokenizer."""
    return max(load_tokenizer(folder, allow_code).open().get_vocab(with_added_tokens=True).values()) + 1


def folder_pooling(folder: Path) -> Pooling | None:
    """Return the pooling configured in a sentence encoder's folder; None for other folders."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return None
    said = json.loads(file.read_text(encoding="utf-8"))
    first_token = said.get("pooling_mode_cls_token") or said.get("pooling_mode") == "cls"
    return "cls" if first_token else "mean"


def require_folder(folder: Path) -> None:
    """Raise DataError unless the folder holds a model."""
    if not (folder / "config.json").is_file():
        raise DataError(f"model.name: {folder} is not a model's folder: it has no config.json", code="DL201")


def requires_remote_code(folder: Path, allowed: bool) -> bool:
    """Return whether a folder's model or tokenizer needs Python code from the folder.

    Args:
        folder: holds the model.
        allowed: whether the recipe sets `allow_remote_code: true`.

    Raises:
        DataError: it does and is not allowed, or it needs code from elsewhere, which is never downloaded.
    """
    for name in CONFIG_FILES:
        classes = _auto_map_classes(folder / name)
        if not classes:
            continue
        elsewhere = [each for each in classes if "--" in each]
        if elsewhere:
            raise DataError(
                f"{folder / name}: needs the code {elsewhere[0]}, which is not in the folder; danlu downloads no code",
                code="DL271",
            )
        if not allowed:
            raise DataError(
                f"{folder / name}: this model needs Python code from its folder ({classes[0]}), which is not run "
                "unasked; read it, and if you trust it set model.allow_remote_code: true",
                code="DL271",
            )
    return any(_auto_map_classes(folder / name) for name in CONFIG_FILES)


def _auto_map_classes(file: Path) -> list[str]:
    """Return the class paths that `auto_map` names, such as `modeling.Model`."""
    if not file.is_file():
        return []
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8")).get("auto_map", {})
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: is not a JSON object: {error}", code="DL272") from error
    values = found.values() if isinstance(found, dict) else [found]
    flat = (each for value in values for each in (value if isinstance(value, list | tuple) else [value]))
    return [each for each in flat if isinstance(each, str)]
