"""Real clicks, where SKCLIP_DATA names the folder that holds them."""

import time

import pytest

from skclip import CLIPSessionRecommender, PopularityRecommender, Sessions
from skclip._encoding import training_data
from skclip._item_graph import build_item_graph
from skclip.metrics import SessionScorer

pytestmark = pytest.mark.realdata
pd = pytest.importorskip("pandas")


def rsc15(data_home, *parts):
    events = pd.read_parquet(data_home / "rsc15_100k" / "events.parquet")
    return Sessions.from_events(
        events[events.part.isin(parts)],
        session="session_id",
        item="item_id",
        time="timestamp",
    )


def test_rsc15_has_the_documented_sizes(data_home):
    train = rsc15(data_home, "train_tr", "train_valid")
    assert (len(train), train.n_events, len(train.vocabulary)) == (
        17_794,
        70_278,
        2_933,
    )


def test_a_few_epochs_on_real_clicks_beat_popularity(data_home):
    """Validation part only; the test part is for benchmarks."""
    train, valid = rsc15(data_home, "train_tr"), rsc15(data_home, "train_valid")
    popular = PopularityRecommender().fit(train).score(valid)
    model = CLIPSessionRecommender("gru4rec", max_epochs=8, random_state=0)
    values = SessionScorer("mrr@20", "recall@20")(model.fit(train), valid)
    assert values["mrr@20"] > max(0.25, 3 * popular)
    assert values["recall@20"] > 0.5


def test_item_graph_of_diginetica(data_home):
    rows = pd.read_parquet(data_home / "diginetica" / "train.parquet").session
    data = training_data(rows)
    assert (len(rows), len(data.codes), data.n_items) == (186_670, 906_140, 43_097)
    begun = time.perf_counter()
    graph = build_item_graph(data.codes, data.offsets, data.n_items)
    assert time.perf_counter() - begun < 2
    follows = sum(
        a != b for row in rows[:2000] for a, b in zip(row[:-1], row[1:], strict=True)
    )
    part = training_data(rows[:2000])
    counted = build_item_graph(part.codes, part.offsets, part.n_items).sum() / 2
    assert counted == follows
    assert graph.sum() > counted
