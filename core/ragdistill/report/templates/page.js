"use strict";
/* Tables become sortable: each heading gets a button that sorts up, then down, then back to the
   order of the report. Without this script they are the same tables. */
const UNKNOWN = "\u2013";
const NUMBER = /^-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?/;
const words = new Intl.Collator("en", { numeric: true });

/* What the cells of a column sort by: numbers if all that are known are numbers, else texts; null
   where a cell is unknown. */
function keys(rows, column) {
  const texts = rows.map(({ cells: { [column]: cell } }) => {
    const text = (cell.dataset.sort ?? cell.textContent).trim();
    return text === "" || text === UNKNOWN ? null : text;
  });
  if (texts.some((text) => text !== null && !NUMBER.test(text))) return texts;
  return texts.map((text) => text && Number(NUMBER.exec(text)[0].replaceAll(",", "")));
}

/* The rows in their new order; unknown is last whichever way. */
function sorted(rows, column, direction) {
  if (direction === "none") return rows;
  const sign = direction === "ascending" ? 1 : -1;
  const found = keys(rows, column);
  const places = rows.map((_, place) => place);
  places.sort((i, j) => {
    const [a, b] = [found[i], found[j]];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : words.compare(a, b));
  });
  return places.map((place) => rows[place]);
}

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const rows = body ? [...body.rows] : [];
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  if (rows.length < 2 || rows.some((row) => row.cells.length !== heads.length)) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = NEXT[head.getAttribute("aria-sort") ?? "none"];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (direction !== "none") head.setAttribute("aria-sort", direction);
      body.append(...sorted(rows, column, direction));
    });
  });
}
