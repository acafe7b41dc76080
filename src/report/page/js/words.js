// What the scores and the columns mean, each in a sentence or two.

function measureWords(name) {
  const number = (name.match(/\d+$/) || [""])[0];
  if (name === "svcca_as_published")
    return "SVCCA as the paper’s code computes it: the absolute correlation of the first principal component of either side. 0 to 1.";
  if (/^svcca_k/.test(name))
    return `Mean canonical correlation of the first ${number} principal components of either side: how far the main directions of one space can be turned into those of the other. 0 to 1.`;
  if (/^svcca/.test(name))
    return `Mean canonical correlation of the components that hold ${number || 99} % of either side’s variance. 0 to 1. With few rows it is high for any two spaces, which the null shows.`;
  if (name === "cka") return "Linear centred kernel alignment: how alike the two patterns of inner products between rows are, weighted by variance. 0 to 1.";
  if (name === "cka_debiased") return "CKA by unbiased estimates: each row’s product with itself is left out, so that few rows of many dimensions do not raise it. Around 0 without agreement, at most 1.";
  if (name === "rsa") return "Rank correlation of the two tables of similarities between rows (Pearson over a row’s dimensions, as published). −1 to 1.";
  if (name === "rsa_cosine") return "Rank correlation of the two tables of cosines between rows: are latents that lie close on one side close on the other? −1 to 1.";
  if (name === "rsa_euclidean") return "Rank correlation of the two tables of distances between rows. −1 to 1.";
  if (name === "pwcca") return "Canonical correlations weighted by how much of the first space each direction explains. 0 to 1.";
  if (name === "pwcca_as_published") return "Projection-weighted CCA with the weights of the published code. 0 to 1.";
  if (name === "procrustes") return "Agreement left after the best rotation of one side onto the other. 0 to 1.";
  if (name === "procrustes_rmse") return "Distance left after the best rotation of one side onto the other; smaller is closer.";
  if (/^jaccard_knn/.test(name)) return `Share of the ${number || 10} nearest neighbours that both sides have in common, over all that either has. 0 to 1.`;
  if (/^mutual_knn/.test(name)) return `Share of the ${number || 10} nearest neighbours that a row has on both sides. 0 to 1.`;
  return "A similarity of the two spaces.";
}

const PAIRINGS = {
  mutual: "decoder directions of mutual matches",
  forward: "decoder directions of kept matches, source picks",
  backward: "decoder directions of kept matches, target picks",
  activations: "raw activations",
};

const nullWords = (pairing) => (pairing === "activations"
  ? "Null: the same score after the tokens of one side were permuted inside each batch."
  : "Null: the same rows with the matches shuffled, which is what the score reaches without any correspondence.");

const P_WORDS = "Share of null runs that reach the value, the value itself counted in; it cannot be smaller than 1/(runs + 1).";
const Q_WORDS = "False discovery rate: the expected share of chance findings among all that are at least this good. A small q says that two latents go together, not that training made them so; with many tokens nearly every match has one.";
const EXCESS_WORDS = "Value less mean of the null, above 0 where the two sides are closer than chance. The size of the effect; compare this between runs, not the value.";
const Z_WORDS = `The same in standard deviations of the null; shown from ${data.least_runs} null runs on, fewer do not tell the spread.`;
const ONE_DECODER_WORDS = "Both sides are decoder rows of one SAE, so a latent matched with itself agrees by construction: this score is no evidence.";

const REASONS = {
  kept: "kept",
  dead: "never fired",
  constant: "same value everywhere",
  no_partner: "no partner with a correlation",
  min_active: "fired on too few tokens",
  min_correlation: "correlation too low",
  one_to_one: "partner taken",
  non_concept: "punctuation, space or special tokens",
  shared_token: "no strong token in common",
  beyond_chance: "not above chance",
  min_within: "too little left given the " + (data.given || "token"),
  mutual: "does not pick back",
};
const reason = (name) => REASONS[name] || name.replace(/_/g, " ");

const COLUMNS = [
  ["r", "Pearson correlation of the two activations over every token of the corpus."],
  ["margin", "How far the best partner is ahead of the second best. A small margin means that the choice between them is open."],
  ["chance", "What the best partner of this latent reaches when the other side’s rows come from other documents (document-rotated null)."],
  ["q", Q_WORDS],
  ["given", "Correlation of what is left when only rows of one token (or what the run was asked to hold fast) are compared. Near 0: both latents fire on that token and share no more."],
  ["read out", "R² of the picking latent predicted from the other side’s raw activations; the verdict says what follows: matched, dropped (its best partner is like it, the filters drop the match), readable (the model has it, its SAE does not), faint, absent."],
  ["verdict", "Mutual: each is the other’s best. Otherwise the first filter that the match did not pass; partner taken: another latent matches the partner better (one to one)."],
];
