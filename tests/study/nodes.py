"""A Ray cluster of several nodes on this machine, in a process of its own.

It prints its address, then takes a line of input for each thing to happen (`lose` a node, `add`
one), and answers each with `done`. Ray reads its token when it is imported, and whoever tests
with it has imported it long before.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import psutil
from ray.cluster_utils import Cluster

# Ray takes our word for the GPU, and torch finds none.
NODE: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1}


def serve(num_nodes: int) -> None:
    """A head without CPUs and so many nodes of one CPU and GPU, until the end of the input."""
    # Train removes placement groups through the dashboard; without a port it takes a free one.
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": None}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(num_nodes):
            cluster.add_node(**NODE)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            lose(cluster) if line.strip() == "lose" else cluster.add_node(**NODE)
            print("done", flush=True)
    finally:
        cluster.shutdown()


def lose(cluster: Cluster) -> None:
    """All processes of a node at once, as when its machine loses power."""
    node = next(iter(cluster.worker_nodes))
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.send_signal(signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    serve(num_nodes=2)
