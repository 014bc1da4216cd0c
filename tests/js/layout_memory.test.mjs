import assert from 'node:assert/strict';
import test from 'node:test';

import { LayoutMemory, isBlank, parse } from '../../javascript/lib/layout_memory.mjs';

const region = (change = {}) => ({ enable: false, x: 0.4, y: 0.4, w: 0.2, h: 0.2, prompt: '', neg_prompt: '', ...change });
const layout = (change) => ({ enable_bbox_control: true, regions: [region(change), region()] });
const storage = (start = {}) => ({
    data: { ...start },
    getItem(key) { return this.data[key] ?? null; },
    setItem(key, value) { this.data[key] = value; },
    removeItem(key) { delete this.data[key]; },
});
const memory = (store) => {
    const sent = [];
    return { sent, watch: new LayoutMemory('key', store, (text) => sent.push(text)) };
};
const look = (watch, ...layouts) => layouts.forEach((shown) => { watch.follow(shown); watch.follow(shown); });

test('a layout is kept when it has settled, and restored into a fresh page', () => {
    const store = storage();
    const first = memory(store);
    look(first.watch, layout(), layout({ enable: true, prompt: 'moon' }));
    const second = memory(store);
    look(second.watch, layout());
    assert.deepEqual(JSON.parse(second.sent[0]), layout({ enable: true, prompt: 'moon' }));
    look(second.watch, layout({ enable: true, prompt: 'moon' }));
    assert.equal(second.sent.length, 1);
    assert.equal(store.data.key, second.sent[0]);
});

test('while the restored layout is on its way nothing is forgotten', () => {
    const store = storage({ key: JSON.stringify(layout({ enable: true })) });
    const { watch } = memory(store);
    for (let i = 0; i < 40; i++) watch.follow(layout());
    assert.ok(store.data.key);
});

test('what the page holds already is not overwritten, a paste is kept', () => {
    const store = storage({ key: JSON.stringify(layout({ enable: true, x: 0.1 })) });
    const { watch, sent } = memory(store);
    look(watch, layout({ prompt: 'sea' }), layout({ enable: true, prompt: 'pasted' }));
    assert.deepEqual(sent, []);
    assert.match(store.data.key, /pasted/);
});

test('a layout that was cleared is forgotten', () => {
    const store = storage();
    look(memory(store).watch, layout(), layout({ enable: true }), layout());
    assert.equal(store.data.key, undefined);
});

test('a drag is kept once, at its end', () => {
    const store = storage();
    let writes = 0;
    store.setItem = () => { writes += 1; };
    const { watch } = memory(store);
    watch.follow(layout());
    for (let i = 0; i < 10; i++) watch.follow(layout({ enable: true, x: i / 100 }));
    assert.equal(writes, 0);
    watch.follow(layout({ enable: true, x: 0.09 }));
    assert.equal(writes, 1);
});

test('junk and a browser without storage', () => {
    for (const text of ['', '{', 'null', '[]', '{"regions": 5}', '{"regions": [null]}']) assert.equal(parse(text), null);
    const closed = { getItem() { throw new Error('denied'); }, setItem() { throw new Error('full'); } };
    const { watch, sent } = memory(closed);
    look(watch, layout(), layout({ enable: true }));
    assert.deepEqual(sent, []);
    assert.ok(isBlank(layout()));
});
