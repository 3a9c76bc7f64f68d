// Switches that act on the model: heads, and the division by √d_k. Old and new output side by side.

function allHeads() {
  const { layers, heads } = asked.engine.facts;
  return ["encoder", "decoder", "cross"].flatMap((attention) =>
    range(layers).flatMap((layer) => range(heads).map((head) => [attention, layer, head])));
}
// Returns a head's name, such as "cross-2-3" for the third head of the second layer.
function nameOf([attention, layer, head]) { return `${attention}-${layer + 1}-${head + 1}`; }
function isClosed(head) { return asked.switches.closed.some((other) => nameOf(other) === nameOf(head)); }

function buildHeadSwitches() {
  const { layers, heads } = asked.engine.facts;
  byId("switches").open = 3 * layers * heads <= 48;
  const top = element("tr");
  top.append(element("td", ""), ...range(heads).map((head) =>
    element("th", String(head + 1), { scope: "col" })));
  const rows = ["encoder", "decoder", "cross"].flatMap((attention) =>
    range(layers).map((layer) => {
      const row = element("tr", undefined, { "data-attention": attention, "data-layer": layer });
      row.append(element("th", "", { scope: "row" }), ...range(heads).map((head) =>
        headSwitch([attention, layer, head])));
      return row;
    }));
  byId("head_switches").replaceChildren(top, ...rows);
}
function headSwitch(head) {
  const cell = element("td"), box = element("input", undefined, { type: "checkbox" });
  box.dataset.head = nameOf(head);
  box.onchange = () => {
    const others = asked.switches.closed.filter((other) => nameOf(other) !== nameOf(head));
    setSwitches({ closed: box.checked ? others : [...others, head] });
  };
  cell.append(box);
  return cell;
}

function drawSwitches() {
  const names = {
    encoder: say("encoder", "エンコーダ"),
    decoder: say("decoder", "デコーダ"),
    cross: say("cross", "クロス"),
  };
  for (const row of byId("head_switches").querySelectorAll("tr[data-attention]")) {
    const { attention, layer } = row.dataset, number = +layer + 1;
    const title = say(`${names[attention]}, layer ${number}`, `${names[attention]} 第${number}層`);
    row.querySelector("th").textContent = title;
    row.querySelectorAll("input").forEach((box, head) => {
      box.checked = !isClosed([attention, +layer, head]);
      box.setAttribute("aria-label", say(`${title}, head ${head + 1}`, `${title} ヘッド${head + 1}`));
    });
  }
  byId("unscaled").checked = !asked.switches.is_scaled;
  byId("all_on").disabled = !isChanged();
}

// Shows the translation of the unchanged model above the changed one's; what differs is marked.
async function drawComparison() {
  const box = byId("compare"), { trained } = asked;
  box.hidden = !trained || !isChanged();
  if (box.hidden) return;
  const [old, now] = [await asked.engine.decode(trained), await asked.engine.decode(outputIds())];
  const verdict = old === now
    ? say("With these switches: the same", "このスイッチでは：同じ")
    : say("With these switches", "このスイッチでは");
  box.replaceChildren(
    element("dt", say("As trained", "訓練されたまま")), marked(old, now),
    element("dt", verdict), marked(now, old));
}
// Returns a text in which the words that another lacks are marked.
function marked(text, other) {
  const place = element("dd", undefined, { dir: "auto" }), known = other.split(" ");
  text.split(" ").forEach((word, i) => {
    if (i) place.append(" ");
    const at = known.indexOf(word);
    if (at < 0) place.append(element("mark", word));
    else { known.splice(at, 1); place.append(word); }
  });
  return place;
}
