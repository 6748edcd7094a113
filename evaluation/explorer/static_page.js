"use strict";
// The static page: filters, cards of clips, the map, neighbours and near-duplicates.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const form = $("filters"), canvas = $("map"), PAGE_SIZE = 24;
const LABEL_FILTERS = ["genre", "subgenre", "mood", "instruments", "vocals", "split"];
const RANGE_FILTERS = ["tempo_bpm", "loudness", "peak", "duration", "attempts"];
let matching = [], listed = 0, selected = -1, highlighted = -1;  // highlighted: the marked point on the map

// All content is set as text: nothing from the corpus is parsed as HTML.
function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child != null));
  return element;
}
const title = (i) => [data.genre[i], data.subgenre[i]].filter(Boolean).join(" · ") || "clip";
const describe = (i) => `${title(i)}, ${data.id[i]}`;

function createLabels(i) {
  const number = (name, unit) => (data[name][i] == null ? null : `${data[name][i]} ${unit}`.replace("-", "−"));
  const labels = [
    data.mood[i], number("tempo_bpm", "bpm"), data.key[i], ...data.instruments[i],
    data.vocals[i] === "unspecified" ? null : data.vocals[i], data.split[i], number("duration", "s"),
    number("loudness", "LUFS"), number("peak", "dBFS"), data.attempts[i] > 1 ? `${data.attempts[i]} attempts` : null,
  ];
  const items = labels.filter(Boolean).map((label) => create("li", { textContent: label }));
  return create("ul", { className: "labels" }, ...items);
}
function createPlayer(i) {
  const audio = create("audio", { controls: true, preload: "none", src: `audio/${data.file[i]}` });
  audio.setAttribute("aria-label", `Player: ${describe(i)}`);
  return audio;
}
const baseName = (i) => data.file[i].replace(/\.\w+$/, "");
function createRoll(i) {
  if (data.played[i] == null) return null;
  const properties = { className: "roll", loading: "lazy", decoding: "async", width: 480, height: 130, src: `pictures/${baseName(i)}.svg` };
  return create("img", { ...properties, alt: `Piano roll of ${data.id[i]}: beats, chords and notes` });
}
function createStems(i) {
  if (!data.stems[i].length) return null;
  const buttons = data.stems[i].map(([stem, file]) => {
    const button = create("button", { type: "button", textContent: stem });
    button.setAttribute("aria-pressed", "true");
    Object.assign(button.dataset, { stem, src: `stems/${file}` });
    return button;
  });
  const group = create("div", { className: "stems" }, ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `Stems of ${describe(i)} that sound`);
  return group;
}
const createProductionLink = (i) => (data.production[i] ? create(
  "a", { className: "id", href: `production/${baseName(i)}.txt`, target: "_blank", rel: "noopener", textContent: "How it was produced" },
) : null);
function createCard(i, { note = "", withButton = true } = {}) {
  const image = create("img", {
    loading: "lazy", decoding: "async", width: 480, height: 96, src: `pictures/${baseName(i)}.png`,
    alt: `Spectrogram of ${data.id[i]}: time from left to right, 40 Hz at the bottom, 14 kHz at the top`,
  });
  const timeline = create("div", { className: "with-playhead" }, image, createRoll(i), create("span", { className: "playhead", hidden: true }));
  timeline.dataset.seconds = data.duration[i] || 0;
  const button = create("button", { type: "button", textContent: data.neighbours[i].length ? "Neighbours" : "Select" });
  button.setAttribute("aria-label", data.neighbours[i].length ? `Neighbours of ${describe(i)}` : `Select ${describe(i)}`);
  button.addEventListener("click", () => select(i, { scroll: true }));
  const article = create(
    "article", { className: "clip" },
    create("h3", { textContent: note ? `${title(i)} (${note})` : title(i) }), createPlayer(i), timeline, createStems(i),
    create("blockquote", { textContent: data.prompt[i] || "", dir: "auto" }), createLabels(i),
    data.played[i] ? create("p", { className: "id", textContent: `Played: ${data.played[i]}` }) : null,
    data.tags[i].length ? create("p", { className: "id", textContent: `Tags by musicnn: ${data.tags[i].join(", ")}` }) : null,
    create("span", { className: "id", textContent: data.id[i] }), createProductionLink(i), withButton ? button : null,
  );
  article.dataset.clip = i;
  return article;
}

