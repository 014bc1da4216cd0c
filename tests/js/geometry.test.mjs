import assert from 'node:assert/strict';
import { test } from 'node:test';

import { copies, fromCorners, letterbox, longestSide, move, resize, rolled, shrunk, visible } from '../../javascript/lib/geometry.mjs';

const box = { x: 0.2, y: 0.3, w: 0.4, h: 0.2 };

test('a box is drawn from any corner and cut at the edges', () => {
    for (const corners of [[0.1, 0.2, 0.5, 0.9], [0.5, 0.9, 0.1, 0.2], [0.1, 0.9, 0.5, 0.2]]) {
        assert.deepEqual(fromCorners(...corners), { x: 0.1, y: 0.2, w: 0.4, h: 0.7 });
    }
    assert.deepEqual(fromCorners(-1, 0.5, 0.25, 7), { x: 0, y: 0.5, w: 0.25, h: 0.5 });
});

test('moving keeps the size and stops at every border', () => {
    assert.deepEqual(move(box, 0.1, -0.1), { ...box, x: 0.3, y: 0.2 });
    assert.deepEqual(move(box, 9, 9), { ...box, x: 0.6, y: 0.8 });
    assert.deepEqual(move(box, -9, -9), { ...box, x: 0, y: 0 });
});

test('every edge and corner moves its own sides', () => {
    const expected = {
        n: { ...box, y: 0.35, h: 0.15 }, s: { ...box, h: 0.25 }, w: { ...box, x: 0.25, w: 0.35 }, e: { ...box, w: 0.45 },
        nw: { x: 0.25, y: 0.35, w: 0.35, h: 0.15 }, se: { ...box, w: 0.45, h: 0.25 },
        ne: { ...box, y: 0.35, w: 0.45, h: 0.15 }, sw: { x: 0.25, y: 0.3, w: 0.35, h: 0.25 },
    };
    for (const [handle, result] of Object.entries(expected)) assert.deepEqual(resize(box, handle, 0.05, 0.05), result);
});

test('an edge across its opposite flips the box', () => {
    assert.deepEqual(resize(box, 'w', 0.6, 0), { ...box, x: 0.6, w: 0.2 });
    assert.deepEqual(resize(box, 'se', -0.5, -0.4), { x: 0.1, y: 0.1, w: 0.1, h: 0.2 });
});

test('what is left of a box is shown, or nothing', () => {
    assert.deepEqual(visible({ x: 0.9, y: 0.5, w: 0.4, h: 0.2 }), { x: 0.9, y: 0.5, w: 0.1, h: 0.2 });
    for (const change of [{ x: 1 }, { w: 0 }, { h: -1 }, { x: NaN }]) assert.equal(visible({ ...box, ...change }), null);
});

test('a picture is letterboxed on either axis', () => {
    assert.deepEqual(letterbox({ width: 200, height: 100 }, { width: 100, height: 100 }), { left: 0, top: 25, width: 100, height: 50 });
    assert.deepEqual(letterbox({ width: 50, height: 100 }, { width: 100, height: 100 }), { left: 25, top: 0, width: 50, height: 100 });
});

test('the longest side of a box on a canvas', () => {
    assert.equal(longestSide({ x: 0, y: 0, w: 0.5, h: 1 }, { width: 4000, height: 1000 }), 2000);
});

test('a canvas for drawing boxes on is no larger than it must be', () => {
    assert.deepEqual(shrunk({ width: 512, height: 1024 }, 1024), { width: 512, height: 1024 });
    assert.deepEqual(shrunk({ width: 16384, height: 16384 }, 1024), { width: 1024, height: 1024 });
    assert.deepEqual(shrunk({ width: 2048, height: 768 }, 1024), { width: 1024, height: 384 });
    assert.deepEqual(shrunk({ width: 16384, height: 4 }, 1024), { width: 1024, height: 1 });
});

test('where left and right are joined a box goes on at the other side', () => {
    const joins = { x: true, y: false };
    assert.deepEqual(fromCorners(0.75, 0.5, 1.25, 7, joins), { x: 0.75, y: 0.5, w: 0.5, h: 0.5 });
    assert.deepEqual(fromCorners(0.25, 0, -0.25, 0.5, joins), { x: 0.75, y: 0, w: 0.5, h: 0.5 });
    assert.deepEqual(fromCorners(-1, 0, 1, 1, joins), { x: 0, y: 0, w: 1, h: 1 });
    assert.deepEqual(move(box, 0.75, 9, joins), { ...box, x: 0.95, y: 0.8 });
    assert.deepEqual(move(box, 0.8, 0, joins), { ...box, x: 0 });
    assert.deepEqual(resize(box, 'e', 0.5, 0, joins), { ...box, w: 0.9 });
    assert.deepEqual(resize(box, 'w', -0.5, 0, joins), { ...box, x: 0.7, w: 0.9 });
    assert.deepEqual(visible({ x: 0.9, y: 0.9, w: 0.4, h: 0.2 }, joins), { x: 0.9, y: 0.9, w: 0.4, h: 0.1 });
});

test('a box across a join is seen at both sides, across two of them at all corners', () => {
    assert.deepEqual(copies({ x: 0.75, y: 0, w: 0.25, h: 1 }), []);
    assert.deepEqual(copies({ x: 0.75, y: 0, w: 0.5, h: 1 }), [{ x: -0.25, y: 0 }]);
    assert.deepEqual(copies({ x: 0.75, y: 0.5, w: 0.5, h: 1 }), [{ x: 0.75, y: -0.5 }, { x: -0.25, y: 0.5 }, { x: -0.25, y: -0.5 }]);
});

test('a picture is rolled by half along what is joined', () => {
    assert.deepEqual(rolled({ width: 9, height: 6 }, { x: true, y: false }), [[4, 0], [-5, 0]]);
    assert.deepEqual(rolled({ width: 9, height: 6 }, { x: true, y: true }), [[4, 3], [4, -3], [-5, 3], [-5, -3]]);
});
