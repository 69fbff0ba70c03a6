"""Files over SFTP: all of the box, and nothing outside it."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_gpu_trainer.emulator.box.rooted import Rooted
from tests.unit.emulator_box.conftest import Bench, MakeBench


def test_a_file_goes_in_and_comes_back(served: Bench, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "here").write_bytes(content)
    files = served.connect().open_sftp()
    files.mkdir("/workspace/sub")
    files.put(str(tmp_path / "here"), "/workspace/sub/there")
    assert (served.workspace / "sub/there").read_bytes() == content
    files.get("/workspace/sub/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    assert served.run("wc -c < /workspace/sub/there").out.strip() == "5000000"


def test_paths_times_modes_and_links_are_what_the_box_sees(bench: Bench) -> None:
    files = bench.connect().open_sftp()
    bench.run("echo x > /workspace/file; ln -s file /workspace/link; touch -d @1000000000 /workspace/file")
    assert files.normalize(".") == "/root"
    assert files.normalize("/workspace/../workspace/./link") == "/workspace/file"
    assert files.readlink("/workspace/link") == "file"
    assert stat.S_ISLNK(files.lstat("/workspace/link").st_mode or 0)
    assert files.stat("/workspace/link").st_mtime == 1_000_000_000
    files.chmod("/workspace/file", 0o640)
    files.truncate("/workspace/file", 1)
    files.utime("/workspace/file", (5, 6))
    seen = files.stat("/workspace/file")
    assert (stat.S_IMODE(seen.st_mode or 0), seen.st_mtime, seen.st_size) == (0o640, 6, 1)
    assert sorted(files.listdir("/workspace")) == ["file", "link"]
    files.rename("/workspace/file", "/workspace/moved")
    with pytest.raises(OSError, match="Failure"):
        files.rename("/workspace/moved", "/workspace/link")
    files.posix_rename("/workspace/moved", "/workspace/link")
    files.remove("/workspace/link")
    with pytest.raises(FileNotFoundError):
        files.stat("/workspace/link")


def test_no_link_and_no_dots_lead_out_of_the_box(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    for name, target in {"abs": str(secret), "rel": "../../../../../../../../../.." + str(secret), "up": ".."}.items():
        (bench.workspace / name).symlink_to(target)
    files = bench.connect().open_sftp()
    for path in ("/workspace/abs", "/workspace/rel", f"/../../..{secret}", str(secret), f"/workspace/up/..{secret}"):
        with pytest.raises(FileNotFoundError):
            files.open(path).read()
        with pytest.raises(FileNotFoundError):
            files.stat(path)
    assert sorted(files.listdir("/workspace/up")) == sorted(files.listdir("/"))
    files.symlink("/tmp", "/workspace/tmp")
    with files.open("/workspace/tmp/new", "w") as file:
        file.write("inside")
    assert (bench.box.root / "tmp/new").read_text() == "inside"


def test_a_full_disk_refuses_what_does_not_fit_and_takes_what_does(make_bench: MakeBench) -> None:
    for isolation in ("auto", "none"):
        bench = make_bench(isolation, disk_bytes=2_000_000)
        bench.start()
        files = bench.connect().open_sftp()
        with pytest.raises(OSError, match="Failure"), files.open("/workspace/big", "w") as file:
            file.set_pipelined(False)
            for _ in range(100):
                file.write(bytes(30_000))
        assert bench.box.disk_used_bytes <= 2_000_000
        files.remove("/workspace/big")
        said = bench.run("head -c 3000000 /dev/zero > /workspace/big; echo status $?")
        assert "status 0" not in said.out
        assert "too large" in said.err
        bench.run("rm /workspace/big")
        assert bench.run("head -c 1000000 /dev/zero > /workspace/fits; echo $?").out == "0\n"


names = st.sampled_from(["a", "b", "..", ".", "loop", "out", "deep", "abs", ""])


@settings(max_examples=150)
@given(parts=st.lists(names, max_size=9), links=st.dictionaries(names, st.lists(names, max_size=6), max_size=5))
def test_any_path_over_any_links_stays_below_the_root(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], links: dict[str, list[str]]
) -> None:
    outside = tmp_path_factory.mktemp("outside", numbered=True)
    root = outside / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/deep").write_text("inside")
    for name in ("a", "b", "deep", "out"):
        (outside / name).write_text("outside")
    for name, target in links.items():
        if name not in ("", ".", "..") and "/".join(target) and not (root / name).exists():
            (root / name).symlink_to("/".join(target))
    rooted = Rooted(os.open(root, os.O_RDONLY))
    try:
        fd = rooted.open("/".join(parts), os.O_RDONLY, 0)
    except OSError as problem:
        assert problem.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
        return
    finally:
        rooted.close()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        assert os.read(fd, 100) == b"inside"
    os.close(fd)
