"""Finding the run that a caller means."""

from remote_gpu_trainer.domain.ids import InstanceId, LeaseId
from remote_gpu_trainer.domain.runs import LeaseRecord
from remote_gpu_trainer.errors import UnknownRun, WrongPhase
from remote_gpu_trainer.ports import Journal


def find_run(journal: Journal, target: str | int) -> LeaseRecord:
    """The lease of that name, or the newest lease of that instance id.

    Raises:
        UnknownRun: there is none.
    """
    text = str(target).strip()
    record = journal.lease(LeaseId(text))
    if record is None and text.isdigit():
        record = journal.lease_of_instance(InstanceId(int(text)))
    if record is None:
        raise UnknownRun(f"the journal knows no run {text[:60]!r}", effect="Nothing was done.")
    return record


def instance_of(record: LeaseRecord) -> InstanceId:
    """The instance of a lease.

    Raises:
        WrongPhase: none was ever bound to it.
    """
    if record.instance_id is None:
        raise WrongPhase(
            f"run {record.lease.id} has no instance (phase {record.phase.value})",
            next_step="call poll_status: it reconciles the journal with the account",
            effect="Nothing was done.",
        )
    return record.instance_id
