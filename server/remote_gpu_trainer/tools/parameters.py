"""The parameters that several tools share, each described once."""

from typing import Annotated, Literal

from pydantic import Field

Target = Annotated[str, Field(description="Run name or instance id")]
ApprovalIdGiven = Annotated[str | None, Field(description="From the plan")]
TokenGiven = Annotated[str | None, Field(description="What the person read to you; never guess")]
Acknowledge = Annotated[list[str], Field(description="Rule ids accepted after telling the person, e.g. VAST8")]
Rental = Literal["on-demand", "interruptible"]
Bid = Annotated[float | None, Field(description="GPU price per hour for an interruptible", gt=0)]
CheckpointMinutes = Annotated[float | None, Field(description="Minutes between checkpoints", gt=0)]
Resumes = Annotated[bool | None, Field(description="The command continues from its latest checkpoint")]
Hours = Annotated[float, Field(description="Expected hours of the whole job", gt=0)]
DiskGiB = Annotated[float, Field(description="Disk; cannot grow later", ge=10)]
Gib = Annotated[float, Field(ge=0)]
