"""A kernel in a bubblewrap sandbox: no network, no disk but its own, no rights, and only so much of everything.

Used through Jupyter's own hooks: the kernelspec ``tlcore-sandbox`` names this provisioner, which wraps the kernel's
command. Messages go over unix sockets in a run folder, since a kernel without a network has no ports. Parts of
the run folder are all that the kernel can write to on the host's disk; a watcher outside keeps an eye on them and on
memory.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Int, List, Unicode

from tlcore.grading.calls import refuse_calls

SPEC = "tlcore-sandbox"
KERNELS = Path(__file__).parent / "kernels"
_MB = 2**20
_POLL_SECONDS = 0.2
_RESERVE = 2**30  # bytes of disk that stay free: files on their way through a socket cannot be counted
_DEEPEST = 100  # folders in folders
_PREFIX = "tk-"
_WRITABLE = ("out", "s", "w", "mpl")  # replies, sockets, working folder, matplotlib's cache


class SandboxProvisioner(LocalProvisioner):
    """Starts a kernel inside bubblewrap; limits are traits, in megabytes, seconds or plain numbers."""

    memory = Int(4096, help="memory of the whole process tree").tag(config=True)
    processes = Int(128, help="processes and threads").tag(config=True)
    cpu_seconds = Int(1800, help="CPU time of one process").tag(config=True)
    file_size = Int(128, help="size of one file").tag(config=True)
    disk = Int(512, help="bytes in the run folder").tag(config=True)
    files = Int(5000, help="files and folders in the run folder").tag(config=True)
    scratch = Int(512, help="size of /tmp, which counts as memory").tag(config=True)
    shared_memory = Int(512, help="size of /dev/shm, which counts as memory").tag(config=True)
    readable = List(Unicode(), help="further files and folders that may be read").tag(config=True)

    run: Path | None = None
    ended = ""

    @property
    def exchange(self) -> tuple[Path, Path]:
        """Folders for large values: requests, which the kernel can only read, and replies."""
        assert self.run is not None
        return self.run / "in", self.run / "out"

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        self.run = _run_folder()
        manager = self.parent
        manager.transport, manager.ip = "ipc", str(self.run / "s" / "k")
        manager.connection_file = str(self.run / "in" / "c.json")
        return await super().pre_launch(**kwargs)  # type: ignore[no-any-return]

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        assert self.run is not None
        if kwargs.get("cwd"):
            _copy_plain(Path(kwargs["cwd"]), self.run / "w")
        _share_font_list(self.run / "mpl")
        uid = _hand_over(self.run)
        environment = _environment(kwargs.get("env") or {}, MPLCONFIGDIR=f"{self.run}/mpl")
        kwargs["cwd"], kwargs["env"] = "/", {"PATH": os.environ.get("PATH", "/usr/bin")}
        kwargs["stdout"] = kwargs["stderr"] = subprocess.DEVNULL  # the kernel sends its output as messages
        calls = refuse_calls()
        try:
            wrapped = self._wrapped(cmd, calls, environment, uid)
            info = await super().launch_kernel(wrapped, pass_fds=(calls,), **kwargs)
        finally:
            os.close(calls)
        watcher = threading.Thread(target=self._watch, args=(self.process.pid,), daemon=True)
        watcher.start()
        return info

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart)
        if self.run:
            _remove(self.run)

    def _wrapped(self, command: list[str], calls: int, environment: list[str], uid: int | None) -> list[str]:
        """`command` as it is run inside."""
        walls = [*self._walls(), "--seccomp", str(calls)]
        return ["bwrap", *walls, *environment, "--", *self._limits(uid), *command]

    def _walls(self) -> list[str]:
        """What the kernel sees of the machine."""
        assert self.run is not None
        args = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        args += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"]
        if os.getuid() == 0:
            args += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            args += ["--unshare-user"]
        for folder in ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin"):
            path = Path(folder)
            if path.is_symlink():
                args += ["--symlink", os.readlink(path), folder]
            elif path.is_dir():
                args += ["--ro-bind", folder, folder]
        for file in ("ld.so.cache", "localtime", "fonts", "alternatives", "nsswitch.conf"):
            args += ["--ro-bind-try", f"/etc/{file}", f"/etc/{file}"]
        args += [
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--perms",
            "1777",
            "--size",
            str(self.shared_memory * _MB),
            "--tmpfs",
            "/dev/shm",
        ]
        args += ["--perms", "1777", "--size", str(self.scratch * _MB), "--tmpfs", "/tmp"]
        args += _read_only([*_python_folders(), *map(Path, self.readable)])
        args += [*_parents([self.run / "in"]), "--ro-bind", f"{self.run}/in", f"{self.run}/in"]
        for name in _WRITABLE:
            args += ["--bind", f"{self.run}/{name}", f"{self.run}/{name}"]
        return [*args, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", f"{self.run}/w"]

    def _limits(self, uid: int | None) -> list[str]:
        limits = {
            "--data": self.memory * _MB,
            "--fsize": self.file_size * _MB,
            "--cpu": self.cpu_seconds,
            "--nofile": 1024,
            "--core": 0,
        }
        first = ["choom", "--adjust", "1000", "--"]  # should the machine run out of memory, these go first
        command = [*first, "prlimit", *(f"{name}={value}:{value}" for name, value in limits.items())]
        drop = ["setpriv", "--no-new-privs"]
        if uid is not None:
            drop += [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        return [*command, *drop, "--", "prlimit", f"--nproc={self.processes}:{self.processes}"]

    def _watch(self, pid: int) -> None:
        """Kill the kernel when it and its children use too much; say why in `ended`."""
        while self.process is not None and self.process.poll() is None and self.run is not None:
            time.sleep(_POLL_SECONDS)
            reason, family = "", _tree(pid)
            size, count = _disk(self.run)
            size += _unlinked(family, self.run, self.file_size * _MB)
            if size > self.disk * _MB or count > self.files:
                reason = f"wrote more than {self.disk} MB or {self.files} files, or nested folders too deep"
            elif shutil.disk_usage(self.run.parent).free < _RESERVE:
                reason = "ran while the disk was full"
            elif _memory(family) > self.memory * _MB:
                reason = f"used more than {self.memory} MB of memory"
            if reason:
                self.ended = reason
                for process in _tree(pid):
                    _kill(process.pid)
                return


def _environment(given: dict[str, str], **more: str) -> list[str]:
    keep = ("NBGRADER_EXECUTION", "TLCORE_BUDGET", "OMP_NUM_THREADS", "TZ")
    values = {k: given[k] for k in keep if k in given}
    values |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/tmp", "USER": "student"}
    values |= {"LOGNAME": "student", "LANG": "C.UTF-8", "IPYTHONDIR": "/tmp/ipython"}
    values |= {"PYTHONDONTWRITEBYTECODE": "1"} | more
    return [part for name, value in values.items() for part in ("--setenv", name, value)]


def _python_folders() -> list[Path]:
    """The interpreter, its libraries, and the tlcore package by itself: never the repository around it."""
    paths = sysconfig.get_paths()
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(paths["purelib"]), Path(paths["platlib"])}
    found |= {Path(os.path.realpath(sys.executable)).parent.parent, Path(__file__).resolve().parent.parent}
    return sorted(p for p in found if p.exists() and not p.is_relative_to("/usr"))


def _read_only(folders: Iterable[Path]) -> list[str]:
    chosen = list(folders)
    outer = [p for p in chosen if not any(p != q and p.is_relative_to(q) for q in chosen)]
    return [*_parents(outer), *(part for p in outer for part in ("--ro-bind", str(p), str(p)))]


def _parents(folders: Iterable[Path]) -> list[str]:
    """Make the folders above readable to everyone inside; bubblewrap would copy their real, closed modes."""
    above = sorted({q for p in folders for q in p.parents if q not in (Path("/"), Path("/tmp"), Path("/usr"))})
    return [part for q in above for part in ("--perms", "0755", "--dir", str(q))]


def _copy_plain(origin: Path, target: Path) -> None:
    """Copy plain files and folders, nothing that points elsewhere; notebooks stay behind."""
    for path in origin.iterdir() if origin.is_dir() else ():
        if path.is_symlink() or path.suffix == ".ipynb":
            continue
        if path.is_dir():
            (target / path.name).mkdir()
            _copy_plain(path, target / path.name)
        elif path.is_file():
            shutil.copyfile(path, target / path.name)


def _share_font_list(target: Path) -> None:
    """Give the kernel matplotlib's list of fonts, which takes it a second to make."""
    import matplotlib

    for path in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copyfile(path, target / path.name)


