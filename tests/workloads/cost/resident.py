"""Peak resident memory of training steps, each run in a process of its own: run as a script.

Reads run configurations, a JSON list, from stdin, the first a small one to begin with; prints the
bytes that the steps of each other one held at their widest, beside what was there before. The
processes are forks of this one, which has imported torch and computed nothing.
"""

import json
import os
import sys
from pathlib import Path

import torch

from workloads.config.run import RunConfig
from workloads.nn.self_guided import MergedGuides, set_guides
from workloads.optim.build import build_optimizer
from workloads.optim.update import use_gradients
from workloads.training import parallel, phases

CPU = torch.device("cpu")


def resident(field: str) -> int:
    """Bytes of this process: now (`VmRSS`), or at the widest (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def steps(config: RunConfig, count: int = 2) -> None:
    """Take optimizer steps as the trainer does, each of one micro-batch of random tokens."""
    with parallel.group(config, CPU):
        model = phases.build_model(config.phases[0])
        network = parallel.parallelize(model, config, CPU)
        offloads = config.runtime.offload == "optimizer"
        optimizer = build_optimizer(model, config.optimizer, on_cpu=offloads)
        tokens = torch.randint(config.model.vocab_size, (1, config.model.block_size + 1))
        for _ in range(count):
            set_guides(model, 0, config)
            guides = MergedGuides(model)
            guides.begin(torch.autocast("cpu", enabled=False))
            guides.before_last()
            network(tokens[:, :-1], tokens[:, 1:]).backward()
            guides.end()
            use_gradients(model, optimizer.step, 1.0)


def peak(config: RunConfig, first: RunConfig) -> int:
    """The bytes that steps add to a fork of this process, once it has taken those of `first`."""
    reading, writing = os.pipe()
    if not os.fork():
        try:
            steps(first)  # What the first step loads stays: libraries, and what they keep.
            Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here.
            before = resident("VmRSS")
            steps(config)
            os.write(writing, str(resident("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(writing)
    with os.fdopen(reading) as answer:
        return int(answer.read())


if __name__ == "__main__":
    torch.set_num_threads(1)
    first, *rest = [RunConfig.model_validate(each) for each in json.load(sys.stdin)]
    print(json.dumps([peak(each, first) for each in rest]))
