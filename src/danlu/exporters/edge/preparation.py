"""Rows as they are written -> arrays for the network -> answers, by what danlu.json says; imports numpy alone.

In: rows as dicts of words, numbers or None. Out: a dict a row: `prediction` and probabilities or numbers. What
danlu.json lists under `outside` is not done here: a feature that is `prepared` comes as the network takes it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from activations import ACTIVATIONS  # type: ignore[import-not-found]  # beside this file
from bends import UNBENDS  # type: ignore[import-not-found]
from networks import build_network, read_safetensors  # type: ignore[import-not-found]
from word_spelling import canonical_forms, canonical_word, merged_word  # type: ignore[import-not-found]

Row = Mapping[str, Any]
MISSING, OTHER = 0, 1  # the first two codes of every category


class Model:
    """Hold an exported model; `answer` takes rows."""

    def __init__(self, told: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
        self.numbers, self.categories = told["numbers"], told["categories"]
        self.missing, self.output = set(told["missing_words"]), told["answer"]
        self.codes = [{word: at + 2 for at, word in enumerate(each["values"])} for each in self.categories]
        self.forms = [canonical_forms(each["values"]) for each in self.categories]
        self.network = build_network(told["network"], weights)

    def prepare(self, rows: Sequence[Row]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return numbers [rows, n] float32 and codes [rows, c] int64; None for none.

        Raises:
            KeyError: a row lacks a column.
            ValueError: a word stands where a number should.
        """
        with np.errstate(over="ignore"):  # beyond float32 a number is infinite, as in training
            found = np.array([self._number(each, rows) for each in self.numbers], dtype=np.float64)
            numeric = np.ascontiguousarray(found.T, dtype=np.float32)
        categories = zip(self.categories, self.codes, self.forms, strict=True)
        codes = [self._codes(each, known, forms, rows) for each, known, forms in categories]
        return (numeric if self.numbers else None), (np.array(codes).T if codes else None)

    def _number(self, told: Mapping[str, Any], rows: Sequence[Row]) -> np.ndarray:
        """Return one feature of all rows, [rows] float64."""
        words = [row[told["column"]] for row in rows]
        gaps = self._gaps(told, words)
        if told["is"] == "gap":
            return gaps.astype(np.float64)
        pairs = zip(words, gaps, strict=True)
        values = np.array([np.nan if gap else float(word) for word, gap in pairs], dtype=np.float64)
        values[np.isinf(values)] = np.nan
        if told["is"] == "prepared":
            return values
        if told["limits"] is not None:
            values = np.clip(values, *told["limits"])
        if told["fill"] is not None:
            values[np.isnan(values)] = told["fill"]
        if told["quantiles"]:
            return np.asarray(np.interp(values, told["quantiles"], np.linspace(-1.0, 1.0, len(told["quantiles"]))))
        if told["bend"] == "log1p":
            values = np.sign(values) * np.log1p(np.abs(values))
        return np.asarray((values - told["offset"]) / told["scale"])

    def _codes(
        self, told: Mapping[str, Any], known: Mapping[str, int], forms: Mapping[str, str], rows: Sequence[Row]
    ) -> list[int]:
        """Return codes of words as training spelled them, else by canonical spelling."""
        words = [row[told["column"]] for row in rows]
        codes = []
        for word, gap in zip(words, self._gaps(told, words), strict=True):
            spelled = merged_word(str(word)) if told["merged"] else str(word)
            meant = spelled if spelled in known else forms.get(canonical_word(spelled), "")
            codes.append(MISSING if gap else known.get(meant, OTHER))
        return codes

    def _gaps(self, told: Mapping[str, Any], words: Sequence[Any]) -> np.ndarray:
        """Return which words stand for a missing value, [rows] bool."""
        missing = {*self.missing, *told["missing_words"]}
        return np.array([word is None or str(word).strip() in missing for word in words], dtype=np.bool_)

    def outputs(self, rows: Sequence[Row]) -> np.ndarray:
        """Return calibrated outputs, [rows, ...], in the target's own units."""
        found = self.network(*self.prepare(rows))
        activate, divisor = ACTIVATIONS[self.output["activation"]], self.output["temperature"]
        if found.ndim == 3:  # an ensemble's answer is the mean of its members' answers
            found = activate(found.reshape(-1, found.shape[-1])).reshape(*found.shape[:2], -1).mean(axis=1)
        else:
            found = activate(found)
        if divisor is not None:
            logits = np.log(np.maximum(found.astype(np.float64), np.finfo(np.float32).smallest_subnormal)) / divisor
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            found = shares / shares.sum(axis=1, keepdims=True)
        bent = np.asarray(found * np.array(self.output["scale"]) + np.array(self.output["offset"]))
        return np.asarray(UNBENDS[self.output["bend"]](bent, self.output["exponent"]))

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Answer rows, in order."""
        return [self._decided(values) for values in self.outputs(rows).tolist()]

    def _decided(self, values: list[float]) -> dict[str, Any]:
        names, how = self.output["names"], self.output["decides"]
        if how == "number":
            return {"prediction": values[0]}
        if how == "numbers":
            return {f"prediction_{name}": value for name, value in zip(names, values, strict=True)}
        if how == "quantiles":
            return {"prediction": values[1], "low": values[0], "high": values[2]}
        probabilities = {f"probability_{name}": value for name, value in zip(names, values, strict=True)}
        if how == "labels":
            chosen = [name for name, value in zip(names, values, strict=True) if value >= self.output["threshold"]]
            return {"prediction": chosen, **probabilities}
        limit, best = self.output["threshold"], int(np.argmax(values))
        best = best if limit is None else int(values[1] >= limit)
        return {"prediction": self.output["labels"][best], "probability": values[best], **probabilities}


def open_model(folder: Path) -> Model:
    """Open the model of a folder that `danlu export --to numpy` wrote."""
    told = json.loads((folder / "danlu.json").read_text(encoding="utf-8"))
    return Model(told["runner"], read_safetensors(folder / "weights.safetensors"))
