// The run beside its controls, for the chosen pair: what agrees there too is not due to what was drawn at random.

function drawControls() {
  const rows = data.controls.filter((c) => c.pair === state.pair);
  byId("controls").hidden = !rows.length;
  document.querySelector('nav a[href="#controls"]').hidden = !rows.length;
  if (!rows.length) return;
  const by = ([value, byChance], text) => `${known(value) ? text(value) : "–"} (${known(byChance) ? text(byChance) : "chance unknown"})`;
  const three = (x) => fixed(x, 3);
  const scored = [0, 1].map((k) => (rows.find((c) => c.scores[k]) || { scores: [] }).scores[k]);
  put("controls-explained", `${pairName(state.pair)}: this run, and the same with something drawn at random. In brackets stands the chance level of each. What a control reaches as well is not due to what was drawn at random in it. Of a score only the distance to its bracket counts: shuffled rows reach the bracket.`);
  const scoreHead = ([measure, pairing]) => `${measure} of ${pairing === "activations" ? "the activations" : `decoder rows (${pairing} matches)`}`;
  const beyond = rows.some((c) => c.given) ? [`r ≥ ${data.holds} given the ${data.given}`] : [];
  const heads = ["run", "tokens", "living latents", "mean best r", "mutual", "above both points", ...beyond, "kept", ...scored.filter((s) => s).map(scoreHead)];
  put("controls-table", el("thead", null, el("tr", null, heads.map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", null, rows.map((c) => el("tr", null, el("th", { scope: "row" }, c.name || "this run"), el("td", null, thousands(c.tokens)), el("td", null, c.alive.map(thousands).join(", ")),
      el("td", null, by(c.mean, three)), el("td", null, by(c.mutual, thousands)), el("td", null, by(c.above, thousands)), beyond.map(() => el("td", null, c.given ? by(c.given, thousands) : "–")), el("td", null, by(c.kept, thousands)),
      scored.map((s, k) => (s ? el("td", null, c.scores[k] ? by(c.scores[k].slice(2), three) : "–") : null))))));
  put("controls-notes", rows.filter((c) => c.name && c.what).flatMap((c) => [el("dt", null, c.name), el("dd", null, c.what)]));
}
