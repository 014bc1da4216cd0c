// The picture under the boxes: an <img> of our own. gradio's images take no data URL from a script since version 4.

import { find } from './gradio_bridge.mjs';

function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

export class ReferencePicture {
    constructor(tab) {
        this.tab = tab;
        this.image = element('img', { alt: '', hidden: true });
        this.input = element('input', { type: 'file', accept: 'image/*' });
        this.clear = element('button', { type: 'button', textContent: '✕', hidden: true });
        this.clear.setAttribute('aria-label', 'Clear');
        this.open = element('label', { className: 'md-open' }, element('span', { textContent: '🖼' }), this.input);
        this.frame = element('div', { className: 'md-picture' }, this.open, this.image, this.clear);
        this.input.addEventListener('change', () => this.take(this.input.files));
        this.clear.addEventListener('click', () => this.show(null));
        this.frame.addEventListener('dragover', (event) => event.preventDefault());
        this.frame.addEventListener('drop', (event) => {
            event.preventDefault();
            this.take(event.dataTransfer.files);
        });
    }

    /** Be on the page, which may have been made anew. */
    follow() {
        const place = find(`#MD-bbox-ref-${this.tab}`);
        if (place && !place.contains(this.frame)) place.append(this.frame);
    }

    /** A person's file. */
    take(files) {
        const [file] = files;
        this.input.value = ''; // the same file may come again
        if (!file?.type.startsWith('image/')) return;
        const reader = new FileReader();
        reader.addEventListener('load', () => this.show(reader.result));
        reader.readAsDataURL(file);
    }

    /** Show the picture of a URL; null takes it away. */
    show(url) {
        if (url) this.image.src = url;
        else this.image.removeAttribute('src');
        for (const shown of [this.image, this.clear]) shown.hidden = !url;
        this.open.hidden = Boolean(url);
    }
}