def _run_folder() -> Path:
    """Make a kernel's run folder; its own path must be short, since sockets lie in it."""
    run = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir="/tmp"))
    run.chmod(0o711)
    for name in ("in", *_WRITABLE):
        (run / name).mkdir(mode=0o755)
    return run


def _hand_over(run: Path) -> int | None:
    """As root, choose a user number of its own for this kernel and give it the folders it may write to.

    The run folder itself and ``in`` stay ours: what the grader writes must not be led elsewhere by a link.
    """
    if os.getuid() != 0:
        return None
    uid = random.SystemRandom().randrange(200_000, 2_000_000)
    given = [path for name in _WRITABLE for path in (run / name, *(run / name).rglob("*"))]
    for path in (*given, *run.glob("in/*.json")):
        os.chown(path, uid, uid, follow_symlinks=False)
    return uid


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [*top.children(recursive=True), top]
    except psutil.Error:
        return []


def _memory(family: list[psutil.Process]) -> int:
    """Anonymous and shared memory of a process tree, each shared page counted once."""
    total = 0
    for process in family:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        total += sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0) + sizes.get("SwapPss", 0)
        total += _page_tables(process.pid)
    return total * 1024


def _page_tables(pid: int) -> int:
    """Kilobytes of a process's page tables, which a wide, empty map can make large."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPTE:"))


def _disk(run: Path) -> tuple[int, int]:
    """Bytes and number of files and folders below `run`; links are not followed.

    Folders nested too deep count as without end: below some depth a path is too long to be looked at.
    """
    size = count = 0
    waiting = [(str(run), 0)]
    while waiting:
        folder, depth = waiting.pop()
        if depth > _DEEPEST:
            return size, sys.maxsize
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone meanwhile
        except OSError:  # too long a path, or closed to us: what is in there cannot be counted
            return size, sys.maxsize
        for entry in entries:
            count += 1
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                size += entry.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
    return size, count


def _remove(folder: Path) -> None:
    """Remove a run folder, however deep its folders are nested; Python's own way recurses and gives up."""
    subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)


