"""What a fitted model holds: session and item vectors, interests, parameters."""

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from torch.nn import functional as F

from skclip._data import Instances, query_data
from skclip._model import read_states
from skclip.backbones import BACKBONES, PoMRec


def _has_interests(recommender):
    backbone = recommender.backbone
    return isinstance(backbone, PoMRec) or (
        isinstance(backbone, str) and BACKBONES.get(backbone) is PoMRec
    )


class VectorsMixin:
    """Methods of recommenders that read a `SessionModel`.

    A subclass has ``_model``, ``_keys``, ``_index`` and ``n_items_`` after `fit`, and
    defines ``_observed(queries)``, which gives `Instances`.
    """

    def session_vectors(self, X):
        """Return the vectors that sessions are compared with items by.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        vectors : ndarray of shape (n_sessions, n_dims), float32
            ``vectors @ item_vectors_.T`` are the scores. Where the backbone has a bias
            for each item, a last column of ones meets it. Rows of NaN stand for
            sessions of which nothing could be read; they rank by popularity.

        Raises
        ------
        ValueError
            The backbone's scores are no product of a session and an item vector.
        """
        self._check_fitted()
        self._check_product(ValueError)
        model = self._model

        def rows(batch):
            vectors = model.states(batch) * model.scale
            return (vectors if model.bias is None else F.pad(vectors, (0, 1), value=1),)

        (vectors,) = self._read(X, rows)
        return vectors

    @property
    def item_vectors_(self):
        """Vectors of the items, ndarray of shape (n_items, n_dims), float32.

        In the order of ``item_ids_``; see `session_vectors`.
        """
        self._check_fitted()
        self._check_product(AttributeError)
        bias = self._model.bias
        keys = self._keys.detach()
        if bias is not None:
            keys = torch.cat([keys, bias.detach()[:, None]], dim=1)
        return keys.cpu().numpy().copy()

    def _check_product(self, error):
        if not self._model.network.dot_product:
            name = type(self._model_config["spec"]).__name__
            raise error(
                f"{name} scores each item by a vector of its own making, so there is "
                "no session vector whose products with item vectors give the order. "
                "Use predict_topk or decision_function, or another backbone"
                + (" or aggregation='weighted'." if name == "PoMRec" else ".")
            )

    def parameter_report(self):
        """Return how many numbers are learned, by component.

        Returns
        -------
        counts : dict of str to int
            "item table"; "cluster prompts", "user prompts", "session prompts" and
            "prompt gates" where there are such; "temperature" where it is learned;
            "feature fusion" with `item_features`; "backbone.<component>" for each part
            of the network; "total". Rows that stand for padding or for no prompt are
            zeros by construction, hold nothing and do not count in the item table and
            the prompts: published totals often have one row of items more. Columns
            that features fill ("nullspace", "init_frozen") do not count either.
        """
        self._check_fitted()
        model = self._model
        n_items, n_columns = model.item_table.shape
        if model.fusion is not None:
            n_columns = model.fusion.learned_columns
        report = {"item table": n_items * n_columns}
        if model.prompt is not None:
            gates = sum(p.numel() for p in model.prompt.parameters())
            for kind, prompts in model.prompt.kinds.items():
                if prompts.tables:
                    gates -= sum(table.numel() for table in prompts.tables)
                    n = sum(table[1:].numel() for table in prompts.tables)
                else:
                    n = prompts.W_s.weight.numel()
                    gates -= n
                report[f"{kind} prompts"] = n
            report["prompt gates"] = gates
        if model.log_scale is not None:
            report["temperature"] = 1
        if model.fusion is not None:
            report["feature fusion"] = sum(p.numel() for p in model.fusion.parameters())
        for name, parameter in model.network.named_parameters():
            part = f"backbone.{name.split('.')[0]}"
            report[part] = report.get(part, 0) + parameter.numel()
        return report | {"total": sum(report.values())}

    @available_if(_has_interests)
    def interest_vectors(self, X):
        """Return the interests of sessions. Only with ``backbone="pomrec"``.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        vectors : ndarray of shape (n_sessions, n_interests, embedding_dim), float32
            Before they are weighted; NaN for sessions of which nothing could be read.
        """
        self._check_fitted()
        (vectors,) = self._read(X, lambda batch: (self._interests(batch).vectors,))
        return vectors

    @available_if(_has_interests)
    def interest_weights(self, X):
        """Return the weights of the interests. Only with ``backbone="pomrec"``.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        weights : ndarray of shape (n_sessions, n_interests), float32
            Each row sums to 1, or is NaN where nothing could be read.

        Raises
        ------
        ValueError
            With ``aggregation="max"`` no interest is weighed against another.
        """
        self._check_fitted()
        if self._model.network.aggregation == "max":
            raise ValueError(
                "PoMRec(aggregation='max') has no weights: each item is scored by the "
                "interest nearest to it. Fit with aggregation='weighted'."
            )
        (weights,) = self._read(X, lambda batch: (self._interests(batch).weights,))
        return weights

    @available_if(_has_interests)
    def interest_assignments(self, X):
        """Return which events make which interest. Only with ``backbone="pomrec"``.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        assignments : list of ndarray of shape (n_read, n_interests), float32
            For each session the attention that each interest pays to the events that
            were read: the latest `max_session_length` ones, without cluster prompts
            only those known from training. An event may feed several interests.
        prompt_share : ndarray of shape (n_sessions, n_interests), float32
            Attention paid to the extractor's prompt tokens; with a column of the
            assignments it sums to 1. NaN where nothing could be read.
        """
        self._check_fitted()

        def rows(batch):
            found = self._interests(batch)
            return found.prompt_share, found.assignments

        queries = query_data(X, self._index)
        instances = self._observed(queries)
        lengths = instances.stops - instances.starts
        n_interests = self._model.network.n_interests
        share = np.full((len(queries), n_interests), np.nan, dtype=np.float32)
        result = [np.zeros((0, n_interests), dtype=np.float32) for _ in lengths]
        where = np.flatnonzero(lengths > 0)
        with torch.no_grad():
            for at, state in read_states(self._model, instances.take(where), rows):
                share[where[at]] = state[0].float().cpu().numpy()
                for row, i in zip(
                    state[1].float().cpu().numpy(), where[at], strict=True
                ):
                    result[i] = row[: lengths[i]].copy()
        return result, share

    @available_if(_has_interests)
    def interest_report(self, X):
        """Return signs of interests that do their work. Only with "pomrec".

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        report : dict
            Means over the sessions of which something could be read. ``mean_weights``,
            list of n_interests floats: an interest below 0.02 is idle (None with
            ``aggregation="max"``). ``interest_cosine``: between pairs of interests;
            above 0.95 they are alike (None with one interest). ``dominance``:
            length of the weighted dispersion over the sum of its and the centre's;
            above 0.9 the centres are drowned. ``prompt_share``: the extractor's
            attention on its prompt tokens; above 0.8 the events are.
            ``prompt_norm_ratio``: length of the extractor's prompt tokens over that of
            the events, positions included; None without them. Neither looks at the
            aggregator's prompts.

        Raises
        ------
        ValueError
            Nothing could be read of any session.
        """
        self._check_fitted()
        network = self._model.network

        def rows(batch):
            x, batch = self._model.inputs(batch)
            found = network.interests(x, batch)
            spread = found.dispersions.norm(dim=2)
            dominance = spread / (spread + found.centres.norm(dim=2)).clamp_min(1e-12)
            lengths = network.tokens(x, batch).norm(dim=2) * batch.mask
            unit = F.normalize(found.vectors, dim=2)
            n = network.n_interests
            alike = (unit.sum(dim=1).square().sum(dim=1) - n) / max(1, n * (n - 1))
            weights = found.weights
            if weights is None:
                weights = torch.full_like(spread, torch.nan)
            of_events = lengths.sum(dim=1) / batch.mask.sum(dim=1)
            parts = (dominance.mean(dim=1), found.prompt_share.mean(dim=1), weights)
            return *parts, alike, of_events

        parts = self._read(X, rows)
        if np.isnan(parts[0]).all():
            raise ValueError(
                f"Nothing could be read of the {len(parts[0])} sessions: they hold no "
                "item that was seen in fit. Pass sessions with known items."
            )
        dominance, share, weights, alike, lengths = (
            np.nanmean(part, axis=0) if not np.isnan(part).all() else None
            for part in parts
        )
        prompts = network.extractor_prompts
        ratio = None
        if prompts is not None and len(prompts):
            ratio = float(prompts.detach().norm(dim=1).mean() / lengths)
        return {
            "mean_weights": None if weights is None else weights.tolist(),
            "interest_cosine": float(alike) if network.n_interests > 1 else None,
            "dominance": float(dominance),
            "prompt_share": float(share),
            "prompt_norm_ratio": ratio,
        }

    def _interests(self, batch):
        return self._model.network.interests(*self._model.inputs(batch))

    @torch.no_grad()
    def _read(self, X, rows):
        """Tensors of `rows`, a function of a batch, as arrays in the order of X."""
        queries = query_data(X, self._index)
        instances = self._observed(queries)
        where = np.flatnonzero(instances.stops > instances.starts)
        result = None
        for at, state in read_states(self._model, instances.take(where), rows):
            if result is None:
                result = _unknown(len(queries), state)
            for array, part in zip(result, state, strict=True):
                array[where[at]] = part.float().cpu().numpy()
        if result is None:  # the shapes are those of any item
            codes, zeros = np.ones(1, np.int32), np.zeros(1, np.int64)
            any_item = Instances(codes, zeros, zeros + 1, zeros)
            _, state = next(iter(read_states(self._model, any_item, rows)))
            result = _unknown(len(queries), state)
        return result


def _unknown(n, state):
    """Arrays of NaN with `n` rows, for tensors with others."""
    return [np.full((n, *part.shape[1:]), np.nan, np.float32) for part in state]
