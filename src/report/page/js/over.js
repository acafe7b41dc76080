// The best over all places of each two models, beside the best by chance of as many places.

function setUpOver() {
  byId("over").hidden = !data.over.length;
  document.querySelector('nav a[href="#over"]').hidden = !data.over.length;
  if (!data.over.length) return;
  const by = (value, byChance, text) => `${known(value) ? text(value) : "–"} (${known(byChance) ? text(byChance) : "chance unknown"})`;
  const three = (x) => fixed(x, 3);
  put("over-explained", "Each latent with its best partner over all places of the other model, and the two closest places by each score. The best of several is partly luck, so the brackets hold the best of as many by chance. For latents, chance is rows of another document; for activations, permuted tokens; for decoder rows, matches permuted within each pair of places.");
  const row = (o) => el("tr", null, el("th", { scope: "row" }, `${o.models[0]} × ${o.models[1]}`), el("td", null, `${o.places[0]} × ${o.places[1]}`),
    el("td", null, `${by(...o.above[0], thousands)} of ${thousands(o.of[0])}`), el("td", null, `${by(...o.above[1], thousands)} of ${thousands(o.of[1])}`),
    el("td", null, by(...o.mutual, thousands)), el("td", null, by(...o.mutual_above, thousands)), el("td", null, by(...o.mean, three)));
  const titles = ["models", "places", "first’s latents above chance", "second’s", "choose each other", "above both points", "mean best r"];
  put("over-counts", el("thead", null, el("tr", null, titles.map((t) => el("th", { scope: "col" }, t)))), el("tbody", null, data.over.map(row)));
  const scores = data.over.flatMap((o) => o.closest.map((s) => [o, s]));
  byId("over-scores").parentElement.hidden = byId("over-scores-title").hidden = !scores.length;
  const heads = ["models", "score", "of", "closest places", "value", "pairs that compete", "p"];
  put("over-scores", el("thead", null, el("tr", null, heads.map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", null, scores.map(([o, [measure, pairing, places, value, byChance, n, p]]) => el("tr", null, el("th", { scope: "row" }, `${o.models[0]} × ${o.models[1]}`), el("td", null, measure),
      el("td", null, pairing === "activations" ? "activations" : "decoder rows"), el("td", null, places), el("td", null, by(value, byChance, three)), el("td", null, thousands(n)), el("td", null, chance(p))))));
}
