// Small helpers: elements, numbers as text, the reader's language. Text stays text, never HTML.

const byId = (id) => document.getElementById(id);
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function options(select, labels, value) {
  select.replaceChildren(...labels.map((label, i) => element("option", label, { value: i })));
  select.value = Math.max(0, Math.min(value, labels.length - 1));
}
// Returns a table row; a cell is a text or an element.
function rowOf(cells, attributes = {}) {
  const row = element("tr", undefined, attributes);
  for (const cell of cells) {
    if (cell instanceof HTMLTableCellElement) row.append(cell);
    else row.append(element("td", cell));
  }
  return row;
}
// Returns a cell with a bar of a share of its width, from 0 to 1; it moves there from `before`.
function barCell(share, before = share) {
  const cell = element("td", undefined, { class: "bars" });
  const bar = element("span", "", { class: "bar" });
  bar.style.width = `${100 * before}%`;
  if (before !== share) requestAnimationFrame(() => requestAnimationFrame(() => {
    bar.style.width = `${100 * share}%`;
  }));
  cell.append(bar);
  return cell;
}

function language() { return document.documentElement.lang; }
function say(english, japanese) { return language() === "ja" ? japanese : english; }
function show(number) { return Math.abs(number) < 0.00005 ? "0" : number.toFixed(4); }
function perplexity(number) { return number === null ? "∞" : number.toFixed(3); }  // JSON has no ∞
const numbered = (words) => words.map((word, i) => `${i + 1} ${word}`);
const range = (count) => Array.from({ length: count }, (_, i) => i);
function headsText(heads) {
  const names = heads.map((head) => head + 1).join(", ");
  if (!heads.length) return say("no head is chosen", "ヘッドが選ばれていません");
  if (heads.length === 1) return say(`head ${names}`, `ヘッド ${names}`);
  return say(`mean of heads ${names}`, `ヘッド ${names} の平均`);
}

// Lets the arrow keys move within a group of buttons that is one stop of Tab; `columns` in a row.
function moveByArrows(container, buttons, columns = 1) {
  buttons.forEach((button, i) => { button.tabIndex = i === 0 ? 0 : -1; });
  container.onfocusin = (event) => {
    buttons.forEach((button) => { button.tabIndex = button === event.target ? 0 : -1; });
  };
  container.onkeydown = (event) => {
    const here = buttons.indexOf(event.target);
    const steps = {
      ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1,
      Home: -here, End: buttons.length - 1 - here,
    };
    const next = here < 0 ? undefined : buttons[here + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  };
}
