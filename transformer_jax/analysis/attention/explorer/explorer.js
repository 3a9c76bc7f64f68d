"use strict";
// The page's data (format: analysis/attention/page.py) and what is chosen. All text goes in as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const chosen = { attention: "cross", layer: data.layers - 1, heads: new Set(), query: null, key: null };
const byId = (id) => document.getElementById(id);
const SMALLEST_LINE = 0.02;  // weights below are not drawn
const ROW = 26, MAX_CELL = 24;

// --- Numbers: weights are shares of 65535; vectors are 32-bit floats. ---
let buffer = null;
async function unpack() {
  const bytes = Uint8Array.from(atob(data.packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  buffer = await new Response(stream).arrayBuffer();
}
function current() { return data.attentions[chosen.attention]; }
const cache = new Map();
function weightsOf(attention, layer, head) {
  const name = `${attention} ${layer} ${head}`;
  if (!cache.has(name)) {
    const { weights, queries, keys } = data.attentions[attention], size = queries.length * keys.length;
    const raw = new Uint16Array(buffer, weights + 2 * size * (layer * data.heads + head), size);
    cache.set(name, Float64Array.from(raw, (x) => x / 65535));
  }
  return cache.get(name);
}
function weight(head, query, key) { return weightsOf(chosen.attention, chosen.layer, head)[query * current().keys.length + key]; }
// A vector of the chosen layer, or null where the page has none. `kind` is "query", "key" or "value".
function vector(kind, head, place) {
  const packed = current().vectors[chosen.layer];
  if (!packed) return null;
  const { values, count, width } = packed[kind];
  return Float64Array.from(new Float32Array(buffer, values + 4 * width * (head * count + place), width));
}
function softmax(scores) {
  const top = Math.max(...scores), powers = scores.map((x) => Math.exp(x - top)), sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}
// What a query may look at: in the decoder, what stands before.
function visible(query) { return chosen.attention === "decoder" ? query + 1 : current().keys.length; }
function stepsOf(head, query, isScaled) {
  const q = vector("query", head, query);
  if (!q) return null;
  const products = [];
  for (let key = 0; key < visible(query); key++) {
    const k = vector("key", head, key);
    products.push(q.reduce((sum, x, i) => sum + x * k[i], 0));
  }
  const scores = products.map((x) => isScaled ? x / Math.sqrt(q.length) : x);
  return { q, products, scores, weights: softmax(scores) };
}

// --- Small helpers. ---
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function headColor(head) { return `hsl(${(head * 360 / data.heads + 215) % 360} 70% ${isDark() ? 65 : 42}%)`; }
function isDark() { return getComputedStyle(document.documentElement).colorScheme.includes("dark"); }
function selectedHeads() { return [...chosen.heads].sort((a, b) => a - b); }
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio; canvas.height = height * ratio;
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}
function perplexity(number) { return number === null ? "∞" : number.toFixed(3); }  // JSON has no infinity
function show(number) { return Math.abs(number) < 0.00005 ? "0" : number.toFixed(4); }
function options(select, labels, value) {
  select.replaceChildren(...labels.map((label, i) => element("option", label, { value: i })));
  select.value = Math.min(value ?? 0, labels.length - 1);
}
const numbered = (words) => words.map((word, i) => `${i + 1} ${word}`);

// --- Lines. ---
function drawWords() {
  for (const [id, words, side] of [["queries", current().queries, "query"], ["keys", current().keys, "key"]]) {
    byId(id).replaceChildren(...words.map((word, place) => {
      const button = element("button", word, { type: "button", "aria-pressed": "false", dir: "auto" });
      button.onmouseenter = button.onfocus = () => point(side, place);
      button.onmouseleave = button.onblur = () => point(null);
      const item = element("li"); item.append(button); return item;
    }));
  }
}
let pointed = { side: null, place: 0 };
function point(side, place = 0) { pointed = { side, place }; drawLines(); }
function drawLines() {
  const { queries, keys } = current(), height = ROW * Math.max(queries.length, keys.length);
  const context = sized(byId("lines_canvas"), 260, height);
  const heads = selectedHeads();
  context.lineWidth = 2;
  heads.forEach((head, number) => {
    context.strokeStyle = headColor(head);
    const shift = (number - (heads.length - 1) / 2) * Math.min(2, 14 / heads.length);
    const weights = weightsOf(chosen.attention, chosen.layer, head);
    for (let q = 0; q < queries.length; q++) for (let k = 0; k < keys.length; k++) {
      const w = weights[q * keys.length + k];
      if (w < SMALLEST_LINE || pointed.side === "query" && pointed.place !== q || pointed.side === "key" && pointed.place !== k) continue;
      context.globalAlpha = Math.min(1, w);
      context.beginPath(); context.moveTo(2, q * ROW + 12 + shift); context.lineTo(258, k * ROW + 12 + shift); context.stroke();
    }
  });
  for (const [id, side] of [["queries", "query"], ["keys", "key"]])
    byId(id).querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", String(pointed.side === side && pointed.place === i)));
  byId("lines_readout").textContent = pointed.side === null || !heads.length ? "" : describe();
}
function describe() {
  const { queries, keys } = current(), { side, place } = pointed, others = side === "query" ? keys : queries;
  const mean = others.map((_, i) => selectedHeads().reduce((sum, h) => sum + (side === "query" ? weight(h, place, i) : weight(h, i, place)), 0) / chosen.heads.size);
  const best = mean.map((w, i) => [w, i]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([w]) => w >= 0.01);
  return `${(side === "query" ? queries : keys)[place]} ${side === "query" ? "→" : "←"} ${best.map(([w, i]) => `${others[i]} ${(100 * w).toFixed(0)}%`).join(", ")}`;
}

// --- Heat maps. ---
function meanWeights(heads) {
  const size = current().queries.length * current().keys.length, mean = new Float64Array(size);
  for (const head of heads) weightsOf(chosen.attention, chosen.layer, head).forEach((w, i) => { mean[i] += w / heads.length; });
  return mean;
}
function paint(context, weights, rows, columns, cell, left, top) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  for (let q = 0; q < rows; q++) for (let k = 0; k < columns; k++) {
    const w = weights[q * columns + k];
    if (w < 0.004) continue;
    context.fillStyle = `rgba(${ink}, ${w})`;
    context.fillRect(left + k * cell, top + q * cell, cell, cell);
  }
}
const MAP = { left: 0, top: 0, cell: MAX_CELL, q: 0, k: 0 };
function drawMap() {
  const { queries, keys } = current(), style = getComputedStyle(document.documentElement);
  MAP.cell = Math.max(6, Math.min(MAX_CELL, 800 / Math.max(queries.length, keys.length)));
  const measure = byId("map").getContext("2d"), font = `${Math.max(8, Math.min(13, MAP.cell - 3))}px system-ui, sans-serif`;
  measure.font = font;
  const widest = (words) => Math.min(160, Math.max(...words.map((word) => measure.measureText(word).width))) + 8;
  MAP.left = widest(queries); MAP.top = widest(keys);
  const context = sized(byId("map"), MAP.left + keys.length * MAP.cell + 2, MAP.top + queries.length * MAP.cell + 2);
  context.font = font; context.fillStyle = style.getPropertyValue("--text"); context.textBaseline = "middle";
  queries.forEach((word, i) => { context.textAlign = "right"; context.fillText(word, MAP.left - 4, MAP.top + (i + .5) * MAP.cell, 160); });
  keys.forEach((word, i) => {
    context.save(); context.translate(MAP.left + (i + .5) * MAP.cell, MAP.top - 4); context.rotate(-Math.PI / 2); context.textAlign = "left"; context.fillText(word, 0, 0, 160); context.restore();
  });
  paint(context, meanWeights(selectedHeads()), queries.length, keys.length, MAP.cell, MAP.left, MAP.top);
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(MAP.left, MAP.top, keys.length * MAP.cell, queries.length * MAP.cell);
}
function readMap(q, k) {
  const { queries, keys } = current();
  MAP.q = Math.max(0, Math.min(queries.length - 1, q)); MAP.k = Math.max(0, Math.min(keys.length - 1, k));
  byId("map_readout").textContent = `${queries[MAP.q]} → ${keys[MAP.k]}: ${show(meanWeights(selectedHeads())[MAP.q * keys.length + MAP.k])}`;
}
function drawOverview() {
  const { queries, keys } = current(), grid = byId("overview"), cell = Math.max(1, Math.min(6, 72 / Math.max(queries.length, keys.length)));
  grid.style.gridTemplateColumns = `auto repeat(${data.heads}, max-content)`;
  const items = [element("span")];
  for (let head = 0; head < data.heads; head++) items.push(element("span", String(head + 1), { class: "label" }));
  for (let layer = 0; layer < data.layers; layer++) {
    items.push(element("span", String(layer + 1), { class: "label" }));
    for (let head = 0; head < data.heads; head++) {
      const button = element("button", undefined, { type: "button", "aria-label": `layer / 層 ${layer + 1}, head / ヘッド ${head + 1}` });
      const canvas = element("canvas", undefined, { "aria-hidden": "true" });
      paint(sized(canvas, keys.length * cell, queries.length * cell), weightsOf(chosen.attention, layer, head), queries.length, keys.length, cell, 0, 0);
      button.append(canvas);
      button.dataset.layer = layer; button.dataset.head = head;
      button.onclick = () => { chosen.layer = layer; chosen.heads = new Set([head]); byId("step_head").value = head; refresh(); };
      items.push(button);
    }
  }
  grid.replaceChildren(...items);
}
function markOverview() {
  byId("overview").querySelectorAll("button").forEach((button) =>
    button.setAttribute("aria-pressed", String(+button.dataset.layer === chosen.layer && chosen.heads.has(+button.dataset.head))));
}

