// A tap on a cell of a picture writes below the picture what a mouse shows when it points at the cell.
document.addEventListener("pointerup", (event) => {
  const title = event.pointerType === "mouse" ? null : event.target.querySelector?.(":scope > title");
  const picture = event.target.closest?.("svg[role=img]");
  if (!title || !picture) return;
  let words = picture.nextElementSibling;
  if (!words?.classList.contains("tapped")) {
    words = document.createElement("p");
    words.className = "tapped";
    words.setAttribute("role", "status");
    picture.after(words);
  }
  words.textContent = title.textContent;
});
// Safari applies the rules for hovering after a tap only on pages that listen for touches.
document.addEventListener("touchstart", () => {}, { passive: true });
