"""What waits on the machine for questions about its files."""

import os
from collections.abc import AsyncIterator

import pytest

from remote_gpu_trainer.errors import ConnectionCut, InvalidRequest, LimitExceeded, RemoteCommandFailed
from remote_gpu_trainer.transfer.lister import Lister, Question
from remote_gpu_trainer.transfer.looks import Looks
from remote_gpu_trainer.transfer.roster import Roster
from tests.unit.transfer.conftest import LIMITS, SCRIPT, Far

pytestmark = pytest.mark.anyio
OUT = "/workspace/out"


@pytest.fixture
async def lister() -> AsyncIterator[Lister]:
    made = Lister(SCRIPT, LIMITS)
    yield made
    await made.aclose()


def paths(roster: Roster) -> list[str]:
    return [entry.path for entry in roster.manifests[0].entries]


async def test_one_process_answers_every_question_as_things_are_when_it_is_asked(far: Far, lister: Lister) -> None:
    host = await far.connect()
    for name in ("one", "two", "zoo"):
        (far.out / name).write_bytes(b"1")
        await lister.ask(host, Question([OUT]))
        listed = paths(await lister.answer())
        assert listed[-1] == name
    await host.close()

    with pytest.raises(ConnectionCut):  # it asked over the connection of the first question, which is no more
        await lister.ask(await far.connect(), Question([OUT]))
        await lister.answer()
    assert not lister.waits


async def test_questions_that_are_sent_together_are_answered_in_turn(far: Far, lister: Lister) -> None:
    (far.out / "one").write_bytes(b"1")
    (far.out.parent / "beside").write_bytes(b"12")
    await lister.ask(await far.connect(), Question([OUT]), Question(["/workspace"], without=[OUT]), Question([OUT]))

    assert [paths(await lister.answer()) for _ in range(3)] == [["one"], ["beside"], ["one"]]


async def test_a_list_beyond_the_limits_takes_no_later_answer_with_it(far: Far) -> None:
    for number in range(5):
        (far.out / str(number)).write_bytes(b"1")
    lister = Lister(SCRIPT, LIMITS.__class__(max_bytes=1, max_files=3, max_depth=3, keep_free_bytes=0))
    host = await far.connect()
    await lister.ask(host, Question([OUT], for_copy=True), Question([OUT]))

    with pytest.raises(LimitExceeded, match="the policy allows 3 files"):
        await lister.answer()
    assert not lister.waits
    with pytest.raises(RemoteCommandFailed, match="nothing waits"):
        await lister.answer()
    await lister.ask(host, Question([OUT]))
    assert len(paths(await lister.answer())) == 5
    await lister.aclose()


async def test_a_machine_without_python_is_named_as_such(far: Far, lister: Lister) -> None:
    script = b"import sys\nprint('no module named json', file=sys.stderr)\nsys.exit(3)\n"
    broken = Lister(script, LIMITS)
    await broken.ask(await far.connect(), Question([OUT]))

    with pytest.raises(RemoteCommandFailed, match="status 3") as raised:
        await broken.answer()
    assert "no module named json" in str(raised.value.details)


async def test_a_name_that_is_no_text_is_asked_for_and_listed_as_it_is(far: Far, lister: Lister) -> None:
    folder = os.fsencode(far.out) + b"/b\xffd"
    os.mkdir(folder)
    await lister.ask(await far.connect(), Question([f"{OUT}/{os.fsdecode(folder.rpartition(b'/')[2])}"]))

    assert paths(await lister.answer()) == []


@pytest.mark.parametrize("root", ["workspace/out", "/workspace/../etc", "/workspace/\0"])
def test_a_root_that_is_no_plain_absolute_path_is_refused_before_anything_is_asked(root: str) -> None:
    with pytest.raises(InvalidRequest, match="absolute path"):
        Question([root])


async def test_an_answer_from_before_the_last_bytes_were_fetched_is_not_the_last_look(far: Far, lister: Lister) -> None:
    host, looks = await far.connect(), Looks(lister, [OUT], "/workspace")
    await looks.first(host)
    looks.ask_already()
    await host.run(["true"], timeout_s=10)  # takes longer than to list an empty folder
    (far.out / "late").write_bytes(b"fetched in another round")
    looks.ask_already()

    assert paths((await looks.again(host))[0]) == ["late"]


async def test_the_last_look_is_taken_over_another_connection_where_the_first_is_gone(far: Far, lister: Lister) -> None:
    host, looks = await far.connect(), Looks(lister, [OUT], "/workspace")
    await looks.first(host)
    looks.ask_already()
    await host.close()
    (far.out / "late").write_bytes(b"1")
    (far.out.parent / "beside").write_bytes(b"12")

    roster, left = await looks.again(await far.connect())

    assert paths(roster) == ["late"]
    assert [(entry.path, entry.size) for entry in left] == [("/workspace/beside", 2)]
