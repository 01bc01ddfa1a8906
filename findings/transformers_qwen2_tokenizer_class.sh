#!/usr/bin/env bash
# transformers 5.23.0: beside a config of model_type qwen2, AutoTokenizer passes over the class that the folder names.
# Expected: `tokenizer_class: PreTrainedTokenizerFast` in tokenizer_config.json decides, and the folder's tokenizer.json
# cuts words as it was trained to. Found: Qwen2's own class is made, whose pre-tokenizer replaces the file's, so a
# number that is one token of the vocabulary becomes digits; beside gpt2, mistral or bert the file is followed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder" transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
PYTHONPATH="$folder" python3 - <<'PYTHON'
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

model = Path("model")
model.mkdir()
own = Tokenizer(models.BPE())
own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
own.train_from_iterator(["price 2024 price 2024"] * 20, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
own.save(str(model / "tokenizer.json"))
(model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
text = "price 2024"
found = {"file": own.encode(text).tokens, "by its class": PreTrainedTokenizerFast.from_pretrained(model).tokenize(text)}
for kind in ("gpt2", "mistral", "qwen2"):
    (model / "config.json").write_text(json.dumps({"model_type": kind}))
    found[kind] = AutoTokenizer.from_pretrained(model).tokenize(text)
print(transformers.__version__, found)
assert found["file"] == found["by its class"] == found["gpt2"] == found["mistral"] == ["price", "Ġ2024"], found
assert found["qwen2"] == ["price", "Ġ", "2", "0", "2", "4"], found
PYTHON
