"""The GPU models of the market, with figures in the platform's units."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuModel:
    """One model: ``ram_mib`` in MiB, ``price`` in USD/h for one GPU on demand, ``tflops`` FP32, ``mem_bw`` in GB/s."""

    name: str
    ram_mib: int
    price: float
    dlperf: float
    tflops: float
    mem_bw: float
    compute_cap: int
    power_w: int
    weight: int
    """How common the model is on the market."""
    chunks: tuple[int, ...]
    """How many GPUs machines with this model have."""
    nvlink: float = 0.0


MODELS = (
    GpuModel("RTX 3060", 12288, 0.06, 11.0, 12.7, 360.0, 860, 170, 3, (1, 2, 4)),
    GpuModel("RTX 3090", 24576, 0.16, 35.0, 35.6, 936.0, 860, 350, 6, (1, 2, 4, 8)),
    GpuModel("RTX 4080", 16376, 0.21, 44.0, 48.7, 716.0, 890, 320, 2, (1, 2)),
    GpuModel("RTX 4090", 24564, 0.34, 82.0, 82.6, 1008.0, 890, 450, 9, (1, 2, 4, 8)),
    GpuModel("RTX 5090", 32607, 0.48, 120.0, 104.8, 1792.0, 1200, 575, 4, (1, 2, 4, 8)),
    GpuModel("RTX A4000", 16376, 0.09, 18.0, 19.2, 448.0, 860, 140, 2, (1, 4)),
    GpuModel("RTX A5000", 24564, 0.18, 27.0, 27.8, 768.0, 860, 230, 2, (1, 2, 4)),
    GpuModel("RTX A6000", 49140, 0.42, 39.0, 38.7, 768.0, 860, 300, 3, (1, 2, 4)),
    GpuModel("L40S", 46068, 0.62, 88.0, 91.6, 864.0, 890, 350, 2, (1, 2, 4)),
    GpuModel("Tesla T4", 15360, 0.12, 8.0, 8.1, 320.0, 750, 70, 1, (1,)),
    GpuModel("Tesla V100", 16384, 0.17, 21.0, 14.1, 897.0, 700, 250, 1, (1, 4)),
    GpuModel("A100 PCIE", 40960, 0.72, 78.0, 19.5, 1555.0, 800, 250, 2, (1, 2, 4)),
    GpuModel("A100 SXM4", 81920, 0.98, 92.0, 19.5, 2039.0, 800, 400, 3, (2, 4, 8), 600.0),
    GpuModel("H100 SXM", 81559, 2.05, 210.0, 66.9, 3350.0, 900, 700, 3, (2, 4, 8), 900.0),
    GpuModel("H100 NVL", 95830, 1.95, 190.0, 60.0, 3938.0, 900, 400, 1, (1, 2), 600.0),
    GpuModel("H200", 143771, 2.75, 230.0, 66.9, 4800.0, 900, 700, 1, (8,), 900.0),
)

BY_NAME = {model.name: model for model in MODELS}
