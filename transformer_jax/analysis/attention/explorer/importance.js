// What each head is worth, where `heads` has measured it.

function drawImportance() {
  byId("importance_section").hidden = !data.importance;
  if (!data.importance) return;
  const rows = data.importance.heads.map((row) => ({ ...row, rise: riseWithout(row) }));
  const top = Math.max(...rows.map((row) => row.rise)), own = rows.filter(isOfAttention);
  const table = element("table"), body = table.createTBody();
  const head = table.createTHead().insertRow();
  for (const title of importanceTitles()) head.append(element("th", title, { scope: "col" }));
  head.cells[2].className = "bars";
  for (const row of own.sort((a, b) => b.rise - a.rise)) body.append(importanceRow(row, top));
  const box = element("div", undefined, {
    class: "scroll", tabindex: 0, role: "group", "aria-labelledby": "importance_title",
  });
  box.append(table);
  byId("importance").replaceChildren(element("p", importanceText(rows)), box);
}
function isOfAttention(row) { return row.attention === chosen.attention; }
// Returns by how much the log-perplexity rises without the head, nats.
function riseWithout(row) {
  const perplexities = [row.masked_perplexity, data.importance.perplexity];
  if (perplexities.includes(null)) return perplexities[0] === perplexities[1] ? 0 : Infinity;
  return Math.log(perplexities[0] / perplexities[1]);
}
function importanceTitles() {
  return [
    say("head", "ヘッド"), say("perplexity without it", "外したときのパープレキシティ"),
    say("rise", "上昇"), say("guessed by gradient", "勾配による推定"),
  ];
}
function importanceRow(row, top) {
  const share = row.rise === top ? 1 : Math.max(0, row.rise / top) || 0;
  const name = element("button", `${row.layer + 1}.${row.head + 1}`, {
    type: "button", id: `worth_${row.layer}_${row.head}`,
  });
  name.onclick = () => {
    choose({ layer: row.layer, head: row.head, heads: new Set([row.head]) });
    byId(name.id).focus();  // the table has been drawn anew
  };
  const cell = element("td");
  cell.append(name);
  const isChosen = row.layer === chosen.layer && row.head === chosen.head;
  const cells = [cell, perplexity(row.masked_perplexity), barCell(share), guess(row.importance)];
  return rowOf(cells, isChosen ? { class: "chosen" } : {});
}
function guess(number) { return number === null ? "–" : show(number); }
function importanceText(rows) {
  const spared = rows.filter((row) => row.rise < Math.log(1.01)).length;
  const whole = perplexity(data.importance.perplexity);
  const english = `With all heads: perplexity ${whole}. ${spared} of ${rows.length} heads can be `
    + "closed by themselves with a rise of less than 1%.";
  const japanese = `全ヘッドありの perplexity ${whole}。${rows.length} 個のうち ${spared} 個は、`
    + "単独で外しても上昇が1%未満です。";
  const agreement = data.importance.rank_correlation;
  if (typeof agreement !== "number") return say(english, japanese);
  const digits = agreement.toFixed(2);
  return say(
    `${english} Rank correlation of the gradient's guess with the measured rise: ${digits}.`,
    `${japanese}勾配による推定と実測の順位相関は ${digits} です。`,
  );
}
