"""leakage_check: test data that a model may have seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from skclip._data import (
    ItemIndex,
    as_item_features,
    as_sessions,
    check_targets,
    check_times_rise,
    checked_codes,
    content_hashes,
    factorize_list,
    labels,
    prefix_ends,
)
from skclip._inside import clicked_graph_of, estimators_inside
from skclip._typing import Estimator, Ids, SessionsLike
from skclip._warnings import warn_user


@dataclass(frozen=True)
class Finding:
    """Result of one check, see `LeakageReport`."""

    check: str
    level: str
    count: int | None
    message: str
    examples: list[Any] = field(default_factory=list)


class LeakageReport:
    """Findings of `leakage_check`. Printing it shows one line per check.

    Parameters
    ----------
    findings : list of Finding
        Results of the checks. Each has a name (``check``), a ``message``, and up to
        five raw ids as ``examples``. The ``level`` is "leak", "ok", "info" or
        "unchecked". The ``count`` is the number of sessions, items or edges concerned,
        or None if the check could not run.

    See Also
    --------
    leakage_check : Make a report.

    Examples
    --------
    >>> from skclip.model_selection import leakage_check
    >>> report = leakage_check([["a", "b"], ["a", "c"]], [["d", "b"], ["a", "c"]])
    >>> report.ok, report["unseen_items"].count
    (True, 1)
    >>> print(report)  # doctest: +ELLIPSIS
    LeakageReport: no leak found, 4 not checked
    ...
      info  unseen_items: 1 of 4 test items without a training event, in 0.250 of the...
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: list[Finding] = list(findings)

    @property
    def leaks(self) -> list[Finding]:
        """Findings of level "leak"."""
        return [finding for finding in self.findings if finding.level == "leak"]

    @property
    def unchecked(self) -> list[Finding]:
        """Checks that could not run because ids, times or users are missing."""
        return [finding for finding in self.findings if finding.level == "unchecked"]

    @property
    def ok(self) -> bool:
        """Whether no check found a leak."""
        return not self.leaks

    def __getitem__(self, check: str) -> Finding:
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(f"No check {check!r} among {[f.check for f in self.findings]}.")

    def __repr__(self) -> str:
        marks = {"leak": "LEAK", "ok": "ok", "info": "info", "unchecked": "?"}
        n = len(self.leaks)
        head = "no leak found" if n == 0 else f"{n} leak{'s' if n > 1 else ''}"
        if self.unchecked:
            head += f", {len(self.unchecked)} not checked"
        lines = [
            f"  {marks[f.level]:<5} {f.check}: {f.message}"
            + (f" For instance {f.examples[:3]}." if f.examples else "")
            for f in self.findings
        ]
        return "\n".join([f"LeakageReport: {head}", *lines])


