"""The command line: types, docstrings and exit codes. It calls only what `trueup` exports, and draws what comes back.

stdout carries the result, stderr the progress.
"""

from __future__ import annotations

import logging
import sys
import traceback

from trueup.cli import garbage, streams


def main() -> None:
    """Entry point of the `trueup` command."""
    garbage.starts()
    streams.prepare()
    # Of a connection that ends, or a statement that fails, they tell at length; what is raised says it, in a line.
    for library in ("sqlalchemy", "psycopg"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    if sys.argv[1:] == ["--version"]:  # who asks for it need not wait for what reads and draws the rest
        from trueup import __version__

        print(__version__)
        return
    from trueup.cli.commands import app_for
    from trueup.errors import TrueupError

    try:
        code = app_for(sys.argv[1:])(result_action="return_value")
        sys.stdout.flush()
    except TrueupError as error:
        print(f"trueup: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("trueup: interrupted; run again to go on from the last committed segment", file=sys.stderr)
        code = 3
    except BrokenPipeError:
        code = 3
        streams.give_up()
    except SystemExit as left:
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        code = 3  # rich leaves with 1 where nobody reads any more, which would read as drift
    except OSError as error:
        code = 3
        if streams.is_full(error):
            print(f"trueup: the answer could not be written: {error.strerror}", file=sys.stderr)
            streams.give_up()
        else:
            traceback.print_exc()
    except Exception:  # a fault of ours: 1, which is Python's own code for it, would read as drift
        traceback.print_exc()
        code = 3
    garbage.ends()
    sys.exit(code if isinstance(code, int) else 0)
