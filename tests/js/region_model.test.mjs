import assert from 'node:assert/strict';
import test from 'node:test';

import { RegionModel } from '../../javascript/lib/region_model.mjs';

const page = () => [0, 1].map((index) => ({ enable: false, x: 0.1 * index, prompt: '', mask: '' }));

/** A model, what it has written, and the page as it says it. */
function begun() {
    const written = [];
    const model = new RegionModel((_, changes) => written.push(changes));
    model.follow(page());
    return { model, written };
}

test('an edit is written once, as what has changed, and undone and done again', () => {
    const { model, written } = begun();
    model.edit((regions) => Object.assign(regions[1], { enable: true, x: 0.5 }));
    assert.deepEqual(written, [[{ index: 1, fields: { enable: true, x: 0.5 } }]]);
    model.undo();
    assert.deepEqual(model.regions, page());
    model.undo();
    model.redo();
    model.redo();
    assert.equal(written.length, 3);
    assert.deepEqual(written[2], written[0]);
});

test('a drag is one step, and one that changes nothing is none', () => {
    const { model } = begun();
    model.begin();
    for (let i = 1; i < 9; i++) model.regions[0].x = i / 10;
    model.follow(page()); // the pointer leads
    model.end();
    model.edit(() => {});
    assert.equal(model.regions[0].x, 0.8);
    assert.equal(model.done.length, 1);
});

test('undo leaves what was typed since', () => {
    const { model } = begun();
    model.edit((regions) => { regions[0].x = 0.7; });
    const typed = page();
    Object.assign(typed[0], { x: 0.7, prompt: 'moon' });
    model.follow(typed);
    model.undo();
    assert.deepEqual([model.regions[0].x, model.regions[0].prompt], [0, 'moon']);
});

test('a page that is not up to date yet is not taken over', () => {
    const { model } = begun();
    model.edit((regions) => { regions[0].mask = '1x1:AB'; });
    model.follow(page());
    assert.equal(model.regions[0].mask, '1x1:AB');
    const arrived = page();
    arrived[0].mask = '1x1:AB';
    model.follow(arrived);
    model.follow(page()); // a person has taken it away
    assert.equal(model.regions[0].mask, '');
});

test('a new edit ends what could be done again', () => {
    const { model } = begun();
    model.edit((regions) => { regions[0].x = 0.3; });
    model.undo();
    model.edit((regions) => { regions[0].x = 0.4; });
    model.redo();
    assert.equal(model.regions[0].x, 0.4);
});
