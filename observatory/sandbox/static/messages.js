// Draws one message as Telegram would. Everything that people, bots or models wrote becomes text
// nodes; nothing is ever parsed as HTML.

const PIECES = /(https?:\/\/[^\s<>"“”]+[^\s<>"“”.,;:!?)\]])|((?<![\w/])\/[A-Za-z0-9_]{1,64}(?![\w/]))/g;
const MAX_PHOTO_PX = 340;
const BLOCKS = new Set(['pre', 'blockquote', 'expandable_blockquote']);
const TAGS = { bold: 'strong', italic: 'em', underline: 'u', strikethrough: 's' };

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function icon(path) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

export function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

// The row of one message. `on` = {press(button, element), command(text), copied(), reply(message),
// find(id)}; `fileUrl(id)` is where a file can be fetched.
export function messageRow(message, { fileUrl, on }) {
  const isOut = !message.from.is_bot;
  const bubble = element('div', { class: 'bubble' },
    message.reply_to_message && answered(message.reply_to_message, on),
    message.photo && photo(message, fileUrl),
    message.document && element('a', { class: 'file', href: fileUrl(message.document.file_id), download: message.document.file_name }, message.document.file_name),
    element('span', { class: 'body' }, ...formatted(message, on)),
    meta(message),
  );
  return element('div', { class: `row ${isOut ? 'out' : 'in'}`, id: `message-${message.message_id}` },
    element('div', { class: 'stack' }, bubble, keys(message, on)),
    element('button', { type: 'button', class: 'reply-button', 'aria-label': 'Reply to this message', title: 'Reply', onclick: () => on.reply(message) }, icon('M10 8 5 12.5 10 17M5.5 12.5H14a5 5 0 0 1 5 5V19')),
  );
}

export function preview(message) {
  return message.text ?? message.caption ?? (message.photo ? 'Photo' : 'File');
}

function answered(original, on) {
  const name = original.from.first_name;
  return element('button', { type: 'button', class: 'answered', onclick: () => on.find(original.message_id) },
    element('strong', {}, name), element('span', {}, preview(original)));
}

function photo(message, fileUrl) {
  const largest = message.photo.at(-1);
  const scale = Math.min(1, MAX_PHOTO_PX / largest.width, MAX_PHOTO_PX / largest.height);
  return element('img', { class: 'photo', src: fileUrl(largest.file_id), width: Math.ceil(largest.width * scale), height: Math.ceil(largest.height * scale), alt: message.caption ? `Photo: ${message.caption}` : 'Photo' });
}

function meta(message) {
  const edited = message.edit_date ? 'edited ' : '';
  const when = new Date(message.date * 1000);
  return element('time', { class: 'meta', datetime: when.toISOString(), title: when.toLocaleString() }, edited + clockTime(message.date));
}

function keys(message, on) {
  const rows = message.reply_markup?.inline_keyboard;
  if (!rows) return null;
  return element('div', { class: 'keys' }, ...rows.map((row) => element('div', {}, ...row.map((button) => key(button, on)))));
}

function key(button, on) {
  if (/^https?:\/\//.test(button.url ?? '')) {
    return element('a', { href: button.url, target: '_blank', rel: 'noopener noreferrer' }, `${button.text} ↗`);
  }
  return element('button', { type: 'button', disabled: !button.callback_data, onclick: (event) => on.press(button, event.currentTarget) }, button.text);
}

// Text with its entities. Offsets are UTF-16 units, as in JavaScript's own strings.
function formatted(message, on) {
  const text = message.text ?? message.caption ?? '';
  const entities = [...(message.entities ?? message.caption_entities ?? [])];
  entities.sort((a, b) => a.offset - b.offset || b.length - a.length);
  return nested(text, 0, text.length, entities, on);
}

function nested(text, start, end, entities, on) {
  const nodes = [];
  let position = start;
  for (let index = 0; index < entities.length;) {
    const entity = entities[index];
    const stop = Math.min(entity.offset + entity.length, end);
    let next = index + 1;
    while (next < entities.length && entities[next].offset < stop) next += 1;
    nodes.push(...plain(text.slice(position, Math.max(position, entity.offset)), on));
    nodes.push(entityNode(entity, text.slice(entity.offset, stop), () => nested(text, entity.offset, stop, entities.slice(index + 1, next), on), on));
    // A block element already breaks the line, so skip the line break after it.
    position = BLOCKS.has(entity.type) && text[stop] === '\n' ? stop + 1 : stop;
    index = next;
  }
  nodes.push(...plain(text.slice(position, end), on));
  return nodes;
}

function entityNode(entity, text, inner, on) {
  switch (entity.type) {
    case 'pre': return block(entity, text, on);
    case 'code': return element('code', { title: 'Copy', tabindex: 0, role: 'button', onclick: () => copy(text, on), onkeydown: onEnter(() => copy(text, on)) }, text);
    case 'text_link': return link(entity.url, inner());
    case 'url': return link(text.includes('://') ? text : `https://${text}`, [text]);
    case 'bot_command': return command(text, on);
    case 'spoiler': return element('span', { class: 'spoiler', role: 'button', tabindex: 0, 'aria-label': 'Hidden text, press to show', onclick: open, onkeydown: onEnter(open) }, ...inner());
    case 'blockquote': return element('blockquote', {}, ...inner());
    case 'expandable_blockquote': return element('blockquote', { class: 'expandable', tabindex: 0, onclick: open, onkeydown: onEnter(open) }, ...inner());
    default: return element(TAGS[entity.type] ?? 'span', {}, ...inner());
  }
}

function plain(text, on) {
  const nodes = [];
  let position = 0;
  for (const match of text.matchAll(PIECES)) {
    nodes.push(text.slice(position, match.index));
    nodes.push(match[1] ? link(match[1], [match[1]]) : command(match[2], on));
    position = match.index + match[0].length;
  }
  nodes.push(text.slice(position));
  return nodes.filter((node) => node !== '');
}

function link(url, children) {
  if (!/^https?:\/\//.test(url)) return element('span', {}, ...children);
  return element('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, ...children);
}

function command(text, on) {
  return element('button', { type: 'button', class: 'command', onclick: () => on.command(text) }, text);
}

function block(entity, text, on) {
  return element('div', { class: 'block' },
    element('header', {}, element('span', {}, entity.language ?? ''),
      element('button', { type: 'button', onclick: () => copy(text, on) }, 'Copy')),
    element('pre', { tabindex: 0 }, text.replace(/\n$/, '')));
}

async function copy(text, on) {
  await navigator.clipboard.writeText(text);
  on.copied();
}

function open(event) {
  event.currentTarget.classList.add('is-open');
}

function onEnter(action) {
  return (event) => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      action(event);
    }
  };
}
