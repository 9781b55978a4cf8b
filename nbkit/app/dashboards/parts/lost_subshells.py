"""Widgets go on answering after a reload of the page, though JupyterLab has deleted their subshell.

JupyterLab sends the messages of widgets to subshells of the kernel. After a reload it
may delete a subshell that widgets go on using (seen with JupyterLab 4.6.6 and ipykernel
7.4.0; jupyterlab issues 17633 and 18491 are of the same kind). ipykernel drops what comes
for an unknown subshell: sliders and buttons look alive and do nothing. Here such messages
go to the main shell, as they did before there were subshells.
"""

from __future__ import annotations

from typing import Any


def receive_their_messages() -> None:
    """Let the running kernel, if it has subshells, take messages for unknown ones; safe to call again."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    # ipykernel's own names, none of them public: where they are others, nothing is changed.
    manager = getattr(getattr(kernel, "shell_channel_thread", None), "manager", None)
    find = getattr(manager, "get_shell_channel_to_subshell_socket", None)
    if find is None or getattr(find, "is_nbkits", False):
        return

    def find_or_main(subshell_id: str | None) -> Any:
        try:
            return find(subshell_id)
        except KeyError:
            return find(None)

    find_or_main.is_nbkits = True  # type: ignore[attr-defined]
    manager.get_shell_channel_to_subshell_socket = find_or_main  # type: ignore[union-attr]
