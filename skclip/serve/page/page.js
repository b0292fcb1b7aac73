// The page of `python -m skclip.serve`. The fragment of the address holds the session.
// A click writes it there, and each change of the address draws the page again. So the
// back button undoes a click, and a reload or a link restores the session.

import { ask, Failed, fromJSON, isId, keyOf, Refused, toJSON } from "./server.js";

const LISTED = 10;
const FOUND = 20;
const BLOCK = 1000; // ids that the server describes in one request
const SMALL = 0.05; // smallest share of the largest drop for which a click is named
const POLL = 5000; // milliseconds between two checks of the models

const $ = (id) => document.getElementById(id);
const wide = matchMedia("(min-width: 45.01rem)");

const state = {
  models: [],
  session: [],
  lists: [], // one per model: {session, items, scores, explanation, moved} or {problem}
  opened: new Set(), // recommendations whose bars are open
  records: new Map(), // descriptions of items from the server, by model, versions and id
  found: { query: null, items: [], total: 0 },
  active: -1, // the chosen option of the search
  popup: false, // whether a narrow screen shows the options
};

// ---- Descriptions of items

const versionsOf = (model) =>
  `${model.version} ${model.titles_version} ${model.rules_version}`;
const placeOf = (model, id) => `${model.name} ${versionsOf(model)} ${keyOf(id)}`;
const recordOf = (model, id) => state.records.get(placeOf(model, id));

/** Request the missing descriptions of items: title, cluster, known. */
async function learn(model, ids, signal) {
  const missing = ids.filter((id) => !recordOf(model, id));
  for (let begin = 0; begin < missing.length; begin += BLOCK) {
    const block = missing.slice(begin, begin + BLOCK);
    const body = { ids: block, model: model.name };
    const { items } = await ask("items", { body, signal });
    block.forEach((id, i) => state.records.set(placeOf(model, id), items[i]));
  }
}

/** Run one task at a time. A new one stops the last one, whose answer is dropped. */
function latestOnly(task) {
  let controller = new AbortController();
  return async (...values) => {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    try {
      await task(signal, ...values);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Failed)) throw error;
      showProblem(error.message);
    }
  };
}

// ---- Session and address

function readAddress() {
  const text = location.hash.replace(/^#(session=)?/, "");
  try {
    const session = fromJSON(decodeURIComponent(text) || "[]");
    return Array.isArray(session) ? session.filter(isId) : [];
  } catch {
    return [];
  }
}

function changeSession(session, what) {
  say(what);
  const before = location.hash;
  const text = session.length ? encodeURIComponent(toJSON(session)) : "";
  location.hash = `session=${text}`; // an empty one would scroll to the top
  if (location.hash === before) draw();
}

const add = (id) => changeSession([...state.session, id], `Added ${nameOf(id)}.`);
const remove = (i) =>
  changeSession(state.session.toSpliced(i, 1), `Removed ${nameOf(state.session[i])}.`);

function move(i, step) {
  const session = state.session
    .toSpliced(i, 1)
    .toSpliced(i + step, 0, state.session[i]);
  const acts = step < 0 ? ["up", "down"] : ["down", "up"];
  wanted = acts.map((act) => `${act} ${i + step}`);
  changeSession(session, `Moved ${nameOf(state.session[i])} to place ${i + step + 1}.`);
}

/** The id for a typed text: a number if the catalog has numbers. */
function typedId(text) {
  const ids = state.lists.flatMap(({ items }) => items);
  const numbers = ids.length > 0 && ids.every((id) => typeof id !== "string");
  return numbers && /^-?(0|[1-9]\d*)$/.test(text) ? fromJSON(text) : text;
}

// ---- Recommendations

const refresh = latestOnly(async (signal) => {
  $("lists").setAttribute("aria-busy", "true");
  const { session } = state;
  const lists = await Promise.all(
    state.models.map((model, m) => listOf(model, state.lists[m], session, signal)),
  );
  if (signal.aborted) return;
  state.lists = lists;
  showProblem(null);
  draw();
  sayChanges();
  const reloaded = lists.some(
    ({ version }, m) => version && version !== state.models[m].version,
  );
  if (reloaded) setTimeout(look, 1000);
});

async function listOf(model, before, session, signal) {
  const body = {
    session,
    k: LISTED,
    model: model.name,
    exclude_seen: $("seen").checked,
  };
  try {
    const answer = await recommend(body, signal);
    await learn(model, [...session, ...answer.items], signal);
    return { ...answer, session, moved: moves(before?.items, answer.items) };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { problem: error.message, items: [], session };
  }
}

/** Recommend with an explanation, or with a note why there is none. */
async function recommend(body, signal) {
  if (!body.session.length) return ask("recommend", { body, signal });
  try {
    return await ask("recommend", { body: { ...body, explain: true }, signal });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ...(await ask("recommend", { body, signal })), note: error.message };
  }
}

