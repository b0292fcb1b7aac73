"""`partial_fit` of the recommender: grown tables, clusters that go on, new sessions."""

import copy
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_random_state

from skclip._clip._settings import MODEL_PARAMS, chosen_params, resolve_params
from skclip._clusters import first_level, levels_of
from skclip._data import (
    append_ids,
    checked_features,
    each_level,
    factorize,
    has_cluster,
    training_data,
)
from skclip._model import (
    Batches,
    carry_over,
    cluster_tables,
    keep_leading_buffers,
    rows_of_table,
    start_from_cluster_mates,
    start_new_prompts,
)
from skclip._training import torch_session, train


class UpdatingMixin:
    """Learns from further sessions what `CLIPSessionRecommender.fit` has begun."""

    def partial_fit(self, X, y=None):
        """Go on learning from further sessions, with their new items.

        New items, users and sessions are appended. The clusterer goes on from its
        clusters (`SessionClusterer.partial_fit`); a new cluster begins with the mean
        of the prompts that its members had, a new item with the mean of the vectors in
        its cluster. Then `X` is trained on, without a validation part, for a third of
        the epochs of a `fit` on as much data and at three tenths of its learning rate;
        the vectors of items that were there stay as they are. Otherwise the old
        sessions, which are not there to be learned again, would be forgotten:
        ``docs/production.md`` compares with a refit. Parameters of training may be
        set to others before, those of the model are those of `fit`.

        New items of `item_features` that nobody has clicked come in along with the
        sessions. There is no way to take in titles alone: at least one session must
        have two items.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,), one or more of them with
            two items.
        y : array-like of shape (n_sessions,), default=None
            Next item of each row, as in `fit`.

        Returns
        -------
        self : CLIPSessionRecommender
            Unfitted before, it is fitted. ``history_`` and ``n_iter_`` go on,
            ``best_validation_score_`` is None.

        Raises
        ------
        TypeError
            The clusterer has no ``partial_fit``.
        ValueError
            As in `fit`.
        """
        self._validate_params()
        if not hasattr(self, "_model"):
            return self.fit(X, y)
        worker = copy.copy(self)
        worker._partial_fit(X, y)
        vars(self).update(vars(worker))
        return self

    def _partial_fit(self, X, y):
        config = dict(self._model_config)
        old_state = self._model.state_dict()
        device = self._model.item_table.device
        data = training_data(
            X, y, min_item_count=self.min_item_count, known=self._index
        )
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=2)
        rows = np.flatnonzero(np.diff(data.offsets) > 1)
        if len(rows) == 0:
            raise ValueError(
                f"All {len(data.offsets) - 1} sessions have fewer than 2 items, so "
                "there is no next item to learn. Pass sessions of 2 items or more."
            )
        if config["n_users"] is not None and data.users is None:
            raise ValueError(
                "The model has user prompts, so it needs sessions with users. Pass "
                "user= to Sessions.from_events, or users= to Sessions.from_lists."
            )
        n_known = self.n_items_
        before = config["item_clusters"]
        features = None
        if config.get("fusion"):
            features = checked_features(self.item_features)
            n_features = config["fusion"]["n_features"]
            if features is None or features.shape[1] != n_features:
                raise ValueError(
                    f"The model was fitted with item_features of {n_features} columns, "
                    f"but item_features={features!r}. Pass features of old and new "
                    "items by the same encoder: set_params(item_features=...)."
                )
            features.rows_of(append_ids(self.item_ids_, data.index.item_ids))
        grown = data.appended_to(self.item_ids_, features and features.known_ids())
        clusters = self._updated_clusters(data, int(seeds[0]), grown.index.item_ids)
        carried = None
        if data.clusters is not None:
            carried = data.item_clusters(), data.index.item_ids
        data = grown
        self.item_ids_, self.n_items_ = data.index.item_ids, data.n_items
        self._index = data.index
        counts = data.item_counts()
        counts[:n_known] += self._popularity
        self._popularity = counts
        if before is not None:
            none = np.zeros((data.n_items - n_known, *before.shape[1:]), dtype=np.int32)
            members_before = np.concatenate([before, none])
            if clusters is None:  # the sessions carry them
                clusters = members_before.copy()
                found, ids = carried
                codes = self._index.codes_of(ids) - 1
                if found.shape[1:] != before.shape[1:]:
                    counts = [len(each_level(c)) for c in (found, before)]
                    raise ValueError(
                        "The sessions carry {} level(s) of clusters, those of fit had "
                        "{}. Pass them through the same clusterer.".format(*counts)
                    )
                has_one = has_cluster(found)
                clusters[codes[has_one]] = found[has_one]
            config["item_clusters"] = clusters
            self.membership_ = first_level(clusters) - 1
        users = sessions = None
        if config.get("n_users") is not None:
            users, self.user_ids_ = _appended(self._users, data.users[rows])
            config["n_users"] = len(self.user_ids_)
        n_sessions = config.get("n_sessions")
        if isinstance(n_sessions, Integral):
            if self._sessions is None:  # none has an id to be known by
                sessions = n_sessions + 1 + np.arange(len(rows))
            elif data.ids is None:
                sessions = np.zeros(len(rows), dtype=np.int32)
            else:
                sessions, self._session_ids = _appended(self._sessions, data.ids[rows])
            config["n_sessions"] = int(max(n_sessions, sessions.max()))
        self._index_owners()
        config["n_items"] = data.n_items
        self._model_config = config
        instances = data.instances(rows, config["max_length"], users, sessions)
        model_params = {k: config[k] for k in MODEL_PARAMS if k in config}
        chosen = chosen_params(self, config["spec"], model_params)
        resolved = resolve_params(self, chosen, len(instances), self.n_items_, device)
        self.resolved_params_ = resolved
        with torch_session(int(seeds[1]), self.n_threads, device):
            self._model, self._keys = self._new_model(), None
            self._model.to(device)
            now = self._model.state_dict()
            carry_over(self._model, old_state, _leading_rows(now, old_state))
            keep_leading_buffers(self._model, old_state)
            is_new = np.arange(data.n_items) >= n_known
            kept = slice(n_known)
            if features is not None:  # items that had no click have nothing to keep
                clicks = np.zeros(data.n_items)
                clicks[:n_known] = old_state["fusion.counts"].cpu().numpy()
                is_new = clicks == 0
                kept = torch.from_numpy(np.flatnonzero(~is_new)).to(device)
                trained, _, _ = data.as_sequences(rows)
                clicks += np.bincount(trained, minlength=data.n_items + 1)[1:]
            if before is not None:
                for parts in zip(
                    cluster_tables(old_state),
                    cluster_tables(now),
                    each_level(clusters),
                    each_level(members_before),
                    strict=True,
                ):
                    start_new_prompts(*parts)
                start_from_cluster_mates(self._model, first_level(clusters), is_new)
            if features is not None:
                vectors = features.rows_of(self.item_ids_)
                self._model.fill_features(vectors, clicks, is_new)
            self._model.constrain_()
            self._model.network.update(*data.as_sequences(rows))
            table = self._model.item_table.detach()
            self._model.kept_rows = kept, table[kept].clone()
            history, _ = train(
                self._model,
                Batches(instances, device, self._model.shares_prefixes),
                self._loss(device, resolved),
                batch_size=resolved["batch_size"],
                learning_rate=0.3 * resolved["learning_rate"],
                optimizer=resolved["optimizer"],
                weight_decay=resolved["weight_decay"],
                lr_schedule=resolved["lr_schedule"],
                max_epochs=-(-resolved["max_epochs"] // 3),
                n_iter_no_change=None,
                max_time=self.max_time,
                validate=None,
                rng=np.random.default_rng(int(seeds[1])),
                verbose=self.verbose,
            )
        self._model.kept_rows = None
        done = len(self.history_)
        history = [row | {"epoch": row["epoch"] + done} for row in history]
        self.history_ = self.history_ + history
        self.n_iter_ = len(self.history_)
        self.best_validation_score_ = None
        self._keep_keys()

    def _updated_clusters(self, data, seed, item_ids):
        """Clusters 1..K of each item, new ones last; None if sessions carry them."""
        if self.membership_ is None:
            return None
        if data.clusters is not None:
            if self.clusterer_ is None:
                return None
            raise ValueError(
                "The sessions carry clusters, but the model has a clusterer of its "
                "own, whose numbers are others. Pass the sessions as they were before "
                "the clusterer step."
            )
        if self.clusterer_ is None:
            raise ValueError(
                "The model was fitted on sessions that carried clusters; these carry "
                "none. Pass them through the same clusterer, after its partial_fit."
            )
        if not hasattr(self.clusterer_, "partial_fit"):
            raise TypeError(
                f"{type(self.clusterer_).__name__} has no partial_fit, so its clusters "
                "cannot take new sessions in. Use SessionClusterer, or fit on all "
                "sessions."
            )
        clusterer = copy.deepcopy(self.clusterer_)
        if getattr(clusterer, "random_state", 0) is None:
            clusterer.random_state = seed
        self.clusterer_ = clusterer.partial_fit(*data.as_fit_arguments())
        return (levels_of(clusterer, item_ids) + 1).astype(np.int32)


def _appended(index, ids):
    """Codes 1.. of ids in an index that gets the unknown ones appended, and its ids."""
    vocabulary, of_id = factorize(ids)
    codes = index.codes_of(vocabulary)
    new = codes == 0
    codes[new] = len(index) + 1 + np.arange(new.sum(), dtype=np.int32)
    return codes[of_id], append_ids(index.item_ids, vocabulary[new])


def _leading_rows(now, before):
    """Rows of tables that have grown at their end."""
    rows = {}
    for name in now:
        kind, extra = rows_of_table(name)
        if kind is not None:
            n, n_before = len(now[name]) - extra, len(before[name]) - extra
            rows[kind] = np.where(np.arange(n) < n_before, np.arange(n), -1)
    return rows
