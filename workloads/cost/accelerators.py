"""Peak speeds of accelerators, from their data sheets."""

from __future__ import annotations

# Dense bf16 FLOPs per second of one device, by what its name contains (NVIDIA's data sheets).
# The first match counts, so the longer name comes first.
PEAK_FLOPS_PER_SECOND = {
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "GB200": 2500e12,
    "B200": 2250e12,
}
