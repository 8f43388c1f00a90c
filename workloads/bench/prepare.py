"""How fast `data prepare` is, beside the plain loop that anyone would write, and datatrove.

Every contender reads one JSONL file and writes its tokens, as a process of its own on as many
threads as it has workers: what is timed is what a person waits for. All take turns in each round.
datatrove needs an interpreter of its own, since it is not among this platform's packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels.bench.provenance import checkout
from kernels.machine import cpu_name, software
from kernels.timing import Ratio
from workloads.data.corpora.table import CORPORA
from workloads.data.preparing.training import train

VOCABULARY = 32_000
COPIES = 12  # of the bundled text, so that starting a process is little of the time
LEAST_PER_PROCESS, LEAST_WITH_TWO = 0.9, 1.8

PLAIN = """
import json, sys
import numpy
from tokenizers import Tokenizer
source, tokenizer, out = sys.argv[1:]
library = Tokenizer.from_file(tokenizer)
with open(source, "rb") as lines, open(out, "wb") as file:
    for line in lines:
        ids = library.encode(json.loads(line)["text"], add_special_tokens=False).ids
        file.write(numpy.array([*ids, 0], "<u2").tobytes())
"""
DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
folder, name, tokenizer, out = sys.argv[1:]
steps = [
    JsonlReader(folder, glob_pattern=name),
    DocumentTokenizer(out, tokenizer, eos_token="</s>", shuffle_documents=False),
]
LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=out + "/logs").run()
"""


@dataclass(frozen=True)
class Result:
    """Seconds of each round by contender, and the tokens that each of them writes."""

    tokens: int
    samples: dict[str, list[float]]

    def speed(self, contender: str, baseline: str) -> Ratio:
        """Return the time of the baseline over that of the contender."""
        return Ratio.of(self.samples[baseline], self.samples[contender])

    @property
    def passes(self) -> bool:
        one = self.speed("prepare, 1 process", "plain loop").median
        two = self.speed("prepare, 2 processes", "prepare, 1 process").median
        return one >= LEAST_PER_PROCESS and two >= LEAST_WITH_TWO


def measure(
    folder: Path, rounds: int, datatrove: Path | None, show: Callable[[str], None]
) -> Result:
    """Time all contenders in turn on the bundled text, and check that they write the same tokens.

    `folder` is for their files; `datatrove` is an interpreter that has it.
    """
    show("writing the text and training a tokenizer")
    source, tokenizer = _text(folder), folder / "tokenizer.json"
    train([str(source)], VOCABULARY, tokenizer)
    contenders = _contenders(source, tokenizer, folder, datatrove)
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    wanted = np.empty(0, "<u2")
    for number in range(rounds):
        for name, (command, out) in contenders.items():
            show(f"round {number + 1} of {rounds}: {name}")
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "out").mkdir()
            samples[name].append(_seconds(command))
            tokens = np.fromfile(next(folder.glob(out)), "<u2")
            if name == "plain loop":
                wanted = tokens
            elif not np.array_equal(tokens, wanted):
                raise AssertionError(f"{name} writes other tokens than the plain loop")
    return Result(wanted.size, samples)


def table(result: Result) -> str:
    """Format the results; a ratio is its median with the smallest and the largest round."""
    lines = [f"{'':<24}{'tokens/s':>12}  speed / plain loop"]
    for name, seconds in result.samples.items():
        speed = result.tokens / np.median(seconds)
        lines.append(f"{name:<24}{speed:>12,.0f}  {result.speed(name, 'plain loop')}")
    two = result.speed("prepare, 2 processes", "prepare, 1 process")
    lines.append(f"2 processes / 1 process {two}; at least {LEAST_WITH_TWO} is wanted")
    if "datatrove" in result.samples:
        lines.append(f"prepare / datatrove     {result.speed('prepare, 1 process', 'datatrove')}")
    return "\n".join(lines)


def record(result: Result) -> dict[str, Any]:
    """Return the raw samples and what they were measured on, ready for JSON."""
    return {
        "benchmark": "data prepare, JSONL to tokens",
        "cpu": cpu_name(),
        "versions": software(),
        **checkout(),
        "tokens": result.tokens,
        "samples": result.samples,
        "passes": result.passes,
    }


def _text(folder: Path) -> Path:
    path = folder / "text.jsonl"
    texts = [document.text for document in CORPORA["python-stdlib"].documents()]
    with path.open("w", encoding="utf-8") as file:
        for copy in range(COPIES):
            file.writelines(json.dumps({"text": f"{copy}\n{text}"}) + "\n" for text in texts)
    return path


def _contenders(
    source: Path, tokenizer: Path, folder: Path, datatrove: Path | None
) -> dict[str, tuple[Sequence[str], str]]:
    """Return each contender's command, and the pattern of the file that it writes."""
    out = folder / "out"
    plain = [sys.executable, "-c", PLAIN, str(source), str(tokenizer), str(out / "plain.bin")]
    prepare = [sys.executable, "-m", "workloads", "data", "prepare", str(source), "--out", str(out)]
    prepare += ["--tokenizer", str(tokenizer), "--val-fraction", "0", "--workers"]
    shard = "out/train-00000.bin"
    contenders: dict[str, tuple[Sequence[str], str]] = {
        "plain loop": (plain, "out/plain.bin"),
        "prepare, 1 process": ([*prepare, "1"], shard),
        "prepare, 2 processes": ([*prepare, "2"], shard),
    }
    if datatrove:
        script = [str(datatrove), "-c", DATATROVE, str(folder), source.name, str(tokenizer)]
        contenders["datatrove"] = ([*script, str(out)], "out/*.ds")
    return contenders


def _seconds(command: Sequence[str]) -> float:
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun
