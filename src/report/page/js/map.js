// Two linked maps of decoder directions: what is touched on one side lights up with its partner on the other.

let planes = null;

function setUpMap() {
  const any = data.sites.some((s) => s.map);
  const select = byId("map-colour");
  options(select, [["", "by match"], ...data.labels.map((l, f) => [String(f), `by ${l.field}`])], "");
  byId("map-controls").hidden = !any || !data.labels.length;
  if (data.labels.length) { state.colour = "0"; select.value = "0"; }
  select.addEventListener("change", () => { state.colour = select.value; state.onlyLabel = -1; drawMap(); });
}

/** Best partner of each shown latent of the pair, from either side: latent to [partner, r, mutual, kept]. */
function partners() {
  return data.matches[state.pair].map((m, direction) => new Map(m.source.map((source, k) => {
    const target = m.target[k], what = [m.r[k], m.mutual[k] === 1, m.dropped[k] < 0];
    return direction ? [target, [source, ...what]] : [source, [target, ...what]];
  })));
}

/** The rotation or reflection that brings the target's map closest to the source's, by mutual matches. */
function turned(a, b, of) {
  const at = (map) => new Map(map.latent.map((l, i) => [l, [map.x[i] - 500, map.y[i] - 500]]));
  const [from, to] = [at(a), at(b)];
  let xx = 0, xy = 0, yx = 0, yy = 0;
  for (const [source, [target, r, mutual]] of of[0]) {
    const p = from.get(source), q = to.get(target);
    if (!mutual || !p || !q) continue;
    xx += r * q[0] * p[0]; xy += r * q[0] * p[1]; yx += r * q[1] * p[0]; yy += r * q[1] * p[1];
  }
  const turn = [xx + yy, xy - yx], flip = [xx - yy, xy + yx];
  const flipped = Math.hypot(...flip) > Math.hypot(...turn);
  const [c, s] = flipped ? flip : turn, n = Math.hypot(c, s) || 1;
  const [cos, sin] = [c / n || (c === 0 && s === 0 ? 1 : 0), s / n];
  return (x, y) => (flipped ? [500 + cos * (x - 500) + sin * (y - 500), 500 + sin * (x - 500) - cos * (y - 500)]
    : [500 + cos * (x - 500) - sin * (y - 500), 500 + sin * (x - 500) + cos * (y - 500)]);
}

function drawMap() {
  const sites = data.pairs[state.pair], [a, b] = sites.map((s) => data.sites[s]);
  planes = null;
  state.lit = null;
  const missing = [...new Set(sites)].filter((s) => !data.sites[s].map);
  if (missing.length) {
    put("map-explained", "There is no map of this pair. ", missing.map((s) => `${siteName(s)}: ${data.sites[s].no_map || "no decoder rows"}. `).join(""));
    put("maps"); put("map-legend"); put("map-status");
    byId("map-controls").hidden = true;
    return;
  }
  byId("map-controls").hidden = !data.labels.length;
  const cut = [a, b].some((s) => s.map.latent.length < s.alive) ? " The latents that match best are shown." : "";
  put("map-explained", "Decoder directions of either SAE laid into the plane (t-SNE of cosines), so that neighbours stay neighbours; distances and axes mean nothing else. "
    + "Point at a latent to see its best partner on the other side; click it to open the match. With the keyboard, focus a map and use the arrow keys: they walk from the strongest match to the weakest." + cut);
  const of = partners();
  const turn = turned(a.map, b.map, of);
  planes = sites.map((site, k) => plane(site, k, of, k ? turn : (x, y) => [x, y]));
  put("maps", planes.map((p) => p.figure));
  drawLegend();
  put("map-status", "\u00a0");
}

function drawLegend() {
  if (state.colour === "") { put("map-legend"); return; }
  const field = data.labels[Number(state.colour)];
  put("map-legend", field.values.map((value, v) => el("button", { type: "button", "aria-pressed": String(state.onlyLabel === v),
    click: () => { state.onlyLabel = state.onlyLabel === v ? -1 : v; drawLegend(); dim(); byId("map-legend").children[v].focus(); } },
  el("span", { class: "swatch", style: { background: colourOf(v) } }), value)));
}

function dim() {
  for (const p of planes || []) p.points.forEach((point) => point.node.classList.toggle("dim", state.onlyLabel >= 0 && point.lead !== state.onlyLabel));
}

