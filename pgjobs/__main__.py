"""`python -m pgjobs` is the command line."""

from pgjobs.cli import main

if __name__ == "__main__":
    main()
