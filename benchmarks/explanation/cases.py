"""Twenty planted truths: a seed in; a model, a row, a background and the players that must come first out.

The rule by which a method is judged stands in README.md and in `solves`. No method lives here, and nothing of danlu is
imported, so that others can use the cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["table", "image", "text"]
Model = Callable[[np.ndarray], np.ndarray]  # [rows, cells] -> [rows]
SEEDS = (0, 1, 2, 3)
CALLS = 2000  # coalitions that a method may ask for
MASK = 0  # the token that stands for an absent one
SIDE, PATCH = 16, 4  # images are [16, 16], their players 4 x 4 squares of pixels


@dataclass(frozen=True)
class Planted:
    """Hold one instance of a case.

    Attributes:
        kind: what a row is: columns, pixels (row by row) or tokens.
        model: [rows, cells] -> [rows], the score that is explained.
        row: the row to explain, [cells].
        background: rows that replace what is absent, [rows, cells].
        players: the cells of each player.
        right: the players that must come first, in any order.
        network: the torch network behind the model, for methods that take gradients; None where there is none.
    """

    kind: Kind
    model: Model
    row: np.ndarray
    background: np.ndarray
    players: tuple[tuple[int, ...], ...]
    right: frozenset[int]
    network: Any = None


def solves(planted: Planted, values: Sequence[float] | np.ndarray) -> bool:
    """Return whether the largest absolute values are those of the right players."""
    order = np.argsort(-np.abs(np.asarray(values, dtype=np.float64)), kind="stable")
    return frozenset(order[: len(planted.right)].tolist()) == planted.right


def recommend(kind: Kind, columns: int, structure: str | None) -> str:
    """Name the method that danlu recommends.

    Args:
        kind: of the input.
        columns: number of players.
        structure: linear, additive or trees where the model is one of these; None for any other.

    Returns:
        `shap`, with the estimator: its structure's closed form, all coalitions of up to 16 players, and sampled
        coalitions beyond. Squares of an image and tokens of a text are players as columns are.
    """
    estimator = structure if kind == "table" and structure else "enumerated" if columns <= 16 else "sampled"
    return f"shap:{estimator}"


def _table(model: Model, row: np.ndarray, background: np.ndarray, *right: int) -> Planted:
    players = tuple((column,) for column in range(len(row)))
    return Planted("table", model, row, background, players, frozenset(right))


def _normal(seed: int, rows: int, columns: int) -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng([19, seed])
    return rng, rng.standard_normal((rows, columns))


def _first_where(table: np.ndarray, condition: np.ndarray) -> np.ndarray:
    row: np.ndarray = table[int(np.argmax(condition))].copy()
    return row


# Tables.


def one_column(seed: int) -> Planted:
    """Boosted trees, trained where one of eight columns decides."""
    from sklearn.ensemble import GradientBoostingRegressor

    rng, table = _normal(seed, 400, 8)
    column = int(rng.integers(8))
    target = np.sin(2 * table[:, column]) + 0.1 * rng.standard_normal(400)
    trees = GradientBoostingRegressor(n_estimators=40, random_state=seed).fit(table, target)
    row = _first_where(table, np.sin(2 * table[:, column]) > 0.95)
    return _table(trees.predict, row, table[:50], column)


def interaction_only(seed: int) -> Planted:
    """The sign of a product: neither column says anything alone."""
    rng, table = _normal(seed, 60, 9)
    first, second = rng.choice(9, 2, replace=False)
    signs = np.abs(table) * np.where(np.arange(60) % 2, 1, -1)[:, None] * np.where(rng.random((60, 9)) < 0.5, 1, -1)
    background = np.concatenate([signs, -signs])
    return _table(lambda rows: np.sign(rows[:, first] * rows[:, second]), signs[0], background, first, second)


def parity_of_three(seed: int) -> Planted:
    """The parity of three of ten bits."""
    rng, _ = _normal(seed, 1, 1)
    bits = rng.integers(0, 2, (64, 10)).astype(float)
    background = np.concatenate([bits, 1 - bits])
    chosen = rng.choice(10, 3, replace=False)
    row = _first_where(background, background[:, chosen].sum(axis=1) % 2 == 1)
    return _table(lambda rows: rows[:, chosen].sum(axis=1) % 2, row, background, *chosen)


def correlated_copies(seed: int) -> Planted:
    """A column that is read, beside four copies that are not."""
    rng, table = _normal(seed, 100, 8)
    copies = rng.permutation(8)[:5]
    table[:, copies[1:]] = table[:, [copies[0]]] + 0.05 * rng.standard_normal((100, 4))
    row = _first_where(table, np.abs(table[:, copies[0]]) > 1)
    other = next(column for column in range(8) if column not in copies)
    return _table(lambda rows: 2 * rows[:, copies[0]] + 0.1 * rows[:, other], row, table, copies[0])


def leaked_column(seed: int) -> Planted:
    """A logistic regression, trained where a column holds nearly the answer."""
    from sklearn.linear_model import LogisticRegression

    rng, table = _normal(seed, 300, 12)
    target = table[:, 0] + table[:, 1] + rng.standard_normal(300) > 0
    leak = int(rng.integers(2, 12))
    table[:, leak] = target + 0.05 * rng.standard_normal(300)
    fitted = LogisticRegression(C=100).fit(table, target)
    row = _first_where(table, target & (np.abs(table[:, :2]).max(axis=1) < 1))
    return _table(lambda rows: fitted.predict_proba(rows)[:, 1], row, table[:60], leak)


def loud_column(seed: int) -> Planted:
    """A column of a thousand times the size that the model does not read."""
    rng, table = _normal(seed, 80, 7)
    loud, read = rng.choice(7, 2, replace=False)
    table[:, loud] *= 1000
    row = _first_where(table, np.abs(table[:, read]) > 1.5)
    return _table(lambda rows: np.tanh(rows[:, read]), row, table, read)


def saturated(seed: int) -> Planted:
    """A step that is far away: its slope at the row is 0, another column's is not."""
    rng, table = _normal(seed, 80, 8)
    step, slope = rng.choice(8, 2, replace=False)
    row = _first_where(table, table[:, step] > 1.2)
    return _table(lambda rows: np.clip(8 * rows[:, step], -1, 1) + 0.1 * np.tanh(rows[:, slope]), row, table, step)


