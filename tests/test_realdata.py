"""Real clicks, where SKCLIP_DATA names the folder that holds them."""

import time

import pytest

from skclip import (
    CLIPSessionRecommender,
    MarkovRecommender,
    PopularityRecommender,
    SessionKNN,
    Sessions,
)
from skclip._clusters import build_item_graph
from skclip._data import training_data
from skclip.metrics import SessionScorer, mrr_at_k, recall_at_k

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
    model = CLIPSessionRecommender("gru4rec", max_epochs=2, random_state=0)
    values = SessionScorer("mrr@20", "recall@20")(model.fit(train), valid)
    assert values["mrr@20"] > max(0.25, 3 * popular)
    assert values["recall@20"] > 0.5


def test_item_graph_of_diginetica(data_home):
    rows = pd.read_parquet(data_home / "diginetica" / "train.parquet").session
    data = training_data(rows)
    assert (len(rows), len(data.codes), data.n_items) == (186_670, 906_140, 43_097)
    begun = time.process_time()  # others may use the cores
    graph = build_item_graph(data.codes, data.offsets, data.n_items)
    assert time.process_time() - begun < 2
    follows = sum(
        a != b for row in rows[:2000] for a, b in zip(row[:-1], row[1:], strict=True)
    )
    part = training_data(rows[:2000])
    counted = build_item_graph(part.codes, part.offsets, part.n_items).sum() / 2
    assert counted == follows
    assert graph.sum() > counted


@pytest.mark.parametrize(
    ("data", "model", "recall", "mrr"),
    [
        ("diginetica", PopularityRecommender(), 0.93, 0.21),
        ("diginetica", MarkovRecommender(backoff=None), 30.69, 10.75),
        (
            "diginetica",
            MarkovRecommender(backoff=None, tie_break="first"),
            33.61,
            12.77,
        ),
        ("tmall", PopularityRecommender(), 1.97, 0.90),
        ("tmall", MarkovRecommender(backoff=None), 8.78, 4.64),
        ("tmall", MarkovRecommender(backoff=None, tie_break="first"), 9.32, 5.59),
    ],
    ids=lambda value: str(value)[:30],
)
def test_counts_that_others_computed(data_home, data, model, recall, mrr):
    """Percent at 20 of models without a choice, known for these files beforehand."""
    rows = pd.read_parquet(data_home / data / "train.parquet").session
    pairs = pd.read_parquet(data_home / data / "test.parquet")
    ranks = model.fit(Sessions.from_lists(rows.tolist())).rank_targets(
        Sessions.from_lists(pairs.session.tolist()), pairs.target.to_numpy()
    )
    assert round(100 * recall_at_k(ranks, 20), 2) == recall
    assert round(100 * mrr_at_k(ranks, 20), 2) == mrr


def test_neighbours_on_real_clicks(data_home):
    """Validation part; the defaults, which were not chosen there alone."""
    knn = SessionKNN().fit(rsc15(data_home, "train_tr"))
    valid = rsc15(data_home, "train_valid")
    values = SessionScorer("mrr@20", "recall@20")(knn, valid)
    assert values["recall@20"] > 0.62
    assert values["mrr@20"] > 0.35
