// A button with a position selects that clip: the event "select_clip" lets the server show and play it.
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
  const player = document.querySelector("#selected-clip audio");
  if (player && player.dataset.side === side && player.dataset.position === position) {
    player.currentTime = 0;
    player.play();
  } else {
    trigger("select_clip", { side, position: Number(position) });
  }
});
// When a player starts, the others stop.
if (!window.onePlayer) {
  window.onePlayer = true;
  document.addEventListener("play", ({ target }) => {
    for (const player of document.querySelectorAll("audio")) if (player !== target) player.pause();
  }, true);
}
