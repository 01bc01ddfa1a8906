"""Tokens that a library adds to a tokenizer by itself, where the model's files know none and its weights hold no rows.

transformers gives a tokenizer the tokens that its class has by default, as GPT-2's <|endoftext|>. No text holds them
unless they are parsed, so a tokenizer is the same without them.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from danlu.data.descriptors import TokenizerFile

# Where a folder names its tokens.
NAMED_IN = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "added_tokens.json", "special_tokens_map.json"),
    *("tokenizer_config.json", "merges.txt"),
)


def named_tokens(folder: Path, tokens: Collection[str]) -> set[str]:
    """Return the tokens that files of a folder name; all if unreadable."""
    if any(folder.glob("*.model")) or any(folder.glob("*.tiktoken")):
        return set(tokens)
    texts = [file.read_text(encoding="utf-8") for name in NAMED_IN if (file := folder / name).is_file()]
    forms = {token: (token, json.dumps(token)[1:-1]) for token in tokens}
    return {token for token, written in forms.items() if any(form in text for form in written for text in texts)}


def without_tokens(tokenizer: TokenizerFile, tokens: Collection[str]) -> TokenizerFile | None:
    """Return the tokenizer without some last tokens; None if it needs one."""
    reader = tokenizer.open()
    ids = {reader.token_to_id(token) for token in tokens}
    if tokenizer.end in ids or ids & {*tokenizer.begins, *tokenizer.stops}:
        return None
    return tokenizer.model_copy(
        update={
            "json_text": json_without_tokens(tokenizer.json_text, tokens),
            "pad": tokenizer.end if tokenizer.pad in ids else tokenizer.pad,
            "vocabulary": tokenizer.vocabulary - len(ids),
            "special": {name: token for name, token in tokenizer.special.items() if token not in tokens},
        }
    )


def json_without_tokens(json_text: str, tokens: Collection[str]) -> str:
    """Return tokenizers' JSON without some added tokens, which are the last ones."""
    told: dict[str, Any] = json.loads(json_text)
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] not in tokens]
    if told["model"].get("unk_token") in tokens:
        told["model"]["unk_token"] = None
    return json.dumps(told, ensure_ascii=False)
