"""The program `pgjobs`, also as `python -m pgjobs`: the command line, and what is begun before it is read."""

import sys

from pgjobs import ahead


def main() -> None:
    """Read the command line and do what it says."""
    begun = ahead.begin(sys.argv[1:])
    # Only now: these take as long as a worker process that was just begun takes for half of its own.
    from pgjobs.cli import main as command_line
    from pgjobs.cli.target import Target

    try:
        command_line(obj=Target(ahead=begun))
    finally:
        if begun is not None:
            begun.line.close()  # at which it ends; a supervisor, which has use for it, never comes here


if __name__ == "__main__":
    main()