/** Number of places that each item rose, or "new". All 0 for the first list. */
function moves(before, after) {
  if (!before?.length) return after.map(() => 0);
  const ranks = new Map(before.map((id, rank) => [keyOf(id), rank]));
  return after.map((id, rank) =>
    ranks.has(keyOf(id)) ? ranks.get(keyOf(id)) - rank : "new",
  );
}

/** Known clicks, sorted by the drop of the item without them, largest first. */
function driversOf({ session, unknown, explanation }, j) {
  if (!explanation) return [];
  const strange = new Set(unknown.map(keyOf));
  return explanation.clicks
    .map((click, row) => ({ click, drop: explanation.drops[row][j] }))
    .filter(({ click, drop }) => drop !== null && !strange.has(keyOf(session[click])))
    .sort((a, b) => b.drop - a.drop);
}

function sentenceOf(drivers, { session, unknown, explanation }) {
  if (!session.length) return "Popular";
  const strange = new Set(unknown.map(keyOf));
  const known = session.filter((id) => !strange.has(keyOf(id)));
  if (!known.length) return "Popular: no click is in the catalog";
  if (known.length === 1) return `Because of ${nameOf(known[0])}`;
  if (!explanation) return "";
  const [first, second] = drivers.filter(({ drop }) => drop > 0);
  if (!first) return "No single click raises its score";
  const name = ({ click }) => `${click + 1}. ${nameOf(session[click])}`;
  if (!second || second.drop < SMALL * first.drop) return `Because of ${name(first)}`;
  const mostly = first.drop >= 2 * second.drop ? "Mostly because" : "Because";
  return `${mostly} of ${name(first)}, then ${name(second)}`;
}

// ---- Items

function nameOf(id) {
  for (const model of state.models) {
    const title = recordOf(model, id)?.title;
    if (title) return title;
  }
  return String(id);
}

const letter = (m) => state.models[m].name.toUpperCase();

// ---- Drawing. Titles and ids come from files, so they are inserted as plain text.

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const hidden = (text) => el("span", { className: "hidden" }, text);

function button(key, text, label, onclick) {
  const node = el("button", { type: "button", onclick }, text);
  if (label) node.setAttribute("aria-label", label);
  node.dataset.key = key;
  return node;
}

// The golden angle keeps the colors of consecutive clusters far apart.
const hueOf = (cluster) => String((cluster * 137.508) % 360);

function chip(cluster, m) {
  const model = state.models.length > 1 ? `${letter(m)} ` : "";
  const node = el(
    "span",
    { className: "cluster" },
    hidden("cluster "),
    `${model}${cluster}`,
  );
  node.title = `Cluster ${cluster} of model ${letter(m)}`;
  node.style.setProperty("--hue", hueOf(cluster));
  return node;
}

const isNumber = (cluster) => cluster !== null && cluster !== undefined;

/** Color a row by the cluster of the first model that has one. */
function stripe(row, clusters) {
  const cluster = clusters.find(isNumber);
  if (!isNumber(cluster)) return;
  row.classList.add("clustered");
  row.style.setProperty("--hue", hueOf(cluster));
}

