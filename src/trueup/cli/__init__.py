"""The command line: types, docstrings and exit codes. It calls only what `trueup` exports, and draws what comes back.

stdout carries the result, stderr the progress.
"""

from __future__ import annotations

import gc
import sys
import traceback

#: New objects after which Python looks for cycles among them. By its own 700 a comparison that finds 50,000 rows spends
#: a tenth of its time on looking, and there are none to be found.
NEW_OBJECTS = 10_000


def main() -> None:
    """Entry point of the `trueup` command; the process is its own, so it may set how Python collects garbage."""
    gc.set_threshold(NEW_OBJECTS)
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
    if "duckdb" not in sys.modules:  # whose binding counts what is left, and says at length that it leaked
        gc.freeze()  # what is left goes with the process: to look through all of it once more takes 0.1 s
    sys.exit(code if isinstance(code, int) else 0)
