"""Training on several processes: data, sharded, tensor, pipeline and context parallelism, each applied to a plain model
from outside.

`layout` says how many ways in which direction, `group` opens what processes speak through. A direction is put on a
plain model from outside: `replicas` and `sharded` (data), `tensor`, `context`, `pipeline`. Models know nothing of it.
"""