function plane(site, k, of, turn) {
  const { map } = data.sites[site];
  const radius = map.latent.length > 700 ? 6 : 8;
  const drawing = svg("svg", { viewBox: "-25 -25 1050 1050", "aria-hidden": "true" });
  const points = map.latent.map((latent, i) => {
    const [x, y] = turn(map.x[i], map.y[i]);
    const partner = of[k].get(latent);
    const top = state.colour === "" ? null : sharesOf(site, latent, Number(state.colour))[0];
    const kept = partner && partner[3];
    const node = svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: kept ? radius : radius * 0.75, class: !kept && state.colour === "" ? "alone" : null });
    if (state.colour !== "") {
      if (top) node.style.fill = colourOf(top[0]);
      node.style.opacity = kept ? 0.85 : 0.35;
    } else if (kept) node.style.opacity = 0.25 + 0.75 * Math.max(0, partner[1]);
    return { latent, x, y, node, lead: top ? top[0] : -1 };
  });
  const marks = svg("g", null);
  // strongest on top
  const order = [...points].sort((p, q) => ((of[k].get(p.latent) || [0, -2])[1]) - ((of[k].get(q.latent) || [0, -2])[1]));
  drawing.append(...order.map((p) => p.node), marks);
  const walk = order.filter((p) => of[k].has(p.latent)).reverse();
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 1050 - 25, y = ((event.clientY - box.top) / box.height) * 1050 - 25;
    let best = null, least = 60 * 60;
    for (const p of points) { const d = (p.x - x) ** 2 + (p.y - y) ** 2; if (d < least) { least = d; best = p; } }
    return best;
  };
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const at = state.lit && state.lit.side === k ? walk.findIndex((p) => p.latent === state.lit.latent) : -1;
    if ((event.key === "Enter" || event.key === " ") && at >= 0) { event.preventDefault(); openMatch(k, walk[at].latent); return; }
    if (by === undefined || !walk.length) return;
    event.preventDefault();
    light(k, walk[Math.min(walk.length - 1, Math.max(0, at + by))].latent, false);
  };
  const box = el("div", { class: "plane", tabindex: 0, role: "application", "data-side": k,
    "aria-label": `Map of ${siteName(site)}, ${map.latent.length} latents. Arrow keys walk through the matches from the strongest, Enter opens one.`,
    keydown: step, focus: () => { if (!(state.lit && state.lit.side === k) && walk.length && box.matches(":focus-visible")) light(k, walk[0].latent, false); },
    pointermove: (event) => { const p = nearest(event); if (p) light(k, p.latent, false); },
    click: (event) => { const p = nearest(event); if (p && event.pointerType !== "touch") openMatch(k, p.latent); else if (p) light(k, p.latent, false); } }, drawing);
  const figure = el("figure", null, el("figcaption", null, el("strong", null, siteName(site)), `, ${thousands(map.latent.length)} latents`), box);
  return { figure, points: new Map(points.map((p) => [p.latent, p])), marks, of: of[k], site };
}

/** Lights a latent of side `side` (0 source, 1 target) and its best partner. */
function light(side, latent) {
  if (!planes || !planes[side].points.has(latent)) return;
  if (state.lit && state.lit.side === side && state.lit.latent === latent) return;
  state.lit = { side, latent };
  const here = planes[side], there = planes[1 - side], partner = here.of.get(latent);
  const mark = (plane, p, big) => plane.marks.replaceChildren(...(p ? [svg("line", { class: "hair", x1: -25, x2: 1025, y1: p.y, y2: p.y }), svg("line", { class: "hair", y1: -25, y2: 1025, x1: p.x, x2: p.x }),
    svg("circle", { class: "ring", cx: p.x, cy: p.y, r: big ? 26 : 20, "data-latent": p.latent }), svg("circle", { class: "lit", cx: p.x, cy: p.y, r: 10 })] : []));
  mark(here, here.points.get(latent), false);
  mark(there, partner && there.points.get(partner[0]), true);
  const named = (plane, l) => [el("strong", null, `${siteName(plane.site)}/${l}`), " ", tokensOf(plane.site, l).slice(0, 3).map(token)];
  put("map-status", named(here, latent), partner ? [" → ", ...named(there, partner[0]), ` r ${fixed(partner[1], 3)}${partner[2] ? ", mutual" : ", not mutual"}${partner[3] ? "" : ", not kept"}`] : " has no partner that is shown");
}
