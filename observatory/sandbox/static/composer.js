// The input line: growing text, photo, reply, command menu.

import { element, preview } from './messages.js';

const byId = (id) => document.getElementById(id);
const text = byId('text');
const menu = byId('commands');
let commands = [];
let photoFile = null;
let replyTo = null;
let chosen = -1;

// `send({text, photo, replyTo})` resolves once the message is sent, and rejects if it is not.
export function startComposer(send) {
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submit(send);
  });
  text.addEventListener('input', () => {
    grow();
    filterMenu();
  });
  text.addEventListener('keydown', (event) => onKey(event, send));
  text.addEventListener('paste', (event) => takePhoto([...event.clipboardData.files]));
  text.addEventListener('blur', () => setTimeout(() => {
    if (document.activeElement !== text) closeMenu(); // it may have the focus again by then
  }, 150));
  byId('file').addEventListener('change', (event) => takePhoto([...event.target.files]));
  byId('photo-cancel').addEventListener('click', dropPhoto);
  byId('reply-cancel').addEventListener('click', () => setReply(null));
  byId('command-button').addEventListener('click', () => {
    if (!menu.hidden) return closeMenu();
    text.focus();
    return openMenu(commands);
  });
}

export function setCommands(offered) {
  commands = offered;
  byId('command-button').hidden = offered.length === 0;
  if (document.activeElement === text && /^\/\w*$/.test(text.value)) filterMenu(); // typed before they came
}

export function setReply(message) {
  replyTo = message?.message_id ?? null;
  byId('reply').hidden = !message;
  byId('reply-text').textContent = message ? `Reply to ${message.from.first_name}: ${preview(message)}` : '';
  if (message) text.focus();
}

export function resetComposer() {
  text.value = '';
  grow();
  dropPhoto();
  setReply(null);
  closeMenu();
}

async function submit(send) {
  const words = text.value.trim();
  if (!words && !photoFile) return;
  const message = { text: words, photo: photoFile, replyTo };
  resetComposer();
  try {
    await send(message);
  } catch {
    text.value = words;
    grow();
  }
}

function onKey(event, send) {
  if (event.isComposing) return;
  if (!menu.hidden && onMenuKey(event)) {
    event.preventDefault();
  } else if (event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    submit(send);
  } else if (event.key === 'Escape') {
    setReply(null);
  }
}

function onMenuKey(event) {
  const items = [...menu.children];
  // The chosen command is already typed in full: let Enter send it.
  if (event.key === 'Enter' && text.value === `/${items[chosen]?.dataset.command}`) return false;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    const step = event.key === 'ArrowDown' ? 1 : -1;
    choose((chosen + step + items.length) % items.length);
  } else if ((event.key === 'Enter' || event.key === 'Tab') && items[chosen]) {
    pick(items[chosen].dataset.command);
  } else if (event.key === 'Escape') {
    closeMenu();
  } else {
    return false;
  }
  return true;
}

function filterMenu() {
  const typed = /^\/(\w*)$/.exec(text.value);
  const fitting = typed ? commands.filter((command) => command.command.startsWith(typed[1].toLowerCase())) : [];
  if (fitting.length) openMenu(fitting);
  else closeMenu();
}

function openMenu(shown) {
  menu.replaceChildren(...shown.map((command, index) => element('li', {
    id: `command-${index}`, role: 'option', 'data-command': command.command, onmousedown: (event) => {
      event.preventDefault();
      pick(command.command);
    },
  }, element('strong', {}, `/${command.command}`), element('span', {}, command.description))));
  menu.hidden = shown.length === 0;
  byId('command-button').setAttribute('aria-expanded', String(!menu.hidden));
  choose(0);
}

function choose(index) {
  chosen = index;
  [...menu.children].forEach((item, position) => item.setAttribute('aria-selected', String(position === index)));
  menu.children[index]?.scrollIntoView({ block: 'nearest' });
  text.setAttribute('aria-activedescendant', `command-${index}`);
}

function pick(command) {
  text.value = `/${command} `;
  closeMenu();
  grow();
  text.focus();
}

function closeMenu() {
  menu.hidden = true;
  chosen = -1;
  text.removeAttribute('aria-activedescendant');
  byId('command-button').setAttribute('aria-expanded', 'false');
}

function grow() {
  text.style.height = 'auto';
  text.style.height = `${text.scrollHeight}px`;
}

function takePhoto(files) {
  const picture = files.find((file) => file.type.startsWith('image/'));
  if (!picture) return;
  dropPhoto();
  photoFile = picture;
  byId('photo-preview').src = URL.createObjectURL(picture);
  byId('photo').hidden = false;
  text.focus();
}

function dropPhoto() {
  if (photoFile) URL.revokeObjectURL(byId('photo-preview').src);
  photoFile = null;
  byId('photo').hidden = true;
  byId('file').value = '';
}