def switched(seed: int) -> Planted:
    """A column says which of two others counts."""
    rng, table = _normal(seed, 100, 9)
    switch, on, off = rng.choice(9, 3, replace=False)
    row = _first_where(table, (table[:, switch] > 0.3) & (np.abs(table[:, off]) < 0.5))
    row[on] = 3.0
    return _table(lambda rows: np.where(rows[:, switch] > 0, rows[:, on], rows[:, off]), row, table, on)


def rare_category(seed: int) -> Planted:
    """A tree, trained where one of fifteen codes of a column decides."""
    from sklearn.tree import DecisionTreeRegressor

    rng, _ = _normal(seed, 1, 1)
    table = rng.integers(0, 15, (600, 6)).astype(float)
    column, code = int(rng.integers(6)), float(rng.integers(1, 14))
    target = 2.0 * (table[:, column] == code) + 0.1 * rng.standard_normal(600)
    tree = DecisionTreeRegressor(max_depth=4, random_state=seed).fit(table, target)
    return _table(tree.predict, _first_where(table, table[:, column] == code), table[:60], column)


def missing_tells(seed: int) -> Planted:
    """That a value is missing is the signal, not any value."""
    rng, table = _normal(seed, 90, 8)
    column, other = rng.choice(8, 2, replace=False)
    table[rng.random(90) < 0.2, column] = np.nan
    row = _first_where(table, np.isnan(table[:, column]))
    return _table(lambda rows: np.isnan(rows[:, column]) + 0.1 * np.tanh(rows[:, other]), row, table, column)


