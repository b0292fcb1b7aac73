"""Rules in a file: what `/recommend` makes of them, and what it refuses."""

import json
import logging

import pytest
from fastapi.testclient import TestClient
from sklearn.pipeline import make_pipeline

import skclip
from skclip import MarkovRecommender, PopularityRecommender, SessionClusterer
from skclip.rerank import MMRReranker
from skclip.serve import create_app
from skclip.serve._models import Models

ROW = ["item-003", "item-019"]


@pytest.fixture(scope="module")
def folder(fitted, train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    skclip.save(fitted, folder / "a.skclip")
    skclip.save(MarkovRecommender().fit(train), folder / "b.skclip")
    return folder


def client_of(folder, rules, models=("a.skclip", "b.skclip")):
    path = folder / f"rules-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(rules), encoding="utf-8")
    return TestClient(create_app([folder / name for name in models], rules=path))


def items(client, **body):
    answer = client.post("/recommend", json={"session": ROW, "k": 6} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_rules_are_options_of_predict_topk(fitted, folder):
    rules = {
        "boost": {"item-050": 40.0, "nobody": 2},
        "boost_seen": 3,
        "max_per_group": 2,
        "groups": "cluster",
        "deny": ["item-001"],
    }
    options = {
        "boost": {"item-050": 40.0},
        "max_per_group": 2,
        "groups": "cluster",
        "deny": ["item-001", "item-002"],
    }
    with client_of(folder, rules, ["a.skclip"]) as client:
        expected = fitted.predict_topk([ROW], 6, exclude_seen=True, **options)[0]
        assert items(client, deny=["item-002"]) == expected.tolist()
        expected = fitted.predict_topk([ROW], 6, boost_seen=3, **options)[0]
        found = items(client, deny=["item-002"], exclude_seen=False)
        assert found == expected.tolist()
        explained = items(client, deny=["item-002"], exclude_seen=False, explain=True)
        assert explained == found
        described = client.get("/models").json()["models"]
        assert all(len(model["rules_version"]) == 12 for model in described)


def test_each_model_may_have_rules_of_its_own(fitted, folder):
    rules = {"a": {"deny": fitted.item_ids_[:30].tolist()}}
    with client_of(folder, rules) as client, client_of(folder, {}) as plain:
        assert items(client) != items(plain)
        assert items(client, model="b") == items(plain, model="b")


def test_keys_that_are_text_mean_whole_numbers_where_ids_are(tmp_path):
    model = PopularityRecommender().fit([[1, 2, 3], [2, 3], [3, 1]])
    skclip.save(model, tmp_path / "m.skclip")
    rules = {"boost": {"1": 100}, "groups": {"1": "x", "3": "x"}, "max_per_group": 1}
    with client_of(tmp_path, rules, ["m.skclip"]) as client:
        body = {"session": [], "exclude_seen": False, "k": 3}
        assert client.post("/recommend", json=body).json()["items"] == [1, 2]


def test_a_pipeline_lends_its_clusters(train, tmp_path):
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    skclip.save(pipe.fit(train), tmp_path / "m.skclip")
    rules = {"groups": "cluster", "max_per_group": 1}
    with client_of(tmp_path, rules, ["m.skclip"]) as client:
        clusters = dict(zip(pipe[0].item_ids_, pipe[0].membership_, strict=True))
        found = [clusters[item] for item in items(client)]
        assert len(set(found)) == len(found)


def test_a_changed_file_takes_effect_and_a_broken_one_does_not(folder, caplog):
    path, models = folder / "watched.json", [folder / "a.skclip"]
    path.write_text("{}")
    watched = Models(models, rules=path)
    before = watched["a"].recommend([ROW], 3)[0][0]
    path.write_text(json.dumps({"deny": before}))
    watched.refresh()
    after = watched["a"].recommend([ROW], 3)[0][0]
    assert not set(before) & set(after)
    path.write_text('{"deny": 7}')
    with caplog.at_level(logging.ERROR, "skclip.serve"):
        watched.refresh()
        watched.refresh()
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "watched.json: 'deny' is not a list" in caplog.text
    assert watched["a"].recommend([ROW], 3)[0][0] == after
    assert watched.describe()[0]["reload_error"].startswith("watched.json")


def test_unknown_items_are_logged_once(folder, caplog):
    path = folder / "unknown.json"
    path.write_text(json.dumps({"boost": {"nobody": 2.0}}))
    with caplog.at_level(logging.WARNING, "skclip.serve"):
        Models([folder / "a.skclip"], rules=path)
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "not in the catalog of model a (1, such as 'nobody')" in record.message


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ([], "holds a list. Expected a JSON object with some of 'boost'"),
        ({"bost": {}}, "has the key 'bost'"),
        ({"a": {}, "c": {}}, "has the key 'a'"),
        ({"a": []}, "'a' is not a JSON object"),
        ({"boost": [1]}, "'boost' is not an object"),
        ({"boost": {"item-001": 0}}, "json: boost.'item-001'. is 0"),
        ({"boost_seen": "much"}, "json: boost_seen is 'much'"),
        ({"max_per_group": 1}, "json: max_per_group is given alone"),
        ({"max_per_group": 1, "groups": "brand"}, "'groups' is neither"),
        ({"deny": "item-001"}, "'deny' is not a list"),
        ({"deny": [True]}, "'deny' is not a list"),
        ({"deny": [["item-001"]]}, "'deny' is not a list"),
        ({"a": {}, "b": {"deny": 1}}, "'deny' is not a list"),
    ],
)
def test_wrong_rules_are_refused_at_the_start(folder, rules, match):
    with pytest.raises(ValueError, match=match):
        client_of(folder, rules)


def test_files_that_are_no_json_are_refused(folder):
    path = folder / "no.json"
    path.write_text("{boost")
    with pytest.raises(ValueError, match="no.json is not JSON in UTF-8"):
        create_app([folder / "a.skclip"], rules=path)
    path.write_text('{"boost": {"a": 1}, "boost": {}}')
    with pytest.raises(ValueError, match="the key 'boost' is given twice"):
        create_app([folder / "a.skclip"], rules=path)
    with pytest.raises(FileNotFoundError):
        create_app([folder / "a.skclip"], rules=folder / "missing.json")


def test_models_that_cannot_follow_the_rules_are_refused(train, tmp_path):
    rerank = MMRReranker(MarkovRecommender(), diversity=0.3).fit(train)
    skclip.save(rerank, tmp_path / "m.skclip")
    with pytest.raises(ValueError, match="json: The scores of MMRReranker"):
        client_of(tmp_path, {"boost": {"item-001": 2}}, ["m.skclip"])
