"""The page in a real browser: readable at both widths, in both schemes, by keyboard and by screen reader."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from tests.browser.conftest import PATIENCE_MS, Desk
from tests.unit.database.builders import LEASE

pytestmark = pytest.mark.xdist_group("browser")

Opened = Callable[[ApprovalRequest], Page]
WIDTHS = [(375, 812), (1440, 900)]


def serious(page: Page) -> list[str]:
    """What axe-core finds of weight: the rule and the first element."""
    axe: Any = Axe()
    found = cast(list[dict[str, Any]], axe.run(page).response["violations"])
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_axe_finds_nothing_serious_and_nothing_runs_out_of_the_window(
    chromium: Browser, desk: Desk, width: int, height: int, scheme: Any
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(desk.server.link(desk.ask().id))

    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_label("Name").fill("something else")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Not yet")
    assert serious(page) == []
    page.get_by_label("Name").fill(LEASE)
    page.keyboard.press("Enter")
    expect(page.locator(".token")).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_the_losses_are_on_the_first_screen_and_before_everything_else(
    desk: Desk, page: Page, opened: Opened, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    opened(desk.ask())

    first = page.get_by_role("heading", level=2).first
    expect(first).to_have_text("What will be lost")
    largest = page.get_by_text("/workspace/data/shards/train-0001.tar").first
    box = largest.bounding_box()
    assert box is not None and box["y"] + box["height"] < height


def test_every_line_of_the_dossier_is_on_the_page(desk: Desk, opened: Opened) -> None:
    request = desk.ask()
    page = opened(request)

    plain = " ".join((page.locator("main").text_content() or "").split())
    for line in render(request.plan).split("\n"):
        words = " ".join(line.lstrip("#- ").replace("**", "").replace("```text ", "").replace("```", "").split())
        assert words in plain, words


def test_a_thousand_files_are_all_there(desk: Desk, opened: Opened) -> None:
    page = opened(desk.ask(files=1000))

    assert page.locator(".tree .level").count() == 1002
    expect(page.locator(".tree")).to_contain_text("step-100000/rank-0/")


def test_the_keyboard_alone_is_enough_to_agree(desk: Desk, opened: Opened) -> None:
    request = desk.ask()
    page = opened(request)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Go to the decision")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(LEASE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=f"Destroy {LEASE}")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"Approved: destroy {LEASE}")
    token = page.locator(".token").inner_text()
    assert desk.book.check(request.id, token, plan_digest=request.plan_digest).state is ApprovalState.APPROVED


def test_a_refusal_carries_its_reason(desk: Desk, opened: Opened) -> None:
    request = desk.ask()
    page = opened(request)

    page.get_by_label("Reason for refusing").fill("copy the training data first")
    page.get_by_role("button", name="Refuse, and keep it").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Refused")
    expect(page.get_by_role("status")).to_have_text("The instance was not destroyed.")
    assert desk.state(request).reason == "copy the training data first"


def test_the_name_of_each_control_and_part_is_told_to_a_screen_reader(desk: Desk, opened: Opened) -> None:
    page = opened(desk.ask())

    for region in ("What will be lost", "What is saved, and how far it is proven", "What it costs", "The decision"):
        expect(page.get_by_role("region", name=region)).to_have_count(1)
    expect(page.get_by_role("img", name="Loss by step")).to_have_accessible_description(
        "loss ends at 0.1271, its lowest is 0.0817. val_loss ends at 0.2133, its lowest is 0.2133."
    )
    expect(page.get_by_label("Name")).to_have_accessible_description(
        f"To agree, type the name exactly: {LEASE}. Never type a password here."
    )


def test_nothing_is_asked_of_another_host_no_policy_is_broken_and_one_cookie_is_set(
    desk: Desk, page: Page, opened: Opened
) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    opened(desk.ask())

    assert {url.split("/")[2] for url in asked} == {f"localhost:{desk.server.port}"}
    assert said == []
    assert [cookie.get("name") for cookie in page.context.cookies()] == ["rgt_approval"]
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert page.locator("script").count() == 0
