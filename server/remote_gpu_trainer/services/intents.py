"""Reading what an intent keeps about its consent."""

from datetime import datetime

from remote_gpu_trainer.domain.runs import Intent

CONSENT_UNTIL = "consent_until"


def consent_until(intent: Intent) -> datetime | None:
    """Until when the consent that opened a destroy intent allows to repeat its DELETE; None when none is named."""
    text = intent.request.get(CONSENT_UNTIL)
    return datetime.fromisoformat(text) if isinstance(text, str) else None
