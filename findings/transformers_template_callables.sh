#!/usr/bin/env bash
# transformers 5.23.0: a function handed to a chat template by keyword reaches it as a text.
# Expected: as in Jinja, a keyword stands before the global of its name, so that `strftime_now=` fixes the date that a
# template writes. Found: the keyword does stand before the global, but what arrives is a str, and calling it raises;
# plain values arrive as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder" transformers==5.23.0 jinja2==3.1.6
PYTHONPATH="$folder" python3 - <<'PYTHON'
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"hello": 0, "[UNK]": 1}, unk_token="[UNK]"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
conversation = [{"role": "user", "content": "hello"}]


def rendered(template, **given):
    return tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False, **given)


assert rendered("{{ year }}", year="1999") == "1999"
kind = rendered("{{ strftime_now is string }}", strftime_now=lambda form: "1999")
print(transformers.__version__, "the function is a string:", kind)
assert kind == "True", kind
try:
    text = rendered("{{ strftime_now('%Y') }}", strftime_now=lambda form: "1999")
except TypeError as error:
    print("TypeError:", error)
else:
    raise AssertionError(f"called now: {text}")
PYTHON
