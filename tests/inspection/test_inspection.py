"""Displays against hand-worked numbers and naive loops; figures drawn with Agg."""

import pickle
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
from skclip.controls import RandomClusters
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
def popular(shop_split):
    return PopularityRecommender().fit(shop_split[0])


@pytest.fixture(scope="module")
def bare(small_recommender, shop_split):
    return clone(small_recommender).set_params(prompt=None).fit(shop_split[0])


def drawn(display, **options):
    """Draw for good, so that a fault in the layout shows."""
    display.figure_.canvas.draw()
    return display


# -- one figure, the axes that were given, no state ------------------------------------

DISPLAYS = {
    "history": (lambda rec, X, **o: TrainingHistoryDisplay.from_estimator(rec, **o), 2),
    "map": (lambda rec, X, **o: ClusterMapDisplay.from_estimator(rec, **o), 2),
    "gate": (lambda rec, X, **o: GateDisplay.from_estimator(rec, **o), 2),
    "ranks": (lambda rec, X, **o: RankCurveDisplay.from_estimator(rec, X, **o), 2),
    "session": (
        lambda rec, X, **o: SessionExplanationDisplay.from_estimator(rec, X[[0]], **o),
        3,
    ),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_without_axes_one_figure_is_made(name, fitted, shop_split):
    make, n_panels = DISPLAYS[name]
    before, figures = dict(matplotlib.rcParams), set(plt.get_fignums())
    display = drawn(make(fitted, shop_split[1]))
    assert set(plt.get_fignums()) - figures == {display.figure_.number}
    assert dict(matplotlib.rcParams) == before
    assert len(display.axes_) == n_panels
    assert display.ax_ is display.axes_[0]
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    again = display.plot()
    assert again is display
    assert len(plt.get_fignums()) == len(figures) + 2


@pytest.mark.parametrize("name", DISPLAYS)
def test_given_axes_are_used(name, fitted, shop_split):
    make, n_panels = DISPLAYS[name]
    figure, (ax, other) = plt.subplots(1, 2, layout="constrained")
    plt.sca(other)
    display = drawn(make(fitted, shop_split[1], ax=ax))
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is other
    assert len(ax.child_axes) == n_panels
    assert display.axes_ == ax.child_axes
    assert not other.has_data()


def test_several_axes_take_a_panel_each(fitted, shop_split):
    _, axes = plt.subplots(2, 1)
    display = RankCurveDisplay.from_estimator(fitted, shop_split[1], ax=axes)
    assert display.axes_ == list(axes)
    with pytest.raises(ValueError, match="ax holds 2 Axes, SessionExp.* draws 3"):
        SessionExplanationDisplay.from_estimator(fitted, shop_split[1][[0]], ax=axes)


def test_nothing_needs_matplotlib_at_import_time():
    # igraph takes it along where it is installed, so it is made impossible to import.
    code = "import sys; sys.modules['matplotlib'] = None; import skclip.inspection"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_matplotlib_names_the_extra(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skclip\[plot\]"):
        TrainingHistoryDisplay.from_estimator(fitted)
    with pytest.raises(ImportError, match=r"ClusterMapDisplay .* skclip\[plot\]"):
        ClusterMapDisplay.from_estimator(fitted)
    assert len(explain(fitted, [[fitted.item_ids_[0]]], k=1)) == 1  # draws nothing


def test_colors_differ_in_grey():
    gray = [
        0.299 * r + 0.587 * g + 0.114 * b
        for r, g, b in map(matplotlib.colors.to_rgb, COLORS)
    ]
    assert np.diff(sorted(gray)).min() > 0.05


# -- wherever the recommender stands ---------------------------------------------------


def test_pipeline_search_and_pickle(pipeline, fitted, shop_split):
    X = shop_split[1]
    session = X[[0]]
    search = GridSearchCV(pipeline, {"clipsessionrecommender__max_epochs": [1]}, cv=2)
    search.best_estimator_ = pipeline
    packed = pickle.loads(pickle.dumps(pipeline))
    rec = pipeline[-1]
    bare_ranks = rec.rank_targets(X)
    for whole in (pipeline, search, packed):
        assert TrainingHistoryDisplay.from_estimator(whole).train_loss.tolist() == [
            row["train_loss"] for row in rec.history_
        ]
        found = ClusterMapDisplay.from_estimator(whole)
        assert found.sizes.tolist() == pipeline[0].cluster_sizes_.tolist()
        ranks = RankCurveDisplay.from_estimator(whole, X, ks=[5])
        assert ranks.recall["CLIPSessionRecommender"] == [recall_at_k(bare_ranks, 5)]
        np.testing.assert_array_equal(
            GateDisplay.from_estimator(whole).prompt_share,
            GateDisplay.from_estimator(rec).prompt_share,
        )
        np.testing.assert_allclose(
            SessionExplanationDisplay.from_estimator(whole, session).drop,
            SessionExplanationDisplay.from_estimator(rec, session).drop,
            atol=1e-5,
        )
        assert explain(whole, X[:3]).equals(explain(rec, X[:3]))
        plt.close("all")


@pytest.mark.parametrize("name", DISPLAYS)
def test_displays_survive_pickle(name, fitted, shop_split):
    display = DISPLAYS[name][0](fitted, shop_split[1])
    again = pickle.loads(pickle.dumps(display))
    for key, value in vars(display).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(again, key), value)
    drawn(again.plot())


def test_saved_recommender_keeps_its_map(fitted, tmp_path):
    skclip.save(fitted, tmp_path / "rec.skclip")
    loaded = skclip.load(tmp_path / "rec.skclip")
    np.testing.assert_array_equal(
        ClusterMapDisplay.from_estimator(loaded).centers,
        ClusterMapDisplay.from_estimator(fitted).centers,
    )


@pytest.mark.parametrize(
    "make",
    [
        TrainingHistoryDisplay.from_estimator,
        GateDisplay.from_estimator,
        lambda rec: RankCurveDisplay.from_estimator(rec, [["a", "b"]]),
        lambda rec: SessionExplanationDisplay.from_estimator(rec, [["a", "b"]]),
        lambda rec: explain(rec, [["a", "b"]]),
    ],
)
def test_unfitted_and_wrong_estimators(make):
    with pytest.raises(NotFittedError):
        make(CLIPSessionRecommender())
    with pytest.raises(NotFittedError):
        make(make_pipeline(SessionClusterer(), CLIPSessionRecommender()))
    with pytest.raises(TypeError, match="SessionClusterer holds no recommender"):
        make(SessionClusterer())


# -- TrainingHistoryDisplay ------------------------------------------------------------


def test_history_of_an_estimator(fitted):
    display = TrainingHistoryDisplay.from_estimator(fitted)
    assert display.epochs.tolist() == [1, 2]
    scores = [row["validation_score"] for row in fitted.history_]
    assert display.validation_score.tolist() == scores
    assert display.score_name == "mrr@20"
    upper, lower = display.axes_
    assert upper.get_ylabel() == "training loss"
    assert lower.get_ylabel() == "validation mrr@20"
    assert lower.get_xlabel() == "epoch"
    np.testing.assert_array_equal(upper.lines[0].get_ydata(), display.train_loss)
    (entry,) = lower.get_legend().get_texts()
    assert entry.get_text() == f"best: {max(scores):.4f} in epoch {display.best_epoch}"


def test_history_by_hand():
    display = TrainingHistoryDisplay(
        epochs=np.array([1, 2, 3, 4]),
        train_loss=np.array([4.0, 3.0, 2.5, 2.2]),
        validation_score=np.array([0.1, 0.3, 0.3, np.nan]),
        seconds=np.array([1.0, 2.0, 1.0, 0.5]),
    )
    assert display.best_epoch == 2  # the first of equals, NaN no competitor
    display.plot(against="seconds")
    np.testing.assert_array_equal(
        display.axes_[0].lines[0].get_xdata(), [1.0, 3.0, 4.0, 4.5]
    )
    assert display.axes_[1].get_xlabel() == "seconds of training"
    with pytest.raises(ValueError, match="against='steps'"):
        display.plot(against="steps")


def test_history_goes_on_and_may_have_no_validation(small_recommender, shop_split):
    rec = clone(small_recommender).set_params(early_stopping=False, max_epochs=1)
    rec.fit(shop_split[0])
    display = TrainingHistoryDisplay.from_estimator(rec)
    assert display.best_epoch is None
    assert len(display.axes_) == 1
    rec.partial_fit(shop_split[1])
    assert TrainingHistoryDisplay.from_estimator(rec).epochs.tolist() == [1, 2]


def test_history_of_what_has_none(popular):
    with pytest.raises(TypeError, match="PopularityRecommender has no history_"):
        TrainingHistoryDisplay.from_estimator(popular)


# -- RankCurveDisplay ------------------------------------------------------------------


def test_rank_curve_equals_the_metrics(fitted, popular, shop_split):
    models = {"gru": fitted, "popularity": popular}
    display = drawn(RankCurveDisplay.from_estimators(models, shop_split[1]))
    assert display.ks.tolist() == list(range(1, 21))
    for name, model in models.items():
        ranks = model.rank_targets(shop_split[1])
        for i, k in enumerate(display.ks):
            assert display.recall[name][i] == recall_at_k(ranks, k)
            assert display.mrr[name][i] == mrr_at_k(ranks, k)
    upper, lower = display.axes_
    assert [len(upper.lines), len(lower.lines)] == [2, 2]
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("Recall@k", "MRR@k")
    assert [t.get_text() for t in upper.get_legend().get_texts()] == list(models)
    styles = {(line.get_linestyle(), line.get_marker()) for line in upper.lines}
    assert len(styles) == 2


def test_rank_curve_by_hand_and_with_targets(popular):
    display = RankCurveDisplay.from_ranks({"m": [1, 2, 5, np.inf]}, ks=[5, 1, 2])
    assert display.ks.tolist() == [1, 2, 5]
    assert display.recall["m"].tolist() == [0.25, 0.5, 0.75]
    np.testing.assert_allclose(display.mrr["m"], [0.25, 0.375, 0.425])
    items = popular.predict_topk([[]], k=3)[0]
    given_y = RankCurveDisplay.from_estimator(popular, [[], []], items[:2], ks=[1, 2])
    assert given_y.recall["PopularityRecommender"].tolist() == [0.5, 1.0]


def test_rank_curve_far_out_is_logarithmic_and_small_catalogs_fit():
    display = RankCurveDisplay.from_ranks({"m": [1, 60, 3]}, ks=[1, 10, 100])
    assert display.axes_[1].get_xscale() == "log"
    model = PopularityRecommender().fit([["a", "b", "c"]])
    assert RankCurveDisplay.from_estimator(model, [["a", "b"]]).ks.tolist() == [1, 2, 3]


def test_rank_curve_errors(fitted):
    with pytest.raises(TypeError, match="estimators is CLIPSession.*from_estimator"):
        RankCurveDisplay.from_estimators(fitted, [["a", "b"]])
    with pytest.raises(ValueError, match=r"ks=array\(\[0, 1\]\)"):
        RankCurveDisplay.from_ranks({"m": [1]}, ks=[0, 1])
    with pytest.raises(ValueError, match="whole numbers"):
        RankCurveDisplay.from_ranks({"m": [1]}, ks=[0.5])


# -- GateDisplay -----------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["unit", "none"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_gate_shares_equal_a_naive_loop(
    gate, normalization, small_recommender, shop_split
):
    rec = clone(small_recommender)
    rec.set_params(gate=gate, normalization=normalization, max_epochs=1)
    rec.fit(shop_split[0])
    display = GateDisplay.from_estimator(rec)
    np.testing.assert_allclose(display.item_share + display.prompt_share, 1.0)
    state = {k: v.numpy() for k, v in rec._model.state_dict().items()}
    table, prompts = state["item_table"], state["prompt.kinds.cluster.table"]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for i in range(0, rec.n_items_, 7):
        x, p = table[i], prompts[rec.membership_[i] + 1]
        if normalization == "unit":
            x, p = x / np.linalg.norm(x), p / np.linalg.norm(p)
        if gate == "elementwise":
            W, b = state["prompt.gate_item.weight"], state["prompt.gate_item.bias"]
            V, c = (
                state["prompt.kinds.cluster.gate.weight"],
                state["prompt.kinds.cluster.gate.bias"],
            )
            item, prompt = sigmoid(W @ x + b) * x, sigmoid(V @ p + c) * p
        elif gate == "scalar":
            w, b = state["prompt.gate_item.weight"], state["prompt.gate_item.bias"]
            g = sigmoid(w[0] @ x + state["prompt.kinds.cluster.gate.weight"][0] @ p + b)
            item, prompt = g * x, (1 - g) * p
        else:
            item, prompt = x, p
        item, prompt = np.linalg.norm(item), np.linalg.norm(prompt)
        assert display.prompt_share[i] == pytest.approx(prompt / (item + prompt), 1e-4)


