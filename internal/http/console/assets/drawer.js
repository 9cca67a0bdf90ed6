// The progress drawer: it polls GET /platform/jobs/{jobId} and shows the phases.
// It can be closed, opened again and reloaded at any time: all it knows is the
// job's id, which stands in the address as ?job=.
const slowest = 10000; // ms between polls while the page is hidden or the network is away

const $ = (id) => document.getElementById(id);
let watch = null; // the job being watched

// make builds an element: text only ever becomes text.
function make(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name === "onclick") el.addEventListener("click", value);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

const drawings = {
  check: ["M5 12l5 5l10 -10"], x: ["M18 6l-12 12M6 6l12 12"], circle: ["M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0 -18"],
  run: ["M12 3a9 9 0 1 0 9 9"], undo: ["M9 14l-4 -4l4 -4M5 10h11a4 4 0 1 1 0 8h-1"], minus: ["M5 12h14"], alert: ["M12 9v4M12 16v.01M12 3l9.5 17h-19z"],
};

function icon(name, extra = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [k, v] of Object.entries({
    class: "icon " + extra, width: 20, height: 20, viewBox: "0 0 24 24", fill: "none", stroke: "currentColor",
    "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true",
  })) svg.setAttribute(k, v);
  for (const d of drawings[name]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

const looks = {
  queued: ["secondary", "circle"], pending: ["secondary", "circle"], running: ["blue", "run", "spin"], rolling_back: ["orange", "undo"],
  done: ["green", "check"], complete: ["green", "check"], failed: ["red", "alert"], undone: ["orange", "undo"],
  skipped: ["secondary", "minus"], cancelled: ["secondary", "x"], sent: ["green", "check"],
};

const words = (name) => name.replaceAll("_", " ");

function status(name) {
  const [colour, drawing, extra] = looks[name] || looks.pending;
  return make("span", { class: "status status-" + colour }, icon(drawing, extra), " " + words(name));
}

function elapsed(from, to) {
  if (!from) return "";
  const ms = Math.max(0, new Date(to || Date.now() + watch.skew) - new Date(from));
  if (to && ms < 1000) return ms + " ms";
  return ms < 60000 ? (ms / 1000).toFixed(1) + " s" : Math.floor(ms / 60000) + " min " + Math.floor(ms / 1000) % 60 + " s";
}

const settled = (job) => ["complete", "failed", "cancelled"].includes(job.status);

async function call(method, path) {
  const response = await fetch(path, { method, headers: { Accept: "application/json" } });
  const body = response.status === 204 ? null : await response.json();
  if (!response.ok) throw Object.assign(new Error(body.detail || response.statusText), { problem: body });
  return body;
}

// openDrawer shows a job and follows it until it is settled or the drawer closes.
export function openDrawer(id) {
  const drawer = $("drawer");
  if (watch) stop();
  watch = { id, etag: null, job: null, skew: 0, failures: 0, said: "", back: document.activeElement };
  const url = new URL(location.href);
  url.searchParams.set("job", id);
  history.replaceState(null, "", url);
  $("drawer-title").textContent = "Job";
  $("drawer-body").replaceChildren(
    make("p", { id: "drawer-state" }, "Loading…"),
    make("div", { id: "drawer-link", role: "status", hidden: true }),
    make("progress", { id: "drawer-progress", max: 8, value: 0, "aria-label": "Progress" }),
    make("div", { id: "drawer-content" }),
    make("div", { id: "drawer-said", class: "visually-hidden", role: "status", "aria-live": "polite" }),
  );
  if (!drawer.open) drawer.showModal();
  poll();
  watch.ticker = setInterval(tick, 200);
}

function stop() {
  clearTimeout(watch.timer);
  clearInterval(watch.ticker);
  watch.controller?.abort();
  watch = null;
}

function closed() {
  const back = watch?.back;
  if (watch) stop();
  const url = new URL(location.href);
  url.searchParams.delete("job");
  history.replaceState(null, "", url);
  if (back?.isConnected) back.focus();
}

async function poll() {
  const mine = watch;
  clearTimeout(mine.timer);
  mine.controller?.abort();
  mine.controller = new AbortController();
  const deadline = setTimeout(() => mine.controller.abort(), 15000);
  try {
    const headers = { Accept: "application/json" };
    if (mine.etag) headers["If-None-Match"] = mine.etag;
    const response = await fetch("/platform/jobs/" + encodeURIComponent(mine.id), { headers, signal: mine.controller.signal, cache: "no-store" });
    if (mine !== watch) return;
    const date = response.headers.get("Date");
    if (date && !mine.job) mine.skew = Math.round((new Date(date) - Date.now()) / 1000) * 1000;
    if (response.status === 401) return lost("You are signed out.", make("a", { href: "/platform/session?next=" + encodeURIComponent(location.pathname + location.search) }, "Sign in"));
    if (response.status === 404) return lost("There is no such job.");
    if (response.status === 403) return lost("You may not see this job.");
    if (!response.ok && response.status !== 304) throw new Error("status " + response.status);
    if (response.status === 200) {
      mine.job = await response.json();
      mine.etag = response.headers.get("ETag");
      if (mine !== watch) return;
      show(mine.job);
    }
    mine.failures = 0;
    connection("");
  } catch (error) {
    if (mine !== watch) return;
    mine.failures++;
    connection("Reconnecting… The server does not answer; the job goes on by itself.");
  } finally {
    clearTimeout(deadline);
  }
  if (mine !== watch || mine.job && settled(mine.job) && !mine.failures) return;
  const every = mine.job?.pollAfterMs || 1500;
  const delay = document.hidden ? slowest : Math.min(slowest, every * 2 ** Math.min(mine.failures, 3));
  mine.timer = setTimeout(poll, delay);
}

// lost ends the watching with a reason that polling will not mend.
function lost(text, ...more) {
  clearInterval(watch.ticker);
  $("drawer-state").replaceChildren(icon("alert"), " " + text + " ", ...more);
  $("drawer-progress").hidden = !watch.job;
}

function connection(text) {
  const line = $("drawer-link");
  if (line.textContent === text) return;
  line.textContent = text;
  line.hidden = !text;
  line.className = text ? "alert alert-warning" : "";
}

function announce(text) {
  if (!text || watch.said === text) return;
  watch.said = text;
  $("drawer-said").textContent = text;
}

function show(job) {
  const done = job.phases.filter((p) => p.status === "done" || p.status === "skipped").length;
  const what = job.kind === "provision" ? (job.dryRun ? "Dry run of " : "Provisioning ") : "Offboarding ";
  $("drawer-title").textContent = what + job.slug;
  $("drawer-state").replaceChildren(status(job.status), job.attempt > 1 ? ` attempt ${job.attempt}` : "");
  const bar = $("drawer-progress");
  bar.max = job.phases.length;
  bar.value = done;
  bar.textContent = `${done} of ${job.phases.length}`;
  const content = [phases(job)];
  if (job.status === "failed" || job.error) content.push(failure(job));
  if (job.status === "complete") content.push(handOff(job));
  if (!settled(job) && document.body.dataset.admin !== undefined && !job.cancelRequested) {
    content.push(make("p", {}, make("button", { type: "button", class: "btn", onclick: () => operate("cancel") }, "Cancel the job")));
  }
  content.push(make("p", {}, make("a", { href: "/platform/jobs/" + job.jobId }, "All of this job")));
  $("drawer-content").replaceChildren(...content);
  if (settled(job)) {
    clearInterval(watch.ticker);
    watch.ticker = 0;
    announce(job.status === "complete" ? what + job.slug + " is complete." : `The job ${words(job.status)}${job.error ? " with " + job.error.code : ""}.`);
    document.body.dispatchEvent(new CustomEvent("job-settled"));
    for (const list of document.querySelectorAll("#list[hx-trigger]")) window.htmx?.trigger(list, "refresh");
  } else {
    announce(`${words(job.phase || job.status)}, ${done} of ${job.phases.length} done`);
  }
}

function phases(job) {
  return make("ol", { class: "phases" }, ...job.phases.map((p) => make("li", {},
    make("span", {}, status(p.status), " ", make("strong", {}, p.name)),
    make("span", { class: "elapsed", "data-from": p.status === "running" ? p.startedAt : null }, elapsed(p.startedAt, p.finishedAt)),
    p.error ? make("span", { class: "phase-note" }, `${p.error.code}: ${p.error.message}`) : null,
    p.detail?.dbServer ? make("span", { class: "phase-note" }, "on " + p.detail.dbServer) : null)));
}

function tick() {
  if (!watch?.job || document.hidden) return;
  for (const el of document.querySelectorAll("#drawer [data-from]")) el.textContent = elapsed(el.dataset.from, null);
}

function failure(job) {
  if (!job.error) return null;
  const e = job.error;
  const undone = job.phases.filter((p) => p.status === "undone").map((p) => p.name);
  const box = make("div", { class: "alert alert-danger" },
    make("h3", { class: "alert-title" }, icon("alert"), " " + e.code),
    make("p", {}, e.message),
    e.meaning ? make("p", {}, make("strong", {}, "Meaning: "), e.meaning) : null,
    e.fix ? make("p", {}, make("strong", {}, "Fix: "), e.fix) : null,
    make("p", {}, make("strong", {}, "Rolled back: "), e.rolledBack
      ? (undone.length ? undone.join(", ") : "there was nothing to undo") + "."
      : job.status === "failed" ? "not everything." : "under way."),
    e.residue.length ? make("p", {}, make("strong", {}, "Left behind: "), e.residue.join(", ")) : null,
    make("p", {}, make("a", { href: e.runbookUrl }, "Runbook page of " + e.code)));
  if (job.status === "failed" && document.body.dataset.admin !== undefined) {
    box.append(make("p", {}, make("button", { type: "button", class: "btn btn-primary", id: "drawer-retry", onclick: () => operate("retry") }, "Retry")));
  }
  return box;
}

// operate retries or cancels the job, and goes on watching it.
async function operate(what) {
  const mine = watch;
  for (const b of $("drawer-content").querySelectorAll("button")) b.disabled = true;
  try {
    await call("POST", `/platform/jobs/${mine.id}/${what}`);
  } catch (error) {
    if (mine === watch) {
      announce(error.message);
      $("drawer-content").prepend(make("div", { class: "alert alert-danger", role: "alert" }, error.message));
    }
    return;
  }
  if (mine !== watch) return;
  mine.etag = null;
  if (!mine.ticker) mine.ticker = setInterval(tick, 200);
  poll();
}

function handOff(job) {
  if (job.kind !== "provision") return make("p", {}, "The work is done.");
  if (job.dryRun) return make("div", { class: "alert alert-success" }, make("h3", { class: "alert-title" }, icon("check"), " The dry run found nothing in the way"), make("p", {}, "Nothing was made."));
  const box = make("div", { class: "alert alert-success", id: "hand-off" },
    make("h3", { class: "alert-title" }, icon("check"), " Hand off the invitation"),
    make("p", {}, make("a", { href: "/platform/tenants/" + job.slug }, "Open " + job.displayName)));
  if (document.body.dataset.support !== undefined) invitation(job, box);
  return box;
}

async function invitation(job, box) {
  const line = make("p", {}, "Asking for the invitation…");
  box.append(line);
  try {
    const inv = await call("GET", `/platform/tenants/${job.slug}/invitation`);
    const address = make("span", { id: "drawer-address" }, inv.signInUrl);
    line.replaceChildren(inv.status === "sent" ? "The invitation was mailed to " : inv.status === "failed" ? "The invitation could not be mailed to " : "The invitation will be mailed to ",
      make("strong", {}, inv.email), inv.lastError ? ": " + inv.lastError : ".");
    box.append(
      make("p", {}, "Sign-in address: ", address, " ", make("button", { type: "button", class: "btn btn-sm", "data-copy": "#drawer-address" }, " Copy")),
      make("p", {}, make("button", {
        type: "button", class: "btn", id: "drawer-resend",
        onclick: async (event) => {
          event.target.disabled = true;
          try {
            await call("POST", `/platform/tenants/${job.slug}/invitation`);
            line.textContent = "A fresh invitation is on its way; the link of the one before is dead.";
          } catch (error) {
            line.textContent = error.message;
            event.target.disabled = false;
          }
        },
      }, "Send it again")));
  } catch (error) {
    line.textContent = error.message;
  }
}

$("drawer")?.addEventListener("close", closed);
$("drawer-close")?.addEventListener("click", () => $("drawer").close());
document.addEventListener("visibilitychange", () => { if (watch && !document.hidden && !(watch.job && settled(watch.job))) poll(); });
addEventListener("online", () => { if (watch && watch.failures) poll(); });
