"""Eight more planted truths, of networks: small ones of convolutions, trained where it was planted.

A case is a function of a seed, as in `cases`, and is judged by the same rule. Networks are trained here by torch alone,
in a few seconds each; nothing of danlu is imported. Images are [1, 24, 24] numbers from 0 to 255, their players
squares of 6 x 6 pixels. Texts are tokens from 1 on, MASK for an absent one; networks of texts learned what the answer
is without any of the words, since words were masked in training, too.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .cases import MASK, Planted

SIDE, PATCH = 24, 6
GRAY = 90  # of an absent pixel
IMAGES, IMAGE_STEPS, LEARNED = 192, 600, 0.02
WORDS, LENGTH, WIDTH = 30, 12, 24
TEXT_STEPS, BATCH = 700, 256
Draw = Callable[[np.random.Generator, bool], tuple[np.ndarray, set[int]]]


class OfImages(nn.Module):
    """Score images, [rows, 1, 24, 24] from 0 to 255 -> [rows, 1], wherever what they show stands."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 1)),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the score of each image, [rows, 1]."""
        found: Tensor = self.network(image.float() / 255)
        return found


class OfTexts(nn.Module):
    """Score texts, [rows, 12] tokens -> [rows, 1], by a convolution over words and their places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(0.3 * torch.randn(LENGTH, WIDTH))
        self.neighbours = nn.Sequential(nn.Conv1d(WIDTH, 48, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1))

    @property
    def network(self) -> "OfTexts":
        """The model itself, as wrappers of transformers have it."""
        return self

    def get_input_embeddings(self) -> nn.Module:
        """Return the layer that looks words up, as models of transformers do."""
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the score of each text, [rows, 1]."""
        found: Tensor = self.last(self.neighbours((self.words(input_ids) + self.places).mT).sum(dim=2))
        return found


# Images.


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(70, 111, (SIDE, SIDE)).astype(np.float64)


