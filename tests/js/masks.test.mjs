import assert from 'node:assert/strict';
import test from 'node:test';

import { blank, decode, encode, fitted, laid, ofPicture } from '../../javascript/lib/masks.mjs';

const FOUR = '16x9:DBPBsBBPBOBPBVBK'; // tests/settings_strategies.py has it from the server

function disc(side, radius, [x, y]) {
    const mask = blank({ width: side, height: side });
    mask.cells.forEach((_, at) => {
        mask.cells[at] = Number(Math.hypot((at % side) + 0.5 - x, Math.floor(at / side) + 0.5 - y) < radius);
    });
    return mask;
}

test('a text is read and written as the server does', () => {
    const mask = decode(FOUR);
    const set = [...mask.cells.keys()].filter((at) => mask.cells[at]).map((at) => [Math.floor(at / 16), at % 16]);
    assert.deepEqual(set, [[0, 3], [4, 0], [5, 15], [8, 5]]);
    assert.equal(encode(mask), FOUR);
    assert.deepEqual(decode(encode(disc(200, 80, [90, 110]))), disc(200, 80, [90, 110]));
});

test('what is no mask is none', () => {
    for (const text of ['', 'sea', '4x4:B', '4x4:QBg', '0x4:A', `4x4:${'g'.repeat(99)}B`, '99999x1:A']) assert.equal(decode(text), null);
});

test('a shape is cut to what it shows, and laid back where it was', () => {
    const mask = disc(64, 12, [20, 40]);
    const shape = fitted(mask);
    assert.deepEqual([shape.x, shape.y, shape.w, shape.h], [0.125, 0.4375, 0.375, 0.375]);
    assert.deepEqual(laid(shape, { width: 64, height: 64 }), mask);
});

test('a full box has no mask, an empty one is nothing', () => {
    const box = laid({ x: 0.25, y: 0.5, w: 0.5, h: 0.25, mask: '' }, { width: 32, height: 32 });
    assert.deepEqual(fitted(box), { x: 0.25, y: 0.5, w: 0.5, h: 0.25, mask: '' });
    assert.equal(fitted(blank({ width: 4, height: 4 })), null);
});

test('a text keeps no more cells than the server does', () => {
    const { width, height } = decode(fitted(disc(1024, 500, [512, 512])).mask);
    assert.deepEqual([width, height], [256, 256]);
});

test('white and opaque is the region', () => {
    const data = new Uint8ClampedArray([255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 255, 200, 120, 90, 255]);
    assert.deepEqual([...ofPicture({ width: 2, height: 2, data }).cells], [1, 0, 0, 1]);
});