def among_sixty(seed: int) -> Planted:
    """A ridge regression with one true column among sixty."""
    from sklearn.linear_model import Ridge

    rng, table = _normal(seed, 150, 60)
    column = int(rng.integers(60))
    target = 3 * table[:, column] + rng.standard_normal(150)
    ridge = Ridge(1.0).fit(table, target)
    return _table(ridge.predict, _first_where(table, np.abs(table[:, column]) > 1.5), table[:40], column)


def average_giant(seed: int) -> Planted:
    """The column of the largest weight has its average value here; a lesser one is far from it."""
    rng, table = _normal(seed, 100, 8)
    giant, lesser = rng.choice(8, 2, replace=False)
    row = table[0].copy()
    row[giant], row[lesser] = table[:, giant].mean(), 3.0
    return _table(lambda rows: 3 * rows[:, giant] + rows[:, lesser], row, table, lesser)


# Images.


def _squares() -> tuple[tuple[int, ...], ...]:
    cells = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    starts = range(0, SIDE, PATCH)
    return tuple(tuple(cells[y : y + PATCH, x : x + PATCH].ravel().tolist()) for y in starts for x in starts)


def _image(model: Model, row: np.ndarray, background: np.ndarray, *right: int) -> Planted:
    flat = background.reshape(len(background), -1)
    return Planted("image", model, row.reshape(-1), flat, _squares(), frozenset(right))


