// The corpus page: sort by a column, find by name.
"use strict";
(() => {
  const body = document.querySelector("#videos tbody");
  const all = [...document.querySelectorAll("tr[data-title]")];
  const heads = [...document.querySelectorAll("#videos th[data-key]")];

  function sort(head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = head.dataset.key, numeric = head.classList.contains("number");
    const value = (row) => (numeric ? parseFloat(row.dataset[key]) : row.dataset[key]);
    const blank = (x) => x === "" || Number.isNaN(x); // unknown comes last, whichever the order
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (blank(x) || blank(y)) return blank(x) - blank(y);
      const order = numeric ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows);
  }
  for (const head of heads) head.querySelector("button").addEventListener("click", () => sort(head));

  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of all) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    if (body.rows.length) document.getElementById("none").hidden = [...body.rows].some((row) => !row.hidden);
  });
})();
