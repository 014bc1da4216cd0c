import assert from 'node:assert/strict';
import test from 'node:test';

import { drawn, txt2imgPasses } from '../../javascript/lib/page_plan.mjs';

const size = { width: 512, height: 256 };
const hires = { scale: 1.5, resizeX: 0, resizeY: 0, steps: 0, denoise: 0.5 };

test('one pass without hires fix', () => {
    assert.deepEqual(txt2imgPasses(size, 20, false), [{ name: 'Picture', ...size, steps: 20, denoise: 1 }]);
});

test('the hires pass by scale, by one side, by both', () => {
    const second = (change) => txt2imgPasses(size, 20, { ...hires, ...change })[1];
    assert.deepEqual(second({}), { name: 'Hires pass', width: 768, height: 384, steps: 10, denoise: 0.5 });
    assert.deepEqual([second({ resizeX: 1024 }).width, second({ resizeX: 1024 }).height], [1024, 512]);
    assert.deepEqual([second({ resizeY: 1024 }).width, second({ resizeY: 1024 }).height], [2048, 1024]);
    const both = second({ resizeX: 800, resizeY: 600, steps: 8 });
    assert.deepEqual([both.width, both.height, both.steps], [800, 600, 4]);
});

test('at least one step is drawn', () => assert.equal(drawn(20, 0.01), 1));
