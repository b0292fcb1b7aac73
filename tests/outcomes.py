"""What a run of the tests says at its end: skips and expected failures by reason."""

import re
from collections import Counter

DID_NOT_RUN = {"skipped": "skipped", "xfailed": "expected to fail"}


def reason(report):
    """Why a test was skipped, or was expected to fail."""
    if hasattr(report, "wasxfail"):
        return report.wasxfail or "no reason is given"
    words = report.longrepr[2].removeprefix("Skipped: ")  # (file, line, reason)
    return re.sub(r"^could not import '(\w+).*", r"needs the package \1", words)


def by_reason(stats):
    """One line each, the most frequent first."""
    for outcome, words in DID_NOT_RUN.items():
        reasons = Counter(reason(report) for report in stats.get(outcome, []))
        for why, n in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
            yield f"{n} {words}: {why}"


def with_keyword(stats, keyword):
    """Number of tests with a keyword that ran to their end."""
    return sum(
        keyword in report.keywords
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in stats.get(outcome, [])
        if getattr(report, "when", None) == "call"
    )


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    for line in by_reason(stats):
        terminalreporter.write_line(line)
    # A run without real data, or without scikit-learn's checks, must be noticed.
    n_real = with_keyword(stats, "realdata")
    n_checks = with_keyword(stats, "test_estimator_checks.py")
    terminalreporter.write_line(f"realdata tests run: {n_real}")
    terminalreporter.write_line(f"scikit-learn's estimator checks run: {n_checks}")
