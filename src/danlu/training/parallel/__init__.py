"""Training by several processes: how the work is split among them, and the mathematics that stays the same.

`layout` says how many ways in which direction, `group` opens what processes speak through. A direction is put on a
plain model from outside: `replicas` and `sharded` (data), `tensor`, `context`, `pipeline`. Models know nothing of it.
"""
