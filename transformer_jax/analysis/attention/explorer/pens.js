// Two pens with the same strokes: one draws on a canvas of the page, the other writes SVG.

class CanvasPen {
  constructor(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    this.context = canvas.getContext("2d");
    this.context.scale(ratio, ratio);
  }
  line(x1, y1, x2, y2, { color, opacity = 1, width = 2, dash = [] }) {
    const context = this.context;
    context.strokeStyle = color;
    context.globalAlpha = opacity;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x1, y1);
    const middle = (x1 + x2) / 2;
    context.bezierCurveTo(middle, y1, middle, y2, x2, y2);
    context.stroke();
    context.globalAlpha = 1;
  }
  box(x, y, width, height, { color, opacity = 1 }) {
    this.context.globalAlpha = opacity;
    this.context.fillStyle = color;
    this.context.fillRect(x, y, width, height);
    this.context.globalAlpha = 1;
  }
  // A matrix of cells, each as opaque as its strength: painted as one picture of a pixel a cell.
  cells(strengths, rows, columns, side, x, y, color) {
    if (!rows || !columns) return;
    const image = new ImageData(columns, rows), small = new OffscreenCanvas(columns, rows);
    const rgb = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
    strengths.forEach((strength, i) => {
      image.data.set([...rgb, Math.round(255 * strength)], 4 * i);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = side < 1;
    this.context.drawImage(small, x, y, columns * side, rows * side);
  }
  frame(x, y, width, height, { color, thickness = 1 }) {
    this.context.setLineDash([]);
    this.context.strokeStyle = color;
    this.context.lineWidth = thickness;
    this.context.strokeRect(x, y, width, height);
  }
  text(text, x, y, { color, size = 13, align = "left", turned = false, limit = 400 }) {
    const context = this.context;
    context.save();
    context.fillStyle = color;
    context.font = `${size}px ${themeColor("--font")}`;
    context.textBaseline = "middle";
    context.textAlign = align;
    context.translate(x, y);
    if (turned) context.rotate(-Math.PI / 2);
    context.fillText(text, 0, 0, limit);
    context.restore();
  }
}

// The name of SVG, in two parts, as the page names no address that it could load.
const SVG_NAMES = "http:" + "//www.w3.org/2000/svg";

class SvgPen {
  constructor(width, height, back) {
    this.root = null;
    this.root = this.make("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    this.box(0, 0, width, height, { color: back });
  }
  make(tag, attributes, text) {
    const made = document.createElementNS(SVG_NAMES, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    this.root?.append(made);
    return made;
  }
  line(x1, y1, x2, y2, { color, opacity = 1, width = 2, dash = [] }) {
    const middle = (x1 + x2) / 2;
    const d = `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
    this.make("path", {
      d, stroke: color, "stroke-opacity": opacity, "stroke-width": width,
      "stroke-dasharray": dash.join(" ") || "none", fill: "none",
    });
  }
  box(x, y, width, height, { color, opacity = 1 }) {
    this.make("rect", { x, y, width, height, fill: color, "fill-opacity": opacity });
  }
  cells(strengths, rows, columns, side, x, y, color) {
    strengths.forEach((opacity, i) => {
      const left = x + i % columns * side, top = y + Math.floor(i / columns) * side;
      if (opacity >= 0.004) this.box(left, top, side, side, { color, opacity });
    });
  }
  frame(x, y, width, height, { color, thickness = 1 }) {
    const stroke = { fill: "none", stroke: color, "stroke-width": thickness };
    this.make("rect", { x, y, width, height, ...stroke });
  }
  text(text, x, y, { color, size = 13, align = "left", turned = false }) {
    const anchor = { left: "start", right: "end", center: "middle" }[align];
    const attributes = {
      x, y, fill: color, "font-size": size, "font-family": themeColor("--font"),
      "text-anchor": anchor, "dominant-baseline": "central",
    };
    if (turned) attributes.transform = `rotate(-90 ${x} ${y})`;
    this.make("text", attributes, text);
  }
}
