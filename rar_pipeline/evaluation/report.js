"use strict";
// Tables whose headers hold a button are sorted by that column; a second press turns the order round.
for (const button of document.querySelectorAll("th > button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    const text = header.dataset.kind === "text";
    const was = header.getAttribute("aria-sort");
    const up = was === "none" ? text : was === "descending";
    for (const other of header.parentElement.children) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.children[column].dataset.value;
    const compare = text ? (a, b) => a.localeCompare(b) : (a, b) => Number(a) - Number(b);
    const body = table.tBodies[0];
    // rows without a value stay at the end in either order
    const rows = [...body.rows].sort((a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      return (up ? 1 : -1) * compare(key(a), key(b));
    });
    body.append(...rows);
  });
}
