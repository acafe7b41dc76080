// The pair of places that everything shows, and the first drawing.

function choosePair(pair) {
  const focused = document.activeElement && document.activeElement.classList.contains("cell")
    ? [document.activeElement.closest(".heat-box"), document.activeElement.dataset.pair] : null;
  const box = focused ? [...byId("heats").children].indexOf(focused[0]) : -1;
  state.pair = pair;
  byId("pair").value = String(pair);
  byId("pair-before").disabled = pair === 0;
  byId("pair-after").disabled = pair === data.pairs.length - 1;
  drawScores();
  drawSingle();
  drawGiven();
  drawReadout();
  drawAgreement();
  drawControls();
  anew();
  drawMap();
  drawHistory();
  // the heat maps were made anew: give the focus back
  const again = box >= 0 && byId("heats").children[box] && byId("heats").children[box].querySelector(`[data-pair="${focused[1]}"]`);
  if (again) again.focus({ preventScroll: true });
}

function start() {
  options(byId("pair"), data.pairs.map((_, p) => [String(p), pairName(p)]), String(state.pair));
  byId("pairbar").hidden = data.pairs.length < 2;
  byId("pair").addEventListener("change", () => choosePair(Number(byId("pair").value)));
  byId("pair-before").addEventListener("click", () => choosePair(state.pair - 1));
  byId("pair-after").addEventListener("click", () => choosePair(state.pair + 1));
  setUpScores();
  setUpMatches();
  setUpOver();
  setUpGroups();
  setUpMap();
  choosePair(state.pair);
  document.documentElement.dataset.ready = "yes";
}

start();
