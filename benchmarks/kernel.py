"""A real Jupyter kernel for benchmarks of dashboards: code in, a value out."""

from __future__ import annotations

import json
import queue
import time
from typing import Any, Self

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

RESULT = "nbkit-benchmark-result "


class Kernel:
    """A kernel whose messages are read, as a Jupyter server reads them."""

    def __init__(self) -> None:
        self._manager = KernelManager()
        self._manager.start_kernel()
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return int(self._manager.provisioner.pid)

    def run(self, code: str, timeout_s: float = 600.0, cell: str | None = None) -> Any:
        """Run code as a cell and return what it gave to ``give``; ``cell`` names the cell, as JupyterLab does.

        Raises
        ------
        RuntimeError
            The code raised.
        """
        message = self._client.session.msg(
            "execute_request",
            {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False},
            metadata={"cellId": cell} if cell else {},
        )
        self._client.shell_channel.send(message)
        return self._result_of(message["header"]["msg_id"], time.monotonic() + timeout_s)

    def _result_of(self, request: str, deadline_s: float) -> Any:
        result = None
        while time.monotonic() < deadline_s:
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if message["msg_type"] == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            if message["msg_type"] == "stream" and RESULT in content["text"]:
                result = json.loads(content["text"].split(RESULT, 1)[1].splitlines()[0])
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return result
        raise TimeoutError("the kernel did not answer in time")


GIVE = f"""
import json
def give(value):
    print({RESULT!r} + json.dumps(value), flush=True)
"""
"""Run first: defines ``give``."""
