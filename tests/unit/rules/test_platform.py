"""The profile's front matter and overrides, as the server reads them."""

import pytest

from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.rules.platform import parse_profile, profile_sections
from tests.unit.rules.samples import PLATFORM, ROOT

TEXT = (ROOT / "profiles" / "vastai.md").read_text(encoding="utf-8")


def test_the_front_matter_becomes_typed_values() -> None:
    assert PLATFORM.meter_stop_verb == "destroy"
    assert PLATFORM.meter_stop_irreversible is True
    assert PLATFORM.spot_grace_s == 0
    assert PLATFORM.detach_primitive == "tmux"
    assert PLATFORM.free_egress == "host-dependent"
    assert PLATFORM.boot_hook == "/root/onstart.sh"


def test_the_overrides_are_the_values_of_section_8() -> None:
    assert PLATFORM.overrides == {
        "DATA_DIR": "/workspace",
        "DURABLE_DIR": "off-box",
        "PROXY_HOOK": "",
        "CRED_FILE": "",
        "SCRATCH": "latest.pth periodic-*.pth *.tmp ~/.cache/huggingface/hub/blobs",
        "HF_HOME": "/workspace/.cache/huggingface",
        "DETACH": "/root/onstart.sh",
    }


def test_sections_are_found_by_number_and_lose_nothing() -> None:
    found = profile_sections(TEXT)

    assert list(found) == [str(number) for number in range(9)]
    assert found["5"].startswith("## 5. Teardown and billing")
    assert TEXT.endswith("".join(found.values()))


def test_another_profile_changes_what_the_rules_say() -> None:
    other = parse_profile(TEXT.replace("meter_stop_verb: destroy", "meter_stop_verb: terminate"))

    assert other.meter_stop_verb == "terminate"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("---\nplatform", "platform"),
        ("spot_grace: ~0s", "spot_grace: soon"),
        ("shared_fs: false", "shared_filesystem: false"),
        ("kind: ssh-rental", "kind: [a"),
        ("## 8. Script overrides", "## 8. Nothing\n## 9. Script overrides\n```sh"),
    ],
)
def test_a_damaged_profile_is_refused(old: str, new: str) -> None:
    text = TEXT.replace(old, new, 1)
    if "## 8" in old:
        text = text.replace("```bash\n# Data and", "```sh\n# Data and")

    with pytest.raises(ConfigError):
        parse_profile(text)
