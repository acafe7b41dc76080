// Distribution of best correlations against the null's, and how everything moved while tokens streamed past.

function drawSingle() {
  const [forward, backward] = data.matches[state.pair];
  const [a, b] = data.pairs[state.pair];
  const withNull = [forward, backward].some((m) => m.null_histogram);
  put("single-explained", "Correlation of every living latent with its best partner. ", withNull
    ? "Because a best partner is the highest of many, chance alone does not give 0: the outline is what best partners reach when the rows of one side come from other documents."
    : "A best partner is the highest of many, so chance alone does not give 0; this run’s tables hold no null for single matches.");
  const beside = data.beside && data.beside.matches[state.pair];
  [["forward", forward, a, b], ["backward", backward, b, a]].forEach(([name, m, from, to], k) => {
    const words = [el("strong", null, siteName(from)), " looks for a partner in ", el("strong", null, siteName(to)), `: mean ${fixed(m.mean, 3)}`];
    const why = data.facts[state.pair].no_chance;
    words.push(known(m.null_mean) ? ` (chance ${fixed(m.null_mean, 3)})` : ` (chance unknown${why ? ": " + why : ""})`);
    if (known(m.significant)) words.push(`; ${thousands(m.significant)} of ${thousands(m.matched)} have q ≤ 0.05`);
    if (beside && known(beside.mean[k])) words.push(`; in ${data.beside.name} ${fixed(beside.mean[k], 3)} (chance ${known(beside.null_mean[k]) ? fixed(beside.null_mean[k], 3) : "unknown"})`);
    put(name + "-caption", words);
    drawIn(name + "-histogram", (width) => histogram(name + "-histogram", m, beside ? beside.histogram[k] : null, width));
  });
}

