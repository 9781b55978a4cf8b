"""Server: a wall as a web page, and the address at which learners join where they share no folder.

It listens on this machine alone unless told otherwise. Nothing is answered without the token of its address.
What is sent is checked as what lies in a folder is: size, types and sense; how often and how many is bounded, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import html
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nbkit.analysis.wall import Board, Expected
from nbkit.app.wall.address import KEY_HEADER, id_of
from nbkit.app.wall.folder import Reading
from nbkit.app.wall.in_words import headline_html, table_html
from nbkit.app.wall.source import FolderSource, Wall
from nbkit.errors import InputError, MissingExtra, shorten
from nbkit.figures.wall import wall as wall_figure
from nbkit.records.wall_entry import MOST_BYTES, WallEntry, entry_from

try:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler
except ModuleNotFoundError as error:
    raise MissingExtra("lab", error.name) from None

FOLDER = Path(__file__).parent
FILES = {
    "wall.css": "text/css",
    "page.js": "text/javascript",
}
MOST_ENTRIES = 300
MOST_FROM_ONE_HOST = 100
"""Entries from one machine: on a shared node all come from it."""
LEAST_BETWEEN_S = 0.2
"""Of one learner."""
MOST_A_SECOND = 200
"""Of all together."""
READ_EVERY_S = 0.5
MOST_BOARDS = 20
"""Choices of a model and device that are drawn and kept between two readings."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Refused(InputError):
    """What was sent is not taken; ``status`` is HTTP's number for why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SentEntries:
    """Entries that learners have sent, by id; in memory: whoever sends again after a restart is there again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: dict[str, WallEntry] = {}
        self._hosts: dict[str, str] = {}
        self._sent_s: dict[str, float] = {}
        self._clock = clock
        self._second, self._in_second = 0, 0

    def read(self) -> Reading:
        """All entries."""
        return Reading(list(self._entries.values()), [])

    def put(self, host: str, key: str, body: bytes) -> None:
        """Take an entry that a host has sent.

        Raises
        ------
        Refused
            It comes too often, is none, is another's, or the wall is full.
        """
        self._check_rate(id_of(key))
        try:
            entry = entry_from(body)
        except InputError as error:
            raise Refused(400, f"this is no entry: {error}") from None
        if len(key) < 32 or entry.id != id_of(key):
            raise Refused(403, "this entry is another's")
        if entry.id not in self._entries:
            if len(self._entries) >= MOST_ENTRIES:
                raise Refused(507, f"the wall is full: it has {MOST_ENTRIES} entries")
            if Counter(self._hosts.values())[host] >= MOST_FROM_ONE_HOST:
                raise Refused(507, f"the wall is full: {MOST_FROM_ONE_HOST} entries are from {host}")
        self._entries[entry.id] = entry
        self._hosts[entry.id] = host
        self._sent_s[entry.id] = self._clock()

    def remove(self, key: str) -> None:
        """Take off the entry that belongs to a key, if there is one."""
        sender = id_of(key)
        self._entries.pop(sender, None)
        self._hosts.pop(sender, None)
        self._sent_s.pop(sender, None)

    def _check_rate(self, sender: str) -> None:
        now_s = self._clock()
        if int(now_s) != self._second:
            self._second, self._in_second = int(now_s), 0
        self._in_second += 1
        if self._in_second > MOST_A_SECOND or now_s - self._sent_s.get(sender, -1e9) < LEAST_BETWEEN_S:
            raise Refused(429, "too often; the next run is sent again")


