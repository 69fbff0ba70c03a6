"""A receipt for reading: the same facts as the signed file, as Markdown and as a page that a person can keep."""

from pathlib import Path

from remote_gpu_trainer.approval.dossier import render, when
from remote_gpu_trainer.approval.keyfile import write_private
from remote_gpu_trainer.approval.receipt import Receipt
from remote_gpu_trainer.approval.visible import fenced, visible
from remote_gpu_trainer.domain.units import show_usd


def receipt_text(receipt: Receipt) -> str:
    """The receipt as Markdown: the end and its proof first, then the plan as it was approved."""
    plan, consent = receipt.plan, receipt.consent
    parts = [
        f"# Destroyed: {visible(plan.name)}",
        "\n".join(
            [
                f"- instance {plan.instance.id} of account {plan.account_id}, closed {when(receipt.closed_at)}",
                f"- approved {when(consent.granted_at)} by {consent.channel}, level {consent.assurance}, "
                f"approval {visible(consent.approval_id)}",
                f"- approver: {_approver(receipt)}",
                f"- cost by our meter {show_usd(receipt.estimated_cost)}, {_billed(receipt)}",
                *(
                    f"- absent {when(look.at)}, while the account listed {look.instances_listed} other instance(s)"
                    for look in receipt.absences
                ),
            ]
        ),
    ]
    if receipt.volumes_billing_on:
        parts.append(f"**{len(receipt.volumes_billing_on)} volume(s) go on billing:**")
        parts.append(fenced(receipt.volumes_billing_on, source="volumes as the platform names them"))
    parts.append("The plan as it was approved:")
    return "\n\n".join([*parts, render(plan)])


def write_receipt_page(receipt_file: Path, receipt: Receipt) -> Path:
    """Write the page beside the signed file that ``write_receipt`` made. It is one file without script or asset.

    Raises:
        OSError: it could not be written.
    """
    from remote_gpu_trainer.approval.pageview import document_page

    path = receipt_file.with_suffix(".html")
    content = document_page(f"Destroyed: {receipt.plan.name}", receipt_text(receipt)).encode()
    if not (path.exists() and path.read_bytes() == content):
        write_private(path, content)
    return path


def _approver(receipt: Receipt) -> str:
    if receipt.consent.approver is None:
        return "a person who typed the name, which proves no identity"
    return visible(receipt.consent.approver)


def _billed(receipt: Receipt) -> str:
    if receipt.billed_cost is None:
        return "and the platform's own charges could not be read"
    return f"by the platform's own charges {show_usd(receipt.billed_cost)}"
