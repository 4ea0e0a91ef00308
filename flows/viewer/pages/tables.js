// Without it the pages read the same; with it, tables sort and filter, by mouse and by keyboard.
const key = (row, i) => {
  const cell = row.cells[i], text = (cell.dataset.v ?? cell.textContent).trim(), number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
};
const sort = (head) => {
  const table = head.closest("table"), body = table.tBodies[0], i = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...body.rows].map((row) => [key(row, i), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
  });
  body.append(...rows.map(([, row]) => row));
};
for (const head of document.querySelectorAll(".sortable thead th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.onclick = () => sort(head);
  head.append(button);
}
for (const field of document.querySelectorAll("input[data-for]")) field.oninput = () => {
  const wanted = field.value.toLowerCase();
  for (const row of document.getElementById(field.dataset.for).tBodies[0].rows)
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
};
