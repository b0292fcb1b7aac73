"""Requests and answers as pydantic models, which the OpenAPI description shows."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

MAX_ID, MAX_CLICKS, MAX_SESSIONS, MAX_ITEMS, MAX_K = 1000, 1000, 1000, 1000, 1000
MAX_FILTERED, MAX_EXPLAINED = 100_000, 100
MANY = 100  # with more lists than this, none may be longer than this


def _whole(value):
    """Convert 1.0 to 1, as in JSON. Larger floats may stand for another number."""
    exact = type(value) is float and abs(value) <= 2**53 and value.is_integer()
    return int(value) if exact else value


def _as_float(value):
    """Convert whole seconds to float, because strict floats would refuse 1."""
    return float(value) if type(value) is int and abs(value) < 2**63 else value


def _item_id(value):
    value = _whole(value)
    if type(value) is not int:
        if type(value) is not str or len(value) > MAX_ID:
            raise ValueError(_WHAT_IS_AN_ID)
        try:
            value.encode()
        except UnicodeEncodeError:  # no answer could hold it
            raise ValueError("An id has an unpaired surrogate") from None
    return value


_WHAT_IS_AN_ID = f"An id is text of at most {MAX_ID:,} characters or a whole number"
ItemId = Annotated[
    str | int,
    PlainValidator(_item_id),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "maxLength": MAX_ID}, {"type": "integer"}]}
    ),
]
Session = Annotated[list[ItemId], Field(max_length=MAX_CLICKS)]
Type = ItemId | None
Time = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_as_float)]
Types = Annotated[list[Type], Field(max_length=MAX_CLICKS)]
Times = Annotated[list[Time], Field(max_length=MAX_CLICKS)]
Filter = Annotated[list[ItemId], Field(max_length=MAX_FILTERED)]
Name = Literal["a", "b"]


def _one_of(*names):
    """Return a JSON schema that requires exactly one of some fields."""
    return {"oneOf": [{"required": [name]} for name in names]}


def _check_one_of(request, *names):
    if len(request.model_fields_set & set(names)) != 1:
        raise ValueError(f"Expected either {' or '.join(names)}.")
    return request


def _long_lists(name):
    """Return a JSON schema that limits the number of long lists."""
    return {
        "if": {"properties": {"k": {"minimum": MANY + 1}}, "required": ["k"]},
        "then": {"properties": {name: {"maxItems": MANY}}},
    }


def _check_long_lists(request, name):
    if request.k > MANY and len(getattr(request, name)) > MANY:
        raise ValueError(
            f"With k above {MANY}, a request takes at most {MANY} {name}. Send them in "
            "several requests, or pass a smaller k."
        )
    return request


_OF_CLICKS = "{} Send a list with session, and a list of lists with sessions."


def _how_many(name):
    return f"At most {MAX_SESSIONS:,} {name}, or at most {MANY} if k is above {MANY}."


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Ranking(_Request):
    k: Annotated[int, Field(ge=1, le=MAX_K), BeforeValidator(_whole)] = 10
    allow: Filter | None = None
    deny: Filter = []
    model: Name = "a"

    @property
    def filters(self):
        return {"allow": self.allow, "deny": self.deny or None}

    @property
    def filtered(self):
        """Return the ids of both filters."""
        return [*(self.allow or []), *self.deny]


_EXPLAINED = {
    "if": {"properties": {"explain": {"const": True}}, "required": ["explain"]},
    "then": {
        "properties": {"session": {"maxItems": MAX_EXPLAINED}},
        "required": ["session"],
    },
}


class RecommendRequest(_Ranking):
    """Request with one session, or with many."""

    model_config = ConfigDict(
        json_schema_extra=_one_of("session", "sessions")
        | {"allOf": [_EXPLAINED, _long_lists("sessions")]}
    )

    session: Session = []
    sessions: Annotated[
        list[Session], Field(max_length=MAX_SESSIONS, description=_how_many("sessions"))
    ] = []
    exclude_seen: bool = True
    explain: bool = False
    events: Annotated[
        Types | Annotated[list[Types], Field(max_length=MAX_SESSIONS)] | None,
        Field(description=_OF_CLICKS.format("Type of each click, or null if unknown.")),
    ] = None
    times: Annotated[
        Times | Annotated[list[Times], Field(max_length=MAX_SESSIONS)] | None,
        Field(description=_OF_CLICKS.format("Times of clicks in seconds, in order.")),
    ] = None

    @property
    def many(self):
        return "sessions" in self.model_fields_set

    @property
    def asked(self):
        """Return the sessions as a list, even if there is only one."""
        return self.sessions if self.many else [self.session]

    @property
    def columns(self):
        """Return rows of types and times, as for `Sessions.from_lists`."""
        given = {"events": self.events, "times": self.times}
        given = {name: rows for name, rows in given.items() if rows is not None}
        return given if self.many else {name: [row] for name, row in given.items()}

    @model_validator(mode="after")
    def _check(self):
        _check_one_of(self, "session", "sessions")
        for name, rows in self.columns.items():
            _check_rows(name, rows, self.asked, self.many)
        if self.explain and "session" not in self.model_fields_set:
            raise ValueError("explain needs session, not sessions.")
        if self.explain and len(self.session) > MAX_EXPLAINED:
            raise ValueError(f"explain takes at most {MAX_EXPLAINED} clicks.")
        return _check_long_lists(self, "sessions")


def _check_rows(name, rows, sessions, many):
    """Refuse types or times unless there is one per click, in order."""
    are_rows = all(type(row) is list for row in rows)
    fits = are_rows and [*map(len, rows)] == [*map(len, sessions)]
    if not fits or any(type(value) is list for row in rows for value in row):
        what = "one value per click"
        what = f"one list per session, with {what}" if many else what
        raise ValueError(f"{name} does not match the clicks. Expected {what}.")
    if name == "times" and any(row != sorted(row) for row in rows):
        raise ValueError("times must not decrease within a session.")


class SimilarRequest(_Ranking):
    """Request with one item, or with many."""

    model_config = ConfigDict(
        json_schema_extra=_one_of("item", "items") | _long_lists("items")
    )

    item: ItemId = ""
    items: Annotated[
        list[ItemId], Field(max_length=MAX_ITEMS, description=_how_many("items"))
    ] = []

    @model_validator(mode="after")
    def _check(self):
        _check_one_of(self, "item", "items")
        return _check_long_lists(self, "items")


class SearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    q: Annotated[str, Field(max_length=200)] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    model: Name = "a"


class ItemsRequest(_Request):
    ids: Annotated[list[ItemId], Field(max_length=MAX_ITEMS)]
    model: Name = "a"


# -- answers ---------------------------------------------------------------------------


class Ranking(BaseModel):
    items: list[str | int]
    scores: list[float]
    unknown: list[str | int]


class Explanation(BaseModel):
    clicks: list[int]
    drops: list[list[float | None]]


class _Answer(BaseModel):
    model: Name
    version: str
    unknown_filters: Annotated[
        list[str | int],
        Field(description="Ids in allow and deny that are not in the catalog."),
    ]


class OneRanking(_Answer, Ranking):
    pass


class OneRecommendation(OneRanking):
    explanation: Explanation | None


class ManyRankings(_Answer):
    results: list[Ranking]


class Item(BaseModel):
    id: str | int
    known: bool
    title: str | None
    cluster: int | None
    clicks: int | None


class Items(BaseModel):
    items: list[Item]


class FoundItems(Items):
    total: int


class ModelState(BaseModel):
    name: Name
    version: str
    loaded_at: str
    load_seconds: float
    reload_error: str | None


class ModelDescription(ModelState):
    file: str
    estimator: str
    n_items: int
    n_clusters: int | None
    similar: bool
    titles: bool
    titles_version: str | None
    rules_version: str | None


class ModelDescriptions(BaseModel):
    models: list[ModelDescription]


class Health(BaseModel):
    status: Literal["ok"]
    skclip: str
    models: list[ModelState]


class Error(BaseModel):
    detail: str
