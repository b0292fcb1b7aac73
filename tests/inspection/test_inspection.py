"""Displays against hand-worked numbers and naive loops; figures drawn with Agg."""

import copy
import pickle
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionClusterer,
    Sessions,
)
from skclip._inside import fitted_of
from skclip.controls import RandomClusters
from skclip.exceptions import IdTypeWarning
from skclip.inspection import (
    ClusterMapDisplay,
    GateDisplay,
    RankCurveDisplay,
    SessionExplanationDisplay,
    TrainingHistoryDisplay,
    explain,
)
from skclip.inspection._circles import pack_circles
from skclip.inspection._explain import _formatter
from skclip.inspection._figure import COLORS, shortened
from skclip.metrics import mrr_at_k, recall_at_k

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def no_figure_left_behind():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pipeline(small_recommender, shop_split):
    steps = SessionClusterer(random_state=0), clone(small_recommender)
    return make_pipeline(*steps).fit(shop_split[0])


@pytest.fixture(scope="module")
def validated(small_recommender, shop_split):
    return clone(small_recommender).set_params(early_stopping=True).fit(shop_split[0])


@pytest.fixture(scope="module")
def popular(shop_split):
    return PopularityRecommender().fit(shop_split[0])


@pytest.fixture(scope="module")
def bare(small_recommender, shop_split):
    return clone(small_recommender).set_params(prompt=None).fit(shop_split[0])


def drawn(display):
    """Draw for good, so that a fault in the layout shows."""
    display.figure_.canvas.draw()
    return display


def texts(drawn_texts):
    return [text.get_text() for text in drawn_texts]


# -- one figure, the axes that were given, no state ------------------------------------

RANKERS = TrainingHistoryDisplay, GateDisplay, RankCurveDisplay
PANELS = dict.fromkeys([ClusterMapDisplay, *RANKERS], 2)
PANELS[SessionExplanationDisplay] = 3


def make(display, estimator, X, **options):
    data = {RankCurveDisplay: [X], SessionExplanationDisplay: [X[:1]]}
    return display.from_estimator(estimator, *data.get(display, []), **options)


@pytest.mark.parametrize("kind", PANELS)
def test_axes_are_made_or_used_and_displays_survive_pickle(kind, validated, shop_split):
    before, figures = dict(matplotlib.rcParams), set(plt.get_fignums())
    display = drawn(make(kind, validated, shop_split[1]))
    assert set(plt.get_fignums()) - figures == {display.figure_.number}
    assert dict(matplotlib.rcParams) == before
    assert len(display.axes_) == PANELS[kind]
    assert display.ax_ is display.axes_[0]
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    assert display.plot() is display
    assert len(plt.get_fignums()) == len(figures) + 2

    again = pickle.loads(pickle.dumps(display))
    for key, value in vars(display).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(again, key), value)
    drawn(again.plot())

    plt.close("all")
    figure, (ax, other) = plt.subplots(1, 2, layout="constrained")
    plt.sca(other)
    display = drawn(make(kind, validated, shop_split[1], ax=ax))
    assert (display.ax_, display.figure_) == (ax, figure)
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is other
    assert len(ax.child_axes) == PANELS[kind]
    assert display.axes_ == ax.child_axes
    assert not other.has_data()


def test_several_axes_take_a_panel_each(fitted, shop_split):
    _, axes = plt.subplots(2, 1)
    display = RankCurveDisplay.from_estimator(fitted, shop_split[1], ax=axes)
    assert display.axes_ == list(axes)
    with pytest.raises(ValueError, match="ax holds 2 Axes, but SessionExp.* draws 3"):
        SessionExplanationDisplay.from_estimator(fitted, shop_split[1][[0]], ax=axes)


