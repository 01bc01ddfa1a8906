"""Metrics: several workers' numbers in one table, and their text."""

import os

import pytest

from danlu.serving.metrics import WIDTH, Table, exposition

LABELS = ("wine", "1")


def placed() -> Table:
    table = Table()
    table.layout.place("danlu_rows", LABELS)
    table.layout.place("danlu_queued_rows", LABELS)
    table.layout.place("danlu_batch_rows", LABELS)
    return table


def lines(table: Table) -> list[str]:
    return exposition(table, "")[0].decode().splitlines()


def test_the_numbers_of_all_workers_are_summed() -> None:
    table = placed()
    for _ in range(2):
        row = table.row(table.take_row())
        row.counter("danlu_rows", LABELS).add(3)
        for size in (1, 2, 300):
            row.histogram("danlu_batch_rows", LABELS).observe(size)
    found = lines(table)
    assert 'danlu_rows_total{model="wine",version="1"} 6.0' in found
    assert 'danlu_batch_rows_bucket{le="1.0",model="wine",version="1"} 2.0' in found
    assert 'danlu_batch_rows_bucket{le="256.0",model="wine",version="1"} 4.0' in found
    assert 'danlu_batch_rows_bucket{le="+Inf",model="wine",version="1"} 6.0' in found
    assert 'danlu_batch_rows_sum{model="wine",version="1"} 606.0' in found


def test_what_a_dead_worker_counted_stays_and_what_it_held_does_not() -> None:
    table = placed()
    number = table.take_row()
    pid = os.fork()
    if pid == 0:  # another process: the memory is shared
        row = table.row(number)
        row.counter("danlu_rows", LABELS).add(5)
        row.counter("danlu_queued_rows", LABELS).set(7)
        os._exit(0)
    os.waitpid(pid, 0)
    assert 'danlu_queued_rows{model="wine",version="1"} 7.0' in lines(table)
    table.give_back(number)
    assert 'danlu_rows_total{model="wine",version="1"} 5.0' in lines(table)
    assert 'danlu_queued_rows{model="wine",version="1"} 0.0' in lines(table)


def test_rows_are_used_again_and_not_shared() -> None:
    table = placed()
    taken = [table.take_row() for _ in range(63)]
    assert len({*taken, 0}) == 64
    with pytest.raises(ValueError, match="63 workers"):
        table.take_row()
    table.give_back(taken[0])
    assert table.take_row() == taken[0]


def test_a_row_has_its_width() -> None:
    table = Table()
    table.layout.used = WIDTH - 1
    with pytest.raises(ValueError, match="no room"):
        table.layout.place("danlu_batch_rows", LABELS)
