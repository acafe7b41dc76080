// Heat maps of a score, of its null and of the distance between them, here and in a run beside; all scores of the chosen pair;
// categories. A run beside is shown by the distance from its own null, never by its score alone: what a score reaches without any
// correspondence depends on how many matches there are.

const scoreKey = (s) => [s.measure, s.pairing, s.subset].join("\u001f");
const scoreIndex = new Map(data.scores.map((s) => [s.pair + "\u001f" + scoreKey(s), s]));
const scoreOf = (pair, score) => scoreIndex.get(pair + "\u001f" + scoreKey(score));
const hasQ = data.scores.some((s) => known(s.q));

const besideIndex = new Map((data.beside ? data.beside.scores : []).map((s) => [s.pair + "\u001f" + scoreKey(s), s]));
const besideOf = (s) => s && besideIndex.get(s.pair + "\u001f" + scoreKey(s));

/** How far a score is from its null, above 0 where it is closer than chance; null where there is none. */
function excessOf(s) {
  if (!s || !known(s.value) || !known(s.null_mean)) return null;
  return /rmse/.test(s.measure) ? s.null_mean - s.value : s.value - s.null_mean;
}

/** The spread of the null, where enough runs stand behind it. */
const sdOf = (s) => (s && s.null_runs >= data.least_runs && s.null_sd > 0 ? s.null_sd : null);
const zOf = (s) => (known(excessOf(s)) && known(sdOf(s)) ? excessOf(s) / sdOf(s) : null);
const zWords = (z) => (known(z) && Math.abs(z) >= 100 ? (z > 0 ? "> 99" : "< −99") : fixed(z, 1));
const signed = (x, digits) => (known(x) && x > 0 ? "+" : "") + fixed(x, digits);
const nullText = (s) => (known(s.null_mean) ? fixed(s.null_mean, 3) + (known(sdOf(s)) ? " ± " + fixed(sdOf(s), 3) : "") : "–");
const tested = (s) => !s.one_decoder;

function setUpScores() {
  if (!state.score) {
    byId("scores").hidden = true;
    document.querySelector('nav a[href="#scores"]').hidden = true;
    return;
  }
  const select = byId("measure");
  for (const pairing of Object.keys(PAIRINGS)) {
    const measures = [...new Set(data.scores.filter((s) => s.pairing === pairing).map((s) => s.measure))];
    if (!measures.length) continue;
    const chosen = (m) => m === state.score.measure && pairing === state.score.pairing;
    select.append(el("optgroup", { label: PAIRINGS[pairing] }, measures.map((m) =>
      el("option", { value: m + "\u001f" + pairing, selected: chosen(m) }, m))));
  }
  select.addEventListener("change", () => {
    [state.score.measure, state.score.pairing] = select.value.split("\u001f");
    if (!subsets().includes(state.score.subset)) state.score.subset = "all";
    drawScores();
    drawHistory();
  });
  byId("subset").addEventListener("change", () => { state.score.subset = byId("subset").value; drawScores(); });
}

function subsets() {
  const of = data.scores.filter((s) => s.measure === state.score.measure && s.pairing === state.score.pairing);
  return [...new Set(of.map((s) => s.subset))].sort((a, b) => (b === "all") - (a === "all") || (a < b ? -1 : 1));
}

function drawScores() {
  if (!state.score) return;
  byId("measure").value = state.score.measure + "\u001f" + state.score.pairing;
  const list = subsets();
  options(byId("subset"), list.map((s) => [s, s]), state.score.subset);
  byId("subset-label").hidden = list.length < 2;
  put("measure-explained", measureWords(state.score.measure) + " " + nullWords(state.score.pairing));
  const rows = data.pairs.map((_, p) => scoreOf(p, state.score));
  const there = rows.filter((s) => s);
  const beside = rows.map(besideOf);
  // from the smallest to the largest shown, so that what differs can be seen; a score and its null share a scale, two runs likewise
  const span = (values) => {
    const list = values.filter(known), low = Math.min(...list), high = Math.max(...list);
    return list.length ? [low, Math.max(high, low + 0.02)] : [0, 1];
  };
  const range = span(there.flatMap((s) => [s.value, s.null_mean]));
  const boxes = [heat("Score", /rmse/.test(state.score.measure) ? "lower is closer" : "higher is more alike", rows, (s) => s.value, 3, range)];
  if (there.some((s) => known(s.null_mean))) {
    const runs = thousands(Math.max(...there.map((s) => s.null_runs)));
    const of = state.score.pairing === "activations" ? "permutations of the tokens" : "shuffled pairings";
    boxes.push(heat("Null", `mean of ${runs} ${of}`, rows, (s) => s.null_mean, 3, range));
    const distances = span([...rows, ...beside].map(excessOf));
    boxes.push(heat("Above the null", "score less null", rows, excessOf, 3, distances, EXCESS_WORDS));
    if (beside.some((s) => s)) boxes.push(heat("Above its null: " + data.beside.name, "the same of the run beside, same colours", beside, excessOf, 3, distances, EXCESS_WORDS));
  }
  byId("heats").classList.toggle("paired", boxes.length === 4);
  put("heats", boxes);
  drawVerdict();
  drawPairScores();
  drawCategories();
}

