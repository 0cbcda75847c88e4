// The chat page: people, the conversation, live events. Addresses are relative, so it works
// wherever the sandbox is mounted.

import { resetComposer, setCommands, setReply, startComposer } from './composer.js';
import { element, messageRow } from './messages.js';
import { clearCalls, loadCalls, noteCall, startWire } from './wire.js';

const EXAMPLES = [
  '/support VP of Strategy at a mid-size bank, worried about switching cost',
  'How do I answer “we already have a vendor”?',
  '/help',
];
const PRESS_MS = 5000; // a button waits this long for the bot's answer
const NEAR_BOTTOM_PX = 120;

const byId = (id) => document.getElementById(id);
const log = byId('log');
const scroll = byId('scroll');
const messages = new Map();
let people = [];
let bot = null;
let personId = Number(localStorage.getItem('person')) || 1001;
let events = null;
let toastTimer = null;

const on = {
  press, command: (text) => send({ text, replyTo: null }), reply: setReply, find,
  copied: () => toast('Copied'),
};

start();

async function start() {
  byId('examples').append(...EXAMPLES.map((text) => element('li', {}, element('button', { type: 'button', onclick: () => send({ text, replyTo: null }) }, text))));
  startComposer(send);
  startWire();
  byId('person-select').addEventListener('change', (event) => choosePerson(event.target.value));
  byId('block').addEventListener('click', () => block(!person().blocked));
  byId('unblock').addEventListener('click', () => block(false));
  byId('add-person').addEventListener('click', () => byId('person-dialog').showModal());
  byId('person-cancel').addEventListener('click', () => byId('person-dialog').close());
  byId('person-form').addEventListener('submit', addPerson);
  byId('down').addEventListener('click', () => toBottom('smooth'));
  scroll.addEventListener('scroll', onScroll);
  new ResizeObserver(() => { if (isPinned) toBottom(); }).observe(log);
  await loadPeople();
  await openChat();
}

// People

async function loadPeople() {
  ({ people, bot } = await (await fetch('chat/people')).json());
  if (!person()) personId = people[0].id;
  byId('people').replaceChildren(...people.map(personItem));
  byId('person-select').replaceChildren(
    ...people.map((one) => element('option', { value: one.id, selected: one.id === personId }, [one.first_name, one.note].filter(Boolean).join(' · '))),
    element('option', { value: 'new' }, 'Add a person…'));
  drawStatus();
  drawBlocked();
}

function personItem(one) {
  const name = [one.first_name, one.last_name].filter(Boolean).join(' ');
  const initials = name.split(' ').map((word) => [...word][0]).slice(0, 2).join('');
  return element('li', {}, element('button', { type: 'button', class: 'person', 'aria-current': String(one.id === personId), onclick: () => choosePerson(one.id) },
    element('span', { class: `avatar tint-${one.id % 5}`, 'aria-hidden': 'true' }, initials),
    element('span', { class: 'names' }, element('strong', {}, name), element('span', {}, one.blocked ? 'has blocked the bot' : one.note))));
}

function person() {
  return people.find((one) => one.id === personId);
}

async function choosePerson(id) {
  if (id === 'new') {
    byId('person-select').value = personId;
    byId('person-dialog').showModal();
    return;
  }
  personId = Number(id);
  localStorage.setItem('person', personId);
  resetComposer();
  await loadPeople();
  await openChat();
}

async function addPerson(event) {
  const fields = Object.fromEntries(new FormData(event.target));
  const added = await post('chat/people', JSON.stringify(fields));
  event.target.reset();
  await choosePerson(added.id);
}

async function block(isBlocking) {
  await post(`chat/${personId}/block`, JSON.stringify({ blocked: isBlocking }));
}

// The conversation

async function openChat() {
  events?.close();
  const chat = await (await fetch(`chat/${personId}/messages`)).json();
  messages.clear();
  for (const message of chat.messages) messages.set(message.message_id, message);
  log.replaceChildren(...[...messages.values()].map(row));
  drawDays();
  await Promise.all([loadCommands(), loadCalls()]);
  follow(chat.cursor);
  toBottom();
}

function row(message) {
  const theirs = personId;
  return messageRow(message, { fileUrl: (id) => `chat/${theirs}/files/${id}`, on });
}

async function loadCommands() {
  setCommands((await (await fetch(`chat/${personId}/commands`)).json()).commands);
}

function add(message) {
  messages.set(message.message_id, message);
  log.append(row(message));
  drawDays();
  if (isPinned || !message.from.is_bot) toBottom();
}