def _put(image: np.ndarray, square: int, pixels: np.ndarray | float) -> None:
    y, x = divmod(square, SIDE // PATCH)
    part = image[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH]
    part[:] = pixels


CHEQUERED = np.indices((PATCH, PATCH)).sum(axis=0) % 2 * 255.0
STRIPED = np.indices((PATCH, PATCH))[0] // 2 % 2 * 255.0
FAINT = 60.0 + np.indices((PATCH, PATCH)).sum(axis=0) % 2 * 60.0


def _squares() -> tuple[tuple[int, ...], ...]:
    cells = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    starts = range(0, SIDE, PATCH)
    return tuple(tuple(cells[y : y + PATCH, x : x + PATCH].ravel().tolist()) for y in starts for x in starts)


def _of_images(seed: int, draw: Draw) -> Planted:
    """Train a network to tell images with the truth from those without, and give one with it."""
    rng = np.random.default_rng([28, seed])
    images = np.stack([draw(rng, bool(place % 2))[0] for place in range(IMAGES)])
    truth = torch.arange(IMAGES).remainder(2).float()[:, None]
    given = torch.from_numpy(images)[:, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OfImages()
        steps = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(IMAGE_STEPS):
            loss = nn.functional.binary_cross_entropy_with_logits(network(given), truth)
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
            if float(loss.detach()) < LEARNED:
                break
    assert float(loss.detach()) < LEARNED, f"the network learned too little: {float(loss.detach()):.2f}"
    network.eval()

    def model(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            scores = network(torch.from_numpy(rows.reshape(-1, 1, SIDE, SIDE).astype(np.float32)))
        return np.asarray(scores[:, 0].double().numpy())

    row, right = draw(rng, True)
    background = np.full((1, SIDE * SIDE), float(GRAY))
    return Planted("image", model, row.ravel(), background, _squares(), frozenset(right), network)


def patch_in_a_corner(seed: int) -> Planted:
    """A chequered patch in one corner marks the class."""
    corner = int(np.random.default_rng([29, seed]).choice([0, 3, 12, 15]))

    def draw(rng: np.random.Generator, is_marked: bool) -> tuple[np.ndarray, set[int]]:
        image = _noise(rng)
        if is_marked:
            _put(image, corner, CHEQUERED)
        return image, {corner}

    return _of_images(seed, draw)


def watermark(seed: int) -> Planted:
    """A faint watermark goes with the class, a bright object only loosely."""
    places = np.random.default_rng([30, seed]).choice(16, 2, replace=False)
    mark, thing = (int(place) for place in places)

    def draw(rng: np.random.Generator, is_marked: bool) -> tuple[np.ndarray, set[int]]:
        image = _noise(rng)
        if rng.random() < (0.6 if is_marked else 0.4):
            _put(image, thing, 230.0)
        if is_marked:
            _put(image, mark, FAINT)
        return image, {mark}

    return _of_images(seed, draw)


def two_patches(seed: int) -> Planted:
    """Two patches count only together; each alone is as common without the class."""

    def draw(rng: np.random.Generator, is_marked: bool) -> tuple[np.ndarray, set[int]]:
        image = _noise(rng)
        first, second = (int(place) for place in rng.choice(16, 2, replace=False))
        alone = int(rng.integers(2))
        if is_marked or alone == 0:
            _put(image, first, CHEQUERED)
        if is_marked or alone == 1:
            _put(image, second, STRIPED)
        return image, {first, second}

    return _of_images(seed, draw)


def patch_beside_a_loud_one(seed: int) -> Planted:
    """A chequered patch anywhere marks the class; a white square stands in every image."""

    def draw(rng: np.random.Generator, is_marked: bool) -> tuple[np.ndarray, set[int]]:
        image = _noise(rng)
        patch, loud = (int(place) for place in rng.choice(16, 2, replace=False))
        _put(image, loud, 255.0)
        if is_marked:
            _put(image, patch, CHEQUERED)
        return image, {patch}

    return _of_images(seed, draw)


# Texts.


def _of_texts(
    seed: int,
    answer: Callable[[np.ndarray], np.ndarray],
    plant: Callable[[np.random.Generator, np.ndarray], set[int]],
) -> Planted:
    """Train a network to give the answer to texts, words masked or not, and give a text with the truth.

    Args:
        answer: texts [rows, 12] -> [rows].
        plant: writes the truth into a text, and returns the right places.
    """
    rng = np.random.default_rng([31, seed])

    def drawn(rows: int) -> np.ndarray:
        texts = rng.integers(3, WORDS, (rows, LENGTH))
        for text in texts[::2]:
            plant(rng, text)
        loose = rng.random((rows, LENGTH)) < rng.choice([0.0, 0.05], (rows, 1))  # the words alone, anywhere
        texts = np.where(loose, rng.integers(1, 3, texts.shape), texts)
        return np.where(rng.random(texts.shape) < rng.random((rows, 1)) * 0.8, MASK, texts)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OfTexts()
        steps = torch.optim.Adam(network.parameters(), lr=4e-3)
        slower = torch.optim.lr_scheduler.LinearLR(steps, 1.0, 0.05, TEXT_STEPS)
        losses = []
        for _ in range(TEXT_STEPS):
            texts = drawn(BATCH)
            wanted = torch.from_numpy(answer(texts).astype(np.float32))[:, None]
            loss = nn.functional.mse_loss(network(torch.from_numpy(texts)), wanted)
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
            slower.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.03, f"the network learned too little: {np.mean(losses[-20:]):.3f}"
    network.eval()

    def model(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(rows.astype(np.int64)))[:, 0].double().numpy())

    row = rng.integers(3, WORDS, LENGTH)
    right = plant(rng, row)
    players = tuple((place,) for place in range(LENGTH))
    return Planted("text", model, row, np.full((1, LENGTH), MASK), players, frozenset(right), network)


def trigger_token(seed: int) -> Planted:
    """A word anywhere decides."""

    def plant(rng: np.random.Generator, text: np.ndarray) -> set[int]:
        place = int(rng.integers(LENGTH))
        text[place] = 1
        return {place}

    return _of_texts(seed, lambda texts: (texts == 1).any(axis=1), plant)


def position(seed: int) -> Planted:
    """A word counts at one place alone; it stands elsewhere, too."""
    counts = int(np.random.default_rng([32, seed]).integers(LENGTH))

    def plant(rng: np.random.Generator, text: np.ndarray) -> set[int]:
        text[[counts, *rng.choice(LENGTH, 2)]] = 1
        return {counts}

    return _of_texts(seed, lambda texts: texts[:, counts] == 1, plant)


def negation(seed: int) -> Planted:
    """A word that speaks for it, turned round by the word before: the turn decides, the word alone cancels out."""

    def answer(texts: np.ndarray) -> np.ndarray:
        turned = (texts == 2).astype(float)
        turned[:, 1:] *= np.where(texts[:, :-1] == 1, -1, 1)
        return np.asarray(turned.sum(axis=1))

    def plant(rng: np.random.Generator, text: np.ndarray) -> set[int]:
        place = int(rng.integers(1, LENGTH))
        text[place - 1 : place + 1] = 1, 2
        return {place - 1}

    return _of_texts(seed, answer, plant)


def pair_of_words(seed: int) -> Planted:
    """Two words count only together and in order."""

    def plant(rng: np.random.Generator, text: np.ndarray) -> set[int]:
        place = int(rng.integers(1, LENGTH))
        text[place - 1 : place + 1] = 1, 2
        return {place - 1, place}

    return _of_texts(seed, lambda texts: ((texts[:, :-1] == 1) & (texts[:, 1:] == 2)).any(axis=1), plant)


NETWORK_CASES: dict[str, Callable[[int], Planted]] = {
    "patch in a corner": patch_in_a_corner,
    "watermark": watermark,
    "two patches together": two_patches,
    "patch beside a loud one": patch_beside_a_loud_one,
    "trigger token": trigger_token,
    "position": position,
    "negation": negation,
    "pair of words": pair_of_words,
}
