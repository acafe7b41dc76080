// How the activations of the chosen pair map into each other, and how decoder rows of its kept matches agree, each beside chance.

const agreementOf = (pair) => data.agreement[pair] || null;

const MAP_WORDS = {
  least_squares: "linear map",
  orthogonal: "rotation with a scale",
};

function drawAgreement() {
  const found = agreementOf(state.pair);
  byId("agreement").hidden = !found;
  document.querySelector('nav a[href="#agreement"]').hidden = !found;
  if (!found) return;
  const names = data.pairs[state.pair].map(siteName);
  const words = [];
  if (found.maps.length) {
    words.push("A map of one side’s raw activations into the other’s is fitted on one half of the documents and judged on the other half (R²"
      + (found.units === "std" ? ", each dimension in units of its deviation" : "") + `). There: from ${names[0]} into ${names[1]}; back: the other way. Chance: with rows of another document.`);
  }
  if (found.mapped) words.push("Decoder rows of two models have no common space. Under the linear map they have: the cosine says whether a match points the same way, not only fires on the same tokens.");
  if (found.logits) words.push("What a decoder row does to the logits, leaving out later blocks, says whether two latents do the same.");
  if (found.mapped || found.logits) words.push("Both are of kept matches where the source picks. Chance: with the partner of another kept match.");
  put("agreement-explained", words.join(" "));
  const rows = [
    ...found.maps.map(([kind, back, r2, byChance]) => [`R², ${MAP_WORDS[kind]}, ${back ? "back" : "there"}`, r2, byChance, null, null]),
    ...(found.mapped ? [["cosine of decoder rows, mean", ...found.mapped]] : []),
    ...(found.logits ? [["effects on the logits, mean r", ...found.logits]] : []),
  ];
  const ofMatches = rows.some((row) => known(row[4]));
  const head = ["", "value", "chance", ...(ofMatches ? ["95 % point of chance", "matches above it (chance 5 %)"] : [])];
  put("agreement-table", el("thead", null, el("tr", null, head.map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", null, rows.map(([what, value, byChance, point, above]) => el("tr", null, el("th", { scope: "row" }, what), el("td", null, fixed(value, 3)),
      el("td", null, known(byChance) ? fixed(byChance, 3) : "unknown"), ...(ofMatches ? [el("td", null, fixed(point, 3)), el("td", null, percent(above))] : [])))));
}

/** Of one match: how its decoder rows agree, beside chance. */
function directions(m, k) {
  const found = agreementOf(state.pair), [mapped, logits] = [(m.mapped || [])[k], (m.logits || [])[k]];
  if (!found || (!known(mapped) && !known(logits))) return "";
  const back = state.direction ? " of the way forward" : "";
  const by = (chances) => (chances && known(chances[2]) ? `chance ${fixed(chances[1], 3)}, 95 % point ${fixed(chances[2], 3)}${back}` : "chance unknown");
  return el("p", { class: "stats" }, known(mapped) ? `Cosine of the decoder rows under the map: ${fixed(mapped, 3)} (${by(found.mapped)}). ` : "",
    known(logits) ? `Correlation of what they do to the logits: ${fixed(logits, 3)} (${by(found.logits)}).` : "");
}
