for (const root of document.querySelectorAll(".browser")) {
  const [height, width, channels] = root.dataset.shape.split(",").map(Number);
  const find = (name) => root.querySelector(`[data-part=${name}]`);
  const all = [...root.querySelectorAll("li")];
  const choice = find("choice"), slider = find("slider"), place = find("place"), caption = find("caption");
  const canvases = ["clean", "mixed", "change"].map(find);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const hues = { less: [0, 114, 178], more: [213, 94, 0] };
  let chosen = all, at = 0;

  function paint(canvas, color) {
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) image.data.set(color(pixel), 4 * pixel);
    context.putImageData(image, 0, 0);
  }

  function show() {
    const item = chosen[at], { scale, distance } = item.dataset, part = slider.value / 100;
    const clean = bytes(item.dataset.clean), change = new Int8Array(bytes(item.dataset.change).buffer);
    const mixed = (pixel, along) => {
      const color = [0, 0, 0, 255];
      for (let channel = 0; channel < 3; channel++) {
        const from = pixel * channels + (channels === 3 ? channel : 0);
        color[channel] = clean[from] + (along * change[from] * scale) / 127;
      }
      return color;
    };
    paint(canvases[0], (pixel) => mixed(pixel, 0));
    paint(canvases[1], (pixel) => mixed(pixel, part));
    paint(canvases[2], (pixel) => {
      if (channels === 3) return [0, 1, 2].map((channel) => 127.5 + change[pixel * 3 + channel]).concat(255);
      return [...(change[pixel] < 0 ? hues.less : hues.more), 2 * Math.abs(change[pixel])];
    });
    const radius = root.dataset.scales ? `, ${root.dataset.norm} distance ${(distance * part).toPrecision(3)}` : "";
    place.textContent = `${slider.value}% of the way${radius}`;
    slider.setAttribute("aria-valuetext", place.textContent);
    caption.textContent = `${at + 1} of ${chosen.length}: ${item.textContent}`;
    canvases.forEach((canvas) => canvas.setAttribute("aria-label", `${canvas.title}: ${item.textContent}`));
  }

  function move(by) {
    at = (at + by + chosen.length) % chosen.length;
    show();
  }

  function choose() {
    chosen = all.filter((item) => item.dataset.choice === choice.value);
    at = 0;
    show();
  }

  choice.addEventListener("change", choose);
  find("back").addEventListener("click", () => move(-1));
  find("on").addEventListener("click", () => move(1));
  slider.addEventListener("input", show);
  root.hidden = false;
  choose();
}