const label = (id) => [
  nameOf(id),
  nameOf(id) === String(id) ? null : el("span", { className: "id" }, String(id)),
];

const someKnowsSimilar = () => state.models.some((model) => model.similar);

const similarButton = (key, id) =>
  someKnowsSimilar()
    ? button(key, "Similar", `Items similar to ${nameOf(id)}`, () => openSimilar(id))
    : null;

let wanted = []; // keys of the controls that should have the focus after drawing

/** Draw, and keep the focus on its control, or on the control in its place. */
function draw() {
  const key = document.activeElement?.dataset?.key;
  const keys = wanted.length ? wanted : key ? [key] : [];
  wanted = [];
  drawSession();
  drawLists();
  drawLegend();
  const controls = [...document.querySelectorAll("main [data-key]:not(:disabled)")];
  const [act, place] = (keys[0] ?? "").split(" "); // such as "remove 3"
  for (let i = Number(place) - 1; i >= 0; i--) keys.push(`${act} ${i}`);
  const next = keys
    .map((each) => controls.find((node) => node.dataset.key === each))
    .find(Boolean);
  if (next) next.focus();
  else if (keys.length) $("session-title").focus();
}

function drawSession() {
  const n = state.session.length;
  $("clear").disabled = n === 0;
  $("session-note").textContent = n
    ? `${n} ${n === 1 ? "click" : "clicks"}, oldest first.`
    : "No clicks yet. Search for an item, or click one in the list.";
  $("clicks").replaceChildren(...state.session.map(clickRow));
}

function clickRow(id, i) {
  const records = state.models.map((model) => recordOf(model, id));
  const row = el("li", { className: "item" });
  const acts = [
    button(`up ${i}`, "\u2191", `Move ${nameOf(id)} up`, () => move(i, -1)),
    button(`down ${i}`, "\u2193", `Move ${nameOf(id)} down`, () => move(i, 1)),
    button(`remove ${i}`, "\u00d7", `Remove ${nameOf(id)}`, () => remove(i)),
  ];
  acts[0].disabled = i === 0;
  acts[1].disabled = i === state.session.length - 1;
  const chips = records.map((record, m) =>
    isNumber(record?.cluster) ? chip(record.cluster, m) : null,
  );
  stripe(
    row,
    records.map((record) => record?.cluster),
  );
  const strangers = state.models.filter((model, m) => records[m]?.known === false);
  if (strangers.length) row.classList.add("unknown");
  if (strangers.length < state.models.length)
    acts.push(similarButton(`similar-click ${i}`, id));
  row.append(
    headOf(i, el("span", { className: "name" }, ...label(id)), ...chips),
    el(
      "div",
      { className: "more" },
      el(
        "span",
        {},
        el("span", { className: "unknown-note" }, unknownNote(strangers)),
        el("span", { className: "drop" }),
      ),
      el("span", { className: "acts" }, ...acts.filter(Boolean)),
    ),
    el("div", { className: "bar" }),
  );
  return row;
}

/** Place, name and clusters of an item. */
const headOf = (i, name, ...chips) =>
  el(
    "div",
    { className: "head" },
    el("span", { className: "rank" }, `${i + 1}.`),
    name,
    ...chips,
  );

function unknownNote(strangers) {
  if (!strangers.length) return "";
  if (strangers.length === state.models.length) return "Not in the catalog: ignored";
  const [{ name }] = strangers; // one of two
  return `Not in the catalog of ${name.toUpperCase()}: ignored there`;
}

function drawLists() {
  $("lists").setAttribute("aria-busy", "false");
  $("lists").replaceChildren(...state.lists.map(listArticle));
  const notes = [];
  if (!state.session.length)
    notes.push("The session is empty: these are the most popular items.");
  if (state.lists.length > 1) {
    const [a, b] = state.lists.map(({ items }) => new Set(items.map(keyOf)));
    const both = [...a].filter((key) => b.has(key)).length;
    notes.push(`${both} of ${Math.max(a.size, b.size)} items are in both lists.`);
  }
  $("recommended-note").textContent = notes.join(" ");
  point(null);
}

