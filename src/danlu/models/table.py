"""The models a recipe may name, with their options. Imports no torch: the networks are imported when one is built."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from danlu.core.component import Component
from danlu.core.imports import load_dotted
from danlu.data.descriptors import DataRequirements
from danlu.data.specs import InputSpec
from danlu.errors import ArgumentError
from danlu.models.base import HasPresets, SizePresets
from danlu.models.base import Model as Model
from danlu.models.tabular.options import MLP as MLP
from danlu.models.tabular.options import Additive, Boosting, FTTransformer, ResNet, TabM, Tree
from danlu.models.tabular.options import Linear as Linear
from danlu.recipe.paths import HF_FOLDER, RecipePath
from danlu.recipe.sections.training import Finetune, Fraction

if TYPE_CHECKING:
    from torch import nn

    from danlu.models.predictor import Predictor


class SmallResNet(HasPresets):
    """Build a small residual network for images of 28 to 64 pixels per side.

    It has no pretrained weights. The stem works at full resolution; each width adds a stage at half the resolution of
    the one before, followed by residual blocks. A stage costs about as much as the one before if widths double.
    """

    kinds = ("image",)
    presets: ClassVar[SizePresets] = {
        "small": {"stem": 8, "widths": (16, 32, 64)},
        "base": {},
        "large": {"stem": 32, "widths": (64, 128, 256), "blocks": 2},
    }
    name: Literal["small-resnet"] = "small-resnet"
    stem: PositiveInt = Field(default=16, description="channels at full resolution")
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = Field(
        default=(32, 64, 128), description="channels of the stages"
    )
    blocks: NonNegativeInt | tuple[NonNegativeInt, ...] = Field(
        default=1, description="residual blocks per stage; a list sets each stage's number"
    )
    normalization: Literal["batch", "group", "layer"] = "batch"
    activation: Literal["relu", "gelu", "silu"] = "relu"
    dropout: Fraction = Field(default=0.0, description="before the classifier")
    stochastic_depth: Fraction = Field(
        default=0.0, description="probability that training skips the last block; lower for earlier blocks"
    )
    mirrored: bool = Field(
        default=False,
        description="average predictions over an image and its mirror image; doubles the cost of prediction",
    )

    @model_validator(mode="after")
    def _counts_blocks_of_every_stage(self) -> Self:
        if isinstance(self.blocks, tuple) and len(self.blocks) != len(self.widths):
            raise ValueError(f"widths names {len(self.widths)} stages, blocks {len(self.blocks)}; make them equal")
        return self

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.vision.timm import build_small_resnet

        assert inputs.kind == "image"
        return build_small_resnet(self, inputs, outputs)


class Timm(Model):
    """Build any of timm's image models by name, such as `timm:resnet18`."""

    kinds = ("image",)
    extra = "image"
    name: Annotated[str, Field(pattern=r"^timm:.+")]
    pretrained: RecipePath | None = Field(
        default=None, description="file or folder of weights: safetensors, or torch without pickled code"
    )
    dropout: Fraction = Field(default=0.0, description="before the classifier")
    stochastic_depth: Fraction = Field(
        default=0.0, description="probability that training skips the last block; lower for earlier blocks"
    )
    normalization: Literal["batch", "group", "layer"] | None = Field(
        default=None, description="replaces the network's batch normalization; not allowed with pretrained weights"
    )
    finetune: Finetune = Finetune()

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.vision.timm import build_timm

        assert inputs.kind == "image"
        return build_timm(self, inputs, outputs)

    def data_requirements(self) -> DataRequirements:
        from danlu.models.vision.timm import pretrained_format

        return DataRequirements(image=pretrained_format(self) if self.pretrained else None)

    def write_native(self, network: "nn.Module", folder: Path, predictor: "Predictor | None" = None) -> None:
        from danlu.models.vision.timm import write_timm

        write_timm(network, folder)

    def read_native(self, folder: Path, predictor: "Predictor") -> "nn.Module":
        from danlu.models.vision.timm import read_timm

        assert predictor.preprocessor.inputs.kind == "image"
        return read_timm(folder, predictor.preprocessor.inputs)

    def portable(self) -> Self:
        return self.model_copy(update={"pretrained": None, "finetune": Finetune()})


