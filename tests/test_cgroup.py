# SPDX-License-Identifier: BSD-3-Clause
"""The limits that control groups set, read from a folder that stands for /."""

import pytest

import fastloss as fl
from fastloss import _cgroup, _kernels


def v1(quota, period="100000"):
    return {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}


def v2(text):
    return {"cpu.max": text}


HOST = "0::/user.slice/job"
DOCKER = "4:memory:/docker/a1\n3:cpu,cpuacct:/docker/a1\n0::/docker/a1"


@pytest.mark.parametrize(
    ("lines", "groups", "limit"),
    [
        (HOST, {"user.slice/job": v2("200000 100000\n")}, 2),
        (HOST, {"user.slice/job": v2("250000 100000\n")}, 3),
        (HOST, {"user.slice/job": v2("10000 100000\n")}, 1),
        (HOST, {"user.slice/job": v2("max 100000\n")}, None),
        (HOST, {"user.slice/job": v2("max 100000\n"), "user.slice": v2("300000 100000")}, 3),
        (HOST, {"user.slice/job": v2("400000 100000\n"), "user.slice": v2("300000 100000")}, 3),
        (HOST, {}, None),
        ("0::/", {"": v2("150000 100000\n")}, 2),
        ("0::/../other", {"": v2("100000 100000\n")}, 1),
        (DOCKER, {"cpu/docker/a1": v1("400000\n")}, 4),
        (DOCKER, {"cpu": v1("50000\n")}, 1),
        (DOCKER, {"cpu": v1("-1\n"), "memory": v2("100000 100000")}, None),
        ("", {}, None),
        (HOST, {"user.slice/job": v2("")}, None),
        (HOST, {"user.slice/job": v2("100000 0")}, None),
        ("no colons", {}, None),
        (None, {}, None),
    ],
)
def test_limits(tmp_path, lines, groups, limit):
    if lines is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(lines)
    for group, files in groups.items():
        folder = tmp_path / "sys/fs/cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    assert _cgroup.cpu_limit(str(tmp_path)) == limit


def test_threads_respect_the_limit(monkeypatch):
    fl.set_num_threads(None)
    monkeypatch.setattr(_cgroup, "cpu_limit", lambda: 1)
    assert fl.get_num_threads() == 1
    monkeypatch.setattr(_cgroup, "cpu_limit", lambda: 10**6)
    at_most = fl.get_num_threads()
    monkeypatch.setattr(_cgroup, "cpu_limit", lambda: None)
    assert fl.get_num_threads() == at_most
    monkeypatch.setattr(_cgroup, "cpu_limit", lambda: 1)
    with fl.threads(3):
        assert fl.get_num_threads() == 3


def test_the_limit_of_this_process():
    limit = _cgroup.cpu_limit()
    assert limit is None or limit >= 1
    assert _kernels.get_num_threads() >= 1
