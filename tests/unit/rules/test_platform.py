"""The profile's front matter and overrides, as the server reads them."""

import pytest

from remote_gpu_trainer.errors import ConfigError, UnsafePath
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.platform import parse_profile, profile_sections
from remote_gpu_trainer.rules.registry import check
from remote_gpu_trainer.services.layout import boot_script, layout_of
from tests.unit.rules import samples
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


def test_what_a_refusal_says_comes_from_the_profile_and_not_from_the_code() -> None:
    other = parse_profile(
        TEXT.replace("meter_stop_verb: destroy", "meter_stop_verb: terminate")
        .replace("spot_grace: ~0s", "spot_grace: ~120s")
        .replace("detach_primitive: tmux", "detach_primitive: zellij")
        .replace("DETACH='/root/onstart.sh'", "DETACH='/opt/boot/start.sh'")
        .replace("DATA_DIR=/workspace", "DATA_DIR=/mnt/data")
        .replace("HF_HOME=/workspace/.cache/huggingface", "HF_HOME=/mnt/data/hub")
        .replace("SCRATCH='latest.pth", "SCRATCH='old-*.bin")
        .replace("DURABLE_DIR=off-box", "DURABLE_DIR=/mnt/kept")
    )
    stop = {
        one.rule: one for one in check(Stage.STOP, samples.stop(platform=other, results_home=False, unsaved_bytes=1))
    }
    zellij = samples.start(platform=other, job=samples.job(argv=("zellij", "run")), checkpoint_bytes=1 << 40)
    start = {one.rule: one for one in check(Stage.START, zellij)}
    rent = {one.rule: one for one in check(Stage.RENT, samples.bid(platform=other, has_boot_hook=False))}
    small = check(Stage.RENT, samples.rent(platform=other, disk_need_gib=90.0))

    assert "only terminate ends it" in stop["VAST1"].seen
    assert "only what is /mnt/kept outlives terminate" in stop["VAST33"].fix
    assert "runs under zellij" in start["VAST41"].seen
    assert "/opt/boot/start.sh starts it again" in start["VAST41"].fix
    assert "prune old-*.bin" in start["U6"].fix
    assert "about 120 s of notice" in rent["VAST4"].seen
    assert "/opt/boot/start.sh" in rent["VAST4"].seen
    assert "/mnt/data/hub" in small[0].fix


def test_the_boot_script_and_every_path_on_the_box_follow_the_profile() -> None:
    other = parse_profile(
        TEXT.replace("DATA_DIR=/workspace", "DATA_DIR=/mnt/data").replace("PROXY_HOOK=''", "PROXY_HOOK=/etc/turbo")
    )
    layout, script = layout_of(other), boot_script(other, (ROOT / "scripts" / "onstart.sh").read_text("utf-8"))

    assert "rgt_dir=/mnt/data/.rgt\n[ -r /etc/turbo ] && . /etc/turbo" in script
    assert "/workspace" not in script
    assert (layout.state, layout.code, layout.results) == ("/mnt/data/.rgt", "/mnt/data/run", "/mnt/data/out")
    layout.demand_ours("/mnt/data/run", "path", "Nothing was done.")


@pytest.mark.parametrize(
    "path", ["/workspace", "/workspace/", "/workspace/.rgt/x", "/workspace/../etc", "/workspacex/a", "run", "/etc", ""]
)
def test_a_path_outside_the_data_disk_or_in_our_state_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match=r"Nothing was done\.$"):
        layout_of(PLATFORM).demand_ours(path, "path", "Nothing was done.")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("---\nplatform", "platform"),
        ("spot_grace: ~0s", "spot_grace: soon"),
        ("shared_fs: false", "shared_filesystem: false"),
        ("kind: ssh-rental", "kind: [a"),
        ("DATA_DIR=/workspace", "DATA_DIR=workspace"),
        ('CRED_FILE=""', "CRED_FILE=/root/key"),
        ("PROXY_HOOK=''", "PROXY=''"),
        ("## 8. Script overrides", "## 8. Nothing\n## 9. Script overrides\n```sh"),
    ],
)
def test_a_damaged_profile_is_refused(old: str, new: str) -> None:
    text = TEXT.replace(old, new, 1)
    if "## 8" in old:
        text = text.replace("```bash\n# Data and", "```sh\n# Data and")

    with pytest.raises(ConfigError):
        parse_profile(text)
