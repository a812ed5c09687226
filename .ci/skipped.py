"""Fails if a test was skipped in every one of the given JUnit reports."""

import sys
import xml.etree.ElementTree as ElementTree


def skipped(path):
    """The tests of a report that were skipped, and all of them."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    names = {case: (case.get("classname"), case.get("name")) for case in cases}
    return {names[case] for case in cases if case.find("skipped") is not None}, set(names.values())


reports = [skipped(path) for path in sys.argv[1:]]
never_run = set.intersection(*(names for names, _ in reports))
for classname, name in sorted(never_run):
    print(f"skipped everywhere: {classname}::{name}")
print(f"{len(reports[0][1])} tests, {len(never_run)} skipped everywhere")
sys.exit(bool(never_run))
