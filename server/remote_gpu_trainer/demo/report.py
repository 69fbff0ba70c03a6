"""What the demo writes down: each step, and the figures that show whether the road held."""

from pydantic import BaseModel, Field


class Step(BaseModel):
    """One tool call."""

    tool: str
    outcome: str
    seconds: float


class Refusal(BaseModel):
    """One attempt to destroy that was refused, and whether the instance was still there afterwards."""

    attempt: str
    code: str
    said: str
    instance_still_there: bool


class Report(BaseModel):
    """The whole demo. ``failures`` is empty exactly when everything happened that should."""

    steps: list[Step] = Field(default_factory=list[Step])
    preemptions: int = 0
    preempted_at_step: int | None = None
    resumed_from_step: int | None = None
    final_step: int | None = None
    test_accuracy: float | None = None
    files_verified: int = 0
    lowest_level: str | None = None
    refusals: list[Refusal] = Field(default_factory=list[Refusal])
    destroyed: bool = False
    meter_usd_per_hour_after: float | None = None
    cost_usd: float | None = None
    seconds: float = 0.0
    consent: str = "a scripted stand-in typed the run's name; on a real run this is a person"
    failures: list[str] = Field(default_factory=list[str])

    def judge(self) -> None:
        """Compare with what the road must show, one sentence for each thing that did not happen."""
        wanted = {
            "the machine was not preempted": self.preemptions >= 1,
            "training did not resume from a checkpoint": (self.resumed_from_step or 0) > 0,
            "training did not finish": self.final_step is not None and self.final_step > (self.resumed_from_step or 0),
            "the model did not learn": (self.test_accuracy or 0.0) > 0.9,
            "nothing was verified": self.files_verified > 0,
            "the proof does not reach LOADS": self.lowest_level in {"LOADS", "MEETS_EXPECTATIONS"},
            "fewer than three attempts to destroy were refused": len(self.refusals) >= 3,
            "an attempt that was refused took the instance": all(one.instance_still_there for one in self.refusals),
            "the instance was not destroyed after consent": self.destroyed,
            "the meter is not at rest": self.meter_usd_per_hour_after == 0.0,
            "the cost is unknown": self.cost_usd is not None,
        }
        self.failures.extend(said for said, happened in wanted.items() if not happened)
