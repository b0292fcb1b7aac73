"""The end of a run lists skips and expected failures by reason."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ONE = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_of_linux(n):
    pytest.skip("needs Linux")

@pytest.mark.skipif(True, reason="needs the package spark")
def test_of_spark():
    pass

@pytest.mark.xfail(reason="width is no count", strict=True)
@pytest.mark.parametrize("n", range(2))
def test_of_width(n):
    assert n > 5

@pytest.mark.xfail
def test_without_words():
    assert False

@pytest.mark.realdata
def test_of_clicks():
    pass
"""
OTHER = """
import pytest

pytest.importorskip("spark.of_tests")

def test_never():
    assert False
"""


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["one process", "two workers"])
def test_one_line_for_each_reason(pytester, options):
    pytester.makeconftest(Path(__file__).with_name("outcomes.py").read_text("utf-8"))
    pytester.makepyfile(test_one=ONE, test_other=OTHER)
    pytester.makeini("[pytest]\nmarkers = realdata: needs real data")
    lines = pytester.runpytest("-p", "no:randomly", *options).outlines
    start = lines.index("3 skipped: needs Linux")
    assert lines[start:-1] == [
        "3 skipped: needs Linux",
        "2 skipped: needs the package spark",  # a test, and a file as a whole
        "2 expected to fail: width is no count",
        "1 expected to fail: no reason is given",
        "realdata tests run: 1",
        "scikit-learn's estimator checks run: 0",
    ]
    assert "1 passed, 5 skipped, 3 xfailed" in lines[-1]
