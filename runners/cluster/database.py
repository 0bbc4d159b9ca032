"""The database that the workers of a sweep share: PostgreSQL, or SQLite where all run on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.conf.engines import STORAGE_EXAMPLE
from lossfleet.conf.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Engine

SECONDS_TO_CONNECT = 5
# SQLite has one writer at a time; the others wait this long.
SECONDS_TO_WAIT = 60


def engine_options(url: str) -> dict[str, Any]:
    """What SQLAlchemy is to be told of a database of this kind."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": SECONDS_TO_WAIT}}
    return {"connect_args": {"connect_timeout": SECONDS_TO_CONNECT}, "pool_pre_ping": True}


def connect(url: str, *, create: bool) -> Engine:
    """An engine for the database, which has answered once.

    Args:
        url: SQLAlchemy's.
        create: whether a file of SQLite may be new.

    Raises:
        UserError: no URL, another kind of database, a missing driver, no such file, or no answer.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("postgresql", "sqlite"):
            raise NoSuchModuleError(parsed.drivername)
        if parsed.get_backend_name() == "sqlite" and not create and not Path(parsed.database or "").is_file():
            raise missing_file(parsed.database)
        engine = create_engine(parsed, **engine_options(url))
        with engine.connect():
            return engine
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise UserError(
            what=f"the storage is {hide_password(url)}",
            expected="a database of PostgreSQL or SQLite",
            hint=f"write for example {STORAGE_EXAMPLE}",
        ) from None
    except ImportError as error:
        raise UserError(
            what=f"the storage {hide_password(url)} needs {error.name}, which is not installed",
            expected="the driver of the database",
            hint="run pip install 'lossfleet[postgresql]'",
        ) from None
    except SQLAlchemyError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            what=f"the storage {hide_password(url)} does not answer ({reason})",
            expected="a database that this machine can reach",
            hint="start it, or correct the storage's URL; a password belongs into ~/.pgpass or PGPASSWORD",
        ) from None


def missing_file(database: str | None) -> UserError:
    """The error for a file of SQLite that should be there."""
    return UserError(
        what=f"there is no database {database or 'in memory that others could see'}",
        expected="the storage of a sweep that was published for workers",
        hint="publish it with lossfleet sweep engine=workers engine.storage=...",
    )


def hide_password(url: str) -> str:
    """The URL as it may be shown and stored."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url
