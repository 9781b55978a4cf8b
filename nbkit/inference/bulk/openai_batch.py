"""OpenAI batch: the outputs of a bulk as the lines of an output file of OpenAI's Batch API.

The form of a line is ``BatchRequestOutput`` of OpenAI's specification (github.com/openai/openai-openapi). A request
that fails has its error in the response's body, with a status, and ``error`` is null: so the service itself does it
(issue 302 there), which keeps ``error`` for requests that were never answered.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from nbkit.errors import shorten
from nbkit.inference.bulk.losses import SET_ASIDE
from nbkit.prompts.files.streamed import RequestOrigin
from nbkit.records.bulk_manifest import Manifest

TEXT_URL, CHAT_URL = "/v1/completions", "/v1/chat/completions"
OF_THE_REQUEST, OF_THE_SERVER = 400, 500
ERROR_TYPES = {OF_THE_REQUEST: "invalid_request_error", OF_THE_SERVER: "server_error"}

Row = dict[str, Any]


def openai_lines(rows: Iterable[Row], requests: Path, manifest: Manifest) -> Iterator[bytes]:
    """The lines for rows in the prompts' order, a line a request; see ``Bulk.export``."""
    asked = zip(rows, origins(requests), strict=False)
    # Several prompts of one request follow each other, each a choice with a larger number.
    request: list[tuple[Row, RequestOrigin]] = []
    for row, known in asked:
        origin = known or RequestOrigin(f"prompt-{row['index']}", None, 0)
        if request and not _goes_on(request[-1][1], origin):
            yield _line(request, manifest)
            request = []
        request.append((row, origin))
    if request:
        yield _line(request, manifest)


def origins(requests: Path) -> Iterator[RequestOrigin | None]:
    """Of which request each prompt is, from the first on; None, without an end, where that was not kept."""
    yield from _kept(requests)
    yield from itertools.repeat(None)


def _kept(requests: Path) -> Iterator[RequestOrigin | None]:
    if requests.exists():
        with requests.open(encoding="utf-8") as file:
            for line in file:
                found = json.loads(line)
                yield None if found is None else RequestOrigin(*found)


def _of_each_request(requests: Path) -> Iterator[RequestOrigin]:
    """The first prompt of each request."""
    latest: RequestOrigin | None = None
    for origin in _kept(requests):
        if origin is not None and not _goes_on(latest, origin):
            yield origin
        latest = origin


def _goes_on(latest: RequestOrigin | None, origin: RequestOrigin) -> bool:
    """Whether a prompt is of the same request as the one before it."""
    return latest is not None and origin.custom_id == latest.custom_id and origin.choice > latest.choice


def repeated_ids(requests: Path) -> str:
    """A sentence where requests have the same ``custom_id``, else nothing; in memory are 8 bytes a request."""
    if not requests.exists():
        return ""
    digests = np.fromiter((_number(each.custom_id) for each in _of_each_request(requests)), dtype=np.uint64)
    values, counts = np.unique(digests, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return ""
    first = next(each.custom_id for each in _kept(requests) if each and _number(each.custom_id) in repeated)
    return (
        f"{len(repeated):,} custom_ids of the source come more than once, {shorten(first)} the first: in OpenAI's "
        "form only the order of the lines tells their outputs apart."
    )


def _line(request: list[tuple[Row, RequestOrigin]], manifest: Manifest) -> bytes:
    row, origin = request[0]
    own = hashlib.blake2b(f"{manifest.created} {row['index']}".encode(), digest_size=12).hexdigest()
    errors = [row["error"] for row, _ in request if row["error"] is not None]
    status, body = _failed(errors[0]) if errors else (200, _answer(request, manifest, own))
    response = {"status_code": status, "request_id": own, "body": body}
    line = {"id": f"batch_req_{own}", "custom_id": origin.custom_id, "response": response, "error": None}
    return (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", errors="backslashreplace")


def _failed(why: str) -> tuple[int, Row]:
    status = OF_THE_SERVER if why.startswith(SET_ASIDE) else OF_THE_REQUEST
    return status, {"error": {"message": why, "type": ERROR_TYPES[status], "param": None, "code": None}}


def _answer(request: list[tuple[Row, RequestOrigin]], manifest: Manifest, own: str) -> Row:
    row, origin = request[0]
    is_text = origin.url == TEXT_URL or (origin.url != CHAT_URL and isinstance(row["prompt"], str))
    given, new = (sum(row[name] for row, _ in request) for name in ("prompt_tokens", "new_tokens"))
    return {
        "id": f"{'cmpl' if is_text else 'chatcmpl'}-{own}",
        "object": "text_completion" if is_text else "chat.completion",
        "created": int(datetime.fromisoformat(manifest.created).timestamp()),
        "model": manifest.settings.model,
        "choices": [_choice(row, origin.choice, is_text) for row, origin in request],
        "usage": {"prompt_tokens": given, "completion_tokens": new, "total_tokens": given + new},
        "system_fingerprint": None,
    }


def _choice(row: Row, number: int, is_text: bool) -> Row:
    said: Row = {"message": {"role": "assistant", "content": row["output"], "refusal": None}}
    if is_text:
        said = {"text": row["output"]}
    return {"index": number, **said, "logprobs": None, "finish_reason": row["finish_reason"]}


def _number(custom_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(custom_id.encode(errors="surrogatepass"), digest_size=8).digest())
