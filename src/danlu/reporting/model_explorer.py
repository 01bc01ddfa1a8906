"""A graph in the JSON of Google's Model Explorer, which its page opens as a graph collection.

In: a graph as `danlu visualize --json` has it. Out: JSON. https://github.com/google-ai-edge/model-explorer
"""

from danlu.reporting.figures.graph import shapes_text
from danlu.reporting.run_reader import Json

MEASURES = ("parameters", "flops", "ms", "bytes")


def model_explorer_graph(name: str, graph: Json) -> Json:
    """Convert a graph to Model Explorer's nodes, modules as namespaces."""
    parents = {module["id"]: module["parent"] for module in graph["modules"]}
    names = {module["id"]: module["name"] for module in graph["modules"]}
    incoming: dict[str, list[str]] = {}
    for source, target in graph["edges"]:
        incoming.setdefault(target, []).append(source)

    def namespace(module: str) -> str:
        parent = parents[module]
        if parent is None:
            return ""
        # A call of a module that was called before is a place of its own.
        own = names[module] + (f"#{module.rpartition('#')[2]}" if "#" in module else "")
        return "/".join(part for part in (namespace(parent), own.replace("/", "_")) if part)

    nodes = [
        {
            "id": node["id"],
            "label": node["type"],
            "namespace": namespace(node["module"]),
            "attrs": [
                {"key": "name", "value": node["name"]},
                *({"key": key, "value": str(node[key])} for key in MEASURES if node[key] is not None),
            ],
            "incomingEdges": [
                {"sourceNodeId": source, "sourceNodeOutputId": "0", "targetNodeInputId": str(place)}
                for place, source in enumerate(incoming.get(node["id"], ()))
            ],
            "outputsMetadata": [
                {"id": str(place), "attrs": [{"key": "shape", "value": shapes_text([shape])}]}
                for place, shape in enumerate(node["outputs"])
            ],
        }
        for node in graph["nodes"]
    ]
    return {"label": name, "graphs": [{"id": name, "nodes": nodes}]}
