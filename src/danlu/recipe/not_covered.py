"""Tasks that danlu does not do: the words that ask for one, and the tools to use instead.

In: a recipe's task or model name. Out: a sentence, or None. docs/not-covered.md says the same at length. Imports no
torch.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.recipe.schema import Recipe

PAGE = "docs/not-covered.md"


@dataclass(frozen=True)
class NotCovered:
    """Hold one field of work that danlu leaves to others.

    Attributes:
        name: as messages name it.
        anchor: its heading on the page.
        instead: tools to use, and the nearest thing that danlu does.
        tasks: words for it as a task; hyphens stand for spaces and underscores too.
        models: names and patterns of models made for it; none of them is also a model of texts alone.
    """

    name: str
    anchor: str
    instead: str
    tasks: tuple[str, ...]
    models: tuple[str, ...] = ()


NOT_COVERED = (
    NotCovered(
        "forecasting of time series",
        "forecasting",
        "use StatsForecast, NeuralForecast or GluonTS; or put lags into columns and train regression with "
        "data.split.by: time",
        ("forecasting", "forecast", "time-series", "timeseries", "time-series-forecasting"),
        (
            "timesfm*",
            "patchtst",
            "patchtsmixer",
            "informer",
            "autoformer",
            "time-series-transformer",
            "chronos*",
            "prophet",
            "arima",
            "deepar",
            "n-beats",
            "nbeats",
            "tft",
        ),
    ),
    NotCovered(
        "object detection",
        "detection",
        "use torchvision.models.detection, MMDetection or the detectors of transformers; or classify crops as images",
        ("object-detection", "detection", "bounding-boxes", "keypoints", "keypoint-detection"),
        ("yolo*", "*detr", "*detr-v2", "faster-rcnn", "retinanet", "owlvit", "owlv2", "grounding-dino"),
    ),
    NotCovered(
        "image segmentation",
        "segmentation",
        "use segmentation-models-pytorch, MMSegmentation or nnU-Net; or classify tiles as images",
        (
            "segmentation",
            "image-segmentation",
            "semantic-segmentation",
            "instance-segmentation",
            "panoptic-segmentation",
        ),
        (
            "segformer",
            "maskformer",
            "mask2former",
            "oneformer",
            "upernet",
            "unet",
            "deeplab*",
            "mask-rcnn",
            "sam",
            "sam2",
        ),
    ),
    NotCovered(
        "several kinds of input in one network",
        "several-kinds-of-input",
        "use AutoGluon's MultiModalPredictor; or compute embeddings of images and texts into columns of a table",
        ("multimodal", "multi-modal", "multi-input", "image-and-text", "image-and-table"),
        ("vilt", "clip", "siglip", "align", "flava"),
    ),
    NotCovered(
        "KTO",
        "kto-and-grpo",
        "use TRL's KTOTrainer; or make pairs of the answers and train data.task: preference (DPO)",
        ("kto",),
    ),
    NotCovered(
        "reinforcement learning of language models (GRPO, PPO)",
        "kto-and-grpo",
        "use TRL's GRPOTrainer or verl; or train data.task: preference (DPO) on pairs",
        ("grpo", "ppo", "rlhf", "rlvr", "reinforcement-learning"),
    ),
    NotCovered(
        "training of vision-language models",
        "vision-language-models",
        "use TRL's SFTTrainer or LLaMA-Factory; or train images and texts each by a model of their own",
        (
            "vision-language",
            "image-text-to-text",
            "visual-question-answering",
            "vqa",
            "image-captioning",
            "image-to-text",
        ),
        (
            "llava*",
            "vipllava",
            "video-llava",
            "qwen2-vl",
            "qwen2-5-vl",
            "qwen3-vl*",
            "idefics*",
            "internvl",
            "paligemma",
            "blip",
            "blip-2",
            "instructblip*",
            "kosmos-2*",
            "smolvlm",
            "pix2struct",
            "florence2",
            "deepseek-vl*",
            "glm4v*",
            "mistral3",
            "vision-encoder-decoder",
        ),
    ),
)


def refuse_task(word: str) -> str | None:
    """Return why a task is refused; None unless danlu leaves it to others."""
    found = next((topic for topic in NOT_COVERED if _normalized(word) in topic.tasks), None)
    return None if found is None else _sentence(word, found)


def refuse_model(name: str) -> str | None:
    """Return why a model's name or type is refused; None unless it is listed."""
    said = _normalized(name)
    for topic in NOT_COVERED:
        if said in topic.tasks or any(fnmatchcase(said, pattern) for pattern in topic.models):
            return _sentence(name, topic)
    return None


def refuse_transformers(recipe: "Recipe") -> Iterator[tuple[str, str]]:
    """Yield `model.name` with a sentence where transformers' model is made for such a task."""
    name = str(getattr(recipe.model, "name", ""))
    if not name.startswith("hf:"):
        return
    rest = name.removeprefix("hf:")
    refused = refuse_model(_model_type(Path(rest)) if "/" in rest else rest)
    if refused is not None:
        yield "model.name", refused


def _model_type(folder: Path) -> str:
    """Return the `model_type` of a folder's config.json; empty if it cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def _normalized(word: str) -> str:
    return word.strip().lower().replace("_", "-").replace(" ", "-").replace(".", "-")


def _sentence(word: str, topic: NotCovered) -> str:
    return f"{word!r}: danlu does not do {topic.name}; {topic.instead} ({PAGE}#{topic.anchor})"
