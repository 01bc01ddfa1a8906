"""Number formats of computation and weights. In: the recipe's `training.precision`, and the device.

A model file knows nothing of this: `Precision` changes a model from outside and provides the contexts to compute in.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from danlu.core.imports import require_extra
from danlu.core.torch_compat import NormWithStats
from danlu.errors import ArgumentError

NO_CONTEXT: AbstractContextManager[None] = nullcontext()  # entering it costs 0.4 us; one is enough for all steps
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "float8": torch.bfloat16}
BF16_WEIGHT_MODES = ("bf16-master", "bf16-stochastic")
FLOAT8_CAPABILITY = (8, 9)  # Ada and Hopper on
FLOAT8_MULTIPLE = 16  # the kernels need matrix sides that are multiples of it
# Their statistics need more digits than bf16 has, and torch's kernels take bf16 activations with fp32 weights here.
NORMS = (NormWithStats, nn.LayerNorm, nn.GroupNorm)


def choose_precision(asked: str, device: torch.device) -> str:
    """Choose the precision to train in.

    Args:
        asked: a value of `training.precision`; auto is bf16 on cards that compute in it and fp16 on older ones, bf16
            on TPUs and XPUs, and fp32 on everything else.
        device: trains the model.

    Raises:
        ArgumentError: the device does not support it.
    """
    if asked == "auto":
        return _auto_precision(device)
    reason = _unsupported_reason(asked, device)
    if reason is not None:
        raise ArgumentError(f"training.precision: {asked} is not available on {device.type}: {reason}", code="DL501")
    return asked


@dataclass(frozen=True)
class Precision:
    """Train a model in one precision.

    Attributes:
        name: as `choose_precision` returns it, never auto.
        device: trains the model.
    """

    name: str
    device: torch.device

    @property
    def bf16_weights(self) -> bool:
        """Whether the weights themselves are bf16, so that `ParamStorageOptimizer` steps them."""
        return self.name in BF16_WEIGHT_MODES

    @property
    def changes_weights(self) -> bool:
        """Whether `prepare` changes a model."""
        return self.bf16_weights or self.name == "float8"

    def prepare(self, model: nn.Module) -> nn.Module:
        """Convert a model on `device` in place before its optimizer is built; parameter names stay.

        Weights kept in bf16 leave out those of normalisation, and no buffer is touched: running statistics and the
        angles of rotary positions need their digits.
        """
        if self.bf16_weights:
            for module in model.modules():
                if not isinstance(module, NORMS):
                    for weight in module.parameters(recurse=False):
                        weight.data = weight.data.to(torch.bfloat16)
        elif self.name == "float8":
            _to_float8(model)
        return model

    def finish(self, model: nn.Module) -> nn.Module:
        """Convert a trained model back to fp32, with exactly the weights it was evaluated with."""
        for weight in model.parameters():
            weight.data = weight.data.float()
        return model

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass and its loss.

        Validation uses it too; the backward pass does not.
        """
        dtype = torch.bfloat16 if self.bf16_weights else AUTOCAST_DTYPES.get(self.name)
        return NO_CONTEXT if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    @contextmanager
    def matmul_precision(self) -> Iterator[None]:
        """Set, for a whole run, whether fp32 matrix products may be rounded to tf32.

        The setting belongs to the process rather than to a step, as the backward pass multiplies too, in threads of its
        own. By default torch rounds convolutions to tf32 and matrix products not; fp32 means neither.
        """
        matrices, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        rounded = self.name != "fp32"
        torch.set_float32_matmul_precision("high" if rounded and self.device.type == "cuda" else "highest")
        torch.backends.cudnn.allow_tf32 = rounded
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(matrices)
            torch.backends.cudnn.allow_tf32 = convolutions

    def make_grad_scaler(self) -> "torch.amp.GradScaler | None":
        """Return fp16's loss scaler, whose state belongs in checkpoints; None for other precisions.

        Without it small fp16 gradients would become 0.
        """
        return torch.amp.GradScaler(self.device.type) if self.name == "fp16" else None


def _auto_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type in ("xpu", "tpu", "xla") else "fp32"


def _unsupported_reason(asked: str, device: torch.device) -> str | None:
    """Return the reason why a device cannot train in a precision; None if it can."""
    device_type = device.type
    if asked == "tf32":
        if device_type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
            return "it is a format of NVIDIA's cards from Ampere on; say fp32 or bf16"
    elif asked == "float8":
        if device_type != "cuda" or torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
            return "it needs an NVIDIA card of compute capability 8.9 or more (Ada, Hopper); say bf16"
        require_extra("low-bit", "training.precision: float8")
    elif asked == "fp16":
        if device_type in ("tpu", "xla"):
            return "TPUs compute in bf16; say bf16"
    elif asked != "fp32" and device_type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this card has no bf16; say fp16"
    return None


def _to_float8(model: nn.Module) -> None:
    """Convert large linear layers to float8 (torchao, dynamic scaling), except the last one."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]

    def fits(module: nn.Module, name: str) -> bool:
        assert isinstance(module, nn.Linear)
        sides = (module.in_features, module.out_features)
        return name not in linear[-1:] and all(side % FLOAT8_MULTIPLE == 0 for side in sides)

    # The number of tokens in a batch is a side of a matrix too, so a short last one is padded.
    convert_to_float8_training(model, module_filter_fn=fits, config=Float8LinearConfig(pad_inner_dim=True))
