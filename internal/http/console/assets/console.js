// What every page does beyond being read. Nothing here is needed to read a page
// or to send a form.
import { openDrawer } from "./drawer.js";

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// localTimes rewrites UTC to the reader's own zone; UTC stays on hover.
function localTimes(root) {
  for (const el of root.querySelectorAll("time[datetime]:not([data-local])")) {
    el.textContent = local.format(new Date(el.dateTime));
    el.dataset.local = "";
  }
}

// The theme goes round: system, light, dark.
function setUpTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const root = document.documentElement;
  const show = () => {
    const now = "Theme: " + (root.dataset.theme || "system");
    button.setAttribute("aria-label", now);
    button.title = now;
  };
  show();
  button.addEventListener("click", () => {
    const next = { "": "light", light: "dark", dark: "" }[root.dataset.theme || ""];
    const secure = location.protocol === "https:" ? "; Secure" : "";
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    document.cookie = "tenantry_theme=" + next + "; Path=/; SameSite=Lax; Max-Age=" + (next ? 31536000 : 0) + secure;
    dispatchEvent(new Event("theme"));
    show();
    say(button.title);
  });
}

// say tells a screen reader what changed.
export function say(text) {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
}

async function copy(button) {
  const from = document.querySelector(button.dataset.copy);
  await navigator.clipboard.writeText(from.innerText.trim());
  say("Copied");
  const was = button.lastChild.textContent;
  button.lastChild.textContent = " Copied";
  setTimeout(() => { button.lastChild.textContent = was; }, 2000);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-job]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    openDrawer(link.dataset.job);
    return;
  }
  const button = event.target.closest("[data-copy]");
  if (button) copy(button).catch(() => say("The browser does not allow copying."));
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// A second click on a button that is sending sends nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sending) event.preventDefault();
  form.dataset.sending = "true";
  setTimeout(() => { delete form.dataset.sending; }, 5000);
});
addEventListener("pageshow", () => { for (const f of document.forms) delete f.dataset.sending; });

document.addEventListener("htmx:afterSwap", (event) => localTimes(event.detail.target.parentNode || document));
document.addEventListener("htmx:responseError", () => say("The list could not be refreshed."));
document.addEventListener("htmx:sendError", () => say("The server cannot be reached."));

localTimes(document);
setUpTheme();
document.getElementById("faults")?.focus();
const job = new URLSearchParams(location.search).get("job");
if (job && document.getElementById("drawer")) openDrawer(job);