def test_missing_matplotlib_names_the_extra(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for kind in (TrainingHistoryDisplay, ClusterMapDisplay):
        with pytest.raises(ImportError, match=rf"{kind.__name__} .* skclip\[plot\]"):
            kind.from_estimator(fitted)
    assert len(explain(fitted, [[fitted.item_ids_[0]]], k=1)) == 1  # draws nothing


def test_colors_differ_in_gray():
    gray = matplotlib.colors.to_rgba_array(COLORS)[:, :3] @ [0.299, 0.587, 0.114]
    assert np.diff(sorted(gray)).min() > 0.05


# -- wherever the recommender stands ---------------------------------------------------


def test_pipeline_search_pickle_and_file(pipeline, fitted, shop_split, tmp_path):
    X, rec = shop_split[1], pipeline[-1]
    search = GridSearchCV(pipeline, {"clipsessionrecommender__max_epochs": [1]}, cv=2)
    search.best_estimator_ = pipeline
    recall = recall_at_k(rec.rank_targets(X), 5)
    share = GateDisplay.from_estimator(rec).prompt_share
    drop = SessionExplanationDisplay.from_estimator(rec, X[[0]]).drop
    for whole in (pipeline, search, pickle.loads(pickle.dumps(pipeline))):
        history = TrainingHistoryDisplay.from_estimator(whole)
        assert history.train_loss.tolist() == [r["train_loss"] for r in rec.history_]
        found = ClusterMapDisplay.from_estimator(whole)
        assert found.sizes.tolist() == pipeline[0].cluster_sizes_.tolist()
        ranks = RankCurveDisplay.from_estimator(whole, X, ks=[5])
        assert ranks.recall["CLIPSessionRecommender"] == [recall]
        gates = GateDisplay.from_estimator(whole)
        np.testing.assert_array_equal(gates.prompt_share, share)
        again = SessionExplanationDisplay.from_estimator(whole, X[[0]])
        np.testing.assert_allclose(again.drop, drop, atol=1e-5)
        assert explain(whole, X[:3]).equals(explain(rec, X[:3]))
        plt.close("all")
    skclip.save(fitted, tmp_path / "rec.skclip")
    np.testing.assert_array_equal(
        ClusterMapDisplay.from_estimator(skclip.load(tmp_path / "rec.skclip")).centers,
        ClusterMapDisplay.from_estimator(fitted).centers,
    )


@pytest.mark.parametrize("kind", [*RANKERS, SessionExplanationDisplay, explain])
def test_unfitted_and_wrong_estimators(kind):
    look = explain if kind is explain else lambda rec, X: make(kind, rec, X)
    with pytest.raises(NotFittedError):
        look(CLIPSessionRecommender(), [["a", "b"]])
    with pytest.raises(NotFittedError):
        look(make_pipeline(SessionClusterer(), CLIPSessionRecommender()), [["a", "b"]])
    with pytest.raises(TypeError, match="SessionClusterer holds no recommender"):
        look(SessionClusterer(), [["a", "b"]])


# -- TrainingHistoryDisplay ------------------------------------------------------------


def test_history_of_an_estimator(validated):
    display = TrainingHistoryDisplay.from_estimator(validated)
    assert display.epochs.tolist() == [1, 2]
    scores = [row["validation_score"] for row in validated.history_]
    assert display.validation_score.tolist() == scores
    upper, lower = display.axes_
    labels = upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()
    assert labels == ("training loss", "validation mrr@20", "epoch")
    np.testing.assert_array_equal(upper.lines[0].get_ydata(), display.train_loss)
    best = f"best: {max(scores):.4f} in epoch {display.best_epoch}"
    assert texts(lower.get_legend().get_texts()) == [best]


def test_history_by_hand(popular):
    display = TrainingHistoryDisplay(
        epochs=np.array([1, 2, 3, 4]),
        train_loss=np.array([4.0, 3.0, 2.5, 2.2]),
        validation_score=np.array([0.1, 0.3, 0.3, np.nan]),
        seconds=np.array([1.0, 2.0, 1.0, 0.5]),
    )
    assert display.best_epoch == 2  # the first of equals, NaN no competitor
    display.plot(against="seconds")
    assert display.axes_[0].lines[0].get_xdata().tolist() == [1.0, 3.0, 4.0, 4.5]
    assert display.axes_[1].get_xlabel() == "training time (seconds)"
    with pytest.raises(ValueError, match="against='steps'"):
        display.plot(against="steps")
    with pytest.raises(TypeError, match="PopularityRecommender has no history_"):
        TrainingHistoryDisplay.from_estimator(popular)


def test_history_goes_on_and_may_have_no_validation(small_recommender, shop_split):
    rec = clone(small_recommender).set_params(early_stopping=False, max_epochs=1)
    display = TrainingHistoryDisplay.from_estimator(rec.fit(shop_split[0]))
    assert display.best_epoch is None
    assert len(display.axes_) == 1
    rec.partial_fit(shop_split[1])
    assert TrainingHistoryDisplay.from_estimator(rec).epochs.tolist() == [1, 2]


# -- RankCurveDisplay ------------------------------------------------------------------


def test_rank_curve_equals_the_metrics(fitted, popular, shop_split):
    models = {"gru": fitted, "popularity": popular}
    display = drawn(RankCurveDisplay.from_estimators(models, shop_split[1]))
    assert display.ks.tolist() == list(range(1, 21))
    for name, model in models.items():
        ranks = model.rank_targets(shop_split[1])
        for values, metric in ((display.recall, recall_at_k), (display.mrr, mrr_at_k)):
            assert values[name].tolist() == [metric(ranks, k) for k in display.ks]
    upper, lower = display.axes_
    assert [len(upper.lines), len(lower.lines)] == [2, 2]
    assert upper.get_ylabel().startswith("Recall@k")
    assert lower.get_ylabel().startswith("MRR@k")
    assert texts(upper.get_legend().get_texts()) == list(models)
    assert len({(line.get_linestyle(), line.get_marker()) for line in upper.lines}) == 2


def test_rank_curve_by_hand_with_targets_and_far_out(popular):
    display = RankCurveDisplay.from_ranks({"m": [1, 2, 5, np.inf]}, ks=[5, 1, 2])
    assert display.ks.tolist() == [1, 2, 5]
    assert display.recall["m"].tolist() == [0.25, 0.5, 0.75]
    np.testing.assert_allclose(display.mrr["m"], [0.25, 0.375, 0.425])
    items = popular.predict_topk([[]], k=3)[0]
    given_y = RankCurveDisplay.from_estimator(popular, [[], []], items[:2], ks=[1, 2])
    assert given_y.recall["PopularityRecommender"].tolist() == [0.5, 1.0]
    far = RankCurveDisplay.from_ranks({"m": [1, 60, 3]}, ks=[1, 10, 100])
    assert far.axes_[1].get_xscale() == "log"
    small = PopularityRecommender().fit([["a", "b", "c"]])
    assert RankCurveDisplay.from_estimator(small, [["a", "b"]]).ks.tolist() == [1, 2, 3]


def test_rank_curve_errors(fitted):
    with pytest.raises(TypeError, match="estimators is CLIPSession.*from_estimator"):
        RankCurveDisplay.from_estimators(fitted, [["a", "b"]])
    for ks, message in (([0, 1], r"ks=array\(\[0, 1\]\)"), ([0.5], "whole numbers")):
        with pytest.raises(ValueError, match=message):
            RankCurveDisplay.from_ranks({"m": [1]}, ks=ks)


# -- GateDisplay -----------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["unit", "none"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_gate_shares_equal_the_equations(
    gate, normalization, small_recommender, shop_split
):
    rec = clone(small_recommender).set_params(
        prompt__gate=gate, prompt__normalization=normalization, max_epochs=1,
        clusterer=SessionClusterer((1.0, 4.0, 16.0)),
    )  # fmt: skip
    display = GateDisplay.from_estimator(rec.fit(shop_split[0]))
    np.testing.assert_allclose(display.item_share + display.prompt_share, 1.0)
    state = {k: v.numpy() for k, v in fitted_of(rec).model.state_dict().items()}
    W, b = (state.get(f"prompt.gate_item.{name}") for name in ("weight", "bias"))
    of_cluster = "prompt.kinds.cluster"
    V, c = (state.get(f"{of_cluster}.gate.{name}") for name in ("weight", "bias"))
    x, levels = state["item_table"], rec.clusterer_.levels_
    p = sum(state[f"{of_cluster}.levels.{i}"][levels[:, i] + 1] for i in range(3)) / 3

    def length(rows):
        return np.linalg.norm(rows, axis=1, keepdims=True)

    if normalization == "unit":
        x, p = x / length(x), p / length(p)
    if gate == "elementwise":
        x, p = expit(x @ W.T + b) * x, expit(p @ V.T + c) * p
    elif gate == "scalar":
        g = expit(x @ W.T + p @ V.T + b)
        x, p = g * x, (1 - g) * p
    expected = length(p) / (length(x) + length(p))
    np.testing.assert_allclose(display.prompt_share, expected[:, 0], rtol=1e-4)


