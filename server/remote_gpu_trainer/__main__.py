"""The command ``rgt``."""

import sys

from remote_gpu_trainer.errors import RgtError


def main() -> None:
    """Run it; every purposeful failure is one sentence on standard error and exit status 2."""
    from remote_gpu_trainer.cli.app import app  # imported late, so that a broken import is told like any other failure

    try:
        app()
    except RgtError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
