// What is wrong with a page as it is shown now, in sentences. Labels of pictures are at least `smallest` px high.
(smallest) => {
  const words = [];
  const page = document.documentElement;
  const name = (element) => (element.getAttribute("aria-label") || element.alt || "").slice(0, 80);

  const [width, room] = [page.scrollWidth, page.clientWidth];
  if (width > room + 1) words.push(`the page is ${width} px wide in ${room}`);

  for (const img of document.images)
    if (!img.complete || img.naturalWidth === 0) words.push(`broken image ${img.src.slice(0, 120)}`);
    else if (!img.alt) words.push(`image without words ${img.src.slice(0, 120)}`);
    else if (isEmpty(img)) words.push(`empty image: ${name(img)}`);

  for (const merror of document.querySelectorAll("mjx-merror")) words.push(`formula: ${merror.textContent}`);
  const math = document.querySelectorAll("article .math");
  if (math.length && !document.querySelector("mjx-container")) words.push("formulas were not drawn");

  for (const svg of document.querySelectorAll("article svg[role=img]")) {
    const box = svg.getBoundingClientRect();
    if (box.width < 8 || box.height < 8) {
      if (!svg.closest("[hidden], details:not([open])")) words.push(`a picture of no size: ${name(svg)}`);
      continue;
    }
    if (svg.querySelectorAll("rect, path, circle, image, text, polygon, line").length < 2)
      words.push(`empty picture: ${name(svg)}`);
    let frame = svg.parentElement;
    while (frame && !["auto", "scroll"].includes(getComputedStyle(frame).overflowX)) frame = frame.parentElement;
    if (!frame && box.right > page.clientWidth + 1) words.push(`wider than the page: ${name(svg)}`);
    const scale = box.width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text")) {
      const size = parseFloat(getComputedStyle(text).fontSize) * scale;
      if (size < smallest) {
        words.push(`label of ${size.toFixed(1)} px: "${text.textContent}" in ${name(svg)}`);
        break;
      }
    }
  }

  const kinds = new Set();  // one element of each kind: a table has thousands of cells
  for (const element of document.querySelectorAll("article :is(h1, h2, h3, p, li, td, th, dt, label, summary, pre)")) {
    const kind = `${element.tagName} ${element.className} ${element.parentElement.className}`;
    if (kinds.has(kind) || !element.textContent.trim() || !element.getClientRects().length) continue;
    kinds.add(kind);
    const ratio = contrast(color(element, "color"), background(element));
    if (ratio < 4.5) words.push(`contrast of ${ratio.toFixed(1)}: "${element.textContent.trim().slice(0, 60)}"`);
  }
  return words;

  function isEmpty(img) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0, 64, 64);
    const pixels = new Uint32Array(context.getImageData(0, 0, 64, 64).data.buffer);
    return pixels.every((pixel) => pixel === pixels[0]);
  }

  function color(element, property) {
    const parts = getComputedStyle(element)[property].match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts[3] ?? 1 };
  }

  function background(element) {
    for (let at = element; at; at = at.parentElement) {
      const found = color(at, "backgroundColor");
      if (found.alpha > 0.5) return found;
    }
    return { rgb: [255, 255, 255] };
  }

  function contrast(one, other) {
    const [a, b] = [luminance(one.rgb), luminance(other.rgb)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }

  function luminance(rgb) {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
}
