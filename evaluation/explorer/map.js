// Draws points on a canvas. A click or Enter selects the nearest point, arrow keys move, + - 0 and the wheel zoom.
const canvas = element.querySelector("canvas");
const status = element.querySelector(".status");
const context = canvas.getContext("2d");
let data = null, current = -1, view = { x: 0, y: 0, scale: 1 }, drag = null, frame = 0;

const halfSize = () => Math.min(canvas.clientWidth, canvas.clientHeight) / 2 - 14;
const toScreen = (x, y) => [
  canvas.clientWidth / 2 + (x - view.x) * view.scale * halfSize(),
  canvas.clientHeight / 2 - (y - view.y) * view.scale * halfSize(),
];
const SHAPES = [
  (x, y, r) => context.arc(x, y, r, 0, 7),
  (x, y, r) => context.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (x, y, r) => { context.moveTo(x, y - r * 1.2); context.lineTo(x + r * 1.1, y + r * 0.8); context.lineTo(x - r * 1.1, y + r * 0.8); context.closePath(); },
  (x, y, r) => { context.moveTo(x, y - r * 1.3); context.lineTo(x + r * 1.3, y); context.lineTo(x, y + r * 1.3); context.lineTo(x - r * 1.3, y); context.closePath(); },
  (x, y, r) => { context.moveTo(x, y + r * 1.2); context.lineTo(x + r * 1.1, y - r * 0.8); context.lineTo(x - r * 1.1, y - r * 0.8); context.closePath(); },
];

function paint() {
  frame = 0;
  if (!data || !canvas.clientWidth) return;
  const ratio = window.devicePixelRatio || 1, style = getComputedStyle(canvas);
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const radius = (data.x.length > 1500 ? 2.5 : 4) * Math.sqrt(view.scale);
  for (const matches of [false, true]) {
    for (let i = 0; i < data.x.length; i++) {
      if (data.matches[i] !== matches) continue;
      const [x, y] = toScreen(data.x[i], data.y[i]);
      context.globalAlpha = matches ? 0.85 : 0.1;
      context.fillStyle = data.colours[data.groups[i] % data.colours.length];
      context.beginPath();
      SHAPES[data.groups[i] % SHAPES.length](x, y, matches ? radius : radius * 0.7);
      context.fill();
    }
  }
  context.globalAlpha = 1;
  if (current >= 0) {
    const [x, y] = toScreen(data.x[current], data.y[current]);
    context.strokeStyle = style.color;
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x, y, radius + 5, 0, 7);
    context.stroke();
  }
}
const requestPaint = () => { frame ||= requestAnimationFrame(paint); };

function nearest(pointerX, pointerY, maxDistance, accept = () => true) {
  let best = -1, least = maxDistance * maxDistance;
  for (let i = 0; i < data.x.length; i++) {
    if (!data.matches[i]) continue;
    const [x, y] = toScreen(data.x[i], data.y[i]), [dx, dy] = [x - pointerX, y - pointerY];
    const distance = dx * dx + dy * dy;
    if (distance < least && accept(dx, dy)) [best, least] = [i, distance];
  }
  return best;
}
function showStatus(i) {
  if (i < 0) return;
  current = i;
  status.textContent = `${data.names[data.groups[i]]}: ${data.ids[i]}`;
  requestPaint();
}
function selectPoint(i) {
  if (i < 0) return;
  showStatus(i);
  const side = data.sides[data.side[i]], position = data.positions[i];
  const player = document.querySelector("#selected-clip audio");
  if (player && player.dataset.side === side && Number(player.dataset.position) === position) {
    player.currentTime = 0; // already selected: the server would send the same page, and nothing would play
    player.play();
  } else {
    trigger("select_clip", { side, position });
  }
}
function zoom(factor, pointerX = canvas.clientWidth / 2, pointerY = canvas.clientHeight / 2) {
  const scale = Math.min(40, Math.max(1, view.scale * factor)), size = halfSize();
  const [dx, dy] = [pointerX - canvas.clientWidth / 2, canvas.clientHeight / 2 - pointerY];
  view.x += dx / size * (1 / view.scale - 1 / scale);
  view.y += dy / size * (1 / view.scale - 1 / scale);
  view.scale = scale;
  if (scale === 1) view = { x: 0, y: 0, scale: 1 };
  requestPaint();
}

canvas.addEventListener("pointerdown", (event) => { drag = { x: event.offsetX, y: event.offsetY, distance: 0 }; });
canvas.addEventListener("pointermove", (event) => {
  if (!data) return;
  if (drag && event.buttons && view.scale > 1) {
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    view.x -= dx / (halfSize() * view.scale);
    view.y += dy / (halfSize() * view.scale);
    drag = { x: event.offsetX, y: event.offsetY, distance: drag.distance + Math.abs(dx) + Math.abs(dy) };
    requestPaint();
  } else if (event.pointerType === "mouse") {
    const i = nearest(event.offsetX, event.offsetY, 12);
    canvas.title = i < 0 ? "" : `${data.names[data.groups[i]]}: ${data.ids[i]}`;
    canvas.style.cursor = i < 0 ? "default" : "pointer";
  }
});
canvas.addEventListener("click", (event) => {
  if (data && !(drag && drag.distance > 6)) selectPoint(nearest(event.offsetX, event.offsetY, 24));
});
canvas.addEventListener("wheel", (event) => {
  if (!data || (event.deltaY > 0 && view.scale === 1)) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
}, { passive: false });
const DIRECTIONS = {
  ArrowLeft: (dx, dy) => dx < -1 && Math.abs(dy) <= -dx, ArrowRight: (dx, dy) => dx > 1 && Math.abs(dy) <= dx,
  ArrowUp: (dx, dy) => dy < -1 && Math.abs(dx) <= -dy, ArrowDown: (dx, dy) => dy > 1 && Math.abs(dx) <= dy,
};
canvas.addEventListener("keydown", (event) => {
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in DIRECTIONS) {
    const from = current < 0 ? toScreen(view.x, view.y) : toScreen(data.x[current], data.y[current]);
    showStatus(nearest(...from, 1e6, current < 0 ? undefined : DIRECTIONS[event.key]));
  } else if (event.key === "Enter" || event.key === " ") selectPoint(current);
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") zoom(0);
  else return;
  event.preventDefault();
});
canvas.addEventListener("focus", () => { if (data && current < 0) showStatus(nearest(...toScreen(view.x, view.y), 1e6)); });
element.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-zoom]");
  if (button) zoom(Number(button.dataset.zoom));
});
function update() {
  data = props.value && props.value.x ? props.value : null;
  if (data && data.selected != null) current = data.selected;
  requestPaint();
}
watch("value", update);
update();
new ResizeObserver(requestPaint).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", requestPaint);