class Transformer(HasPresets):
    """Build a transformers model: a new architecture (`hf:llama`) or a local folder (`hf:./MiniLM`).

    A new architecture takes its settings from `size` and `config`. A language model may also be a GGUF file,
    `hf:./model.gguf`, or a folder that holds one.
    """

    kinds = ("text", "words", "corpus", "chat", "preference")
    # For new models only; the settings stand in `text.presets.SIZE_PRESETS`.
    presets: ClassVar[SizePresets] = {"small": {}, "base": {}, "large": {}}
    extra = "text"
    name: Annotated[str, HF_FOLDER, Field(pattern=r"^hf:.+")]
    config: dict[str, Any] | None = Field(default=None, description="the architecture's own settings")
    dropout: Fraction | None = Field(
        default=None, description="every dropout of the architecture that `config` does not set"
    )
    pooling: Literal["mean", "cls"] | None = Field(
        default=None,
        description="text classification and regression: a linear layer over the mean of all tokens, or over the "
        "first token; if left out, the pooling of a sentence encoder's folder, mean with finetune.mode: head, else the "
        "architecture's own classifier",
    )
    allow_remote_code: bool = Field(default=False, description="run Python code from the folder; read it first")
    attention: Literal["auto", "sdpa", "flash", "eager"] = Field(
        default="auto",
        description="implementation: torch's fused kernels (sdpa; auto uses it if the architecture supports it), the "
        "package flash-attn, or plain matrix products",
    )
    finetune: Finetune = Finetune()

    @property
    def custom_code(self) -> str | None:
        return str(self.folder) if self.allow_remote_code else None

    @property
    def folder(self) -> Path | None:
        """Folder (or GGUF file) of pretrained weights; None for a new architecture."""
        rest = self.name.removeprefix("hf:")
        return Path(rest) if "/" in rest else None

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.text.transformers import build_transformer

        assert inputs.kind in ("text", "words", "corpus", "preference")
        return build_transformer(self._with_gguf_converted(), inputs, outputs)

    def data_requirements(self) -> DataRequirements:
        from danlu.models.text.transformers import folder_requirements

        folder = self._with_gguf_converted().folder
        return folder_requirements(folder, self.allow_remote_code) if folder else DataRequirements()

    def _with_gguf_converted(self) -> Self:
        """Return these options with a GGUF file replaced by the folder it was converted to."""
        if self.folder is None:
            return self
        from danlu.models.text.gguf import convert_gguf, find_gguf_file

        file = find_gguf_file(self.folder)
        return self if file is None else self.model_copy(update={"name": f"hf:{convert_gguf(file)}"})

    def write_native(self, network: "nn.Module", folder: Path, predictor: "Predictor | None" = None) -> None:
        from danlu.models.native import write_folder

        assert predictor is not None, "a transformers folder holds a tokenizer"
        write_folder(network, predictor.preprocessor, predictor.target, folder)

    def read_native(self, folder: Path, predictor: "Predictor") -> "nn.Module | None":
        if self.pooling is not None:  # transformers has a class for the encoder only, not for the pooled head
            return None
        read = Transformer(name=f"hf:{folder.resolve()}", allow_remote_code=self.allow_remote_code)
        return read.build(predictor.preprocessor.inputs, predictor.target.outputs)

    def portable(self) -> Self:
        if self.folder is None:
            return self.model_copy(update={"attention": "auto"})
        return self._with_gguf_converted()._self_contained()

    def _self_contained(self) -> Self:
        assert self.folder is not None
        from danlu.models.text.pretrained_folder import requires_remote_code
        from danlu.models.text.transformers import folder_config, resolve_pooling

        changed: dict[str, Any] = {"dropout": None, "pooling": resolve_pooling(self), "finetune": Finetune()}
        changed["attention"] = "auto"
        if requires_remote_code(
            self.folder, self.allow_remote_code
        ):  # the code is needed whenever the network is built
            return self.model_copy(update={**changed, "name": f"hf:{self.folder.resolve()}"})
        name, config = folder_config(self.folder)
        changed |= {"name": f"hf:{name}", "config": config, "allow_remote_code": False}
        return self.model_copy(update=changed)


class CustomModel(Model):
    """Build your own network by `own:package.module:function`.

    The function is called with the inputs' specification (`danlu.data.specs`), the number of outputs and `options`, and
    returns a torch module whose forward takes the inputs by name. Images arrive as uint8; the module normalizes them.
    """

    kinds = ("tabular", "image", "text", "corpus", "chat", "preference")
    name: Annotated[str, Field(pattern=r"^own:[^:]+:[^:]+$")]
    options: dict[str, Any] = Field(default_factory=dict, description="passed to the function by name")

    @property
    def custom_code(self) -> str | None:
        return self.name.removeprefix("own:")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from torch import nn

        function = load_dotted(self.name.removeprefix("own:"), "model.name")
        built = function(inputs, outputs, **self.options)
        if not isinstance(built, nn.Module):
            raise ArgumentError(f"model.name: {self.name} returned a {type(built).__name__}, not a torch module")
        return built


MODELS: dict[str, type[Component]] = {
    "linear": Linear,
    "mlp": MLP,
    "resnet": ResNet,
    "ft-transformer": FTTransformer,
    "tabm": TabM,
    "additive": Additive,
    "tree": Tree,
    "boosting": Boosting,
    "small-resnet": SmallResNet,
    "timm": Timm,
    "hf": Transformer,
    "own": CustomModel,
}
