
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const form = $("filters"), canvas = $("map"), PAGE = 24;
const WORDS = ["genre", "subgenre", "mood", "instruments", "vocals", "split"];
const RANGES = ["tempo_bpm", "loudness", "peak", "duration", "attempts"];
let shown = [], listed = 0, chosen = -1, pointed = -1;

// Elements are made of text alone: nothing from the corpus is ever read as HTML.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child != null));
  return element;
}
const title = (i) => [data.genre[i], data.subgenre[i]].filter(Boolean).join(" · ") || "clip";
const spoken = (i) => `${title(i)}, ${data.id[i]}`;

function facts(i) {
  const number = (name, unit) => (data[name][i] == null ? null : `${data[name][i]} ${unit}`.replace("-", "−"));
  const told = [
    data.mood[i], number("tempo_bpm", "bpm"), data.key[i], ...data.instruments[i],
    data.vocals[i] === "unspecified" ? null : data.vocals[i], data.split[i], number("duration", "s"),
    number("loudness", "LUFS"), number("peak", "dBFS"), data.attempts[i] > 1 ? `${data.attempts[i]} attempts` : null,
  ];
  return make("ul", { className: "facts" }, ...told.filter(Boolean).map((one) => make("li", { textContent: one })));
}
function player(i) {
  const audio = make("audio", { controls: true, preload: "none", src: `audio/${data.file[i]}` });
  audio.setAttribute("aria-label", `Player: ${spoken(i)}`);
  return audio;
}
function card(i, { level = "h3", lead = "", full = false } = {}) {
  const picture = make("img", {
    loading: "lazy", decoding: "async", width: 480, height: 96, src: `pictures/${data.file[i].replace(/\.\w+$/, ".png")}`,
    alt: `Spectrogram of ${data.id[i]}: time from left to right, 40 Hz at the bottom, 14 kHz at the top`,
  });
  const button = make("button", { type: "button", textContent: data.near[i].length ? "Neighbours" : "Choose" });
  button.setAttribute("aria-label", `${button.textContent} of ${spoken(i)}`);
  button.addEventListener("click", () => choose(i, { move: true }));
  const article = make(
    "article", { className: "clip" },
    make(level, { textContent: lead ? `${title(i)} (${lead})` : title(i) }), player(i), picture,
    make("blockquote", { textContent: data.prompt[i] || "", dir: "auto" }), facts(i),
    make("span", { className: "id", textContent: data.id[i] }), full ? null : button,
  );
  article.dataset.clip = i;
  return article;
}