function listArticle(list, m) {
  const { file, estimator } = state.models[m];
  const title = state.models.length > 1 ? `${letter(m)}: ${file}` : "";
  const article = el("article", { "aria-label": `Recommendations of ${file}` });
  if (title)
    article.append(el("h3", {}, title), el("p", { className: "note" }, estimator));
  if (list.problem) article.append(el("p", { className: "problem" }, list.problem));
  if (list.note) article.append(el("p", { className: "note" }, list.note));
  if (!list.problem && !list.items.length)
    article.append(el("p", {}, "No items are left to recommend."));
  article.append(
    el("ol", {}, ...list.items.map((id, j) => recommendation(list, m, id, j))),
  );
  return article;
}

function recommendation(list, m, id, j) {
  const cluster = recordOf(state.models[m], id)?.cluster;
  const row = el("li", { className: "item" });
  row.dataset.place = `${m} ${j}`;
  stripe(row, [cluster]);
  const drivers = driversOf(list, j);
  const choose = el(
    "button",
    {
      type: "button",
      className: "name",
      title: "Add to the session",
      onclick: () => add(id),
    },
    ...label(id),
  );
  choose.dataset.key = `add-${m} ${j}`;
  const acts = [similarButton(`similar-${m} ${j}`, id)];
  if (drivers.length) acts.unshift(whyButton(list, m, id, j));
  row.append(
    headOf(j, choose, isNumber(cluster) ? chip(cluster, m) : null),
    el(
      "div",
      { className: "more" },
      el(
        "span",
        {},
        el("span", { className: "because" }, sentenceOf(drivers, list)),
        ...tags(list, m, id, j),
      ),
      el("span", { className: "acts" }, ...acts.filter(Boolean)),
    ),
  );
  if (drivers.length && state.opened.has(`${m} ${keyOf(id)}`))
    row.append(whyPanel(drivers, list.session));
  row.addEventListener("pointerenter", () => point(row));
  row.addEventListener("focusin", () => point(row));
  const leave = () => point($("lists").querySelector("li:focus-within"));
  row.addEventListener("pointerleave", leave);
  row.addEventListener("focusout", () => setTimeout(leave));
  return row;
}

function tags(list, m, id, j) {
  const found = [];
  const other =
    state.lists[1 - m]?.items.findIndex((each) => keyOf(each) === keyOf(id)) ?? -1;
  if (other >= 0)
    found.push(
      el("span", { className: "tag" }, `in both (${letter(1 - m)}: ${other + 1})`),
    );
  const moved = list.moved[j];
  if (moved === "new") found.push(el("span", { className: "tag" }, "new"));
  else if (moved) {
    const sign = moved > 0 ? "\u2191" : "\u2193";
    found.push(
      el(
        "span",
        { className: "tag", title: "Change of rank since the previous list" },
        hidden(moved > 0 ? "up " : "down "),
        el("span", { "aria-hidden": "true" }, `${sign} `),
        `${Math.abs(moved)}`,
      ),
    );
  }
  return found;
}

function whyButton(list, m, id, j) {
  const key = `${m} ${keyOf(id)}`;
  const toggle = () => {
    if (!state.opened.delete(key)) state.opened.add(key);
    draw();
  };
  const node = button(`why-${m} ${j}`, "Why", `Why ${nameOf(id)}`, toggle);
  node.setAttribute("aria-expanded", String(state.opened.has(key)));
  return node;
}

function asNumber(drop, largest) {
  if (Math.abs(drop) < largest / 1000) return "0"; // no more than rounding
  return `${drop < 0 ? "\u2212" : ""}${Math.abs(drop).toPrecision(2)}`;
}

function setBar(bar, drop, largest) {
  bar.style.setProperty("--share", String(largest ? Math.abs(drop) / largest : 0));
  bar.classList.toggle("against", drop < 0);
}

