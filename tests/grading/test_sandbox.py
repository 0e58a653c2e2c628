"""What a kernel in the sandbox can and cannot do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from jupyter_client.manager import start_new_kernel

from tlcore.grading.sandbox import KERNELS, SPEC, SandboxProvisioner

pytestmark = pytest.mark.usefixtures("sandbox")


class Inside:
    """Runs code in a sandboxed kernel and returns what it printed."""

    def __init__(self, manager, client) -> None:
        self.manager, self.client = manager, client

    def __call__(self, code: str) -> str:
        out: list[str] = []

        def keep(message) -> None:
            content = message["content"]
            if message["header"]["msg_type"] == "error":
                out.append(content["ename"])
            elif message["header"]["msg_type"] == "stream":
                out.append(content["text"])

        self.client.execute_interactive(code, output_hook=keep, timeout=60, allow_stdin=False)
        return "".join(out).strip()


@pytest.fixture(scope="module")
def inside(sandbox) -> Iterator[Inside]:
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(KERNELS)
    os.environ["TLCORE_CANARY"] = "secret"
    manager, client = start_new_kernel(kernel_name=SPEC)
    try:
        inside = Inside(manager, client)
        inside("import os, socket, time")
        yield inside
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        os.environ.pop("TLCORE_CANARY")
        os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)


def test_it_has_no_rights_and_no_environment(inside):
    assert inside("import os; print(os.getuid() != 0, os.environ.get('TLCORE_CANARY'))") == "True None"
    assert inside("os.setuid(0)") == "PermissionError"
    assert "CapEff:\t0000000000000000" in inside("print(open('/proc/self/status').read())")
    assert "NoNewPrivs:\t1" in inside("print(open('/proc/self/status').read())")


def test_it_has_no_network(inside):
    assert inside("import socket; print([i[1] for i in socket.if_nameindex()])") == "['lo']"
    assert inside("socket.create_connection(('127.0.0.1', 1), 1)") in ("ConnectionRefusedError", "OSError")


def test_it_sees_no_process_but_its_own(inside):
    assert int(inside("print(len([p for p in os.listdir('/proc') if p.isdigit()]))")) < 8


def test_it_sees_the_package_but_not_the_repository(inside):
    assert (
        inside(
            "import tlcore, pathlib; print(sorted(p.name for p in pathlib.Path(tlcore.__file__).parent.parent.iterdir() if p.name in ('tests', 'solutions', 'course', '.git')))"
        )
        == "[]"
    )


def test_it_writes_only_where_it_may(inside):
    assert inside("open('mine.txt', 'w').write('x'); print(os.listdir('.'))") == "['mine.txt']"
    assert inside("open('/tmp/mine.txt', 'w').close()") == ""
    for path in ("/usr/x", "/etc/x", "/x"):
        assert inside(f"open({path!r}, 'w')") in ("OSError", "PermissionError")
    assert inside("import tlcore; open(tlcore.__file__, 'a')") in ("OSError", "PermissionError")


def test_torch_works_within_the_limits(inside):
    code = "import torch; x = torch.randn(8, 3, 64, 64, requires_grad=True); torch.nn.Conv2d(3, 8, 3)(x).sum().backward(); print(x.grad.shape)"
    assert inside(code) == "torch.Size([8, 3, 64, 64])"
    assert (
        inside("from multiprocessing import get_context; print(get_context('spawn').__class__.__name__)")
        == "SpawnContext"
    )


def test_memory_processes_and_shared_memory_are_limited(inside):
    assert inside("hoard = bytearray(5 * 2**30)") == "MemoryError"
    assert inside("print(os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize // 2**20)") == str(
        SandboxProvisioner().shared_memory
    )
    assert (
        inside(
            "open('/tmp/big', 'wb').write(bytes(10)); import resource; print(resource.getrlimit(resource.RLIMIT_NPROC)[0])"
        )
        == "128"
    )
    assert inside("open('big', 'wb').write(bytes(200 * 2**20))") == "OSError"


LIBC = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "
REFUSED = {
    "a file in memory": "os.memfd_create('x')",
    "shared memory of another kind": LIBC + "assert libc.shmget(0, 2**30, 0o1666) >= 0",
    "namespaces": LIBC + "assert libc.unshare(0x10000000) == 0",
    "a process in new namespaces": LIBC + "assert libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0",
    "mounts": LIBC + "assert libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0",
    "other processors": "os.sched_setaffinity(0, range(os.cpu_count()))",
    "keys": LIBC + "assert libc.syscall(248, b'user', b'x', b'y', 1, -4) >= 0",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86-64")
@pytest.mark.parametrize("what", REFUSED)
def test_calls_are_refused(inside, what):
    assert inside(REFUSED[what]) in ("PermissionError", "AssertionError")


def test_it_is_the_first_to_go_when_the_machine_runs_out_of_memory(inside):
    assert inside("print(open('/proc/self/oom_score_adj').read().strip())") == "1000"


def test_an_interrupt_arrives(inside):
    import threading

    threading.Timer(2, inside.manager.interrupt_kernel).start()
    assert inside("import time; time.sleep(40)") == "KeyboardInterrupt"


HOARDS = {
    "unlinked but open": "files = []\nwhile True:\n    f = open('x', 'wb', buffering=0); os.unlink('x'); f.write(bytes(2**26)); files.append(f)",
    "unlinked but mapped": "import mmap\nmaps = []\nwhile True:\n    f = open('x', 'wb+', buffering=0); os.unlink('x'); f.write(bytes(2**26))\n"
    "    maps.append(mmap.mmap(f.fileno(), 2**26)); f.close()",
    "folders in folders": "while True:\n    os.mkdir('a'); os.chdir('a')",
    "folders": "n = 0\nwhile True:\n    os.mkdir(f'f{n}'); n += 1",
}


@pytest.mark.parametrize("what", HOARDS)
def test_what_has_no_name_counts_too(what, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(KERNELS))
    manager, client = start_new_kernel(kernel_name=SPEC)
    try:
        client.execute("import os\n" + HOARDS[what])
        for _ in range(100):
            if not manager.is_alive():
                break
            time.sleep(0.2)
        assert "wrote more than" in manager.provisioner.ended
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_nothing_is_left_behind():
    os.environ["JUPYTER_PATH"] = str(KERNELS)
    manager, client = start_new_kernel(kernel_name=SPEC)
    run = manager.provisioner.run
    assert run.is_dir()
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert not run.exists()
