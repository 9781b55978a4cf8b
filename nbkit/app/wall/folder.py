"""Wall folder: one file a learner, in a folder where everybody may add and nobody may touch another's.

What is in it may have been put there to do harm: nothing but small regular files is opened, links are not followed,
an entry counts for the user who owns its file, and what is no entry is counted and said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nbkit.errors import InputError, file_name
from nbkit.files.atomic_write import path_of
from nbkit.files.file_lock import if_left_behind, lock
from nbkit.records.wall_entry import MOST_BYTES, WallEntry, entry_from

OPEN_TO_ALL = 0o1777
"""Everybody may add files; only who owns a file may replace or remove it."""
MOST_FILES = 5_000
"""Files that are looked at: whoever makes more can hide others, and is named by the note."""
MOST_OF_A_USER = 100
"""Entries of one account: a room may share one."""
_ENTRY = re.compile(r"[0-9a-f]{16}\.json")
_PARTIAL = re.compile(r"\.nbkit-wall-[0-9a-f]{16}\.partial")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was found on a wall: entries, each ``id`` once, and what was left out, in sentences."""

    entries: list[WallEntry]
    notes: list[str]


def make_wall(folder: str | Path) -> Path:
    """Make a folder in which everybody may add a file and nobody may touch another's; one that is there is kept.

    Raises
    ------
    InputError
        It cannot be made, is another user's, or holds other files: opening those to everybody may do harm.
    """
    path = path_of(folder).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"{file_name(path)} cannot be the wall's folder: {error.strerror or error}; name another."
        ) from None
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise InputError(f"{file_name(path)} belongs to another user; name a folder that is to be made.")
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != OPEN_TO_ALL:
            if other := next((name for name in os.listdir(descriptor) if not _is_ours(name)), None):
                raise InputError(
                    f"{file_name(path)} holds other files ({file_name(other)}), and a wall is open to everybody; "
                    "name a folder that is to be made."
                )
            os.fchmod(descriptor, OPEN_TO_ALL)
    finally:
        os.close(descriptor)
    return path