const largestOf = (drivers) => Math.max(...drivers.map(({ drop }) => Math.abs(drop)));

function whyPanel(drivers, session) {
  const largest = largestOf(drivers);
  const rows = drivers.map(({ click, drop }) => {
    const bar = el("span", { className: "bar" });
    setBar(bar, drop, largest);
    return el(
      "li",
      {},
      el("span", {}, `${click + 1}. ${nameOf(session[click])}`),
      bar,
      el("span", { className: "drop" }, asNumber(drop, largest)),
    );
  });
  return el(
    "div",
    { className: "why" },
    el("p", {}, "Drop of the score without each click:"),
    el("ul", {}, ...rows),
  );
}

/** Mark the clicks that drove the recommendation of a row, or no clicks. */
function point(chosen) {
  $("lists")
    .querySelectorAll(".shown")
    .forEach((row) => row.classList.remove("shown"));
  chosen?.classList.add("shown");
  const [m, j] = chosen ? chosen.dataset.place.split(" ").map(Number) : [];
  const current = chosen && state.lists[m].session === state.session;
  const drivers = current ? driversOf(state.lists[m], j) : [];
  const drops = new Map(drivers.map(({ click, drop }) => [click, drop]));
  const largest = largestOf(drivers);
  [...$("clicks").children].forEach((row, i) => {
    const drop = drops.get(i) ?? 0;
    row.classList.toggle("drives", drop > 0 && 2 * drop >= largest);
    row.querySelector(".drop").textContent = drops.has(i)
      ? `drop ${asNumber(drop, largest)}`
      : "";
    setBar(row.querySelector(".bar"), drop, largest);
  });
}

function drawLegend() {
  const perModel = state.models.map((model, m) => {
    const shown = new Map(
      [...state.session, ...(state.lists[m]?.items ?? [])].map((id) => [keyOf(id), id]),
    );
    const counts = new Map();
    for (const id of shown.values()) {
      const cluster = recordOf(model, id)?.cluster;
      if (isNumber(cluster)) counts.set(cluster, (counts.get(cluster) ?? 0) + 1);
    }
    return [...counts].sort(([a], [b]) => a - b);
  });
  $("legend").hidden = perModel.every((counts) => !counts.length);
  $("clusters").replaceChildren(
    ...perModel.map((counts, m) =>
      el(
        "ul",
        { "aria-label": `Clusters of model ${letter(m)}` },
        ...counts.map(([cluster, n]) =>
          el("li", {}, chip(cluster, m), ` ${n} ${n === 1 ? "item" : "items"}`),
        ),
      ),
    ),
  );
}

function drawAbout() {
  $("about").replaceChildren(
    ...state.models.map((model, m) => {
      const parts = [
        `Model ${letter(m)}: ${model.file}`,
        model.estimator,
        `${model.n_items.toLocaleString("en")} items`,
      ];
      if (isNumber(model.n_clusters))
        parts.push(`${model.n_clusters.toLocaleString("en")} clusters`);
      parts.push(
        `version ${model.version}`,
        `loaded ${new Date(model.loaded_at).toLocaleString()}`,
      );
      const line = el("li", {}, `${parts.join(", ")}.`);
      if (model.reload_error) {
        line.append(
          el(
            "p",
            { className: "problem" },
            "The file changed, but could not be loaded. The older model stays in use. ",
            model.reload_error,
          ),
        );
      }
      return line;
    }),
  );
}

// ---- Live region and banner

let saying = "";

function say(text) {
  saying = text;
  $("live").textContent = text;
}

function sayChanges() {
  const texts = state.lists.map(({ problem, items, moved }, m) => {
    if (problem) return problem;
    const fresh = moved.filter((each) => each === "new").length;
    const model = state.models.length > 1 ? `Model ${letter(m)}: ` : "";
    return `${model}${fresh} of ${items.length} recommendations are new.`;
  });
  $("live").textContent = [saying, ...texts].join(" ");
  saying = "";
}

