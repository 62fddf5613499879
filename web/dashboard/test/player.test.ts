import { expect, test } from "vitest";
import { Player } from "../src/replay/player.js";

/** A log with an entry at each of these times, a clock that we turn, and a player. */
function scene(times: (number | null | undefined)[], seq = 1) {
  const clock = { now: 0 };
  const recording = { head: times.length, timeAt: (at: number) => times[at - 1] };
  const player = new Player(recording, () => clock.now, seq);
  const after = (ms: number): number => {
    clock.now += ms;
    player.tick();
    return player.state.seq;
  };
  return { clock, recording, player, times, after };
}

test("plays at the log's own pace, and stops at the end", () => {
  const { player, after } = scene([0, 100, 250, 1000]);
  player.play();
  expect([after(99), after(1), after(150), after(749), after(1)]).toEqual([1, 2, 3, 3, 4]);
  expect(player.state.isPlaying).toBe(false);
});

test.each([0.25, 1, 4, 64])("at %f times", (speed) => {
  const { player, after } = scene([0, 6400]);
  player.setSpeed(speed);
  player.play();
  expect([after(6400 / speed - 1), after(2)]).toEqual([1, 2]);
});

test("a change of speed is no jump", () => {
  const { player, after } = scene([0, 1000, 2000]);
  player.play();
  after(500);
  player.setSpeed(10);
  expect([after(49), after(1), after(99), after(1)]).toEqual([1, 2, 2, 3]);
});

test("paused, nothing moves; a pause costs no time of the log", () => {
  const { player, after } = scene([0, 1000]);
  player.play();
  after(400);
  player.pause();
  expect(after(100_000)).toBe(1);
  player.play();
  expect(after(1000)).toBe(2);
});

test("seek and step stay inside of the log", () => {
  const { player } = scene([0, 10, 20, 30]);
  player.seek(99);
  expect(player.state.seq).toBe(4);
  player.step(-2);
  expect(player.state.seq).toBe(2);
  player.step(-9);
  expect(player.state.seq).toBe(1);
  expect(scene([]).player.state.seq).toBe(0);
});

test("from the end it begins anew", () => {
  const { player } = scene([0, 10], 2);
  player.play();
  expect(player.state).toMatchObject({ seq: 1, isPlaying: true });
});

test("waits for what is not loaded, without losing the log's time; passes gaps over", () => {
  const { player, after, times } = scene([0, null, undefined, 500]);
  player.play();
  expect(after(10_000)).toBe(2);
  expect(player.state.wants).toBe(3);
  times[2] = 300;
  after(0);
  expect([after(299), after(1), after(200)]).toEqual([2, 3, 4]);
});

test("entries that come while it plays are played", () => {
  const { player, after, recording, times } = scene([0, 100]);
  player.play();
  times.push(200);
  recording.head = 3;
  expect(after(200)).toBe(3);
});
