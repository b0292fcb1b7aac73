"""Clicks to codes: ids, frames, sessions, training data, queries."""

from skclip._data._as_sessions import as_sessions, check_targets
from skclip._data._click_features import (
    CLICK_FEATURES,
    OF_PREFIX,
    as_click_features,
    check_click_columns,
    click_codes,
    click_feature_sizes,
    codes_of_types,
    types_with,
    warn_further_types,
    warn_unknown_clicks,
)
from skclip._data._fit_data import (
    FitData,
    check_further,
    checked_eval_set,
    few_held_out,
    first_fit_data,
    further_fit_data,
    grown_catalog,
    latest_part,
    thinned,
)
from skclip._data._frames import (
    as_frame,
    check_columns,
    check_weight_type,
    column,
    column_with_gaps,
    parse_times,
    read_times,
    read_weights,
    wall_times,
    warn_float_ids,
)
from skclip._data._id_types import (
    check_own_types,
    checked_codes,
    is_portable,
    other_type,
    refuse_other_type,
)
from skclip._data._ids import (
    as_list,
    as_table,
    check_hashable,
    factorize,
    factorize_list,
    is_id,
    is_missing,
    is_nan,
    labels,
    needs_care,
    own_codes,
    plain,
    plain_row,
    unmasked,
    warn_trailing_zeros,
)
from skclip._data._index import CatalogMixin, ItemIndex, append_ids, joined_ids
from skclip._data._instances import Instances, distinct_prefixes, session_instances
from skclip._data._item_features import (
    ItemFeatures,
    as_item_features,
    rows_of_items,
    updated_features,
)
from skclip._data._latest import latest_rows, taken
from skclip._data._list_columns import holds_lists, sessions_of_column
from skclip._data._owners import Owners, codes_of_owners
from skclip._data._queries import (
    FEW,
    newest_first,
    query_data,
    warn_other_type,
    warn_unknown,
)
from skclip._data._ragged import (
    check_times_rise,
    content_hashes,
    flat_positions,
    picked,
    prefix_ends,
    times_fall,
)
from skclip._data._rehearsal import Rehearsal
from skclip._data._sessions import Sessions, columns_at
from skclip._data._spans import is_number, span_seconds
from skclip._data._target_sets import (
    NoTargets,
    check_no_targets,
    check_protocol,
    check_target_sets,
    events_of_type,
    has_target,
    target_sets,
)
from skclip._data._training_data import (
    checked_sample_weight,
    training_data,
    with_targets,
)
