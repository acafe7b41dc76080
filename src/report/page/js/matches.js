// The table of matches: sorted, searched, filtered, a page at a time; a row opens to the contexts of both sides.

const PAGE_ROWS = 25;
const searched = new Map();

const listOf = () => data.matches[state.pair][state.direction];
const anywhere = (column) => data.matches.some((pair) => pair.some((m) => m[column].some(known)));
const hasMargin = anywhere("margin"), hasNull = anywhere("null"), hasQOfMatches = anywhere("q"), hasGiven = anywhere("within");

function setUpMatches() {
  byId("query").addEventListener("input", () => { state.query = byId("query").value; state.page = 0; drawMatches(); });
  byId("direction").addEventListener("change", () => { state.direction = Number(byId("direction").value); anew(); });
  byId("verdict").addEventListener("change", () => { state.verdict = byId("verdict").value; state.page = 0; drawMatches(); });
  byId("label-filter").addEventListener("change", () => { state.label = byId("label-filter").value; state.page = 0; drawMatches(); });
  byId("category-filter").addEventListener("change", () => { state.category = byId("category-filter").value; state.page = 0; drawMatches(); });
  byId("readout-filter").addEventListener("change", () => { setReadout(byId("readout-filter").value); });
  byId("readout-filter-label").hidden = !hasReadout;
  options(byId("readout-filter"), [["", "anything"], ...data.readouts.map((name, k) => [String(k), name])], "");
  byId("page-before").addEventListener("click", () => turn(-1));
  byId("page-after").addEventListener("click", () => turn(1));
  byId("label-filter-label").hidden = !data.labels.length;
  if (data.labels.length) options(byId("label-filter"), [["", "anything"], ...data.labels[0].values.map((v, k) => [String(k), v])], "");
  byId("category-filter-label").hidden = !data.categories.length;
  const categories = data.categories.map((name, k) => [String(k), name]).sort((x, y) => (x[1] < y[1] ? -1 : 1));
  if (categories.length) options(byId("category-filter"), [["", "any or none"], ...categories], "");
  const there = { margin: hasMargin, chance: hasNull, q: hasQOfMatches, given: hasGiven, "read out": hasReadout };
  put("column-notes", COLUMNS.filter(([name]) => there[name] !== false).flatMap(([name, words]) => [el("dt", null, name), el("dd", null, words)]));
}

/** Latents of one verdict, kept or not: those without a match are mostly dropped. */
function setReadout(verdict) {
  Object.assign(state, { readout: verdict, page: 0 });
  if (verdict !== "") state.verdict = byId("verdict").value = "";
  drawMatches();
}

function turn(by) {
  state.page += by;
  drawMatches();
  byId("matches").scrollIntoView();
}

/** Another pair or direction: nothing is open, the first page. */
function anew() {
  state.open.clear();
  state.page = 0;
  const m = listOf(), [a, b] = data.pairs[state.pair];
  options(byId("direction"), [["0", `${siteName(a)} picks`], ["1", `${siteName(b)} picks`]], String(state.direction));
  const shown = (test) => m.source.reduce((n, _, k) => n + (test(k) ? 1 : 0), 0);
  const list = [["kept", `kept (${thousands(shown((k) => m.dropped[k] < 0))})`], ["mutual", `kept and mutual (${thousands(shown((k) => m.dropped[k] < 0 && m.mutual[k]))})`],
    ["", `all (${thousands(m.source.length)})`], ...m.reasons.map((name, i) => ["-" + i, `dropped: ${reason(name)} (${thousands(shown((k) => m.dropped[k] === i))})`])];
  if (!list.some(([value]) => value === state.verdict)) state.verdict = "kept";
  if (state.verdict === "kept" && !shown((k) => m.dropped[k] < 0)) state.verdict = "";
  options(byId("verdict"), list, state.verdict);
  const dropped = Object.entries(m.verdicts).filter(([name]) => name !== "kept").sort((x, y) => y[1] - x[1]).map(([name, n]) => `${thousands(n)} (${reason(name)})`);
  const byChance = (data.history.series[state.direction ? "n_kept_backward_null" : "n_kept_null"] || [])[state.pair];
  const kept = byChance ? byChance[byChance.length - 1] : null;
  const verdicts = [`${thousands(m.verdicts.kept || 0)} matches are kept (${known(kept) ? "chance " + thousands(kept) : "chance unknown"})`, ...(dropped.length ? ["dropped are " + dropped.join(", ")] : [])];
  const cut = m.source.length < m.matched ? ` The ${thousands(m.source.length)} strongest are listed here, all of them are in the run’s matches.parquet.` : "";
  put("matches-explained", `Of ${thousands(m.total)} latents of ${siteName(state.direction ? b : a)}: ${verdicts.join("; ")}.${cut} A row opens to the strongest tokens of both sides in their contexts.`);
  drawMatches();
}