function histogram(id, m, beside, width) {
  const height = 230, left = 44, bottom = 36, top = 10, right = 12;
  const all = [m.histogram, m.null_histogram, beside].filter((h) => h && h.counts.length);
  if (!all.length) { put(id, el("p", { class: "explain" }, "No latent has a partner.")); return; }
  const from = Math.min(50, ...all.map((h) => h.first)), to = 100;
  // chance levels crowd into a few bins: heights are then as the square roots of the counts, so that nothing is cut and the latents
  // keep their shape
  const highest = (h) => Math.max(...((h && h.counts) || []), 1);
  const shape = Math.max(highest(m.histogram), highest(beside)), most = Math.max(shape, highest(m.null_histogram));
  const root = most > 2 * shape, height_of = (n) => (root ? Math.sqrt(n / most) : n / most);
  const x = (bin) => left + ((width - left - right) * (bin - from)) / (to - from);
  const y = (n) => height - bottom - (height - bottom - top) * height_of(n);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of best correlations, mean ${fixed(m.mean, 3)}` });
  for (const t of root ? rootTicks(most) : ticks(0, most)) {
    drawing.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, thousands(t)));
  }
  m.histogram.counts.forEach((n, k) => {
    const bin = m.histogram.first + k;
    if (n) drawing.append(svg("rect", { class: "bar", x: x(bin) + 0.5, y: y(n), width: Math.max(x(bin + 1) - x(bin) - 1, 1), height: y(0) - y(n) },
      svg("title", null, `${fixed(bin * data.bin - 1, 2)} to ${fixed((bin + 1) * data.bin - 1, 2)}: ${thousands(n)} latents`)));
  });
  const outline = (h) => {
    let path = `M${x(h.first)},${y(0)}`;
    h.counts.forEach((n, k) => { path += `L${x(h.first + k)},${y(n)}L${x(h.first + k + 1)},${y(n)}`; });
    return path + `L${x(h.first + h.counts.length)},${y(0)}`;
  };
  if (beside && beside.counts.length) drawing.append(svg("path", { class: "beside-line", d: outline(beside) }));
  if (m.null_histogram && m.null_histogram.counts.length) {
    const path = outline(m.null_histogram);
    drawing.append(svg("path", { class: "null-area", d: path }), svg("path", { class: "null-line", d: path }));
  }
  for (const t of ticks(from * data.bin - 1, 1)) {
    drawing.append(svg("text", { x: x((t + 1) / data.bin), y: height - bottom + 17, "text-anchor": "middle" }, fixed(t, 1)));
  }
  drawing.append(svg("text", { x: width - right, y: height - 3, "text-anchor": "end" }, "correlation with the best partner"));
  put(id, drawing, el("p", { class: "key" }, root ? el("span", { class: "aside" }, "heights as square roots of the counts") : null, el("i", { class: "observed" }), "latents", m.null_histogram ? [el("i", { class: "chance" }), "by chance"] : null,
    beside ? [el("i", { class: "other" }), data.beside.name] : null));
}

/** Round counts that are far enough apart where heights are square roots. */
function rootTicks(most) {
  const out = [0];
  for (let power = 1; power <= most; power *= 10) {
    for (const n of [1, 2, 5].map((k) => k * power)) if (n <= most && Math.sqrt(n / most) - Math.sqrt(out[out.length - 1] / most) > 0.12) out.push(n);
  }
  return out;
}

const SERIES = {
  best_forward: ["Mean best correlation, source picks", 3],
  best_backward: ["Mean best correlation, target picks", 3],
  churn: ["Latents whose best partner changed since the snapshot before", "%"],
  n_mutual: ["Mutual matches", 0],
  n_mutual_above_chance: ["Mutual matches above both chance points", 0],
  n_mutual_within: ["Mutual matches that hold given the token", 0],
};

function drawHistory() {
  const { tokens, series } = data.history;
  const list = Object.keys(SERIES).filter((name) => series[name] && series[name].flat().some(known)).map((name) => [name, ...SERIES[name]]);
  const score = state.score && `score.${state.score.pairing}.${state.score.measure}`;
  if (score && series[score]) list.push([score, `${state.score.measure} (${state.score.pairing})`, 3]);
  byId("history").hidden = tokens.length < 2;
  document.querySelector('nav a[href="#history"]').hidden = tokens.length < 2;
  if (tokens.length < 2) return;
  const boxes = list.map(([name, title]) => el("figure", null, el("figcaption", null, title), el("div", { class: "chart" })));
  put("history-charts", boxes);
  list.forEach(([name, title, digits], k) => drawIn(boxes[k].lastChild, (width) => lines(boxes[k].lastChild, title, series[name], digits, width, (series[name + "_null"] || [])[state.pair])));
  const format = (digits) => (v) => (digits === "%" ? percent(v) : digits === 0 && known(v) ? thousands(v) : fixed(v, digits));
  put("history-table",
    el("thead", null, el("tr", null, el("th", { scope: "col" }, "tokens"), list.map(([, title]) => el("th", { scope: "col" }, title.replace("Latents whose best partner changed since the snapshot before", "churn"))))),
    el("tbody", null, tokens.map((n, i) => el("tr", null, el("th", { scope: "row" }, thousands(n)), list.map(([name, , digits]) => { const by = (series[name + "_null"] || [])[state.pair]; return el("td", null, format(digits)(series[name][state.pair][i]) + (by && known(by[i]) ? ` (${format(digits)(by[i])})` : "")); })))));
}

function lines(box, title, values, digits, width, byChance) {
  const { tokens } = data.history;
  const height = 170, left = 46, bottom = 24, top = 12, right = 14;
  const flat = [...values.flat(), ...(byChance || [])].filter(known);
  if (!flat.length) { box.replaceChildren(el("p", { class: "explain" }, "not computed")); return; }
  const high = Math.max(...flat, 1e-9), low = Math.min(...flat) > 0.5 * high ? Math.min(...flat) - 0.15 * (high - Math.min(...flat)) : Math.min(0, ...flat);
  const x = (n) => left + ((width - left - right) * n) / tokens[tokens.length - 1];
  const y = (v) => height - bottom - ((height - bottom - top) * (v - low)) / (high - low || 1);
  const format = (v, step) => (digits === "%" ? (100 * v).toFixed(step < 0.01 ? 1 : 0) + " %" : step >= 1 ? thousands(v) : fixed(v, step < 0.01 ? 3 : 2));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const marks = ticks(low, high), step = marks.length > 1 ? marks[1] - marks[0] : 1;
  for (const t of marks) drawing.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, format(t, step)));
  const short = (n) => (n >= 1e6 ? fixed(n / 1e6, 1).replace(".0", "") + " M" : n >= 1e3 ? Math.round(n / 1e3) + " k" : n);
  for (const t of ticks(0, tokens[tokens.length - 1]).slice(1)) drawing.append(svg("text", { x: x(t), y: height - 6, "text-anchor": x(t) > width - right - 16 ? "end" : "middle" }, short(t)));
  const path = (list) => {
    let out = "";
    list.forEach((v, i) => { if (known(v)) out += (out ? "L" : "M") + x(tokens[i]).toFixed(1) + "," + y(v).toFixed(1); });
    return out;
  };
  values.forEach((list, p) => { if (p !== state.pair) drawing.append(svg("path", { class: "line", d: path(list) })); });
  if (byChance && byChance.some(known)) drawing.append(svg("path", { class: "line by-chance", d: path(byChance) }));
  const chosen = values[state.pair];
  drawing.append(svg("path", { class: "line chosen", d: path(chosen) }));
  const lastAt = chosen.map(known).lastIndexOf(true);
  if (lastAt >= 0) {
    const v = chosen[lastAt], word = digits === "%" ? percent(v) : digits === 0 ? thousands(v) : fixed(v, 3);
    drawing.append(svg("circle", { class: "dot", cx: x(tokens[lastAt]), cy: y(v), r: 3.5 }),
      svg("text", { class: "strong", x: x(tokens[lastAt]), y: y(v) < 26 ? y(v) + 18 : y(v) - 8, "text-anchor": "end" }, word));
    drawing.setAttribute("aria-label", `${title} of ${pairName(state.pair)}, ${word} after ${thousands(tokens[lastAt])} tokens`);
  }
  box.replaceChildren(drawing);
}
