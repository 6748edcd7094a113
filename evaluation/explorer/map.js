// The map: points on a canvas. A click or Enter chooses the nearest one, arrow keys walk, + - 0 and the wheel zoom.
const canvas = element.querySelector("canvas");
const told = element.querySelector(".told");
const pen = canvas.getContext("2d");
let data = null, at = -1, view = { x: 0, y: 0, scale: 1 }, drag = null, painted = 0;

const pixels = () => Math.min(canvas.clientWidth, canvas.clientHeight) / 2 - 14;
const toScreen = (x, y) => [
  canvas.clientWidth / 2 + (x - view.x) * view.scale * pixels(),
  canvas.clientHeight / 2 - (y - view.y) * view.scale * pixels(),
];
const SHAPES = [
  (x, y, r) => pen.arc(x, y, r, 0, 7),
  (x, y, r) => pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (x, y, r) => { pen.moveTo(x, y - r * 1.2); pen.lineTo(x + r * 1.1, y + r * 0.8); pen.lineTo(x - r * 1.1, y + r * 0.8); pen.closePath(); },
  (x, y, r) => { pen.moveTo(x, y - r * 1.3); pen.lineTo(x + r * 1.3, y); pen.lineTo(x, y + r * 1.3); pen.lineTo(x - r * 1.3, y); pen.closePath(); },
  (x, y, r) => { pen.moveTo(x, y + r * 1.2); pen.lineTo(x + r * 1.1, y - r * 0.8); pen.lineTo(x - r * 1.1, y - r * 0.8); pen.closePath(); },
];

function paint() {
  painted = 0;
  if (!data || !canvas.clientWidth) return;
  const ratio = window.devicePixelRatio || 1, style = getComputedStyle(canvas);
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const radius = (data.x.length > 1500 ? 2.5 : 4) * Math.sqrt(view.scale);
  for (const strong of [false, true]) {
    for (let i = 0; i < data.x.length; i++) {
      if (data.shown[i] !== strong) continue;
      const [x, y] = toScreen(data.x[i], data.y[i]);
      pen.globalAlpha = strong ? 0.85 : 0.1;
      pen.fillStyle = data.colours[data.genre[i] % data.colours.length];
      pen.beginPath();
      SHAPES[data.genre[i] % SHAPES.length](x, y, strong ? radius : radius * 0.7);
      pen.fill();
    }
  }
  pen.globalAlpha = 1;
  if (at >= 0) {
    const [x, y] = toScreen(data.x[at], data.y[at]);
    pen.strokeStyle = style.color;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(x, y, radius + 5, 0, 7);
    pen.stroke();
  }
}
const soon = () => { painted ||= requestAnimationFrame(paint); };

function nearest(px, py, reach, wanted = () => true) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < data.x.length; i++) {
    if (!data.shown[i]) continue;
    const [x, y] = toScreen(data.x[i], data.y[i]), [dx, dy] = [x - px, y - py];
    const distance = dx * dx + dy * dy;
    if (distance < least && wanted(dx, dy)) [best, least] = [i, distance];
  }
  return best;
}
function look(i) {
  if (i < 0) return;
  at = i;
  told.textContent = `${data.names[data.genre[i]]}: ${data.ids[i]}`;
  soon();
}
function choose(i) {
  if (i < 0) return;
  look(i);
  trigger("choose", { side: data.sides[data.side[i]], position: data.position[i] });
}
function zoom(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
  const scale = Math.min(40, Math.max(1, view.scale * factor)), size = pixels();
  const [dx, dy] = [px - canvas.clientWidth / 2, canvas.clientHeight / 2 - py];
  view.x += dx / size * (1 / view.scale - 1 / scale);
  view.y += dy / size * (1 / view.scale - 1 / scale);
  view.scale = scale;
  if (scale === 1) view = { x: 0, y: 0, scale: 1 };
  soon();
}

canvas.addEventListener("pointerdown", (event) => { drag = { x: event.offsetX, y: event.offsetY, far: 0 }; });
canvas.addEventListener("pointermove", (event) => {
  if (!data) return;
  if (drag && event.buttons && view.scale > 1) {
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    view.x -= dx / (pixels() * view.scale);
    view.y += dy / (pixels() * view.scale);
    drag = { x: event.offsetX, y: event.offsetY, far: drag.far + Math.abs(dx) + Math.abs(dy) };
    soon();
  } else if (event.pointerType === "mouse") {
    const i = nearest(event.offsetX, event.offsetY, 12);
    canvas.title = i < 0 ? "" : `${data.names[data.genre[i]]}: ${data.ids[i]}`;
    canvas.style.cursor = i < 0 ? "default" : "pointer";
  }
});
canvas.addEventListener("click", (event) => {
  if (data && !(drag && drag.far > 6)) choose(nearest(event.offsetX, event.offsetY, 24));
});
canvas.addEventListener("wheel", (event) => {
  if (!data || (event.deltaY > 0 && view.scale === 1)) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
}, { passive: false });
const WAYS = {
  ArrowLeft: (dx, dy) => dx < -1 && Math.abs(dy) <= -dx, ArrowRight: (dx, dy) => dx > 1 && Math.abs(dy) <= dx,
  ArrowUp: (dx, dy) => dy < -1 && Math.abs(dx) <= -dy, ArrowDown: (dx, dy) => dy > 1 && Math.abs(dx) <= dy,
};
canvas.addEventListener("keydown", (event) => {
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in WAYS) {
    const from = at < 0 ? toScreen(view.x, view.y) : toScreen(data.x[at], data.y[at]);
    look(nearest(...from, 1e6, at < 0 ? undefined : WAYS[event.key]));
  } else if (event.key === "Enter" || event.key === " ") choose(at);
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") zoom(0);
  else return;
  event.preventDefault();
});
canvas.addEventListener("focus", () => { if (data && at < 0) look(nearest(...toScreen(view.x, view.y), 1e6)); });
element.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-zoom]");
  if (button) zoom(Number(button.dataset.zoom));
});
function take() {
  data = props.value && props.value.x ? props.value : null;
  if (data && data.chosen != null) at = data.chosen;
  soon();
}
watch("value", take);
take();
new ResizeObserver(soon).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