function wanted() {
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");
  const words = WORDS.map((name) => [data[name], value(name)]).filter(([, word]) => word);
  const ranges = RANGES.flatMap((name) => [
    [data[name], value(`${name}-low`), (number, end) => number >= end],
    [data[name], value(`${name}-high`), (number, end) => number <= end],
  ]).filter(([, end]) => end !== "");
  const text = value("text").toLowerCase().split(/\s+/).filter(Boolean);
  return (i) =>
    words.every(([column, word]) => (Array.isArray(column[i]) ? column[i].includes(word) : column[i] === word)) &&
    ranges.every(([column, end, holds]) => column[i] != null && holds(column[i], Number(end))) &&
    text.every((word) => `${data.id[i]} ${data.prompt[i] || ""}`.toLowerCase().includes(word));
}
function filter() {
  const holds = wanted();
  shown = data.id.map((_, i) => i).filter(holds);
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${data.id.length.toLocaleString("en")} clips`;
  $("clips").replaceChildren();
  listed = 0;
  further();
  paint();
}
function further() {
  const next = shown.slice(listed, listed + PAGE);
  $("clips").append(...next.map((i) => card(i)));
  if (!shown.length) $("clips").append(make("p", { className: "soft", textContent: "No clip is like this." }));
  listed += next.length;
  $("further").hidden = listed >= shown.length;
  mark();
}
function mark() {
  for (const one of document.querySelectorAll(".clip")) one.classList.toggle("now", Number(one.dataset.clip) === chosen);
}
function choose(i, { play = false, move = false } = {}) {
  chosen = pointed = i;
  $("chosen").hidden = false;
  const main = card(i, { full: true });
  $("clip").replaceChildren(main);
  const near = data.near[i].map(([other, cosine]) => card(other, { lead: `cosine ${cosine.toFixed(2)}` }));
  const heading = make("h2", { textContent: "Nearest neighbours" });
  $("near").replaceChildren(...(near.length ? [heading, make("div", { className: "cards" }, ...near)] : []));
  mark();
  paint();
  if (play) main.querySelector("audio").play().catch(() => {});
  if (move) {
    $("chosen-title").focus({ preventScroll: true });
    $("chosen").scrollIntoView({ block: "start" });
  }
}

// The map.
const dark = matchMedia("(prefers-color-scheme: dark)");
const SHAPES = [
  (pen, x, y, r) => pen.arc(x, y, r, 0, 7),
  (pen, x, y, r) => pen.rect(x - 0.85 * r, y - 0.85 * r, 1.7 * r, 1.7 * r),
  (pen, x, y, r) => polygon(pen, [[x, y - 1.2 * r], [x + 1.1 * r, y + 0.8 * r], [x - 1.1 * r, y + 0.8 * r]]),
  (pen, x, y, r) => polygon(pen, [[x, y - 1.3 * r], [x + 1.3 * r, y], [x, y + 1.3 * r], [x - 1.3 * r, y]]),
  (pen, x, y, r) => polygon(pen, [[x, y + 1.2 * r], [x + 1.1 * r, y - 0.8 * r], [x - 1.1 * r, y - 0.8 * r]]),
];
function polygon(pen, corners) {
  corners.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
}
function sharp(target) {
  const ratio = window.devicePixelRatio || 1, pen = target.getContext("2d");
  target.width = Math.round(target.clientWidth * ratio);
  target.height = Math.round(target.clientHeight * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}
function dot(pen, genre, x, y, r) {
  const colours = dark.matches ? data.dark : data.light, n = Math.max(0, genre);
  pen.fillStyle = colours[n % colours.length];
  pen.beginPath();
  SHAPES[n % SHAPES.length](pen, x, y, r);
  pen.fill();
}
const genre = data.genre.map((name) => data.genres.indexOf(name));
const place = (i) => [
  14 + ((data.points[i][0] + 1) / 2) * (canvas.clientWidth - 28),
  14 + ((1 - data.points[i][1]) / 2) * (canvas.clientHeight - 28),
];
function paint() {
  if (!canvas || !canvas.clientWidth) return;
  const pen = sharp(canvas), lit = new Set(shown), r = data.id.length > 1500 ? 3 : 4.5;
  pen.globalAlpha = 0.15;
  data.points.forEach((_, i) => lit.has(i) || dot(pen, genre[i], ...place(i), r));
  pen.globalAlpha = 0.9;
  shown.forEach((i) => dot(pen, genre[i], ...place(i), r));
  pen.globalAlpha = 1;
  if (pointed < 0) return;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.arc(...place(pointed), r + 5, 0, 7);
  pen.stroke();
}
function nearest(x, y, reach, holds = () => true) {
  let best = -1, least = reach;
  for (const i of shown) {
    const [dx, dy] = [place(i)[0] - x, place(i)[1] - y], far = Math.hypot(dx, dy);
    if (far < least && holds(dx, dy)) [best, least] = [i, far];
  }
  return best;
}
const tell = (i) => { $("told").textContent = spoken(i); };
const WAYS = {
  ArrowLeft: (dx, dy) => dx < -1 && Math.abs(dy) <= -dx, ArrowRight: (dx, dy) => dx > 1 && Math.abs(dy) <= dx,
  ArrowUp: (dx, dy) => dy < -1 && Math.abs(dx) <= -dy, ArrowDown: (dx, dy) => dy > 1 && Math.abs(dx) <= dy,
};
function walk(way) {
  const middle = [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const i = pointed < 0 ? nearest(...middle, Infinity) : nearest(...place(pointed), Infinity, way);
  if (i < 0) return;
  pointed = i;
  tell(i);
  paint();
}
function watch() {
  canvas.addEventListener("click", (event) => {
    const i = nearest(event.offsetX, event.offsetY, 28);
    if (i < 0) return;
    tell(i);
    choose(i, { play: true });
  });
  canvas.addEventListener("mousemove", (event) => {
    const i = nearest(event.offsetX, event.offsetY, 12);
    canvas.title = i < 0 ? "" : spoken(i);
    canvas.style.cursor = i < 0 ? "" : "pointer";
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in WAYS) walk(WAYS[event.key]);
    else if (event.key === "Enter" || event.key === " ") pointed < 0 ? walk() : choose(pointed, { play: true });
    else return;
    event.preventDefault();
  });
  new ResizeObserver(paint).observe(canvas);
  dark.addEventListener("change", () => { legend(); paint(); });
  legend();
}
function legend() {
  const marks = data.genres.map((name, n) => {
    const item = make("li", {}, make("canvas", { ariaHidden: "true" }), name);
    return [item, n];
  });
  $("legend").replaceChildren(...marks.map(([item]) => item));
  for (const [item, n] of marks) dot(sharp(item.firstChild), n, 8, 8, 6);
}

function pairs() {
  const parts = data.pairs.map(([left, right, cosine]) => make(
    "div", { className: "pair" }, make("p", { className: "soft", textContent: `cosine ${cosine.toFixed(3)}` }),
    card(left), card(right),
  ));
  document.querySelector("#pairs .pairs").replaceChildren(...parts);
  $("pairs").hidden = !parts.length;
}

// One clip is heard at a time.
document.addEventListener("play", ({ target }) => {
  for (const other of document.querySelectorAll("audio")) if (other !== target) other.pause();
}, true);
form.addEventListener("input", ({ target }) => { if (target.tagName !== "SELECT") filter(); });
form.addEventListener("change", ({ target }) => { if (target.tagName === "SELECT") filter(); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
$("further").addEventListener("click", () => {
  const first = listed;
  further();
  const next = $("clips").children[first];
  if (next) next.querySelector("audio").focus();
});
$("more").open = innerWidth >= 900;
if (canvas) watch();
pairs();
filter();
