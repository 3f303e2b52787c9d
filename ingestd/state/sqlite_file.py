"""Opening an SQLite database: connections with our settings, tables brought up to date, errors explained."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from ingestd.errors import ConfigError, IngestdError, Permanent, Problem, Retryable
from ingestd.state.schema import STEPS, Step

BUSY_SECS = 10.0
"""How long a statement waits for another process's transaction before it gives up."""
CHECKPOINT_WAIT_SECS = 1.0
"""How long a checkpoint, which keeps writers waiting, waits for somebody who is reading."""
WAL_KEPT_BYTES = 64 * 1024 * 1024
"""A write-ahead log that grew beyond this is cut back to it after a checkpoint."""

_TRANSIENT = {
    sqlite3.SQLITE_BUSY: "another process holds it locked",
    sqlite3.SQLITE_LOCKED: "another connection holds a table locked",
    sqlite3.SQLITE_FULL: "the disk is full: free some space, what waits is written then",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "other processes kept it locked",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only: make it writable, what waits is written then",
    sqlite3.SQLITE_PERM: "the user who runs ingestd may not write it",
    sqlite3.SQLITE_AUTH: "the user who runs ingestd may not use it",
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY_CODE = 0xFF


def connect(path: str) -> sqlite3.Connection:
    """A connection that commits durably (full synchronous write-ahead log) and starts no transaction itself."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECS, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    # Checkpoints are ours to take, with the write lock: see `checkpoint`.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def open_database(path: Path) -> sqlite3.Connection:
    """Create or open the file, switch it to the write-ahead log and bring its tables up to date.

    Raises `ConfigError` when the path cannot be a state of this version, `Retryable` when it is locked.
    """
    try:
        _create_private(path)
    except OSError as error:
        raise ConfigError([Problem(f"the state cannot be opened: {error.strerror}", file=str(path))]) from error
    connection = None
    try:
        connection = connect(str(path))
        _enter_wal(connection)
        migrate(connection, str(path))
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise _explained_at_open(error, path) from error
        raise
    return connection


def _explained_at_open(error: sqlite3.Error, path: Path) -> Exception:
    if code_of(error) == sqlite3.SQLITE_CANTOPEN:
        return ConfigError([Problem("the state cannot be opened: it is not a file we may write", file=str(path))])
    if code_of(error) == sqlite3.SQLITE_NOTADB:
        hint = "name another path, or move the file away"
        return ConfigError([Problem("this file is not an SQLite database", file=str(path), hint=hint)])
    if code_of(error) == sqlite3.SQLITE_READONLY:
        hint = "the user who runs ingestd must be able to write the file and its folder"
        return ConfigError([Problem("the state is read-only", file=str(path), hint=hint)])
    return explained(error, str(path)) or error


def _create_private(path: Path) -> None:
    """Make the file readable by its owner only, and its directory entry durable (SQLite syncs its logs' entries)."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait by itself when another process is switching too."""
    deadline = time.monotonic() + BUSY_SECS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode in ("wal", "memory"):
                return
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY:
                raise
        if time.monotonic() > deadline:
            raise Retryable("the state stays locked by a program that does not use its write-ahead log")
        time.sleep(0.02)


def migrate(connection: sqlite3.Connection, name: str, steps: tuple[Step, ...] = STEPS) -> None:
    """Apply the steps that the database has not seen, all or none, while no other process can write.

    Raises `ConfigError` when the database was written by a later version.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        row = connection.execute("SELECT version FROM schema_version").fetchone()
        version = row[0] if row else 0
        if version > len(steps):
            message = f"the state has schema version {version}; this ingestd knows versions up to {len(steps)}"
            raise ConfigError([Problem(message, file=name, hint="run the newer ingestd, or name another path")])
        for statement in (statement for step in steps[version:] for statement in step):
            connection.execute(statement)
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (?)", (len(steps),))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the database, while nobody can write.

    Not the automatic checkpoint, which runs beside other processes' writes: in SQLite before 3.51.3 a write at
    the wrong moment of such a checkpoint damages the database (https://sqlite.org/wal.html#walresetbug).
    """
    connection.execute(f"PRAGMA busy_timeout = {int(CHECKPOINT_WAIT_SECS * 1000)}")
    try:
        connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECS * 1000)}")


def code_of(error: sqlite3.Error) -> int | None:
    """Primary result code of an error; None for errors of the Python module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY_CODE


def explained(error: sqlite3.Error, name: str) -> IngestdError | None:
    """The error as the caller of a state sees it; None when it is a mistake in a statement of ours."""
    code = code_of(error)
    if code in _TRANSIENT:
        which = getattr(error, "sqlite_errorname", "")  # of many kinds of failure to read or write, the very one
        return Retryable(f"state {name}: {_TRANSIENT[code]} ({error}{', ' * bool(which)}{which})")
    if code in _DAMAGED:
        advice = "stop ingestd, restore a backup, or recover it with `sqlite3 FILE .recover`"
        return Permanent(f"state {name}: the database is damaged ({error}); {advice}", reason="state_damaged")
    return None
