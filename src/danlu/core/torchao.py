"""torchao, imported without its remarks on kernels for other machines than this one."""

import logging


def import_torchao() -> None:
    """Import torchao; it would warn of each library of kernels that does not load, and none of them is needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import torchao.optim  # noqa: F401
    finally:
        logging.disable(before)
