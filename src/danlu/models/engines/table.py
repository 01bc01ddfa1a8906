"""The engines by name, and which of them answer a bundle, in which order."""

from danlu.core.text import suggestion
from danlu.errors import ArgumentError
from danlu.models.engines.base import Engine, EngineSource
from danlu.models.engines.numpy_engine import NumpyEngine
from danlu.models.engines.onnxruntime_engine import OnnxRuntimeEngine
from danlu.models.engines.openvino_engine import OpenVinoEngine
from danlu.models.engines.torch_engine import TorchEngine
from danlu.tasks.table import task_of

AUTO = "auto"  # the bundle's own order
# The rule of a bundle that names no order: numpy where it can, since it opens at once; torch can always.
RULE = ("numpy", "torch")


def engines_for(source: EngineSource, asked: str | None = None) -> list[type[Engine]]:
    """Return the engines to try, in order, the last of which must open the bundle.

    Args:
        asked: an engine's name; None or `auto` for the bundle's own order.

    Raises:
        ArgumentError: there is no such engine, or it cannot answer this bundle.
    """
    if asked is None or asked == AUTO:
        order = source.bundle.manifest.engines or RULE
        known = [ENGINES[name] for name in order if name in ENGINES]
        return [engine for engine in known if obstacle_to(engine, source) is None] or [TorchEngine]
    if asked not in ENGINES:
        raise ArgumentError(f"engine: {asked!r} is unknown{suggestion(asked, [AUTO, *ENGINES])}", code="DL402")
    obstacle = obstacle_to(ENGINES[asked], source)
    if obstacle is not None:
        able = ", ".join(name for name, engine in ENGINES.items() if obstacle_to(engine, source) is None)
        raise ArgumentError(
            f"engine: {asked} cannot answer {source.bundle.folder}: {obstacle}; these can: {able}", code="DL409"
        )
    return [ENGINES[asked]]


def obstacle_to(engine: type[Engine], source: EngineSource) -> str | None:
    """Return why an engine cannot answer a bundle; None where it can."""
    if engine is not TorchEngine and task_of(source.target).head(source.target).answer is None:
        return f"what a model of {source.target.task} answers is computed by torch alone"
    return engine.obstacle(source)


ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (NumpyEngine, OnnxRuntimeEngine, OpenVinoEngine, TorchEngine)
}