function replace(message) {
  messages.set(message.message_id, message);
  byId(`message-${message.message_id}`)?.replaceWith(row(message));
  if (isPinned) toBottom();
}

function remove(messageId) {
  messages.delete(messageId);
  byId(`message-${messageId}`)?.remove();
  drawDays();
}

function drawDays() {
  log.querySelectorAll('.day').forEach((day) => day.remove());
  let last = '';
  for (const message of messages.values()) {
    const day = new Date(message.date * 1000).toDateString();
    if (day !== last) byId(`message-${message.message_id}`).before(element('div', { class: 'day' }, dayName(message.date)));
    last = day;
  }
  byId('welcome').hidden = messages.size > 0;
  log.hidden = messages.size === 0;
}

function dayName(seconds) {
  const date = new Date(seconds * 1000);
  if (date.toDateString() === new Date().toDateString()) return 'Today';
  return date.toLocaleDateString([], { day: 'numeric', month: 'long' });
}

function find(messageId) {
  const found = byId(`message-${messageId}`);
  found?.scrollIntoView({ block: 'center', behavior: 'smooth' });
  found?.classList.add('is-found');
  setTimeout(() => found?.classList.remove('is-found'), 1500);
}

// Scrolling: follow the newest message unless the reader has scrolled up.

let isPinned = true;
let lastTop = 0;

// Only scrolling up unpins. A growing message moves the end of the page, not the reader's position.
function onScroll() {
  const isNear = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_BOTTOM_PX;
  if (isNear) isPinned = true;
  else if (scroll.scrollTop < lastTop) isPinned = false;
  lastTop = scroll.scrollTop;
  byId('down').hidden = isPinned;
}

function toBottom(behavior = 'auto') {
  isPinned = true;
  scroll.scrollTo({ top: scroll.scrollHeight, behavior });
}

// Live

function follow(cursor) {
  events = new EventSource(`chat/${personId}/events?after=${cursor}`);
  const hear = (name, act) => events.addEventListener(name, (event) => act(JSON.parse(event.data)));
  hear('message', add);
  hear('edited', replace);
  hear('deleted', (gone) => remove(gone.message_id));
  hear('toast', answeredPress);
  hear('commands', loadCommands);
  hear('people', loadPeople);
  hear('bot', loadPeople);
  hear('call', noteCall);
  hear('calls_cleared', clearCalls);
  hear('reset', openChat);
  events.onopen = () => drawStatus();
  events.onerror = () => drawStatus('reconnecting…');
}

function drawStatus(news) {
  byId('bot-name').textContent = bot?.first_name ?? 'Observatory';
  byId('status').textContent = news ?? (bot ? 'bot' : 'bot · not connected yet, it will answer when it is');
}

function drawBlocked() {
  const isBlocked = person().blocked;
  byId('composer').hidden = isBlocked;
  byId('unblock').hidden = !isBlocked;
  byId('block').hidden = isBlocked;
}

// What the person does

async function send({ text, photo, replyTo }) {
  const address = `chat/${personId}/messages`;
  if (!photo) return post(address, JSON.stringify({ text, reply_to_message_id: replyTo }));
  const form = new FormData();
  form.append('photo', photo);
  form.append('caption', text);
  form.append('reply_to_message_id', replyTo ?? '');
  return post(address, form);
}

async function press(button, pressed) {
  pressed.classList.add('is-waiting');
  const messageId = Number(pressed.closest('.row').id.replace('message-', ''));
  try {
    await post(`chat/${personId}/press`, JSON.stringify({ message_id: messageId, data: button.callback_data }));
  } finally {
    setTimeout(() => pressed.classList.remove('is-waiting'), PRESS_MS);
  }
}

function answeredPress({ text, show_alert: isAlert }) {
  document.querySelectorAll('.is-waiting').forEach((button) => button.classList.remove('is-waiting'));
  if (!text) return;
  if (!isAlert) {
    toast(text);
    return;
  }
  byId('alert-text').textContent = text;
  byId('alert').showModal();
}

function toast(text) {
  clearTimeout(toastTimer);
  byId('toast').textContent = text;
  byId('toast').hidden = false;
  toastTimer = setTimeout(() => { byId('toast').hidden = true; }, 3000);
}

async function post(address, body) {
  const headers = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
  const answer = await fetch(address, { method: 'POST', body, headers });
  const value = await answer.json();
  if (!answer.ok) {
    toast(value.error);
    throw new Error(value.error);
  }
  return value;
}
