"""What the server answers: the same as the models in its files."""

import warnings

import numpy as np
import pytest
from common import small
from fastapi.testclient import TestClient
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    MarkovRecommender,
    PopularityRecommender,
    SessionClusterer,
    VotingRecommender,
)
from skclip.exceptions import IdTypeWarning
from skclip.inspection import explain
from skclip.rerank import MMRReranker
from skclip.serve import create_app
from skclip.serve._catalog import Catalog

SESSIONS = [["item-003", "item-019"], [], ["never seen", 7, "item-041"], [7]]


@pytest.fixture(scope="module")
def markov(train):
    return MarkovRecommender().fit(train)


@pytest.fixture(scope="module")
def client(fitted, markov, tmp_path_factory):
    """A client of a server with `fitted` as a and `markov` as b, and titles."""
    folder = tmp_path_factory.mktemp("models")
    skclip.save(fitted, folder / "a.skclip")
    skclip.save(markov, folder / "b.skclip")
    rows = [f'{item},x,"Red {item[-2:]}, öl"' for item in fitted.item_ids_[:70]]
    text = "\n".join(["item,other,title", *rows, "not in the model,x,y"])
    (folder / "titles.csv").write_text(text, encoding="utf-8")
    paths = [folder / "a.skclip", folder / "b.skclip"]
    with TestClient(create_app(paths, folder / "titles.csv")) as client:
        yield client


def post(client, where, **body):
    answer = client.post(where, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def expected(items, scores):
    kept = np.isfinite(scores)
    return {"items": items[kept].tolist(), "scores": scores[kept].tolist()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 1000, "exclude_seen": False},
        {"k": 5, "deny": ["item-005", "item-049", 3], "model": "b"},
        {"allow": ["item-001", "item-002", "item-003", "other"]},
        {"allow": []},
    ],
)
def test_recommendations_are_those_of_the_model(client, fitted, markov, options):
    model = markov if options.get("model") == "b" else fitted
    filters = {"exclude_seen": True, **options}
    filters.pop("model", None)
    k = min(filters.pop("k", 10), len(model.item_ids_))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdTypeWarning)
        best = model.predict_topk(SESSIONS, k, return_scores=True, **filters)
    found = post(client, "/recommend", sessions=SESSIONS, **options)
    for result, session, *lists in zip(found["results"], SESSIONS, *best, strict=True):
        unknown = [i for i in session if i not in set(model.item_ids_.tolist())]
        assert result == expected(*lists) | {"unknown": unknown}
        alone = post(client, "/recommend", session=session, **options)
        assert alone["items"] == result["items"]
        np.testing.assert_allclose(alone["scores"], result["scores"], rtol=1e-5)
        assert alone["unknown"] == unknown
        assert alone["explanation"] is None
        assert alone["version"] == found["version"]
    assert post(client, "/recommend", sessions=[])["results"] == []


def test_new_items_with_features_are_served(train, tmp_path):
    vectors = {item: [i % 7, 1.0] for i, item in enumerate(train.vocabulary.tolist())}
    model = small("core", item_features=vectors, max_epochs=1).fit(train[:60])
    model.set_item_features({"later": [3.0, -1.0]})
    skclip.save(model, tmp_path / "a.skclip")
    with TestClient(create_app(tmp_path / "a.skclip")) as client:
        found = post(client, "/recommend", session=["later"], k=model.n_items_)
        assert found["unknown"] == []
        assert (
            found["items"]
            == model.predict_topk([["later"]], k=model.n_items_, exclude_seen=True)[
                0, :-1
            ].tolist()
        )
        found = post(client, "/recommend", session=["item-003"], allow=["later"])
        assert found["items"] == ["later"]
        assert post(client, "/similar", item="later", k=3)["items"]


