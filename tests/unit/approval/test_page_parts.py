"""The parts of the page that read files: the tree leaves nothing out, the curve shows only what was proven."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.approval.pagecurve import MOST_BYTES, MOST_POINTS, Curve, curve_of
from remote_gpu_trainer.approval.pagedrawing import HEIGHT, WIDTH, drawing_of
from remote_gpu_trainer.approval.pagetree import Folder, tree_of
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.plans import Evidence, ProvenFile
from tests.unit.database.builders import COPY, START


def a_file(path: str, size: int = 1, content: bytes = b"") -> ProvenFile:
    return ProvenFile(path=path, size=size, sha256=hashlib.sha256(content).hexdigest(), level=VerificationLevel.LOADS)


def evidence(folder: Path | str, *files: ProvenFile) -> Evidence:
    return Evidence(
        copy_id=COPY,
        destination=str(folder),
        manifest_digest="ab" * 32,
        copied_at=START,
        verified_at=START,
        lowest_level=VerificationLevel.LOADS,
        files=files,
    )


def drawn(folder: Path, name: str, content: str | bytes) -> Curve:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    curve = curve_of([evidence(folder, a_file(name, len(data), data))])
    assert curve is not None
    return curve


def paths_in(folder: Folder, above: str = "") -> list[str]:
    found = [above + name for name, _ in folder.files]
    for one in folder.folders.values():
        found.extend(paths_in(one, f"{above}{one.name}/"))
    return found


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map("/".join)


@given(st.lists(NAMES, unique=True, max_size=30))
def test_a_tree_holds_every_file_once(paths: list[str]) -> None:
    tree = tree_of([a_file(path, size=3) for path in paths])

    assert sorted(paths_in(tree)) == sorted(paths)
    assert (tree.count, tree.size) == (len(paths), 3 * len(paths))


def test_a_chain_of_folders_is_one_line_however_long() -> None:
    deep = "/".join(["d"] * 3000)
    tree = tree_of([a_file(f"{deep}/model.bin")])

    [only] = tree.folders.values()
    assert (only.name, only.count, [name for name, _ in only.files]) == (deep, 1, ["model.bin"])


def test_names_in_a_tree_are_made_visible() -> None:
    tree = tree_of([a_file("out\u202e/ev\u200bil")])

    [folder] = tree.folders.values()
    assert folder.name == "out\\u{202e}" and folder.files[0][0] == "ev\\u{200b}il"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n'),
        ("train_log.csv", "step,loss\n1,2.0\n2,1.0\n"),
        ("trainer_state.json", json.dumps({"log_history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]})),
    ],
)
def test_a_loss_is_found_in_the_usual_files(tmp_path: Path, name: str, content: str) -> None:
    [line] = drawn(tmp_path, name, content).lines
    assert line.points == ((1.0, 2.0), (2.0, 1.0)) and (line.last, line.least) == (1.0, 1.0)


def test_a_value_that_is_no_number_is_counted_and_said(tmp_path: Path) -> None:
    curve = drawn(tmp_path, "metrics.jsonl", '{"loss": 1.0}\n{"loss": NaN}\n{"loss": Infinity}\n{"loss": "1e400"}\n')

    assert curve.lines[0].not_finite == 3
    assert drawing_of(curve).words == ("loss ends at 1, its lowest is 1; 3 of its values are no finite numbers.",)


def test_a_file_that_is_not_the_proven_one_any_more_is_not_drawn(tmp_path: Path) -> None:
    proven = a_file("metrics.jsonl", 12, b'{"loss": 1}\n')
    (tmp_path / "metrics.jsonl").write_text('{"loss": 0}\n', encoding="utf-8")

    curve = curve_of([evidence(tmp_path, proven)])

    assert curve == Curve("metrics.jsonl", (), "it is not the file that was proven any more")


@pytest.mark.parametrize(
    ("destination", "file", "problem"),
    [
        ("s3://bucket/run", a_file("metrics.jsonl"), "it lies in a bucket, which this page does not read"),
        ("{here}", a_file("metrics.jsonl", MOST_BYTES + 1), "it is too large to be drawn"),
        ("{here}", a_file("metrics.jsonl"), "it cannot be read any more"),
        ("{here}/copy", a_file("../metrics.jsonl"), "it does not lie in the copy"),
    ],
)
def test_why_nothing_is_drawn_is_said(tmp_path: Path, destination: str, file: ProvenFile, problem: str) -> None:
    (tmp_path / "copy").mkdir()
    if ".." in file.path:
        (tmp_path / "metrics.jsonl").write_text("{}", encoding="utf-8")

    curve = curve_of([evidence(destination.format(here=tmp_path), file)])

    assert curve is not None and (curve.lines, curve.problem) == ((), problem)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[" * 100_000, '{"loss": "high"}', '{"loss": true}', '{"other": 1}', b"\xff\xfe\x00", "x" * 200],
)
def test_a_file_without_a_loss_is_said_to_have_none(tmp_path: Path, content: str | bytes) -> None:
    assert drawn(tmp_path, "metrics.jsonl", content).problem == "no loss was found in it"


def test_a_run_without_a_metrics_file_has_no_curve(tmp_path: Path) -> None:
    assert curve_of([evidence(tmp_path, a_file("model.safetensors"))]) is None


def test_a_spike_among_a_hundred_thousand_steps_is_still_drawn(tmp_path: Path) -> None:
    rows = "".join(f'{{"step": {n}, "loss": {99.0 if n == 54_321 else 1.0}}}\n' for n in range(100_000))

    [line] = drawn(tmp_path, "metrics.jsonl", rows).lines

    assert len(line.points) <= MOST_POINTS + 1 and (54_321.0, 99.0) in line.points
    assert (line.points[0][0], line.points[-1][0]) == (0.0, 99_999.0)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=40))
def test_no_numbers_of_a_job_leave_the_picture(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]]
) -> None:
    content = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in rows)
    curve = drawn(tmp_path_factory.mktemp("curve"), "metrics.jsonl", content)
    if not curve.lines:
        return

    for _, points in drawing_of(curve).paths:
        for point in points.split(" "):
            x, y = map(float, point.split(","))
            assert math.isfinite(x) and 0 <= x <= WIDTH and 0 <= y <= HEIGHT
