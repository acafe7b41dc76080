"use strict";
// What the other files stand on: the data, the state, elements, numbers and texts. Texts of the corpus are put into the page
// as text nodes only.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

const state = {
  pair: data.first_pair,
  score: data.first_score ? { measure: data.first_score[0], pairing: data.first_score[1], subset: data.first_score[2] } : null,
  direction: 0,
  query: "",
  verdict: "kept",
  label: "",
  category: "",
  readout: "",
  sort: { key: "r", down: true },
  page: 0,
  open: new Set(),
  colour: "",
  onlyLabel: -1,
  lit: null,
};

/** An element with attributes (functions listen, null and false are left out) and children (texts become text). */
function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "style" && typeof value === "object") {
      for (const [property, v] of Object.entries(value)) node.style.setProperty(property, v);
    } else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Replaces what an element holds. */
function put(id, ...children) {
  byId(id).replaceChildren(...children.flat(Infinity).filter((c) => c !== null));
}

function options(select, list, chosen) {
  select.replaceChildren(...list.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

// numbers

const known = (x) => x !== null && x !== undefined;
const thousands = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
// 0 has no sign
const fixed = (x, digits) => (known(x) ? x.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "\u2212") : "–");
const percent = (x) => (known(x) ? (100 * x).toFixed(x < 0.1 ? 1 : 0) + "\u00a0%" : "–");

/** A probability: three digits, small ones as powers of ten. */
function chance(p) {
  if (!known(p)) return "–";
  if (p === 0) return "0";
  if (p >= 0.00095) return p.toFixed(3);
  const [digits, power] = p.toExponential(1).split("e");
  return digits + "·10" + String(Number(power)).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
}

// places

const manyModels = (side) => new Set(data.pairs.map((p) => data.sites[p[side]].model)).size > 1;
const siteName = (s) => data.sites[s].model + "/" + data.sites[s].hookpoint;
const pairName = (p) => data.pairs[p].map(siteName).join(" × ");

// texts

// line ends and tabs have pictures, control characters too; what turns the direction of text or has no width is named
function seen(c) {
  const code = c.codePointAt(0);
  if (c === "\n") return "⏎";
  if (c === "\t") return "⇥";
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  if (code === 127) return "␡";
  return "‹U+" + code.toString(16).toUpperCase().padStart(4, "0") + "›";
}
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/u;

/** The nodes of a text from the corpus. */
function readable(text) {
  const nodes = [];
  let plain = "";
  for (const c of text) {
    if (!UNSEEN.test(c)) { plain += c; continue; }
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(el("span", { class: "ctl" }, seen(c)));
    if (c === "\n") plain = "\u200b"; // a line may break here
  }
  if (plain) nodes.push(plain);
  return nodes;
}

/** A token: the space before or after it can be seen. */
function token(text) {
  const [, before, middle, after] = text.match(/^( *)([^]*?)( *)$/);
  const space = (s) => (s ? el("span", { class: "sp" }, "·".repeat(s.length)) : null);
  return el("span", { class: "tok" }, space(before), readable(middle), space(after));
}

/** As it is said in a sentence. */
const said = (text) => "“" + [...text].map((c) => (UNSEEN.test(c) ? seen(c) : c)).join("") + "”";

/** Where a latent stands in its site's lists; −1 when it is not shown. */
function place(site, latent) {
  const list = data.sites[site].latent;
  let low = 0, high = list.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (list[middle] === latent) return middle;
    if (list[middle] < latent) low = middle + 1; else high = middle - 1;
  }
  return -1;
}

function tokensOf(site, latent) {
  const k = place(site, latent);
  return k < 0 ? [] : data.sites[site].tokens[k].map((t) => data.tokens[t]);
}

/** Shares of a latent's labelled firings, the largest first: [[value number, share], …]; empty without labels. */
function sharesOf(site, latent, field) {
  const k = place(site, latent);
  const values = data.labels[field] ? data.labels[field].values : [];
  const before = data.labels.slice(0, field).reduce((n, l) => n + l.values.length, 0);
  if (k < 0 || !values.length) return [];
  const counts = values.map((_, v) => data.sites[site].labels[k][before + v]);
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return [];
  return counts.map((n, v) => [v, n / total]).filter((s) => s[1] > 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

const colourOf = (v) => `var(--c${v % 8})`;

// drawing

/** Calls `draw(width)` now and whenever the element gets another width. */
const drawings = new Map();
const watcher = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const drawing = drawings.get(entry.target);
    const width = Math.round(entry.contentRect.width);
    if (drawing && width > 0 && width !== drawing.width) { drawing.width = width; drawing.draw(width); }
  }
});
function drawIn(id, draw) {
  const box = typeof id === "string" ? byId(id) : id;
  const width = Math.round(box.clientWidth) || 320;
  drawings.set(box, { draw, width });
  watcher.observe(box);
  draw(width);
}

/** Three to six round numbers from `low` to `high`. */
function ticks(low, high) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => span / s <= 5);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(k * step);
  return out;
}

// a note beside the pointer or the focus
function help(text) {
  const button = el("button", { type: "button", class: "help", "aria-label": "What is this? " + text }, "?");
  return noted(button, text);
}

function noted(node, text) {
  const show = () => {
    const tip = byId("tip");
    tip.textContent = text;
    tip.hidden = false;
    const at = node.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - size.width - 8);
    const below = at.bottom + 6 + size.height < window.innerHeight;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = (below ? at.bottom + 6 : at.top - size.height - 6) + window.scrollY + "px";
  };
  const hide = () => { byId("tip").hidden = true; };
  node.addEventListener("pointerenter", show);
  node.addEventListener("focus", show);
  node.addEventListener("pointerleave", hide);
  node.addEventListener("blur", hide);
  return node;
}
document.addEventListener("keydown", (e) => { if (e.key === "Escape") byId("tip").hidden = true; });