def test_unknown_ids_give_no_warnings(client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        post(client, "/recommend", session=["3", 3, "item-3"], deny=["x"])
        post(client, "/similar", item="3", model="b")


def test_unknown_ids_of_filters_are_told(client):
    filters = {"allow": ["item-005", 7, "new"], "deny": ["item-003", "gone", 7]}
    for where, body in (
        ("/recommend", {"session": []}),
        ("/recommend", {"sessions": [["x"]]}),
        ("/similar", {"item": "item-003", "model": "b"}),
        ("/similar", {"items": [], "model": "b"}),
    ):
        assert post(client, where, **body)["unknown_filters"] == []
        found = post(client, where, **body, **filters)
        assert found["unknown_filters"] == [7, "new", "gone"]


def test_similar_items_are_bounded(client):
    body = {"items": ["item-003"] * 101, "k": 101, "model": "b"}
    answer = client.post("/similar", json=body)
    assert answer.status_code == 422
    assert (
        "With k above 100, a request takes at most 100 items."
        in answer.json()["detail"]
    )
    assert client.post("/similar", json=body | {"k": 100}).is_success


def test_an_explanation_has_the_drops_of_explain(client, fitted):
    session = ["item-003", "never seen", "item-019"]
    found = post(client, "/recommend", session=session, k=4, explain=True)
    frame = explain(fitted, [session], k=4, rows="clicks")
    table = frame.pivot(index="position", columns="rank", values="drop")
    assert found["items"] == frame.drop_duplicates("rank")["item"].tolist()
    assert found["explanation"]["clicks"] == table.index.tolist()
    np.testing.assert_allclose(found["explanation"]["drops"], table, rtol=1e-6)


def test_an_explanation_where_nothing_is_left(client):
    found = post(client, "/recommend", session=["item-003"], k=2, explain=True)
    assert found["explanation"] == {"clicks": [0], "drops": [[None, None]]}
    found = post(client, "/recommend", session=[], k=2, explain=True)
    assert (len(found["items"]), found["explanation"]["drops"]) == (2, [])
    options = {"allow": [], "explain": True}
    found = post(client, "/recommend", session=["item-003"], **options)
    assert found["explanation"]["drops"] == [[]]


def test_similar_items_are_those_of_the_model(client, markov):
    ids = ["item-003", "never seen"]
    best = markov.similar_items(ids, 7, return_scores=True, deny=["item-005"])
    options = {"k": 7, "deny": ["item-005"], "model": "b"}
    found = post(client, "/similar", items=ids, **options)["results"]
    one = expected(best[0][0], best[1][0]) | {"unknown": []}
    assert found == [one, {"items": [], "scores": [], "unknown": ["never seen"]}]
    alone = post(client, "/similar", item=ids[0], **options)
    assert {key: alone[key] for key in one} == one


def naive_search(text, fitted, titles):
    counts = fitted.item_counts_.tolist()
    found = []
    for clicks, item in zip(counts, fitted.item_ids_.tolist(), strict=True):
        words = f"{item} {titles.get(item, '')}".lower().replace(",", " ")
        words = words.replace("-", " ").split()
        if all(any(w.startswith(q) for w in words) for q in text.lower().split()):
            found.append((-clicks, item))
    return [item for _, item in sorted(found)]


@pytest.mark.parametrize("text", ["", "RED", "0 item", "öl 01", "re 1 ö", "ed", "049"])
def test_search_finds_what_a_loop_finds(client, fitted, text):
    titles = {i: f"Red {i[-2:]}, öl" for i in fitted.item_ids_[:70].tolist()}
    found = client.get("/items", params={"q": text, "limit": 100}).json()
    assert [item["id"] for item in found["items"]] == naive_search(text, fitted, titles)
    assert found["total"] == len(found["items"])
    few = client.get("/items", params={"q": text, "limit": 2}).json()
    assert few["items"] == found["items"][:2]
    assert few["total"] == found["total"]


def test_items_are_described(client, fitted):
    last = fitted.item_ids_[-1].item()
    found = post(client, "/items", ids=["item-003", last, 10**30])["items"]
    at = fitted.item_ids_.tolist().index("item-003")
    assert found[0] == {
        "id": "item-003",
        "known": True,
        "title": "Red 03, öl",
        "cluster": int(fitted.membership_[at]),
        "clicks": int(fitted.item_counts_[at]),
    }
    assert (found[1]["known"], found[1]["title"]) == (True, None)
    empty = dict.fromkeys(("title", "cluster", "clicks"))
    assert found[2] == {"id": 10**30, "known": False, **empty}
    assert client.get("/items", params={"q": "?!"}).json() == {"items": [], "total": 0}


def test_health_and_models(client, fitted):
    first, second = client.get("/models").json()["models"]
    assert (first["name"], first["file"]) == ("a", "a.skclip")
    assert first["n_items"] == fitted.n_items_
    assert first["n_clusters"] == fitted.membership_.max() + 1
    assert (first["similar"], first["titles"]) == (True, True)
    assert (second["estimator"], second["n_clusters"]) == ("MarkovRecommender", None)
    health = client.get("/health").json()
    assert (health["status"], health["skclip"]) == ("ok", skclip.__version__)
    for short, model in zip(health["models"], (first, second), strict=True):
        assert short.items() <= model.items()
    head = client.head("/health")
    assert (head.status_code, head.text) == (200, "")


def test_the_description_and_the_page(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/recommend", "/similar", "/items", "/models", "/health"}
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for answer in (page, client.get("/nothing"), client.get("/health")):
        assert answer.headers["content-security-policy"].startswith("default-src 's")
        assert answer.headers["x-content-type-options"] == "nosniff"


def serve(model, tmp_path, **options):
    skclip.save(model, tmp_path / "model.skclip")
    return TestClient(create_app(tmp_path / "model.skclip", **options))


def test_a_pipeline_is_served(train, tmp_path):
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    pipe.fit(train)
    found = post(serve(pipe, tmp_path), "/recommend", sessions=SESSIONS, k=6)
    best = skclip.predict_topk(pipe, SESSIONS, 6, exclude_seen=True)
    assert [result["items"] for result in found["results"]] == best.tolist()


def test_a_model_without_similar_items_says_so(train, tmp_path):
    client = serve(PopularityRecommender().fit(train), tmp_path)
    answer = client.post("/similar", json={"item": "item-003"})
    assert answer.status_code == 422
    assert "PopularityRecommender" in answer.json()["detail"]
    assert client.get("/models").json()["models"][0]["similar"] is False


@pytest.mark.parametrize("kind", ["reranker", "votes"])
def test_clusters_and_similar_items_of_a_part(kind, fitted, train, tmp_path):
    """They are those of a network inside, as it has the same catalog."""
    outer = {
        "reranker": MMRReranker(fitted, prefit=True),
        "votes": VotingRecommender(
            [("popular", PopularityRecommender().fit(train)), ("clip", fitted)],
            prefit=True,
        ),
    }[kind].fit(train)
    client = serve(outer, tmp_path)
    (told,) = client.get("/models").json()["models"]
    assert (told["similar"], told["n_clusters"]) == (True, fitted.membership_.max() + 1)
    (record,) = post(client, "/items", ids=["item-003"])["items"]
    at = fitted.item_ids_.tolist().index("item-003")
    assert record["cluster"] == fitted.membership_[at]
    found = post(client, "/similar", item="item-003", k=5)
    assert found["items"] == fitted.similar_items(["item-003"], 5)[0].tolist()


def test_what_a_part_says_of_other_items_is_not_told(tmp_path):
    pipe = make_pipeline(SessionClusterer(random_state=0), PopularityRecommender())
    pipe.fit([["a", "b"], ["b", "c"], ["b", "a"]])
    assert _catalog_of(pipe).clusters is not None
    strangers = [["x", "y"], ["y", "z"]]
    other = SessionClusterer(random_state=0).fit(strangers)
    pipe.set_params(sessionclusterer=other)
    assert _catalog_of(pipe).clusters is None
    del pipe[-1].item_counts_
    pipe.set_params(sessionclusterer=PopularityRecommender().fit(strangers))
    assert _catalog_of(pipe).clicks is None


def _catalog_of(pipe):
    return Catalog(pipe, pipe[-1], None)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float64, object])
def test_ids_that_are_numbers(kind, tmp_path):
    X = np.array([[1, 2, 30], [2, 30, 1], [2, 1, 30]], dtype=kind)
    client = serve(MarkovRecommender().fit(X), tmp_path)
    options = {"exclude_seen": False, "deny": [1.0]}
    answer = client.post("/recommend", json={"session": [1.0, "2"], **options})
    assert '"items":[2,30]' in answer.text
    assert answer.json()["unknown"] == ["2"]


@pytest.mark.parametrize("ids", [[-1, 2, 3], ["", "b", "c"], ["-1", "0", "é"]])
def test_a_filled_list_where_the_usual_filling_is_an_item(ids, tmp_path):
    model = skclip.MarkovRecommender().fit([ids, ids[::-1]])
    client = serve(model, tmp_path)
    answer = post(client, "/recommend", session=ids[:1], k=10)
    assert sorted(map(str, answer["items"])) == sorted(map(str, ids[1:]))
    assert post(client, "/recommend", session=ids, k=3, explain=True)["items"] == []
    assert post(client, "/similar", item=ids[0], k=3)["items"] == [ids[1]]
