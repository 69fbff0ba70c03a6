"""What a program finds inside a box: the machine of the offer, a Python that trains, and its own folders."""

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.emulator.box import BoxError
from remote_gpu_trainer.emulator.box.lent.paths import PathMap
from remote_gpu_trainer.emulator.box.spec import Isolation
from tests.unit.emulator_box.conftest import Bench, MakeBench, wait_until

TRAINING = """
import os, subprocess, sys
from pathlib import Path
import numpy, sklearn.datasets, safetensors.numpy
out = Path("/workspace") / "out"
out.mkdir(parents=True, exist_ok=True)
digits = sklearn.datasets.load_digits()
with open(out / "new.tmp", "wb") as file:
    file.write(safetensors.numpy.save({"w": digits.data[:2].astype("float32")}))
os.replace(out / "new.tmp", out / "model.safetensors")
assert os.path.exists("/workspace/out/model.safetensors")
child = subprocess.run(["sh", "-c", "ls /workspace/out"], capture_output=True, text=True, cwd="/workspace")
print(sorted(os.listdir("/workspace/out")), child.stdout.strip(), numpy.__name__)
"""


def test_python_trains_inside(bench: Bench) -> None:
    bench.run("cat > /workspace/train.py", stdin=TRAINING.encode())
    said = bench.run("cd /workspace && python3 train.py")
    assert (said.out, said.status) == ("['model.safetensors'] model.safetensors numpy\n", 0), said.err
    assert (bench.workspace / "out/model.safetensors").stat().st_size > 64


def test_python_is_there_under_both_names(bench: Bench) -> None:
    said = bench.run("python3 -c 'import sys; print(sys.prefix)'; python -c 'import sys; print(sys.prefix)'")
    assert len(set(said.out.split())) == 1, said.err


def test_a_pipeline_ends_with_its_reader(bench: Bench) -> None:
    said = bench.run("sh -c 'yes | head -1'; sh -c 'yes; echo $? >&2' | head -1")
    assert (said.out, said.err) == ("y\ny\n", "141\n")


def test_nvidia_smi_tells_the_offer(bench: Bench) -> None:
    query = "nvidia-smi --query-gpu=index,name,driver_version,memory.total --format=csv"
    lines = bench.run(f"{query}; {query},noheader,nounits").out.splitlines()
    assert lines == [
        "index, name, driver_version, memory.total [MiB]",
        "0, RTX 4090, 550.54.15, 24564 MiB",
        "1, RTX 4090, 550.54.15, 24564 MiB",
        "0, RTX 4090, 550.54.15, 24564",
        "1, RTX 4090, 550.54.15, 24564",
    ]
    listed = bench.run("nvidia-smi -L").out.splitlines()
    assert [re.sub(r"[0-9a-f]{8}-.*", "", line) for line in listed] == [
        "GPU 0: RTX 4090 (UUID: GPU-",
        "GPU 1: RTX 4090 (UUID: GPU-",
    ]
    table = bench.run("nvidia-smi").out
    assert {len(line) for line in table.splitlines()[1:] if line} == {79}
    assert "CUDA Version: 12.4" in table
    assert table.count("24564MiB") == 2
    wrong = bench.run("nvidia-smi --query-gpu=nonsense --format=csv")
    assert (wrong.status, "not a valid field" in wrong.out) == (2, True)


def test_df_tells_the_rented_disk(bench: Bench) -> None:
    (bench.workspace / "filler").write_bytes(bytes(100 << 20))
    bench.box.disk_used_bytes  # noqa: B018  # has it measured
    wait_until(lambda: " 924" in bench.run("df -BM /workspace | tail -1").out, "df has seen it")
    fields = bench.run("df -h / | tail -1").out.split()
    assert (fields[0], fields[1], fields[-1]) == ("overlay", "1.0G", "/")
    assert bench.run("df --output=avail -B1 | tail -1").out.strip().isdigit()


@pytest.mark.parametrize("isolation", ["bubblewrap", "unshare"])
def test_an_isolated_box_sees_no_other_processes_homes_or_states(
    make_bench: MakeBench, tmp_path: Path, isolation: str
) -> None:
    bench = make_bench(isolation)
    try:
        bench.start()
    except BoxError as problem:
        pytest.skip(str(problem))
    assert bench.box.isolation_in_force.startswith(isolation)
    (tmp_path / "secret").write_text("of the host")
    assert bench.run(f"cat {tmp_path}/secret").status != 0
    assert bench.run("ls /home; ls -A /root | grep -v -e onstart.sh -e .ssh -e .pyenv").out == ""
    assert bench.run("hostname").out == "a1b2c3\n"
    assert len(bench.run("ls -d /proc/[0-9]*").out.split()) < 10
    assert bench.run("echo x > /usr/bin/evil").status != 0
    assert bench.run("mount --bind /tmp /mnt").status != 0
    assert bench.run("cat /proc/1/environ | tr '\\0' '\\n' | grep -c RGT_EMULATOR_BOX").out == "1\n"
    assert "numpy" in bench.run("python3 -c 'import numpy; print(numpy.__name__)'").out
    assert bench.connect().open_sftp().listdir("/home") == []


