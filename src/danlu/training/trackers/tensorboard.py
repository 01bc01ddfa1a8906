"""Trackers: callbacks that copy metrics to tools where people compare runs; and the choice of a run's callbacks.

In: the recipe's `training.track` and `training.callbacks`. Out: callbacks for the loop, in the order in which they are
called. A tracker writes a copy: reports and comparisons are made from metrics.jsonl.
"""

from typing import TYPE_CHECKING

from danlu.training.callbacks import Callback, CallbackContext

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Write each figure of metrics.jsonl as a scalar under its own name.

    The event files lie in the run's folder `tensorboard`.
    """

    def __init__(self) -> None:
        self.writer: SummaryWriter | None = None

    def on_start(self, context: CallbackContext) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Hide records of steps that are now repeated.
        again = context.first_step + 1 if context.first_step else None
        self.writer = SummaryWriter(str(context.run.path / TENSORBOARD_FOLDER), purge_step=again)

    def on_log(self, record: dict[str, float]) -> None:
        assert self.writer is not None
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(record["step"]))

    def on_end(self) -> None:
        if self.writer is not None:
            self.writer.close()
