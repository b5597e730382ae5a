"""The goals: how much of L0 a workload may cost. A goal is one number that must not be passed; units last in its name."""

from dataclasses import dataclass
from statistics import median

from process import Used

GIB = 1 << 30
PROGRAM_BYTES = 60 << 20
# Spark's best W2 took 77 CPU seconds where L0 of the batch took 1.7, on one machine; a tenth of that.
W2_CPU_RATIO_MAX = 77 / 1.7 / 10


@dataclass(frozen=True)
class Goal:
    """Something measured, and what it may be at most."""

    name: str
    unit: str
    value: float
    limits: dict[str, float]  # by what sort of limit: required, must, aim

    def line(self) -> str:
        judged = [f"{sort} ≤ {limit:.3g}: {'holds' if self.value <= limit else 'MISSED'}" for sort, limit in self.limits.items()]
        return f"{self.name}: {self.value:.3g} {self.unit}    {'    '.join(judged)}"

    def as_json(self) -> dict:
        limits = {sort: {"at_most": limit, "holds": self.value <= limit} for sort, limit in self.limits.items()}
        return {"name": self.name, "unit": self.unit, "value": self.value, "limits": limits}


def ratio(runs: list[Used], of: list[Used], what: str = "wall_s") -> float:
    """Median of the ratios of runs that stood beside each other."""
    return median(getattr(a, what) / max(getattr(b, what), 1e-9) for a, b in zip(runs, of))


def allowed_bytes(memory_limit_bytes: int) -> float:
    """The peak that a limit allows: a tenth more, and what the program takes itself."""
    return memory_limit_bytes * 1.1 + PROGRAM_BYTES


def judge(workload: str, partition: str, memory_limit_bytes: int, samples: dict[str, list[Used]]) -> list[Goal]:
    etl, l0 = samples["etl"], samples["L0"]
    goals = []
    if workload == "w1":
        limits = {"required": 2.5, "must": 1.8, "aim": 1.2} if partition == "day+bucket" else {"must": 1.4, "aim": 1.05}
        goals.append(Goal(f"W1, {partition}", "× L0", ratio(etl, l0), limits))
        if "DuckDB" in samples:
            # As a share of DuckDB's time, so that less is better as everywhere.
            share = ratio(etl, samples["DuckDB"])
            goals.append(Goal("W1, share of DuckDB's time", "", share, {"must": 1 / 1.8, "aim": 1 / 2.5}))
    if workload.startswith("w6") and "DuckDB" in samples:
        name = f"{workload.upper()}, share of DuckDB's time"
        goals.append(Goal(name, "", ratio(etl, samples["DuckDB"]), {"must": 1.5, "aim": 1.0}))
    if workload in ("w2", "w4"):
        rewrite = samples.get("L0 of the rewritten")
        rewritten_s = [used.wall_s for used in rewrite] if rewrite else [0.0] * len(etl)
        allowed = [8 * unit.wall_s + more for unit, more in zip(l0, rewritten_s)]
        share = median(used.wall_s / limit for used, limit in zip(etl, allowed))
        name = f"{workload.upper()}, share of 8 × L0 of the batch + L0 of what was rewritten"
        goals.append(Goal(name, "", share, {"required": 1.0}))
        goals.append(Goal(f"{workload.upper()}, batch alone", "× L0", ratio(etl, l0), {"must": 4.0, "aim": 2.5}))
        goals.append(Goal(f"{workload.upper()}, CPU", "× L0", ratio(etl, l0, "cpu_s"), {"must": W2_CPU_RATIO_MAX}))
    if workload == "w7":
        goals.append(Goal("W7, start to commit, median", "s", median(used.wall_s for used in etl), {"must": 1.0, "aim": 0.2}))
    peak = max(used.peak_rss_bytes for used in etl) / GIB
    limits = {"within the memory limit": memory_limit_bytes / GIB}
    if workload.startswith("w6"):
        limits = {"must": allowed_bytes(memory_limit_bytes) / GIB}
    goals.append(Goal("peak RSS", "GiB", peak, limits | ({"must": 2.0, "aim": 0.8} if workload == "w1" else {})))
    return goals
