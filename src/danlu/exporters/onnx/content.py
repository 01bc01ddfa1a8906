"""What a written form holds: its ports, the answers behind the network, the preparation before it, and the rest."""

from dataclasses import dataclass

from danlu.exporters.answer_module import Answers
from danlu.exporters.onnx.preparation import Preparation
from danlu.exporters.ports import Port
from danlu.models.answer_folding import Placement


@dataclass(frozen=True)
class Content:
    """Describe a written form.

    Attributes:
        inputs, outputs: its ports; the answers come first.
        answers: what stands behind the network.
        preparation: of tables, where it stands before the network; None where prepared inputs go in.
        placement: the steps inside and outside.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    answers: Answers
    preparation: Preparation | None
    placement: Placement