function showProblem(text) {
  $("banner").hidden = text === null;
  $("problem").textContent = text ?? "";
  if (text !== null) $("lists").setAttribute("aria-busy", "false");
}

/** Check the models. Draw all again if one was reloaded or the server is back. */
const look = latestOnly(async (signal) => {
  const { models } = await ask("models", { signal });
  if (signal.aborted) return;
  const wasAway = !$("banner").hidden;
  const first = !state.models.length;
  const differs = (of) =>
    models.map(of).join() !== state.models.map(of).join();
  const reloaded = differs(({ version }) => version);
  const changed = differs(versionsOf);
  if (models.length !== state.models.length) state.lists = [];
  const told = toJSON(models) !== toJSON(state.models);
  state.models = models;
  showProblem(null);
  if (told) drawAbout();
  if (changed && !first)
    say(reloaded ? "A model was reloaded." : "Titles were reloaded.");
  if (changed) state.records.clear();
  if (!changed && !wasAway) return;
  search();
  await refresh();
});

// ---- Search: a combobox with a list of options

const search = latestOnly(async (signal) => {
  const query = $("query").value.trim();
  const answers = await Promise.all(
    state.models.map(({ name }) =>
      ask(`items?${new URLSearchParams({ q: query, limit: FOUND, model: name })}`, {
        signal,
      }),
    ),
  );
  if (signal.aborted) return;
  const items = new Map();
  answers.forEach((answer, m) =>
    answer.items.forEach((record) => {
      const key = keyOf(record.id);
      state.records.set(placeOf(state.models[m], record.id), record);
      if (!items.has(key))
        items.set(key, { ...record, clusters: state.models.map(() => null) });
      items.get(key).clusters[m] = record.cluster;
      items.get(key).title ??= record.title;
    }),
  );
  const total = Math.max(...answers.map((answer) => answer.total));
  state.found = { query, items: [...items.values()].slice(0, FOUND), total };
  state.active = -1;
  drawFound();
});

/** The items found, and the typed text as an id if no item has that id. */
function optionsOf({ query, items }) {
  const options = items.map(({ id }) => id);
  if (query && !items.some(({ id }) => String(id) === query))
    options.push(typedId(query));
  return options;
}

function drawFound() {
  const { query, items, total } = state.found;
  const options = optionsOf(state.found);
  const count =
    total > items.length
      ? `${items.length} of ${total.toLocaleString("en")} items`
      : `${total} items`;
  $("found").textContent = query
    ? `${count} found.`
    : items[0]?.clicks
      ? "The most clicked of all items."
      : "The first items of the catalog.";
  if (query && !items.length)
    $("found").textContent = "No item found. Enter adds the text as an id.";
  $("results").dataset.query = query;
  $("results").replaceChildren(
    ...options.map((id, i) => {
      const record = items[i];
      const text = record
        ? [
            record.title ?? String(id),
            record.title ? el("span", { className: "id" }, String(id)) : null,
          ]
        : [`Add the id ${id}`];
      const option = el(
        "li",
        { role: "option", id: `option-${i}` },
        el("span", { className: "name" }, ...text),
      );
      option.setAttribute("aria-selected", String(i === state.active));
      record?.clusters.forEach(
        (cluster, m) => isNumber(cluster) && option.append(chip(cluster, m)),
      );
      // The focus stays in the field:
      option.addEventListener("mousedown", (event) => event.preventDefault());
      option.addEventListener("click", () => choose(id));
      return option;
    }),
  );
  showOptions();
}

function showOptions() {
  const shown = wide.matches || state.popup;
  $("results").hidden = $("found").hidden = !shown;
  $("query").setAttribute(
    "aria-expanded",
    String(shown && $("results").children.length > 0),
  );
  if (state.active >= 0)
    $("query").setAttribute("aria-activedescendant", `option-${state.active}`);
  else $("query").removeAttribute("aria-activedescendant");
}