function createFilter() {
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");
  const labels = LABEL_FILTERS.map((name) => [data[name], value(name)]).filter(([, label]) => label);
  const ranges = RANGE_FILTERS.flatMap((name) => [
    [data[name], value(`${name}-low`), (number, limit) => number >= limit],
    [data[name], value(`${name}-high`), (number, limit) => number <= limit],
  ]).filter(([, limit]) => limit !== "");
  const words = value("text").toLowerCase().split(/\s+/).filter(Boolean);
  return (i) =>
    labels.every(([column, label]) => (Array.isArray(column[i]) ? column[i].includes(label) : column[i] === label)) &&
    ranges.every(([column, limit, isWithin]) => column[i] != null && isWithin(column[i], Number(limit))) &&
    words.every((word) => `${data.id[i]} ${data.prompt[i] || ""}`.toLowerCase().includes(word));
}
function applyFilters() {
  const matches = createFilter();
  matching = data.id.map((_, i) => i).filter(matches);
  $("count").textContent = `${matching.length.toLocaleString("en")} of ${data.id.length.toLocaleString("en")} clips`;
  $("clips").replaceChildren();
  listed = 0;
  showMore();
  paint();
}
function showMore() {
  const next = matching.slice(listed, listed + PAGE_SIZE);
  $("clips").append(...next.map((i) => createCard(i)));
  if (!matching.length) $("clips").append(create("p", { className: "muted", textContent: "No clips match the filters." }));
  listed += next.length;
  $("show-more").hidden = listed >= matching.length;
  markSelected();
}
function markSelected() {
  for (const card of document.querySelectorAll(".clip")) card.classList.toggle("selected", Number(card.dataset.clip) === selected);
}
function select(i, { play = false, scroll = false } = {}) {
  selected = highlighted = i;
  $("selected").hidden = false;
  const card = createCard(i, { withButton: false });
  $("selected-clip").replaceChildren(card);
  const neighbours = data.neighbours[i].map(([other, cosine]) => createCard(other, { note: `cosine ${cosine.toFixed(2)}` }));
  const heading = create("h2", { textContent: "Nearest neighbours" });
  $("neighbours").replaceChildren(...(neighbours.length ? [heading, create("div", { className: "cards" }, ...neighbours)] : []));
  markSelected();
  paint();
  if (play) card.querySelector("audio").play().catch(() => {});
  if (scroll) {
    $("selected-title").focus({ preventScroll: true });
    $("selected").scrollIntoView({ block: "start" });
  }
}