// --- How one weight comes about. ---
function drawSteps() {
  const query = +byId("step_query").value, head = +byId("step_head").value, isScaled = byId("scaled").checked, { keys } = current();
  options(byId("step_key"), numbered(keys.slice(0, visible(query))), +byId("step_key").value);
  const key = +byId("step_key").value, steps = stepsOf(head, query, isScaled);
  byId("no_vectors").hidden = steps !== null; byId("steps").hidden = steps === null;
  if (!steps) return;
  byId("divided_head").textContent = isScaled ? `÷ √${steps.q.length}` : "÷ 1";
  byId("weights_table").tBodies[0].replaceChildren(...steps.weights.map((w, i) => {
    const row = element("tr", undefined, i === key ? { class: "chosen" } : {}), bar = element("span", "", { class: "bar" });
    bar.style.width = `${60 * w}px`;
    const cell = element("td", `${show(w)} `, { "data-weight": w }); cell.append(bar);
    row.append(element("td", keys[i]), element("td", show(steps.products[i])), element("td", show(steps.scores[i])), cell, element("td", show(weight(head, query, i))));
    return row;
  }));
  const k = vector("key", head, key);
  byId("product_sum").textContent = `q · k = ${show(steps.products[key])}`;
  byId("product_table").tBodies[0].replaceChildren(...[...steps.q].map((x, i) => {
    const row = element("tr");
    row.append(element("td", i + 1), element("td", show(x)), element("td", show(k[i])), element("td", show(x * k[i])));
    return row;
  }));
  const sum = new Float64Array(vector("value", head, 0).length);
  steps.weights.forEach((w, i) => vector("value", head, i).forEach((v, j) => { sum[j] += w * v; }));
  byId("value_sum").textContent = `(${[...sum].map((x) => x.toFixed(2)).join(", ")})`;
}