def test_gate_reads_what_the_backbone_sees_and_training_events(fitted, shop_split):
    model = fitted_of(fitted).model
    with torch.no_grad():
        parts = model.prompt.parts(model.item_table, model.item_cells[1:])
        seen = model.vectors(torch.arange(1, model.n_items + 1))
    torch.testing.assert_close(parts[0] + parts[1], seen)
    display = GateDisplay.from_estimator(fitted)
    items = [item for row in shop_split[0].to_lists() for item in row]
    assert display.frequency[3] == items.count(display.item_ids[3])


def test_gate_bins_by_hand():
    share = np.array([0.2, 0.4, 0.6, 0.9, 0.1])
    shares = {"item_share": 1 - share, "prompt_share": share, "gate": "scalar"}
    clicks = np.array([1, 2, 3, 9, 1])
    display = GateDisplay(item_ids=np.arange(5), frequency=clicks, **shares)
    # 1; 2-3; 4-7 is empty and joins the one below; 8-15
    assert display.bin_edges_.tolist() == [1, 2, 8, 16]
    assert display.bin_sizes_.tolist() == [2, 2, 1]
    quartiles = [[0.125, 0.45, 0.9], [0.15, 0.5, 0.9]]
    np.testing.assert_allclose(display.bin_quartiles_[:2], quartiles)
    upper, lower = drawn(display.plot()).axes_
    assert [bar.get_height() for bar in lower.patches] == [2, 2, 1]
    legend = upper.get_legend()
    named = "middle half of the items", "median item", "equal shares"
    entries = texts([legend.get_title(), *legend.get_texts()])
    assert entries == ["scalar gate", *named]


