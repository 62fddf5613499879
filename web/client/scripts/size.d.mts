/** What a bundle weighs, bytes. */
export interface Size {
  minified: number;
  gzipped: number;
}
export const CORE_LIMIT: number;
export function coreSize(): Promise<Size>;
export function wholeSize(): Promise<Size>;
