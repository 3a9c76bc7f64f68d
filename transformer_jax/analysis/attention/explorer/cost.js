// Several heads, the same cost: multiplications of one sub-layer with d = 512.

const COST_WIDTH = 512, MOST_HEADS = 32;

// Returns the multiplications of h heads of a width over n words, by part.
function costOf(h, width, n) {
  return {
    projections: 4 * n * COST_WIDTH * h * width,
    scores: n * n * h * width,
    sums: n * n * h * width,
    exponentials: n * n * h,
  };
}
function drawCost() {
  const h = 2 ** byId("cost_h").value, n = +byId("cost_n").value;
  const isFull = byId("cost_full").checked;
  const width = isFull ? COST_WIDTH : COST_WIDTH / h, cost = costOf(h, width, n);
  byId("cost_h_out").textContent = `${h} × ${width}`;
  byId("cost_n_out").textContent = n;
  const spoken = say(`${h} heads of width ${width}`, `幅 ${width} のヘッド ${h} 個`);
  byId("cost_h").setAttribute("aria-valuetext", spoken);
  byId("cost_n").setAttribute("aria-valuetext", say(`${n} words`, `${n} 語`));
  const total = (c) => c.projections + c.scores + c.sums, one = total(costOf(1, COST_WIDTH, n));
  const scale = isFull ? MOST_HEADS * one : one;  // the whole width of a bar
  const row = (name, count, id) => {
    const numbers = [`${(count / 1e6).toFixed(2)} M`, `× ${(count / one).toFixed(2)}`];
    return rowOf([name, ...numbers, barCell(count / scale)], id ? { id } : {});
  };
  byId("cost_table").tBodies[0].replaceChildren(
    row(say("one head of 512", "幅 512 のヘッド1個"), one, "cost_one"),
    row("Q, K, V, O", cost.projections),
    row("Q Kᵀ", cost.scores),
    row(say("weights · V", "重み · V"), cost.sums),
    row(say("together", "合計"), total(cost), "cost_total"),
    row(say("softmax: exponentials", "ソフトマックスの指数計算"), cost.exponentials),
  );
}
