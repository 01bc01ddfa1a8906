"""The pictures of a network, drawn of what was measured: by `danlu visualize` as files, by a report within its page.

In: a picture's JSON and arrays. Out: `Drawn` figures by the end of their file's name. A picture is a line of `DRAWERS`.
"""

from collections.abc import Callable, Mapping

import numpy as np

from danlu.reporting.figures.layers import Drawn, largest_of, range_lines, value_bars
from danlu.reporting.figures.panels import (
    bar_panels,
    heat_maps,
    image_grids,
    landscape,
    scatter,
    spectra,
    token_maps,
)
from danlu.reporting.format import format_percent, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json

Arrays = Mapping[str, np.ndarray]
SPECTRA = 8  # lines of singular values that are still told apart
NAMES = 4


def draw_weights(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw distributions, heat maps, filters, bars and singular values of weights."""
    lines = data["tensors"]
    found = {"": range_lines(t, "weights", {"": lines}, t("axis.weight"))}
    forms = {"map": list[Json](), "filters": list[Json](), "bars": list[Json]()}
    for picture in data["pictures"]:
        forms[picture["form"]].append(picture)
    if of := forms["map"]:
        told = t("label.weight maps", names=_names(t, of))
        maps = [(each["name"], arrays[each["array"]], _sides(each["shape"])) for each in of]
        found["-maps"] = heat_maps(t, "weight-maps", told, maps, (t("axis.in"), t("axis.out")))
    if of := forms["filters"]:
        grids = [(each["name"], arrays[each["array"]]) for each in of]
        found["-filters"] = image_grids(t, "weight-filters", t("label.filters", names=_names(t, of)), grids)
    if of := forms["bars"]:
        bars = [(each["name"], arrays[each["array"]], int(np.prod(each["shape"]))) for each in of]
        found["-bars"] = bar_panels(t, "weight-bars", t("label.weight bars", names=_names(t, of)), bars)
    matrices = sorted((line for line in lines if len(line.get("singular", ())) > 1), key=lambda line: -line["numbers"])
    if matrices:
        kept = {line["name"] for line in matrices[:SPECTRA]}
        shown = [(line["name"], line["singular"]) for line in lines if line["name"] in kept]
        told = t("label.spectra", names=_names(t, [{"name": name} for name, _ in shown]))
        found["-singular"] = spectra(t, "weight-singular", told, shown)
    return found


def draw_activations(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw the distributions of every layer's outputs, of each state of the network."""
    states = data["states"]
    last = next(reversed(states.values()))
    marked = [layer["name"] for layer in last if layer["dead"] or layer["is_saturated"]]
    named = {_state(t, name): layers for name, layers in states.items()}
    return {"": range_lines(t, "activations", named, t("axis.activation"), marked)}


def _state(t: Translator, name: str) -> str:
    """Return a state of the network in the language: `step 1,200` or `model`."""
    return t("state.step", step=name.removeprefix("step ")) if name.startswith("step ") else t("state.model")


def draw_features(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw an image's feature maps, a strip per layer."""
    strips = [(layer["name"], arrays[layer["array"]]) for layer in data["layers"]]
    told = t("label.features", names=_names(t, data["layers"]))
    return {"": image_grids(t, "features", told, strips, columns=8)}


def draw_embeddings(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw rows on a plane by class."""
    classes = data["classes"]
    told = t(
        "label.embeddings",
        rows=t.count(len(arrays["pca"]), "row"),
        classes=t.count(len(set(classes)) or 1, "class"),
    )
    shares = [format_percent(round(share, 3)) for share in data["explained"]]
    axes = tuple(t("axis.component", number=place + 1, share=share) for place, share in enumerate(shares))
    found = {"": scatter(t, "embeddings", told, arrays["pca"], classes, (axes[0], axes[1]))}
    if "umap" in arrays:
        names = (t("axis.umap", number=1), t("axis.umap", number=2))
        found["-umap"] = scatter(t, "embeddings-umap", told, arrays["umap"], classes, names)
    return found


def draw_attention(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw attention, a line of heads per layer."""
    layers = [arrays[name] for name in data["layers"]]
    told = t("label.attention", layers=t.count(len(layers), "layer"))
    return {"": token_maps(t, "attention", told, layers, data["tokens"])}


def draw_landscape(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw the loss around the weights."""
    return {"": landscape(t, "landscape", list(arrays["places"]), arrays["losses"])}


def draw_gradients(t: Translator, data: Json, arrays: Arrays) -> dict[str, Drawn]:
    """Draw the gradient's norm by tensor."""
    norms = data["norms"]
    largest, value = largest_of(norms)
    told = t("label.gradients", layers=t.count(len(norms), "layer"), largest=largest, value=value)
    return {"": value_bars(t, "gradients", told, norms, t("axis.gradient"))}


def _sides(shape: list[int]) -> tuple[int, int]:
    """Return rows and columns of a tensor as its map has them."""
    return shape[0], int(np.prod(shape[1:]))


def _names(t: Translator, pictures: list[Json]) -> str:
    shown = [shorten(each["name"], 60) for each in pictures[:NAMES]]
    return t.join(shown) + (" …" if len(pictures) > NAMES else "")


DRAWERS: dict[str, Callable[[Translator, Json, Arrays], dict[str, Drawn]]] = {
    "features": draw_features,
    "activations": draw_activations,
    "weights": draw_weights,
    "attention": draw_attention,
    "embeddings": draw_embeddings,
    "landscape": draw_landscape,
    "gradients": draw_gradients,
}
