/**
 * Stands in for the package `@msgpack/msgpack`, which the SDK loads only where MessagePack is asked for. The dashboard speaks
 * JSON, so the package is neither installed nor bundled.
 */
function absent(): never {
  throw new Error("the dashboard is built without MessagePack");
}

export const encode = absent as (value: unknown, options: object) => Uint8Array<ArrayBuffer>;
export const decode = absent as (bytes: ArrayLike<number>, options?: object) => unknown;
