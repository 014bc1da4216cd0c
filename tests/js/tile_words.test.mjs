import assert from 'node:assert/strict';
import test from 'node:test';

globalThis.document = { createElement: () => ({}) };
const { cells, middles, places, wordsOf, written } = await import('../../javascript/lib/tile_words.mjs');

test('tiles lie where the server has them', () => {
    assert.deepEqual(middles(64, 32, 16), [16 / 64, 32 / 64, 48 / 64]);
    assert.deepEqual(middles(24, 16, 8), [8 / 24, 16 / 24]);
    assert.deepEqual(middles(24, 16, 99), [8 / 24, 12 / 24, 16 / 24]); // the overlap is cut to 12
    assert.deepEqual(middles(10, 96, 48), [0.5]);
});

test('a cell for each tile, none for one, none without a size', () => {
    const sizes = { tileWidth: 16, tileHeight: 16, overlap: 0 };
    assert.deepEqual(cells({ width: 256, height: 128 }, sizes), [{ x: 0.25, y: 0.5 }, { x: 0.75, y: 0.5 }]);
    assert.deepEqual(cells({ width: 128, height: 128 }, sizes), []);
    assert.deepEqual(cells({ width: NaN, height: 128 }, sizes), []);
    assert.deepEqual(cells({ width: 16384, height: 16384 }, sizes), []);
});

test('words go to the nearest cell, there and back', () => {
    const tiles = [{ x: 0.25, y: 0.5 }, { x: 0.75, y: 0.5 }];
    const text = written(tiles, ['tree', '']);
    assert.deepEqual(JSON.parse(text), [{ x: 0.25, y: 0.5, prompt: 'tree' }, { x: 0.75, y: 0.5, prompt: '' }]);
    assert.deepEqual(wordsOf(tiles, places(text), { width: 2, height: 1 }), ['tree', '']);
    assert.equal(written(tiles, [' ', '']), '');
});

test('what is no list of places has none', () => {
    for (const text of ['', 'CLIP', '{}', '[{"x": 1}]', '[{']) assert.deepEqual(places(text), []);
    assert.deepEqual(wordsOf([{ x: 0, y: 0 }], [], { width: 1, height: 1 }), ['']);
});
