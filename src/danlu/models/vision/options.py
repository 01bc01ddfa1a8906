"""The options of image models. Imports no torch: the recipe's schema is built from them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from danlu.core.imports import missing_packages, patch_torchvision, require_extra
from danlu.data.descriptors import DataRequirements
from danlu.data.specs import ImageInputs
from danlu.models.base import HasPresets, ImageModel, SizePresets, pretrained_lr
from danlu.recipe.bounds import Width
from danlu.recipe.paths import RecipePath
from danlu.recipe.sections.training import Finetune, Fraction

if TYPE_CHECKING:
    from torch import nn

SMALL_IMAGE_SIZE = 32  # pixels
# Popular ones among timm's more than a thousand.
TIMM_EXAMPLES = (
    *("resnet18", "resnet50", "mobilenetv3_large_100", "tf_efficientnet_lite0", "efficientnet_b0"),
    *("convnext_tiny", "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"),
)


class SmallResNet(ImageModel, HasPresets):
    """Build a small residual network for images of 28 to 64 pixels per side.

    It has no pretrained weights. The stem works at full resolution; each width adds a stage at half the resolution of
    the one before, followed by residual blocks. A stage costs about as much as the one before if widths double.
    """

    presets: ClassVar[SizePresets] = {
        "small": {"stem": 8, "widths": (16, 32, 64)},
        "base": {},
        "large": {"stem": 32, "widths": (64, 128, 256), "blocks": 2},
    }
    name: Literal["small-resnet"] = "small-resnet"
    stem: Width = Field(default=16, description="channels at full resolution")
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=20)] = Field(
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

    def typical_image_size(self) -> int:
        return SMALL_IMAGE_SIZE

    def build_network(self, inputs: ImageInputs, outputs: int) -> "nn.Module":
        from danlu.models.vision.image_model import NormalizedImageModel
        from danlu.models.vision.small_resnet import LayerStyle, SmallResNetNetwork

        network = SmallResNetNetwork(
            inputs.channels,
            outputs,
            stem=self.stem,
            widths=self.widths,
            blocks=self.blocks if isinstance(self.blocks, tuple) else (self.blocks,) * len(self.widths),
            style=LayerStyle(self.normalization, self.activation),
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            mirrored=self.mirrored,
        )
        return NormalizedImageModel(network, inputs)


class Timm(ImageModel):
    """Build any of timm's image models by name, such as `timm:resnet18`."""

    extra = "image"
    export_format = "timm"
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

    @field_validator("pretrained", mode="before")
    @classmethod
    def _names_a_file(cls, said: object) -> object:
        if said is True:
            raise ValueError(
                "names a file of weights, which danlu does not fetch: the model.safetensors of the network's page at "
                "https://huggingface.co/timm, or torchvision's .pth; write its path (./model.safetensors)"
            )
        return said

    @classmethod
    def catalog(cls, listed_as: str, like: str | None) -> list[tuple[str, str]]:
        names: Iterable[str] = TIMM_EXAMPLES
        if like is not None and like.startswith("timm:"):
            require_extra("image", f"--like {like}:")
            patch_torchvision()
            import timm

            names = timm.list_models(like.removeprefix("timm:"))
        return [(f"timm:{name}", "image") for name in names]

    def typical_image_size(self) -> int | None:
        from danlu.models.vision.timm import pretrained_format

        return None if missing_packages("image") else pretrained_format(self.name).size

    def build_network(self, inputs: ImageInputs, outputs: int) -> "nn.Module":
        from danlu.models.vision.timm import build_timm

        return build_timm(
            self.name,
            inputs,
            outputs,
            pretrained=self.pretrained,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            normalization=self.normalization,
        )

    def order_head(self, network: "nn.Module", labels: Sequence[str] | None) -> None:
        if self.pretrained is not None:
            from danlu.models.vision.pretrained_head import order_head

            order_head(network, Path(self.pretrained), labels)

    def default_lr(self, optimizer_lr: float, pretrained_factor: float) -> float:
        if self.pretrained is None:
            return super().default_lr(optimizer_lr, pretrained_factor)
        return pretrained_lr(self.finetune, optimizer_lr, pretrained_factor) * self.defaults.lr_factor

    def data_requirements(self) -> DataRequirements:
        from danlu.models.vision.timm import pretrained_format

        return DataRequirements(image=pretrained_format(self.name, self.pretrained) if self.pretrained else None)

    def portable(self) -> Self:
        return self.model_copy(update={"pretrained": None, "finetune": Finetune()})
