"""`python -m culmen` is the command `culmen`."""

import sys

from culmen.launchers import command_line


def main() -> None:
    """The command; `module:Class` is looked for in the current folder too, as `python -m` does."""
    if '' not in sys.path:
        sys.path.insert(0, '')
    command_line.main()


if __name__ == '__main__':
    main()