function words(site, latent) {
  const key = site + ":" + latent;
  if (!searched.has(key)) {
    const k = place(site, latent);
    const parts = k < 0 ? [] : [...data.sites[site].tokens[k].map((t) => data.tokens[t]), ...data.sites[site].top[k].map((t) => data.contexts[t[0]])];
    searched.set(key, [latent, ...parts].join("\n").toLowerCase());
  }
  return searched.get(key);
}

function categoriesOf(site, latent) {
  const k = place(site, latent);
  return k < 0 ? [] : data.sites[site].categories[k];
}

/** Rows that pass the filters, in the order asked for. */
function chosenRows() {
  const m = listOf(), [a, b] = data.pairs[state.pair], query = state.query.toLowerCase();
  const passes = (k) => {
    if (state.verdict === "kept" && m.dropped[k] >= 0) return false;
    if (state.verdict === "mutual" && (m.dropped[k] >= 0 || !m.mutual[k])) return false;
    if (state.verdict.startsWith("-") && m.dropped[k] !== Number(state.verdict.slice(1))) return false;
    if (state.readout !== "" && (m.readable || [])[k] !== Number(state.readout)) return false;
    if (state.label !== "") {
      const leads = [[a, m.source[k]], [b, m.target[k]]].some(([s, l]) => { const top = sharesOf(s, l, 0)[0]; return top && top[0] === Number(state.label); });
      if (!leads) return false;
    }
    if (state.category !== "" && ![[a, m.source[k]], [b, m.target[k]]].some(([s, l]) => categoriesOf(s, l).includes(Number(state.category)))) return false;
    return !query || words(a, m.source[k]).includes(query) || words(b, m.target[k]).includes(query);
  };
  const rows = m.source.map((_, k) => k).filter(passes);
  const { key, down } = state.sort, sign = down ? -1 : 1, column = m[key];
  const empty = (v) => (known(v) ? 0 : 1);
  // undefined last, ties by strength
  return rows.sort((x, y) => empty(column[x]) - empty(column[y]) || sign * ((column[x] || 0) - (column[y] || 0)) || m.r[y] - m.r[x] || x - y);
}

