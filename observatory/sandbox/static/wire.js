// The wire panel: a live list of the model calls in the ledger. Keys arrive as fingerprints only.

import { element } from './messages.js';

const KEPT = 50;
const calls = new Map();
const byId = (id) => document.getElementById(id);
const isWide = window.matchMedia('(min-width: 1101px)');

export function startWire() {
  byId('wire-toggle').addEventListener('click', () => show(byId('wire').hidden));
  byId('wire-close').addEventListener('click', () => {
    show(false);
    byId('wire-toggle').focus();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !isWide.matches) show(false);
  });
  show(isWide.matches);
}

export async function loadCalls() {
  const answer = await fetch('chat/calls');
  calls.clear();
  for (const call of (await answer.json()).calls) calls.set(call.n, call);
  draw();
}

export function noteCall(call) {
  calls.set(call.n, call);
  draw();
}

export function clearCalls() {
  calls.clear();
  draw();
}

function show(isOpen) {
  byId('wire').hidden = !isOpen;
  byId('wire-toggle').setAttribute('aria-expanded', String(isOpen));
}

function draw() {
  while (calls.size > KEPT) calls.delete(calls.keys().next().value);
  const newest = [...calls.values()].sort((a, b) => b.n - a.n);
  byId('wire-count').textContent = newest[0]?.n ?? 0;
  byId('no-calls').hidden = newest.length > 0;
  byId('calls').replaceChildren(...newest.map(callItem));
  byId('payers').replaceChildren(...payers(newest));
}

function callItem(call) {
  const isOther = call.served_model && call.served_model !== call.model;
  return element('li', { class: 'call' },
    element('div', {}, element('strong', {}, call.agent ?? 'no agent named'), status(call)),
    element('div', {}, element('span', { class: 'model' }, call.model || 'no model named')),
    isOther ? element('div', { class: 'warn' }, `answered by ${call.served_model}`) : null,
    element('div', {},
      keyChip(call),
      element('span', { class: 'faint' }, `${call.prompt_tokens} → ${call.completion_tokens} tokens`),
      element('span', { class: 'far' }, dollars(call.cost_usd))),
  );
}

function status(call) {
  const at = new Date(call.at).toLocaleTimeString();
  if (call.status === null) return element('span', { class: 'far faint', title: at }, 'answering…');
  const word = call.status === 499 ? 'client left' : String(call.status);
  return element('span', { class: `far ${call.status === 200 ? 'good' : 'bad'}`, title: at }, `${word} · ${at}`);
}

function payers(shown) {
  const sums = new Map();
  for (const call of shown) {
    const sum = sums.get(call.fingerprint) ?? { call, count: 0, cost: 0 };
    sums.set(call.fingerprint, { call, count: sum.count + 1, cost: sum.cost + Number(call.cost_usd) });
  }
  return [...sums.values()].map(({ call, count, cost }) => element('li', {},
    keyChip(call), element('span', {}, `paid ${count} call${count === 1 ? '' : 's'}`), element('strong', {}, dollars(cost))));
}

// A key always has the same color, so that two payers can be distinguished at a glance.
function keyChip({ fingerprint, key_name: name }) {
  let hash = 7;
  for (const character of fingerprint) hash = (hash * 31 + character.codePointAt(0)) % 5;
  return element('span', { class: `key key-${hash}`, title: `The key ends in ${fingerprint}` }, name);
}

function dollars(cost) {
  return `$${Number(cost).toFixed(6)}`;
}