def test_gate_parts_add_up_to_what_the_backbone_sees(fitted):
    model = fitted._model
    with torch.no_grad():
        parts = model.prompt.parts(model.item_table, model.clusters[1:])
        seen = model.vectors(torch.arange(1, model.n_items + 1))
    torch.testing.assert_close(parts[0] + parts[1], seen)


def test_gate_bins_by_hand():
    share = np.array([0.2, 0.4, 0.6, 0.9, 0.1])
    display = GateDisplay(
        item_ids=np.arange(5),
        frequency=np.array([1, 2, 3, 9, 1]),
        item_share=1 - share,
        prompt_share=share,
        gate="scalar",
    )
    # 1; 2-3; 4-7 is empty and joins the one below; 8-15
    assert display.bin_edges_.tolist() == [1, 2, 8, 16]
    assert display.bin_sizes_.tolist() == [2, 2, 1]
    np.testing.assert_allclose(display.bin_quartiles_[1], [0.15, 0.5, 0.9])
    np.testing.assert_allclose(display.bin_quartiles_[0], [0.125, 0.45, 0.9])
    drawn(display.plot())
    upper, lower = display.axes_
    assert [bar.get_height() for bar in lower.patches] == [2, 2, 1]
    assert upper.get_legend().get_title().get_text() == "scalar gate"
    assert [t.get_text() for t in upper.get_legend().get_texts()] == [
        "middle half",
        "median item",
        "equal parts",
    ]


