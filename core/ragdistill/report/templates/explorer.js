/* The queries of two stacks can be filtered, searched and put in order. Without this script they are
   all there, in the order of the page. */
const ORDERS = {
  lost: (a, b) => b.dataset.lost - a.dataset.lost,
  won: (a, b) => a.dataset.lost - b.dataset.lost,
  slow: (a, b) => b.dataset.ms - a.dataset.ms,
  text: (a, b) => words.compare(asked(a), asked(b)),
};

function asked(entry) {
  return entry.querySelector(".asked").textContent;
}

for (const section of document.querySelectorAll("[data-explorer]")) {
  const box = section.querySelector(".explore");
  if (!box) continue;
  const list = section.querySelector(".entries");
  const entries = [...list.children];
  const texts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
  const [search, outcome, part, order] = box.querySelectorAll("input, select");

  const fits = (entry) => {
    const asks = search.value.toLowerCase().split(/\s+/);
    return (
      (!outcome.value || entry.dataset.outcome === outcome.value) &&
      (!part.value || entry.dataset.part === part.value) &&
      asks.every((word) => texts.get(entry).includes(word))
    );
  };
  /* Those that fit come first, so that paper has the first five of them. */
  const show = () => {
    const found = entries.filter(fits).sort(ORDERS[order.value]);
    const left = entries.filter((entry) => !found.includes(entry));
    for (const entry of found) entry.hidden = false;
    for (const entry of left) entry.hidden = true;
    list.append(...found, ...left);
    box.querySelector("output").value = `${found.length} of ${entries.length}`;
  };
  box.hidden = false;
  box.addEventListener("input", show);
  show();
}