function drawMatches() {
  const m = listOf(), [a, b] = data.pairs[state.pair], rows = chosenRows();
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  state.page = Math.min(Math.max(0, state.page), pages - 1);
  const from = state.page * PAGE_ROWS, shown = rows.slice(from, from + PAGE_ROWS);
  put("match-count", rows.length ? `${thousands(rows.length)} ${rows.length === 1 ? "match" : "matches"}` : "No match fits. Try another word or show all.");
  put("page-number", rows.length ? `${thousands(from + 1)} to ${thousands(from + shown.length)} of ${thousands(rows.length)}` : "");
  byId("page-before").disabled = state.page === 0;
  byId("page-after").disabled = state.page >= pages - 1;
  const columns = [["source", siteName(a), "side"], ["target", siteName(b), "side"], ["r", "r", ""], ...(hasMargin ? [["margin", "margin", ""]] : []),
    ...(hasNull ? [["null", "chance", ""]] : []), ...(hasQOfMatches ? [["q", "q", ""]] : []), ...(hasGiven ? [["within", "given " + data.given, ""]] : []), ...(hasReadout ? [["readout", "read out", ""]] : [])];
  const sorted = (key) => (state.sort.key !== key ? "none" : state.sort.down ? "descending" : "ascending");
  const head = el("tr", { role: "row" }, columns.map(([key, text, kind]) => el("th", { scope: "col", role: "columnheader", class: kind || null, "aria-sort": sorted(key) },
    el("button", { type: "button", "data-sort": key, click: () => sortBy(key) }, text))),
    el("th", { scope: "col", role: "columnheader", class: "word" }, "verdict"),
    data.labels.length ? el("th", { scope: "col", role: "columnheader", class: "word" }, "mostly " + data.labels[0].field) : null);
  const n = columns.length + 1 + (data.labels.length ? 1 : 0);
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset : {};
  const key = focused.sort ? `[data-sort="${focused.sort}"]` : focused.row ? `[data-row="${focused.row}"]` : null;
  put("match-table", el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, shown.flatMap((k) => {
    const row = matchRow(m, k, a, b);
    return state.open.has(k) ? [row, el("tr", { class: "detail", role: "row" }, el("td", { colspan: n, role: "cell" }, detail(m, k, a, b)))] : [row];
  })));
  // the table was made anew: give the focus back
  const again = key && byId("match-table").querySelector(key);
  if (again) again.focus({ preventScroll: true });
}

function sortBy(key) {
  const down = state.sort.key === key ? !state.sort.down : key !== "source" && key !== "target" && key !== "q";
  state.sort = { key, down };
  state.page = 0;
  drawMatches();
}

const side = (site, latent) => tokensOf(site, latent).slice(0, 3).map(token);

function matchRow(m, k, a, b) {
  const cell = (name, text) => el("td", { role: "cell", "data-name": name }, text);
  const lead = (s, l) => { const top = sharesOf(s, l, 0)[0]; return top ? [el("span", { class: "swatch", style: { background: colourOf(top[0]) } }), `${data.labels[0].values[top[0]]} ${percent(top[1])}`] : "–"; };
  const read = readoutVerdict(m, k);
  const verdict = m.dropped[k] >= 0 ? reason(m.reasons[m.dropped[k]]) : m.mutual[k] ? "mutual" : "kept";
  return el("tr", { class: "row", role: "row", pointerenter: () => light(state.direction ? 1 : 0, state.direction ? m.target[k] : m.source[k], false) },
    el("td", { class: "side", role: "cell" }, el("button", { type: "button", class: "open", "data-row": k, "aria-expanded": String(state.open.has(k)),
      "aria-label": `Latents ${m.source[k]} and ${m.target[k]}: contexts`, click: () => { if (!state.open.delete(k)) state.open.add(k); drawMatches(); } }, String(m.source[k])), " ", side(a, m.source[k])),
    el("td", { class: "side", role: "cell" }, el("span", { class: "number" }, String(m.target[k])), " ", side(b, m.target[k])),
    cell("r", fixed(m.r[k], 3)),
    hasMargin ? cell("margin", fixed(m.margin[k], 3)) : null,
    hasNull ? cell("chance", fixed(m.null[k], 3)) : null,
    hasQOfMatches ? cell("q", chance(m.q[k])) : null,
    hasGiven ? cell("given", fixed(m.within[k], 3)) : null,
    hasReadout ? cell("read out", fixed((m.readout || [])[k], 2)) : null,
    el("td", { class: "word", role: "cell", title: read ? READOUT_WORDS[read] : null }, read ? `${verdict}, ${read}` : verdict),
    data.labels.length ? el("td", { class: "word", role: "cell" }, lead(state.direction ? b : a, state.direction ? m.target[k] : m.source[k])) : null);
}

function detail(m, k, a, b) {
  const onMap = data.sites[a].map && data.sites[b].map;
  return [cofiring(m, k), directions(m, k), el("div", { class: "two" }, card(a, m.source[k]), card(b, m.target[k])),
    onMap ? el("p", { class: "stats" }, el("button", { type: "button", click: () => { light(0, m.source[k], true); byId("map").scrollIntoView(); } }, "Show on the map")) : ""];
}

