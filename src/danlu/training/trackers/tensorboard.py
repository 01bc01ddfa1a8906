"""TensorBoard: the run's metrics as event files in its folder `tensorboard`."""

from typing import TYPE_CHECKING

from danlu.training.callbacks import Callback, Setting

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Each figure of metrics.jsonl as a scalar under its own name."""

    def __init__(self) -> None:
        self.writer: SummaryWriter | None = None

    def on_start(self, setting: Setting) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was written of steps that are now done again is not shown.
        again = setting.first_step + 1 if setting.first_step else None
        self.writer = SummaryWriter(str(setting.run.path / FOLDER), purge_step=again)

    def on_log(self, record: dict[str, float]) -> None:
        assert self.writer is not None
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(record["step"]))

    def on_end(self) -> None:
        if self.writer is not None:
            self.writer.close()
