"""``python -m nbkit``: the command line, where the script ``nbkit`` is not on the path."""

from nbkit.app.cli.commands import main

main()
