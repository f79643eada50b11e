"""The command line: types, docstrings and exit codes. It calls only what `trueup` exports, and draws what comes back.

stdout carries the result, stderr the progress.
"""

from __future__ import annotations

import errno
import logging
import sys
import traceback

from trueup.cli import garbage

#: There is no room for what is written.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Entry point of the `trueup` command."""
    garbage.starts()
    # Of a connection that ends it tells at length; what is raised says what happened, in a line.
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
    if sys.argv[1:] == ["--version"]:  # who asks for it need not wait for what reads and draws the rest
        from trueup import __version__

        print(__version__)
        return
    from trueup.cli.commands import app_for
    from trueup.errors import TrueupError

    try:
        code = app_for(sys.argv[1:])(result_action="return_value")
    except TrueupError as error:
        print(f"trueup: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("trueup: interrupted; run again to go on from the last committed segment", file=sys.stderr)
        code = 3
    except BrokenPipeError:
        code = 3
    except Exception as error:  # a fault of ours: 1, which is Python's own code for it, would read as drift
        if isinstance(error, OSError) and error.errno in _FULL:
            print(f"trueup: the answer could not be written: {error.strerror}", file=sys.stderr)
        else:
            traceback.print_exc()
        code = 3
    garbage.ends()
    sys.exit(code if isinstance(code, int) else 0)
