"""The configuration of the engine: who trains a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, setting, show

STORAGE_EXAMPLE = "postgresql+psycopg2://sweeps@db.example.org/sweeps"


@dataclass(frozen=True)
class Engine:
    """Who trains: this machine, the nodes of a Ray cluster, or `lossfleet worker` processes anywhere.

    Attributes:
        name: local, ray or workers.
        address: of the Ray cluster; None starts one on this machine.
        storage: the database that the workers share; None stands for SQLite in the sweep's folder.
        workers: how many; None for one a CPU of the Ray cluster.
        native: whether the native core trains the shapes that it knows: off, on, or auto, where it can be compiled.
        heartbeat: seconds between a worker's heartbeats; after six without one it has expired.
    """

    name: str = setting(str, "local", choices=("local", "ray", "workers"))
    address: str | None = setting(str, None, example="10.0.0.1:6379")
    storage: str | None = setting(str, None, example=STORAGE_EXAMPLE)
    workers: int | None = setting(int, None, at_least=1, example="8")
    native: str = setting(str, "auto", choices=("auto", "on", "off"))
    heartbeat: float = setting(float, 5.0, above=0)

    def __post_init__(self) -> None:
        check_fields(self, "engine.")


def check_engine(engine: Engine) -> None:
    """Checks what the settings of an engine mean together.

    Raises:
        UserError: a setting that the engine has no use for, or workers on several machines without a database.
    """
    unused = {"local": ("address", "storage", "workers"), "workers": ("address", "workers"), "ray": ()}
    for name in unused[engine.name]:
        if getattr(engine, name) is not None:
            raise UserError(
                what=f"engine.{name} is {show(getattr(engine, name))}, which engine={engine.name} does not use",
                expected="it with engine=ray" + (" or engine=workers" if name == "storage" else ""),
                hint=f"write engine=ray, or leave engine.{name} out",
            )
    if engine.storage is None and (engine.name == "workers" or engine.address is not None):
        raise UserError(
            what=f"engine={engine.name} for several machines has no engine.storage",
            expected="a database that all workers reach",
            hint=f"write for example engine.storage={STORAGE_EXAMPLE}",
        )