def leakage_check(
    X_train: SessionsLike,
    X_test: SessionsLike,
    *,
    y_train: Ids | None = None,
    y_test: Ids | None = None,
    estimator: Estimator | None = None,
    on_leak: Literal["warn", "raise", "ignore"] = "warn",
) -> LeakageReport:
    """Look for test data in the training part or in a fitted model.

    Parameters
    ----------
    X_train, X_test : Sessions or list of lists
        Training and test part. Ids, times and users are compared if both
        parts have them.
    y_train, y_test : array-like of shape (n_sessions,), default=None
        Next item of each row, if the parts are prefixes with targets.
    estimator : fitted estimator, default=None
        Recommender, Pipeline, search or `SessionClusterer`. Its catalog, item counts
        and item graph are compared with the parts.
    on_leak : {"warn", "raise", "ignore"}, default="warn"
        What to do if there is a leak, in addition to returning the report.

    Returns
    -------
    report : LeakageReport
        One finding per check. These checks report leaks:

        - ``session_ids``: sessions in both parts. Within-session protocols have them by
          design.
        - ``test_before_train_ends``: test sessions that begin before the last training
          event. The model may have learned from their future.
        - ``train_after_test_begins``: training sessions with events after the first
          test event. This is the same overlap from the other side. Drop the smaller
          group: one long training session can overlap with many test sessions.
        - ``duplicates``: test sessions with the items and times of a training session.
          Without times, sessions with equal items are reported as information only,
          because short sessions are often equal.
        - ``catalog``: items of `estimator` that only the test part has. Items known
          through `item_features` are not leaks.
        - ``counts``: items that `estimator` counted more often than they occur in
          `X_train`.
        - ``graph``: edges between items that follow each other only in the test part.

        Two more checks are for information: ``users`` in both parts, and
        ``unseen_items``, the test items without a training event.

    Raises
    ------
    ValueError
        There is a leak and `on_leak` is "raise", times decrease within a session, or
        `on_leak` is unknown.

    Notes
    -----
    The check cannot find settings that were chosen on the test part. It cannot find a
    model trained on test sessions if all their items and transitions also occur in
    training. It cannot find preprocessing that used both parts, such as a filter by
    item counts.

    Examples
    --------
    >>> from skclip import Sessions
    >>> from skclip.model_selection import leakage_check
    >>> X_train = Sessions.from_lists([["a", "b"], ["b", "c"]], ids=[1, 2])
    >>> X_test = Sessions.from_lists([["b", "c"], ["a", "d"]], ids=[2, 3])
    >>> report = leakage_check(X_train, X_test, on_leak="ignore")
    >>> [(leak.check, leak.count, leak.examples) for leak in report.leaks]
    [('session_ids', 1, [2])]
    >>> report["users"].message
    'not checked: X_train and X_test have no users.'
    """
    if on_leak not in ("warn", "raise", "ignore"):
        raise ValueError(
            f"on_leak must be 'warn', 'raise' or 'ignore', got {on_leak!r}."
        )
    X_train, X_test = as_sessions(X_train), as_sessions(X_test)
    for part in (X_train, X_test):
        if part.times is not None:
            check_times_rise(part)
    items = _Items(X_train, y_train, X_test, y_test)
    findings = [
        _session_ids(X_train, X_test),
        *_overlap(X_train, X_test),
        _duplicates(X_train, X_test, items),
        _users(X_train, X_test),
        _unseen_items(items),
    ]
    if estimator is not None:
        findings += _estimator_findings(estimator, items)
    report = LeakageReport(findings)
    if report.leaks and on_leak != "ignore":
        leaks = " ".join(f"{leak.check}: {leak.message}" for leak in report.leaks)
        message = f"The test part leaks: {leaks} Print the report for all checks."
        if on_leak == "raise":
            raise ValueError(message)
        warn_user(message)
    return report


# -- sessions --------------------------------------------------------------------------


def _session_ids(X_train, X_test):
    check = "session_ids"
    missing = _missing(check, X_train, X_test, "ids")
    if missing:
        return missing
    known, asked = _labels(X_train.ids, X_test.ids, "ids")
    shared = [i for i in asked if i in known]
    message = f"{len(shared)} of {len(asked)} test sessions are training sessions, too."
    return _looked(check, shared, message, shared)


def _overlap(X_train, X_test):
    checks = "test_before_train_ends", "train_after_test_begins"
    missing = [_missing(check, X_train, X_test, "times") for check in checks]
    if all(missing):
        return missing
    if X_train.n_events == 0 or X_test.n_events == 0:
        message = "not checked: one part has no event."
        return [Finding(check, "unchecked", None, message) for check in checks]
    last, first = X_train.times.max(), X_test.times.min()
    filled = np.flatnonzero(X_test.lengths)
    early = filled[X_test.times[X_test.offsets[filled]] < last]
    late = np.flatnonzero(X_train.end_times > first)  # NaN of empty sessions is not
    n_later = int((X_train.times > first).sum())
    texts = (
        f"{len(early)} of {len(X_test)} test sessions begin before the last training "
        f"event (the parts overlap for {(last - first) / 3600:.1f} hours).",
        f"{len(late)} of {len(X_train)} training sessions end after the first test "
        f"event ({n_later} of {X_train.n_events} training events are later than it).",
    )
    found = []
    for check, X, rows, text in zip(
        checks, (X_test, X_train), (early, late), texts, strict=True
    ):
        text = text if len(rows) else text.partition(" (")[0] + "."
        examples = (rows if X.ids is None else X.ids[rows]).tolist()
        found.append(_looked(check, rows, text, examples))
    return found


