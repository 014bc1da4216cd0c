// Coloured boxes and shapes over a picture: draw, move, resize, nudge, paint. Knows nothing of gradio.

import { Stroke, paint, widthOf } from './brush.mjs';
import { NO_JOINS, clamp, copies, fromCorners, longestSide, move, resize, visible } from './geometry.mjs';
import { decode, fitted } from './masks.mjs';
import { command } from './shortcuts.mjs';

const HANDLES = ['n', 'e', 's', 'w', 'ne', 'se', 'sw', 'nw'];
const NUDGE = 8; // pixels of the canvas: one of the latent
const SMALLEST = 0.01; // a drag shorter than this is a click
const BESIDE = 0.03; // how far a pasted region lies from what it lies on
const LARGE_SIDE = 1280; // pixels; more than this is slow and blurs what a model knows
const LARGE = `Larger than ${LARGE_SIDE} pixels a side: slow, and more than most models know`;
const FULL = 'All regions of this page are in use.';
const LOCKED = 'This region is locked.';
const EMPTY = 'This picture has no white in it: white is the region.';
const BRUSH = { start: 64, least: 8, most: 512, factor: 1.25 }; // pixels of the canvas

const colourOf = (index) => `hsl(${(index * 137.5 + 210) % 360} 85% 50%)`;
let clipboard = null; // a copied region, for both tabs

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
     * @param {RegionModel} model what is shown and changed
     * @param {object} events select(index or null); edit(index): the person wants to write the region's prompt.
     */
    constructor(model, events) {
        this.model = model;
        this.events = events;
        this.canvas = { width: 1, height: 1 };
        this.joins = NO_JOINS; // of the picture's edges
        this.colours = []; // chosen by the person; the rest is made up
        this.selected = null;
        this.tool = 'box';
        this.size = BRUSH.start;
        this.note = '';
        this.drag = null;
        this.boxes = [];
        this.root = document.createElement('div');
        this.root.className = 'md-regions';
        this.root.tabIndex = 0;
        this.root.setAttribute('role', 'application');
        this.root.setAttribute('aria-label', 'Regions. Drag to draw one; number keys select, arrow keys move, Enter edits.');
        this.hint = element('p', 'md-hint', this.root);
        this.hint.textContent = 'Drag here to draw a region';
        this.painted = element('canvas', 'md-painted', this.root);
        this.painted.hidden = true;
        this.root.addEventListener('pointerdown', (event) => this.begin(event));
        this.root.addEventListener('pointermove', (event) => this.follow(event));
        for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) this.root.addEventListener(name, (event) => this.end(event));
        this.root.addEventListener('dblclick', () => this.selected !== null && this.events.edit(this.selected));
        this.root.addEventListener('keydown', (event) => command(this, event) && event.preventDefault());
    }

    get regions() {
        return this.model.regions;
    }

    /** Lie over the picture. `place` in pixels of the element that holds the root. */
    layOver(place) {
        for (const side of ['left', 'top', 'width', 'height']) this.root.style[side] = `${place[side]}px`;
    }

    /** Show the model; `canvas` is the size of the picture that will be drawn, in pixels. */
    show(canvas = this.canvas) {
        this.canvas = canvas;
        if (this.selected !== null && !this.regions[this.selected]?.enable) this.selected = null;
        this.regions.forEach((region, index) => this.showBox(region, index));
        this.hint.hidden = this.regions.some((region) => region.enable);
        this.root.classList.toggle('md-joined', this.joins.x || this.joins.y);
        this.root.classList.toggle('md-full', this.regions.every((region) => region.enable));
        this.root.dataset.tool = this.tool;
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
        const locked = this.model.locked.has(index);
        const [shape, label, size] = box.children;
        this.showShape(shape, region.mask ?? '', this.colour(index));
        label.textContent = `${large ? '⚠ ' : ''}${locked ? '🔒 ' : ''}${index + 1}${region.prompt ? ` ${region.prompt}` : ''}`;
        size.textContent = `${Math.round(shown.w * this.canvas.width)} × ${Math.round(shown.h * this.canvas.height)}`;
        box.title = large ? LARGE : '';
        const stroked = this.drag?.stroke && this.drag.index === index;
        for (const [name, on] of Object.entries({ large, locked, stroked, shaped: region.mask, foreground: region.blend_mode === 'Foreground', selected: index === this.selected })) {
            box.classList.toggle(`md-${name}`, Boolean(on));
        }
        copies(shown).forEach((place) => this.showCopy(box, place));
    }

    /** What of a box goes on beyond a joined edge, as a box like it at the opposite side. */
    showCopy(box, { x, y }) {
        const copy = box.cloneNode(true);
        copy.classList.add('md-copy');
        Object.assign(copy.style, { left: `${100 * x}%`, top: `${100 * y}%` });
        const [shape] = box.children;
        if (!shape.hidden) copy.children[0].getContext('2d').drawImage(shape, 0, 0);
        this.root.append(copy);
    }

    /** The cells of a mask, drawn anew only when they change. */
    showShape(shape, text, colour) {
        shape.hidden = !text;
        if (shape.dataset.mask === text && shape.dataset.colour === colour) return;
        Object.assign(shape.dataset, { mask: text, colour });
        const mask = decode(text);
        if (!mask) return;
        Object.assign(shape, { width: mask.width, height: mask.height });
        paint(shape.getContext('2d'), mask, colour);
    }

    makeBox(index) {
        const box = element('div', 'md-region', this.root);
        box.dataset.index = index;
        element('canvas', 'md-shape', box);
        element('span', 'md-label', box);
        element('span', 'md-size', box);
        for (const handle of HANDLES) element('i', `md-grip md-${handle}`, box).dataset.handle = handle;
        this.boxes[index] = box;
        return box;
    }

    say(note) {
        this.note = note;
    }

    take(tool) {
        this.tool = tool;
        this.show();
    }

    resizeBrush(steps) {
        this.size = clamp(8 * Math.round((this.size * BRUSH.factor ** steps + 4 * steps) / 8), BRUSH.least, BRUSH.most);
    }

    select(index) {
        if (index === this.selected) return;
        this.selected = index;
        this.show();
        if (!this.drag) this.events.select(index); // the page must not move under a drag
    }

    /** Is this region to be left as it is? Then the person is told. */
    refuses(index) {
        this.say(this.model.locked.has(index) ? LOCKED : '');
        return this.model.locked.has(index);
    }

    toggleLock() {
        const { locked } = this.model;
        if (this.selected === null) return;
        if (!locked.delete(this.selected)) locked.add(this.selected);
        this.say('');
        this.show();
    }

    /** Set fields of the selected region, or of the next unused one; they may be its shape. */
    giveShape(fields) {
        const index = this.selected ?? unused(this.regions);
        if (index < 0) this.say(FULL);
        if (index < 0 || this.refuses(index)) return;
        this.model.edit((regions) => Object.assign(regions[index], { enable: true, ...fields }));
        this.select(index);
        this.show();
    }

    /** The same with a mask over the whole picture. */
    giveMask(mask) {
        const fields = fitted(mask);
        if (fields) this.giveShape(fields);
        else this.say(EMPTY);
    }

    copy() {
        if (this.selected !== null) clipboard = { ...this.regions[this.selected] };
    }

    paste() {
        const index = unused(this.regions);
        if (!clipboard || index < 0) {
            this.say(clipboard ? FULL : '');
            return;
        }
        const covered = this.regions.some(({ enable, x, y, w, h }) => enable && x === clipboard.x && y === clipboard.y && w === clipboard.w && h === clipboard.h);
        const place = covered ? move(clipboard, clipboard.x + clipboard.w < 1 - BESIDE ? BESIDE : -BESIDE, 0, this.joins) : clipboard;
        this.model.edit((regions) => Object.assign(regions[index], clipboard, { x: place.x, y: place.y, enable: true }));
        this.select(index);
        this.show();
    }

    /** Regions as a layout says, those of it that have a place; the others are switched off. Locked ones stay. */
    layOut(layout) {
        const free = this.regions.map((_, index) => index).filter((index) => !this.model.locked.has(index));
        this.say(layout.length > free.length ? FULL : '');
        this.model.edit((regions) => free.forEach((index, place) => {
            Object.assign(regions[index], layout[place] ? { mask: '', ...layout[place], enable: true } : { enable: false });
        }));
        this.show();
    }

    /** A pointer's place as fractions of the picture. */
    at(event) {
        const bounds = this.root.getBoundingClientRect();
        return { x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height };
    }

    begin(event) {
        if (event.button !== 0 || this.drag) return;
        event.preventDefault(); // no picture is dragged, no text selected
        this.root.focus({ preventScroll: true });
        this.say('');
        if (this.tool === 'box') this.beginBox(event);
        else this.beginStroke(event);
    }

    beginBox(event) {
        const box = event.shiftKey ? null : event.target.closest('.md-region');
        const touched = box ? Number(box.dataset.index) : null;
        const next = unused(this.regions);
        const index = box && !event.altKey ? touched : next;
        if (index < 0) {
            this.say(FULL);
            this.select(null);
            return;
        }
        if (box && !event.altKey && this.refuses(index)) {
            this.select(index);
            return;
        }
        this.grab(event, { index, handle: event.altKey ? undefined : event.target.dataset.handle, drawn: !box });
        if (box && event.altKey) Object.assign(this.regions[index], this.regions[touched]);
        const { x, y, w, h } = this.regions[index];
        this.drag.box = { x, y, w, h };
        this.select(box ? index : null);
        this.show();
    }

    beginStroke(event) {
        const erase = this.tool === 'eraser';
        const index = this.selected ?? (erase ? -1 : unused(this.regions));
        if (index < 0) this.say(erase ? 'Select the region to erase from.' : FULL);
        if (index < 0 || this.refuses(index)) return;
        const region = this.regions[index];
        this.painted.hidden = false;
        const stroke = new Stroke(this.painted, region.enable ? region : null, this, this.colour(index), erase);
        this.grab(event, { index, stroke });
        stroke.to(this.drag.from, widthOf(this.size, event));
        this.showBox(region, index);
    }

    grab(event, drag) {
        this.root.setPointerCapture(event.pointerId);
        this.drag = { pointerId: event.pointerId, from: this.at(event), ...drag };
        this.model.begin();
    }

    follow(event) {
        if (this.drag?.pointerId !== event.pointerId) return;
        const { index, from, box, handle, drawn, stroke } = this.drag;
        const to = this.at(event);
        const [dx, dy] = [to.x - from.x, to.y - from.y];
        if (stroke) {
            const events = event.getCoalescedEvents?.() ?? [];
            for (const part of events.length ? events : [event]) stroke.to(this.at(part), widthOf(this.size, part));
        } else if (drawn) {
            const made = fromCorners(from.x, from.y, to.x, to.y, this.joins);
            if (made.w < SMALLEST || made.h < SMALLEST) return;
            this.set(index, { ...made, mask: '' });
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
        const { index, stroke } = this.drag;
        this.drag = null;
        if (stroke) {
            this.painted.hidden = true;
            const shape = fitted(stroke.mask());
            Object.assign(this.regions[index], shape ? { ...shape, enable: true } : { enable: false, mask: '' });
            this.selected = shape ? index : null;
        }
        this.model.end();
        this.show();
        this.events.select(this.selected);
    }

    /** Number keys select. */
    choose(number) {
        if (!this.regions[number - 1]?.enable) return false;
        this.select(number - 1);
        return true;
    }

    /** Move the selected region by pixels of the latent; true if there is one. */
    nudge(columns, rows) {
        if (this.selected === null) return false;
        if (this.refuses(this.selected)) return true;
        const [dx, dy] = [(NUDGE * columns) / this.canvas.width, (NUDGE * rows) / this.canvas.height];
        this.model.edit((regions) => Object.assign(regions[this.selected], move(regions[this.selected], dx, dy, this.joins)));
        this.show();
        return true;
    }

    switchOff() {
        if (this.selected === null) return false;
        if (!this.refuses(this.selected)) this.model.edit((regions) => { regions[this.selected].enable = false; });
        this.show();
        return true;
    }

    set(index, { x, y, w, h, mask = this.regions[index].mask }) {
        Object.assign(this.regions[index], { enable: true, x, y, w, h, mask });
        this.showBox(this.regions[index], index);
    }
}
