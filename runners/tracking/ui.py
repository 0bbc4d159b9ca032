"""MLflow's UI, as a process of its own (no mlflow in here)."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking.store import (
    absolute_uri,
    database_path,
    is_local,
    open_database,
    require_store,
    tracking_uri,
)
from lossfleet.runners.tracking.views import VIEW, VIEW_TAG, takes_views

# Seconds between two looks whether the server answers.
PAUSE = 0.3
SECONDS_TO_END = 10
LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")


def serve_ui(uri: str | None, port: int, *, host: str = LOOPBACK, opens: bool = False) -> None:
    """Serves MLflow's UI until it is interrupted, and prints the addresses of its experiments.

    Args:
        uri: MLflow's store; None for the default, see `tracking_uri`.
        port: to listen on.
        host: an address or name of this machine.
        opens: whether to open the first of the addresses in the browser.

    Raises:
        UserError: the store does not exist, or the port is taken.
    """
    chosen = tracking_uri(uri)
    if chosen.startswith("http"):
        print(f"MLflow is served at {chosen}")
        return
    require_store(chosen)
    require_port(port, host)
    reached = socket.gethostname() if host in EVERY_ADDRESS else host
    address = f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
    print(f"MLflow UI: {address}, choose 'Model training' at the top left (Ctrl-C ends it)", flush=True)
    views = []
    for name, (identifier, has_view) in experiments(chosen).items():
        trials, charts = links(address, identifier, has_view=has_view and takes_views())
        print(f"  {name}: {trials}\n    charts: {charts}", flush=True)
        views.append(trials)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port)]
    if host != LOOPBACK:
        print(
            f"MLflow asks for no password: whoever reaches {address} can read, change and delete all runs; "
            f"'ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}' leads one user here without --host",
            file=sys.stderr,
        )
        names = ",".join(f"{each},{each}:*" for each in (reached, "localhost", LOOPBACK))
        command += ["--allowed-hosts", names, "--cors-allowed-origins", address]
    command += ["--backend-store-uri", absolute_uri(chosen), "--workers", "1"]
    command += ["--artifacts-destination", str(Path("mlartifacts").absolute())]
    # Nine more processes wait for jobs of language models otherwise.
    with served(command, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}) as server:
        if opens:
            open_when_served(address, views[0] if views else address, server)
        server.wait()


@contextmanager
def served(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server of MLflow's in a process of its own, which ends with the block, also where that is interrupted."""
    # Whoever ends this process ends the server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The server and what it starts look for modules in their working directory first, whatever files are there.
    with tempfile.TemporaryDirectory() as empty:
        environment = {**environment, "MLFLOW_DISABLE_TELEMETRY": "true"}
        # In a session of its own: MLflow ends without the server that it has started.
        server = subprocess.Popen(command, cwd=empty, env=environment, start_new_session=True)
        try:
            yield server
        except KeyboardInterrupt:
            pass
        finally:
            end_session(server)


def end_session(server: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started, if it must be by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_END)


def links(address: str, experiment: int, *, has_view: bool) -> tuple[str, str]:
    """The addresses of an experiment's trials and of its charts, in the view that its last sweep prepared if any."""
    # Without the workflow the UI opens on its pages for language models.
    runs = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    view = f"&viewStateShareKey={VIEW}" if has_view else ""
    return f"{runs}{view}", f"{runs}&compareRunsMode=CHART{view}"


def open_when_served(address: str, link: str, server: subprocess.Popen[bytes]) -> None:
    """Opens a link in the browser as soon as the server answers; says so where there is no browser."""
    while server.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=1).close()
            break
        time.sleep(PAUSE)
    if server.poll() is None and not webbrowser.open(link):
        print("there is no browser to open it in", file=sys.stderr)


def require_port(port: int, host: str = LOOPBACK) -> None:
    """Raises UserError where an address is none of this machine, or its port is taken."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise not_of_this_machine(host) from error
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise not_of_this_machine(host) from error
            raise UserError(
                what=f"port {port} cannot be used ({error.strerror})",
                expected="a free port",
                hint=f"choose another one, for example {port + 1 if port < 65535 else 5000}",
            ) from error


def not_of_this_machine(host: str) -> UserError:
    """The error for an address that cannot be listened on."""
    return UserError(
        what=f"--host is {host}, which is no address of this machine",
        expected="one of its addresses or names",
        hint=f"write for example --host {socket.gethostname()}, or leave it out",
    )


def experiments(uri: str) -> dict[str, tuple[int, bool]]:
    """The experiments with sweeps in a local database, by name: id, and whether a view is prepared.

    None of another store.
    """
    if not is_local(uri):
        return {}
    with closing(open_database(database_path(uri))) as connection:
        query = (
            "SELECT DISTINCT e.name, e.experiment_id, EXISTS (SELECT 1 FROM experiment_tags v "
            "WHERE v.experiment_id = e.experiment_id AND v.key = ?) "
            "FROM experiments e JOIN runs r USING (experiment_id) "
            "JOIN tags t USING (run_uuid) WHERE t.key = 'lossfleet.kind' AND t.value = 'sweep' "
            "AND e.lifecycle_stage = 'active' AND r.lifecycle_stage = 'active' ORDER BY e.name"
        )
        found = connection.execute(query, (VIEW_TAG,)).fetchall()
        return {name: (identifier, bool(has_view)) for name, identifier, has_view in found}
