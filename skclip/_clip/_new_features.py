"""Other features of items for a fitted recommender, and new items, without training."""

from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state

from skclip._clip._fitted import candidate_vectors
from skclip._clusters import with_new_items
from skclip._data import (
    ItemFeatures,
    ItemIndex,
    append_ids,
    as_item_features,
    refuse_other_type,
    updated_features,
)
from skclip._model import (
    FUSIONS,
    Draws,
    Fusion,
    as_fusion,
    model_with_features,
)
from skclip._training import generator_on, torch_session, workers_for
from skclip._warnings import warn_user


def with_item_features(params, features, before):
    """`Fitted` with other features of items, and ``item_features=`` that go with it.

    `params` is the recommender, `before` its `Fitted`; neither is changed.
    """
    given, index = _checked(features, before), before.index
    new = given.item_ids[index.codes_of(given.item_ids) == 0]
    item_features = _updated_parameter(params.item_features, given)
    if len(new):
        index = ItemIndex(append_ids(index.item_ids, new))
    n_items, clusters = len(index), before.item_clusters
    if clusters is not None:
        clusters = with_new_items(clusters, n_items)
    holders = replace(before.holders, items=index, clusters=clusters)
    config = before.config | {"n_items": n_items, "item_clusters": clusters}
    device = before.model.item_table.device
    seed = check_random_state(params.random_state).randint(2**31 - 1)
    workers = workers_for(params.n_threads, device)
    with torch_session(workers, device.type), Draws(generator_on("cpu", int(seed))):
        model = model_with_features(config, device, holders, before, given)
    fitted = replace(
        before,
        holders=holders,
        popularity=np.pad(before.popularity, (0, n_items - len(before.popularity))),
        config=config,
        model=model,
        keys=candidate_vectors(model),
    )
    return fitted, item_features


def _checked(features, before):
    """The `ItemFeatures` that take part, or an error."""
    fusion = before.config["fusion"]
    if fusion is None:
        raise ValueError(
            "The recommender was fitted without item_features, so no weight of it "
            "reads features. Fit it with item_features=... first."
        )
    given = as_item_features(features, "features")
    if given is None:
        raise TypeError(
            "features is None. Pass ItemFeatures, a data frame or a mapping of the "
            "items whose features change, and of new ones."
        )
    if given.shape[1] != fusion["n_features"]:
        raise ValueError(
            f"features has {given.shape[1]} columns, but the recommender was fitted "
            f"with {fusion['n_features']}. Encode the items by the same transformer as "
            "before: ItemFeatures.encode(frame)."
        )
    _check_ids(features, given, before.index)
    given = _without_unknown(given, before)
    if FUSIONS[fusion["kind"]].only_starts:
        _refuse_learned(given, before, fusion["kind"])
    return given


def _check_ids(features, given, index):
    """Refuse ids that seem to be meant for others."""
    new = given.item_ids[index.codes_of(given.item_ids) == 0]
    refuse_other_type(new, index, "features")
    own_index = getattr(features, "index", None)  # of a pandas data frame
    numbered = type(own_index).__name__ == "RangeIndex" and own_index.name is None
    if len(new) and numbered:
        raise ValueError(
            f"The index of features are the numbers of its rows, and {len(new)} of "
            f"{len(given)} are no items of the catalog, such as {new.tolist()[0]!r}. "
            "Expected item ids. Name their column: ItemFeatures.from_frame(frame, "
            "item=...)."
        )


def _learned(given, before):
    """Which items have been learned from clicks, and which are in the catalog."""
    codes = before.index.codes_of(given.item_ids)
    counts = before.model.fusion.counts.cpu().numpy()
    return np.append(0, counts)[codes] > 0, codes > 0


def _without_unknown(given, before):
    """The features without new items of which nothing is known."""
    (learned, known), told = _learned(given, before), given.vectors.any(axis=1)
    lost = known & ~learned & ~told
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} items of features have a row of zeros, such as "
            f"{given.item_ids[lost].tolist()[0]!r:.60}, and no clicks that were "
            "learned, so there would be nothing to rank them by. Leave them out, and "
            "their features stay. To hide items pass predict_topk(..., deny=[...])."
        )
    outside = ~known & ~told
    if not outside.any():
        return given
    warn_user(
        f"{int(outside.sum())} of {len(given)} items of features are new and have a "
        "row of zeros. They stay outside the catalog."
    )
    return ItemFeatures(given.item_ids[~outside], given.vectors[~outside])


def _refuse_learned(given, before, kind):
    learned, _ = _learned(given, before)
    if learned.any():
        raise ValueError(
            f"The recommender was fitted with Fusion(kind={kind!r}), which uses "
            "features only to begin with: vectors of clicked items were learned from "
            f"there. {int(learned.sum())} of {len(given)} items of features have been "
            f"clicked, such as {given.item_ids[learned].tolist()[0]!r:.60}. Pass the "
            "others alone, or fit with another kind, such as 'gate'."
        )


def _updated_parameter(item_features, given):
    """What ``item_features=`` is now, so that later fits go on with it."""
    fusion = as_fusion(item_features)
    current = None if fusion is None else as_item_features(fusion.features)
    if current is None:
        return item_features
    if current.shape[1] != given.shape[1]:
        raise ValueError(
            f"The parameter item_features has {current.shape[1]} columns now, but the "
            f"recommender was fitted with {given.shape[1]}. Set it back to features of "
            "the same transformer: set_params(item_features=...)."
        )
    updated = updated_features(current, given)
    if not isinstance(item_features, Fusion):
        return updated
    return Fusion(**item_features.get_params(deep=False) | {"features": updated})
