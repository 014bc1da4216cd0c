// Coloured boxes over a picture: draw, move, resize, nudge. Knows nothing of gradio.

import { NO_JOINS, copies, fromCorners, longestSide, move, resize, visible } from './geometry.mjs';

const HANDLES = ['n', 'e', 's', 'w', 'ne', 'se', 'sw', 'nw'];
const NUDGE = 8; // pixels of the canvas: one of the latent
const SMALLEST = 0.01; // a drag shorter than this is a click
const LARGE_SIDE = 1280; // pixels; more than this is slow and blurs what a model knows
const LARGE = `Larger than ${LARGE_SIDE} pixels a side: slow, and more than most models know`;

const colourOf = (index) => `hsl(${(index * 137.5 + 210) % 360} 85% 50%)`;

/** Index of the region that the next box is for: of those switched off rather one without a prompt; -1 if all are on. */
export function unused(regions) {
    const empty = regions.findIndex((region) => !region.enable && !region.prompt);
    return empty < 0 ? regions.findIndex((region) => !region.enable) : empty;
}

function element(tag, className, parent) {
    const made = document.createElement(tag);
    made.className = className;
    parent.append(made);
    return made;
}

export class RegionEditor {
    /**
     * @param {object} events
     *   change(index, box): a box was drawn, moved or resized; switchOn(index), switchOff(index);
     *   select(index or null); edit(index): the person wants to write the region's prompt.
     */
    constructor(events) {
        this.events = events;
        this.regions = []; // { enable, x, y, w, h, prompt, foreground }
        this.canvas = { width: 1, height: 1 };
        this.joins = NO_JOINS; // of the picture's edges
        this.colours = []; // chosen by the person; the rest is made up
        this.selected = null;
        this.drag = null;
        this.boxes = [];
        this.root = document.createElement('div');
        this.root.className = 'md-regions';
        this.root.tabIndex = 0;
        this.root.setAttribute('role', 'application');
        this.root.setAttribute('aria-label', 'Regions. Drag to draw one; number keys select, arrow keys move, Enter edits.');
        this.hint = element('p', 'md-hint', this.root);
        this.hint.textContent = 'Drag here to draw a region';
        this.root.addEventListener('pointerdown', (event) => this.begin(event));
        this.root.addEventListener('pointermove', (event) => this.follow(event));
        for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) this.root.addEventListener(name, (event) => this.end(event));
        this.root.addEventListener('dblclick', () => this.selected !== null && this.events.edit(this.selected));
        this.root.addEventListener('keydown', (event) => this.key(event));
    }

    /** Lie over the picture. `place` in pixels of the element that holds the root. */
    layOver(place) {
        for (const side of ['left', 'top', 'width', 'height']) this.root.style[side] = `${place[side]}px`;
    }

    /** Show these regions; `canvas` is the size of the picture that will be drawn, in pixels. */
    show(regions, canvas) {
        this.regions = regions;
        this.canvas = canvas;
        if (this.selected !== null && !regions[this.selected]?.enable) this.selected = null;
        regions.forEach((region, index) => this.showBox(region, index));
        this.hint.hidden = regions.some((region) => region.enable);
        this.root.classList.toggle('md-joined', this.joins.x || this.joins.y);
        this.root.classList.toggle('md-full', regions.every((region) => region.enable));
    }

    colour(index) {
        return this.colours[index] ?? colourOf(index);
    }

    showBox(region, index) {
        const shown = region.enable ? visible(region, this.joins) : null;
        const box = this.boxes[index] ?? (shown && this.makeBox(index));
        if (!box) return;
        box.hidden = !shown;
        this.root.querySelectorAll(`.md-copy[data-index="${index}"]`).forEach((copy) => copy.remove());
        if (!shown) return;
        for (const [side, value] of [['left', shown.x], ['top', shown.y], ['width', shown.w], ['height', shown.h]]) {
            box.style[side] = `${100 * value}%`;
        }
        box.style.setProperty('--md-colour', this.colour(index));
        box.style.zIndex = 1000 - Math.round(999 * shown.w * shown.h); // a small one can be reached in a large one
        const large = longestSide(shown, this.canvas) > LARGE_SIDE;
        const [label, size] = box.children;
        label.textContent = `${large ? '⚠ ' : ''}${index + 1}${region.prompt ? ` ${region.prompt}` : ''}`;
        size.textContent = `${Math.round(shown.w * this.canvas.width)} × ${Math.round(shown.h * this.canvas.height)}`;
        box.title = large ? LARGE : '';
        box.classList.toggle('md-large', large);
        box.classList.toggle('md-foreground', Boolean(region.foreground));
        box.classList.toggle('md-selected', index === this.selected);
        copies(shown).forEach((place) => this.showCopy(box, place));
    }

    /** What of a box goes on beyond a joined edge, as a box like it at the opposite side. */
    showCopy(box, { x, y }) {
        const copy = box.cloneNode(true);
        copy.classList.add('md-copy');
        Object.assign(copy.style, { left: `${100 * x}%`, top: `${100 * y}%` });
        this.root.append(copy);
    }

    makeBox(index) {
        const box = element('div', 'md-region', this.root);
        box.dataset.index = index;
        element('span', 'md-label', box);
        element('span', 'md-size', box);
        for (const handle of HANDLES) element('i', `md-grip md-${handle}`, box).dataset.handle = handle;
        this.boxes[index] = box;
        return box;
    }

    select(index) {
        if (index === this.selected) return;
        this.selected = index;
        this.show(this.regions, this.canvas);
        if (!this.drag) this.events.select(index); // the page must not move under a drag
    }

    /** A pointer's place as fractions of the picture. */
    at(event) {
        const bounds = this.root.getBoundingClientRect();
        return { x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height };
    }

    begin(event) {
        if (event.button !== 0 || this.drag) return;
        const box = event.shiftKey ? null : event.target.closest('.md-region');
        const index = box ? Number(box.dataset.index) : unused(this.regions);
        event.preventDefault(); // no picture is dragged, no text selected
        this.root.focus({ preventScroll: true });
        if (index < 0) {
            this.select(null);
            return;
        }
        this.root.setPointerCapture(event.pointerId);
        const { x, y, w, h } = this.regions[index];
        const { pointerId, target } = event;
        this.drag = { pointerId, index, from: this.at(event), box: { x, y, w, h }, handle: target.dataset.handle, drawn: !box };
        this.select(box ? index : null);
    }

    follow(event) {
        if (this.drag?.pointerId !== event.pointerId) return;
        const { index, from, box, handle, drawn } = this.drag;
        const to = this.at(event);
        const [dx, dy] = [to.x - from.x, to.y - from.y];
        if (drawn) {
            const made = fromCorners(from.x, from.y, to.x, to.y, this.joins);
            if (made.w < SMALLEST || made.h < SMALLEST) return;
            if (!this.regions[index].enable) this.events.switchOn(index);
            this.set(index, made);
            this.select(index);
        } else {
            this.set(index, handle ? resize(box, handle, dx, dy, this.joins) : move(visible(box, this.joins) ?? box, dx, dy, this.joins));
        }
    }

    end(event) {
        if (this.drag?.pointerId === event.pointerId) this.letGo();
    }

    /** End what the pointer began: it was let go, or the picture under it is gone. */
    letGo() {
        if (!this.drag) return;
        this.drag = null;
        this.events.select(this.selected);
    }

    key(event) {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const named = Number(event.key) - 1; // 1 selects the first
        if (this.regions[named]?.enable) {
            this.select(named);
            event.preventDefault();
        } else if (this.selected !== null && this.keyOn(this.selected, event)) {
            event.preventDefault();
        }
    }

    /** A key for the selected region; true if it meant something. */
    keyOn(index, { key, shiftKey }) {
        const [dx, dy] = [this.canvas.width, this.canvas.height].map((side) => (NUDGE * (shiftKey ? 8 : 1)) / side);
        const moves = { ArrowLeft: [-dx, 0], ArrowRight: [dx, 0], ArrowUp: [0, -dy], ArrowDown: [0, dy] };
        if (key in moves) this.set(index, move(this.regions[index], ...moves[key], this.joins));
        else if (key === 'Delete' || key === 'Backspace') this.events.switchOff(index);
        else if (key === 'Escape') this.select(null);
        else if (key === 'Enter') this.events.edit(index);
        else return false;
        return true;
    }

    set(index, { x, y, w, h }) {
        Object.assign(this.regions[index], { enable: true, x, y, w, h });
        this.showBox(this.regions[index], index);
        this.events.change(index, { x, y, w, h });
    }
}
