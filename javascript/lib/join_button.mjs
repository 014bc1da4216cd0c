// "Show the join" below the pictures: the one that is shown, rolled by half, so that its edges meet in the middle.

import { rolled } from './geometry.mjs';
import * as page from './gradio_bridge.mjs';

const SIGN = '🔁';
const TITLE = 'Show the join: rolls the picture by half, and back';
const BOTH = { x: true, y: true };

/** The picture as a data URL, its joined edges in the middle. */
function rolledPicture(image, joins) {
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const pen = canvas.getContext('2d');
    for (const [left, top] of rolled({ width, height }, joins)) pen.drawImage(image, left, top);
    return canvas.toDataURL('image/png');
}

export class JoinButton {
    constructor(tab) {
        this.tab = tab;
        this.shown = null; // { image, plain, rolled }: the addresses of a picture that is rolled now
        this.button = Object.assign(document.createElement('button'), { id: `MD-${tab}-show-join`, title: TITLE, textContent: SIGN });
        this.button.className = 'lg secondary gradio-button tool';
        this.button.setAttribute('aria-pressed', 'false');
        this.button.addEventListener('click', () => this.toggle());
    }

    /** Called again and again: stands beside the host's buttons, and forgets a picture that is gone. */
    follow() {
        const row = page.pictureButtons(this.tab);
        if (row && this.button.parentElement !== row) row.append(this.button);
        if (this.shown && this.shown.image.src !== this.shown.rolled) this.shown = null;
        this.button.setAttribute('aria-pressed', String(Boolean(this.shown)));
    }

    toggle() {
        if (this.shown) {
            this.shown.image.src = this.shown.plain;
            this.shown = null;
        } else {
            const image = page.shownPicture(this.tab);
            if (!image) return;
            const joins = page.joins(this.tab);
            const turned = rolledPicture(image, joins.x || joins.y ? joins : BOTH);
            this.shown = { image, plain: image.src, rolled: turned };
            image.src = turned;
        }
        this.follow();
    }
}
