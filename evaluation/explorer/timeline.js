// The playhead over a clip's spectrogram and piano roll, and stems that are muted. Shared by both pages.
if (!window.followsPlayers) {
  window.followsPlayers = true;
  const cardOf = (element) => element.closest("#selected-clip") ?? element.closest("article");
  const playerOf = (element) => cardOf(element)?.querySelector("audio");
  const movePlayhead = (player) => {
    const line = playerOf(player) === player ? cardOf(player).querySelector(".playhead") : null;
    if (!line || !player.duration) return;
    line.hidden = false;
    line.style.left = `${(100 * player.currentTime) / player.duration}%`;
  };
  const follow = (player) => {
    movePlayhead(player);
    if (!player.paused && player.isConnected) requestAnimationFrame(() => follow(player));
  };
  document.addEventListener("play", ({ target }) => follow(target), true);
  for (const name of ["timeupdate", "seeked"]) document.addEventListener(name, ({ target }) => movePlayhead(target), true);

  // While a stem is muted, the player of the clip is silent, and those of the other stems keep its time.
  const mixes = new WeakMap();
  const TOLERANCE = 0.06;  // seconds
  const buttonsOf = (player) => [...cardOf(player).querySelectorAll("button[data-stem]")];
  const isOn = (button) => button.getAttribute("aria-pressed") === "true";
  const keepTime = (player) => {
    const mix = mixes.get(player);
    if (!mix) return;
    for (const stem of mix.values()) {
      Object.assign(stem, { volume: player.volume, playbackRate: player.playbackRate });
      if (Math.abs(stem.currentTime - player.currentTime) > TOLERANCE) stem.currentTime = player.currentTime;
      if (player.paused || !player.muted || stem.muted) stem.pause();
      else if (stem.paused) stem.play().catch(() => {});
    }
  };
  const mixOf = (player) => {
    if (mixes.has(player)) return mixes.get(player);
    mixes.set(player, new Map());
    for (const name of ["play", "pause", "seeking", "seeked", "ratechange", "timeupdate", "ended"]) {
      player.addEventListener(name, () => keepTime(player));
    }
    player.addEventListener("volumechange", () => {  // unmuted by its own button: the whole clip sounds again
      if (!player.muted && player.isConnected) buttonsOf(player).forEach((button) => button.setAttribute("aria-pressed", "true"));
      keepTime(player);
    });
    return mixes.get(player);
  };
  const toggleStem = (button) => {
    const player = playerOf(button), mix = mixOf(player), buttons = buttonsOf(player);
    button.setAttribute("aria-pressed", String(!isOn(button)));
    const whole = buttons.every(isOn);
    for (const other of buttons) {
      const name = other.dataset.stem;
      if (!mix.has(name) && !whole && isOn(other)) mix.set(name, new Audio(other.dataset.src));
      if (mix.has(name)) mix.get(name).muted = !isOn(other);
    }
    player.muted = !whole;
    keepTime(player);
  };
  document.addEventListener("click", ({ target, clientX }) => {
    const button = target.closest("button[data-stem]"), line = target.closest(".with-playhead");
    if (button) toggleStem(button);
    else if (line && playerOf(line)) {
      const { left, width } = line.getBoundingClientRect();
      playerOf(line).currentTime = ((clientX - left) / width) * Number(line.dataset.seconds);
      movePlayhead(playerOf(line));
    }
  });
}