/** How the two lie to each other by the rows on which they fire, and how sure r is. */
function cofiring(m, k) {
  const [ofSource, ofTarget] = [m.shares[0][k], m.shares[1][k]];
  if (!known(ofSource) || !known(ofTarget)) return "";
  const inside = [ofSource, ofTarget].map((share) => share >= data.contained);
  const words = inside[0] && inside[1] ? "They fire on nearly the same tokens" : inside[0] ? "The first is a part of the second, which fires elsewhere too" : inside[1] ? "The second is a part of the first, which fires elsewhere too" : "They overlap";
  return el("p", { class: "stats" }, `${words}: the second fires on ${percent(ofSource)} of the first’s tokens, the first on ${percent(ofTarget)} of the second’s (Jaccard ${fixed(m.jaccard[k], 2)}). `,
    known(m.token[k]) ? `The ${data.given} alone gives r = ${fixed(m.token[k], 3)}; given it, ${known(m.within[k]) ? `${fixed(m.within[k], 3)} is left (${known(m.within_null[k]) ? "chance " + fixed(m.within_null[k], 3) : "chance unknown"})` : "what is left is unknown"}. ` : "",
    known(m.error[k]) ? `Standard error of r over groups of documents: ${fixed(m.error[k], 3)}.` : "");
}

function card(site, latent) {
  const k = place(site, latent), s = data.sites[site];
  const out = [el("h4", null, `${siteName(site)}/${latent}`)];
  if (k < 0) return el("div", null, out);
  const tokens = data.history.tokens[data.history.tokens.length - 1];
  out.push(el("p", { class: "stats" }, `fires on ${thousands(s.n_active[k])} tokens (${percent(s.n_active[k] / tokens)})` + (known(s.max[k]) ? `, strongest ${s.max[k]}` : "")));
  if (s.categories[k].length) out.push(el("p", { class: "stats" }, "category: " + s.categories[k].map((c) => data.categories[c]).join(", ")));
  data.labels.forEach((field, f) => {
    const shares = sharesOf(site, latent, f);
    if (!shares.length) return;
    out.push(el("div", { class: "shares", "aria-hidden": "true" }, shares.map(([v, share]) => el("i", { style: { width: 100 * share + "%", background: colourOf(v) } }))),
      el("p", { class: "share-words" }, `${field.field}: `, shares.filter((x) => x[1] >= 0.005).map(([v, share], i) => [i ? ", " : "", el("span", { class: "swatch", style: { background: colourOf(v) } }), `${field.values[v]} ${percent(share)}`])));
  });
  out.push(el("ul", { class: "contexts" }, s.top[k].map(([context, document, value, from, to]) => {
    const text = data.contexts[context];
    const body = from < 0 ? readable(text) : [readable(text.slice(0, from)), el("mark", null, readable(text.slice(from, to))), readable(text.slice(to))];
    return el("li", null, el("span", { class: "text", title: data.documents[document] }, body), el("span", { class: "value" }, String(value)));
  })));
  return el("div", null, out);
}

/** Shows the match in which `latent` picks, opened, whatever the filters say. */
function openMatch(direction, latent) {
  state.direction = direction;
  Object.assign(state, { query: "", verdict: "", label: "", category: "", readout: "", sort: { key: "r", down: true } });
  byId("query").value = "";
  byId("label-filter").value = byId("category-filter").value = byId("readout-filter").value = "";
  anew();
  const m = listOf(), column = direction ? m.target : m.source;
  const rows = chosenRows(), at = rows.findIndex((k) => column[k] === latent);
  if (at < 0) return;
  state.page = Math.floor(at / PAGE_ROWS);
  state.open.add(rows[at]);
  drawMatches();
  const button = byId("match-table").querySelector(`[data-row="${rows[at]}"]`);
  button.focus({ preventScroll: true });
  button.closest("tr").scrollIntoView({ block: "center" });
}
