// How one weight comes about: the chosen word's query against every key, step by step.

function drawSteps() {
  const { queries, keys } = current(), { query, key, head } = chosen;
  options(byId("step_query"), numbered(queries), query);
  options(byId("step_key"), numbered(keys.slice(0, visible(query))), key);
  options(byId("step_head"), range(data.heads).map((i) => String(i + 1)), head);
  const isScaled = byId("scaled").checked, steps = stepsOf(head, query, isScaled);
  byId("no_vectors").hidden = steps !== null;
  byId("steps").hidden = steps === null;
  byId("weights_table").tBodies[0].replaceChildren();
  byId("product_table").tBodies[0].replaceChildren();
  if (!steps) return;
  drawWeights(steps, isScaled);
  drawProduct(steps);
  drawValueSum(steps);
}
let lastWeights = [];  // from which the bars grow or shrink to the new ones
function drawWeights({ q, products, scores, weights }, isScaled) {
  const { keys } = current(), { query, key, head } = chosen;
  byId("divided_head").textContent = isScaled ? `÷ √${q.length}` : "÷ 1";
  byId("models_head").hidden = isScaled;
  const rows = weights.map((computed, i) => {
    const cell = element("td", show(computed), { "data-weight": computed });
    const bar = barCell(computed, lastWeights[i]);
    const cells = [keys[i], show(products[i]), show(scores[i]), cell, bar];
    if (!isScaled) cells.push(show(weight(head, query, i)));
    const row = rowOf(cells, i === key ? { class: "chosen" } : {});
    row.onclick = () => choosePlace(query, i);
    return row;
  });
  byId("weights_table").tBodies[0].replaceChildren(...rows);
  lastWeights = weights;
  const gap = Math.max(...weights.map((w, i) => Math.abs(w - weight(head, query, i))));
  byId("models_note").textContent = isScaled ? agreement(gap) : "";
}
function agreement(gap) {
  const limit = gap < 0.00005 ? "0.00005" : gap.toFixed(5);
  return say(
    `These are the model's own weights, to within ${limit}.`,
    `モデル自身の重みとの差は ${limit} 以内です。`,
  );
}
function drawProduct({ q, products }) {
  const k = vector("key", chosen.head, chosen.key);
  byId("product_sum").textContent = `q · k = ${show(products[chosen.key])}`;
  const rows = [...q].map((x, i) => rowOf([i + 1, show(x), show(k[i]), show(x * k[i])]));
  byId("product_table").tBodies[0].replaceChildren(...rows);
}
function drawValueSum({ weights }) {
  const sum = new Float64Array(vector("value", chosen.head, 0).length);
  weights.forEach((w, i) => {
    vector("value", chosen.head, i).forEach((v, j) => { sum[j] += w * v; });
  });
  byId("value_sum").textContent = `(${[...sum].map((x) => x.toFixed(2)).join(", ")})`;
}
function listenToSteps() {
  byId("step_query").onchange = () => chooseWord("query", +byId("step_query").value);
  byId("step_key").onchange = () => choosePlace(chosen.query, +byId("step_key").value);
  byId("step_head").onchange = () => choose({ head: +byId("step_head").value });
  byId("scaled").onchange = () => choose({});
}
