"""scikit-learn's own suite, on numeric 2-D input."""

import json

import pytest
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclip import (
    SLIST,
    AssociationRules,
    CandidateRanker,
    CLIPSessionRecommender,
    LLMReranker,
    MarkovRecommender,
    MMRReranker,
    PopularityRecommender,
    SequentialRules,
    SessionClusterer,
    SessionKNN,
    VotingRecommender,
)
from skclip.controls import OneCluster, RandomClusters
from skclip.features import ClusterFeatures
from skclip.text import ItemTextEncoder

WIDTH = "sessions are ragged; width is not a feature count"
XFAIL = {"check_n_features_in_after_fitting": WIDTH}
FRAME = "a data frame is refused as X: it is taken for a log of clicks"
XFAIL_WEIGHTS = XFAIL | {"check_sample_weights_pandas_series": FRAME}
# As for scikit-learn's SGDClassifier. The counting baselines, SLIST, the clusterer and
# what stands over them pass this check.
XFAIL_DRAWN = XFAIL_WEIGHTS | {
    "check_sample_weight_equivalence_on_dense_data": "batches, or the held-out part, "
    "are made of rows, and a repeated row is several",
}
XFAIL_WIDTH = XFAIL | {"check_transformer_general": WIDTH}
XFAIL_TRANSFORMER = XFAIL_WEIGHTS | {
    "check_transformer_general": WIDTH,
    "check_estimators_pickle": "rows with NaN padding are ragged, and the check "
    "compares what transform returns as rectangular arrays",
}


XFAIL_LLM = XFAIL_WEIGHTS | {
    "check_estimators_pickle": "pickles leave the client out, by design",
}


class NewestFirst:
    """Stands where a language model would: the titles of the session, backwards."""

    def __call__(self, messages):
        titles = json.loads(messages[1]["content"])["session"]
        return json.dumps({"titles": titles[::-1]})

    def __repr__(self):  # tests are named by it, alike in each process
        return "NewestFirst()"


def expected_failures(estimator):
    if isinstance(estimator, LLMReranker):
        return XFAIL_LLM
    if isinstance(estimator, (CLIPSessionRecommender, CandidateRanker)):
        return XFAIL_DRAWN
    if not hasattr(estimator, "transform"):
        return XFAIL_WEIGHTS
    if hasattr(estimator, "predict"):
        return XFAIL_TRANSFORMER
    return XFAIL_WIDTH


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        CLIPSessionRecommender("gru4rec", max_epochs=1, embedding_dim=8),
        SessionClusterer(),
        PopularityRecommender(),
        MarkovRecommender(),
        SequentialRules(),
        AssociationRules(),
        SessionKNN(),
        SessionKNN("stan"),
        SessionKNN("vstan"),
        SLIST(),
        VotingRecommender([("markov", MarkovRecommender()), ("knn", SessionKNN())]),
        VotingRecommender([("knn", SessionKNN())], method="score"),
        VotingRecommender(
            [("markov", MarkovRecommender()), ("knn", SessionKNN("vstan"))],
            method="blend",
            weights="auto",
        ),
        OneCluster(),
        RandomClusters(random_state=0),
        ClusterFeatures(SessionClusterer(random_state=0)),
        ItemTextEncoder(),
        LLMReranker(PopularityRecommender(), str, client=NewestFirst(), weight=0.6),
        MMRReranker(MarkovRecommender(), diversity=0.5),
        CandidateRanker(MarkovRecommender(), DecisionTreeClassifier()),
    ],
    expected_failed_checks=expected_failures,
)
def test_sklearn(estimator, check, request):
    try:
        check(estimator)
    except Exception as error:
        if request.node.get_closest_marker("xfail") is None:
            raise
        # pytest would parse all of scikit-learn's checks to print the traceback.
        raise AssertionError(repr(error)) from None
