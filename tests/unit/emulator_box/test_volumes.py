"""Volumes in a box: they lie where they are mounted, outlive it, and show up in the next one."""

import io
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.box import BoxError
from remote_gpu_trainer.emulator.box.spec import Isolation
from tests.unit.emulator_box.conftest import Bench, MakeBench

WALLS = ["bubblewrap", "unshare", "none"]


def started(make_bench: MakeBench, isolation: Isolation, *mounts: tuple[Path, str]) -> Bench:
    bench = make_bench(isolation, mounts=mounts)
    try:
        bench.start()
    except BoxError as problem:
        if not str(problem).startswith("no isolation by"):
            raise
        pytest.skip(str(problem))
    return bench


@pytest.mark.parametrize("place", ["/data", "/workspace", "/root/kept"])
@pytest.mark.parametrize("isolation", WALLS)
def test_a_volume_takes_files_over_shell_python_and_sftp_and_gives_them_to_the_next_box(
    make_bench: MakeBench, tmp_path: Path, isolation: Isolation, place: str
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    first = started(make_bench, isolation, (volume, place))
    said = first.run(f"mkdir -p {place}/out && echo weights > {place}/out/w && cd {place} && cat out/w")
    assert (said.out, said.err) == ("weights\n", "")
    assert first.run(f"python3 -c \"open('{place}/p', 'w').write('by python')\"").status == 0
    with first.connect().open_sftp() as sftp:
        assert sorted(sftp.listdir(place)) == ["out", "p"]
        assert sftp.lstat(place).st_mode is not None
        assert sftp.normalize(f"{place}/out") == f"{place}/out"
        sftp.putfo(io.BytesIO(b"by sftp"), f"{place}/out/s")
    assert first.box.disk_used_bytes < 10_000  # it is not the box's own disk
    assert (volume / "out/s").read_bytes() == b"by sftp"

    first.stop()
    first.start()
    assert first.run(f"cat {place}/out/w").out == "weights\n"
    first.stop()
    second = started(make_bench, isolation, (volume, "/elsewhere"))
    assert second.run("cat /elsewhere/out/w /elsewhere/p").out == "weights\nby python"


def test_links_of_the_box_itself_still_lead_nowhere_else(make_bench: MakeBench, tmp_path: Path) -> None:
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    volume.mkdir()
    secret.mkdir()
    (secret / "key").write_text("of the host")
    bench = started(make_bench, "none", (volume, "/data"))
    (volume / "leak").symlink_to(secret)
    (bench.workspace / "leak").symlink_to(secret)
    with bench.connect().open_sftp() as sftp:
        for path in ("/data/leak/key", "/workspace/leak/key", "/data/../../secret/key"):
            with pytest.raises(OSError, match=r"[Nn]o such file"):
                sftp.stat(path)
        with pytest.raises(OSError, match=r"."):
            sftp.remove("/data")
    assert bench.run("test -d /data").status == 0


def test_a_volume_does_not_cover_files_where_nothing_can_be_mounted(make_bench: MakeBench, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    bench = make_bench("none", mounts=((volume, "/workspace"),))
    (bench.workspace / "mine").mkdir(parents=True)
    with pytest.raises(BoxError, match="holds files already"):
        bench.start()
    assert (bench.workspace / "mine").is_dir()