def test_plain_folders_carry_scripts_that_name_the_boxs_paths(make_bench: MakeBench) -> None:
    bench = make_bench("none", onstart="mkdir -p /workspace/.rgt\nsh /workspace/.rgt/boot.sh || echo no boot yet")
    bench.start()
    wait_until(lambda: "no boot yet" in bench.box.container_log(), "onstart has run")
    boot = 'd=/workspace/.rgt\necho "arg $1" > $d/said\nnohup setsid python3 $d/job.py /workspace/x >>$d/log 2>&1 &\n'
    bench.run("cat > /workspace/.rgt/boot.sh", stdin=boot.encode())
    bench.run("cat > /workspace/.rgt/job.py", stdin=b"import sys; open('/workspace/done','w').write(sys.argv[1])")
    bench.stop()
    bench.start()
    wait_until((bench.workspace / "done").exists, "the job ran")
    assert (bench.workspace / "done").read_text() == "/workspace/x"
    assert (bench.workspace / ".rgt/said").read_text() == "arg \n"
    log = bench.box.container_log()
    assert str(bench.box.root) not in log
    assert "/workspace/.rgt/boot.sh" in log


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_boxes_do_not_share_a_tmux_server(make_bench: MakeBench, isolation: Isolation) -> None:
    one, two = make_bench(isolation), make_bench(isolation)
    one.start()
    two.start()
    assert one.run("tmux -f /dev/null new-session -d -s mine 'sleep 600'").status == 0
    assert one.run("tmux list-sessions -F '#{session_name}'").out == "mine\n"
    assert two.run("tmux list-sessions").status != 0


def test_errors_of_plain_folders_name_the_boxs_paths(make_bench: MakeBench) -> None:
    bench = make_bench("none")
    bench.start()
    said = bench.run("cat /workspace/absent /root/absent")
    assert "/workspace/absent" in said.err
    assert str(bench.box.root) not in said.err


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_a_tar_stream_leaves_the_box_byte_for_byte(bench: Bench) -> None:
    (bench.workspace / "log").write_text(f"a line that names {bench.box.root}/workspace/x\n")
    channel = bench.connect().get_transport().open_session()
    channel.exec_command("tar -C /workspace -cf - log")
    stream = channel.makefile("rb").read()
    assert str(bench.box.root).encode() in stream
    assert channel.recv_exit_status() == 0


def test_a_stopped_boxs_disk_answers_ls_rm_and_du_and_nothing_outside(bench: Bench, tmp_path: Path) -> None:
    bench.run("mkdir /workspace/out; echo 12345 > /workspace/out/file; touch /workspace/gone")
    bench.stop()
    assert bench.box.run_command(["ls", "-1", "/workspace"]) == "gone\nout\n"
    assert bench.box.run_command(["rm", "/workspace/gone"]) == ""
    assert "/workspace/out" in bench.box.run_command(["du", "-b", "/workspace"])
    (tmp_path / "secret").write_text("x")
    (bench.workspace / "leak").symlink_to(tmp_path)
    assert "secret" not in bench.box.run_command(["ls", "/workspace/leak/"])
    assert "unrecognized" in bench.box.run_command(["ls", "-lL", "/workspace"])
    assert "unrecognized" in bench.box.run_command(["du", f"--files0-from={tmp_path}/secret"])
    assert "No such file" in bench.box.run_command(["rm", "/workspace/leak/secret"])
    assert (tmp_path / "secret").exists()
    assert bench.box.run_command(["rm", "/workspace/leak"]) == ""
    assert "refusing" in bench.box.run_command(["rm", "-rf", "/workspace/.."])
    with pytest.raises(BoxError, match="only du, ls, rm"):
        bench.box.run_command(["cat", "/etc/passwd"])


MAP = PathMap("/srv/boxes/7", keep=("/root/.venv", "/tmp/lent"))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ls /workspace", "ls /srv/boxes/7/workspace"),
        ("python3 a.py --root=/workspace/out", "python3 a.py --root=/srv/boxes/7/workspace/out"),
        ("echo x >/root/x 2>'/tmp/e'", "echo x >/srv/boxes/7/root/x 2>'/srv/boxes/7/tmp/e'"),
        ("tar -C/workspace -x", "tar -C/srv/boxes/7/workspace -x"),
        ("PATH=/a:/root/bin:$PATH", "PATH=/a:/srv/boxes/7/root/bin:$PATH"),
        ("cat /etc/ssh/k.pub /etc/passwd", "cat /srv/boxes/7/etc/ssh/k.pub /etc/passwd"),
        ("/root/.venv/bin/python /tmp/lent/x", "/root/.venv/bin/python /tmp/lent/x"),
        ("ls /srv/boxes/7/workspace", "ls /srv/boxes/7/workspace"),
        (
            "ls a/workspace /data/workspace $D/workspace ${D}/root",
            "ls a/workspace /data/workspace $D/workspace ${D}/root",
        ),
        ("ls /workspaces /rooted /tmp-x", "ls /workspaces /rooted /tmp-x"),
    ],
)
def test_paths_in_a_command_are_made_real(said: str, meant: str) -> None:
    assert MAP.text(said) == meant


@given(st.text(alphabet="/workspaceroot tmp.'\"=:-$\n", max_size=60))
def test_a_command_made_real_twice_is_made_real_once(command: str) -> None:
    assert MAP.text(MAP.text(command)) == MAP.text(command)


@given(st.lists(st.sampled_from(["workspace", "root", "tmp", "..", "x", "etc", "ssh", ""]), max_size=6))
def test_a_path_made_real_twice_is_made_real_once(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert MAP.path(MAP.path(path)) == MAP.path(path)