def test_gate_needs_cluster_prompts(small_recommender, shop_split, bare, popular):
    X = shop_split[0].with_users(np.arange(500) % 7)
    rec = clone(small_recommender).set_params(prompt=("user", "cluster"), max_epochs=1)
    display = GateDisplay.from_estimator(rec.fit(X))
    assert display.prompt_share.shape == (rec.n_items_,)
    rec.set_params(prompt="user").fit(X)
    for without, message in (
        (rec, r"prompt='user'\) has no cluster prompts"),
        (bare, r"prompt=None\) has no cluster prompts"),
        (popular, "PopularityRecommender"),
    ):
        with pytest.raises(ValueError, match=message):
            GateDisplay.from_estimator(without)


# -- ClusterMapDisplay -----------------------------------------------------------------


def test_cluster_map_by_hand(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    # cup-tea 2, cup-milk 1 | nail-saw 2, glue-saw 1; none between
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert display.sizes.tolist() == [3, 3]
    assert display.inside_share.tolist() == [1.0, 1.0]
    assert display.links.nnz == 0
    strengths = dict(zip(display.item_ids.tolist(), display.item_strength, strict=True))
    assert strengths == dict(cup=3, glue=1, milk=1, nail=2, saw=3, tea=2)
    names = [display.item_ids[m].tolist() for m in display.members]
    assert names == [["cup", "tea", "milk"], ["saw", "nail", "glue"]]
    chart, side = display.axes_
    assert {"cup, tea, milk", "100%", "number\nof items"} <= set(texts(side.texts))
    assert texts(chart.texts)[:2] == ["0", "1"]
    assert chart.get_title() == "6 items in 2 clusters"

    clusterer.fit([*kitchen_and_workshop, ["alone"]])
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert np.isnan(display.item_inside_share[display.item_ids == "alone"]).all()
    membership = np.where(clusterer.item_ids_ == "alone", -1, clusterer.membership_)
    display = ClusterMapDisplay.from_membership(clusterer.graph_, membership)
    assert display.sizes.sum() == 6


def test_cluster_map_counts_transitions_between_clusters():
    graph = sparse.diags_array([[3, 2, 5], [3, 2, 5]], offsets=[1, -1], dtype=float)
    display = ClusterMapDisplay.from_membership(
        graph.tocsr(), [1, 1, 0, 0], item_names={0: "zero" * 10}
    )
    assert display.links.toarray().tolist() == [[0, 2], [2, 0]]
    np.testing.assert_allclose(display.inside_share, [10 / 12, 6 / 8])
    np.testing.assert_allclose(display.item_inside_share, [1, 3 / 5, 5 / 7, 1])
    assert display.members[0].tolist() == [2, 3]
    assert display.item_ids.tolist() == [0, 1, 2, 3]
    assert any(t.startswith("1, zerozero") for t in texts(display.axes_[1].texts))
    assert len(display.axes_[0].collections) >= 3  # links, circles, dots, legend


def test_cluster_map_describes_clusters_by_titles_or_categories(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    titles = {"cup": "Blue cup", "tea": "Blue tea", "milk": "The milk", "saw": "A saw"}
    display = drawn(ClusterMapDisplay.from_estimator(clusterer, item_names=titles))
    assert display.cluster_labels == ["blue", ""]
    assert "typical words" in texts(display.axes_[1].texts)[1]
    shelf = {
        "cup": "china",
        "tea": "food",
        "milk": "food",
        "saw": "tools",
        "nail": None,
    }
    display = drawn(
        ClusterMapDisplay.from_estimator(
            clusterer, item_categories=shelf, n_top_items=0
        )
    )
    labels = ["food (67% of its items)", "tools (33% of its items)"]
    assert display.cluster_labels == labels
    assert set(labels) <= set(texts(display.axes_[1].texts))


@pytest.mark.parametrize("name", ["item_categories", "item_names"])
def test_labels_that_fit_no_item_of_the_map(kitchen_and_workshop, name):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    table = pd.DataFrame({"item": ["cup", "tea"], "category": ["china", "food"]})
    for wrong in (table, ["china"], "china"):
        with pytest.raises(TypeError, match=rf"{name} is .*set_index\('item'\)"):
            ClusterMapDisplay.from_estimator(clusterer, **{name: wrong})
    twice = pd.Series(["china", "food"], index=["cup", "cup"])
    with pytest.raises(ValueError, match="more than once"):
        ClusterMapDisplay.from_estimator(clusterer, **{name: twice})
    for labels, category, message in (
        ({1: "china"}, IdTypeWarning, rf"{name} has ids of another type.* id 1 "),
        ({"x": "china", "y": "food"}, UserWarning, f"None of the 2 ids of {name}"),
    ):
        with pytest.warns(category, match=message) as caught:
            display = drawn(
                ClusterMapDisplay.from_estimator(clusterer, **{name: labels})
            )
        assert [w.category for w in caught] == [category]
        assert display.cluster_labels is None
        shown = " ".join(texts(display.axes_[1].texts))
        assert "category" not in shown
        assert "titles" not in shown
    column = table.set_index("item")["category"]
    options = {name: column, "n_top_items": 1}
    display = drawn(ClusterMapDisplay.from_estimator(clusterer, **options))
    if name == "item_categories":
        assert "most frequent category" in texts(display.axes_[1].texts)[1]


def gaps(centers, radii):
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    return (apart - radii[:, None] - radii)[np.triu_indices(len(radii), 1)]


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_circles_never_overlap(n, seed):
    rng = np.random.default_rng(seed)
    links = np.triu(rng.poisson(0.5, (n, n)) * rng.integers(1, 50, (n, n)), 1)
    radii = np.sqrt(np.sort(rng.integers(1, 2000, n))[::-1])
    links = (links + links.T).astype(float)
    centers = pack_circles(links, radii, np.random.RandomState(0))
    assert np.isfinite(centers).all()
    assert (gaps(centers, radii) > 0).all()


def test_linked_clusters_lie_close_and_seeds_give_the_same_map():
    """Clusters on a chain: neighbors are closer than the others by far."""
    n = 12
    links = np.diag(np.full(n - 1, 20.0), 1)
    links += links.T
    states = map(np.random.RandomState, (1, 1, 2))
    centers, again, other = (pack_circles(links, np.full(n, 3.0), s) for s in states)
    np.testing.assert_array_equal(centers, again)
    assert not np.array_equal(centers, other)
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    others = (links == 0) & ~np.eye(n, dtype=bool)
    assert apart[links > 0].mean() < 0.7 * apart[others].mean()


def test_large_maps_draw_a_sample_and_the_largest_clusters():
    rng = np.random.default_rng(0)
    n_items = 6000
    membership = np.minimum(rng.geometric(0.1, n_items), 60) - 1
    edges = rng.integers(0, n_items, (2, 20_000))
    graph = sparse.coo_array((np.ones(20_000), edges), shape=(n_items, n_items))
    display = ClusterMapDisplay.from_membership(
        (graph + graph.T).tocsr(), membership, max_clusters=20, max_items=500
    )
    sizes = np.sort(np.bincount(membership))[::-1]
    assert display.sizes.tolist() == sizes[:20].tolist()
    assert display.n_left_out == (len(sizes[sizes > 0]) - 20, sizes[20:].sum())
    dots = display.axes_[0].collections[2].get_offsets()
    assert 480 <= len(dots) <= 540
    for center, radius in zip(display.centers, display.radii, strict=True):
        assert (np.linalg.norm(dots - center, axis=1) < radius).any()
    title = display.axes_[0].get_title()
    assert f"The 20 largest of {sum(sizes > 0)} clusters" in title
    assert f"{len(dots):,} items are drawn" in title
    left_out = [text for text in texts(display.axes_[1].texts) if "not drawn" in text]
    assert left_out == [f"{display.n_left_out[0]} smaller clusters, not drawn"]
    shares = np.append(display.inside_share, display.inside_share_left_out)
    assert ((shares > 0) & (shares < 1)).all()
    assert len(display.plot(n_labels=0).axes_) == 1


@pytest.mark.realdata
def test_map_of_43097_items(data_home):
    import pandas as pd

    train = pd.read_parquet(data_home / "diginetica" / "train.parquet")
    clusterer = SessionClusterer(engine="igraph", random_state=0)
    clusterer.fit(train["session"].tolist())
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert display.sizes.sum() + display.n_left_out[1] == 43_097
    assert (gaps(display.centers, display.radii) > 0).all()
    assert len(display.axes_[0].collections[2].get_offsets()) < 5_400


def test_cluster_map_errors(bare, popular, pipeline, shop_split):
    shuffled = RandomClusters(random_state=0).fit(shop_split[0])
    for estimator, message in (
        (bare, "CLIPSessionRecommender holds no fitted"),
        (pipeline[-1], "Pipeline with the clusterer"),
        (popular, "PopularityRecommender"),
        (SessionClusterer(), "SessionClusterer holds no fitted"),
        (shuffled, "RandomClusters has no graph_"),
    ):
        with pytest.raises(ValueError, match=message):
            ClusterMapDisplay.from_estimator(estimator)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        ClusterMapDisplay.from_membership(pipeline[0].graph_, [0, 1])
    with pytest.raises(ValueError, match="max_clusters=0"):
        ClusterMapDisplay.from_estimator(pipeline, max_clusters=0)


# -- explain and SessionExplanationDisplay ---------------------------------------------


def test_explain_equals_scores_recomputed_one_by_one(fitted, shop_split):
    column = {item: i for i, item in enumerate(fitted.item_ids_.tolist())}
    rows = [row for row in shop_split[1].to_lists() if len(row) < 8][:12]
    rows = [[item for item in row if item in column] for row in rows]
    frame = explain(fitted, rows, k=3, rows="clicks", exclude_seen=False)
    assert len(frame) == 3 * sum(map(len, rows))
    columns = "session, rank, item, item_cluster, score, position, click, click_cluster"
    assert ", ".join(frame) == f"{columns}, drop, cluster_drop, note"

    def score(row, item):
        return fitted.decision_function([row])[0, column[item]] if row else np.nan

    for line in frame.to_dict("records"):
        row, at, item = rows[line["session"]], line["position"], line["item"]
        items, scores = fitted.predict_topk([row], 3, return_scores=True)
        assert items[0, line["rank"] - 1] == item
        assert scores[0, line["rank"] - 1] == pytest.approx(line["score"], abs=1e-5)
        clusters = fitted.membership_[[column[click] for click in row]]
        assert (row[at], clusters[at]) == (line["click"], line["click_cluster"])
        others = [row[i] for i in np.flatnonzero(clusters != clusters[at])]
        expected = [
            score(row, item) - score(left, item)
            for left in (row[:at] + row[at + 1 :], others)
        ]
        drops = [line["drop"], line["cluster_drop"]]
        np.testing.assert_allclose(drops, expected, atol=2e-5)
        assert bool(line["note"]) == np.isnan(drops).any()


def test_explain_log_probability_and_errors(fitted):
    row = fitted.item_ids_[[3, 8, 20]].tolist()
    options = {"measure": "log_probability", "rows": "clicks"}
    frame = explain(fitted, [row], k=2, **options)
    scores = fitted.decision_function([row, row[1:]]).astype(float)
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    at = fitted.item_ids_.tolist().index(frame["item"][0])
    assert frame["drop"][0] == pytest.approx(log_p[0, at] - log_p[1, at], abs=1e-5)
    with pytest.raises(ValueError, match="measure='gradient'"):
        explain(fitted, [row], measure="gradient")
    with pytest.raises(ValueError, match="rows='item'"):
        explain(fitted, [row], rows="item")


def test_explain_names_one_item_and_says_why_one_is_missing(fitted, shop_split):
    rows = [row for row in shop_split[1].to_lists() if len(row) < 6][:8]
    repeated = [*fitted.item_ids_[[3, 8, 3]].tolist(), "never seen"]
    rows += [repeated, ["never seen"], []]
    fitted = copy.deepcopy(fitted)  # one warning for each fitted model
    with pytest.warns(UserWarning, match="1 of 11 sessions are empty"):
        frame = explain(fitted, rows, k=3)
    items, scores = fitted.predict_topk(rows, 3, exclude_seen=True, return_scores=True)
    assert frame["session"].tolist() == np.repeat(np.arange(len(rows)), 3).tolist()
    assert frame["item"].tolist() == items.reshape(-1).tolist()
    np.testing.assert_allclose(frame["score"], scores.reshape(-1), atol=1e-5)
    columns = "session, rank, item, item_cluster, score, click, click_cluster"
    assert ", ".join(frame) == f"{columns}, drop, cluster_drop, note"

    known = set(fitted.item_ids_.tolist())
    column = {item: i for i, item in enumerate(fitted.item_ids_.tolist())}
    for line in frame.to_dict("records"):
        row, at = rows[line["session"]], column[line["item"]]
        full = fitted.decision_function([row])[0, at]
        drops = {}
        for item in set(row) & known:
            left = [click for click in row if click != item]
            if set(left) & known:
                drops[item] = full - fitted.decision_function([left])[0, at]
        if drops and max(drops.values()) > 1e-3:
            assert line["drop"] == pytest.approx(max(drops.values()), abs=2e-5)
            assert drops[line["click"]] == pytest.approx(line["drop"], abs=2e-5)
            assert bool(line["note"]) == np.isnan(line["cluster_drop"])
        else:
            assert np.isnan(line["drop"])
            assert line["note"]
    notes = frame["note"].tolist()
    assert set(notes[-3:]) == {"The session is empty."}
    assert set(notes[-6:-3]) == {"No item of the session was seen in fit."}
    assert frame["click"][-6:].isna().all()


def test_explain_keeps_integer_ids_beside_missing_ones():
    X = [[3, 5], [3, 5], [7, 9]]
    knn = skclip.SessionKNN("sknn").fit(X)
    for backend in ("pandas", "polars", "pyarrow"):
        frame = explain(knn, [[3], [7, 3], []], k=1, backend=backend)
        clicks = frame["click"].tolist() if backend == "pandas" else frame["click"]
        clicks = clicks.to_pylist() if backend == "pyarrow" else list(clicks)
        assert clicks[0] == 3
        assert type(clicks[0]) is int
        assert clicks[2] is None or backend == "pandas"


def test_explain_finds_the_click_that_matters(popular):
    """a is followed by b, x by y: the recommendation b hangs on a."""
    X = [["a", "b"], ["b", "a"], ["x", "y"], ["y", "x"]] * 40
    small = {"embedding_dim": 16, "max_epochs": 10, "batch_size": 16}
    rec = CLIPSessionRecommender(
        "gru4rec", **small, early_stopping=False, random_state=0, n_threads=1
    ).fit(X)
    options = {"k": 1, "measure": "log_probability", "exclude_seen": False}
    best = explain(rec, [["x", "a"]], **options)
    assert best[["item", "click"]].values.tolist() == [["b", "a"]]
    frame = explain(rec, [["x", "a"]], rows="clicks", **options)
    assert best["drop"][0] == pytest.approx(frame["drop"][1], abs=1e-5)
    assert frame["item"].tolist() == ["b", "b"]
    assert frame["drop"][1] > 1 > abs(frame["drop"][0])
    assert frame["item_cluster"][0] == frame["click_cluster"][1]

    session = [popular.item_ids_[:3].tolist()]
    frame = explain(popular, session, k=2)
    assert frame["click"].tolist() == [None, None]
    assert set(frame["note"]) == {"No clicked item raised this score."}
    frame = explain(popular, session, k=2, rows="clicks")
    assert not {"item_cluster", "click_cluster", "cluster_drop"} & set(frame)
    assert frame["drop"].tolist() == [0.0] * 6  # it ignores the session


def test_explain_unseen_items(bare, fitted, shop_split):
    known = fitted.item_ids_[0]
    with pytest.warns(UserWarning, match="1 of 2 clicks .* not seen in fit"):
        frame = explain(bare, [[known, "never seen"]], k=1, rows="clicks")
    assert np.isnan(frame["drop"][0])  # the rest would rank by popularity
    assert frame["note"].tolist() == [
        "Without this click the session has no known item.",
        "This item was not seen in fit.",
    ]
    assert frame["drop"][1] == pytest.approx(0, abs=1e-5)  # it is dropped anyway
    assert "click_cluster" not in frame
    dropped = explain(fitted, [[known, "never seen"]], k=1, rows="clicks")
    for name in ("drop", "cluster_drop"):
        np.testing.assert_allclose(dropped[name], [np.nan, 0], atol=1e-5)
    assert dropped["click_cluster"].tolist() == [fitted.membership_[0], -1]
    voting = clone(fitted).set_params(unseen_items="vote").fit(shop_split[0])
    voted = explain(voting, [[known, "never seen"]], k=1, rows="clicks")
    assert np.isnan(voted["drop"][0])
    assert abs(voted["drop"][1]) > 1e-3  # it is read as a prompt
    assert voted["cluster_drop"].isna().all()  # both are of one cluster
    assert voted["click_cluster"].tolist() == [fitted.membership_[0]] * 2


def test_explain_short_sessions(fitted):
    known = fitted.item_ids_[0]
    options = {"k": 2, "rows": "clicks"}
    frame = explain(fitted, [[], [known], [known, known]], **options)
    assert frame["session"].tolist() == [1, 1, 2, 2, 2, 2]
    assert frame["drop"].isna().tolist() == [True, True, False, False, False, False]
    assert frame["cluster_drop"].isna().all()
    assert len(explain(fitted, [[]], **options)) == 0
    best = explain(fitted, [[known], [known, known]], k=2)
    assert best["click"].tolist() == [known] * 4
    assert set(best["note"]) == {"Without this item the session has no known item."}


def test_explain_keeps_ids_and_filters(fitted):
    rows = [fitted.item_ids_[[1, 2]].tolist(), fitted.item_ids_[[3]].tolist()]
    X = Sessions.from_lists(rows, ids=["s1", "s2"])
    few = fitted.item_ids_[:2].tolist()
    frame = explain(fitted, X, k=3, allow=few, rows="clicks", exclude_seen=False)
    assert frame["session"].tolist() == ["s1"] * 4 + ["s2"] * 2
    assert set(frame["item"]) == set(fitted.item_ids_[:2])  # no filler
    unseen = explain(fitted, X[[0]], k=5)
    assert not set(unseen["item"]) & set(X[0].tolist())


def test_explain_reads_user_prompts(small_recommender, shop_split):
    X = shop_split[0].with_users(np.arange(500) % 5)
    rec = clone(small_recommender).set_params(prompt=("cluster", "user"), max_epochs=1)
    rows = [rec.fit(X).item_ids_[[3, 9]].tolist(), rec.item_ids_[[9]].tolist()]
    pair = Sessions.from_lists(rows, users=[2, 2])
    frame = explain(rec, pair[:1], k=1, rows="clicks")
    at = rec.item_ids_.tolist().index(frame["item"][0])
    expected = -np.diff(rec.decision_function(pair)[:, at])
    assert frame["drop"][0] == pytest.approx(expected[0], abs=1e-5)


def test_explain_in_chunks_and_other_frames(fitted, shop_split, monkeypatch):
    X = shop_split[1][:6]
    whole = explain(fitted, X, k=2, rows="clicks")
    monkeypatch.setattr("skclip.inspection._explain.rows_per_chunk", lambda n: 3)
    for backend in ("pandas", "polars", "pyarrow"):
        frame = explain(fitted, X, k=2, rows="clicks", backend=backend)
        assert type(frame).__module__.split(".")[0] == backend
        assert frame.shape == whole.shape
        np.testing.assert_allclose(frame["drop"], whole["drop"], atol=1e-5)


def test_session_display_holds_what_explain_says(fitted):
    row = fitted.item_ids_[[3, 8, 3, 20]].tolist()
    display = drawn(SessionExplanationDisplay.from_estimator(fitted, [row], k=4))
    frame = explain(fitted, [row], k=4, rows="clicks")
    drop = frame["drop"].to_numpy().reshape(4, 4).T
    np.testing.assert_allclose(display.drop, drop, atol=1e-5)
    np.testing.assert_allclose(display.weight, drop.mean(axis=1), atol=1e-5)
    assert display.clicks.tolist() == row
    assert display.items.tolist() == frame["item"].tolist()[::4]
    bars, path, table = display.axes_
    heights = sorted(bar.get_height() for c in bars.containers for bar in c)
    np.testing.assert_allclose(heights, sorted(display.weight))
    changes = 1 + (np.diff(display.click_clusters) != 0).sum()
    assert len(path.texts) == changes
    assert texts(path.texts)[0].split("\n")[0] == str(display.click_clusters[0])
    assert table.images[0].get_array().shape == (4, 4)
    assert texts(table.get_xticklabels()) == row
    ranked = [f"{i}. {item}" for i, item in enumerate(display.items, 1)]
    assert texts(table.get_yticklabels()) == ranked


def test_session_display_of_long_short_and_bare_sessions(popular, bare, fitted):
    make, row = SessionExplanationDisplay.from_estimator, fitted.item_ids_[:30].tolist()
    names = {row[-1]: "a name that is far too long"}
    display = make(fitted, [row], k=3, item_names=names)
    table = drawn(display).axes_[-1]
    assert display.drop.shape == (30, 3)
    assert table.images[0].get_array().shape == (3, 12)
    assert "18 earlier ones are not drawn" in table.get_xlabel()
    assert texts(table.get_xticklabels())[-1] == "a name tha… long"
    assert drawn(display.plot(max_clicks=2)).axes_[-1].get_xlim() == (-0.5, 1.5)
    for without_clusters in (bare, popular):
        assert len(make(without_clusters, [row[:3]]).axes_) == 2
    alone = drawn(make(fitted, [row[:1]]))
    assert np.isnan(alone.weight).all()
    assert "no known item" in texts(alone.axes_[0].texts)[0]


def test_session_display_errors(fitted):
    make, item = SessionExplanationDisplay.from_estimator, fitted.item_ids_[0]
    for rows, options, message in (
        ([[item], [item]], {}, "X has 2 sessions with 2 clicks"),
        ([[]], {}, "X has 1 sessions with 0 clicks"),
        ([[item]], {"allow": ["no such item"]}, "filters leave no item"),
        ([[item]], {"max_clicks": 0}, "max_clicks=0"),
    ):
        with pytest.raises(ValueError, match=message):
            make(fitted, rows, **options)


def test_numbers_and_names_are_short():
    text = _formatter(np.array([0.123, -2.5, np.nan]))
    assert [text(v) for v in (2.5, -0.04, 0.12, np.nan)] == ["+2.5", "0", "+0.1", "–"]
    assert _formatter(np.array([]))(0.0) == "0"
    assert shortened("short") == "short"
    assert shortened("a" * 10 + "b" * 30) == "a" * 10 + "b" * 3 + "…" + "b" * 6
    assert len(shortened("x" * 50, 12)) == 12
