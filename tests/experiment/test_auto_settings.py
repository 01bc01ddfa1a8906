"""`batch_size: auto`: the largest power of two that fits and leaves enough steps an epoch."""

from types import SimpleNamespace
from typing import Any

import pytest

from danlu.experiment import auto_settings as settle


def found(rows: int, free: int | None, monkeypatch: pytest.MonkeyPatch, bytes_a_sample: int = 100) -> int:
    fitting: Any = SimpleNamespace(
        accelerator=SimpleNamespace(free_bytes=lambda: free),
        balanced=SimpleNamespace(loader=SimpleNamespace(epoch_length=rows)),
    )
    foresee = lambda size: SimpleNamespace(peak_bytes=bytes_a_sample * size)  # noqa: E731
    monkeypatch.setattr(settle, "with_training_options", lambda fitting, **options: fitting)
    monkeypatch.setattr(settle, "optimizer_with_default_lr", lambda fitting: None)
    monkeypatch.setattr(settle, "build_probe", lambda fitting: SimpleNamespace(predict_footprint=foresee))
    return settle.find_largest_batch_size(fitting)


@pytest.mark.parametrize(
    ("rows", "free", "expected"),
    [
        (8 * 64, None, 64),  # eight steps an epoch
        (8 * 64 - 1, None, 32),
        (8 * 127, None, 64),
        (10**6, 8000, 64),  # 6,400 bytes are four fifths of 8,000
        (10**6, 7999, 32),
        (10**6, 10, 2),
        (5, None, 2),
    ],
)
def test_the_largest_batch(rows: int, free: int | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(rows, free, monkeypatch) == expected