def _put(image: np.ndarray, square: int, pixels: np.ndarray | float) -> None:
    y, x = divmod(square, SIDE // PATCH)
    image[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH] = pixels


def patch_in_a_corner(seed: int) -> Planted:
    """A logistic regression of pixels, trained where a bright corner marks the class."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng([20, seed])
    images, target = rng.random((300, SIDE, SIDE)), rng.random(300) < 0.5
    corner = int(rng.choice([0, 3, 12, 15]))
    for place in np.flatnonzero(target):
        _put(images[place], corner, 1.0)
    fitted = LogisticRegression(C=0.1, max_iter=500).fit(images.reshape(300, -1), target)
    return _image(fitted.decision_function, images[int(np.argmax(target))], images[~target][:30], corner)


def watermark(seed: int) -> Planted:
    """A logistic regression, trained where a faint watermark goes with the class and the object only loosely."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng([21, seed])
    target = rng.random(400) < 0.5
    place, thing = (int(square) for square in rng.choice(16, 2, replace=False))
    mark = (np.indices((PATCH, PATCH)).sum(axis=0) % 2) * 0.5
    images = rng.random((400, SIDE, SIDE)) * 0.5
    for image, is_marked in zip(images, target, strict=True):  # each image is a view
        if is_marked:
            _put(image, place, mark)
        if rng.random() < (0.6 if is_marked else 0.4):
            _put(image, thing, 0.9)
    fitted = LogisticRegression(C=0.1, max_iter=500).fit(images.reshape(400, -1), target)
    return _image(fitted.decision_function, images[int(np.argmax(target))], images[~target][:30], place)


def faint_beside_edges(seed: int) -> Planted:
    """The model reads the mean of a faint square; stripes elsewhere have all the edges."""
    rng = np.random.default_rng([22, seed])
    images = 0.5 + 0.02 * rng.standard_normal((40, SIDE, SIDE))
    read, striped = (int(square) for square in rng.choice(16, 2, replace=False))
    row = images[0].copy()
    _put(row, striped, (np.arange(PATCH) % 2).astype(float)[None, :])
    _put(row, read, 0.6)
    cells = np.array(_squares()[read])
    return _image(lambda rows: rows[:, cells].mean(axis=1), row, images, read)


def blob_anywhere(seed: int) -> Planted:
    """The brightest square, wherever it is: the answer is where it is in this picture."""
    rng = np.random.default_rng([23, seed])
    images = 0.3 * rng.random((40, SIDE, SIDE))
    place, row = int(rng.integers(16)), images[0].copy()
    _put(row, place, 1.0)
    squares = np.array(_squares())
    return _image(lambda rows: rows[:, squares].mean(axis=2).max(axis=1), row, images, place)


# Texts: tokens from 1 on; an absent token is MASK.


def _text(model: Model, row: np.ndarray, *right: int) -> Planted:
    return Planted(
        "text", model, row, np.full((1, len(row)), MASK), tuple((place,) for place in range(len(row))), frozenset(right)
    )


def trigger_token(seed: int) -> Planted:
    """A logistic regression of a bag of words, trained where a token triggers the class."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng([24, seed])
    words, length, trigger = 40, 14, int(rng.integers(1, 40))
    texts, target = rng.integers(1, words, (500, length)), rng.random(500) < 0.5
    texts[texts == trigger] = (trigger % (words - 1)) + 1
    texts[np.flatnonzero(target), rng.integers(0, length, target.sum())] = trigger

    def bag(rows: np.ndarray) -> np.ndarray:
        counts: np.ndarray = (rows[:, :, None] == np.arange(1, words)).sum(axis=1)
        return counts

    fitted = LogisticRegression(C=10, max_iter=500).fit(bag(texts), target)
    row = texts[int(np.argmax(target))]
    return _text(lambda rows: fitted.predict_proba(bag(rows))[:, 1], row, int(np.argmax(row == trigger)))


def position(seed: int) -> Planted:
    """The token at one place counts; the same token stands elsewhere, too."""
    rng = np.random.default_rng([25, seed])
    row, (place, *elsewhere) = rng.integers(2, 30, 12), rng.choice(12, 4, replace=False).tolist()
    row[[place, *elsewhere]] = 1
    return _text(lambda rows: (rows[:, place] == 1) + 0.05 * (rows == 1).mean(axis=1), row, place)


def negation(seed: int) -> Planted:
    """A word that speaks for it, turned round by the word before: the turn decides, the word alone cancels out."""
    rng = np.random.default_rng([26, seed])
    row, place, no, good = rng.integers(3, 30, 10), int(rng.integers(1, 10)), 1, 2
    row[place - 1], row[place] = no, good

    def score(rows: np.ndarray) -> np.ndarray:
        turned: np.ndarray = (rows == good).astype(float)
        turned[:, 1:] *= np.where(rows[:, :-1] == no, -1, 1)
        return np.asarray(turned.sum(axis=1))

    return _text(score, row, place - 1)


def pair_of_words(seed: int) -> Planted:
    """Two words that count only together and in order; one of them also stands alone."""
    rng = np.random.default_rng([27, seed])
    row, place, alone = rng.integers(3, 30, 13), int(rng.integers(0, 6)), int(rng.integers(9, 13))
    row[[place, place + 1, alone]] = 1, 2, 1
    return _text(lambda rows: ((rows[:, :-1] == 1) & (rows[:, 1:] == 2)).any(axis=1) * 1.0, row, place, place + 1)


CASES: dict[str, Callable[[int], Planted]] = {
    "one column": one_column,
    "interaction only": interaction_only,
    "parity of three": parity_of_three,
    "correlated copies": correlated_copies,
    "leaked column": leaked_column,
    "loud column": loud_column,
    "saturated": saturated,
    "switched": switched,
    "rare category": rare_category,
    "missing tells": missing_tells,
    "among sixty": among_sixty,
    "average giant": average_giant,
    "patch in a corner": patch_in_a_corner,
    "watermark": watermark,
    "faint beside edges": faint_beside_edges,
    "blob anywhere": blob_anywhere,
    "trigger token": trigger_token,
    "position": position,
    "negation": negation,
    "pair of words": pair_of_words,
}
