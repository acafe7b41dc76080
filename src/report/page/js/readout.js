// What can be read of latents out of the other side's activations: verdicts counted for the chosen pair, beside what chance gives.

const hasReadout = data.readouts.length > 0;

const READOUT_WORDS = {
  matched: "its best match is kept, above chance and r ≥ 0.5",
  dropped: "r ≥ 0.5 with its best partner, but the filters drop the match",
  readable: "no partner with r ≥ 0.5, but the other model has it: R² ≥ 0.25 and above chance",
  faint: "a little can be read, more than chance gives",
  absent: "no more can be read than chance gives",
};

const readoutVerdict = (m, k) => (m.readable && m.readable[k] >= 0 ? data.readouts[m.readable[k]] : null);

function drawReadout() {
  const sides = data.matches[state.pair].map((m, d) => [m.readout_counts, d]).filter(([counts]) => counts);
  byId("readout").hidden = !sides.length;
  document.querySelector('nav a[href="#readout"]').hidden = !sides.length;
  if (!sides.length) return;
  put("readout-explained", "Every latent is predicted linearly from the other side’s raw activations, fitted on one half of the documents and judged on the other (R²). " +
    "One that has no partner of r ≥ 0.5 and can be read is missing in the SAE, not in the model. In brackets: what chance gives, from rows of another document. " +
    "A sparse latent is hard to read for any linear map, so “absent” is weaker than “readable”.");
  const unknown = sides.some(([counts]) => counts.unknown);
  const head = ["latents of", ...data.readouts, ...(unknown ? ["undecided"] : [])];
  put("readout-counts", el("thead", null, el("tr", null, head.map((t) => (READOUT_WORDS[t] ? el("th", { scope: "col", title: READOUT_WORDS[t] }, t) : el("th", { scope: "col" }, t))))),
    el("tbody", null, sides.map(([counts, d]) => el("tr", null, el("th", { scope: "row" }, siteName(data.pairs[state.pair][d])),
      counts.here.map((n, k) => el("td", null, `${thousands(n)} (${known(counts.by_chance[k]) ? thousands(counts.by_chance[k]) : "chance unknown"})`)),
      unknown ? el("td", null, thousands(counts.unknown)) : null))));
}
