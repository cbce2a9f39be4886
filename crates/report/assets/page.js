"use strict";
// Draws the figures of the page from the data in it. Nothing is loaded.
const data = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";

function svg(parent, name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function html(parent, name, attributes, text) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function short(value) {
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-3 && size < 1e5)) return String(+value.toPrecision(4));
  if (size >= 1e5 && size < 1e14) {
    const power = Math.floor(Math.log10(size) / 3);
    return `${+(value / 1000 ** power).toPrecision(4)} ${["", "k", "M", "G", "T"][power]}`;
  }
  return value.toExponential(2);
}

// Ticks at 1, 2 or 5 times a power of ten.
function ticks(low, high, most) {
  const step = [1, 2, 5, 10].map(f => f * 10 ** Math.floor(Math.log10((high - low) / most)))
    .find(step => (high - low) / step <= most) || high - low;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9 && found.length < 50; k++) found.push(k * step);
  return found;
}

function range(values, margin) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (!(high >= low)) return [0, 1];
  const room = high > low ? margin * (high - low) : Math.abs(high) / 2 || 0.5;
  return [low - room, high + room];
}

function plotOf(figure) {
  const plot = figure.querySelector(".plot");
  plot.replaceChildren();
  return plot;
}

function lineChart(figure, spec) {
  const plot = plotOf(figure), legend = html(plot, "p", { class: "legend" });
  const width = Math.max(260, plot.clientWidth), height = Math.min(300, 170 + width / 6), left = 58, bottom = 36;
  const root = svg(plot, "svg", { width, height, role: "img", "aria-label": figure.querySelector("figcaption").textContent });
  const points = spec.series.flatMap(series => series.points), bands = spec.bands || [];
  const all = points.map(point => point[1]).concat(bands.flatMap(band => band.points.flatMap(point => [point[1], point[2]])));
  const xs = range(points.map(point => point[0]), 0), ys = range(all, 0.06);
  if (xs[0] === xs[1]) { xs[0] -= 0.5; xs[1] += 0.5; }
  const x = value => left + (value - xs[0]) / (xs[1] - xs[0]) * (width - left - 12);
  const y = value => 8 + (ys[1] - value) / (ys[1] - ys[0]) * (height - bottom - 8);
  for (const value of ticks(ys[0], ys[1], 6)) {
    svg(root, "line", { class: "axis", x1: left, x2: width - 12, y1: y(value), y2: y(value) });
    svg(root, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value) + (spec.unit || ""));
  }
  // There is no half round.
  for (const value of ticks(xs[0], xs[1], Math.floor(width / 70)).filter(value => spec.x || Number.isInteger(value))) {
    svg(root, "text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, spec.x ? short(value) : value);
  }
  svg(root, "text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, spec.x || "round");
  for (const band of bands) {
    const there = band.points.map(point => `${x(point[0])},${y(point[1])}`);
    const back = band.points.slice().reverse().map(point => `${x(point[0])},${y(point[2])}`);
    svg(root, "polygon", { class: "band", points: there.concat(back).join(" "), fill: `var(--c${band.colour})` });
  }
  const values = spec.series.map(series => {
    const colour = `var(--c${series.colour})`, place = series.points.map(point => `${x(point[0])},${y(point[1])}`).join(" ");
    svg(root, "polyline", { class: "line", points: place, stroke: colour });
    if (series.points.length <= 40) for (const point of series.points) svg(root, "circle", { cx: x(point[0]), cy: y(point[1]), r: 2.5, fill: colour });
    const item = html(legend, "span", {});
    html(item, "i", { style: `background:${colour}` });
    item.append(series.name + " ");
    return html(item, "b", {}, short(series.points[series.points.length - 1][1]) + (spec.unit || ""));
  });
  for (const band of bands) {
    const item = html(legend, "span", {});
    html(item, "i", { style: `background:var(--c${band.colour});opacity:.3` });
    item.append(band.name);
  }
  const rule = svg(root, "line", { class: "axis", y1: 8, y2: height - bottom, x1: -9, x2: -9 });
  root.addEventListener("pointermove", event => {
    const at = xs[0] + (event.offsetX - left) / (width - left - 12) * (xs[1] - xs[0]);
    spec.series.forEach((series, index) => {
      const near = series.points.reduce((best, point) => Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best);
      values[index].textContent = `${short(near[1])}${spec.unit || ""} (${spec.x ? short(near[0]) : near[0]})`;
      rule.setAttribute("x1", x(near[0])); rule.setAttribute("x2", x(near[0]));
    });
  });
}

// A heat map: rows from top to bottom, of which each cell has a share of the greatest value.
function heatMap(figure, spec) {
  const plot = plotOf(figure), rows = spec.values.length, columns = spec.values[0].length;
  const longest = Math.max(...spec.rows.map(row => String(row).length));
  const width = Math.max(260, plot.clientWidth), left = Math.min(width / 3, 18 + 6.6 * longest), right = 8;
  const cell = Math.min(spec.square ? 44 : 90, (width - left - right) / columns);
  const high = Math.max(5, Math.min(spec.square ? cell : 26, 640 / rows)), bottom = 40;
  const height = rows * high + bottom + 4;
  const root = svg(plot, "svg", { width, height, role: "img", "aria-label": figure.querySelector("figcaption").textContent });
  const [low, most] = spec.range || [0, Math.max(...spec.values.flat(), 1e-300)];
  spec.values.forEach((row, r) => {
    if (r % Math.ceil(13 / high) === 0) svg(root, "text", { x: left - 6, y: r * high + high / 2 + 4, "text-anchor": "end" }, spec.rows[r]);
    row.forEach((value, c) => {
      if (value === null) return;
      const share = most > low ? (value - low) / (most - low) : 1;
      const shown = value === 0 && !spec.range ? 0 : 0.07 + 0.93 * Math.max(0, Math.min(1, share));
      const box = svg(root, "rect", { x: left + c * cell, y: r * high, width: cell, height: high, fill: "var(--heat)", "fill-opacity": shown.toFixed(3), stroke: "var(--panel)", "stroke-width": cell > 6 && high > 8 ? 1 : 0 });
      svg(box, "title", {}, spec.title.replace("{row}", spec.rows[r]).replace("{column}", spec.columns[c]).replace("{value}", short(value) + (spec.unit || "")));
      const text = spec.unit ? value.toFixed(0) : short(value);
      if (spec.text && cell >= 7.2 * text.length + 4 && high >= 14) {
        svg(root, "text", { x: left + (c + 0.5) * cell, y: r * high + high / 2 + 4, "text-anchor": "middle", style: `fill:var(--${shown > 0.55 ? "panel" : "ink"});pointer-events:none` }, text);
      }
    });
  });
  svg(root, "rect", { x: left, y: 0, width: columns * cell, height: rows * high, class: "axis" });
  const every = Math.ceil((8 + 7 * Math.max(...spec.columns.map(column => String(column).length))) / cell);
  spec.columns.forEach((column, c) => {
    if (c % every === 0) svg(root, "text", { x: left + (c + 0.5) * cell, y: rows * high + 16, "text-anchor": "middle" }, column);
  });
  svg(root, "text", { x: left + columns * cell / 2, y: rows * high + 34, "text-anchor": "middle" }, spec.x);
}

const COLOURS = {
  request: "var(--c0)", reply: "var(--c1)", epoch: "var(--c2)", work: "var(--c5)", phase: "var(--c3)",
  checkpoint: "var(--c4)", crash: "var(--bad)", start: "var(--ink)", end: "var(--soft)",
};
const MARKS = { request: "message to the client", reply: "message to the host", epoch: "local epoch", work: "other work", phase: "phase of the host", checkpoint: "checkpoint", crash: "crash", start: "process started", end: "process ended" };
let zoom = 1;

function micros(time) {
  if (time >= 1e6) return `${+(time / 1e6).toFixed(2)} s`;
  return time >= 1000 ? `${+(time / 1000).toFixed(2)} ms` : `${time} µs`;
}

function timeline(figure, span) {
  const LANE = 36, RULER = 22, names = figure.querySelector(".names"), scroll = figure.querySelector(".scroll");
  const kept = scroll.scrollLeft / (scroll.scrollWidth || 1);
  names.replaceChildren(); scroll.replaceChildren();
  html(names, "div", { class: "ruler" }, micros(span.end - span.start));
  span.lanes.forEach(lane => html(names, "div", {}, lane.name));
  const width = Math.max(300, scroll.clientWidth) * zoom, height = RULER + LANE * span.lanes.length + 2;
  const root = svg(scroll, "svg", { width, height, role: "img", "aria-label": "timeline" });
  const x = at => (at - span.start) / Math.max(1, span.end - span.start) * (width - 4) + 2;
  for (const value of ticks(0, span.end - span.start, Math.floor(width / 110))) {
    svg(root, "line", { class: "axis", x1: x(span.start + value), x2: x(span.start + value), y1: RULER - 4, y2: height });
    if (x(span.start + value) < width - 56) svg(root, "text", { x: x(span.start + value) + 3, y: 13 }, micros(Math.round(value)));
  }
  const detail = document.getElementById("detail");
  span.lanes.forEach((lane, index) => {
    const top = RULER + index * LANE;
    svg(root, "line", { class: "axis", x1: 0, x2: width, y1: top + LANE - 1, y2: top + LANE - 1 });
    for (const [kind, from, until, text] of lane.marks) {
      const [y, high] = { request: [3, 7], reply: [25, 7], epoch: [11, 13], work: [11, 13] }[kind] || [6, 22];
      let node;
      if (kind === "crash" || kind === "start" || kind === "end") {
        node = svg(root, "path", { d: kind === "start" ? `M${x(from)} ${top + 6}l7 9l-7 9z` : `M${x(from) - 6} ${top + 9}l12 14m0 -14l-12 14`, stroke: COLOURS[kind], "stroke-width": kind === "start" ? 1 : 3, fill: kind === "start" ? COLOURS[kind] : "none" });
      } else {
        node = svg(root, "rect", { x: x(from), y: top + y, width: Math.max(2, x(until) - x(from) - (kind === "phase" ? 1 : 0)), height: high, rx: 1.5, fill: COLOURS[kind], "fill-opacity": kind === "work" ? 0.55 : 1 });
        // A thin line shows the way of a message between the host and the process.
        const down = kind === "request" ? from : until;
        if (span.lanes.length <= 14 && (kind === "request" || kind === "reply")) {
          svg(root, "line", { x1: x(down), x2: x(down), y1: RULER + 28, y2: top + y, stroke: COLOURS[kind], "stroke-opacity": 0.35 });
        }
      }
      // A wide phase has its name in it.
      const word = text.split(",")[0];
      if (kind === "phase" && x(until) - x(from) > 7 * word.length + 6) {
        svg(root, "text", { x: (x(from) + x(until)) / 2, y: top + 21, "text-anchor": "middle", style: "fill:var(--panel);pointer-events:none" }, word);
      }
      node.classList.add("mark");
      const words = `${lane.name}: ${text}, ${micros(from - span.start)}${until > from ? ` to ${micros(until - span.start)} (${micros(until - from)})` : ""}`;
      svg(node, "title", {}, words);
      node.addEventListener("pointerenter", () => { detail.textContent = words; });
    }
  });
  figure.dataset.marks = span.lanes.reduce((sum, lane) => sum + lane.marks.length, 0);
  scroll.scrollLeft = kept * scroll.scrollWidth;
}

function draw() {
  for (const figure of document.querySelectorAll("figure[data-figure]")) {
    const name = figure.dataset.figure, spec = data[name];
    if (name === "timeline") timeline(figure, spec[document.getElementById("round").selectedIndex]);
    else if (spec.values) heatMap(figure, spec);
    else lineChart(figure, spec);
  }
}

if (data.timeline) {
  const select = document.getElementById("round"), marks = document.getElementById("marks");
  for (const span of data.timeline) html(select, "option", {}, span.name);
  select.selectedIndex = Math.min(1, data.timeline.length - 1);
  for (const kind of Object.keys(MARKS)) {
    if (!data.timeline.some(span => span.lanes.some(lane => lane.marks.some(mark => mark[0] === kind)))) continue;
    const item = html(marks, "span", {});
    html(item, "i", { style: `background:${COLOURS[kind]}` });
    item.append(MARKS[kind]);
  }
  const set = to => () => { zoom = Math.max(1, Math.min(64, to())); draw(); };
  select.addEventListener("change", set(() => 1));
  document.getElementById("in").addEventListener("click", set(() => zoom * 2));
  document.getElementById("out").addEventListener("click", set(() => zoom / 2));
  document.getElementById("all").addEventListener("click", set(() => 1));
}
draw();
let last = innerWidth;
addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; draw(); } });
