// Colors of heads and of weights. The eight of each list are told apart with every kind of color
// vision and have a contrast of 3 to 1; from the ninth head on they come again, as dashed lines.

const LIGHT_HEADS = [
  "#0f0fff", "#e15a0f", "#3c9669", "#d24bf0", "#780000", "#785a87", "#1e005a", "#3c001e",
];
const DARK_HEADS = [
  "#ffe100", "#b496ff", "#f04b0f", "#00ffd2", "#008796", "#b40fff", "#c3ff96", "#b45a4b",
];
function isDark() {
  return getComputedStyle(document.documentElement).colorScheme.includes("dark");
}
function headColor(head) {
  const colors = isDark() ? DARK_HEADS : LIGHT_HEADS;
  return colors[head % colors.length];
}
function headDash(head) { return head < LIGHT_HEADS.length ? [] : [5, 3]; }
function themeColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
