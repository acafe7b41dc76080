// Groups of latents over several places: how many over how many models beside chance, and the first of them with their members.

const GROUP_ROWS = 15;
const groupState = { size: "", kind: "", page: 0 };

const hasWithin = data.groups && data.groups.shown.some((g) => known(g.within));

const KINDS = {
  clique: "a kept mutual match joins each two of its models",
  chain: "some of its models are not matched with each other",
  conflict: "a piece that agrees, cut out of latents of which two are of one place",
};

function setUpGroups() {
  if (!data.groups) {
    byId("groups").hidden = true;
    document.querySelector('nav a[href="#groups"]').hidden = true;
    return;
  }
  const { what, sizes, returned, total, shown } = data.groups;
  const n = (count, chance) => `${thousands(count)} (${known(chance) ? "chance " + thousands(chance) : "chance unknown"})`;
  const back = returned ? ` Best partners over three places lead back to where they began for ${percent(returned[0])} of latents (${known(returned[1]) ? "chance " + percent(returned[1]) : "chance unknown"}).` : "";
  const cut = shown.length < total ? ` The first ${thousands(shown.length)} are listed here, all of them are in the run’s groups.parquet.` : "";
  put("groups-explained", `Latents of different places that kept mutual matches join are a group: one feature, as far as matches tell. A model has it if any of its places has. Chance is the same count when rows meet those of another document.${back}${cut}`);
  put("group-sizes", el("thead", null, el("tr", null, [what, "groups", "of them each two matched"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", null, sizes.map(([size, all, allNull, complete, completeNull]) =>
      el("tr", null, el("th", { scope: "row" }, String(size)), el("td", null, n(all, allNull)), el("td", null, n(complete, completeNull))))));
  const models = [...new Set(shown.map((g) => g.models))].sort((a, b) => b - a);
  options(byId("group-size"), [["", "any number of models"], ...models.map((m) => [String(m), m === 1 ? "1 model" : `${m} models`])], "");
  const kinds = Object.keys(KINDS).filter((kind) => shown.some((g) => g.kind === kind));
  options(byId("group-kind"), [["", "any"], ...kinds.map((kind) => [kind, `${kind}: ${KINDS[kind]}`])], "");
  const on = (id, key) => byId(id).addEventListener("change", () => { groupState[key] = byId(id).value; groupState.page = 0; drawGroups(); });
  on("group-size", "size");
  on("group-kind", "kind");
  byId("groups-before").addEventListener("click", () => { groupState.page -= 1; drawGroups(); byId("groups").scrollIntoView(); });
  byId("groups-after").addEventListener("click", () => { groupState.page += 1; drawGroups(); byId("groups").scrollIntoView(); });
  joinMatches();
  drawGroups();
}

/** Kept mutual matches of the page by either end: [site, latent, r, chance point]. */
const joined = new Map();
function joinMatches() {
  data.pairs.forEach(([a, b], p) => {
    const m = data.matches[p][0];
    m.source.forEach((source, k) => {
      if (!m.mutual[k] || m.dropped[k] >= 0) return;
      const ends = [[a, source], [b, m.target[k]]];
      ends.forEach(([site, latent], side) => {
        const key = site + ":" + latent;
        if (!joined.has(key)) joined.set(key, []);
        joined.get(key).push([...ends[1 - side], m.r[k], m.point[k]]);
      });
    });
  });
}

/** The member's neighbour in its group with the highest r, in words; nothing where the match is not on the page. */
function neighbour(g, site, latent) {
  const within = (joined.get(site + ":" + latent) || []).filter(([s, l]) => g.members.some(([t, k]) => t === s && k === l)).sort((x, y) => y[2] - x[2]);
  if (!within.length) return "";
  const [s, l, r, point] = within[0];
  return el("span", { class: "with" }, ` r ${fixed(r, 3)} (${known(point) ? "95 % chance point " + fixed(point, 3) : "chance unknown"}) with ${siteName(s)}/${l}`);
}

const chosenGroups = () => data.groups.shown.map((g, k) => [g, k + 1])
  .filter(([g]) => (groupState.size === "" || g.models === Number(groupState.size)) && (groupState.kind === "" || g.kind === groupState.kind));

/** Chance beside the count of the groups listed; of one kind alone it is not counted, and of a list that is cut it is none. */
function groupChance() {
  const { what, sizes, shown, total } = data.groups;
  if (groupState.kind !== "" || shown.length < total || what !== "models") return "";
  const list = sizes.filter(([size]) => groupState.size === "" || size === Number(groupState.size)).map(([, , byChance]) => byChance);
  return list.every(known) ? ` (chance ${thousands(list.reduce((a, b) => a + b, 0))})` : " (chance unknown)";
}

function drawGroups() {
  const rows = chosenGroups(), from = groupState.page * GROUP_ROWS, page = rows.slice(from, from + GROUP_ROWS);
  put("group-count", rows.length ? `${thousands(rows.length)} ${rows.length === 1 ? "group" : "groups"}${groupChance()}` : "No group fits.");
  put("groups-number", rows.length ? `${thousands(from + 1)} to ${thousands(from + page.length)} of ${thousands(rows.length)}` : "");
  byId("groups-before").disabled = groupState.page === 0;
  byId("groups-after").disabled = from + GROUP_ROWS >= rows.length;
  const head = ["group", "kind", "edges", "lowest r", ...(hasWithin ? [`given the ${data.given || "token"}`] : []), "members"];
  put("group-table", el("thead", null, el("tr", null, head.map((t) => el("th", { scope: "col" }, t)))), el("tbody", null, page.map(groupRow)));
}

function groupRow([g, number]) {
  const member = ([site, latent, best, frequency, tokens]) => el("li", { class: best ? null : "beside", title: `fires on ${percent(frequency)} of tokens` },
    el("span", { class: "number" }, `${siteName(site)}/${latent}`), " ", tokens.slice(0, 3).map((t) => token(data.tokens[t])), neighbour(g, site, latent));
  const lacks = ([model, closest, read]) => el("li", { class: "beside" }, `lacks ${model}: ` + (closest ? `closest ${closest[0]}, r ${fixed(closest[1], 3)}` : "not compared") + (known(read) ? `; read out of it R² ${fixed(read, 3)}` : ""));
  return el("tr", null, el("th", { scope: "row" }, String(number)), el("td", { title: KINDS[g.kind] }, g.kind),
    el("td", { "data-name": "edges" }, `${g.edges} of ${g.possible}`), el("td", { "data-name": "lowest r" }, fixed(g.min, 3)),
    hasWithin ? el("td", { "data-name": `given the ${data.given || "token"}` }, fixed(g.within, 3)) : null,
    el("td", null, el("ul", { class: "members" }, g.members.map(member), g.missing.map(lacks))));
}