// the weights at which black ink on a cell gives way to white, or white to black, so that either has a contrast of 4.5
/** A table of colours: sources down, targets across, one cell a pair; null where there is no such pair. */
function heat(title, what, rows, valueOf, digits, [low, high], note) {
  const places = (side) => [...new Set(data.pairs.map((p) => p[side]))].sort((a, b) => a - b);
  const [down, across] = [places(0), places(1)];
  const label = (side) => (s) => (manyModels(side) ? siteName(s) : data.sites[s].hookpoint);
  const cellOf = (a, b) => {
    const pair = data.pairs.findIndex((p) => p[0] === a && p[1] === b);
    const s = pair < 0 ? null : rows[pair];
    if (!s) return el("td", { class: "none" }, pair < 0 ? "" : "–");
    const value = valueOf(s);
    const weight = known(value) ? (100 * (value - low)) / (high - low || 1) : 0;
    const shown = valueOf === excessOf ? signed(value, digits) : fixed(value, digits);
    const words = `${pairName(pair)}: ${shown}${s.no_power ? ", no power" : ""}${s.one_decoder ? ", one decoder" : ""}`;
    return el("td", null, el("button", {
      type: "button", style: { "--w": Math.max(0, Math.min(100, weight)) }, "aria-label": words, title: words, "data-pair": pair,
      class: "cell" + (weight > 71 ? " past-light" : "") + (weight > 53 ? " past-dark" : "") + (s.no_power || s.one_decoder ? " powerless" : ""),
      "aria-pressed": String(pair === state.pair), click: () => choosePair(pair),
    }, shown));
  };
  const corner = manyModels(1) ? "" : data.sites[across[0]].model + " →";
  const side = manyModels(0) ? "" : data.sites[down[0]].model;
  const table = el("table", { class: "heat" + (across.length > 9 ? " dense" : "") },
    el("thead", null,
      el("tr", null, el("th", { scope: "col" }, side), across.map((b) => el("th", { scope: "col" }, label(1)(b))))),
    el("tbody", null, down.map((a) => el("tr", null, el("th", { scope: "row" }, label(0)(a)), across.map((b) => cellOf(a, b))))));
  return el("div", { class: "heat-box" }, el("h3", null, title, note ? help(note) : null),
    el("p", { class: "what" }, what + (corner ? "; across: " + corner.replace(" →", "") : "")),
    el("div", { class: "scroll", tabindex: across.length > 5 ? 0 : null, role: across.length > 5 ? "region" : null, "aria-label": across.length > 5 ? title : null }, table),
    el("div", { class: "scale" }, fixed(low, Math.min(digits, 2)), el("i"), fixed(high, Math.min(digits, 2))));
}

function drawVerdict() {
  const s = scoreOf(state.pair, state.score);
  if (!s || !known(s.value)) { put("score-verdict", el("strong", null, pairName(state.pair) + ": "), "the score is undefined here."); return; }
  const z = zOf(s);
  const parts = [`${s.measure} ${fixed(s.value, 3)}`];
  parts.push(known(s.null_mean) ? `null ${nullText(s)}` : "no null");
  if (known(excessOf(s))) parts.push(`${signed(excessOf(s), 3)} from it${known(z) ? ` (${zWords(z)} sd)` : ""}`);
  if (tested(s) && known(s.p)) parts.push(`p = ${chance(s.p)} of ${thousands(s.null_runs)} runs${s.p <= 1.5 / (s.null_runs + 1) ? ", the smallest there can be" : ""}`);
  if (tested(s) && known(s.q)) parts.push(`q = ${chance(s.q)}`);
  const other = besideOf(s);
  if (known(excessOf(other))) parts.push(`in ${data.beside.name} ${signed(excessOf(other), 3)} from its own null (${fixed(other.value, 3)}, null ${nullText(other)})`);
  const over = s.pairing === "activations" ? "tokens" : "matches";
  put("score-verdict", el("strong", null, pairName(state.pair) + ": "), parts.join(", ") + `; over ${thousands(s.n)} ${over}.`,
    s.no_power ? " With so few rows any two spaces look alike: this score has no power." : "", s.one_decoder ? " " + ONE_DECODER_WORDS : "");
}