class WallServer:
    """The wall's page and address; ``start`` it in a running event loop.

    Parameters
    ----------
    wall : Wall
        What is shown.
    sent : SentEntries, optional
        Where learners' entries go; left out, they join by the folder and nothing can be sent.
    folder : Path, optional
        Where learners join, for the page to say; left out, they join at the address.
    token : str, optional
        Left out, one is drawn.
    """

    def __init__(
        self, wall: Wall, sent: SentEntries | None = None, folder: Path | None = None, token: str | None = None
    ) -> None:
        self.token = token or secrets.token_urlsafe(16)
        self.address = ""
        self.join = f"nbkit.join_wall({str(folder)!r}, name='...')" if folder else ""
        self._wall = wall
        self._sent = sent
        self._reading = Reading([], [])
        self._read_at = -1e9
        self._boards: dict[tuple[str, str] | None, dict[str, Any]] = {}
        self._is_reading = asyncio.Lock()

    def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen, and return the address with its token.

        Raises
        ------
        InputError
            The port or the host cannot be had.
        """
        application = Application(
            [
                (r"/", _Page, {"server": self}),
                (r"/(wall\.css|page\.js|plotly\.js)", _File, {"server": self}),
                (r"/board", _Board, {"server": self}),
                (r"/entries", _Entries, {"server": self}),
                (r"/entry", _Entry, {"server": self, "sent": self._sent}),
            ],
            log_function=lambda handler: None,  # the address has the token
            compress_response=True,
        )
        limits = {"max_body_size": MOST_BYTES, "max_header_size": 16_000, "body_timeout": 10.0}
        try:
            sockets = bind_sockets(port, host)
        except OSError as error:
            raise InputError(
                f"the wall cannot listen on {host}, port {port}: {error.strerror or error}; name another --port."
            ) from None
        self._http = HTTPServer(application, idle_connection_timeout=60.0, **limits)
        self._http.add_sockets(sockets)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{sockets[0].getsockname()[1]}/?token={self.token}"
        self.join = self.join or f"nbkit.join_wall({self.address!r}, name='...')"
        return self.address

    def stop(self) -> None:
        """Listen no more."""
        self._http.stop()

    async def reading(self) -> Reading:
        """What is on the wall, read at most twice a second however many look, and not in this thread."""
        async with self._is_reading:
            if time.monotonic() - self._read_at > READ_EVERY_S:
                self._reading = await asyncio.get_running_loop().run_in_executor(None, self._wall.read)
                self._read_at = time.monotonic()
                self._boards.clear()
            return self._reading

    async def board(self, shown: tuple[str, str] | None) -> dict[str, Any]:
        """What the page shows; made once for all who look between two readings."""
        reading = await self.reading()
        if shown not in self._boards:
            if len(self._boards) >= MOST_BOARDS:
                self._boards.clear()
            self._boards[shown] = self._made_board(self._wall.board(reading, shown))
        return self._boards[shown]

    def _made_board(self, board: Board) -> dict[str, Any]:
        now = (board.model, board.device)
        return {
            "headline": headline_html(board),
            "words": table_html(board),
            "figure": json.loads(wall_figure(board).to_json()),
            "choices": [list(each) for each in sorted([now, *board.others] if board.model else board.others)],
            "shown": list(now),
            "join": f"To join: <code>{html.escape(self.join)}</code>",
        }


class _Handler(RequestHandler):  # type: ignore[misc]
    """Answers nobody without the token."""

    def initialize(self, server: WallServer) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        given = self.get_query_argument("token", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode()):
            self.refuse(403, "the address lacks its token: take the whole of what nbkit wall has printed")

    def refuse(self, status: int, why: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(why)

    def log_exception(self, *about: Any) -> None:
        if not isinstance(about[1], InputError):  # of those the answer tells
            super().log_exception(*about)

    def write_error(self, status_code: int, **about: Any) -> None:
        error = about.get("exc_info", (None, None))[1]
        status = error.status if isinstance(error, Refused) else status_code
        self.refuse(status, str(error) if isinstance(error, InputError) else f"the wall's server: {status}")


class _Page(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish((FOLDER / "page.html").read_bytes())


class _File(_Handler):
    def prepare(self) -> None:
        """What everybody has anyway needs no token."""

    def get(self, name: str) -> None:
        self.set_header("Content-Type", f"{FILES.get(name, 'text/javascript')}; charset=utf-8")
        self.set_header("Cache-Control", "max-age=600")
        self.finish(_plotly() if name == "plotly.js" else (FOLDER / name).read_bytes())


class _Board(_Handler):
    async def get(self) -> None:
        self.finish(await self.server.board(_pair(self.get_query_argument("shown", ""))))


class _Entries(_Handler):
    async def get(self) -> None:
        reading = await self.server.reading()
        self.finish({"entries": [dataclasses.asdict(entry) for entry in reading.entries], "notes": reading.notes})


class _Entry(_Handler):
    def initialize(self, server: WallServer, sent: SentEntries | None = None) -> None:
        super().initialize(server)
        self.sent = sent

    def put(self) -> None:
        if self.sent is None:
            raise Refused(404, f"learners join this wall by its folder: {self.server.join}")
        self.sent.put(self.request.remote_ip or "", self.request.headers.get(KEY_HEADER, ""), self.request.body)
        self.set_status(204)

    def delete(self) -> None:
        if self.sent is not None:
            self.sent.remove(self.request.headers.get(KEY_HEADER, ""))
        self.set_status(204)


def _pair(text: str) -> tuple[str, str] | None:
    """The model and device that a page asks for; None if it asks for none."""
    if not text:
        return None
    try:
        model, device = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise Refused(400, f"no model and device: {shorten(text)}") from None
    return str(model), str(device)


@cache
def _plotly() -> bytes:
    import plotly

    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


def wall_server(folder: Path | None, expected: Expected = 0, token: str | None = None) -> WallServer:
    """The server of the wall in a folder, or, without one, of a wall that it keeps itself."""
    if folder is not None:
        return WallServer(Wall(FolderSource(folder), expected), folder=folder, token=token)
    sent = SentEntries()
    return WallServer(Wall(sent, expected), sent, token=token)