// --- Importance and cost. ---
function drawImportance() {
  byId("importance_section").hidden = !data.importance;
  if (!data.importance) return;
  const table = element("table"), body = table.createTBody(), head = table.createTHead().insertRow();
  for (const title of ["", "importance / 重要度", "perplexity without / 無しの値"]) head.append(element("th", title, { scope: "col" }));
  const rows = data.importance.heads.filter((row) => row.attention === chosen.attention), top = Math.max(...data.importance.heads.map((row) => row.importance));
  for (const row of rows.sort((a, b) => b.importance - a.importance)) {
    const line = body.insertRow(), bar = element("span", "", { class: "bar" });
    bar.style.width = `${120 * row.importance / top}px`;
    const cell = element("td", `${show(row.importance)} `); cell.append(bar);
    line.append(element("td", `${row.layer + 1}.${row.head + 1}`), cell, element("td", perplexity(row.masked_perplexity)));
  }
  byId("importance").replaceChildren(element("p", `perplexity ${perplexity(data.importance.perplexity)}`), table);
}
function drawCost() {
  const d = 512, h = 2 ** byId("cost_h").value, n = +byId("cost_n").value, width = byId("cost_full").checked ? d : d / h;
  byId("cost_h_out").textContent = `${h} × ${width}`; byId("cost_n_out").textContent = n;
  const rows = [["Q, K, V, O", 4 * n * d * h * width], ["Q Kᵀ", n * n * h * width], ["weights · V", n * n * h * width]];
  const total = rows.reduce((sum, [, count]) => sum + count, 0);
  rows.push(["Σ", total], ["softmax", n * n * h]);
  const one = 4 * n * d * d + 2 * n * n * d;
  byId("cost_table").tBodies[0].replaceChildren(...rows.map(([name, count]) => {
    const row = element("tr"), bar = element("span", "", { class: "bar" }), cell = element("td");
    bar.style.width = `${Math.min(600, 150 * count / one)}px`; cell.append(bar);
    row.append(element("td", name), element("td", `${(count / 1e6).toFixed(2)} M`), cell);
    if (name === "Σ") row.id = "cost_total";
    return row;
  }));
}

