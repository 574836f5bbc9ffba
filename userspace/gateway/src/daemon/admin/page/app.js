// The page of sluice. Names of hosts, URLs and users come from whoever sends them: everything is
// inserted as text, and nothing is ever read as markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // An element with attributes and children; children that are no nodes become text.
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== undefined && value !== null) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  const trouble = (text) => {
    $("trouble").textContent = text;
    $("trouble").hidden = !text;
  };
  addEventListener("error", (event) => trouble(`The page has a fault: ${event.message}`));
  addEventListener("unhandledrejection", (event) => trouble(`The page has a fault: ${event.reason}`));

  // Numbers and times.
  const whole = new Intl.NumberFormat("en");
  const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const count = (number) => whole.format(number);
  const rate = (number) => (number < 100 ? short.format(number) : whole.format(Math.round(number)));
  const size = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let at = 0;
    while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
    return `${rate(bytes)} ${units[at]}`;
  };
  const time = (seconds) => {
    if (seconds === 0) return "0";
    if (seconds < 1e-3) return `${short.format(seconds * 1e6)} µs`;
    if (seconds < 1) return `${short.format(seconds * 1e3)} ms`;
    return `${short.format(seconds)} s`;
  };
  const span = (seconds) => {
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const first = parts.findIndex(([length]) => seconds >= length);
    if (first < 0) return "0 s";
    return parts.slice(first, first + 2).map(([length, unit], at) => {
      const left = at === 0 ? seconds : seconds % parts[first][0];
      return [Math.floor(left / length), unit];
    }).filter(([number], at) => at === 0 || number > 0).map(([number, unit]) => `${number} ${unit}`).join(" ");
  };
  const clock = (date) => date.toLocaleTimeString("en-GB");
  const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

  // Questions.
  class Unknown extends Error {}
  const ask = async (path, options = {}) => {
    const response = await fetch(path, { cache: "no-store", ...options });
    if (response.status === 401 || response.status === 429) {
      logIn();
      throw new Unknown("not logged in");
    }
    const text = await response.text();
    let answer;
    try { answer = JSON.parse(text); } catch { answer = { error: text.trim() }; }
    if (!response.ok) throw new Error(answer.error || `status ${response.status}`);
    return answer;
  };
  const attempt = async (what, action) => {
    try {
      await action();
      trouble("");
    } catch (error) {
      if (!(error instanceof Unknown)) trouble(`${what}: ${error.message}`);
    }
  };

  // Charts.
  const VERDICTS = ["splice", "intercept", "block"];
  const swatch = (style) => s("svg", { viewBox: "0 0 16 8", "aria-hidden": "true" }, s("rect", { width: 16, height: 8, class: `s-${style}` }));
  const legend = (list, entries) => list.replaceChildren(...entries.map(([style, text]) => h("li", {}, swatch(style), text)));
  const nice = (most) => {
    if (most <= 0) return 1;
    const power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
  };
  const niceSize = (most) => {
    const power = 1024 ** Math.max(0, Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)));
    return [1, 2, 4, 10, 20, 40, 100, 200, 400, 1024].map((step) => step * power).find((step) => step >= most);
  };
  const frame = (chart) => {
    const box = chart.getBoundingClientRect();
    const [width, height] = [Math.max(box.width, 100), Math.max(box.height, 80)];
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    return { width, height, left: 62, right: width - 8, top: 8, bottom: height - 20 };
  };

  // What became of flows, stacked; one step for each interval.
  const stacked = (chart, intervals, values, [show, round], what) => {
    const box = frame(chart);
    const end = intervals.length ? intervals[intervals.length - 1].at : 0;
    const x = (at) => box.right - ((end - at) / 900) * (box.right - box.left);
    const rates = intervals.map((one) => VERDICTS.map((verdict) => (one.seconds > 0 ? (values(one)[verdict] || 0) / one.seconds : 0)));
    const most = round(Math.max(0, ...rates.map(sum)));
    const y = (value) => box.bottom - (value / most) * (box.bottom - box.top);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const at = y(most * share);
      parts.push(s("line", { class: "axis", x1: box.left, x2: box.right, y1: at, y2: at }));
      parts.push(s("text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, show(most * share)));
    }
    for (const minutes of [15, 10, 5, 0]) {
      const anchor = minutes === 15 ? "start" : minutes === 0 ? "end" : "middle";
      parts.push(s("text", { x: x(end - minutes * 60), y: box.height - 5, "text-anchor": anchor }, minutes ? `−${minutes} min` : "now"));
    }
    const base = intervals.map(() => 0);
    VERDICTS.forEach((verdict, of) => {
      let up = "";
      let down = "";
      intervals.forEach((one, at) => {
        const [from, to] = [x(one.at - one.seconds), x(one.at)];
        const [low, high] = [y(base[at]), y(base[at] + rates[at][of])];
        up += `${up ? "L" : "M"}${from.toFixed(1)} ${high.toFixed(1)}L${to.toFixed(1)} ${high.toFixed(1)}`;
        down = `L${to.toFixed(1)} ${low.toFixed(1)}L${from.toFixed(1)} ${low.toFixed(1)}${down}`;
        base[at] += rates[at][of];
      });
      if (up) parts.push(s("path", { class: `area s-${verdict}`, d: `${up}${down}Z` }));
    });
    chart.replaceChildren(...parts);
    const last = intervals.slice(-12);
    const seconds = sum(last.map((one) => one.seconds)) || 1;
    const told = VERDICTS.map((verdict) => [verdict, sum(last.map((one) => values(one)[verdict] || 0)) / seconds]);
    chart.setAttribute("aria-label", `${what} of the last minute: ${told.map(([verdict, number]) => `${verdict} ${show(number)}`).join(", ")}`);
    return told;
  };

  const CURVES = [["peek", "s-splice", "splice", ""], ["connect", "s-c4", "c4", ""], ["server_hello", "s-c5", "c5", "6 3"],
    ["client_handshake", "s-intercept", "intercept", ""], ["origin_handshake", "s-block", "block", "6 3"], ["request", "s-c6", "c6", "2 3"]];
  const latencies = (chart, curves) => {
    const box = frame(chart);
    const shown = CURVES.map(([of, ...style]) => [curves.find((curve) => curve.of === of), of, ...style]).filter(([curve]) => curve);
    const points = shown.flatMap(([curve]) => curve.quantiles.filter((one) => one.at < 1 && one.seconds > 0).map((one) => one.seconds));
    const [low, high] = points.length ? [Math.floor(Math.log10(Math.min(...points))), Math.ceil(Math.log10(Math.max(...points)))] : [-3, 0];
    const decades = Math.max(1, high - low);
    const y = (seconds) => box.bottom - ((Math.log10(Math.max(seconds, 10 ** low)) - low) / decades) * (box.bottom - box.top);
    const nines = (at) => -Math.log10(1 - at);
    const x = (at) => box.left + (nines(at) / 3) * (box.right - box.left);
    const parts = [];
    for (let power = low; power <= low + decades; power += 1) {
      const at = y(10 ** power);
      parts.push(s("line", { class: "axis", x1: box.left, x2: box.right, y1: at, y2: at }));
      parts.push(s("text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, time(10 ** power)));
    }
    for (const [at, text] of [[0.5, "50 %"], [0.9, "90 %"], [0.99, "99 %"], [0.999, "99.9 %"]]) {
      parts.push(s("text", { x: x(at), y: box.height - 5, "text-anchor": at === 0.999 ? "end" : "middle" }, text));
    }
    for (const [curve, , style, , dash] of shown) {
      const line = curve.quantiles.filter((one) => one.at < 1).map((one) => `${x(one.at).toFixed(1)},${y(one.seconds).toFixed(1)}`).join(" ");
      parts.push(s("polyline", { class: `curve ${style}`, points: line, "stroke-dasharray": dash || null }));
    }
    chart.replaceChildren(...parts);
    legend($("latency-legend"), shown.map(([, of, , swatchStyle]) => [swatchStyle, of.replaceAll("_", " ")]));
  };

  // Tables.
  const rows = (body, list, columns, empty) => {
    const made = list.map((one) => h("tr", {}, ...columns(one)));
    if (!made.length) made.push(h("tr", {}, h("td", { class: "none", colspan: body.parentElement.tHead.rows[0].cells.length }, empty)));
    body.replaceChildren(...made);
  };
  const verdict = (text, tag = "span") => h(tag, { class: `v-${text.split("-")[0]}` }, text);
  const number = (text) => h("td", { class: "number" }, text);
  const share = (name, value, most) => {
    const cell = h("th", { scope: "row", class: "share words" }, name);
    cell.style.setProperty("--share", `${most > 0 ? (100 * value) / most : 0}%`);
    return cell;
  };

  let latest = null;
  const facts = (summary) => {
    const last = summary.intervals.slice(-12);
    const seconds = sum(last.map((one) => one.seconds)) || 1;
    const flows = sum(last.flatMap((one) => Object.values(one.flows)));
    const blocked = sum(last.map((one) => one.flows.block || 0));
    const bytes = sum(last.flatMap((one) => Object.values(one.bytes)));
    const requests = sum(last.flatMap((one) => Object.values(one.requests)));
    const tiles = [
      ["Active flows", count(summary.active_flows)],
      ["Flows per second", rate(flows / seconds)],
      ["Blocked", flows ? `${rate((100 * blocked) / flows)} %` : "none"],
      ["Requests per second", rate(requests / seconds)],
      ["Bytes per second", size(bytes / seconds)],
      ["Records kept", count(summary.records.kept)],
    ];
    $("tiles").replaceChildren(...tiles.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    $("ready").textContent = summary.ready ? "ready" : "not ready";
    $("ready").className = `badge ${summary.ready ? "ok" : "bad"}`;
    $("facts").textContent = `version ${summary.version}, up ${span(summary.uptime_seconds)}, generation ${summary.generation}`;
    $("foot").textContent = `As of ${clock(new Date(summary.time))}. Tiles and charts are of the last minute and quarter of an hour.`;
  };

  const WORDS = { ok: "ok", warn: "look", bad: "amiss", none: "none" };
  const health = (summary) => {
    const parts = [];
    const add = (name, state, details) => parts.push([name, state, details]);
    const idle = Math.max(0, ...summary.workers.map((one) => one.idle_seconds));
    add("Workers", summary.alive ? "ok" : "bad", `${summary.workers.length}, the longest without a turn for ${idle} s`);
    const kernel = summary.kernel;
    if (!kernel) add("Kernel programs", "warn", "the daemon runs without them");
    else if (kernel.error) add("Kernel programs", "bad", kernel.error);
    else {
      const age = kernel.heartbeat_age_seconds;
      const dead = age === null || age > kernel.heartbeat_limit_seconds;
      add("Kernel programs", dead || !kernel.devices.length ? "bad" : "ok",
        `on ${kernel.devices.join(", ") || "no device"}; sign of life ${age === null ? "never" : `${age.toFixed(1)} s ago`}; ${count(kernel.refused_packets)} packets refused; ${kernel.fail_open ? "open" : "closed"} without the daemon`);
      add("Event ring", kernel.events_lost ? "warn" : "ok", `${count(kernel.events_lost)} events lost`);
    }
    if (!summary.ca) add("CA", "none", "none: nothing is decrypted");
    else {
      const left = summary.ca.seconds_left;
      const date = new Date(summary.ca.not_after * 1000).toISOString().slice(0, 10);
      add("CA", left < 0 ? "bad" : left < 30 * 86400 ? "warn" : "ok", left < 0 ? `over since ${date}` : `until ${date}, ${span(left)} left`);
    }
    for (const sink of summary.sinks) {
      const state = sink.state === "ok" ? (sink.dropped ? "warn" : "ok") : "bad";
      add(`Records to ${sink.sink}`, state, `${sink.state}; ${count(sink.written)} written, ${count(sink.dropped)} lost, ${size(sink.queued_bytes)} wait`);
    }
    if (summary.refuses) add("Records", "bad", "new flows are refused, because records cannot be written");
    const kept = summary.records;
    add("Records for this page", kept.dropped ? "warn" : "ok", `${count(kept.kept)} of at most ${count(kept.limit)} in ${size(kept.bytes)}; ${count(kept.dropped)} never kept`);
    for (const one of summary.providers) {
      add(`Identity by ${one.name}`, one.state === "down" ? "bad" : "ok", [one.kind, one.state, one.why].filter(Boolean).join(", "));
    }
    add("Identity by address", "ok", `${count(summary.addresses.told)} addresses told, ${count(summary.addresses.learned)} learned`);
    rows($("parts"), parts, ([name, state, details]) => [h("th", { scope: "row", class: "words" }, name), h("td", {}, h("span", { class: `v-${state}` }, WORDS[state])), h("td", { class: "words" }, details)], "");
  };

  const minutes = (intervals) => {
    const found = [];
    for (let end = intervals.length; end > 0; end -= 12) {
      const part = intervals.slice(Math.max(0, end - 12), end);
      const of = (word) => count(sum(part.map((one) => one.flows[word] || 0)));
      found.push([part[part.length - 1].at, of("splice"), of("intercept"), of("block"), size(sum(part.flatMap((one) => Object.values(one.bytes))))]);
    }
    rows($("minutes"), found, ([at, ...cells]) => [h("th", { scope: "row" }, clock(new Date(at * 1000))), ...cells.map(number)], "Nothing yet");
  };

  const options = (list, values) => list.replaceChildren(...values.map((value) => h("option", { value })));

  const draw = () => {
    const summary = latest;
    if (!summary || document.hidden) return;
    facts(summary);
    const flows = stacked($("flows-chart"), summary.intervals, (one) => one.flows, [rate, nice], "Flows per second");
    legend($("flows-legend"), flows.map(([name, value]) => [name, `${name} ${rate(value)}/s`]));
    const bytes = stacked($("bytes-chart"), summary.intervals, (one) => one.bytes, [size, niceSize], "Bytes per second");
    legend($("bytes-legend"), bytes.slice(0, 2).map(([name, value]) => [name, `${name} ${size(value)}/s`]));
    minutes(summary.intervals);
    const mostFlows = Math.max(0, ...summary.reasons.map((one) => one.flows));
    rows($("reasons"), summary.reasons, (one) => [h("td", {}, verdict(one.verdict)), share(one.reason, one.flows, mostFlows), number(count(one.flows))], "No flow ended yet");
    const mostHits = Math.max(0, ...summary.rules.map((one) => one.flows + one.requests));
    rows($("rules"), summary.rules.slice(0, 15), (one) => [share(one.name, one.flows + one.requests, mostHits), number(count(one.flows)), number(count(one.requests))], "No rule decided yet");
    const rest = summary.rule_count - Math.min(15, summary.rules.length);
    $("rules-rest").textContent = rest > 0 ? `${count(rest)} more of ${count(summary.rule_count)} rules` : "";
    for (const [body, hosts, empty] of [["blocked", summary.blocked_hosts, "Nothing was blocked"], ["decrypted", summary.decrypted_hosts, "Nothing was decrypted"]]) {
      const most = Math.max(0, ...hosts.map((one) => one.records));
      rows($(body), hosts, (one) => [share(one.host, one.records, most), number(count(one.records))], empty);
    }
    latencies($("latency-chart"), summary.latencies);
    const at = (curve, wanted) => {
      const found = curve.quantiles.find((one) => one.at === wanted);
      return number(found ? time(found.seconds) : "");
    };
    rows($("quantiles"), summary.latencies, (curve) => [h("th", { scope: "row" }, curve.of.replaceAll("_", " ").replace(":", ", ")), number(count(curve.count)), at(curve, 0.5), at(curve, 0.9), at(curve, 0.99)], "Nothing was measured yet");
    health(summary);
    options($("reason-list"), [...new Set(summary.reasons.map((one) => one.reason))]);
    options($("rule-list"), summary.rules.map((one) => one.name));
  };

  // Records.
  const PAGE = 50;
  let shown = { before: null, oldest: null, more: false, waiting: 0, query: "" };
  const target = (record) => {
    if (record.url) return record.url;
    return record.sni || record.destination || (record.other ? "others" : "");
  };
  const search = async (before) => {
    const query = new URLSearchParams({ limit: PAGE });
    for (const [key, value] of new FormData($("search"))) if (value.trim()) query.set(key, value.trim());
    if (before) query.set("before", before);
    const answer = await ask(`api/records?${query}`);
    const list = answer.records;
    shown = { before, oldest: list.length ? list[list.length - 1].id : null, more: answer.more, waiting: 0 };
    rows($("found-records"), list, ({ id, record }) => {
      const bytes = record.kind === "packets" ? record.bytes : (record.to_origin || 0) + (record.to_client || 0);
      const user = record.user ? [h("br"), record.user] : [];
      const rule = record.rule ? [h("br"), h("span", { class: "muted" }, record.rule)] : [];
      const why = record.kind === "packets" ? "" : h("button", { type: "button", "data-id": id, "aria-label": `Why? Record ${id}`, click: (event) => explainRecord(id, event.target) }, "Why?");
      return [
        h("th", { scope: "row", class: "whole-words" }, h("time", { datetime: record.time }, clock(new Date(record.time)))),
        h("td", { class: "wide words client" }, record.client || "", ...user),
        h("td", { class: "words" }, h("span", { class: "cut" }, `${record.method ? `${record.method} ` : ""}${target(record)}`)),
        h("td", {}, verdict(record.verdict)),
        h("td", { class: "wide words" }, record.reason || "", ...rule),
        h("td", { class: "number wider" }, record.kind === "request" ? "" : size(bytes || 0)),
        h("td", {}, why),
      ];
    }, answer.limit ? "No record fits" : "No records are kept: `recent` in [admin] is 0");
    $("older").disabled = !shown.more;
    tell(`${list.length ? `Records ${count(list[list.length - 1].id)} to ${count(list[0].id)}` : "No records"} of ${count(answer.kept)} kept`);
  };
  const tell = (text) => { if ($("found").textContent !== text) $("found").textContent = text; };
  // New records are shown at once, unless somebody reads: then only their number is.
  const arrived = async (news) => {
    shown.waiting += news.records.length;
    const reads = shown.before || $("why").open || $("found-records").contains(document.activeElement) || document.hidden;
    $("newest").textContent = reads && shown.waiting ? `Newest (${shown.waiting}${news.more ? "+" : ""} new)` : "Newest";
    if (!reads && !searching) again();
  };
  let searching = false;
  const again = (before = null) => {
    searching = true;
    return attempt("Records", () => search(before)).finally(() => { searching = false; $("newest").textContent = "Newest"; });
  };
  $("search").addEventListener("submit", (event) => { event.preventDefault(); again(); });
  $("search").addEventListener("reset", () => setTimeout(again, 0));
  $("newest").addEventListener("click", () => again());
  $("older").addEventListener("click", () => { if (shown.oldest) again(shown.oldest); });

  // Explanations.
  const decided = (trace) => {
    const found = trace.decided;
    if (!found) {
      const last = trace.stages[trace.stages.length - 1];
      const more = last.next ? `the stage ${last.next} tells more` : "no stage tells more: such a flow is blocked";
      return h("p", { class: "verdict" }, `Undecided at ${last.stage}: ${last.possible.join(" or ")} possible; ${more}.`);
    }
    const by = found.rule ? `by the rule “${found.rule}”` : `by ${found.reason || "default"}, for no rule decides`;
    const rests = found.support.length ? ` It rests on ${found.support.join(", ")}.` : " It rests on nothing that a flow tells.";
    return h("p", { class: "verdict" }, verdict(found.outcome, "strong"), ` at ${found.stage}, ${by}.${rests}`);
  };
  const stage = (one, open) => {
    const outcome = one.outcome ? `decides: ${one.outcome}` : `${one.possible.join(" or ")} possible`;
    const list = one.rules.map((rule) => h("li", {},
      h("span", { class: `v-${rule.value}` }, rule.value), ` ${rule.number}. “${rule.name}”: ${rule.action}`,
      rule.conditions.length ? h("ul", {}, ...rule.conditions.map((condition) => h("li", {}, h("span", { class: `v-${condition.value}` }, condition.value), ` ${condition.word} ${condition.text}`))) : null));
    if (one.left_out) list.push(h("li", { class: "muted" }, `${count(one.left_out)} more rules`));
    if (!list.length) list.push(h("li", { class: "muted" }, "There are no rules"));
    return fill(h("details", {}, h("summary", {}, `Stage ${one.stage}, ${outcome}`), h("ul", { class: "trace" }, ...list)), open ? { open: "" } : {}, []);
  };
  const trace = (found) => [decided(found), ...found.stages.map((one, at) => stage(one, at === found.stages.length - 1))];
  const listed = (object) => h("dl", { class: "facts" }, ...Object.entries(object).flatMap(([key, value]) => [
    h("dt", {}, key.replaceAll("_", " ")), h("dd", {}, value !== null && typeof value === "object" ? JSON.stringify(value) : String(value))]));

  const explainRecord = (id, opener) => attempt("Why?", async () => {
    const answer = await ask(`api/records/${id}/why`);
    const parts = [];
    const { verdict: verdictOf, reason, rule } = answer.record;
    parts.push(h("p", {}, "Recorded: ", verdict(verdictOf, "strong"), ` (${reason})${rule ? `, by the rule “${rule}”` : ""}, by generation ${answer.judged_by}.`));
    if (answer.error) parts.push(h("p", { class: "v-bad" }, `It cannot be judged again: ${answer.error}`));
    else {
      parts.push(h("h3", {}, `What generation ${answer.generation} says`), ...trace(answer.trace));
      const now = answer.changed ? `The configuration changed since: generation ${answer.judged_by} judged, ${answer.generation} is in force. ` : "";
      parts.push(h("p", {}, `${now}${answer.agrees ? "The same decides as then." : "Something else decides than then: a record does not have everything that a flow tells, or the rules are others."}`));
    }
    if (answer.missing.length) parts.push(h("p", { class: "muted" }, `Records do not have, and this counts as absent: ${answer.missing.join("; ")}.`));
    parts.push(h("details", {}, h("summary", {}, "The record"), listed(answer.record)));
    $("why-title").textContent = `Why? ${target(answer.record)}`.slice(0, 200);
    $("why-body").replaceChildren(...parts);
    $("why").addEventListener("close", () => opener.isConnected && opener.focus(), { once: true });
    $("why").showModal();
    $("why-title").focus();
  });
  $("why-close").addEventListener("click", () => $("why").close());

  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt("Explain", async () => {
      const given = {};
      const form = new FormData(event.target);
      if (form.get("more").trim()) {
        const more = JSON.parse(form.get("more"));
        Object.assign(given, more);
      }
      for (const [key, value] of form) if (key !== "more" && value.trim()) given[key] = key === "port" ? Number(value) : value.trim();
      // A name comes with a ClientHello, and a URL with TLS that was negotiated.
      if (!given.tls && given.url && given.url.startsWith("https:")) given.tls = "negotiated";
      else if (!given.tls && given.host && !given.url) given.tls = "hello";
      let answer;
      try { answer = await ask("api/explain", { method: "POST", body: JSON.stringify(given) }); } catch (error) {
        if (error instanceof Unknown) throw error;
        $("explained").replaceChildren(h("p", { class: "v-bad" }, error.message));
        return;
      }
      $("explained").replaceChildren(h("div", { class: "card" }, ...trace(answer.trace)));
    });
  });

  // Who asks.
  const logIn = () => {
    if (!$("login").open) $("login").showModal();
  };
  $("login").addEventListener("cancel", (event) => event.preventDefault());
  $("login-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = new FormData(event.target).get("token");
    const response = await fetch("api/login", { method: "POST", body: JSON.stringify({ token }) });
    if (!response.ok) {
      const wait = response.headers.get("retry-after");
      $("login-note").textContent = wait ? `Wait ${wait} s.` : "This is not the token.";
      return;
    }
    event.target.reset();
    $("login-note").textContent = "";
    $("login").close();
    $("logout").hidden = false;
    begin();
  });
  $("logout").addEventListener("click", () => attempt("Log out", async () => {
    await fetch("api/login", { method: "DELETE" });
    location.reload();
  }));

  // What is told while the page is open.
  let source = null;
  let pause = 1000;
  const link = (text, good) => {
    if ($("link").textContent === text) return;
    $("link").textContent = text;
    $("link").className = `badge ${good ? "ok" : "bad"}`;
  };
  const listen = () => {
    if (source) source.close();
    source = new EventSource("api/events");
    source.addEventListener("summary", (event) => {
      pause = 1000;
      link("live", true);
      latest = JSON.parse(event.data);
      draw();
    });
    source.addEventListener("records", (event) => arrived(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      link("reconnecting", false);
      source.close();
      setTimeout(begin, pause);
      pause = Math.min(pause * 2, 30000);
    });
  };
  const begin = () => attempt("The daemon does not answer", async () => {
    try {
      latest = await ask("api/summary");
    } catch (error) {
      if (error instanceof Unknown) link("not logged in", false);
      else { link("reconnecting", false); setTimeout(begin, pause); pause = Math.min(pause * 2, 30000); }
      throw error;
    }
    draw();
    listen();
    if (!shown.before && !$("why").open) await search(null);
  });
  addEventListener("visibilitychange", draw);
  new ResizeObserver(() => draw()).observe($("main"));
  begin();
})();
