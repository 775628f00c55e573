"""Several processes that train together, on one machine or many, connected by `jax.distributed`."""

import socket
from typing import Any

import jax
import numpy as np

LARGEST_PORT = 65535


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat_seconds: int = 100,
) -> None:
    """Connect this process with the others, before the first computation.

    Afterwards `jax.devices` lists the devices of all, and `data_parallel` spreads a step over them. Without arguments,
    JAX reads them from the environment of Slurm, Open MPI, Kubernetes or a Cloud TPU.

    Args:
        coordinator: "HOST:PORT" of process 0.
        processes: how many there are.
        process: the number of this one, from 0.
        heartbeat_seconds: a process that is silent for so long counts as lost, and ends all others with an error.

    Raises:
        ValueError: if some, but not all, of the first three are given, if one is out of range, if neither they nor the
            environment name a coordinator, and in process 0 if its port cannot be opened, as where there is another 0.
        RuntimeError: from JAX, if it has computed already, or if the others do not come within five minutes.
    """
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < 3:
        raise ValueError(f"{missing[0]}: got None, must be given together with {', '.join(set(given) - set(missing))}")
    if coordinator is not None and (":" not in coordinator or not coordinator.rpartition(":")[2].isdecimal()):
        raise ValueError(f"coordinator: got {coordinator!r}, must be HOST:PORT")
    if coordinator is not None and int(coordinator.rpartition(":")[2]) > LARGEST_PORT:
        raise ValueError(f"coordinator: got {coordinator!r}, whose port must be at most {LARGEST_PORT}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes: got {processes}, must be at least 1")
    if process is not None and processes is not None and not 0 <= process < processes:
        raise ValueError(f"process: got {process}, must be in [0, {processes - 1}]")
    if heartbeat_seconds < 1:
        raise ValueError(f"heartbeat_seconds: got {heartbeat_seconds}, must be at least 1")
    if coordinator is not None and process == 0:
        _check_free(int(coordinator.rpartition(":")[2]))
    jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=heartbeat_seconds)


def _check_free(port: int) -> None:
    """Raise ValueError if a port cannot be opened; gRPC would share it, and each of two coordinators wait in vain."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        said = f"coordinator: port {port} cannot be opened here ({error.strerror}); is there another process 0?"
        raise ValueError(said) from error


def own_part(batch: Any) -> Any:
    """Return this process's part of a batch, an equal share of the first axis in the order of processes.

    Raises:
        ValueError: if the number of processes does not divide the batch size.
    """
    count, index = jax.process_count(), jax.process_index()

    def part(leaf: Any) -> Any:
        if len(leaf) % count:
            raise ValueError(f"batch: got {len(leaf)} examples, must be a multiple of {count}, the number of processes")
        size = len(leaf) // count
        return np.asarray(leaf)[index * size : (index + 1) * size]

    return jax.tree.map(part, batch)
