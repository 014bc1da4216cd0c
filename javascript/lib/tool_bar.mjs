// The buttons over the canvas. Knows nothing of gradio.

import { ofPicture } from './masks.mjs';
import { shrunk } from './geometry.mjs';

const FINEST = 1024; // pixels of the longer side of a picture that is loaded as a mask
const TOOLS = { box: ['🔲', 'Draw and move boxes (V)'], brush: ['🖌️', 'Paint the shape of the selected region (B)'], eraser: ['🧽', 'Erase from the shape of the selected region (E)'] };
const SIZES = { min: 8, max: 512, step: 8 };
export const NO_PICTURE = 'This file is no picture that the browser can show.';

function button(sign, title, parent, click) {
    const made = Object.assign(document.createElement('button'), { type: 'button', className: 'md-tool', textContent: sign, title });
    made.setAttribute('aria-label', title);
    made.addEventListener('click', click);
    parent.append(made);
    return made;
}

export class ToolBar {
    constructor(editor) {
        this.editor = editor;
        this.shown = editor.size;
        this.root = Object.assign(document.createElement('div'), { className: 'md-tools' });
        this.root.setAttribute('role', 'toolbar');
        this.tools = Object.entries(TOOLS).map(([name, [sign, title]]) => [name, button(sign, title, this.root, () => editor.take(name))]);
        this.size = Object.assign(document.createElement('input'), { type: 'range', ...SIZES, value: editor.size, title: 'Size of the brush in pixels ([ and ])' });
        this.size.setAttribute('aria-label', 'Brush size');
        this.size.addEventListener('input', () => { editor.size = Number(this.size.value); });
        this.root.append(this.size);
        this.undo = button('↩️', 'Undo (Ctrl+Z)', this.root, () => editor.model.undo());
        this.redo = button('↪️', 'Redo (Ctrl+Y)', this.root, () => editor.model.redo());
        this.lock = button('🔒', 'Lock the selected region: nothing on the canvas changes it', this.root, () => editor.toggleLock());
        this.load = button('🖼️', 'Load a picture as the shape: white is the region', this.root, () => this.file.click());
        this.whole = button('⬜', 'Give the selected region its whole box again', this.root, () => editor.giveShape({ mask: '' }));
        this.file = Object.assign(document.createElement('input'), { type: 'file', accept: 'image/*', hidden: true });
        this.file.addEventListener('change', () => this.read(this.file.files[0]));
        this.note = Object.assign(document.createElement('span'), { className: 'md-note' });
        this.note.setAttribute('role', 'status');
        this.root.append(this.file, this.note);
        this.root.addEventListener('click', (event) => event.target.closest('button') && editor.root.focus({ preventScroll: true }));
    }

    /** Show what can be done now. */
    follow() {
        const { editor } = this;
        const { model, selected } = editor;
        for (const [name, made] of this.tools) made.setAttribute('aria-pressed', String(editor.tool === name));
        if (this.shown !== editor.size) this.size.value = this.shown = editor.size; // by a key; else the slider leads
        this.undo.disabled = !model.done.length;
        this.redo.disabled = !model.undone.length;
        this.lock.disabled = selected === null;
        this.lock.setAttribute('aria-pressed', String(model.locked.has(selected)));
        this.whole.disabled = !model.regions[selected]?.mask || model.locked.has(selected);
        if (this.note.textContent !== editor.note) this.note.textContent = editor.note;
    }

    async read(file) {
        this.file.value = ''; // the same file may come again
        if (!file) return;
        try {
            this.editor.giveMask(ofPicture(await pixelsOf(file)));
        } catch {
            this.editor.say(NO_PICTURE);
        }
    }
}

/** A picture's pixels, made smaller where it is larger than any canvas needs. */
async function pixelsOf(file) {
    const image = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement('canvas'), shrunk(image, FINEST));
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    return pen.getImageData(0, 0, canvas.width, canvas.height);
}
