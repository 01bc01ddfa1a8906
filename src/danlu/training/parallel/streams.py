"""Random numbers for dropout in a tensor group: equal masks for equal activations, different ones elsewhere.

All processes of a group begin a step with the same seed. Where work is split, each goes on with a stream of its own,
begun from the common one, and where it ends with the common one again (Shoeybi et al. 2019). Which stream it is follows
from the seed alone, so that a step, or a block that is computed again, has the same masks again.
"""

import zlib

import torch
from torch import Tensor


class RngTracker:
    """Switch a device's random state between the common and this rank's own.

    All ranks of a group begin a step with the same seed. Where work is split, each continues with a state of its own,
    derived from the common one, and afterwards with the common one again (Shoeybi et al. 2019,
    https://arxiv.org/abs/1909.08053). The state follows from the seed alone, so a repeated step or a recomputed block
    has the same masks again.

    Args:
        device_type: e.g. cuda.
        rank: of this process in its group.
    """

    def __init__(self, device_type: str, rank: int) -> None:
        self.device_type, self.rank = device_type, rank
        self._common_state: Tensor | None = None

    def fork(self) -> None:
        """Switch to this rank's own state."""
        torch.rand(1, device=self.device_type)  # advance the common state, so that the next fork differs
        self._common_state = self._state()
        seed = zlib.crc32(self._common_state.numpy().tobytes(), self.rank + 1)
        if self.device_type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.get_device_module(self.device_type).manual_seed(seed)

    def restore(self) -> None:
        """Switch back to the common state where it was left."""
        if self._common_state is None:
            return
        if self.device_type == "cpu":
            torch.set_rng_state(self._common_state)
        else:
            torch.get_device_module(self.device_type).set_rng_state(self._common_state)
        self._common_state = None

    def _state(self) -> Tensor:
        if self.device_type == "cpu":
            return torch.get_rng_state()
        state: Tensor = torch.get_device_module(self.device_type).get_rng_state()
        return state
