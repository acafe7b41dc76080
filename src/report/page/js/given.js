// Is it more than the token? Each listed match as a point: what the token alone gives, and what the two really reach.

const HOLDS = data.holds;

function drawGiven() {
  const m = data.matches[state.pair][0], series = data.history.series;
  const rows = m.source.map((_, k) => k).filter((k) => m.mutual[k] && known(m.token[k]));
  const last = (name) => { const s = (series[name] || [])[state.pair]; return s ? s[s.length - 1] : null; };
  byId("given").hidden = !data.given;
  document.querySelector('nav a[href="#given"]').hidden = !data.given;
  if (!data.given) return;
  const holds = last("n_mutual_within"), all = last("n_mutual_given"), chance = last("n_mutual_within_null");
  put("given-title", `Is it more than the ${data.given}?`);
  put("given-explained", `Two latents that fire on one ${data.given} correlate, whatever the text around it is. Each point is a mutual match: upwards its r, to the right what the ${data.given} alone gives, ` +
    `which is the r of one latent with the other on the last row of the same ${data.given} in another document. On the dashed line nothing but the ${data.given} is shared. `,
    known(all) ? el("strong", null, `${thousands(holds)} of ${thousands(all)} still have r ≥ ${HOLDS} given the ${data.given} (chance ${thousands(chance)}).`) : "",
    rows.length < all ? ` The ${thousands(rows.length)} strongest are drawn.` : "");
  put("given-status", "");
  drawIn("given-chart", (width) => scatter(m, rows, width));
}

/** The middle one of some numbers, of two the lower; null of none. */
function median(values) {
  const list = values.filter(known).sort((a, b) => a - b);
  return list.length ? list[(list.length - 1) >> 1] : null;
}

function scatter(m, rows, width) {
  if (!rows.length) { put("given-chart", el("p", { class: "explain" }, `No mutual match has enough rows whose ${data.given} came before in another document.`)); return; }
  const side = Math.min(width, 480), left = 56, bottom = 48, top = 10, right = 12;
  const low = Math.min(0, ...rows.map((k) => Math.min(m.token[k], m.r[k])));
  const x = (v) => left + ((side - left - right) * (v - low)) / (1 - low);
  const y = (v) => side - bottom - ((side - bottom - top) * (v - low)) / (1 - low);
  const drawing = svg("svg", { viewBox: `0 0 ${side} ${side}`, "aria-hidden": "true" });
  // what chance alone reaches, and what is no farther from the line than r is sure
  const point = median(rows.map((k) => m.point[k])), error = median(rows.map((k) => m.error[k]));
  if (known(point)) drawing.append(svg("rect", { class: "null-area", x: x(low), y: y(point), width: x(1) - x(low), height: y(low) - y(point) }));
  if (known(error)) {
    const by = Math.min(2 * error, 1 - low);
    const corners = [[low, low], [low, low + by], [1 - by, 1], [1, 1], [1, 1 - by], [low + by, low]];
    drawing.append(svg("polygon", { class: "diagonal-area", points: corners.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") }));
  }
  for (const t of ticks(low, 1)) {
    drawing.append(svg("line", { class: "axis", x1: x(low), x2: x(1), y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, fixed(t, 1)),
      svg("text", { x: x(t), y: side - bottom + 17, "text-anchor": "middle" }, fixed(t, 1)));
  }
  drawing.append(svg("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(1), y2: y(1) }));
  // those that hold on top
  const holds = (k) => known(m.within[k]) && m.within[k] >= HOLDS;
  for (const k of [...rows].sort((a, b) => (m.within[a] || 0) - (m.within[b] || 0))) {
    drawing.append(svg("circle", { class: "point" + (holds(k) ? " beyond" : "") + (m.dropped[k] >= 0 ? " dropped" : ""), cx: x(m.token[k]), cy: y(m.r[k]), r: 3.2 }));
  }
  const marks = svg("g", null), middle = (side - bottom + top) / 2;
  drawing.append(marks, svg("text", { x: (left + side - right) / 2, y: side - 8, "text-anchor": "middle" }, `r by the ${data.given} alone (Pearson’s, no unit)`),
    svg("text", { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, "r of the match (Pearson’s, no unit)"));
  const walk = [...rows].sort((a, b) => m.r[b] - m.r[a]);
  let lit = -1;
  const choose = (at) => {
    lit = at;
    const k = walk[at];
    marks.replaceChildren(svg("circle", { class: "ring", cx: x(m.token[k]), cy: y(m.r[k]), r: 8, "data-latent": m.source[k] }));
    put("given-status", el("strong", null, `${m.source[k]} ~ ${m.target[k]}`), ` r ${fixed(m.r[k], 3)} (${known(m.point[k]) ? `95 % chance point ${fixed(m.point[k], 3)}` : "chance unknown"}), ${data.given} alone ${fixed(m.token[k], 3)}, ` +
      (known(m.within[k]) ? `given it ${fixed(m.within[k], 3)} (${known(m.within_null[k]) ? `chance ${fixed(m.within_null[k], 3)}` : "chance unknown"})` : "given it unknown") +
      (m.dropped[k] >= 0 ? `; not kept: ${reason(m.reasons[m.dropped[k]])} ` : " "),
      el("button", { type: "button", click: () => openMatch(0, m.source[k]) }, "Show the match"));
  };
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect(), scale = side / box.width;
    const [px, py] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = -1, least = 24 * 24;
    walk.forEach((k, at) => { const d = (x(m.token[k]) - px) ** 2 + (y(m.r[k]) - py) ** 2; if (d < least) { least = d; best = at; } });
    return best;
  };
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if ((event.key === "Enter" || event.key === " ") && lit >= 0) { event.preventDefault(); openMatch(0, m.source[walk[lit]]); return; }
    if (by === undefined) return;
    event.preventDefault();
    choose(Math.min(walk.length - 1, Math.max(0, lit + by)));
  };
  const box = el("div", { class: "plane points", tabindex: 0, role: "application",
    "aria-label": `r against what the ${data.given} alone gives, of ${thousands(rows.length)} mutual matches. Arrow keys walk through them from the highest r, Enter opens one.`,
    keydown: step, focus: () => { if (lit < 0 && box.matches(":focus-visible")) choose(0); },
    pointermove: (event) => { const at = nearest(event); if (at >= 0 && at !== lit) choose(at); },
    click: (event) => { const at = nearest(event); if (at < 0) return; choose(at); if (event.pointerType !== "touch") openMatch(0, m.source[walk[at]]); } }, drawing);
  const any = (test) => rows.some(test);
  const key = (there, look, text) => (there ? el("span", { class: "item" }, el("i", { class: look }), text) : null);
  put("given-chart", box, el("p", { class: "key" },
    key(any(holds), "observed round", `r ≥ ${HOLDS} given the ${data.given}`), key(any((k) => !holds(k)), "faint round", any((k) => !known(m.within[k])) ? "less, or too few rows to know" : "less"),
    key(any((k) => m.dropped[k] >= 0), "hollow round", "not kept"),
    key(known(point), "region", `below the 95 % chance point (median ${fixed(point, 3)})`),
    key(known(error), "band", "two standard errors of r around the line (median)")));
}
