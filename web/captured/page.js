// The page of captured mail. All text goes in by textContent: what a message
// says is never markup here; its HTML is shown in a sandboxed frame.

const api = '/api/v1/captured';
const $ = (id) => document.getElementById(id);
const state = { inbox: '', q: '', id: 0, tab: '', newest: 0 };

async function ask(path, options) {
  const answer = await fetch(api + path, options);
  if (answer.status === 404 && path.startsWith('/wait')) return null;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

function query(extra = {}) {
  const q = new URLSearchParams(extra);
  if (state.inbox) q.set('to', state.inbox);
  if (state.q) q.set('q', state.q);
  return '?' + q;
}

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

function entry(title, lines, chosen, choose) {
  const button = element('button', title, { type: 'button', 'aria-current': chosen });
  for (const line of lines) button.append(element('small', line));
  button.addEventListener('click', choose);
  const item = document.createElement('li');
  item.append(button);
  return item;
}

const messages = (n) => (n === 1 ? '1 message' : `${n} messages`);
const when = (t) => new Date(t).toLocaleString();

async function refresh() {
  const search = state.q ? '?' + new URLSearchParams({ q: state.q }) : '';
  const [boxes, list] = await Promise.all([ask('/inboxes' + search), ask(query({ limit: 500 }))]);
  state.newest = list.newest;
  const all = boxes.inboxes.reduce((n, b) => n + b.messages, 0);
  $('inboxes').replaceChildren(
    entry('All inboxes', [messages(all)], !state.inbox, () => open({ inbox: '' })),
    ...boxes.inboxes.map((b) => entry(b.recipient, [messages(b.messages), when(b.received)], state.inbox === b.recipient,
      () => open({ inbox: b.recipient }))));
  $('messages').replaceChildren(...list.messages.map((m) => entry(m.subject || '(no subject)',
    [`${m.from || m.reverse_path || '<>'} → ${m.recipient}`, m.preview, when(m.received)], state.id === m.id, () => open({ id: m.id }))));
  $('none').hidden = list.messages.length > 0;
}

async function show() {
  $('message').hidden = !state.id;
  if (!state.id) return;
  const m = await ask('/' + state.id);
  $('subject').textContent = m.subject || '(no subject)';
  const facts = { From: m.from, To: m.to, 'Envelope from': m.reverse_path || '<>', 'Envelope to': m.recipient, Received: when(m.received), Size: `${m.size} octets` };
  $('facts').replaceChildren(...Object.entries(facts).flatMap(([k, v]) => [element('dt', k), element('dd', v)]));
  const tabs = { HTML: !!m.html, Text: !!m.text, Headers: true, Source: true, [`Attachments (${m.attachments.length})`]: m.attachments.length > 0 };
  const names = Object.keys(tabs).filter((name) => tabs[name]);
  if (!names.includes(state.tab)) state.tab = names[0];
  $('tabs').replaceChildren(...names.map((name) => {
    const b = element('button', name, { type: 'button', role: 'tab', 'aria-selected': name === state.tab });
    b.addEventListener('click', () => { state.tab = name; run(show); });
    return b;
  }));
  await fill(m, state.tab);
}

async function fill(m, tab) {
  for (const id of ['html', 'text', 'header', 'attachments']) $(id).hidden = true;
  if (tab === 'HTML') {
    const src = `${api}/${m.id}/html`;
    if ($('html').getAttribute('src') !== src) $('html').setAttribute('src', src);
    $('html').hidden = false;
  } else if (tab === 'Headers') {
    $('header').tBodies[0].replaceChildren(...m.header.map((f) => {
      const row = document.createElement('tr');
      row.append(element('th', f.name, { scope: 'row' }), element('td', f.value));
      return row;
    }));
    $('header').hidden = false;
  } else if (tab.startsWith('Attachments')) {
    $('attachments').replaceChildren(...m.attachments.map((a) => {
      const item = document.createElement('li');
      item.append(element('a', a.filename || `part ${a.part}`, { href: `${api}/${m.id}/parts/${a.part}`, download: '' }), ` ${a.content_type}, ${a.size} octets as sent`);
      return item;
    }));
    $('attachments').hidden = false;
  } else {
    $('text').textContent = tab === 'Text' ? m.text : await (await fetch(`${api}/${m.id}/source`)).text();
    $('text').hidden = false;
  }
}

function open(change) {
  Object.assign(state, change);
  if ('inbox' in change || 'q' in change) state.id = 0;
  run(async () => { await refresh(); await show(); });
}

async function run(work) {
  try {
    await work();
    $('error').hidden = true;
  } catch (e) {
    $('error').textContent = e.message;
    $('error').hidden = false;
  }
}

$('search').addEventListener('submit', (event) => { event.preventDefault(); open({ q: $('q').value.trim() }); });
$('q').addEventListener('search', () => open({ q: $('q').value.trim() }));
$('delete').addEventListener('click', () => run(async () => {
  await ask('/' + state.id, { method: 'DELETE' });
  open({ id: 0 });
}));
$('clear').addEventListener('click', () => run(async () => {
  if (!confirm(`Delete ${state.inbox ? 'all mail to ' + state.inbox : 'all captured mail'}${state.q ? ' that contains “' + state.q + '”' : ''}?`)) return;
  await ask(query(), { method: 'DELETE' });
  open({ inbox: '', id: 0 });
}));

// What arrives shows itself: the server answers when there is something new.
async function follow() {
  for (;;) {
    try {
      const came = await ask('/wait?' + new URLSearchParams({ after: state.newest, timeout: '60s' }));
      if (came) await run(refresh);
    } catch {
      await new Promise((done) => setTimeout(done, 2000)); // the server restarts
    }
  }
}

await run(refresh);
follow();
