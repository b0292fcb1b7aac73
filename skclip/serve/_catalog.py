"""Items of a model: their ids in JSON, titles, clusters, clicks, and a search."""

import bisect
import re

import numpy as np

from skclip._data import ItemIndex
from skclip._inside import estimators_inside
from skclip.serve._titles import match_titles, read_titles

_WORD = re.compile(r"[^\W_]+")


class Catalog:
    """Items of a model, as the server describes them. It never changes."""

    def __init__(self, estimator, recommender, titles_path):
        item_ids = recommender.item_ids_
        self.ids = json_ids(item_ids)
        _check_ids(self.ids)
        self.no_id = _other_than(self.ids)
        self._index = ItemIndex(item_ids)
        self.clusters = _of_each_item(estimator, "membership_", item_ids)
        self.clicks = _of_each_item(estimator, "item_counts_", item_ids)
        self.titles, self.mismatch = None, None
        if titles_path is not None:
            titles = read_titles(titles_path)
            self.titles, self.mismatch = match_titles(titles, self._index, titles_path)
        self.n_titles = sum(title is not None for title in self.titles or [])
        # Made here, so that processes that are forked later share it:
        self._by_clicks = self._positions_by_clicks()
        self._words = _Words(self._text(at) for at in self._by_clicks.tolist())

    def __len__(self):
        return len(self.ids)

    @property
    def n_clusters(self):
        return None if self.clusters is None else int(self.clusters.max(initial=-1)) + 1

    def codes_of(self, ids):
        """Return codes 1..n of a list of ids, and 0 for unknown ids."""
        array = np.empty(len(ids), dtype=object)
        array[:] = ids
        return self._index.codes_of(array)

    def unknown(self, ids):
        """Return the ids that are not in the catalog, each once."""
        if not ids or self._index.codes_of_known(ids) is not None:
            return []
        ids = list(dict.fromkeys(ids))
        return [i for i, code in zip(ids, self.codes_of(ids), strict=True) if not code]

    def record(self, code):
        """Describe an item."""
        at = code - 1
        cluster = -1 if self.clusters is None else int(self.clusters[at])
        return {
            "id": self.ids[at],
            "known": True,
            "title": None if self.titles is None else self.titles[at],
            "cluster": None if cluster < 0 else cluster,
            "clicks": None if self.clicks is None else int(self.clicks[at]),
        }

    def records(self, ids):
        """Describe items by their ids, known or unknown."""
        return [
            self.record(code) if code else _unknown_record(item)
            for item, code in zip(ids, self.codes_of(ids).tolist(), strict=True)
        ]

    def search(self, text, limit):
        """Find and count the items whose id and title have all words of a text.

        The beginning of a word is enough. Items with the most clicks come first.
        """
        words = _WORD.findall(text.casefold())
        if text.strip() and not words:
            return [], 0
        places = np.arange(len(self))
        for word in words:
            places = np.intersect1d(places, self._words.places_of(word))
        codes = self._by_clicks[places[:limit]] + 1
        return [self.record(code) for code in codes.tolist()], len(places)

    def _positions_by_clicks(self):
        """Return the positions in the catalog, most clicks first."""
        if self.clicks is None:
            return np.arange(len(self))
        return np.argsort(-self.clicks, kind="stable")

    def _text(self, at):
        title = None if self.titles is None else self.titles[at]
        return f"{self.ids[at]} {title or ''}"


class _Words:
    """Index of the places of texts by the beginning of their words.

    Words are sorted, and their places are stored in the same order. So the places of
    all words with the same beginning are adjacent.
    """

    def __init__(self, texts):
        places = {}
        for place, text in enumerate(texts):
            for word in set(_WORD.findall(text.casefold())):
                places.setdefault(word, []).append(place)
        self._words = sorted(places)
        lists = [places[word] for word in self._words]
        self._offsets = np.cumsum([0, *map(len, lists)])
        self._places = np.fromiter(
            (place for part in lists for place in part), np.int64, self._offsets[-1]
        )

    def places_of(self, beginning):
        first = bisect.bisect_left(self._words, beginning)
        behind = bisect.bisect_left(self._words, beginning + chr(0x10FFFF))
        return np.unique(self._places[self._offsets[first] : self._offsets[behind]])


def json_ids(ids):
    """Convert ids to a list. Floats that are whole numbers become int."""
    ids = ids.tolist()
    return [int(i) if isinstance(i, float) and i.is_integer() else i for i in ids]


def _check_ids(ids):
    for item in ids:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise TypeError(
                f"The model has item ids such as {item!r:.60} "
                f"({type(item).__name__}). The server needs ids that are text or whole "
                "numbers, because requests are JSON. Fit the model on such ids."
            )
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"The item id {item!r:.60} has an unpaired surrogate, which an "
                    "answer in UTF-8 cannot hold. Fit the model on other ids."
                ) from None


def _other_than(ids):
    """Return a value that is not an item id, for empty places of a list."""
    texts = [item for item in ids if isinstance(item, str)]
    return max(texts) + "!" if texts else max(ids) + 1


def with_catalog(estimator, item_ids):
    """Yield the estimator and the parts of it that have exactly these items."""
    for part in estimators_inside(estimator):
        if np.array_equal(getattr(part, "item_ids_", None), item_ids):
            yield part


def _of_each_item(estimator, name, item_ids):
    """Return a fitted attribute of the first part with it for these items, or None."""
    parts = with_catalog(estimator, item_ids)
    found = (getattr(part, name, None) for part in parts)
    return next((np.asarray(values) for values in found if values is not None), None)


def _unknown_record(item):
    return {
        "id": item,
        "known": False,
        "title": None,
        "cluster": None,
        "clicks": None,
    }
