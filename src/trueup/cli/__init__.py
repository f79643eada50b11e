"""The command line: types, docstrings and exit codes. It calls only what `trueup` exports, and draws what comes back.

stdout carries the result, stderr the progress.
"""

from __future__ import annotations

import sys
import traceback


def main() -> None:
    """Entry point of the `trueup` command."""
    from trueup.cli.commands import app
    from trueup.errors import TrueupError

    try:
        code = app(result_action="return_value")
    except TrueupError as error:
        print(f"trueup: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("trueup: interrupted; run again to go on from the last committed segment", file=sys.stderr)
        code = 3
    except BrokenPipeError:
        code = 3
    except Exception:  # a fault of ours: 1, which is Python's own code for it, would read as drift
        traceback.print_exc()
        code = 3
    sys.exit(code if isinstance(code, int) else 0)