def test_gate_counts_training_events(fitted, shop_split):
    display = GateDisplay.from_estimator(fitted)
    items = [item for row in shop_split[0].to_lists() for item in row]
    assert display.frequency[3] == items.count(display.item_ids[3])


def test_gate_beside_user_prompts(small_recommender, shop_split):
    X = shop_split[0].with_users(np.arange(500) % 7)
    rec = clone(small_recommender).set_params(prompt=("user", "cluster"), max_epochs=1)
    display = GateDisplay.from_estimator(rec.fit(X))
    assert display.prompt_share.shape == (rec.n_items_,)
    rec.set_params(prompt="user").fit(X)
    with pytest.raises(ValueError, match=r"prompt='user'\) has no cluster prompts"):
        GateDisplay.from_estimator(rec)


def test_gate_of_what_has_none(bare, popular):
    with pytest.raises(ValueError, match=r"prompt=None\) has no cluster prompts"):
        GateDisplay.from_estimator(bare)
    with pytest.raises(ValueError, match="PopularityRecommender"):
        GateDisplay.from_estimator(popular)


# -- ClusterMapDisplay -----------------------------------------------------------------


def test_cluster_map_by_hand(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    # cup-tea 2, cup-milk 1 | nail-saw 2, glue-saw 1; none between
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert display.sizes.tolist() == [3, 3]
    assert display.inside_share.tolist() == [1.0, 1.0]
    assert display.links.nnz == 0
    assert dict(zip(display.item_ids.tolist(), display.item_strength, strict=True)) == {
        "cup": 3,
        "glue": 1,
        "milk": 1,
        "nail": 2,
        "saw": 3,
        "tea": 2,
    }
    names = [display.item_ids[m].tolist() for m in display.members]
    assert names == [["cup", "tea", "milk"], ["saw", "nail", "glue"]]
    texts = [t.get_text() for t in display.axes_[1].texts]
    assert "3 items, 100% inside\ncup, tea, milk" in texts
    assert [t.get_text() for t in display.axes_[0].texts] == ["0", "1"]
    assert display.axes_[0].get_title() == "6 items in 2 clusters"


def test_cluster_map_counts_transitions_between_clusters():
    graph = np.zeros((4, 4))
    graph[0, 1] = graph[1, 0] = 3
    graph[1, 2] = graph[2, 1] = 2
    graph[2, 3] = graph[3, 2] = 5
    from scipy import sparse

    display = ClusterMapDisplay.from_membership(
        sparse.csr_array(graph), [1, 1, 0, 0], item_names={0: "zero" * 10}
    )
    assert display.links.toarray().tolist() == [[0, 2], [2, 0]]
    np.testing.assert_allclose(display.inside_share, [10 / 12, 6 / 8])
    np.testing.assert_allclose(display.item_inside_share, [1, 3 / 5, 5 / 7, 1])
    assert display.members[0].tolist() == [2, 3]
    assert display.item_ids.tolist() == [0, 1, 2, 3]
    texts = [t.get_text() for t in display.axes_[1].texts]
    assert any("1, zerozero…zero"[:6] in text for text in texts)
    assert len(display.axes_[0].collections) == 3  # links, circles, dots


def gaps(display_centers, radii):
    apart = np.linalg.norm(display_centers[:, None] - display_centers[None], axis=2)
    return (apart - radii[:, None] - radii)[np.triu_indices(len(radii), 1)]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_circles_never_overlap(n, seed):
    rng = np.random.default_rng(seed)
    links = np.triu(rng.poisson(0.5, (n, n)) * rng.integers(1, 50, (n, n)), 1)
    radii = np.sqrt(np.sort(rng.integers(1, 2000, n))[::-1])
    links = (links + links.T).astype(float)
    centers = pack_circles(links, radii, np.random.RandomState(0))
    assert np.isfinite(centers).all()
    assert (gaps(centers, radii) > 0).all()


def test_linked_clusters_lie_close():
    """Clusters on a chain: neighbors are closer than the others by far."""
    n = 12
    links = np.diag(np.full(n - 1, 20.0), 1)
    links += links.T
    radii = np.full(n, 3.0)
    centers = pack_circles(links, radii, np.random.RandomState(1))
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    chained = links > 0
    others = ~chained & ~np.eye(n, dtype=bool)
    assert apart[chained].mean() < 0.7 * apart[others].mean()


def test_cluster_map_is_deterministic(fitted):
    first, second, third = (
        ClusterMapDisplay.from_estimator(fitted, random_state=seed).centers
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_large_maps_draw_a_sample_and_the_largest_clusters():
    rng = np.random.default_rng(0)
    n_items = 6000
    membership = np.minimum(rng.geometric(0.1, n_items), 60) - 1
    from scipy import sparse

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
    assert "smaller clusters" in title
    assert f"{len(dots):,} items drawn" in title
    without_list = display.plot(n_labels=0)
    assert len(without_list.axes_) == 1


@pytest.mark.realdata
def test_map_of_43097_items(data_home):
    import pandas as pd

    train = pd.read_parquet(data_home / "diginetica" / "train.parquet")
    X = Sessions.from_lists(train["session"].tolist())
    clusterer = SessionClusterer(engine="igraph", random_state=0).fit(X)
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert display.sizes.sum() + display.n_left_out[1] == 43_097
    assert (gaps(display.centers, display.radii) > 0).all()
    dots = display.axes_[0].collections[2].get_offsets()
    assert len(dots) < 5_400


def test_items_without_cluster_or_edge(kitchen_and_workshop):
    sessions = [*kitchen_and_workshop, ["alone"]]
    clusterer = SessionClusterer(random_state=0).fit(sessions)
    display = drawn(ClusterMapDisplay.from_estimator(clusterer))
    assert np.isnan(display.item_inside_share[display.item_ids == "alone"]).all()
    membership = np.where(clusterer.item_ids_ == "alone", -1, clusterer.membership_)
    display = ClusterMapDisplay.from_membership(clusterer.graph_, membership)
    assert display.sizes.sum() == 6


def test_cluster_map_errors(bare, popular, pipeline, shop_split):
    with pytest.raises(ValueError, match="CLIPSessionRecommender holds no fitted"):
        ClusterMapDisplay.from_estimator(bare)
    with pytest.raises(ValueError, match="Pipeline whose step"):
        ClusterMapDisplay.from_estimator(pipeline[-1])
    with pytest.raises(ValueError, match="PopularityRecommender"):
        ClusterMapDisplay.from_estimator(popular)
    with pytest.raises(ValueError, match="SessionClusterer holds no fitted"):
        ClusterMapDisplay.from_estimator(SessionClusterer())
    shuffled = RandomClusters(random_state=0).fit(shop_split[0])
    with pytest.raises(ValueError, match="RandomClusters has no graph_"):
        ClusterMapDisplay.from_estimator(shuffled)
    graph = pipeline[0].graph_
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        ClusterMapDisplay.from_membership(graph, [0, 1])
    with pytest.raises(ValueError, match="max_clusters=0"):
        ClusterMapDisplay.from_estimator(pipeline, max_clusters=0)


# -- explain and SessionExplanationDisplay ---------------------------------------------


def naive_explanation(rec, row, k):
    """(item, position) -> drop, cluster_drop, one session at a time."""
    column = {item: i for i, item in enumerate(rec.item_ids_.tolist())}
    full = rec.decision_function([row])[0]
    items = rec.predict_topk([row], k)[0].tolist()
    clusters = [int(rec.membership_[column[click]]) for click in row]
    result = {}
    for item in items:
        for at in range(len(row)):
            rest = row[:at] + row[at + 1 :]
            others = [c for i, c in enumerate(row) if clusters[i] != clusters[at]]
            drops = [
                full[column[item]] - rec.decision_function([left])[0][column[item]]
                if left
                else np.nan
                for left in (rest, others)
            ]
            result[item, at] = drops
    return items, clusters, result


def test_explain_equals_scores_recomputed_one_by_one(fitted, shop_split):
    X = Sessions.from_lists([r for r in shop_split[1].to_lists() if len(r) < 8][:12])
    known = set(fitted.item_ids_.tolist())
    X = Sessions.from_lists([[i for i in row if i in known] or row for row in X])
    frame = explain(fitted, X, k=3)
    assert len(frame) == 3 * X.n_events
    assert list(frame) == [
        "session",
        "rank",
        "item",
        "item_cluster",
        "score",
        "position",
        "click",
        "click_cluster",
        "drop",
        "cluster_drop",
    ]
    for number, row in enumerate(X.to_lists()):
        items, clusters, expected = naive_explanation(fitted, row, 3)
        part = frame[frame["session"] == number]
        for line in part.to_dict("records"):
            assert items[line["rank"] - 1] == line["item"]
            assert row[line["position"]] == line["click"]
            assert clusters[line["position"]] == line["click_cluster"]
            np.testing.assert_allclose(
                [line["drop"], line["cluster_drop"]],
                expected[line["item"], line["position"]],
                atol=2e-5,
            )
        scores = fitted.predict_topk([row], 3, return_scores=True)[1][0]
        found = part.drop_duplicates("rank")["score"]
        np.testing.assert_allclose(found, scores, atol=1e-5)


def test_explain_log_probability(fitted):
    row = fitted.item_ids_[[3, 8, 20]].tolist()
    frame = explain(fitted, [row], k=2, measure="log_probability")
    scores = fitted.decision_function([row, row[1:]]).astype(float)
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    at = fitted.item_ids_.tolist().index(frame["item"][0])
    assert frame["drop"][0] == pytest.approx(log_p[0, at] - log_p[1, at], abs=1e-5)
    with pytest.raises(ValueError, match="measure='gradient'"):
        explain(fitted, [row], measure="gradient")


def test_explain_finds_the_click_that_matters():
    """a is followed by b, x by y: the recommendation b hangs on a."""
    X = [["a", "b"], ["b", "a"], ["x", "y"], ["y", "x"]] * 40
    rec = CLIPSessionRecommender(
        "gru4rec",
        embedding_dim=16,
        max_epochs=10,
        batch_size=16,
        early_stopping=False,
        random_state=0,
        n_threads=1,
        device="cpu",
    ).fit(X)
    frame = explain(rec, [["x", "a"]], k=1)
    assert frame["item"].tolist() == ["b", "b"]
    assert frame["drop"][1] > 1 > abs(frame["drop"][0])
    assert frame["item_cluster"][0] == frame["click_cluster"][1]


def test_explain_a_recommender_that_ignores_the_session(popular):
    frame = explain(popular, [popular.item_ids_[:3].tolist()], k=2)
    assert "cluster_drop" not in frame
    assert "item_cluster" not in frame
    assert frame["drop"].tolist() == [0.0] * 6


def test_explain_without_prompts_and_unseen_items(bare, fitted):
    known = fitted.item_ids_[0]
    with pytest.warns(UserWarning, match="1 of 2 events .* not seen in fit"):
        frame = explain(bare, [[known, "never seen"]], k=1)
    assert np.isnan(frame["drop"][0])  # the rest would rank by popularity
    assert frame["drop"][1] == pytest.approx(0, abs=1e-5)  # it is dropped anyway
    assert "click_cluster" not in frame
    frame = explain(fitted, [[known, "never seen"]], k=1)
    assert np.isfinite(frame["drop"]).all()
    assert frame["click_cluster"].nunique() == 1  # voted by its neighbor


def test_explain_short_and_empty_sessions(fitted):
    item = fitted.item_ids_[5]
    frame = explain(fitted, [[], [item], [item, item]], k=2)
    assert frame["session"].tolist() == [1, 1, 2, 2, 2, 2]
    assert frame["drop"].isna().tolist() == [True, True, False, False, False, False]
    assert frame["cluster_drop"].isna().all()
    assert len(explain(fitted, [[]], k=2)) == 0


def test_explain_keeps_ids_users_and_filters(fitted, shop_split):
    X = Sessions.from_lists(
        [fitted.item_ids_[[1, 2]].tolist(), fitted.item_ids_[[3]].tolist()],
        ids=["s1", "s2"],
    )
    frame = explain(fitted, X, k=3, allow=fitted.item_ids_[:2].tolist())
    assert frame["session"].tolist() == ["s1"] * 4 + ["s2"] * 2
    assert set(frame["item"]) == set(fitted.item_ids_[:2])  # no filler
    unseen = explain(fitted, X[[0]], k=5, exclude_seen=True)
    assert not set(unseen["item"]) & set(X[0].tolist())


def test_explain_reads_user_prompts(small_recommender, shop_split):
    X = shop_split[0].with_users(np.arange(500) % 5)
    rec = clone(small_recommender).set_params(prompt=("cluster", "user"), max_epochs=1)
    rec.fit(X)
    row = Sessions.from_lists([rec.item_ids_[[3, 9]].tolist()], users=[2])
    shorter = Sessions.from_lists([rec.item_ids_[[9]].tolist()], users=[2])
    frame = explain(rec, row, k=1)
    at = rec.item_ids_.tolist().index(frame["item"][0])
    expected = rec.decision_function(row)[0] - rec.decision_function(shorter)[0]
    assert frame["drop"][0] == pytest.approx(expected[at], abs=1e-5)


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_explain_frames(backend, fitted):
    frame = explain(fitted, [fitted.item_ids_[:2].tolist()], k=2, backend=backend)
    assert type(frame).__module__.split(".")[0] == backend
    assert frame.shape == (4, 10)


def test_explain_in_chunks(fitted, shop_split, monkeypatch):
    X = shop_split[1][:6]
    whole = explain(fitted, X, k=2)
    monkeypatch.setattr("skclip.inspection._explain.rows_per_chunk", lambda n: 3)
    parts = explain(fitted, X, k=2)
    np.testing.assert_allclose(parts["drop"], whole["drop"], atol=1e-5)


def test_explain_errors(fitted):
    with pytest.raises(ValueError, match="k=500 exceeds the catalog"):
        explain(fitted, [[fitted.item_ids_[0]]], k=500)


def test_session_display_holds_what_explain_says(fitted):
    row = fitted.item_ids_[[3, 8, 3, 20]].tolist()
    display = drawn(SessionExplanationDisplay.from_estimator(fitted, [row], k=4))
    frame = explain(fitted, [row], k=4)
    drop = frame["drop"].to_numpy().reshape(4, 4).T
    np.testing.assert_allclose(display.drop, drop, atol=1e-5)
    np.testing.assert_allclose(display.weight, drop.mean(axis=1), atol=1e-5)
    assert display.clicks.tolist() == row
    assert display.items.tolist() == frame["item"].tolist()[::4]
    bars, path, table = display.axes_
    assert sum(len(c) for c in bars.containers) == 4
    heights = sorted(bar.get_height() for c in bars.containers for bar in c)
    np.testing.assert_allclose(heights, sorted(display.weight))
    changes = 1 + (np.diff(display.click_clusters) != 0).sum()
    assert len(path.texts) == changes
    assert path.texts[0].get_text().split("\n")[0] == str(display.click_clusters[0])
    assert table.images[0].get_array().shape == (4, 4)
    assert [t.get_text() for t in table.get_xticklabels()] == row
    ranked = [t.get_text() for t in table.get_yticklabels()]
    assert ranked == [f"{item}  {i}" for i, item in enumerate(display.items, 1)]


def test_session_display_of_long_sessions_and_names(fitted):
    row = fitted.item_ids_[:30].tolist()
    display = SessionExplanationDisplay.from_estimator(
        fitted, [row], k=3, item_names={row[-1]: "a name that is far too long"}
    )
    table = drawn(display).axes_[-1]
    assert display.drop.shape == (30, 3)
    assert table.images[0].get_array().shape == (3, 12)
    assert "18 earlier ones are not drawn" in table.get_xlabel()
    assert table.get_xticklabels()[-1].get_text() == "a name tha…-long"[:10] + "… long"
    assert drawn(display.plot(max_clicks=2)).axes_[-1].get_xlim() == (-0.5, 1.5)


def test_session_display_without_clusters_and_with_one_click(popular, bare, fitted):
    row = fitted.item_ids_[:3].tolist()
    assert len(SessionExplanationDisplay.from_estimator(bare, [row]).axes_) == 2
    assert len(SessionExplanationDisplay.from_estimator(popular, [row]).axes_) == 2
    alone = drawn(SessionExplanationDisplay.from_estimator(fitted, [row[:1]]))
    assert np.isnan(alone.weight).all()
    assert alone.axes_[0].texts[0].get_text() == "nothing is left without it"


def test_session_display_errors(fitted):
    make, item = SessionExplanationDisplay.from_estimator, fitted.item_ids_[0]
    with pytest.raises(ValueError, match="X has 2 sessions with 2 clicks"):
        make(fitted, [[item], [item]])
    with pytest.raises(ValueError, match="X has 1 sessions with 0 clicks"):
        make(fitted, [[]])
    with pytest.raises(ValueError, match="filters leave no item"):
        make(fitted, [[item]], allow=["no such item"])
    with pytest.raises(ValueError, match="max_clicks=0"):
        make(fitted, [[item]], max_clicks=0)


def test_numbers_and_names_are_short():
    text = _formatter(np.array([0.123, -2.5, np.nan]))
    assert [text(v) for v in (2.5, -0.04, 0.12, np.nan)] == ["+2.5", "0", "+0.1", "–"]
    assert _formatter(np.array([]))(0.0) == "0"
    assert shortened("short") == "short"
    assert shortened("a" * 10 + "b" * 30) == "a" * 10 + "b" * 3 + "…" + "b" * 6
    assert len(shortened("x" * 50, 12)) == 12
