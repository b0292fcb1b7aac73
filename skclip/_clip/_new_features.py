"""Change item features of a fitted recommender, and add items, without training."""

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
    """Return a `Fitted` with the new features, and the matching ``item_features=``.

    `params` is the recommender and `before` its `Fitted`. Neither is changed.
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
    """The `ItemFeatures` that are used, or an error."""
    fusion = before.config["fusion"]
    if fusion is None:
        raise ValueError(
            "The recommender was fitted without item_features, so it has no weights "
            "that read features. Fit it with item_features=... first."
        )
    given = as_item_features(features, "features")
    if given is None:
        raise TypeError(
            "features is None. Pass ItemFeatures, a data frame or a mapping with a row "
            "for each new item and for each item whose features change."
        )
    if given.shape[1] != fusion["n_features"]:
        raise ValueError(
            f"features has {given.shape[1]} columns, but the recommender was fitted "
            f"with {fusion['n_features']}. Encode the items with the same transformer "
            "as before: ItemFeatures.encode(frame)."
        )
    _check_ids(features, given, before.index)
    given = _without_unknown(given, before)
    if FUSIONS[fusion["kind"]].only_starts:
        _refuse_learned(given, before, fusion["kind"])
    return given


def _check_ids(features, given, index):
    """Refuse ids that are probably row numbers, or of another type than the catalog."""
    new = given.item_ids[index.codes_of(given.item_ids) == 0]
    refuse_other_type(new, index, "features")
    own_index = getattr(features, "index", None)  # of a pandas data frame
    numbered = type(own_index).__name__ == "RangeIndex" and own_index.name is None
    if len(new) and numbered:
        raise ValueError(
            f"The index of features holds row numbers, and {len(new)} of its "
            f"{len(given)} values are not in the catalog, such as "
            f"{new.tolist()[0]!r}. Expected item ids. Name the column of the ids: "
            "ItemFeatures.from_frame(frame, item=...)."
        )


def _learned(given, before):
    """Masks of the items that were learned from clicks, and of those in the catalog."""
    codes = before.index.codes_of(given.item_ids)
    counts = before.model.fusion.counts.cpu().numpy()
    return np.append(0, counts)[codes] > 0, codes > 0


def _without_unknown(given, before):
    """The features without new items that have a row of zeros."""
    (learned, known), told = _learned(given, before), given.vectors.any(axis=1)
    lost = known & ~learned & ~told
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} items of features have a row of zeros and were not "
            f"clicked in training, such as {given.item_ids[lost].tolist()[0]!r:.60}. "
            "There is nothing to rank them by. Leave them out to keep their present "
            "features. To hide items pass predict_topk(..., deny=[...])."
        )
    outside = ~known & ~told
    if not outside.any():
        return given
    warn_user(
        f"{int(outside.sum())} of {len(given)} items of features are new and have a "
        "row of zeros. They do not join the catalog. Give them features to recommend "
        "them."
    )
    return ItemFeatures(given.item_ids[~outside], given.vectors[~outside])


def _refuse_learned(given, before, kind):
    learned, _ = _learned(given, before)
    if learned.any():
        raise ValueError(
            f"The recommender was fitted with Fusion(kind={kind!r}), where the vectors "
            "of clicked items start from their features and are then learned. "
            f"{int(learned.sum())} of {len(given)} items of features were clicked, "
            f"such as {given.item_ids[learned].tolist()[0]!r:.60}. Pass the other "
            "items alone, or fit with another kind, such as 'gate'."
        )


def _updated_parameter(item_features, given):
    """The new value of ``item_features=``, so that later fits use these features."""
    fusion = as_fusion(item_features)
    current = None if fusion is None else as_item_features(fusion.features)
    if current is None:
        return item_features
    if current.shape[1] != given.shape[1]:
        raise ValueError(
            f"The parameter item_features has {current.shape[1]} columns now, but the "
            f"recommender was fitted with {given.shape[1]}. Set it to features of the "
            "transformer used for fit: set_params(item_features=...)."
        )
    updated = updated_features(current, given)
    if not isinstance(item_features, Fusion):
        return updated
    return Fusion(**item_features.get_params(deep=False) | {"features": updated})