// --- Choices. ---
function refreshAttention() {
  const { queries, keys } = current();
  options(byId("step_query"), numbered(queries), Math.min(queries.length - 1, 1));
  options(byId("step_key"), numbered(keys), 0);
  drawWords(); drawOverview(); drawImportance(); refresh();
}
function refresh() {
  byId("layer").value = chosen.layer;
  byId("heads").querySelectorAll("input").forEach((box, head) => { box.checked = chosen.heads.has(head); });
  pointed.side = null;
  drawLines(); drawMap(); markOverview(); drawSteps();
}
function redraw() { buildHeads(); drawOverview(); refresh(); }
function buildHeads() {
  byId("heads").replaceChildren(...Array.from({ length: data.heads }, (_, head) => {
    const label = element("label"), box = element("input", undefined, { type: "checkbox" }), swatch = element("span", "", { class: "swatch" });
    swatch.style.background = headColor(head);
    box.onchange = () => { box.checked ? chosen.heads.add(head) : chosen.heads.delete(head); refresh(); };
    label.append(box, swatch, String(head + 1));
    return label;
  }));
}
async function start() {
  await unpack();
  byId("sentence").textContent = `${data.source_text} → ${data.target_text}`;
  options(byId("layer"), Array.from({ length: data.layers }, (_, i) => String(i + 1)), chosen.layer);
  options(byId("step_head"), Array.from({ length: data.heads }, (_, i) => String(i + 1)), 0);
  for (let head = 0; head < data.heads; head++) chosen.heads.add(head);
  buildHeads();
  document.querySelectorAll("input[name=attention]").forEach((radio) => { radio.onchange = () => { chosen.attention = radio.value; refreshAttention(); }; });
  byId("controls").onsubmit = () => false;
  byId("layer").onchange = () => { chosen.layer = +byId("layer").value; refresh(); };
  byId("all_heads").onclick = () => { for (let head = 0; head < data.heads; head++) chosen.heads.add(head); refresh(); };
  byId("one_head").onclick = () => { chosen.heads = new Set([0]); refresh(); };
  for (const id of ["step_query", "step_head", "step_key", "scaled"]) byId(id).onchange = drawSteps;
  for (const id of ["cost_h", "cost_n", "cost_full"]) byId(id).oninput = drawCost;
  const map = byId("map");
  map.onmousemove = (event) => readMap(Math.floor((event.offsetY - MAP.top) / MAP.cell), Math.floor((event.offsetX - MAP.left) / MAP.cell));
  map.onkeydown = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (move) { event.preventDefault(); readMap(MAP.q + move[0], MAP.k + move[1]); }
  };
  byId("language").onclick = () => {
    document.documentElement.lang = document.documentElement.lang === "en" ? "ja" : "en";
    byId("language").textContent = document.documentElement.lang === "en" ? "日本語" : "English";
  };
  byId("theme").onclick = () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; redraw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  refreshAttention(); drawCost();
  document.documentElement.dataset.ready = "true";
}
start();
