// The run beside its controls, for the chosen pair: what agrees where something was drawn at random, what was taken away did not make.

function drawControls() {
  const rows = data.controls.filter((c) => c.pair === state.pair);
  byId("controls").hidden = !rows.length;
  document.querySelector('nav a[href="#controls"]').hidden = !rows.length;
  if (!rows.length) return;
  const by = ([value, byChance], text) => `${known(value) ? text(value) : "–"} (${known(byChance) ? text(byChance) : "chance unknown"})`;
  const three = (x) => fixed(x, 3);
  const scored = [0, 1].map((k) => (rows.find((c) => c.scores[k]) || { scores: [] }).scores[k]);
  put("controls-explained", `${pairName(state.pair)}: this run, and the same with something drawn at random. In brackets stands the chance level of each. What a control reaches too, what was taken away in it did not make.`);
  const heads = ["run", "tokens", "living latents", "mean best r", "mutual", "above both points", "kept", ...(scored[0] ? [`${scored[0][0]} of decoder rows`] : []), ...(scored[1] ? [`${scored[1][0]} of activations`] : [])];
  put("controls-table", el("thead", null, el("tr", null, heads.map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", null, rows.map((c) => el("tr", null, el("th", { scope: "row" }, c.name || "this run"), el("td", null, thousands(c.tokens)), el("td", null, c.alive.map(thousands).join(", ")),
      el("td", null, by(c.mean, three)), el("td", null, by(c.mutual, thousands)), el("td", null, by(c.above, thousands)), el("td", null, by(c.kept, thousands)),
      scored.map((s, k) => (s ? el("td", null, c.scores[k] ? by(c.scores[k].slice(1), three) : "–") : null))))));
  put("controls-notes", rows.filter((c) => c.name && c.what).flatMap((c) => [el("dt", null, c.name), el("dd", null, c.what)]));
}