// The map.
const dark = matchMedia("(prefers-color-scheme: dark)");
const MARKERS = [
  (context, x, y, r) => context.arc(x, y, r, 0, 7),
  (context, x, y, r) => context.rect(x - 0.85 * r, y - 0.85 * r, 1.7 * r, 1.7 * r),
  (context, x, y, r) => polygon(context, [[x, y - 1.2 * r], [x + 1.1 * r, y + 0.8 * r], [x - 1.1 * r, y + 0.8 * r]]),
  (context, x, y, r) => polygon(context, [[x, y - 1.3 * r], [x + 1.3 * r, y], [x, y + 1.3 * r], [x - 1.3 * r, y]]),
  (context, x, y, r) => polygon(context, [[x, y + 1.2 * r], [x + 1.1 * r, y - 0.8 * r], [x - 1.1 * r, y - 0.8 * r]]),
];
function polygon(context, corners) {
  corners.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
}
function scaledContext(target) {
  const ratio = window.devicePixelRatio || 1, context = target.getContext("2d");
  target.width = Math.round(target.clientWidth * ratio);
  target.height = Math.round(target.clientHeight * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
function drawMarker(context, genre, x, y, r) {
  const colours = dark.matches ? data.dark : data.light, n = Math.max(0, genre);
  context.fillStyle = colours[n % colours.length];
  context.beginPath();
  MARKERS[n % MARKERS.length](context, x, y, r);
  context.fill();
}
const genre = data.genre.map((name) => data.genres.indexOf(name));
const toScreen = (i) => [
  14 + ((data.points[i][0] + 1) / 2) * (canvas.clientWidth - 28),
  14 + ((1 - data.points[i][1]) / 2) * (canvas.clientHeight - 28),
];
function paint() {
  if (!canvas || !canvas.clientWidth) return;
  const context = scaledContext(canvas), matches = new Set(matching), r = data.id.length > 1500 ? 3 : 4.5;
  context.globalAlpha = 0.15;
  data.points.forEach((_, i) => matches.has(i) || drawMarker(context, genre[i], ...toScreen(i), r));
  context.globalAlpha = 0.9;
  matching.forEach((i) => drawMarker(context, genre[i], ...toScreen(i), r));
  context.globalAlpha = 1;
  if (highlighted < 0) return;
  context.strokeStyle = getComputedStyle(document.body).color;
  context.lineWidth = 2.5;
  context.beginPath();
  context.arc(...toScreen(highlighted), r + 5, 0, 7);
  context.stroke();
}
function nearest(x, y, maxDistance, accept = () => true) {
  let best = -1, least = maxDistance;
  for (const i of matching) {
    const [dx, dy] = [toScreen(i)[0] - x, toScreen(i)[1] - y], distance = Math.hypot(dx, dy);
    if (distance < least && accept(dx, dy)) [best, least] = [i, distance];
  }
  return best;
}
const showStatus = (i) => { $("map-status").textContent = describe(i); };
const DIRECTIONS = {
  ArrowLeft: (dx, dy) => dx < -1 && Math.abs(dy) <= -dx, ArrowRight: (dx, dy) => dx > 1 && Math.abs(dy) <= dx,
  ArrowUp: (dx, dy) => dy < -1 && Math.abs(dx) <= -dy, ArrowDown: (dx, dy) => dy > 1 && Math.abs(dx) <= dy,
};
function moveHighlight(direction) {
  const centre = [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const i = highlighted < 0 ? nearest(...centre, Infinity) : nearest(...toScreen(highlighted), Infinity, direction);
  if (i < 0) return;
  highlighted = i;
  showStatus(i);
  paint();
}
function connectMap() {
  canvas.addEventListener("click", (event) => {
    const i = nearest(event.offsetX, event.offsetY, 28);
    if (i < 0) return;
    showStatus(i);
    select(i, { play: true });
  });
  canvas.addEventListener("mousemove", (event) => {
    const i = nearest(event.offsetX, event.offsetY, 12);
    canvas.title = i < 0 ? "" : describe(i);
    canvas.style.cursor = i < 0 ? "" : "pointer";
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in DIRECTIONS) moveHighlight(DIRECTIONS[event.key]);
    else if (event.key === "Enter" || event.key === " ") highlighted < 0 ? moveHighlight() : select(highlighted, { play: true });
    else return;
    event.preventDefault();
  });
  new ResizeObserver(paint).observe(canvas);
  dark.addEventListener("change", () => { showLegend(); paint(); });
  showLegend();
}
function showLegend() {
  const items = data.genres.map((name) => create("li", {}, create("canvas", { ariaHidden: "true" }), name));
  $("legend").replaceChildren(...items);
  items.forEach((item, n) => drawMarker(scaledContext(item.firstChild), n, 8, 8, 6));
}

function showPairs() {
  const pairs = data.pairs.map(([left, right, cosine]) => create(
    "div", { className: "pair" }, create("p", { className: "muted", textContent: `cosine ${cosine.toFixed(3)}` }),
    createCard(left), createCard(right),
  ));
  document.querySelector("#pairs .pairs").replaceChildren(...pairs);
  $("pairs").hidden = !pairs.length;
}

// When a player starts, the others stop.
document.addEventListener("play", ({ target }) => {
  for (const player of document.querySelectorAll("audio")) if (player !== target) player.pause();
}, true);
form.addEventListener("input", ({ target }) => { if (target.tagName !== "SELECT") applyFilters(); });
form.addEventListener("change", ({ target }) => { if (target.tagName === "SELECT") applyFilters(); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(applyFilters));
$("show-more").addEventListener("click", () => {
  const first = listed;
  showMore();
  const next = $("clips").children[first];
  if (next) next.querySelector("audio").focus();
});
$("more-filters").open = innerWidth >= 900;
if (canvas) connectMap();
showPairs();
applyFilters();