def read_wall(folder: Path, known: Iterable[str] = ()) -> Reading:
    """All entries of a folder; never raises for what a learner has put there.

    ``known`` are ids of entries that were there before: they are looked at first, however many files come later.

    Raises
    ------
    InputError
        The folder is gone or cannot be read.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"the wall {file_name(folder)} cannot be read: {error.strerror or error}.") from None
    try:
        with os.scandir(descriptor) as found:
            names = list(itertools.islice((each.name for each in found), MOST_FILES + 1))
        first = [name for name in map("{}.json".format, known) if name not in set(names[:MOST_FILES])]
        return _read_all(descriptor, [*first, *sorted(names[:MOST_FILES])], len(names) > MOST_FILES)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, names: Sequence[str], is_full: bool) -> Reading:
    entries: list[WallEntry] = []
    bad, owned = Counter[str](), Counter[int]()
    for name in names:
        if _PARTIAL.fullmatch(name):
            continue
        try:
            entry = _read_one(descriptor, name, owned)
        except FileNotFoundError:
            continue  # its owner has just left
        except OSError as error:
            bad[(error.strerror or "cannot be read").lower()] += 1
        except InputError as error:
            bad[str(error)] += 1
        else:
            entries += [entry] if entry else []
    return Reading(entries, list(_notes(bad, owned, is_full)))


def _read_one(descriptor: int, name: str, owned: Counter[int]) -> WallEntry | None:
    """The entry in a file of an opened folder; None if its owner, counted in ``owned``, has too many.

    Raises
    ------
    OSError, InputError
        It cannot be opened, is a link or no regular file, too large, or holds no entry of this name.
    """
    if not _ENTRY.fullmatch(name):
        raise InputError("it has another name than an entry")
    file = os.open(name, _READ, dir_fd=descriptor)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise InputError("it is no regular file")
        owned[found.st_uid] += 1
        if owned[found.st_uid] > MOST_OF_A_USER:
            return None  # unread: it would only cost time
        if found.st_size > MOST_BYTES:
            raise InputError(f"it has more than {MOST_BYTES:,} bytes")
        entry = entry_from(os.read(file, MOST_BYTES + 1))
    finally:
        os.close(file)
    if f"{entry.id}.json" != name:
        raise InputError("its id is another file's")
    return entry


def _notes(bad: Counter[str], owned: Counter[int], is_full: bool) -> Iterator[str]:
    if count := bad.total():
        reason, _ = bad.most_common(1)[0]
        yield f"{count} file{'s' if count > 1 else ''} on the wall left out, for example: {reason}"
    for owner, count in owned.most_common(3):
        if count > MOST_OF_A_USER:
            over = count - MOST_OF_A_USER
            yield f"{over} files of {_account(owner)} left out: an account may have {MOST_OF_A_USER}"
    if is_full:
        yield f"the folder has more than {MOST_FILES:,} files: some learners may be missing"


def _account(uid: int) -> str:
    import pwd

    try:
        return f"account {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"account {uid}"


def _is_ours(name: str) -> bool:
    return bool(_ENTRY.fullmatch(name) or _PARTIAL.fullmatch(name))


class FolderSender:
    """Puts one learner's entry into a wall's folder, in a file of its own that only its owner can replace.

    Its lock is held as long as this process lives, so that a kernel that is started again goes on with the
    entry of the one before it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = path_of(folder).expanduser().absolute()
        self._held = -1

    def __str__(self) -> str:
        return str(self.folder)

    def begin(self, entry: WallEntry) -> WallEntry:
        """Put a new entry there, or take over the one of that name that an ended kernel of this account has left.

        Raises
        ------
        InputError
            The folder is not there, or cannot be written.
        """
        if not self.folder.is_dir():
            raise InputError(
                f"there is no wall at {file_name(self.folder)}; ask for its folder, which nbkit wall makes."
            )
        for left in self._own_files():
            with if_left_behind(left) as is_left_behind:
                if not is_left_behind:
                    continue
                if _PARTIAL.fullmatch(left.name):
                    left.unlink(missing_ok=True)
                elif (earlier := _entry_in(left)) is not None and earlier.name == entry.name:
                    taken = dataclasses.replace(earlier, seen_s=entry.seen_s)
                    self.send(taken)
                    return taken
        self.send(entry)
        return entry

    def send(self, entry: WallEntry) -> None:
        """Replace the file by this entry, whole.

        Raises
        ------
        InputError
            It cannot be written.
        """
        # A name that nobody can know before: what another user puts in its way is never opened.
        partial = self.folder / f".nbkit-wall-{secrets.token_hex(8)}.partial"
        try:
            descriptor = os.open(partial, _NEW, 0o644)
            try:
                os.fchmod(descriptor, 0o644)  # whatever the umask: others show it
                lock(descriptor)
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(entry.to_json().encode())
                os.replace(partial, self._file(entry))
            except BaseException:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise InputError(
                f"the wall {file_name(self.folder)} cannot be written: {error.strerror or error}"
            ) from None
        self._hold(descriptor)

    def leave(self, entry: WallEntry) -> None:
        """Take the entry off the wall."""
        with contextlib.suppress(OSError):
            self._file(entry).unlink(missing_ok=True)
        self._hold(-1)

    def _file(self, entry: WallEntry) -> Path:
        return self.folder / f"{entry.id}.json"

    def _hold(self, descriptor: int) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = descriptor

    def _own_files(self) -> list[Path]:
        own: list[Path] = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for each in itertools.islice(found, MOST_FILES):
                with contextlib.suppress(OSError):
                    found_there = each.stat(follow_symlinks=False)
                    is_own = found_there.st_uid == os.geteuid() and stat.S_ISREG(found_there.st_mode)
                    own += [Path(each.path)] if is_own and _is_ours(each.name) else []
        return own


def _entry_in(file: Path) -> WallEntry | None:
    with contextlib.suppress(OSError, InputError):
        descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _read_one(descriptor, file.name, Counter())
        finally:
            os.close(descriptor)
    return None
