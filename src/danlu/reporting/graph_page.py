"""The page of a network's structure: a tree that opens and closes, what flows beside it, figures of each layer.

In: a graph as `danlu visualize --json` has it. Out: one self-contained HTML file.
"""

from danlu.reporting.figures.graph import graph_picture, scaled, shapes_text
from danlu.reporting.i18n import Translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json

MEASURES = ("parameters", "flops", "ms", "bytes")
WORDS = (*MEASURES, "all", "scale", "found", "inputs", "outputs", "from", "to")
NAMES_SHOWN = 4


def graph_page(t: Translator, name: str, graph: Json) -> str:
    """Build the page of a graph.

    Args:
        t: the page's language.
        name: of the model.
        graph: as `Graph.as_json` gives it.
    """
    failed = graph["failed_at"]
    told = None
    if failed is not None:
        met = t.join(f"{each['of']} {shapes_text([each['shape']])}" for each in failed["shapes"])
        told = {**failed, "shapes": t("graph.met", shapes=met) if met else ""}
    return render(
        "graph.html.j2",
        t,
        parts=("page", "graph"),
        title=t("graph.title", name=name),
        summary=graph_summary(t, graph),
        failed=told,
        measures=MEASURES,
        svg=graph_picture(t, graph),
        data={
            "nodes": graph["nodes"],
            "edges": graph["edges"],
            "modules": graph["modules"],
            "failed": failed,
            # Places that the script fills in stay as they are.
            "words": {word: t(f"graph.{word}") for word in WORDS},
        },
    )


def graph_summary(t: Translator, graph: Json) -> str:
    """Say how large a network is, and how far the replayed graph is from it."""
    nodes = graph["nodes"]
    parts = {
        "modules": t.count(len(graph["modules"]), "module"),
        "nodes": t.count(len(nodes), "node"),
        "parameters": f"{sum(node['parameters'] for node in nodes):,}",
    }
    timed = [node["ms"] for node in nodes if node["ms"] is not None]
    if timed:
        rows = next((node["outputs"][0][0] for node in nodes if node["type"] == "Input" and node["outputs"][0]), 1)
        flops = scaled(sum(node["flops"] for node in nodes))
        total = sum(timed)
        ms = f"{total / 1e3:.3g} s" if total >= 1000 else f"{total:.3g} ms"
        sentences = [t("graph.summary", **parts, flops=flops, ms=ms, rows=t.count(rows, "row"))]
    else:
        sentences = [t("graph.summary.still", **parts)]
    if graph["replay_deviation"] is not None:
        sentences.append(t("graph.replayed", deviation=f"{graph['replay_deviation']:.2g}"))
    if graph["unused"]:
        names = t.join(graph["unused"][:NAMES_SHOWN]) + (" …" if len(graph["unused"]) > NAMES_SHOWN else "")
        sentences.append(t("graph.unused", count=len(graph["unused"]), names=names))
    return t.join_sentences(sentences)
