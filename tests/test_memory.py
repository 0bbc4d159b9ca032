"""The memory that a container leaves, in both versions of control groups."""

from __future__ import annotations

import pytest

from lossfleet.runners.environment import memory

MACHINE = memory()
MIB = 2**20


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"memory.max": 300 * MIB}, 300 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": 300 * MIB}, 300 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 200 * MIB}, 200 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": 300 * MIB, "a/memory.max": 200 * MIB}, 200 * MIB),
        ("0::/\n", {"memory.max": "max"}, MACHINE),
        ("0::/known/outside/alone\n", {"memory.max": 300 * MIB}, 300 * MIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": 300 * MIB}, 300 * MIB),
        ("4:cpu,memory:/docker/1\n0::/\n", {"memory/memory.limit_in_bytes": 300 * MIB}, 300 * MIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": 300 * MIB}, 300 * MIB),
        # As the first version says that there is no limit.
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": 2**63 - 4096}, MACHINE),
        ("4:cpu:/\n", {"memory/memory.limit_in_bytes": 300 * MIB}, MACHINE),
        ("0::/\n", {}, MACHINE),
        (None, {}, MACHINE),
    ],
)
def test_the_smallest_limit_counts(groups, files, expected, tmp_path):
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, value in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    assert memory(tmp_path) == expected