function activate(i) {
  const options = [...$("results").children];
  state.active = i;
  options.forEach((option, each) =>
    option.setAttribute("aria-selected", String(each === i)),
  );
  options[i]?.scrollIntoView({ block: "nearest" });
  showOptions();
}

function openOptions(open) {
  state.popup = open;
  if (!open) activate(-1);
  showOptions();
}

function choose(id) {
  openOptions(false);
  add(id);
  if ($("query").value) {
    $("query").value = "";
    search();
  }
}

/** On Enter, take the chosen option, or else the best one for the typed text. */
async function enter() {
  clearTimeout(pause);
  if (state.active < 0 && state.found.query !== $("query").value.trim()) await search();
  const options = optionsOf(state.found);
  const exact = state.found.items.find(({ id }) => String(id) === state.found.query);
  if (state.active >= 0) choose(options[state.active]);
  else if (state.found.query && options.length) choose(exact ? exact.id : options[0]);
}

function searchKey(event) {
  const n = $("results").children.length;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && n) {
    event.preventDefault();
    openOptions(true);
    activate(state.active < 0 ? (step > 0 ? 0 : n - 1) : (state.active + step + n) % n);
  } else if (event.key === "Enter") {
    event.preventDefault();
    enter();
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (state.active < 0 && (wide.matches || !state.popup) && $("query").value) {
      $("query").value = "";
      search();
    }
    openOptions(false);
  }
}

// ---- Similar items

const fillSimilar = latestOnly(async (signal, id) => {
  $("similar-title").textContent = `Similar to ${nameOf(id)}`;
  $("similar-lists").replaceChildren(el("p", {}, "Loading."));
  const articles = await Promise.all(
    state.models.map(async (model, m) => {
      const article = el("article", {});
      if (state.models.length > 1)
        article.append(el("h3", {}, `${letter(m)}: ${model.file}`));
      try {
        const body = { item: id, k: LISTED, model: model.name };
        const { items, unknown } = await ask("similar", { body, signal });
        await learn(model, items, signal);
        if (unknown.length)
          article.append(el("p", {}, "Not in the catalog of this model."));
        article.append(
          el("ol", {}, ...items.map((each, j) => similarRow(model, each, m, j))),
        );
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        article.append(el("p", { className: "problem" }, error.message));
      }
      return article;
    }),
  );
  if (signal.aborted) return;
  $("similar-lists").replaceChildren(...articles);
});

function similarRow(model, id, m, j) {
  const { cluster } = recordOf(model, id);
  const row = el("li", { className: "item" });
  stripe(row, [cluster]);
  const take = () => {
    $("similar").close();
    add(id);
  };
  const name = el(
    "button",
    { type: "button", className: "name", title: "Add to the session", onclick: take },
    ...label(id),
  );
  row.append(
    headOf(
      j,
      name,
      isNumber(cluster) ? chip(cluster, m) : null,
      el("span", { className: "acts" }, similarButton(`near-${m} ${j}`, id)),
    ),
  );
  return row;
}

async function openSimilar(id) {
  if (!$("similar").open) $("similar").showModal();
  $("close").focus();
  await fillSimilar(id);
}

// ---- Start

function readSession() {
  state.session = readAddress();
  draw();
  if (state.models.length) refresh();
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, POLL);
}

let pause;
$("query").addEventListener("input", () => {
  clearTimeout(pause);
  openOptions(true);
  pause = setTimeout(search, 120);
});
$("query").addEventListener("keydown", searchKey);
$("query").addEventListener("focus", () => openOptions(true));
$("query").addEventListener("blur", () => openOptions(false));
$("clear").addEventListener("click", () => {
  wanted = ["nothing"]; // the button itself cannot keep the focus
  changeSession([], "The session is empty.");
});
$("seen").addEventListener("change", refresh);
$("retry").addEventListener("click", look);
$("close").addEventListener("click", () => $("similar").close());
wide.addEventListener("change", showOptions);
addEventListener("hashchange", readSession);
readSession();
watch();
