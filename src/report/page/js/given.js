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
  put("given-explained", `Two latents that fire on one ${data.given} correlate, whatever the text around it is. Each point is a mutual match: to the right what the ${data.given} alone gives, ` +
    `measured with the last row of the same ${data.given} in another document, upwards its r. On the line nothing but the ${data.given} is shared. `,
    known(all) ? el("strong", null, `${thousands(holds)} of ${thousands(all)} still have r ≥ ${HOLDS} given the ${data.given} (chance ${thousands(chance)}).`) : "",
    rows.length < all ? ` The ${thousands(rows.length)} strongest are drawn.` : "");
  drawIn("given-chart", (width) => scatter(m, rows, width));
}

function scatter(m, rows, width) {
  if (!rows.length) { put("given-chart", el("p", { class: "explain" }, `No mutual match has enough rows whose ${data.given} came before in another document.`)); return; }
  const side = Math.min(width, 460), left = 44, bottom = 38, top = 10, right = 12;
  const low = Math.min(0, ...rows.map((k) => Math.min(m.token[k], m.r[k])));
  const x = (v) => left + ((side - left - right) * (v - low)) / (1 - low);
  const y = (v) => side - bottom - ((side - bottom - top) * (v - low)) / (1 - low);
  const drawing = svg("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": `r against what the ${data.given} alone gives, of ${thousands(rows.length)} mutual matches` });
  for (const t of ticks(low, 1)) {
    drawing.append(svg("line", { class: "axis", x1: x(low), x2: x(1), y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, fixed(t, 1)),
      svg("text", { x: x(t), y: side - bottom + 17, "text-anchor": "middle" }, fixed(t, 1)));
  }
  drawing.append(svg("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(1), y2: y(1) }));
  // those that hold on top
  for (const k of [...rows].sort((a, b) => (m.within[a] || 0) - (m.within[b] || 0))) {
    const beyond = known(m.within[k]) && m.within[k] >= HOLDS;
    drawing.append(svg("circle", { class: beyond ? "point beyond" : "point", cx: x(m.token[k]), cy: y(m.r[k]), r: 3.2, click: () => { openMatch(0, m.source[k]); byId("matches").scrollIntoView(); } },
      svg("title", null, `${m.source[k]} ~ ${m.target[k]}: r ${fixed(m.r[k], 3)}, ${data.given} alone ${fixed(m.token[k], 3)}, given it ${known(m.within[k]) ? fixed(m.within[k], 3) : "nothing left"}`)));
  }
  drawing.append(svg("text", { x: side - right, y: side - 3, "text-anchor": "end" }, `r by the ${data.given} alone`), svg("text", { x: left + 6, y: top + 10 }, "r"));
  put("given-chart", drawing, el("p", { class: "key" }, el("i", { class: "observed" }), `r ≥ ${HOLDS} given the ${data.given}`, el("i", { class: "faint" }), "less"));
}
