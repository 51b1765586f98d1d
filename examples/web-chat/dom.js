// Builds and updates elements. Text is only inserted as text nodes, so nothing that a user wrote becomes markup.

/** @returns {HTMLElement} `attributes` may hold `class`, `on…` listeners, booleans and texts */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Writes only changed values, so that unchanged text is not announced or laid out again and keeps its selection. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Announces a text through `role=status`. An empty text hides the element. */
export function setNote(element, text) {
  setText(element, text);
  element.hidden = text === '';
}

/** Updates the children of a list to match rows of data. Only changed rows are rebuilt. */
export class KeyedList {
  /**
   * @param {HTMLElement} parent
   * @param {(row: object) => HTMLElement} build
   * @param {{added?(node: HTMLElement): void, removed?(node: HTMLElement): void}} hooks
   */
  constructor(parent, build, hooks = {}) {
    Object.assign(this, { parent, build, hooks });
    this.shown = new Map();
  }

  update(rows) {
    const next = new Map();
    let place = this.parent.firstChild;
    for (const row of rows) {
      const signature = JSON.stringify(row);
      let item = this.shown.get(row.key);
      if (item?.signature !== signature) {
        const node = this.build(row);
        if (item) this.#replace(item.node, node);
        if (item && item.node === place) place = node;
        this.hooks.added?.(node);
        item = { node, signature };
      }
      if (item.node === place) place = place.nextSibling;
      else this.parent.insertBefore(item.node, place);
      next.set(row.key, item);
      this.shown.delete(row.key);
    }
    for (const { node } of this.shown.values()) this.#remove(node);
    this.shown = next;
  }

  /** Keeps the focus inside a row that is rebuilt, and what the user has opened there. */
  #replace(old, node) {
    const focused = old.contains(document.activeElement) ? document.activeElement : undefined;
    const place = focused && [...old.querySelectorAll('button')].indexOf(focused);
    const details = old.querySelector('details[open]') && node.querySelector('details');
    if (details) details.open = true;
    this.hooks.removed?.(old);
    old.replaceWith(node);
    if (focused) node.querySelectorAll('button')[place]?.focus();
  }

  #remove(node) {
    this.hooks.removed?.(node);
    node.remove();
  }
}

/** One of eight hues, chosen by a text. */
export function hue(text) {
  let sum = 0;
  for (const char of text) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return `hue-${sum % 8}`;
}
