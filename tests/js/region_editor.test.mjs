import assert from 'node:assert/strict';
import test from 'node:test';

import { unused } from '../../javascript/lib/region_editor.mjs';

const on = (prompt = '') => ({ enable: true, prompt });
const off = (prompt = '') => ({ enable: false, prompt });

test('a new box takes the next region without a prompt', () => {
    assert.equal(unused([on('sea'), off('old'), off(), off()]), 2);
});

test('old prompts are used again only when there is nothing else', () => {
    assert.equal(unused([on(), off('old'), on(), off('older')]), 1);
    assert.equal(unused([on(), on('sea')]), -1);
});
