"""The Ray engine: a worker for each CPU of a Ray cluster.

The workers are detached actors: they and their sweep go on when this process, which only watches, is gone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from types import ModuleType

from lossfleet.conf.errors import Failure, UserError
from lossfleet.runners.cluster.database import hide_password
from lossfleet.runners.cluster.work_queue import WorkQueue
from lossfleet.runners.records import TrialRecord
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.cluster.shared import publish
from lossfleet.sweeps.cluster.worker import is_complete, run_worker
from lossfleet.sweeps.planning.plan import Plan, total_trials
from lossfleet.sweeps.report.conclusion import conclude
from lossfleet.sweeps.running.folder import STUDIES
from lossfleet.sweeps.running.progress import SweepProgress

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CONNECT = 5
# A worker whose node is gone waits for another node, which is no reason to wait for it.
SECONDS_TO_END = 30
NAMESPACE = "lossfleet"


class RayWorker:
    """What Ray makes an actor of: a worker of one sweep."""

    def train(self, sweep: str, url: str, path: Sequence[str]) -> None:
        """Train until the sweep is complete, then leave the cluster, whether or not somebody still watches.

        Args:
            sweep: its name.
            url: of the storage.
            path: where the process that started the sweep looks for modules.
        """
        import ray

        sys.path += [entry for entry in path if entry and entry not in sys.path]
        run_worker(sweep, url)
        ray.actor.exit_actor()


def run_on_ray(plan: Plan) -> bool:
    """Publish a sweep, train it on a Ray cluster, and print its table and sentence.

    Returns:
        Whether no trial ended with an exception.

    Raises:
        UserError: Ray is not installed or the cluster cannot be reached, what `publish` refuses, or no trial of
            any strategy was completed.
        Failure: all workers ended before the sweep was complete.
    """
    ray = import_ray()
    check_address(ray, plan.engine.address)
    check_places(plan)
    url, plan = publish(plan)
    queue = WorkQueue(url, plan.sweep)
    if not is_complete(queue):
        connect(ray, plan.engine.address)
        try:
            train(ray, plan, url, queue)
        finally:
            ray.shutdown()
    records = queue.records.read()
    conclude(records, STUDIES / plan.sweep, ReplicateFactory.of(plan.studies[0].config))
    return not any(isinstance(record, TrialRecord) and record.error for record in records)


def train(ray: ModuleType, plan: Plan, url: str, queue: WorkQueue) -> None:
    """Start the workers and watch until the sweep is complete."""
    count = plan.engine.workers or int(ray.cluster_resources().get("CPU", 1))
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(RayWorker)
    workers = [
        actor.options(
            name=f"{plan.sweep}/{number}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            scheduling_strategy="SPREAD",
        ).remote()
        for number in range(count)
    ]
    running = [worker.train.remote(plan.sweep, url, sys.path) for worker in workers]
    total = sum(total_trials(study) + 1 for study in plan.studies)
    known = queue.records.ended_trials()
    with SweepProgress(total, len(known)) as progress:
        while not is_complete(queue):
            ended, running = ray.wait(running, num_returns=len(running), timeout=SECONDS_BETWEEN_LOOKS)
            new = queue.records.ended_trials(known)
            known |= new
            for record in new.values():
                progress.finished(record)
            if not running and not is_complete(queue):
                # What ended them all is worth more than that they ended.
                ray.get(ended)
                raise Failure(f"all workers have ended, but the sweep {plan.sweep} is not complete")
    ray.wait(running, num_returns=len(running), timeout=SECONDS_TO_END)
    for worker in workers:
        ray.kill(worker)


def import_ray() -> ModuleType:
    """The module ray.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            what="engine=ray needs Ray, which is not installed",
            expected="lossfleet with its extra ray",
            hint="run pip install 'lossfleet[ray]'",
        ) from None
    return ray


def check_address(ray: ModuleType, address: str | None) -> None:
    """Raises UserError unless something listens at the address of a cluster."""
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise OSError("it is no host:port")
        if host in ("127.0.0.1", "localhost"):
            # Ray does the same, and would wait for minutes.
            host = ray.util.get_node_ip_address()
        socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            what=f"there is no Ray cluster at engine.address={address} ({error})",
            expected="host:port of the head of a cluster, or auto on one of its nodes",
            hint="start it with ray start --head, or leave engine.address out for a cluster on this machine",
        ) from None


def check_places(plan: Plan) -> None:
    """Raises UserError for a storage that other machines cannot reach."""
    storage = plan.engine.storage
    if plan.engine.address is not None and storage is not None and storage.startswith("sqlite"):
        raise UserError(
            what=f"the machines of a cluster cannot share {hide_password(storage)}",
            expected="a database of PostgreSQL",
            hint="write engine.storage=postgresql+psycopg2://..., or leave engine.address out",
        )


def connect(ray: ModuleType, address: str | None) -> None:
    """Join the cluster, or start one that only this machine sees.

    Raises:
        UserError: there is no cluster to join.
    """
    # Of any other job Ray puts the working directory first on the workers' path, before what they import.
    job = ray.job_config.JobConfig(_client_job=True)
    options = {"log_to_driver": False, "logging_level": "error", "namespace": NAMESPACE, "job_config": job}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            what=f"the Ray cluster at {address or 'this machine'} cannot be joined ({error})",
            expected="a cluster with the same versions of Ray and Python",
            hint="see what ray status says",
        ) from error