/** The value as a dot beside the null's mean ± 2 standard deviations, on a scale from 0 (or below) to 1. */
function dotted(s, low, high) {
  const x = (v) => 4 + (112 * (Math.min(Math.max(v, low), high) - low)) / (high - low || 1);
  const drawing = svg("svg", { width: 120, height: 16, "aria-hidden": "true" }, svg("line", { class: "axis", x1: 4, x2: 116, y1: 8, y2: 8 }));
  if (known(s.null_mean)) {
    const sd = sdOf(s) || 0, from = x(s.null_mean - 2 * sd), to = Math.max(x(s.null_mean + 2 * sd), from + 3);
    drawing.append(svg("rect", { x: from, y: 2, width: to - from, height: 12, class: "null-area" }),
      svg("line", { x1: x(s.null_mean), x2: x(s.null_mean), y1: 2, y2: 14, class: "null-line" }));
  }
  if (known(s.value)) drawing.append(svg("circle", { cx: x(s.value), cy: 8, r: 4, class: "dot" }));
  return drawing;
}

function scoreTable(id, list, first, name, chosen) {
  const low = Math.min(0, ...list.map((s) => s.value).filter(known)), high = Math.max(1, ...list.map((s) => s.value).filter(known));
  const head = [[first], ["value"], ["null"], [`${fixed(low, 0)} to ${fixed(high, 0)}`, `The dot is the value, the band the null’s mean ± 2 standard deviations, from ${fixed(low, 0)} to ${fixed(high, 0)}.`],
    ["above null", EXCESS_WORDS], ["in sd", Z_WORDS], ["p", P_WORDS], ...(hasQ ? [["q", Q_WORDS]] : []), ["rows"],
    ...(data.beside ? [[`above null in ${data.beside.name}`, "The same distance in the run beside, from its own null."]] : [])];
  put(id,
    el("thead", null, el("tr", null, head.map(([text, note]) => el("th", { scope: "col" }, text, note ? help(note) : null)))),
    el("tbody", null, list.map((s) => el("tr", { class: chosen(s) ? "chosen" : null },
      el("th", { scope: "row" }, name(s), s.no_power ? [" ", el("span", { class: "tag warn" }, "no power")] : null,
        s.one_decoder ? [" ", el("span", { class: "tag warn" }, "one decoder")] : null),
      el("td", null, fixed(s.value, 3)),
      el("td", null, nullText(s)),
      el("td", null, dotted(s, low, high)),
      el("td", null, signed(excessOf(s), 3)),
      el("td", null, zWords(zOf(s))),
      el("td", null, tested(s) ? chance(s.p) : "–"),
      hasQ ? el("td", null, tested(s) ? chance(s.q) : "–") : null,
      el("td", null, thousands(s.n)),
      data.beside ? el("td", null, signed(excessOf(besideOf(s)), 3)) : null))));
}

function drawPairScores() {
  put("pair-scores-title", "Every score of " + pairName(state.pair));
  const order = Object.keys(PAIRINGS);
  const list = data.scores.filter((s) => s.pair === state.pair && s.subset === "all")
    .sort((a, b) => order.indexOf(a.pairing) - order.indexOf(b.pairing));
  const name = (s) => [el("button", { type: "button", click: () => chooseScore(s) }, s.measure), " ", el("span", { class: "tag" }, s.pairing)];
  scoreTable("pair-scores", list, "score", name, (s) => scoreKey(s) === scoreKey(state.score));
}

function chooseScore(s) {
  state.score = { measure: s.measure, pairing: s.pairing, subset: s.subset };
  drawScores();
  drawHistory();
}

function drawCategories() {
  const list = data.scores.filter((s) => s.pair === state.pair && s.subset !== "all" && s.measure === state.score.measure && s.pairing === state.score.pairing);
  byId("categories").hidden = !list.length;
  if (!list.length) return;
  put("categories-title", `Semantic categories: ${state.score.measure} of ${pairName(state.pair)}`);
  const name = (s) => el("button", { type: "button", click: () => chooseScore(s) }, s.subset);
  scoreTable("category-scores", list, "category", name, (s) => scoreKey(s) === scoreKey(state.score));
}