def _unlinked(family: list[psutil.Process], run: Path, largest: int) -> int:
    """Bytes of files on the disk of `run` that a process tree keeps though they have no name any more.

    A file that is only mapped counts as `largest` unless we may look at it.
    """
    try:
        disk = run.stat().st_dev
    except OSError:
        return 0
    found: dict[int, int] = {}
    for process in family:
        at = Path(f"/proc/{process.pid}")
        with contextlib.suppress(OSError):
            for entry in os.scandir(at / "fd"):
                status = entry.stat()
                if status.st_nlink == 0 and status.st_dev == disk:
                    found[status.st_ino] = status.st_blocks * 512
        with contextlib.suppress(OSError):
            for line in (at / "maps").read_text(errors="replace").splitlines():
                if not line.endswith(" (deleted)"):
                    continue
                span, _, _, device, inode, _ = line.split(maxsplit=5)
                if device != f"{os.major(disk):02x}:{os.minor(disk):02x}" or int(inode) in found:
                    continue
                try:
                    found[int(inode)] = (at / "map_files" / span).stat().st_blocks * 512
                except OSError:
                    found[int(inode)] = largest
    return sum(found.values())


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def sweep() -> None:
    """Remove the run folders of graders that were killed: a folder's name holds the number of the process it served."""
    for folder in Path("/tmp").glob(f"{_PREFIX}[0-9]*-*"):
        served = folder.name.removeprefix(_PREFIX).split("-")[0]
        if served.isdigit() and not psutil.pid_exists(int(served)) and not folder.is_symlink():
            _remove(folder)


def probe() -> str:
    """Try to start a process in the sandbox; return what stands in the way, or an empty text."""
    for tool in ("bwrap", "choom", "setpriv", "prlimit"):
        if not shutil.which(tool):
            package = "bubblewrap" if tool == "bwrap" else "util-linux"
            return f"{tool} is not installed (Debian package {package})"
    try:
        calls = refuse_calls()
    except (ImportError, RuntimeError) as error:
        return f"system calls cannot be refused (pip install 'tlcore[course]'; Debian package libseccomp2): {error}"
    folder = _run_folder()
    try:
        provisioner = SandboxProvisioner()
        provisioner.run = folder
        uid = _hand_over(folder)
        command = provisioner._wrapped([sys.executable, "-c", "print(6 * 7)"], calls, _environment({}), uid)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, pass_fds=(calls,))
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap cannot start: {error}"
    finally:
        os.close(calls)
        _remove(folder)
    if done.stdout.strip() != "42":
        hint = " (is the machine set to allow user namespaces?)" if os.getuid() else ""
        return f"bubblewrap cannot start{hint}: {done.stderr.strip()[:300]}"
    return ""
