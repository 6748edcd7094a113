// A button with a position chooses that clip: the server is told, and shows and plays it.
element.addEventListener("click", (event) => {
  const seek = event.target.closest("[data-seek]");
  if (seek) {
    const player = element.querySelector("audio");
    player.currentTime = Number(seek.dataset.seek);
    player.play();
    return;
  }
  const button = event.target.closest("button[data-position]");
  if (!button) return;
  const { side, position } = button.dataset;
  const player = document.querySelector("#chosen audio");
  if (player && player.dataset.side === side && player.dataset.position === position) {
    player.currentTime = 0;
    player.play();
  } else {
    trigger("choose", { side, position: Number(position) });
  }
});
// One sound at a time.
if (!window.onePlayer) {
  window.onePlayer = true;
  document.addEventListener("play", ({ target }) => {
    for (const player of document.querySelectorAll("audio")) if (player !== target) player.pause();
  }, true);
}
