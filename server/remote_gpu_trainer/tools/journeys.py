"""Prompts for the usual journeys; each says which tools, in which order, and where to stop for the person."""

from mcp.server import MCPServer


def register(server: MCPServer) -> None:
    """Add the prompts."""

    @server.prompt(title="Train on the cheapest fit")
    def train_cheapest(task: str, budget_usd: str) -> str:
        """Search, rent, train and bring home within a budget."""
        return (
            f"Train this on a rented GPU: {task}\nSpend at most ${budget_usd} in all.\n"
            "Tell me the whole cost, the price per hour and the price of a stopped disk before anything is rented. "
            "search_offers with hours, disk and bytes; prefer the cheapest total without blocking findings. "
            "create_instance once, poll_status until running, push_files, start_job with resumes and "
            "checkpoint_minutes, read_logs until a step moves. When it has ended: copy_out, verify_local with "
            "expectations, then destroy, which asks me."
        )

    @server.prompt(title="Recover a preempted run")
    def recover(run: str) -> str:
        """Find the cause and go on from the latest checkpoint."""
        return (
            f"Run {run} does not run any more. poll_status first; tell me the cause, its rule id and what the disk "
            "costs meanwhile. Then resume_run with the method that next_step names; when its GPU was rented away, "
            "relaunch elsewhere. Prove with read_logs that the first step is the checkpoint's and not 0. Destroy "
            "nothing."
        )

    @server.prompt(title="Bring home and tear down")
    def bring_home(run: str) -> str:
        """Copy, prove, ask, destroy."""
        return (
            f"Bring the results of run {run} home: copy_out, tell me what was not copied, verify_local with files, "
            "least step and finite metrics at LOADS. Then destroy: show me the plan as it is and let me decide. "
            "Afterwards spend, and tell me what still bills."
        )

    @server.prompt(title="Why is my bill like this?")
    def explain_bill() -> str:
        """Account for every dollar."""
        return (
            "Call spend and poll_status. List what bills now per day: running, stopped, volumes, instances that no run "
            "accounts for. Explain the difference between the journal's estimate and the platform's charges. Propose "
            "what to end, with its cost per day; end nothing by yourself."
        )