def _duplicates(X_train, X_test, items):
    timed = X_train.times is not None and X_test.times is not None
    known = _content(X_train, items.train_codes, timed)
    asked = _content(X_test, items.test_codes, timed)
    rows = np.flatnonzero(np.isin(asked, known) & (X_test.lengths > 0))
    message = f"{len(rows)} of {len(X_test)} test sessions have the items"
    if timed:
        message += " and the times of a training session."
        examples = [] if X_test.ids is None else X_test.ids[rows].tolist()
        return _looked("duplicates", rows, message, examples)
    message += " of a training session (times unknown)."
    return Finding("duplicates", "info", len(rows), message)


def _content(X, codes, timed):
    """A 64-bit hash of each session's items and, if asked for, times."""
    starts, stops = X.offsets[:-1], X.offsets[1:]
    keys = content_hashes(codes, starts, stops)
    if timed:
        seconds = (X.times + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        keys = keys * np.uint64(31) + content_hashes(seconds, starts, stops)
    return keys * np.uint64(31) + X.lengths.astype(np.uint64)


def _users(X_train, X_test):
    missing = _missing("users", X_train, X_test, "users")
    if missing:
        return missing
    known, asked = _labels(X_train.users, X_test.users, "users")
    n = len(known.keys() & asked)
    message = f"{n} of {len(asked)} test users are in both parts."
    return Finding("users", "info", n, message)


def _labels(train, test, what):
    """Distinct ids of both parts in order, as keys. Missing ids are left out."""
    known, asked = (
        labels(list(dict.fromkeys(i for i in ids.tolist() if i is not None)))
        for ids in (train, test)
    )
    checked_codes(asked, ItemIndex(known), f"X_test.{what}")
    return dict.fromkeys(known.tolist()), dict.fromkeys(asked.tolist())


def _unseen_items(items):
    in_test = items.in_test > 0
    unseen = in_test & (items.in_train == 0)
    share = items.in_test[unseen].sum() / max(items.in_test.sum(), 1)
    message = (
        f"{unseen.sum()} of {in_test.sum()} test items without a training event, in "
        f"{share:.3f} of the test events."
    )
    return Finding("unseen_items", "info", int(unseen.sum()), message)


def _missing(check, X_train, X_test, column):
    """Return a finding if a column is missing, else None."""
    parts = {"X_train": X_train, "X_test": X_test}
    names = [name for name, X in parts.items() if getattr(X, column) is None]
    if not names:
        return None
    names = names[0] + " has" if len(names) == 1 else "X_train and X_test have"
    message = f"not checked: {names} no {column}."
    return Finding(check, "unchecked", None, message)


def _looked(check, found, message, examples):
    """Return a finding, which is a leak if anything was found."""
    level = "leak" if len(found) else "ok"
    return Finding(check, level, len(found), message, examples[:5])


# -- items of both parts, in one code --------------------------------------------------


class _Items:
    """Both parts over one vocabulary; targets are events behind their rows."""

    def __init__(self, X_train, y_train, X_test, y_test):
        parts = {"X_train": X_train.vocabulary, "X_test": X_test.vocabulary}
        for name, X, y in (("y_train", X_train, y_train), ("y_test", X_test, y_test)):
            parts[name] = np.empty(0) if y is None else check_targets(y, len(X))
        known = ItemIndex(X_train.vocabulary)
        for name, ids in parts.items():
            checked_codes(ids, known, name)
        words = [word for ids in parts.values() for word in ids.tolist()]
        self.vocabulary, codes = factorize_list(words)
        bounds = np.cumsum([len(ids) for ids in parts.values()])
        train, test, y_train, y_test = np.split(codes, bounds[:-1])
        self.train_codes, self.test_codes = train[X_train.codes], test[X_test.codes]
        n = len(self.vocabulary)
        self.train = _with_targets(self.train_codes, X_train.offsets, y_train)
        self.test = _with_targets(self.test_codes, X_test.offsets, y_test)
        self.in_train = np.bincount(self.train[0], minlength=n)
        self.in_test = np.bincount(self.test[0], minlength=n)


def _with_targets(codes, offsets, targets):
    if len(targets) == 0:
        return codes, offsets
    return np.insert(codes, offsets[1:], targets), offsets + np.arange(len(offsets))


def _pairs(codes, offsets, kept):
    """Sorted pairs of kept items that follow each other, without other items."""
    known = kept[codes]
    offsets = np.concatenate([[0], np.cumsum(known)])[offsets]
    codes = codes[known].astype(np.int64)
    rows, ends = prefix_ends(np.diff(offsets))
    at = offsets[:-1][rows] + ends
    return _pair_numbers(codes[at - 1], codes[at], len(kept))


def _pair_numbers(a, b, n):
    return np.unique(np.minimum(a, b) * n + np.maximum(a, b))


# -- a fitted estimator ----------------------------------------------------------------


def _estimator_findings(estimator, items):
    """Findings on the catalog, counts and graphs of the estimators inside."""
    index = ItemIndex(items.vocabulary)
    parts = [
        (part, checked_codes(part.item_ids_, index, "the estimator") - 1)
        for part in estimators_inside(estimator)
        if isinstance(getattr(part, "item_ids_", None), np.ndarray)
    ]
    if not parts:
        raise TypeError(
            f"estimator={estimator!r:.60} holds no fitted recommender or clusterer. "
            "Pass a fitted recommender, Pipeline, search or SessionClusterer."
        )
    names, n = items.vocabulary.tolist(), len(items.vocabulary)
    findings = []
    for check, look, message in (
        ("catalog", _foreign_items, "items of the estimator are in the test part only"),
        (
            "counts",
            _overcounted,
            "test items are counted more often than X_train holds them",
        ),
        ("graph", _foreign_edges, "edges of the item graph are in the test part only"),
    ):
        found = [look(part, codes, items) for part, codes in parts]
        found = [numbers for numbers in found if numbers is not None]
        if found:
            which = np.unique(np.concatenate(found)).tolist()
            examples = [
                (names[i // n], names[i % n]) if check == "graph" else names[i]
                for i in which[:5]
            ]
            text = f"{len(which)} {message}."
            findings.append(_looked(check, which, text, examples))
    return findings


# Each looks at one estimator, whose items have the codes `codes` (-1 = in neither
# part). None means that the estimator keeps nothing to look at.


def _foreign_items(part, codes, items):
    only_test = (items.in_test > 0) & (items.in_train == 0)
    foreign = codes[codes >= 0]
    foreign = foreign[only_test[foreign]]
    features = getattr(part, "item_features", None)
    if hasattr(features, "get_params"):  # an object that says how they are used
        features = features.features
    if features is not None:  # items with features are in the catalog anyway
        index = ItemIndex(items.vocabulary)
        featured = index.codes_of(as_item_features(features).item_ids) - 1
        foreign = np.setdiff1d(foreign, featured)
    return foreign


def _overcounted(part, codes, items):
    counts = getattr(part, "item_counts_", None)
    if counts is None or counts.dtype.kind not in "iu":  # weights may be decayed
        return None
    codes, counts = codes[codes >= 0], counts[codes >= 0]
    return codes[(counts > items.in_train[codes]) & (items.in_test[codes] > 0)]


def _foreign_edges(part, codes, items):
    graph = clicked_graph_of(part)
    if graph is None:
        return None
    n, graph = len(items.vocabulary), graph.tocoo()
    kept = np.zeros(n, dtype=bool)
    kept[codes[codes >= 0]] = True
    a, b = codes[graph.row], codes[graph.col]
    known = (a >= 0) & (b >= 0)
    edges = _pair_numbers(a[known], b[known], n)
    edges = edges[~np.isin(edges, _pairs(*items.train, kept))]
    return edges[np.isin(edges, _pairs(*items.test, kept))]
