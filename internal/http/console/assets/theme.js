// Runs before the page is painted: without a chosen theme the system's holds.
(function () {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => root.setAttribute("data-bs-theme", root.dataset.theme || (system.matches ? "dark" : "light"));
  apply();
  system.addEventListener("change", apply);
  addEventListener("theme", apply);
})();
