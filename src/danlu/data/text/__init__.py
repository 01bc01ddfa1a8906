"""Texts: tokenizers, token ids, and the preprocessors of texts, tagged words and corpora."""
